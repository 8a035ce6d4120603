import TestSupport
import Testing

@testable import DragonflySimulator

/// Ordinary commands of any client on the master's port.
@Suite struct EmulatedCommandTests {
    /// Words and replies may hold any bytes, and be large.
    @Test func executesAnyBytes() throws {
        try withMaster { server in
            let client = try RespClient(port: server.port)
            let key: [UInt8] = [0, 13, 10, 255, 36]
            let value = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            #expect(try client.command([bytes("SET"), key, value]) == .simple("OK"))
            #expect(try client.command([bytes("GET"), key]) == .bulk(value))
            #expect(try client.call("STRLEN", "nothing") == .integer(0))
            let reply = try client.pipeline(
                (0..<1000).map { [bytes("INCR"), bytes("n:\($0 % 10)")] })
            #expect(reply.count == 1000)
            #expect(try client.call("GET", "n:3").text == "100")
        }
    }

    @Test func hasDatabases() throws {
        try withMaster { server in
            let client = try RespClient(port: server.port)
            try client.call("SET", "a", "0")
            try client.call("SELECT", "3")
            #expect(try client.call("GET", "a") == .null)
            try client.call("SET", "a", "3")
            #expect(try client.call("DBSIZE") == .integer(1))
            #expect(try client.command([bytes("SELECT"), bytes("16")]).isError)
            try client.call("SELECT", "0")
            #expect(try client.call("GET", "a").text == "0")
            let keyspace = try client.call("INFO", "keyspace").text ?? ""
            #expect(keyspace.contains("db0:keys=1") && keyspace.contains("db3:keys=1"))
        }
    }

    /// Times are the true ones, whatever the redis-server holds.
    @Test(arguments: EmulatedRelease.allCases)
    func tellsTrueTimes(_ release: EmulatedRelease) throws {
        try withMaster(EmulationOptions(release: release)) { server in
            let client = try RespClient(port: server.port)
            try client.call("SET", "a", "1")
            try client.call("EXPIRE", "a", "1000")
            let time = try client.call("TTL", "a")
            #expect(time == .integer(1000) || time == .integer(999))
            let expiry = try client.command([bytes("PEXPIRETIME"), bytes("a")])
            #expect(expiry.isError == (release == .v1_20))
        }
    }

    /// A transaction has one id on all its shards, and its replies in order.
    @Test func executesTransactions() throws {
        try withMaster(EmulationOptions(flowCount: 4)) { server in
            let replica = try EmulatedReplica(server)
            try replica.run()
            let client = try RespClient(port: server.port)
            try client.call("MULTI")
            for number in 0..<8 {
                #expect(try client.call("SET", "key:\(number)", "v") == .simple("QUEUED"))
            }
            try client.call("GET", "key:0")
            let reply = try client.call("EXEC")
            #expect(reply.elements?.count == 9)
            #expect(reply.elements?.last?.text == "v")
            try replica.catchUp(server)
            let ids = Set(replica.streams.flatMap { $0.records.map(\.transaction) })
            #expect(ids.count == 1 && ids.first ?? 0 > 0)
            try client.call("MULTI")
            try client.call("SET", "key:0", "w")
            try client.call("DISCARD")
            #expect(try client.call("GET", "key:0").text == "v")
            #expect(try client.command([bytes("EXEC")]).isError)
            try replica.leave()
        }
    }

    /// CLIENT PAUSE WRITE holds up writers, and nobody else.
    @Test func pausesWriters() throws {
        try withMaster { server in
            let client = try RespClient(port: server.port)
            try client.call("SET", "a", "1")
            try client.call("CLIENT", "PAUSE", "60000", "WRITE")
            let writer = try RespClient(port: server.port)
            try writer.send(bytes("SET a 2\r\n"))
            #expect(try client.call("GET", "a").text == "1")
            try client.call("CLIENT", "UNPAUSE")
            #expect(try writer.reply() == .simple("OK"))
            #expect(try client.call("GET", "a").text == "2")
            let clock = ContinuousClock()
            try client.call("CLIENT", "PAUSE", "200", "WRITE")
            let duration = try clock.measure { try server.execute("SET a 3") }
            #expect(duration >= .milliseconds(150))
        }
    }

    /// A command that reads an expired key deletes it, and journals that.
    @Test func deletesExpiredKeys() throws {
        try withMaster(EmulationOptions(flowCount: 1)) { server in
            let replica = try EmulatedReplica(server)
            try replica.run()
            // What is set first has expired when the other has.
            try server.execute("SET b c PX 1")
            try server.execute("SET a b PX 1")
            let client = try RespClient(port: server.port)
            while try client.call("GET", "a") != .null {}
            #expect(try client.call("DFLY", "EXPIRE") == .simple("OK"))
            try replica.catchUp(server)
            #expect(replica.streams[0].records.suffix(2).map(\.text) == ["DEL a", "DEL b"])
            try replica.leave()
        }
    }

    /// DUMP answers what that release would, and a redis-server restores it.
    @Test(arguments: EmulatedRelease.allCases) func dumps(_ release: EmulatedRelease) throws {
        let redis = try RedisServer()
        defer { redis.stop() }
        try withMaster(EmulationOptions(release: release)) { server in
            let client = try RespClient(port: server.port)
            try client.call("HSET", "h", "f", "1", "g", "text")
            #expect(try client.call("DUMP", "none") == .null)
            guard case .bulk(let payload) = try client.call("DUMP", "h") else {
                Issue.record("DUMP answered no bytes")
                return
            }
            #expect(payload[0] == (release == .v1_20 || release == .v1_30 ? 13 : 16))
            let target = try redis.client()
            let words = [bytes("RESTORE"), bytes("h"), bytes("0"), payload]
            #expect(try target.command(words) == .simple("OK"))
            #expect(try target.call("HGET", "h", "g").text == "text")
        }
    }

    /// TAKEOVER succeeds once everything is acknowledged, and the process exits (protocol.md 2.9).
    @Test func takesOver() throws {
        try withMaster(EmulationOptions(flowCount: 2)) { server in
            let replica = try EmulatedReplica(server)
            try replica.run()
            try server.execute("SET a b")
            try replica.catchUp(server)
            let session = replica.replica.session
            let control = replica.replica.control
            #expect(
                try control.command("DFLY TAKEOVER -1 \(session)")
                    == ["-ERR timeout is negative"])
            try control.send("DFLY TAKEOVER 10 \(session)\r\n")
            for flow in 0..<2 {
                try replica.read(flow: flow) { $0.records.last?.operation == 13 }
            }
            try replica.acknowledge()
            #expect(try control.reply() == ["OK"])
            try replica.leave()
            #expect(throws: EmulationError.self) { try server.execute("SET a c") }
        }
    }

    /// Without the ACKs it fails, and the master goes on.
    @Test func takeoverFails() throws {
        var options = EmulationOptions(flowCount: 1)
        options.pingLimitMilliseconds = 60_000
        try withMaster(options) { server in
            let replica = try EmulatedReplica(server)
            try replica.run()
            let control = replica.replica.control
            let reply = try control.command("DFLY TAKEOVER 0 \(replica.replica.session)")
            #expect(reply == ["-ERR Takeover failed!"])
            try server.execute("SET a b")
            try replica.catchUp(server)
            try replica.leave()
        }
    }

    /// WAIT journals a PING on every flow from 1.40 on; before it is unknown.
    @Test func waitsOnNewReleases() throws {
        try withMaster(EmulationOptions(release: .v1_35)) { server in
            let client = try TestConnection(port: server.port)
            #expect(try client.command("WAIT 0 10") == ["-ERR unknown command `WAIT`"])
        }
    }
}

extension RespValue {
    fileprivate var isError: Bool {
        if case .error = self { true } else { false }
    }
}

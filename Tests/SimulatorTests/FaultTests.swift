import TestSupport
import Testing

@testable import DragonflySimulator

/// Each fault does what it says, and leaves no breach with a replica that behaves.
@Suite struct FaultTests {
    private func with(_ faults: [Fault]) -> SimulatorOptions {
        var options = SimulatorOptions()
        options.faults = faults
        return options
    }

    private func oneFlow() -> EmulationOptions {
        var options = EmulationOptions(flowCount: 1)
        options.stream.compression = .none
        return options
    }

    private func fill(_ server: SimulatorServer) throws {
        for number in 0..<200 { try server.execute("SET key:\(number) \(number)") }
    }

    /// What a flow gets before it ends, when it is cut at a byte.
    @Test(arguments: [0, 1, 9, 500]) func cutsFlow(_ byte: Int) throws {
        try withMaster(oneFlow(), with([Fault(.cut, at: .flow(0, byte: byte))])) { server in
            try fill(server)
            let replica = try TestReplica(port: server.port)
            try replica.openFlows()
            _ = try replica.control.command("DFLY SYNC \(replica.session)")
            #expect(try replica.flows[0].readToEnd().count == byte)
            #expect(server.faults.count == 1)
            try replica.leave()
            // The next session is spared.
            let next = try EmulatedReplica(server)
            try next.run()
            try next.leave()
        }
    }

    @Test func resetsFlow() throws {
        try withMaster(oneFlow(), with([Fault(.reset, at: .flow(0, byte: 500))])) { server in
            try fill(server)
            let replica = try TestReplica(port: server.port)
            try replica.openFlows()
            _ = try replica.control.command("DFLY SYNC \(replica.session)")
            #expect(throws: TestConnection.Failure.self) { try replica.flows[0].readToEnd() }
            replica.flows[0].close()
            replica.control.close()
        }
    }

    @Test func stallsFlow() throws {
        let fault = Fault(.stall(milliseconds: 300), at: .flow(0, byte: 500))
        try withMaster(oneFlow(), with([fault])) { server in
            try fill(server)
            let replica = try EmulatedReplica(server)
            let clock = ContinuousClock()
            let duration = try clock.measure { try replica.run() }
            #expect(duration >= .milliseconds(300))
            try replica.leave()
        }
    }

    /// The flow's socket stays open, and nothing comes any more.
    @Test func halfOpensFlow() throws {
        try withMaster(oneFlow()) { server in
            let replica = try EmulatedReplica(server)
            try replica.run()
            server.perform(.halfOpen, onFlow: 0)
            try server.execute("SET a b")
            #expect(try !replica.replica.flows[0].receives(withinMilliseconds: 300))
            #expect(try replica.replica.control.command("PING") == ["PONG"])
            #expect(server.bytesSent(flow: 0) > 0)
        }
    }

    @Test func halfOpensControl() throws {
        try withMaster(oneFlow()) { server in
            let replica = try EmulatedReplica(server)
            try replica.run()
            server.performOnControl(.halfOpen)
            try replica.replica.control.send("PING\r\n")
            #expect(try !replica.replica.control.receives(withinMilliseconds: 300))
            // The flow goes on.
            try server.execute("SET a b")
            try replica.catchUp(server)
            try replica.leave()
        }
    }

    @Test func cutsControl() throws {
        try withMaster(oneFlow()) { server in
            let replica = try EmulatedReplica(server)
            try replica.run()
            server.performOnControl(.cut)
            #expect(try replica.replica.control.readToEnd() == [])
            #expect(try replica.replica.flows[0].readToEnd() == [])
            try replica.leave()
        }
    }

    /// Bytes of the control connection count from the CAPA reply on.
    @Test func cutsControlAtByte() throws {
        try withMaster(oneFlow(), with([Fault(.cut, at: .control(byte: 10))])) { server in
            let control = try TestConnection(port: server.port)
            _ = try control.command("PING")
            try control.send("REPLCONF capa dragonfly\r\n")
            #expect(try control.readToEnd().count == 10)
        }
    }

    @Test func restarts() throws {
        try withMaster(EmulationOptions(flowCount: 2)) { server in
            try fill(server)
            let first = try EmulatedReplica(server)
            try first.run()
            try server.execute("SET a b")
            let old = server.masterId
            server.restart(flowCount: 3)
            #expect(server.masterId != old)
            #expect(server.flowCount == 3)
            #expect(server.nextLSNs == [0, 0, 0])
            _ = try first.replica.control.readToEnd()
            try first.leave()
            let second = try EmulatedReplica(server)
            #expect(second.replica.flowCount == 3)
            try second.run()
            #expect(second.streams.reduce(0) { $0 + $1.entries.count } == 201)
            #expect(second.nextLSNs == [1, 1, 1])
            try second.leave()
        }
    }

    /// A restart at a byte of a flow ends its session.
    @Test func restartsAtByte() throws {
        let fault = Fault(.restart(flowCount: 1), at: .flow(0, byte: 300))
        try withMaster(oneFlow(), with([fault])) { server in
            try fill(server)
            let replica = try TestReplica(port: server.port)
            try replica.openFlows()
            try replica.control.send("DFLY SYNC \(replica.session)\r\n")
            #expect(try replica.flows[0].readToEnd().count >= 300)
            try replica.leave()
            let next = try EmulatedReplica(server)
            #expect(next.replica.masterId != replica.masterId)
            try next.run()
            try next.leave()
        }
    }

    /// A FLUSHALL in a full sync: the flush comes as a blob, and keys of before it still follow.
    @Test func flushesDuringFullSync() throws {
        var options = oneFlow()
        options.bucketPauseMicroseconds = 5000
        options.keysPerBucket = 1
        try withMaster(options, with([Fault(.flushAll, at: .flow(0, byte: 50))])) { server in
            try fill(server)
            let replica = try EmulatedReplica(server)
            try replica.sync()
            let items = replica.streams[0].items
            let flush = try #require(
                items.firstIndex {
                    if case .blob(let record) = $0 { record.text == "FLUSHALL" } else { false }
                })
            let later = items[flush...].contains {
                if case .entry = $0 { true } else { false }
            }
            #expect(later)
            #expect(try server.execute("DBSIZE") == .integer(0))
            try replica.leave()
        }
    }

    /// Single bytes, and random pieces, carry the same stream.
    @Test(arguments: [Segmentation.fixed(1), .random(seed: 5)])
    func segments(_ segmentation: Segmentation) throws {
        var options = SimulatorOptions()
        options.segmentation = segmentation
        try withMaster(oneFlow(), options) { server in
            try fill(server)
            let replica = try EmulatedReplica(server)
            try replica.run()
            #expect(replica.streams[0].entries.count == 200)
            try fill(server)
            try replica.catchUp(server)
            #expect(replica.streams[0].records.count == 200)
            try replica.leave()
        }
    }

    @Test func slowsDown() throws {
        try withMaster(oneFlow()) { server in
            try fill(server)
            server.setPacing(.bytesPerSecond(20_000), flow: 0)
            let replica = try EmulatedReplica(server)
            let clock = ContinuousClock()
            let duration = try clock.measure { try replica.run() }
            let expected = Double(server.bytesSent(flow: 0)) / 20_000 * 0.5
            #expect(duration > .seconds(expected))
            try replica.leave()
        }
    }

    /// The master takes its time with each ACK.
    @Test func readsSlowly() throws {
        var options = SimulatorOptions()
        options.readDelayMilliseconds = 200
        try withMaster(oneFlow(), options) { server in
            let replica = try EmulatedReplica(server)
            try replica.run()
            let clock = ContinuousClock()
            let duration = try clock.measure {
                try server.execute("SET a b")
                try replica.catchUp(server)
                #expect(
                    server.waitForAcknowledgement(flow: 0, atLeast: 2, timeoutMilliseconds: 10_000))
            }
            #expect(duration >= .milliseconds(200))
            try replica.leave()
        }
    }

    /// The same seed makes the same faults, another one others.
    @Test func randomFaultsAreSeeded() {
        func faults(_ seed: UInt64) -> [Fault] {
            Fault.random(seed: seed, sessions: 40, flowCount: 4, byteLimit: 1000)
        }
        #expect(faults(1) == faults(1))
        #expect(faults(1) != faults(2))
        #expect(faults(3).map(\.session) == Array(1...40))
    }

    @Test func answersLoading() throws {
        var options = SimulatorOptions()
        options.loadingReplies = 2
        try withMaster(oneFlow(), options) { server in
            for _ in 0..<2 {
                let replica = try TestReplica(port: server.port)
                try replica.openFlows()
                #expect(replica.answers[0][0].hasPrefix("-LOADING"))
                try replica.leave()
            }
            let replica = try EmulatedReplica(server)
            try replica.run()
            try replica.leave()
        }
    }

    @Test func refusesUsers() throws {
        var options = SimulatorOptions()
        options.password = "secret"
        options.users = [
            SimulatorUser(name: "reader", password: "other", deniedCommands: ["DFLY", "SET"])
        ]
        try withMaster(oneFlow(), options) { server in
            let client = try TestConnection(port: server.port)
            #expect(try client.command("GET a") == ["-NOAUTH Authentication required."])
            #expect(try client.command("AUTH reader secret")[0].hasPrefix("-WRONGPASS"))
            #expect(try client.command("AUTH reader other") == ["OK"])
            #expect(try client.command("GET a") == [""])
            let refusal = "-NOPERM reader has no ACL permissions"
            #expect(try client.command("SET a b") == [refusal])
            #expect(try client.command("DFLY REPLICAOFFSET") == [refusal])
            #expect(try client.command("AUTH default secret") == ["OK"])
            #expect(try client.command("SET a b") == ["OK"])
        }
    }
}

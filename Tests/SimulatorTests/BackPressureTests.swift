import TestSupport
import Testing

@testable import DragonflySimulator

/// What a slow replica does to the writers of a master (protocol.md 2.11).
@Suite struct BackPressureTests {
    private static let value = [UInt8](repeating: 7, count: 50_000)

    private func options(_ release: EmulatedRelease = .newest) -> EmulationOptions {
        var options = EmulationOptions(release: release, flowCount: 1)
        options.outputLimitBytes = 100_000
        return options
    }

    /// A stable replica whose flow does not move.
    private func stalled(
        _ server: SimulatorServer, milliseconds: Int
    ) throws -> EmulatedReplica {
        let replica = try EmulatedReplica(server)
        try replica.run()
        server.perform(.stall(milliseconds: milliseconds), onFlow: 0)
        return replica
    }

    /// The writer waits as long as the flow is over its limit, not before and not longer.
    @Test func blocksWriters() throws {
        try withMaster(options()) { server in
            let replica = try stalled(server, milliseconds: 700)
            for _ in 0..<6 { try server.execute([bytes("SET"), bytes("a"), Self.value]) }
            let waited = server.counters.longestWriterWaitMilliseconds
            #expect(waited > 100 && waited < 5000, "waited \(waited) ms")
            #expect(server.counters.timeouts == 0)
            try replica.catchUp(server)
            #expect(replica.streams[0].records.count == 6)
            try replica.leave()
        }
    }

    /// The writers of other shards go on.
    @Test func blocksOneShard() throws {
        var options = options()
        options.flowCount = 2
        try withMaster(options) { server in
            let keys = (0..<2).map { flow in
                (0...).lazy.map { bytes("key:\($0)") }.first { shard(of: $0, flowCount: 2) == flow }
            }.compactMap { $0 }
            let replica = try stalled(server, milliseconds: 60_000)
            let isDone = Monitor(false)
            try startThread(named: "writer") {
                for _ in 0..<6 { _ = try? server.execute([bytes("SET"), keys[0], Self.value]) }
                isDone.update { $0 = true }
            }
            for _ in 0..<6 { try server.execute([bytes("SET"), keys[1], Self.value]) }
            #expect(server.counters.longestWriterWaitMilliseconds < 1000)
            #expect(!isDone.read { $0 })
            server.perform(.stall(milliseconds: 0), onFlow: 0)
            #expect(
                isDone.wait(until: deadline(afterMilliseconds: 20_000)) { $0 ? true : nil } == true)
            try replica.catchUp(server)
            try replica.leave()
        }
    }

    /// After its time the session is cancelled, and the writer goes on.
    @Test func cancelsStableSession() throws {
        var options = options()
        options.writerTimeoutMilliseconds = 200
        try withMaster(options) { server in
            let replica = try stalled(server, milliseconds: 60_000)
            for _ in 0..<6 { try server.execute([bytes("SET"), bytes("a"), Self.value]) }
            let waited = server.counters.longestWriterWaitMilliseconds
            #expect(waited >= 200, "waited \(waited) ms")
            #expect(server.counters.timeouts == 1)
            _ = try replica.replica.flows[0].readToEnd()
            let control = replica.replica.control
            #expect(
                try control.command("DFLY STARTSTABLE \(replica.replica.session)")
                    == ["-ERR syncid not found"])
            try replica.leave()
        }
    }

    /// A replica that does not read in a full sync is dropped.
    @Test func cancelsFullSync() throws {
        var options = options()
        options.replicationTimeoutMilliseconds = 300
        options.stream.compression = .none
        var server = SimulatorOptions()
        server.sendBufferBytes = 16 << 10
        try withMaster(options, server) { server in
            for number in 0..<100 {
                try server.execute([bytes("SET"), bytes("key:\(number)"), Self.value])
            }
            let replica = try TestReplica(port: server.port)
            try replica.openFlows(receiveBuffer: 16 << 10)
            #expect(try replica.control.command("DFLY SYNC \(replica.session)") == ["OK"])
            #expect(server.waitForTimeouts(1, timeoutMilliseconds: 20_000))
            try replica.leave()
        }
    }

    /// 1.20 has half a second and 64 KB; the others 30 s and 1 MB.
    @Test func limitsOfReleases() {
        for release in EmulatedRelease.allCases {
            let options = EmulationOptions(release: release)
            let isOld = release == .v1_20
            #expect(options.outputLimitBytes == (isOld ? 65_536 : 1_048_576))
            #expect(options.writerTimeoutMilliseconds == (isOld ? 500 : 30_000))
            #expect(options.replicationTimeoutMilliseconds == 30_000)
        }
    }
}

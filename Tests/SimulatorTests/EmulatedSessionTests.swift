import TestSupport
import Testing

@testable import DragonflySimulator

private let resuming: [EmulatedRelease] = [.v1_35, .v1_40, .newest]

/// Sessions as each release does them (protocol.md 2, 4 and 8).
@Suite struct EmulatedSessionTests {
    private func write(_ server: SimulatorServer, _ count: Int, from start: Int = 0) throws {
        for number in start..<start + count { try server.execute("SET key:\(number) \(number)") }
    }

    @Test(arguments: EmulatedRelease.allCases)
    func fullSync(_ release: EmulatedRelease) throws {
        try withMaster(EmulationOptions(release: release, flowCount: 3)) { server in
            try write(server, 100)
            // Nothing was journaled: nobody was there.
            #expect(server.nextLSNs == [0, 0, 0])
            let replica = try EmulatedReplica(server)
            #expect(replica.kinds == ["FULL", "FULL", "FULL"])
            try replica.run()
            #expect(replica.streams.reduce(0) { $0 + $1.entries.count } == 100)
            try write(server, 50, from: 100)
            try replica.catchUp(server)
            #expect(replica.streams.reduce(0) { $0 + $1.records.count } == 50)
            #expect(replica.nextLSNs == server.nextLSNs)
            let offsets = try replica.replica.control.command("DFLY REPLICAOFFSET")
            #expect(offsets == server.nextLSNs.map(String.init))
            try replica.leave()
        }
    }

    @Test(arguments: EmulatedRelease.allCases)
    func handshakeOfRelease(_ release: EmulatedRelease) throws {
        try withMaster(EmulationOptions(release: release)) { server in
            let control = try TestConnection(port: server.port)
            let reply = try control.command("REPLCONF capa dragonfly")
            let version = release == .newest || release == .v1_40 ? "5" : "4"
            let isNew = release == .newest || release == .v1_40
            #expect(
                reply == [server.masterId, "SYNC1", "2", version]
                    + (isNew ? [server.masterId] : []))
            let information = try control.command("INFO server")[0]
            #expect(information.contains("dragonfly_version:\(release.text)"))
        }
    }

    /// From 1.35 on a flow resumes without a DFLY SYNC and continues exactly where it was.
    @Test(arguments: resuming) func resumes(_ release: EmulatedRelease) throws {
        try withMaster(EmulationOptions(release: release)) { server in
            let first = try EmulatedReplica(server)
            try first.run()
            try write(server, 40)
            try first.catchUp(server)
            try first.leave()
            try write(server, 40, from: 40)
            let second = try EmulatedReplica(server, resumingAt: first.nextLSNs)
            #expect(second.kinds == ["PARTIAL", "PARTIAL"])
            try second.startStable()
            try second.catchUp(server)
            let keys = second.streams.flatMap { $0.records.map(\.text) }.sorted()
            #expect(keys == (40..<80).map { "SET key:\($0) \($0)" }.sorted())
            try second.leave()
        }
    }

    /// A flow that has missed nothing resumes, too; one that asks for the future does not.
    @Test func resumesAtTheEnd() throws {
        try withMaster { server in
            let first = try EmulatedReplica(server)
            try first.run()
            try write(server, 10)
            try first.catchUp(server)
            try first.leave()
            let second = try EmulatedReplica(server, resumingAt: first.nextLSNs)
            try second.startStable()
            #expect(second.nextLSNs == server.nextLSNs)
            try second.leave()
            let third = try EmulatedReplica(server, resumingAt: first.nextLSNs.map { $0 + 1 })
            #expect(third.kinds == ["FULL", "FULL"])
            try third.leave()
        }
    }

    /// 1.20 answers PARTIAL, and still wants a DFLY SYNC and sends the journal as blobs.
    @Test func resumesThroughSync() throws {
        try withMaster(EmulationOptions(release: .v1_20)) { server in
            let first = try EmulatedReplica(server)
            try first.run()
            try write(server, 40)
            try first.catchUp(server)
            try first.leave()
            try write(server, 40, from: 40)
            let replica = try TestReplica(port: server.port)
            try replica.openFlows(lsns: first.nextLSNs)
            #expect(replica.answers.map { $0[0] } == ["PARTIAL", "PARTIAL"])
            let second = EmulatedReplica(replica)
            try second.run()
            #expect(second.streams.allSatisfy { $0.entries.isEmpty })
            let keys = second.streams.flatMap { $0.blobs.map(\.text) }.sorted()
            #expect(keys == (40..<80).map { "SET key:\($0) \($0)" }.sorted())
            try write(server, 10, from: 80)
            try second.catchUp(server)
            try second.leave()
        }
    }

    /// 1.30 does not resume at the same master.
    @Test func neverResumesOn1_30() throws {
        try withMaster(EmulationOptions(release: .v1_30)) { server in
            let first = try EmulatedReplica(server)
            try first.run()
            try first.leave()
            let second = try EmulatedReplica(server, resumingAt: first.nextLSNs)
            #expect(second.kinds == ["FULL", "FULL"])
            try second.run()
            try second.leave()
        }
    }

    /// What the backlog has evicted cannot be resumed.
    @Test func evictionLeadsToFull() throws {
        var options = EmulationOptions(release: .v1_40, flowCount: 1)
        options.backlog = .entries(20)
        try withMaster(options) { server in
            let first = try EmulatedReplica(server)
            try first.run()
            try first.leave()
            try write(server, 20)
            let second = try EmulatedReplica(server, resumingAt: first.nextLSNs)
            #expect(second.kinds == ["PARTIAL"])
            try second.leave()
            try write(server, 1, from: 20)
            let third = try EmulatedReplica(server, resumingAt: first.nextLSNs)
            #expect(third.kinds == ["FULL"])
            try third.leave()
        }
    }

    /// An eviction between PARTIAL and STARTSTABLE ends the session.
    @Test func evictionEndsTheSession() throws {
        var options = EmulationOptions(release: .v1_40, flowCount: 1)
        options.backlog = .entries(5)
        try withMaster(options) { server in
            let first = try EmulatedReplica(server)
            try first.run()
            try first.leave()
            let second = try EmulatedReplica(server, resumingAt: first.nextLSNs)
            #expect(second.kinds == ["PARTIAL"])
            try write(server, 6)
            let control = second.replica.control
            #expect(
                try control.command("DFLY STARTSTABLE \(second.replica.session)")
                    == ["-ERR invalid state"])
            #expect(try second.replica.flows[0].readToEnd() == [])
            try second.leave()
        }
    }

    /// After a failover the vector of the last master's LSNs resumes (protocol.md 8.4).
    @Test func resumesAfterFailover() throws {
        try withMaster(EmulationOptions(release: .v1_40)) { server in
            let first = try EmulatedReplica(server)
            try first.run()
            try write(server, 30)
            try first.catchUp(server)
            let old = server.masterId
            server.failOver()
            #expect(server.masterId != old)
            for flow in first.replica.flows { flow.close() }
            first.replica.control.close()
            try write(server, 30, from: 30)
            let stranger = try TestReplica(port: server.port)
            let unknown = String(repeating: "0", count: 40)
            try stranger.openFlows(lastMaster: unknown, lsns: first.nextLSNs)
            #expect(stranger.answers.map { $0[0] } == ["FULL", "FULL"])
            try stranger.leave()
            let replica = try TestReplica(port: server.port)
            try replica.openFlows(lastMaster: old, lsns: first.nextLSNs)
            let second = EmulatedReplica(replica, resumingAt: first.nextLSNs)
            #expect(second.kinds == ["PARTIAL", "PARTIAL"])
            try second.startStable()
            try second.catchUp(server)
            #expect(second.streams.reduce(0) { $0 + $1.records.count } == 30)
            try second.leave()
        }
    }

    /// A marker after each entry names it; `EmulatedStream` checks the numbers.
    @Test(arguments: EmulatedRelease.allCases)
    func sendsMarkers(_ release: EmulatedRelease) throws {
        var options = EmulationOptions(release: release)
        options.markerIntervalMilliseconds = 0
        try withMaster(options) { server in
            let replica = try EmulatedReplica(server)
            try replica.run()
            try write(server, 50)
            try replica.catchUp(server)
            for flow in 0..<2 {
                try replica.read(flow: flow) { $0.markers == $0.records.count }
            }
            #expect(replica.streams.reduce(0) { $0 + $1.markers } == 50)
            try replica.leave()
        }
    }

    /// 1.20 sends markers only to replicas that announced a version.
    @Test(arguments: [(EmulatedRelease.v1_20, 0), (.v1_30, 1)])
    func sendsMarkersToWhom(_ release: EmulatedRelease, _ count: Int) throws {
        var options = EmulationOptions(release: release, flowCount: 1)
        options.markerIntervalMilliseconds = 0
        try withMaster(options) { server in
            let replica = try TestReplica(port: server.port, announcesVersion: false)
            try replica.openFlows()
            let reader = EmulatedReplica(replica)
            try reader.run()
            try server.execute("SET a b")
            try reader.catchUp(server)
            try server.execute("SET a c")
            try reader.catchUp(server)
            #expect(reader.streams[0].markers >= count)
            #expect(reader.streams[0].markers == 0 || count > 0)
            try reader.leave()
        }
    }

    /// A second replica does not disturb the first.
    @Test func servesTwoReplicas() throws {
        try withMaster { server in
            try write(server, 50)
            let first = try EmulatedReplica(server)
            try first.run()
            try write(server, 50, from: 50)
            let second = try EmulatedReplica(server)
            try second.run()
            try write(server, 50, from: 100)
            try first.catchUp(server)
            try second.catchUp(server)
            #expect(first.streams.reduce(0) { $0 + $1.records.count } == 100)
            #expect(second.streams.reduce(0) { $0 + $1.records.count } == 50)
            #expect(second.streams.reduce(0) { $0 + $1.entries.count } == 100)
            let role = try first.replica.control.command("ROLE")
            #expect(role.filter { $0 == "online" }.count == 2)
            try first.leave()
            try second.leave()
        }
    }
}

import Bytes
import DragonflySimulator
import Foundation
import TestSupport
import Testing

/// Flushes of the source that take several steps on the target: those of slots (`flushSlots`), and those
/// of a cluster.
@Suite(.serialized) struct FlushTests {
    /// A run that was killed between two masters has left one of them full: the next run says so.
    @Test func oneThatWasInterruptedIsTold() throws {
        let cluster = try RedisCluster()
        let killed = try run("report", 1, cluster)
        let clients = try cluster.servers.prefix(3).map { try $0.client() }
        try clients[1].call("CLIENT", "PAUSE", "60000", "WRITE")
        try Self.execute(killed, "FLUSHALL")
        try killed.wait(30, "the other masters are not flushed") { _ in
            let sizes = [clients[0], clients[2]].map { try? $0.call("DBSIZE").integer }
            usleep(1000)
            return sizes == [0, 0]
        }
        killed.interrupt(with: SIGKILL)
        #expect(try killed.waitForEnd().exitCode != 0)
        try clients[1].call("CLIENT", "UNPAUSE")

        let log = "flushes.log"
        let line = try String(
            contentsOfFile: "\(killed.stateDirectoryPath)/\(log)", encoding: .utf8)
        let next = try RecordedRun(
            "replicate", source: .emulated(EmulationOptions(release: .v1_40, flowCount: 3)),
            movingTarget: cluster,
            prepare: { _, _, directory in
                try line.write(toFile: directory.file(log), atomically: true, encoding: .utf8)
            })
        try next.waitUntilAcknowledgedFirst()
        // Whole, it takes along what the other one left.
        try Self.execute(next, "FLUSHALL")
        try next.waitUntilAcknowledged()
        next.interrupt()
        let outcome = try next.waitForEnd()
        #expect(outcome.exitCode == 143, "\(outcome)")
        #expect(outcome.standardError.contains("interrupted in FLUSHALL"), "\(outcome)")
        #expect(
            try String(contentsOfFile: "\(next.stateDirectoryPath)/\(log)", encoding: .utf8)
                .isEmpty)
    }

    /// `delete`: what the source has deleted goes, once all that came before is written and before
    /// anything that comes behind; and nothing else does: no other slots, no other database, no key of
    /// ours. On one server and on all masters of a cluster.
    @Test(arguments: [1, 3], [false, true])
    func slotsAreEmptied(cores: Int, isCluster: Bool) throws {
        let cluster = isCluster ? try RedisCluster() : nil
        let run = try run(
            "delete", cores, cluster,
            prepare: { target in
                guard !isCluster else { return }
                let client = try target.client()
                try client.call("SET", Self.ours, "v")
                try client.call("SELECT", "5")
                try client.call("SET", "k:1", "theirs")
            })
        var keysDeleted = 0
        for (round, ranges) in [[0, 5460, 10923, 12000], [4000, 16383], [7, 7]].enumerated() {
            let names = Self.names
            for name in names {
                try Self.execute(run, "SET", name, "\(round)")
                try Self.execute(run, "RPUSH", "list:\(name)", "\(round)")
            }
            let before = try TrafficRun.state(ofPort: run.source.redisPort).count
            try Self.execute(run, ["DFLYCLUSTER", "FLUSHSLOTS"] + ranges.map(String.init))
            keysDeleted += try before - TrafficRun.state(ofPort: run.source.redisPort).count
            for name in names.prefix(300) { try Self.execute(run, "APPEND", name, "behind") }
        }
        #expect(keysDeleted > 1000)
        try run.waitUntilAcknowledged()
        run.interrupt()
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 143, "\(outcome)")
        var state = try run.targetState()
        for key in [StateKey(0, Self.ours), StateKey(5, "k:1")] where !isCluster {
            #expect(state.removeValue(forKey: key) != nil)
        }
        let comparison = StateComparison(
            expected: try TrafficRun.state(ofPort: run.source.redisPort), actual: state,
            rules: StateComparison.Rules())
        #expect(comparison.differences == [] && comparison.keysCompared > 300)
        #expect(try run.report().keysToRepair == 0)
        #expect(run.complaints == [])
    }

    /// One flush may follow another whose reply has not come.
    @Test(arguments: [1, 3])
    func flushesFollowEachOther(cores: Int) throws {
        let run = try run("delete", cores, nil)
        for _ in 0..<3 {
            for name in Self.names { try Self.execute(run, "SET", name, "v") }
            try run.target.client().call("CLIENT", "PAUSE", "300", "WRITE")
            try Self.execute(run, "FLUSHALL")
            try Self.execute(run, "DFLYCLUSTER", "FLUSHSLOTS", "0", "16383")
            try Self.execute(run, "SET", "left", "v")
            try Self.execute(run, "DFLYCLUSTER", "FLUSHSLOTS", "0", "1")
            try Self.execute(run, "DFLYCLUSTER", "FLUSHSLOTS", "2", "2")
            try Self.execute(run, "FLUSHDB")
            try Self.execute(run, "SET", "last", "v")
        }
        try run.waitUntilAcknowledged()
        run.interrupt()
        #expect(try run.waitForEnd().exitCode == 143)
        #expect(try Set(run.targetState().keys) == [StateKey(0, "last")])
        // As many of each flow as were read.
        _ = try run.report()
    }

    /// Keys whose slot is on its way to another master are deleted when it has arrived.
    @Test func anOpenSlotIsWaitedFor() throws {
        let cluster = try RedisCluster()
        let run = try run("delete", 1, cluster)
        let slot = Array("{tag}".utf8).withByteView { $0.keySlot() }
        for index in 0..<100 { try Self.execute(run, "SET", "{tag}:\(index)", "v") }
        try run.waitUntilAcknowledged()
        let owner = try cluster.owner(of: slot)
        let next = (owner + 1) % 3
        try cluster.open(slot: slot, to: next)
        let servers = [owner, next].map { cluster.servers[$0] }
        try servers[0].client().call(
            "MIGRATE", "127.0.0.1", "\(servers[1].port)", "", "0", "5000", "KEYS", "{tag}:1",
            "{tag}:2")
        try Self.execute(run, "DFLYCLUSTER", "FLUSHSLOTS", "\(slot)", "\(slot)")
        #expect(
            !run.source.waitForAcknowledgement(
                flow: 0, atLeast: run.source.nextLSN(flow: 0), timeoutMilliseconds: 500))
        try cluster.close(slot: slot, to: next)
        try run.waitUntilAcknowledged()
        #expect(try run.targetState().keys.allSatisfy { $0.description.contains("before:") })
        run.interrupt()
        #expect(try run.waitForEnd().exitCode == 143)
    }

    /// The others leave the target's keys alone: `report` names them, `keep` does not.
    @Test(arguments: ["report", "keep"])
    func otherwiseKeysStay(policy: String) throws {
        let run = try run(policy, 1, nil)
        for name in Self.names { try Self.execute(run, "SET", name, "v") }
        try Self.execute(run, "DFLYCLUSTER", "FLUSHSLOTS", "0", "16383")
        try run.waitUntilAcknowledged()
        run.interrupt()
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == (policy == "keep" ? 143 : 1), "\(outcome)")
        #expect(try run.targetState().count == Self.names.count + 100)
        let report = try run.report()
        #expect(report.keysToRepair == (policy == "keep" ? 0 : 1))
        #expect(report.journal.skipped == (policy == "keep" ? 3 : 0))
    }

    /// A snapshot is worthless if keys vanish in it.
    @Test func duringTheFullSyncTheRunEnds() throws {
        let run = try run(
            "delete", 1, nil,
            faults: RecordedRun.holdingFlows(3))
        try Self.execute(run, "DFLYCLUSTER", "FLUSHSLOTS", "0", "16383")
        run.releaseFlows()
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 1, "\(outcome)")
        #expect(outcome.standardError.contains("flushed during the full sync"), "\(outcome)")
    }

    /// What another run builds.
    private static let ours = "df2redis:{06S}:other:shadow:0:1"
    private static let names =
        (0..<1000).map { "k:\($0)" } + (0..<20).map { "{tag}:\($0)" }
        + ["", "{", "}", "{}", "{}a", "a{b", "a}b{c}", "{a}{b}", "a{{b}}", "\u{7f}{ä}"]

    private func run(
        _ policy: String, _ cores: Int, _ cluster: RedisCluster?, faults: [Fault] = [],
        prepare: (RedisServer) throws -> Void = { _ in }
    ) throws -> RecordedRun {
        let directory = try TemporaryDirectory()
        let path = directory.file("flush.yaml")
        try "flushSlots: \(policy)\n".write(toFile: path, atomically: true, encoding: .utf8)
        let run = try RecordedRun(
            "replicate", source: .emulated(EmulationOptions(release: .v1_40, flowCount: 3)),
            faults: faults, arguments: ["--config", path, "--cores", "\(cores)"],
            movingTarget: cluster,
            beforeStart: { source in
                for index in 0..<100 { try source.execute("SET before:\(index) v") }
            },
            prepare: { _, target, _ in try prepare(target) })
        if faults.isEmpty {
            try run.waitUntilAcknowledgedFirst()
        } else {
            try run.waitUntilFlowsAreHeld()
        }
        return run
    }

    private static func execute(_ run: RecordedRun, _ words: String...) throws {
        try execute(run, words)
    }

    private static func execute(_ run: RecordedRun, _ words: [String]) throws {
        try run.source.execute(.command(words.map { Array($0.utf8) }, database: 0))
    }
}

import DragonflySimulator
import Foundation
import TestSupport
import Testing

/// A Redis Cluster as the target: whatever happens to it during a run, it ends with the source's data,
/// and every record is accounted for.
@Suite(.serialized) struct ClusterTests {
    /// `DF2REDIS_CLUSTER_RECORDS` and `DF2REDIS_CLUSTER_OPEN_SECONDS` make it longer: see
    /// Tests/torture.
    private static func setting(_ name: String, or value: Int) -> Int {
        ProcessInfo.processInfo.environment[name].flatMap { Int($0) } ?? value
    }

    private static let records = setting("DF2REDIS_CLUSTER_RECORDS", or: 3000)
    private static let openSeconds = setting("DF2REDIS_CLUSTER_OPEN_SECONDS", or: 3)

    /// Slots that hold keys go from master to master and back without a pause.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func slotsMove(_ seed: UInt64) throws {
        let cluster = try RedisCluster()
        let run = try TrafficRun(seed: seed, records: Self.records, target: cluster)
        let moves = try run.expectSuccess(whileSlotsMoveIn: cluster, seed: seed)
        #expect(moves > 10)
    }

    /// Slots move while replicas take over from their masters in agreement.
    @Test func mastersChange() throws {
        let cluster = try RedisCluster(replicasPerMaster: 1)
        var run = try TrafficRun(seed: 4, records: Self.records, target: cluster)
        let mover = SlotMover(cluster, seed: 4) { round in
            guard round % 10 == 9 else { return }
            // Each master is replaced by its replica, and back.
            let place = round / 10 % 3
            let server = round / 30 % 2 == 0 ? 3 + place : place
            try cluster.failover(replica: server)
            try cluster.waitUntilStable()
        }
        try run.write()
        let moves = try mover.stop()
        try cluster.waitUntilStable()
        try run.finish().expectSuccess()
        print("\(moves) slots moved, \(moves / 20) failovers")
        #expect(moves >= 20)
    }

    /// Slots stay open: their keys are on two masters, new ones go to the one that will have them.
    @Test func slotsStayOpen() throws {
        let cluster = try RedisCluster()
        var run = try TrafficRun(seed: 5, records: Self.records, target: cluster)
        try run.write(more: Self.records / 4)
        // Those of keys that there are, so that commands of several keys meet them.
        let slots = try cluster.slotsOfKeys()
        for slot in slots {
            try cluster.open(slot: slot, to: (try cluster.owner(of: slot) + 1) % 3)
        }
        let opened = Date()
        try run.write()
        while Date().timeIntervalSince(opened) < Double(Self.openSeconds) {
            try run.write(more: 200)
        }
        for slot in slots {
            try cluster.close(slot: slot, to: (try cluster.owner(of: slot) + 1) % 3)
        }
        try cluster.waitUntilStable()
        try run.finish().expectSuccess()
        #expect(slots.count > 5)
    }

    /// A master dies and a replica takes over: what it may lack is read again.
    @Test func aMasterIsKilled() throws {
        let cluster = try RedisCluster(replicasPerMaster: 1)
        var run = try TrafficRun(seed: 6, records: Self.records, target: cluster)
        var isKilled = false
        let half = Self.records / 2
        try run.write(meanwhile: { records in
            guard !isKilled, records > half else { return }
            cluster.kill(0)
            isKilled = true
        })
        try cluster.waitUntil(owner: 3, of: 0)
        let outcome = try run.finish()
        outcome.expectSuccess()
        #expect(isKilled && outcome.report.keysRepaired > 0, "\(outcome.line)")
    }

    /// The recordings of real servers, with 1 to 4 flows, lead to the same state as in a single Redis;
    /// only what would have to be read again from the source cannot be had, and is named.
    @Test func recordingsLeadToTheirState() throws {
        let cluster = try RedisCluster()
        for replay in try ReplayCase.onCores {
            for server in cluster.servers { try server.client().call("FLUSHALL") }
            try play(replay, into: cluster)
        }
    }

    private func play(_ replay: ReplayCase, into cluster: RedisCluster) throws {
        let recording = replay.recording
        let played = try DragonflySimulator.Recording(folder: recording.path)
        let directory = try TemporaryDirectory()
        let path = directory.file("rules.yaml")
        try "dbs: {0: 0}\nflush: apply\n".write(toFile: path, atomically: true, encoding: .utf8)
        let run = try RecordedRun(
            "replicate", source: .recording(played),
            arguments: [
                "--write-method", replay.method.rawValue, "--config", path,
                "--cores", "\(replay.cores ?? 1)",
            ],
            movingTarget: cluster)
        try run.waitUntilApplied()
        run.interrupt()
        let outcome = try run.waitForEnd()
        let report = try run.report()
        let apart = report.findings.count { $0.reason.contains("different slots") }
        var rules = try StateComparison.Rules(recording)
        rules.excluded = report.repairKeys
        let comparison = StateComparison(
            expected: try recording.expected().filter { $0.key.database == 0 },
            actual: try run.targetState(), rules: rules)
        print(
            comparison.summary(
                "\(replay), \(report.keysToRepair) keys named, \(apart) for other slots"))
        #expect(comparison.differences == [])
        #expect(comparison.keysCompared > 20)
        #expect(report.keysToRepair == report.repairKeys.count)
        #expect(report.snapshot.failed == 0 && report.journal.failed == 0)
        #expect(report.lsn == recording.finalLSNs)
        #expect(outcome.exitCode == (report.keysToRepair == 0 ? 143 : 1), "\(outcome)")
        #expect(run.complaints == [])
    }

    /// Any node is enough to begin with, a replica too; one that does not answer is passed over.
    @Test func anySeedIsEnough() throws {
        let cluster = try RedisCluster(replicasPerMaster: 1)
        var data = SyntheticData(seed: 21)
        data.strings.count = 2000
        let closed = try RedisServer.freePort()
        let seeds = "127.0.0.1:\(closed),127.0.0.1:\(cluster.servers[5].port)"
        let run = try RecordedRun(
            "migrate", source: .synthetic(data), movingTarget: cluster,
            targetAddress: "redis-cluster://\(seeds)")
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 0, "\(outcome)")
        #expect(try run.report().snapshot.applied > 0)
        #expect(try run.targetState().count == run.report().snapshot.applied)
    }

    /// Keys of other databases have no place in a cluster: that is said before anything is written,
    /// with the mapping to write.
    @Test func otherDatabasesAreRefused() throws {
        let cluster = try RedisCluster()
        var emulation = EmulationOptions(release: .v1_40, flowCount: 2)
        emulation.seed = 1
        func run(_ arguments: [String]) throws -> RecordedRun {
            try RecordedRun(
                "migrate", source: .emulated(emulation), arguments: arguments,
                movingTarget: cluster,
                beforeStart: { source in
                    for database in [0, 3] {
                        for index in 0..<20 {
                            try source.execute(
                                .command(
                                    ["SET", "k\(index)", "\(database)"].map { Array($0.utf8) },
                                    database: database))
                        }
                    }
                })
        }
        let refused = try run([])
        let outcome = try refused.waitForEnd()
        #expect(outcome.exitCode == 4, "\(outcome)")
        #expect(outcome.standardError.contains("dbs: {3: 0}"), "\(outcome)")
        #expect(try refused.targetState().isEmpty)
        let directory = try TemporaryDirectory()
        let path = directory.file("dbs.yaml")
        try "dbs: {3: 0}\n".write(toFile: path, atomically: true, encoding: .utf8)
        let mapped = try run(["--config", path])
        #expect(try mapped.waitForEnd().exitCode == 0)
        #expect(try mapped.targetState().count == 20)
    }

    /// Sentinels know where the target is, and are asked again when it changes: in agreement, or
    /// because the master died.
    @Test(arguments: [7, 8] as [UInt64])
    func sentinelsAreFollowed(_ seed: UInt64) throws {
        let sentinel = try RedisSentinel()
        var run = try TrafficRun(seed: seed, records: Self.records, target: sentinel)
        var isChanged = false
        let half = Self.records / 2
        try run.write(meanwhile: { records in
            guard !isChanged, records > half else { return }
            isChanged = true
            if seed == 7 { try sentinel.failOver() } else { sentinel.servers[0].stop() }
        })
        try sentinel.waitUntil(masterIsNot: 0)
        try run.finish().expectSuccess()
        #expect(isChanged)
    }
}

extension TrafficRun {
    /// Writes all of it while slots go from master to master and back, and looks at the end.
    /// - Returns: how many slots moved.
    func expectSuccess(
        whileSlotsMoveIn cluster: RedisCluster, seed: UInt64
    ) throws -> Int {
        var run = self
        let mover = SlotMover(cluster, seed: seed)
        try run.write()
        let moves = try mover.stop()
        try cluster.waitUntilStable()
        try run.finish().expectSuccess()
        print("\(moves) slots moved")
        return moves
    }
}

/// Moves slots that hold keys to another master and back, one after the other, until it is stopped.
final class SlotMover: @unchecked Sendable {
    // Sendable: what both threads touch is behind the lock; the rest is the thread's own.
    private let lock = NSLock()
    private var isStopping = false
    private var moves = 0
    private var failure: (any Error)?
    private let ended = DispatchSemaphore(value: 0)

    /// - Parameter between: what happens after each slot, with its number.
    init(
        _ cluster: RedisCluster, seed: UInt64,
        between: @escaping @Sendable (Int) throws -> Void = { _ in }
    ) {
        let thread = Thread { [self] in
            var random = SeededGenerator(seed: seed)
            var round = 0
            do {
                while !lock.withLock({ isStopping }) {
                    try moveOne(cluster, &random)
                    try between(round)
                    round += 1
                }
            } catch {
                lock.withLock { failure = error }
            }
            ended.signal()
        }
        thread.start()
    }

    private func moveOne(_ cluster: RedisCluster, _ random: inout SeededGenerator) throws {
        // Nodes know by and by who is a master.
        let master = try cluster.owner(of: Int.random(in: 0..<16384, using: &random))
        let client = try cluster.servers[master].client()
        guard case .bulk(let key) = try client.call("RANDOMKEY"),
            let slot = try client.command(
                [Array("CLUSTER".utf8), Array("KEYSLOT".utf8), key]
            ).integer
        else { return }
        let home = try cluster.owner(of: Int(slot))
        var other = home
        while other == home {
            other = try cluster.owner(of: Int.random(in: 0..<16384, using: &random))
        }
        try cluster.move(slot: Int(slot), to: other)
        try cluster.move(slot: Int(slot), to: home)
        lock.withLock { moves += 2 }
    }

    /// Waits for the end of the move under way.
    /// - Returns: how many slots were moved.
    func stop() throws -> Int {
        lock.withLock { isStopping = true }
        ended.wait()
        if let failure { throw failure }
        return moves
    }
}

extension RedisCluster {
    /// The slots of some keys that there are.
    func slotsOfKeys() throws -> Set<Int> {
        var slots: Set<Int> = []
        for server in servers {
            let client = try server.client()
            for _ in 0..<10 {
                guard case .bulk(let key) = try client.call("RANDOMKEY") else { continue }
                let answer = try client.command([Array("CLUSTER".utf8), Array("KEYSLOT".utf8), key])
                if let slot = answer.integer { slots.insert(Int(slot)) }
            }
        }
        return slots
    }
}

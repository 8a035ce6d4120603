import Bytes
import CAllocGate
import DragonflySimulator
import Reactor
import RedisTarget
import TestSupport
import Testing

@testable import Replication

/// P7: after warm-up nothing is allocated per record between socket and socket.
@Suite(.serialized) struct AllocationTests {
    @Test func theGateCountsAllocations() {
        guard ag_is_counting() else { return }
        let before = ag_allocations()
        let block = UnsafeMutableRawPointer.allocate(byteCount: 100, alignment: 1)
        let after = ag_allocations()
        block.deallocate()
        #expect(after - before == 1)
    }

    #if !DEBUG
        // A whole core on this thread: decode, route, encode, reply accounting, with a real
        // redis-server behind it. Only the counters are not published meanwhile.
        @Test(
            arguments: [false, true], [ReplicationSettings.ConflictPolicy.overwrite, .skip])
        func recordsAllocateNothing(
            _ hasRules: Bool, policy: ReplicationSettings.ConflictPolicy
        ) throws {
            try expectNoAllocations(hasRules, policy: policy)
        }

        /// Nor does a record that is paced, by rates, latency, and the memory of a target with a limit.
        @Test func pacedRecordsAllocateNothing() throws {
            var rate = RateLimits()
            rate.operationsPerSecond = 150_000
            rate.bytesPerSecond = 30_000_000
            rate.maxLatencyMilliseconds = 5
            try expectNoAllocations(
                false, policy: .overwrite, rate: rate,
                targetArguments: ["--maxmemory", "256mb", "--maxmemory-policy", "noeviction"])
        }

        /// Nor one that goes to the master of its slot, and whose key is remembered until the replicas
        /// have it.
        @Test(arguments: [0, 1])
        func recordsIntoAClusterAllocateNothing(_ replicasPerMaster: Int) throws {
            guard ag_is_counting() else { return }
            let cluster = try RedisCluster(replicasPerMaster: replicasPerMaster)
            try expectNoAllocations(false, policy: .overwrite, port: cluster.servers[0].port)
        }

        private func expectNoAllocations(
            _ hasRules: Bool, policy: ReplicationSettings.ConflictPolicy,
            rate: RateLimits = RateLimits(), targetArguments: [String] = []
        ) throws {
            let redis = try RedisServer(arguments: targetArguments)
            try expectNoAllocations(hasRules, policy: policy, rate: rate, port: redis.port)
        }

        private func expectNoAllocations(
            _ hasRules: Bool, policy: ReplicationSettings.ConflictPolicy,
            rate: RateLimits = RateLimits(), port: UInt16
        ) throws {
            guard ag_is_counting() else { return }
            var data = SyntheticData(seed: 7)
            data.flowCount = 2
            data.strings = .init(count: 200_000, elements: 0, elementBytes: 64)
            data.expiringPercent = 20
            var traffic = LiveTraffic(recordCount: 120_000, seed: 7)
            traffic.recordsDuringFullSync = 10_000
            let master = try SimulatorServer(source: .synthetic(data, traffic: traffic))
            try master.start()
            defer { master.stop() }

            var settings = ReplicationSettings(
                mode: .replicate, source: Endpoint(host: "127.0.0.1", port: master.port),
                target: Endpoint(host: "127.0.0.1", port: port))
            if hasRules {
                settings.keyRules.databases = [0: 1]
                settings.keyRules.include.globs = ["*"]
                settings.keyRules.exclude.prefixes = ["none:"]
                settings.keyRules.exclude.suffixes = ["7"]
                settings.keyRules.exclude.types = ["stream"]
                settings.keyRules.exclude.commands = ["PFADD"]
                settings.keyRules.targetPrefix = "copy:"
            }
            settings.conflictPolicy = policy
            settings.rate = rate
            settings.cores = .count(1)
            let shared = try CoreShared(settings)
            let core = try Core(
                settings: settings, shared: shared,
                source: try Replicator.resolve(settings.source, "source"),
                targets: try Replicator.targetPlaces(settings))
            core.tickNanoseconds = 3_600_000_000_000
            let watch = AllocationWatch(core)
            try core.reactor.run(watch)

            #expect(core.failure == nil)
            let filtered = core.flows.reduce(0) { $0 + $1.progress.journal.filtered }
            #expect(filtered > 0 || !hasRules)
            #expect(watch.snapshot.records >= 10_000)
            #expect(watch.journal.records >= 10_000)
            #expect(watch.snapshot.allocations == 0, "snapshot entries")
            #expect(watch.journal.allocations == 0, "journal records")
        }

        /// The parts of a big value, of each kind.
        @Test(arguments: SyntheticData.Kind.allCases)
        func partsAllocateNothing(_ kind: SyntheticData.Kind) throws {
            guard ag_is_counting() else { return }
            let redis = try RedisServer()
            var data = SyntheticData(seed: 8)
            let shape = SyntheticData.Shape(count: 1, elements: 600_000, elementBytes: 24)
            switch kind {
            case .string: data.strings = .init(count: 1, elements: 0, elementBytes: 200 << 20)
            case .hash: data.hashes = shape
            case .list: data.lists = shape
            case .set: data.sets = shape
            case .sortedSet: data.sortedSets = shape
            case .stream:
                data.streams = shape
                data.deliveredEntries = 300_000
            }
            let master = try SimulatorServer(source: .synthetic(data))
            try master.start()
            defer { master.stop() }
            let settings = ReplicationSettings(
                mode: .replicate, source: Endpoint(host: "127.0.0.1", port: master.port),
                target: Endpoint(host: "127.0.0.1", port: redis.port))
            let shared = try CoreShared(settings)
            let core = try Core(
                settings: settings, shared: shared,
                source: try Replicator.resolve(settings.source, "source"),
                targets: try Replicator.targetPlaces(settings))
            core.tickNanoseconds = 3_600_000_000_000
            let watch = PartWatch(core)
            try core.reactor.run(watch)
            #expect(core.failure == nil)
            #expect(watch.commands >= 300)
            #expect(watch.allocations == 0, "\(kind)")
        }
    #endif
}

/// Stands between reactor and core, and counts this thread's allocations while records pass.
private final class AllocationWatch: ReactorOwner {
    struct Span {
        var start: (records: Int, allocations: UInt64)?
        var end: (records: Int, allocations: UInt64)?

        var records: Int { (end?.records ?? 0) - (start?.records ?? 0) }
        var allocations: UInt64 { (end?.allocations ?? 1) - (start?.allocations ?? 0) }

        /// Counts between two numbers of records. What is read ahead of them must be of the same
        /// kind, so there are many more records than are counted.
        mutating func note(_ records: Int) {
            if start == nil, records >= 50_000 {
                start = (records, ag_allocations())
            } else if let start, end == nil, records >= max(80_000, start.records + 10_000) {
                end = (records, ag_allocations())
            }
        }
    }

    let core: Core
    var snapshot = Span()
    var journal = Span()

    init(_ core: Core) {
        self.core = core
    }

    func turnEnding() {
        core.turnEnding()
        snapshot.note(core.flows.reduce(0) { $0 + $1.progress.snapshot.applied })
        // The journal inside the snapshot warms up what the journal after it uses.
        journal.note(core.flows.reduce(0) { $0 + $1.progress.journal.applied })
        if snapshot.end != nil, journal.end != nil, !core.wasStopped {
            core.take(.stop)
        }
    }

    func connected(_ socket: Socket) { core.connected(socket) }
    func ready(_ socket: Socket) { core.ready(socket) }
    func failed(_ socket: Socket, _ error: SystemError) { core.failed(socket, error) }
    func timerFired(_ timer: Int) { core.timerFired(timer) }
    func received(_ word: UInt64) { core.received(word) }
}

/// The same for the commands that build one value.
private final class PartWatch: ReactorOwner {
    let core: Core
    private var start: (commands: Int, allocations: UInt64)?
    private(set) var commands = 0
    private(set) var allocations: UInt64 = 0

    init(_ core: Core) {
        self.core = core
    }

    func turnEnding() {
        core.turnEnding()
        // A string is one command, sent in parts of about this size.
        let sent = max(core.target.commandsSent, core.lane.bytesSent >> 18)
        if start == nil, sent >= 200 { start = (sent, ag_allocations()) }
        guard let start, core.shadows?.isOpen(flow: 0, number: 1) ?? false else {
            if start != nil, !core.wasStopped { core.take(.stop) }
            return
        }
        commands = sent - start.commands
        allocations = ag_allocations() - start.allocations
    }

    func connected(_ socket: Socket) { core.connected(socket) }
    func ready(_ socket: Socket) { core.ready(socket) }
    func failed(_ socket: Socket, _ error: SystemError) { core.failed(socket, error) }
    func timerFired(_ timer: Int) { core.timerFired(timer) }
    func received(_ word: UInt64) { core.received(word) }
}

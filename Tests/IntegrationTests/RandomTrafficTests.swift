import DragonflySimulator
import Foundation
import TestSupport
import Testing

/// Whatever clients do to a source of any release, before, during and after the full sync: the target
/// ends with the source's data, every key, and every record is accounted for.
@Suite(.serialized) struct RandomTrafficTests {
    /// `DF2REDIS_TRAFFIC_SEEDS` and `DF2REDIS_TRAFFIC_RECORDS` make it longer: see Tests/torture.
    private static func setting(_ name: String, or value: Int) -> Int {
        ProcessInfo.processInfo.environment[name].flatMap { Int($0) } ?? value
    }

    static let seeds = (0..<setting("DF2REDIS_TRAFFIC_SEEDS", or: 6)).map {
        UInt64($0 + setting("DF2REDIS_TRAFFIC_FIRST", or: 1))
    }
    private static let records = setting("DF2REDIS_TRAFFIC_RECORDS", or: 4000)

    @Test(arguments: seeds)
    func anyTrafficLeadsToTheSameState(_ seed: UInt64) throws {
        let outcome = try run(seed)
        #expect(outcome.comparison.keysCompared > 100, "\(outcome.line)")
    }

    /// The same with filters and mappings of each kind: the target ends with the source's data, filtered
    /// and renamed by a few lines of this test.
    @Test(arguments: ruleRuns)
    func rulesLeadToTheirState(_ seed: UInt64, _ rules: TrafficRules) throws {
        let outcome = try run(seed, rules)
        #expect(outcome.comparison.keysCompared > 5, "\(outcome.line)")
        #expect(outcome.report.journal.filtered > 0 || !rules.filters, "\(outcome.line)")
    }

    /// All rules in turn, each at least once.
    private static let ruleRuns = (0..<max(seeds.count, TrafficRules.all.count)).map {
        (seeds[0] + UInt64($0), TrafficRules.all[$0 % TrafficRules.all.count])
    }

    private func run(_ seed: UInt64, _ rules: TrafficRules? = nil) throws -> TrafficRun.Outcome {
        var run = try TrafficRun(seed: seed, records: Self.records, rules: rules)
        try run.write()
        let outcome = try run.finish()
        outcome.expectSuccess()
        let report = outcome.report
        #expect(outcome.evictions > 0 && outcome.hasRested, "\(outcome.line)")
        #expect(report.jsonTextsWritten > 0 || rules != nil, "\(outcome.line)")
        return outcome
    }
}

/// Rules for keys, as a configuration has them, and what they make of a key.
struct TrafficRules: Sendable, CustomTestStringConvertible {
    let name: String
    let configuration: String
    var filters = true
    /// Where a key of the source is on the target, nil if it is not there.
    let place: @Sendable (StateKey, StateEntry) -> StateKey?

    var testDescription: String { name }

    func applied(to state: ServerState) -> ServerState {
        var result: ServerState = [:]
        for (key, entry) in state {
            if let place = place(key, entry) { result[place] = entry }
        }
        return result
    }

    private static func text(_ key: StateKey) -> String {
        String(decoding: key.name, as: UTF8.self)
    }

    static let all: [TrafficRules] = [
        TrafficRules(
            name: "prefixes",
            configuration: "filter: {include: {prefixes: [l, 's:', any, z, t, x, h]}}"
        ) { key, _ in
            let text = text(key)
            return ["l", "s:", "any", "z", "t", "x", "h"].contains { text.hasPrefix($0) }
                ? key : nil
        },
        TrafficRules(
            name: "suffixes and globs",
            configuration: "filter: {exclude: {suffixes: ['1', '2'], globs: ['*[3-5]']}}"
        ) { key, _ in
            guard let last = key.name.last else { return key }
            return 49...53 ~= last ? nil : key
        },
        TrafficRules(name: "databases", configuration: "dbs: {0: 3, 2: 0}") { key, _ in
            switch key.database {
            case 0: StateKey(database: 3, name: key.name)
            case 2: StateKey(database: 0, name: key.name)
            default: nil
            }
        },
        TrafficRules(
            name: "a prefix more, databases exchanged",
            configuration: """
                dbs: {0: 1, 1: 0, 2: 2}
                keys: {addPrefix: 'copy:'}
                """, filters: false
        ) { key, _ in
            StateKey(
                database: [1, 0, 2][key.database], name: Array("copy:".utf8) + key.name)
        },
        TrafficRules(
            name: "another prefix",
            configuration: """
                keys: {replacePrefix: {from: l, to: 'list/'}}
                filter: {include: {prefixes: [l]}}
                """
        ) { key, _ in
            guard key.name.first == UInt8(ascii: "l") else { return nil }
            return StateKey(
                database: key.database, name: Array("list/".utf8) + key.name.dropFirst())
        },
        TrafficRules(
            name: "a prefix less",
            configuration: """
                keys: {stripPrefix: x}
                filter: {include: {globs: ['x*'], databases: [0, 2]}}
                """
        ) { key, _ in
            guard key.name.first == UInt8(ascii: "x"), key.database != 1 else { return nil }
            return StateKey(database: key.database, name: Array(key.name.dropFirst()))
        },
        TrafficRules(
            name: "without strings and hashes",
            configuration: "filter: {exclude: {types: [string, hash]}}"
        ) { key, entry in
            // The emulated source keeps its JSON values in strings.
            let isJSON = text(key).hasPrefix("j:json")
            return ["string", "hash"].contains(entry.type) && !isJSON ? nil : key
        },
        TrafficRules(
            name: "lists and sorted sets with a prefix",
            configuration: """
                filter: {include: {types: [list, zset]}, exclude: {globs: ['*7']}}
                keys: {addPrefix: 'only:'}
                dbs: {0: 0, 1: 4, 2: 5}
                """
        ) { key, entry in
            guard ["list", "zset"].contains(entry.type), key.name.last != UInt8(ascii: "7") else {
                return nil
            }
            return StateKey(
                database: [0, 4, 5][key.database], name: Array("only:".utf8) + key.name)
        },
    ]
}

/// One seeded run: a source with random traffic, df2redis, a redis-server or several.
struct TrafficRun {
    /// How a run ended.
    struct Outcome {
        let comparison: StateComparison
        let report: Report
        let complaints: [String]
        let evictions: Int
        /// Every flow has rested in the full sync, if flows of this run rest at all.
        let hasRested: Bool
        /// Seed, what was chosen, and figures.
        let line: String

        /// Equal, everything accounted for, nothing failed, nothing against the rules.
        func expectSuccess() {
            print(line)
            #expect(comparison.differences == [], "\(line)")
            #expect(complaints == [], "\(line)")
            for counts in [report.snapshot, report.journal] {
                #expect(counts.failed == 0 && counts.pending == 0, "\(line)")
                #expect(
                    counts.read
                        == counts.applied + counts.filtered + counts.skipped + counts.repaired,
                    "\(line)")
            }
            #expect(report.findings.filter { $0.kind != "skipped" } == [], "\(line)")
            #expect(report.exitCode == 143, "\(line)")
        }
    }

    private let seed: UInt64
    private let records: Int
    private let target: (any MovingTarget)?
    private let emulation: EmulationOptions
    private let title: String
    private let run: RecordedRun
    private var traffic: RandomTraffic
    private var random: SeededGenerator
    private let rules: TrafficRules?
    private let directory: TemporaryDirectory
    private let mayFlush: Bool
    private let restsFlows: Bool
    private var looker: RespClient
    private var evictions = 0
    private var slowdowns = 0

    /// Chooses everything from the seed, fills the source in part, and starts df2redis.
    init(
        seed: UInt64, records: Int, rules: TrafficRules? = nil, target: (any MovingTarget)? = nil
    ) throws {
        self.rules = rules
        self.target = target
        self.seed = seed
        self.records = records
        var random = SeededGenerator(seed: seed)
        let release = EmulatedRelease.allCases[Int(seed) % EmulatedRelease.allCases.count]
        var emulation = EmulationOptions(
            release: release, flowCount: Int.random(in: 1...8, using: &random))
        emulation.seed = seed
        emulation.stream.seed = seed
        emulation.stream.compression =
            StreamOptions.Compression.allCases.randomElement(using: &random) ?? .lz4
        emulation.stream.chunkBytes = [0, 64, 512, 65536].randomElement(using: &random) ?? 0
        emulation.markerIntervalMilliseconds = [0, 20, 4000].randomElement(using: &random) ?? 0
        emulation.bucketPauseMicroseconds =
            [0, 500, 3000].randomElement(using: &random) ?? 0
        var options = RandomTraffic.Options(seed: seed)
        options.usesMemcached = seed % 4 == 0
        if target?.databaseCount == 1 { options.databases = 1 }
        emulation.memcachedPort = options.usesMemcached ? 11_211 : 0
        let segmentations: [Segmentation] = [.whole, .random(seed: seed), .fixed(97)]
        let segmentation = segmentations.randomElement(using: &random) ?? .whole
        // By commands alone, pending entries of deleted messages cannot be made.
        let method = [WriteMethod.automatic, .restore].randomElement(using: &random) ?? .automatic
        mayFlush = seed % 3 == 0
        restsFlows = seed % 4 < 2
        let title =
            "seed \(seed), release \(release.rawValue), \(emulation.flowCount) flows, "
            + "\(emulation.stream.compression), chunks of \(emulation.stream.chunkBytes), "
            + "\(segmentation), \(method.rawValue)" + (restsFlows ? ", flows rest" : "")
            + (rules.map { ", \($0.name)" } ?? "")
        let cores = Int.random(in: 1...4, using: &random)
        self.title = title + ", \(cores) cores"
        self.emulation = emulation
        let rests = restsFlows ? Self.rests(flowCount: emulation.flowCount, &random) : []
        traffic = RandomTraffic(options)
        var first = traffic
        let before = Int.random(in: 0...records / 4, using: &random)
        self.random = random
        directory = try TemporaryDirectory()
        var arguments = ["--write-method", method.rawValue, "--cores", "\(cores)"]
        if let rules {
            // Whatever the target holds is of this run.
            let text = rules.configuration + "\nflush: apply\n"
            let path = directory.file("rules.yaml")
            try text.write(toFile: path, atomically: true, encoding: .utf8)
            arguments += ["--config", path]
        }
        run = try RecordedRun(
            "replicate", source: .emulated(emulation), segmentation: segmentation,
            faults: rests, readDelayMilliseconds: rests.isEmpty ? 0 : 5, arguments: arguments,
            movingTarget: target,
            beforeStart: { source in
                for _ in 0..<before { try source.execute(first.next(at: TrafficRun.now())) }
            })
        traffic = first
        looker = try RespClient(port: run.source.redisPort)
    }

    /// Now and then a source without memory deletes any key.
    private mutating func evict() throws {
        let database = target?.databaseCount == 1 ? 0 : Int.random(in: 0...2, using: &random)
        try looker.call("SELECT", "\(database)")
        guard case .bulk(let key) = try looker.call("RANDOMKEY") else { return }
        if try run.source.evict(key, database: database) { evictions += 1 }
    }

    /// Each flow rests once while its snapshot is sent, whose header alone is longer than this.
    private static func rests(flowCount: Int, _ random: inout SeededGenerator) -> [Fault] {
        (0..<flowCount).map { flow in
            Fault(
                .stall(milliseconds: Int.random(in: 20...300, using: &random)),
                at: .flow(flow, byte: Int.random(in: 0..<100, using: &random)))
        }
    }

    /// A flow's connection rests, or is slow from now on, or no longer. No more than what a v1.20
    /// bears, which gives up on a flow that has 64 KB to send for half a second.
    private mutating func slowDown() {
        let flow = Int.random(in: 0..<run.source.flowCount, using: &random)
        slowdowns += 1
        switch Int.random(in: 0..<3, using: &random) {
        case 0:
            run.source.perform(
                .stall(milliseconds: Int.random(in: 20...300, using: &random)), onFlow: flow)
        case 1:
            run.source.setPacing(
                .pause(
                    everyBytes: Int.random(in: 2000...8000, using: &random),
                    milliseconds: Int.random(in: 1...5, using: &random)), flow: flow)
        default: run.source.setPacing(nil, flow: flow)
        }
    }

    /// A key may expire between two commands that read it: then all is read again.
    private static func state(_ read: () throws -> ServerState) throws -> ServerState {
        for _ in 0..<20 {
            if let state = try? read() { return state.mapValues(withoutSignOfZero) }
        }
        return try read().mapValues(withoutSignOfZero)
    }

    static func state(ofPort port: UInt16) throws -> ServerState {
        try state { try StateReader(RespClient(port: port)).read() }
    }

    /// Redis keeps the sign of a zero score in a large sorted set, and loses it in a compact one: two
    /// servers may hold the same set in either form.
    private static func withoutSignOfZero(_ entry: StateEntry) -> StateEntry {
        guard case .zset(let members) = entry.value else { return entry }
        var entry = entry
        entry.value = .zset(
            members.map { ScoredMember(member: $0.member, score: $0.score == 0 ? 0 : $0.score) })
        return entry
    }

    /// Part of a key's name: `DF2REDIS_TRAFFIC_WATCH` prints the steps that name it.
    private static let watched = ProcessInfo.processInfo.environment["DF2REDIS_TRAFFIC_WATCH"]

    private static func text(_ step: RandomTraffic.Step) -> String {
        func text(_ words: [[UInt8]]) -> String {
            words.map { word in
                String(decoding: word.map { 32..<127 ~= $0 ? $0 : 46 }, as: UTF8.self)
            }.joined(separator: " ")
        }
        return switch step {
        case .command(let words, let database): "db \(database) " + text(words)
        case .malformed(let words, let database): "db \(database) " + text(words)
        case .memcached(let words): "memcached " + text(words)
        case .transaction(let commands, let database):
            "db \(database) MULTI " + commands.map(text).joined(separator: "; ")
        }
    }

    static func now() -> Int64 { Int64(Date().timeIntervalSince1970 * 1000) }

    /// Goes on until the journals have as many records as wanted, or so many more.
    /// - Parameter meanwhile: gets their number now and then.
    mutating func write(
        more: Int? = nil, meanwhile: (_ records: Int) throws -> Void = { _ in }
    ) throws {
        let wanted = more.map { run.source.counters.records + $0 } ?? records
        var steps = 0
        while run.source.counters.records < wanted {
            if steps % 64 == 0 {
                try run.checkRunning()
                try meanwhile(run.source.counters.records)
                let flows = 0..<run.source.flowCount
                traffic.allowsFlushes =
                    mayFlush && flows.allSatisfy { run.source.lastAcknowledged(flow: $0) != nil }
                try run.source.expire(limit: 10)
                try evict()
                if restsFlows, Int.random(in: 0..<8, using: &random) == 0 { slowDown() }
            }
            let step = traffic.next(at: Self.now())
            let reply = try run.source.execute(step)
            if let watched = Self.watched, "\(Self.text(step))".contains(watched) {
                print("LSNs \(run.source.nextLSNs): \(Self.text(step)) -> \(reply)")
            }
            steps += 1
            // Before the replica is there nothing is journaled: no need to write all the while.
            if run.source.sessionCount == 0 { usleep(200) }
        }
    }

    /// Waits until all is applied, ends df2redis, and compares.
    func finish() throws -> Outcome {
        try run.waitUntilAcknowledged()
        run.interrupt()
        let ended = try run.waitForEnd(timeoutSeconds: 120)
        let report = try run.report()
        var rules = StateComparison.Rules()
        // Between the end of the run and the comparison a key may go on either side.
        try run.source.settle()
        var expected = try Self.state(ofPort: run.source.redisPort)
        if let rules = self.rules { expected = rules.applied(to: expected) }
        rules.nearExpiryMilliseconds = Self.now() + 20_000
        // v1.20 has no PEXPIRETIME: a key that is read again has its expiry from two readings.
        // And a cluster moves a key with the time that it has left.
        rules.expiryToleranceMilliseconds =
            emulation.release == .v1_20 || target is RedisCluster ? 100 : 0
        // Nor has its DUMP what came with Redis 7 (protocol.md 3.9.7).
        rules.hasOldStreams = emulation.release == .v1_20
        let comparison = StateComparison(
            expected: expected, actual: try Self.state(run.targetState), rules: rules)
        let counters = run.source.counters
        let line =
            "\(title): \(counters.records) records, \(counters.blobs) in the full sync, "
            + "\(counters.baselines) baselines, \(counters.openChunkIds) chunks open at once; "
            + "\(comparison.keysCompared) keys compared, "
            + "\(comparison.expiringKeysCompared) of them expiring, "
            + "\(comparison.nearExpiry.count) about to expire; journal read \(report.journal.read), "
            + "applied \(report.journal.applied), filtered \(report.journal.filtered), skipped \(report.journal.skipped), "
            + "repaired \(report.journal.repaired), failed \(report.journal.failed); "
            + "\(evictions) keys evicted, \(slowdowns) slowdowns; "
            + "\(report.keysRepaired) keys repaired, \(report.keysToRepair) not; "
            + "exit \(ended.exitCode)"
            + (report.findings.filter { $0.kind != "skipped" }.prefix(5).map {
                "\n    \($0.kind) db \($0.database) \($0.key) \($0.command): \($0.reason)"
            }.joined())
        let rested = Set(
            run.source.faults.compactMap { fault in
                if case .flow(let flow, 0..<100) = fault.place { flow } else { nil }
            })
        return Outcome(
            comparison: comparison, report: report, complaints: run.complaints,
            evictions: evictions,
            hasRested: !restsFlows || rested.count == emulation.flowCount, line: line)
    }
}

import Bytes
import DragonflySimulator
import Foundation
import TestSupport
import Testing

/// `conflict.policy` skip and panic: what the target had is there to the byte, whatever the source does
/// to keys of that name before, during and after the full sync; every other key is the source's; and
/// all is counted.
@Suite(.serialized) struct ConflictTests {
    /// Every way of writing a baseline meets a key of every type.
    @Test(arguments: WriteMethod.allCases)
    func migrateSkipsWhatIsThere(_ method: WriteMethod) throws {
        let recording = try TestSupport.Recording("types-lz4")
        let expected = try recording.expected()
        // One in three of each type, those that Redis cannot hold included.
        var keys: [StateKey] = []
        for (_, entries) in Dictionary(grouping: expected, by: \.value.type) {
            let names = entries.map(\.key).sorted()
            keys += stride(from: 0, to: names.count, by: 3).map { names[$0] }
        }
        var foreign = ForeignKeys(keys: keys, seed: 1)
        let run = try RecordedRun(
            "migrate",
            source: .recording(DragonflySimulator.Recording(folder: recording.path)),
            arguments: ["--write-method", method.rawValue, "--conflict", "skip"],
            prepare: { _, target, _ in try foreign.write(to: target) })
        let outcome = try run.waitForEnd(timeoutSeconds: 120)
        let report = try run.report()
        #expect(outcome.exitCode == 0, "\(outcome)")
        try foreign.expectUntouched(on: run.target)

        let kept = Set(keys)
        let rules = try StateComparison.Rules(recording)
        let known = KnownLosses(recording)
        let others = { (state: ServerState) in
            state.filter { !kept.contains($0.key) && !known.mayBeListed($0.key) }
        }
        let comparison = StateComparison(
            expected: others(expected), actual: others(try run.targetState()), rules: rules)
        if method != .commands { #expect(comparison.differences == []) }
        let streams = comparison.differences.filter { !$0.contains("stream") }
        #expect(streams == [])
        #expect(comparison.keysCompared > 50)
        #expect(report.keysKept == keys.count && report.keptKeys == Set(kept.map(Self.asReported)))
        #expect(report.snapshot.read == expected.count && report.snapshot.failed == 0)
        for type in report.types {
            let entries = expected.filter { $0.value.type == type.type }
            guard !Self.foreignTypes.contains(type.type) else {
                #expect(type.snapshot.skipped == type.snapshot.read, "\(type)")
                continue
            }
            let keptOfType = entries.keys.filter { kept.contains($0) }.count
            #expect(type.snapshot.skipped == keptOfType, "\(type)")
        }
        #expect(run.complaints == [])
    }

    /// With clients that write to such keys all the while.
    @Test(arguments: RandomTrafficTests.seeds)
    func replicateSkipsWhatIsThere(_ seed: UInt64) throws {
        let release = EmulatedRelease.allCases[Int(seed) % EmulatedRelease.allCases.count]
        var emulation = EmulationOptions(release: release, flowCount: 1 + Int(seed) % 5)
        emulation.seed = seed
        emulation.stream.seed = seed
        emulation.bucketPauseMicroseconds = [0, 500, 3000][Int(seed) % 3]
        // Else a key that is deleted before its turn has neither baseline nor record, and is as one
        // that is made later (`keysMadeLaterAreTheSources`).
        emulation.omitsRedundantWrites = false
        let method: WriteMethod = [.automatic, .restore, .commands][Int(seed) % 3]
        var traffic = RandomTraffic(RandomTraffic.Options(seed: seed))
        var foreign = ForeignKeys(keys: [], seed: seed)
        let run = try RecordedRun(
            "replicate", source: .emulated(emulation),
            arguments: ["--write-method", method.rawValue, "--conflict", "skip"],
            beforeStart: { source in
                for _ in 0..<1500 { try source.execute(traffic.next(at: TrafficRun.now())) }
                foreign.keys = try Self.someKeys(of: source.redisPort)
            },
            prepare: { _, target, _ in try foreign.write(to: target) })
        let line = "seed \(seed), release \(release.rawValue), \(method.rawValue)"
        // A key that is made before the snapshot begins would have no baseline of the old one.
        while run.source.counters.baselines == 0 {
            try run.checkRunning()
            usleep(1000)
        }
        var steps = 0
        while run.source.counters.records < 3000 {
            if steps % 64 == 0 {
                try run.checkRunning()
                try run.source.expire(limit: 10)
            }
            try run.source.execute(traffic.next(at: TrafficRun.now()))
            steps += 1
        }
        try run.waitUntilAcknowledged()
        run.interrupt()
        let outcome = try run.waitForEnd(timeoutSeconds: 120)
        let report = try run.report()
        try foreign.expectUntouched(on: run.target, line)

        var rules = StateComparison.Rules()
        try run.source.settle()
        rules.nearExpiryMilliseconds = TrafficRun.now() + 20_000
        rules.expiryToleranceMilliseconds = release == .v1_20 ? 100 : 0
        rules.hasOldStreams = release == .v1_20
        let kept = Set(foreign.keys)
        // By commands, pending entries of deleted messages cannot be made.
        let others = { (state: ServerState) in
            state.filter {
                !kept.contains($0.key) && (method != .commands || $0.value.type != "stream")
            }
        }
        let comparison = StateComparison(
            expected: others(try TrafficRun.state(ofPort: run.source.redisPort)),
            actual: others(try TrafficRun.state(ofPort: run.target.port)), rules: rules)
        print(
            "\(line): \(kept.count) keys kept, \(comparison.keysCompared) others compared, "
                + "\(report.recordsOfKeptKeys) records of kept keys, \(report.keysRepaired) repaired"
        )
        #expect(comparison.differences == [], "\(line)")
        #expect(comparison.keysCompared > 50, "\(line)")
        #expect(
            report.keysKept == kept.count && report.keptKeys == Set(kept.map(Self.asReported)),
            "\(line)")
        #expect(report.recordsOfKeptKeys > 100, "\(line)")
        #expect(report.findings.filter { $0.kind == "failed" || $0.kind == "repair" } == [])
        #expect(outcome.exitCode == 143, "\(line): \(outcome)")
        #expect(run.complaints == [], "\(line)")
    }

    /// The run ends at the first key that is there, which nothing has touched, and names it.
    @Test(arguments: ["migrate", "replicate"], WriteMethod.allCases)
    func panicEndsTheRun(command: String, method: WriteMethod) throws {
        var foreign = ForeignKeys(keys: [StateKey(0, "list:7")], seed: 3)
        let run = try RecordedRun(
            command, source: .emulated(EmulationOptions(release: .v1_40, flowCount: 2)),
            arguments: ["--write-method", method.rawValue, "--conflict", "panic"],
            beforeStart: { source in
                for number in 0..<50 {
                    try source.execute("SET string:\(number) v")
                    try source.execute("RPUSH list:\(number) a b c")
                }
            },
            prepare: { _, target, _ in try foreign.write(to: target) })
        while run.source.counters.baselines == 0 {
            try run.checkRunning()
            usleep(1000)
        }
        for _ in 0..<100 { try run.source.execute("RPUSH list:7 d") }
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 4, "\(outcome)")
        #expect(outcome.standardError.contains("list:7"), "\(outcome)")
        #expect(outcome.standardError.contains("conflict.policy"), "\(outcome)")
        try foreign.expectUntouched(on: run.target)
        let report = try run.report()
        #expect(report.snapshot.failed == 1)
        #expect(try run.deadLetters().map(\.key) == ["list:7"])
        #expect(run.complaints == [])
    }

    /// A baseline that is refused before the target has looked tells nothing of the key, so it is kept.
    @Test func aRefusedBaselineOpensNoKey() throws {
        let target = try RedisServer()
        let client = try target.client()
        try client.call("RPUSH", "list", "theirs")
        try client.call("ACL", "SETUSER", "default", "-restore")
        let run = try RecordedRun(
            "replicate", source: .emulated(EmulationOptions(release: .v1_40, flowCount: 2)),
            arguments: ["--conflict", "skip"], target: target,
            beforeStart: { source in
                try source.execute("RPUSH list ours")
                try source.execute("SET string v")
            })
        try run.waitUntilAcknowledgedFirst()
        try run.source.execute("RPUSH list more")
        try run.source.execute("SET string new")
        try run.waitUntilAcknowledged()
        run.interrupt()
        _ = try run.waitForEnd()
        #expect(
            try client.call("LRANGE", "list", "0", "-1").elements?.compactMap(\.text) == ["theirs"])
        #expect(try client.call("GET", "string").text == "new")
        let report = try run.report()
        #expect(report.snapshot.failed == 1 && report.recordsOfKeptKeys == 1)
        #expect(report.findings.map(\.key) == ["list"])
        #expect(run.complaints == [])
    }

    /// Nothing there, nothing to panic about.
    @Test func panicWithoutAConflictIsNone() throws {
        let recording = try TestSupport.Recording("types-lz4")
        let run = try RecordedRun(
            "migrate",
            source: .recording(DragonflySimulator.Recording(folder: recording.path)),
            arguments: ["--conflict", "panic"])
        let outcome = try run.waitForEnd(timeoutSeconds: 120)
        #expect(outcome.exitCode == 0, "\(outcome)")
        let report = try run.report()
        #expect(report.keysKept == 0 && report.snapshot.failed == 0)
    }

    /// The policy is about keys of the snapshot: one that the source makes later is written as the
    /// journal says, whatever the target has of that name. No reply could tell whose it is.
    @Test(arguments: ["skip", "panic"])
    func keysMadeLaterAreTheSources(policy: String) throws {
        var foreign = ForeignKeys(keys: [StateKey(0, "later")], seed: 6)
        let run = try RecordedRun(
            "replicate", source: .emulated(EmulationOptions(release: .v1_40, flowCount: 2)),
            arguments: ["--conflict", policy],
            beforeStart: { source in
                for number in 0..<50 { try source.execute("SET string:\(number) v") }
            },
            prepare: { _, target, _ in try foreign.write(to: target) })
        try run.waitUntilAcknowledgedFirst()
        try foreign.expectUntouched(on: run.target)
        try run.source.execute("SET later ours")
        try run.waitUntilAcknowledged()
        run.interrupt()
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 143, "\(outcome)")
        let report = try run.report()
        #expect(report.keysKept == 0 && report.recordsOfKeptKeys == 0)
        #expect(try run.target.client().call("GET", "later").text == "ours")
        #expect(run.complaints == [])
    }

    /// A flush would take the kept keys with it.
    @Test func aFlushEndsTheRun() throws {
        var foreign = ForeignKeys(keys: [StateKey(0, "string:7")], seed: 4)
        let run = try RecordedRun(
            "replicate", source: .emulated(EmulationOptions(release: .v1_40, flowCount: 2)),
            arguments: ["--conflict", "skip"],
            beforeStart: { source in
                for number in 0..<50 { try source.execute("SET string:\(number) v") }
            },
            prepare: { _, target, _ in try foreign.write(to: target) })
        try run.waitUntilAcknowledgedFirst()
        try run.source.execute("FLUSHALL")
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 1, "\(outcome)")
        #expect(outcome.standardError.contains("flushed"), "\(outcome)")
        try foreign.expectUntouched(on: run.target)
        #expect(try run.report().keysKept == 1)
    }

    /// Copies that PFMERGE leaves on other flows are not taken for keys that the target had, though
    /// nothing tells them from the key itself while fewer than 16 keys have come; and none replaces
    /// such a key while another flow, of whatever core, has not heard yet that the target has it.
    @Test(arguments: [false, true])
    func copiesOfPFMERGEAreNoConflict(isKept: Bool) throws {
        let names = isKept ? (0..<20).map { "merged:\(2 * $0 + 1)" } : ["other"]
        var foreign = ForeignKeys(keys: names.map { StateKey(0, $0) }, seed: 5)
        let run = try RecordedRun(
            "migrate",
            source: .emulated(EmulationOptions(release: .v1_40, flowCount: 8)),
            faults: RecordedRun.holdingFlows(8),
            arguments: ["--conflict", "skip"],
            beforeStart: { source in
                try source.execute("SET other v")
                for number in 0..<4 { try source.execute("PFADD part:\(number) \(number)") }
                for number in 0..<40 {
                    try source.execute("PFMERGE merged:\(number) part:0 part:1 part:2 part:3")
                }
            },
            prepare: { _, target, _ in try foreign.write(to: target) })
        // All copies have come before the target answers to any.
        try run.waitUntilFlowsAreHeld()
        let client = try run.target.client()
        try client.call("CLIENT", "PAUSE", "1500", "WRITE")
        #expect(try client.call("DBSIZE").integer == Int64(names.count))
        run.releaseFlows()
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 0, "\(outcome)")
        try foreign.expectUntouched(on: run.target)
        let report = try run.report()
        #expect(report.keysKept == names.count && report.keptKeys == Set(foreign.keys))
        #expect(report.snapshot.read > 45, "no copies came")
        let others = { (state: ServerState) in
            state.filter { !foreign.keys.contains($0.key) }
        }
        let comparison = StateComparison(
            expected: others(try TrafficRun.state(ofPort: run.source.redisPort)),
            actual: others(try TrafficRun.state(ofPort: run.target.port)),
            rules: StateComparison.Rules())
        #expect(comparison.differences == [])
        #expect(comparison.keysCompared == 45 - names.count)
    }

    /// Copies of keys that were deleted or changed since leave no trace, even if a flow begins with
    /// them: what was written before enough keys told where a key belongs is read again.
    @Test(arguments: ["skip", "overwrite"], UInt64(1)...3)
    func staleCopiesOfPFMERGELeaveNoTrace(policy: String, seed: UInt64) throws {
        var emulation = EmulationOptions(release: .v1_40, flowCount: 4)
        emulation.seed = seed
        let run = try RecordedRun(
            "migrate", source: .emulated(emulation), arguments: ["--conflict", policy],
            beforeStart: { source in
                for number in 0..<40 { try source.execute("SET string:\(number) v") }
                for number in 0..<8 { try source.execute("PFADD part:\(number) \(number)") }
                let parts = (0..<8).map { "part:\($0)" }.joined(separator: " ")
                for number in 0..<30 {
                    try source.execute("PFMERGE merged:\(number) \(parts)")
                    let change =
                        number % 2 == 0 ? "DEL merged:\(number)" : "PFADD merged:\(number) new"
                    try source.execute(change)
                }
            })
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 0, "\(outcome)")
        let report = try run.report()
        #expect(report.snapshot.read > 40 + 8 + 15, "no copies came")
        #expect(report.keysKept == 0)
        #expect(report.keysRepaired > 0, "no copy came before enough keys")
        let comparison = StateComparison(
            expected: try TrafficRun.state(ofPort: run.source.redisPort),
            actual: try TrafficRun.state(ofPort: run.target.port), rules: StateComparison.Rules())
        #expect(comparison.differences == [])
        #expect(comparison.keysCompared == 63)
    }

    /// Types that no Redis can take over, as the report names them.
    private static let foreignTypes = ["bloom", "cuckoo", "count-min", "top-k"]

    /// As the report names a key.
    private static func asReported(_ key: StateKey) -> StateKey {
        StateKey(key.database, key.name.withByteView { $0.printable() })
    }

    /// One in three of the keys that a redis-server holds.
    private static func someKeys(of port: UInt16) throws -> [StateKey] {
        let client = try RespClient(port: port)
        var keys: [StateKey] = []
        for database in 0..<3 {
            try client.call("SELECT", "\(database)")
            guard case .array(let names) = try client.call("KEYS", "*") else { continue }
            keys += names.compactMap(\.bytes).map { StateKey(database: database, name: $0) }
        }
        return keys.sorted().enumerated().filter { $0.offset % 3 == 0 }.map(\.element)
    }
}

/// Keys that somebody else has put into the target, of every type, with and without an expiry.
private struct ForeignKeys {
    var keys: [StateKey]
    private var random: SeededGenerator
    private var before: [StateKey: [RespValue]] = [:]

    init(keys: [StateKey], seed: UInt64) {
        self.keys = keys
        random = SeededGenerator(seed: seed)
    }

    mutating func write(to target: RedisServer) throws {
        let client = try target.client()
        for (index, key) in keys.enumerated() {
            try client.call("SELECT", "\(key.database)")
            for words in command(index) {
                let command = words.map { $0 == "KEY" ? key.name : Array($0.utf8) }
                let reply = try client.command(command)
                if case .error(let text) = reply { throw TestSupportError(text) }
            }
            if Bool.random(using: &random) {
                _ = try client.command([
                    Array("PEXPIREAT".utf8), key.name, Array("4102444800000".utf8),
                ])
            }
            before[key] = try content(key, client)
        }
    }

    // Also one type has its turn with every kind of key on the source.
    private mutating func command(_ index: Int) -> [[String]] {
        let commands: [[[String]]] = [
            [["SET", "KEY", "foreign \(index)"]], [["SET", "KEY", "12"]],
            [["RPUSH", "KEY", "a", "b", "\(index)"]], [["SADD", "KEY", "1", "2", "\(index)"]],
            [["SADD", "KEY", "m", "member \(index)"]],
            [["HSET", "KEY", "f", "v", "g", "\(index)"]],
            [["ZADD", "KEY", "1", "m", "2.5", "member \(index)"]],
            [["XADD", "KEY", "1-1", "f", "v"], ["XGROUP", "CREATE", "KEY", "group", "0"]],
        ]
        return commands[Int.random(in: 0..<commands.count, using: &random)]
    }

    private func content(_ key: StateKey, _ client: RespClient) throws -> [RespValue] {
        try client.call("SELECT", "\(key.database)")
        return try ["DUMP", "PEXPIRETIME"].map {
            try client.command([Array($0.utf8), key.name])
        }
    }

    func expectUntouched(on target: RedisServer, _ line: String = "") throws {
        let client = try target.client()
        #expect(before.count == keys.count && !keys.isEmpty)
        for key in keys {
            #expect(try content(key, client) == before[key], "\(key) \(line)")
        }
    }
}

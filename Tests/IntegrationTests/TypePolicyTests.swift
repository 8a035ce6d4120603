import DragonflySimulator
import Foundation
import TestSupport
import Testing

/// The `types:` policies from the configuration to the target and the report.
@Suite(.serialized) struct TypePolicyTests {
    private let folder: TemporaryDirectory

    init() throws {
        folder = try TemporaryDirectory()
    }

    private static func configuration(
        _ folder: TemporaryDirectory, _ lines: [String]
    ) throws -> String {
        let path = folder.file("configuration.yaml")
        try ("types:\n" + lines.map { "  \($0)\n" }.joined()).write(
            toFile: path, atomically: true, encoding: .utf8)
        return path
    }

    private static func played(_ name: String) throws -> SimulatorSource {
        let folder = try TestSupport.Recording(name).path
        return .recording(try DragonflySimulator.Recording(folder: folder))
    }

    /// Everything that the target gets only by policy is counted and named, and makes the run fail
    /// where the policy says so. A key that the target keeps is not a failure, whatever its type.
    @Test(arguments: ["skip", "fail"], ["overwrite", "skip"])
    func whatIsLeftOutIsNamed(_ policy: String, _ conflict: String) throws {
        let path = try Self.configuration(
            folder,
            ["json", "hashFieldExpiry", "setMemberExpiry", "probabilistic"].map {
                "\($0): \(policy)"
            })
        let expected = try TestSupport.Recording("types-lz4").expected()
        let foreign = expected.filter {
            switch $0.value.value {
            case .foreign, .json: true
            default: false
            }
        }
        let own = foreign.keys.sorted().enumerated().filter { $0.offset % 2 == 0 }.map(\.element)
        let kept = conflict == "skip" ? Set(own) : []
        let run = try RecordedRun(
            "migrate", source: Self.played("types-lz4"),
            arguments: ["--config", path, "--conflict", conflict],
            prepare: { _, target, _ in
                let client = try target.client()
                for key in kept {
                    try client.call("SELECT", "\(key.database)")
                    let reply = try client.command([Array("SET".utf8), key.name, Array("own".utf8)])
                    #expect(reply.text == "OK")
                }
            })
        let outcome = try run.waitForEnd(timeoutSeconds: 120)
        let report = try run.report()
        let actual = try run.targetState()
        let kind = policy == "skip" ? "skipped" : "failed"
        let named = Set(
            report.findings.filter { $0.kind == kind }.map { StateKey($0.database, $0.key) })
        #expect(foreign.count > 2 && Set(foreign.keys).subtracting(kept).isSubset(of: named))
        #expect(named.isDisjoint(with: actual.keys))
        #expect(named.union(actual.keys) == Set(expected.keys))
        #expect(report.keptKeys == kept && report.keysKept == kept.count)
        for key in kept {
            guard case .string(let value)? = actual[key]?.value else {
                Issue.record("\(key) is no string")
                continue
            }
            #expect(value == Array("own".utf8))
        }
        let withExpiry = report.findings.filter { $0.reason.contains("have an expiry") }
        #expect(Set(withExpiry.map(\.command)) == ["hash", "set"])
        let (skipped, failed) = policy == "skip" ? (named.count, 0) : (0, named.count)
        #expect(report.snapshot.skipped == skipped + kept.count)
        #expect(report.snapshot.failed == failed && report.deadLetters.lines == failed)
        if policy == "fail" {
            let letters = try run.deadLetters()
            #expect(Set(letters.map { StateKey($0.database, $0.key) }) == named)
            #expect(letters.allSatisfy { $0.reply.contains("(types.") })
        }
        #expect(outcome.exitCode == (policy == "skip" ? 0 : 1), "\(outcome)")
        #expect(report.memberExpiriesDropped == 0)
        let json = try #require(report.types.first { $0.type == "json" })
        #expect(json.snapshot.read > 0)
        #expect(json.snapshot.read == json.snapshot.skipped + json.snapshot.failed)
    }

    // MARK: Values in parts

    private static let partElements = 600

    /// A JSON text, hashes and a set with element expiries, each several times as large as what is
    /// held.
    private static func valuesInParts() throws -> MadeSource {
        // Seconds since 2023-02-01; the latest field of each value lives longest.
        func time(_ index: Int) throws -> [UInt8] {
            try MadeBytes.string(Array(String(180_156_295 + index).utf8))
        }
        let none = try MadeBytes.string(Array("-1".utf8))
        func key(_ type: UInt8, _ name: String) throws -> [UInt8] {
            try [type] + MadeBytes.counted(Array(name.utf8))
        }
        func name(_ index: Int) -> [UInt8] { Array("element \(index) of a value in parts".utf8) }
        var items: [UInt8] = [0xfe, 0]
        let text = #"{"a":""# + String(repeating: "x", count: 20_000) + #""}"#
        items += try key(30, "json") + MadeBytes.counted(Array(text.utf8))
        for (hash, expires) in [
            ("hash: all", { _ in true }), ("hash: some", { $0 % 2 == 0 }),
            ("hash: none", { _ in false }),
        ] as [(String, (Int) -> Bool)] {
            items += try key(31, hash) + MadeBytes.count(partElements)
            for index in 0..<partElements {
                items += try MadeBytes.counted(name(index)) + MadeBytes.counted(name(index))
                items += try expires(index) ? time(index) : none
            }
        }
        items += try key(32, "set") + MadeBytes.count(partElements)
        for index in 0..<partElements { items += try MadeBytes.counted(name(index)) + time(index) }
        return try MadeSource(items)
    }

    private func runInParts(
        _ policies: [String], conflict: String = "overwrite", own keys: [String] = [],
        pacing: Pacing = .unlimited
    ) throws -> RecordedRun {
        let path = try Self.configuration(folder, policies)
        let text = try String(contentsOfFile: path, encoding: .utf8)
        try (text + "advanced: {bigValueBytes: 4096, flowRingBytes: 65536}\n").write(
            toFile: path, atomically: true, encoding: .utf8)
        return try RecordedRun(
            "migrate", source: try Self.valuesInParts().source, pacing: pacing,
            arguments: ["--config", path, "--conflict", conflict],
            prepare: { _, target, _ in
                for key in keys { try target.client().call("SET", key, "own") }
            })
    }

    /// A key gets the latest expiry of its fields if all have one, and else none; JSON is a string.
    @Test func partsGiveTheirKeyAnExpiry() throws {
        let run = try runInParts(["hashFieldExpiry: key-ttl", "setMemberExpiry: drop-ttl"])
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 0, "\(outcome)")
        let client = try run.target.client()
        let latest = try client.call("PEXPIRETIME", "hash: all").integer ?? 0
        // 2023-02-01 is 1,675,209,600.
        let start: Int64 = 1_675_209_600 + 180_156_295
        #expect(latest == (start + Int64(Self.partElements) - 1) * 1000)
        for key in ["hash: some", "hash: none", "set", "json"] {
            #expect(try client.call("PEXPIRETIME", key).integer == -1, "\(key)")
        }
        for key in ["hash: all", "hash: some", "hash: none"] {
            #expect(try client.call("HLEN", key).integer == Int64(Self.partElements), "\(key)")
        }
        #expect(try client.call("SCARD", "set").integer == Int64(Self.partElements))
        #expect(try client.call("STRLEN", "json").integer == 20_008)
        let report = try run.report()
        #expect(report.memberExpiriesDropped == Self.partElements * 3 / 2)
        #expect(report.jsonTextsWritten == 1 && report.snapshot.applied == 5)
        #expect(try run.target.callsByCommand()["rename"] == 5)
        #expect(run.complaints == [])
    }

    /// Only values with such an expiry are left out; of what was built of them nothing stays. What
    /// the target has of that name stays in any case, if it is to be kept.
    @Test(arguments: ["skip", "fail"], ["overwrite", "skip"])
    func partsAreLeftOut(_ policy: String, _ conflict: String) throws {
        let own = ["json", "hash: all", "set"]
        let kept = conflict == "skip" ? own : []
        let run = try runInParts(
            ["json", "hashFieldExpiry", "setMemberExpiry"].map { "\($0): \(policy)" },
            conflict: conflict, own: own)
        let outcome = try run.waitForEnd()
        let report = try run.report()
        let leftOut = Set(["json", "hash: all", "hash: some", "set"]).subtracting(kept)
        let isFailure = policy == "fail"
        #expect(outcome.exitCode == (isFailure ? 1 : 0), "\(outcome)")
        let named = report.findings.filter { $0.kind == (isFailure ? "failed" : "skipped") }
        #expect(Set(named.map(\.key)) == leftOut)
        #expect(report.snapshot.failed == (isFailure ? leftOut.count : 0))
        #expect(report.snapshot.skipped == kept.count + (isFailure ? 0 : leftOut.count))
        #expect(report.snapshot.applied == 1 && report.keysKept == kept.count)
        let client = try run.target.client()
        #expect(try client.call("HLEN", "hash: none").integer == Int64(Self.partElements))
        for key in own { #expect(try client.call("GET", key).text == "own", "\(key)") }
        #expect(try client.call("DBSIZE").integer == 4)
        #expect(run.complaints == [])
    }

    /// The elements of all parts are those to be removed.
    @Test func partsAreExpiredByUs() throws {
        let run = try runInParts([
            "hashFieldExpiry: expire-by-us", "setMemberExpiry: expire-by-us",
        ])
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 0, "\(outcome)")
        let report = try run.report()
        #expect(report.elementsOpen == Self.partElements * 5 / 2)
        #expect(report.memberExpiriesDropped == 0 && report.snapshot.applied == 5)
        #expect(run.complaints == [])
    }

    /// Of a value that is given up half way, no element is removed from what the target has instead.
    @Test func partsOfKeptKeysAreNotExpired() throws {
        // Slowly: parts come before it is known that the target has the key, and after.
        let run = try runInParts(
            ["hashFieldExpiry: expire-by-us", "setMemberExpiry: expire-by-us"], conflict: "skip",
            own: ["hash: all", "set"], pacing: .bytesPerSecond(300_000))
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 0, "\(outcome)")
        let report = try run.report()
        #expect(report.keysKept == 2 && report.snapshot.applied == 3)
        #expect(report.elementsOpen == Self.partElements / 2)
        #expect(run.complaints == [])
    }

    // MARK: Counts

    /// Flags that a Redis does not have are counted and shown, from the snapshot and the journal; so is
    /// what was converted.
    @Test func flagsAreCounted() throws {
        var emulation = EmulationOptions(flowCount: 2)
        emulation.memcachedPort = 11_211
        func set(_ source: SimulatorServer, _ key: String) throws {
            try source.execute(
                .memcached(["set", key, "7", "0", "1"].map { Array($0.utf8) }))
        }
        let run = try RecordedRun(
            "replicate", source: .emulated(emulation),
            beforeStart: { source in
                try source.execute("SET s v STICK")
                try source.execute("SADDEX e 100000 a b")
                try source.execute(#"JSON.SET j $ {"a":1}"#)
                try set(source, "m")
            })
        try run.waitUntilAcknowledgedFirst()
        try run.source.execute("SET t v STICK")
        try run.source.execute("SADDEX e 100000 c")
        try set(run.source, "n")
        try run.source.execute("JSON.NUMINCRBY j $.a 2")
        try run.waitUntilAcknowledged()
        run.interrupt()
        let outcome = try run.waitForEnd()
        let report = try run.report()
        #expect(report.stickyFlagsDropped == 2 && report.memcachedFlagsDropped == 2)
        #expect(report.memberExpiriesDropped == 3 && report.jsonTextsWritten == 2)
        for text in [
            "2  sticky flags dropped", "2  memcached flags dropped",
            "3  expiries of single fields or members dropped", "2  JSON values written as strings",
        ] {
            #expect(outcome.standardOutput.contains(text), "\(outcome.standardOutput)")
        }
        #expect(try run.target.client().call("GET", "j").text == #"{"a":3}"#)
        #expect(outcome.exitCode == 143, "\(outcome)")
    }

    /// Index definitions of the snapshot are named, once.
    @Test func searchIndexesAreNamed() throws {
        var emulation = EmulationOptions(flowCount: 3)
        emulation.stream.searchIndexes = [
            "users ON HASH PREFIX 1 u: SCHEMA name TEXT", "orders ON JSON SCHEMA $.id AS id TAG",
        ]
        let run = try RecordedRun("migrate", source: .emulated(emulation))
        let outcome = try run.waitForEnd()
        let named = try run.report().findings.map { "\($0.kind) \($0.command) \($0.key)" }
        #expect(named == ["skipped FT.CREATE users", "skipped FT.CREATE orders"])
        #expect(outcome.exitCode == 0, "\(outcome)")
        #expect(outcome.standardOutput.contains("search indexes are not created"))
    }

    /// A target without the module is refused before anything is read.
    @Test func aMissingModuleIsRefusedAtTheStart() throws {
        let path = try Self.configuration(folder, ["json: module"])
        let run = try RecordedRun(
            "migrate", source: Self.played("types-lz4"), arguments: ["--config", path])
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 4, "\(outcome)")
        #expect(
            (outcome.standardOutput + outcome.standardError).contains(
                "set types.json to \"string\"")
        )
        #expect(try run.targetState().isEmpty)
        #expect(run.source.bytesSent(flow: 0) == 0)
        let rehearsal = try RecordedRun(
            "migrate", source: Self.played("types-lz4"),
            arguments: ["--config", path, "--dry-run"])
        let told = try rehearsal.waitForEnd()
        #expect(told.exitCode == 4 && "\(told)".contains("set types.json to"), "\(told)")
    }

    /// Journal records of types that are left out are counted for each type; those that are failures
    /// have their line in failed.ndjson.
    @Test(arguments: ["skip", "fail"])
    func recordsOfProbabilisticTypesAreCounted(_ policy: String) throws {
        let path = try Self.configuration(folder, ["probabilistic: \(policy)"])
        let run = try RecordedRun(
            "replicate", source: .emulated(EmulationOptions(flowCount: 2)),
            arguments: ["--config", path])
        try run.waitUntilAcknowledgedFirst()
        let commands = [
            "BF.ADD b x", "BF.ADD b y", "CF.ADD c x", "CMS.INITBYDIM s 100 4", "TOPK.RESERVE t 3",
        ]
        for command in commands { try run.source.execute(command) }
        try run.waitUntilAcknowledged()
        run.interrupt()
        let outcome = try run.waitForEnd()
        let report = try run.report()
        let counts = report.types.compactMap { type -> String? in
            let count = policy == "skip" ? type.journal.skipped : type.journal.failed
            return count > 0 ? "\(type.type) \(count)" : nil
        }
        #expect(counts.sorted() == ["bloom 2", "count-min 1", "cuckoo 1", "top-k 1"])
        #expect(report.journal.skipped + report.journal.failed == commands.count)
        #expect(Set(report.findings.map(\.key)) == ["b", "c", "s", "t"])
        if policy == "fail" {
            let letters = try run.deadLetters()
            #expect(letters.allSatisfy { $0.phase == "journal" })
            #expect(
                letters.map { "\($0.command) \($0.key)" }.sorted()
                    == commands.map { $0.split(separator: " ")[0...1].joined(separator: " ") }
                    .sorted())
        }
        #expect(outcome.exitCode == (policy == "skip" ? 143 : 1), "\(outcome)")
    }

    // MARK: Elements that expire

    static let seeds =
        (0..<(ProcessInfo.processInfo.environment["DF2REDIS_TRAFFIC_SEEDS"].flatMap {
            Int($0)
        } ?? 3)).map { UInt64($0 + 1) }

    /// Whatever clients do to hashes and sets with expiring elements: once these are due, the target
    /// holds what the source holds.
    @Test(arguments: seeds)
    func expiredElementsAreRemoved(_ seed: UInt64) throws {
        let path = try Self.configuration(
            folder, ["hashFieldExpiry: expire-by-us", "setMemberExpiry: expire-by-us"])
        var emulation = EmulationOptions(
            release: EmulatedRelease.allCases[Int(seed) % EmulatedRelease.allCases.count],
            flowCount: 1 + Int(seed) % 4)
        emulation.seed = seed
        emulation.bucketPauseMicroseconds = seed % 2 == 0 ? 2000 : 0
        var options = RandomTraffic.Options(seed: seed)
        options.usesBriefElements = true
        options.keysPerKind = 10
        options.databases = 2
        var traffic = RandomTraffic(options)
        func now() -> Int64 { Int64(Date().timeIntervalSince1970 * 1000) }
        var first = traffic
        let run = try RecordedRun(
            "replicate", source: .emulated(emulation), arguments: ["--config", path],
            beforeStart: { source in
                for _ in 0..<1500 { try source.execute(first.next(at: now())) }
            })
        traffic = first
        while run.source.sessionCount == 0 {
            try run.checkRunning()
            usleep(1000)
        }
        // Long enough that elements are due, and renewed, while it goes on.
        let end = Date(timeIntervalSinceNow: 6)
        while Date() < end {
            for _ in 0..<20 { try run.source.execute(traffic.next(at: now())) }
            try run.source.expire(limit: 10)
            usleep(10_000)
        }
        try run.waitUntilAcknowledged()
        // The last of the brief expiries is due two seconds later, and its key may be read again.
        usleep(4_500_000)
        try run.waitUntilAcknowledged()
        run.interrupt()
        let ended = try run.waitForEnd(timeoutSeconds: 120)
        let report = try run.report()
        try run.source.settle()
        let expected = try StateReader(RespClient(port: run.source.redisPort)).read()
        var rules = StateComparison.Rules()
        rules.nearExpiryMilliseconds = now() + 20_000
        rules.expiryToleranceMilliseconds = emulation.release == .v1_20 ? 100 : 0
        rules.hasOldStreams = emulation.release == .v1_20
        let actual = try run.targetState()
        // Sorted sets may differ in the sign of a zero; they are not what this is about.
        func relevant(_ state: ServerState) -> ServerState {
            state.filter { ["hash", "set"].contains($0.value.type) }
        }
        let comparison = StateComparison(
            expected: relevant(expected), actual: relevant(actual), rules: rules)
        let line =
            "seed \(seed), release \(emulation.release.rawValue): "
            + "\(comparison.keysCompared) keys compared, \(report.elementsRemoved) elements removed, "
            + "\(report.elementsOpen) to be removed later, \(report.keysRepaired) keys repaired"
        print(line)
        #expect(comparison.differences == [], "\(line)")
        #expect(report.elementsRemoved > 0 && report.elementsOpen > 0, "\(line)")
        #expect(report.memberExpiriesDropped == 0 && report.keysToRepair == 0, "\(line)")
        #expect(report.journal.failed == 0 && ended.exitCode == 143, "\(line) \(ended)")
        #expect(
            ended.standardOutput.contains("fields or members still to be removed when they expire"))
        #expect(run.complaints == [], "\(line)")
    }
}

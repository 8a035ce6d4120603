import DragonflySimulator
import Foundation
import Operations
import TestSupport
import Testing

/// P6: values of any size pass in fixed memory, and readers of the target never see a part of one.
@Suite(.serialized) struct BigValueTests {
    private static let shadows = "df2redis:*"
    /// What df2redis may take, whatever the values. Its buffers are some 8 MiB.
    private static let pssLimitMiB = 64.0

    private func shadowKeys(_ client: RespClient) throws -> [String] {
        try client.call("KEYS", Self.shadows).elements?.compactMap(\.text) ?? []
    }

    /// A string of 64 MiB, collections of a million elements in two flows, a stream with 200,000
    /// pending entries. `bench/big-values` has the full sizes.
    @Test(arguments: [0, 65536])
    func bigValuesArriveInFixedMemory(_ chunkBytes: Int) throws {
        var data = SyntheticData(seed: 13)
        data.flowCount = 2
        data.expiringPercent = 50
        data.strings = SyntheticData.Shape(count: 2, elementBytes: 64 << 20)
        data.lists = SyntheticData.Shape(count: 1, elements: 1_000_000, elementBytes: 12)
        for shape in [\SyntheticData.hashes, \.sets, \.sortedSets] {
            data[keyPath: shape] = SyntheticData.Shape(
                count: 2, elements: 300_000, elementBytes: 20)
        }
        data.streams = SyntheticData.Shape(count: 1, elements: 400_000, elementBytes: 16)
        data.deliveredEntries = 200_000
        var encoding = SnapshotOptions()
        encoding.chunkBytes = chunkBytes
        let run = try RecordedRun("migrate", source: .synthetic(data, encoding: encoding))
        let (outcome, pss) = try run.waitForEndWatchingMemory(timeoutSeconds: 300)
        #expect(outcome.exitCode == 0, "\(outcome)")
        print("big values, chunks of \(chunkBytes) bytes: at most \(Int(pss)) MiB")
        #expect(pss > 1 && pss < Self.pssLimitMiB)
        // The simulator's own comparison: it takes replies of any size.
        let verification = try Verification.run(
            host: "127.0.0.1", port: run.target.port, data: data,
            traffic: LiveTraffic(recordCount: 0))
        #expect(verification.isEqual, "\(verification.lines)")
        #expect(verification.counts.reduce(0) { $0 + $1.compared } == 10)
        let report = try run.report()
        #expect(report.snapshot.applied == 10 && report.snapshot.pending == 0)
        #expect(run.complaints == [])
        let calls = try run.target.callsByCommand()
        #expect(calls["rename"] == 10 && calls["restore"] == nil)
        // The first string has a connection of its own; the second one, too, or it does not wait.
        #expect(calls["set"] == 2 && calls["append"] == nil || calls["set"] == 1)
        #expect(calls["set"] == 2 || calls["append"]! >= 256)
    }

    /// A big string is one command for the target, which never moves it.
    @Test func aBigStringIsOneSet() throws {
        var data = SyntheticData(seed: 19)
        data.strings = SyntheticData.Shape(count: 3, elementBytes: 64 << 20)
        let run = try RecordedRun("migrate", source: .synthetic(data))
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 0, "\(outcome)")
        let verification = try Verification.run(
            host: "127.0.0.1", port: run.target.port, data: data,
            traffic: LiveTraffic(recordCount: 0))
        #expect(verification.isEqual, "\(verification.lines)")
        let report = try run.report()
        #expect(report.snapshot.applied == 3 && !outcome.standardError.contains("APPEND"))
        let calls = try run.target.callsByCommand()
        #expect(calls["set"] == 3 && calls["append"] == nil)
        // One connection, and one for each big string.
        #expect(calls["client|setname"] == 4)
    }

    /// A target that admits no second connection gets all big strings by APPEND, and that is told.
    @Test func withoutASecondConnectionStringsAreAppended() throws {
        var data = SyntheticData(seed: 20)
        data.strings = SyntheticData.Shape(count: 2, elementBytes: 16 << 20)
        let target = try RedisServer()
        let client = try target.client()
        try client.call("CONFIG", "SET", "maxclients", "2")
        let run = try RecordedRun("migrate", source: .synthetic(data), target: target)
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 0, "\(outcome)")
        try client.call("CONFIG", "SET", "maxclients", "100")
        let report = try run.report()
        #expect(outcome.standardError.contains("target: large strings are built by APPEND"))
        #expect(outcome.standardError.contains("max number of clients"))
        #expect(report.snapshot.applied == 2)
        let calls = try target.callsByCommand()
        #expect(calls["set"] == nil && calls["append"]! >= 128)
        let comparison = StateComparison(expected: data.state(), actual: try run.targetState())
        #expect(comparison.differences == [])
    }

    /// A second connection that is killed within a string is no fault of the string, which is read
    /// again; where that cannot be it is named, and the old value stays.
    @Test func aKilledSecondConnectionHasItsStringRead() throws {
        var data = SyntheticData(seed: 21)
        data.strings = SyntheticData.Shape(count: 2, elementBytes: 20 << 20)
        let keys = (0..<2).map { String(decoding: data.key(.string, $0), as: UTF8.self) }
        let target = try RedisServer()
        let client = try target.client()
        for key in keys { try client.call("SET", key, "old") }
        let run = try RecordedRun(
            "migrate", source: .synthetic(data), pacing: .bytesPerSecond(8 << 20), target: target)
        try client.call("CLIENT", "KILL", "ID", try waitForLargeArgument(client))
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 1, "\(outcome)")
        let report = try run.report()
        #expect(report.snapshot.repaired == 1 && report.snapshot.applied == 1)
        #expect(report.snapshot.pending == 0 && outcome.standardError.contains("APPEND"))
        #expect(report.findings.map(\.key) == [keys[0]])
        #expect(report.findings.first?.kind == "repair")
        #expect(report.findings.first?.reason.contains("was lost") ?? false)
        #expect(try client.call("GET", keys[0]).text == "old")
        #expect(try client.call("STRLEN", keys[1]).integer == 20 << 20)
        #expect(try shadowKeys(client) == [])
    }

    @Test func aStringOfALostConnectionIsReadAgain() throws {
        let size = 24 << 20
        let run = try RecordedRun(
            "replicate", source: .emulated(EmulationOptions(release: .newest, flowCount: 1)),
            pacing: .bytesPerSecond(8 << 20),
            beforeStart: { source in
                let value = [UInt8](repeating: 0x78, count: size)
                try source.execute([Array("SET".utf8), Array("large".utf8), value])
                try source.execute("SET small v")
            })
        let client = try run.target.client()
        try client.call("CLIENT", "KILL", "ID", try waitForLargeArgument(client))
        try run.waitUntilAcknowledgedFirst()
        try run.waitForStatus("repair") { $0["keysRepaired"]?.wholeNumber == 1 }
        run.interrupt()
        #expect(try run.waitForEnd().exitCode == 143)
        let report = try run.report()
        #expect(report.snapshot.repaired == 1 && report.snapshot.failed == 0)
        #expect(report.findings == [] && report.keysToRepair == 0)
        #expect(try client.call("STRLEN", "large").integer == Int64(size))
        #expect(try shadowKeys(client) == [])
    }

    /// Traffic during the full sync goes on beside the values that are under way.
    @Test func trafficComesBetweenTheParts() throws {
        var data = SyntheticData(seed: 14)
        data.flowCount = 2
        for shape in [\SyntheticData.hashes, \.lists, \.sets] {
            data[keyPath: shape] = SyntheticData.Shape(
                count: 3, elements: 100_000, elementBytes: 24)
        }
        data.strings.count = 2000
        var traffic = LiveTraffic(recordCount: 4000, seed: 14)
        traffic.recordsDuringFullSync = 2000
        let run = try RecordedRun(
            "replicate", source: .synthetic(data, traffic: traffic),
            segmentation: .random(seed: 5))
        try run.waitUntilApplied()
        run.interrupt()
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 143, "\(outcome)")
        let comparison = StateComparison(
            expected: data.state().merging(traffic.state()) { _, live in live },
            actual: try run.targetState())
        #expect(comparison.differences == [])
        #expect(try run.report().snapshot.applied == 2009)
        #expect(run.complaints == [])
    }

    private func slowData(_ kind: SyntheticData.Kind = .set) -> SyntheticData {
        var data = SyntheticData(seed: 15)
        if kind == .string {
            data.strings = SyntheticData.Shape(count: 1, elementBytes: 20 << 20)
        } else {
            data.sets = SyntheticData.Shape(count: 1, elements: 400_000, elementBytes: 24)
        }
        return data
    }

    /// Waits until more than 1 MiB of a string is on its way, and returns its connection's id.
    private func waitForLargeArgument(_ client: RespClient) throws -> String {
        for _ in 0..<3000 {
            for line in try client.call("CLIENT", "LIST").text?.split(separator: "\n") ?? [] {
                let fields = line.split(separator: " ")
                let buffered = fields.first { $0.hasPrefix("qbuf=") }?.dropFirst("qbuf=".count)
                if let buffered, Int(buffered) ?? 0 > 1 << 20, line.contains(" name=df2redis ") {
                    return String(fields[0].dropFirst("id=".count))
                }
            }
            usleep(10_000)
        }
        throw TestSupportError("no string was begun")
    }

    private func waitForShadow(_ client: RespClient) throws -> String {
        for _ in 0..<3000 {
            let own = try shadowKeys(client).first { $0.contains("}:df2redis:") }
            if let own { return own }
            usleep(10_000)
        }
        throw TestSupportError("no shadow was begun")
    }

    /// A run that is stopped in the middle of a value takes its part away, and the old value is as
    /// it was.
    @Test(arguments: [SyntheticData.Kind.set, .string])
    func aStoppedRunLeavesNoPart(_ kind: SyntheticData.Kind) throws {
        let data = slowData(kind)
        let key = String(decoding: data.key(kind, 0), as: UTF8.self)
        let target = try RedisServer()
        let client = try target.client()
        try client.call("SET", key, "old")
        let run = try RecordedRun(
            "migrate", source: .synthetic(data), pacing: .bytesPerSecond(3 << 20), target: target)
        if kind == .string {
            _ = try waitForLargeArgument(client)
        } else {
            let shadow = try waitForShadow(client)
            #expect(shadow.contains("}:df2redis:shadow:0:"))
            #expect(try client.call("TTL", shadow).integer == -1)
        }
        run.interrupt()
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 143, "\(outcome)")
        #expect(try shadowKeys(client) == [])
        #expect(try client.call("GET", key).text == "old")
        let report = try run.report()
        #expect(report.snapshot.pending == 0 && report.snapshot.applied == 0)
    }

    /// So does one whose rate lets nothing through at that moment: it waits for its turn.
    @Test func aStoppedRunLeavesNoPartWhateverItsRate() throws {
        let data = slowData()
        let target = try RedisServer()
        let client = try target.client()
        let run = try RecordedRun(
            "migrate", source: .synthetic(data), arguments: ["--max-bytes", "100000"],
            target: target)
        _ = try waitForShadow(client)
        run.interrupt()
        #expect(try run.waitForEnd().exitCode == 143)
        #expect(try client.call("DBSIZE").integer == 0)
    }

    /// What a killed run left is removed by the next one of its name, and nothing of others.
    @Test func aKilledRunsPartIsSwept() throws {
        let data = slowData()
        let key = String(decoding: data.key(.set, 0), as: UTF8.self)
        let target = try RedisServer()
        let client = try target.client()
        try client.call("SET", key, "old")
        let other = "df2redis:{0}:other:shadow:0:1"
        try client.call("SET", other, "v")
        let killed = try RecordedRun(
            "migrate", source: .synthetic(data), pacing: .bytesPerSecond(3 << 20), target: target)
        _ = try waitForShadow(client)
        killed.interrupt(with: SIGKILL)
        _ = try killed.waitForEnd()
        #expect(try client.call("GET", key).text == "old")
        #expect(try shadowKeys(client).count == 2)
        // The next run has nothing that is big.
        var small = SyntheticData(seed: 16)
        small.strings.count = 10
        let next = try RecordedRun("migrate", source: .synthetic(small), target: target)
        #expect(try next.waitForEnd().exitCode == 0)
        #expect(try shadowKeys(client) == [other])
        #expect(try client.call("GET", key).text == "old")
    }

    /// A value above `valueBytesLimit` is named; the others arrive.
    @Test func valuesAboveTheLimitAreNamed() throws {
        let folder = try TemporaryDirectory()
        let configuration = folder.file("configuration.yaml")
        try "advanced:\n  valueBytesLimit: 3000000\n".write(
            toFile: configuration, atomically: true, encoding: .utf8)
        var data = slowData()
        data.lists = SyntheticData.Shape(count: 1, elements: 50_000, elementBytes: 24)
        data.strings = SyntheticData.Shape(count: 1, elementBytes: 4 << 20)
        let run = try RecordedRun(
            "migrate", source: .synthetic(data), arguments: ["--config", configuration])
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 1, "\(outcome)")
        let report = try run.report()
        #expect(report.snapshot.failed == 2 && report.snapshot.applied == 1)
        #expect(Set(report.findings.map(\.key)) == ["set:00000000", "string:00000000"])
        #expect(report.findings.allSatisfy { $0.reason.contains("3000000") })
        #expect(try shadowKeys(run.target.client()) == [])
        #expect(try run.target.client().call("DBSIZE").integer == 1)
    }

    /// Rules for keys hold for big values: what is filtered is not built, and the rest goes to its
    /// name and database on the target.
    @Test func bigValuesAreFilteredAndMapped() throws {
        let folder = try TemporaryDirectory()
        let configuration = folder.file("configuration.yaml")
        try """
        dbs: {0: 3}
        filter: {exclude: {types: [list], prefixes: ["string:"]}}
        keys: {addPrefix: "copy:"}
        """.write(toFile: configuration, atomically: true, encoding: .utf8)
        var data = SyntheticData(seed: 17)
        data.expiringPercent = 100
        // One set: every second one holds integers, and is not big.
        data.sets = SyntheticData.Shape(count: 1, elements: 60_000, elementBytes: 24)
        for shape in [\SyntheticData.lists, \.hashes] {
            data[keyPath: shape] = SyntheticData.Shape(
                count: 2, elements: 60_000, elementBytes: 24)
        }
        data.streams = SyntheticData.Shape(count: 2, elements: 60_000, elementBytes: 24)
        data.strings = SyntheticData.Shape(count: 2, elementBytes: 2 << 20)
        let run = try RecordedRun(
            "migrate", source: .synthetic(data), arguments: ["--config", configuration])
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 0, "\(outcome)")
        let report = try run.report()
        #expect(report.snapshot.applied == 5 && report.snapshot.pending == 0)
        let calls = try run.target.callsByCommand()
        #expect(calls["rename"] == 5)
        #expect(calls["append"] == nil && calls["rpush"] == nil && calls["restore"] == nil)
        var expected: ServerState = [:]
        for (key, entry) in data.state() where !["list", "string"].contains(entry.type) {
            expected[StateKey(database: 3, name: Array("copy:".utf8) + key.name)] = entry
        }
        let comparison = StateComparison(expected: expected, actual: try run.targetState())
        #expect(comparison.differences == [] && comparison.keysCompared == 5)
    }

    /// `conflict.policy: skip` holds for big values of each kind: what the target has stays, and
    /// nothing is built of the source's value.
    @Test func keysOfTheTargetStay() throws {
        var data = SyntheticData(seed: 18)
        data.expiringPercent = 100
        for shape in [
            \SyntheticData.lists, \SyntheticData.hashes, \SyntheticData.sortedSets,
            \SyntheticData.streams,
        ] {
            data[keyPath: shape] = SyntheticData.Shape(count: 2, elements: 60_000, elementBytes: 24)
        }
        data.strings = SyntheticData.Shape(count: 2, elementBytes: 20 << 20)
        let kinds: [SyntheticData.Kind] = [.list, .hash, .sortedSet, .stream, .string]
        let keys = kinds.map { String(decoding: data.key($0, 0), as: UTF8.self) }
        let target = try RedisServer()
        let client = try target.client()
        for key in keys { try client.call("SET", key, "theirs") }
        let run = try RecordedRun(
            "migrate", source: .synthetic(data), arguments: ["--conflict", "skip"], target: target)
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 0, "\(outcome)")
        for key in keys { #expect(try client.call("GET", key).text == "theirs") }
        let expected = data.state().filter {
            !keys.contains(String(decoding: $0.key.name, as: UTF8.self))
        }
        let actual = try run.targetState().filter {
            !keys.contains(String(decoding: $0.key.name, as: UTF8.self))
        }
        let comparison = StateComparison(expected: expected, actual: actual)
        #expect(comparison.differences == [] && comparison.keysCompared == 5)
        let report = try run.report()
        #expect(report.snapshot.skipped == 5 && report.snapshot.applied == 5)
        #expect(report.keysKept == 5 && report.keptKeys.count == 5)
        #expect(try shadowKeys(client) == [])
        let calls = try target.callsByCommand()
        #expect(calls["renamenx"] == 5 && calls["rename"] == nil)
        // One connection, and one for the string that is new.
        #expect(calls["client|setname"] == 2 && calls["append"] == nil)
    }

    /// Somebody makes the key while its value is being built: theirs stays, and panic ends the run.
    @Test(arguments: ["skip", "panic"], [SyntheticData.Kind.set, .string])
    func aKeyMadeMeanwhileStays(_ policy: String, _ kind: SyntheticData.Kind) throws {
        let data = slowData(kind)
        let key = String(decoding: data.key(kind, 0), as: UTF8.self)
        let target = try RedisServer()
        let client = try target.client()
        let run = try RecordedRun(
            "migrate", source: .synthetic(data), pacing: .bytesPerSecond(3 << 20),
            arguments: ["--conflict", policy], target: target)
        if kind == .string {
            _ = try waitForLargeArgument(client)
        } else {
            _ = try waitForShadow(client)
        }
        try client.call("SET", key, "theirs")
        let outcome = try run.waitForEnd(timeoutSeconds: 60)
        #expect(outcome.exitCode == (policy == "skip" ? 0 : 4), "\(outcome)")
        #expect(try client.call("GET", key).text == "theirs")
        #expect(try shadowKeys(client) == [])
        let report = try run.report()
        #expect(report.snapshot.skipped == (policy == "skip" ? 1 : 0))
        #expect(report.snapshot.failed == (policy == "skip" ? 0 : 1))
    }
}

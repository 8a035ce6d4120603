import DragonflySimulator
import Replication
import TestSupport
import Testing
import Wire

/// A whole replicator with rules for keys, where random traffic does not come: flushes, a target that
/// refuses, what is counted.
@Suite struct KeyRulesRunTests {
    private final class Run {
        let source: SimulatorServer
        let target: RedisServer
        let replicator: Replicator

        init(
            rules: (inout KeyRuleSettings) -> Void, before: [(String, Int)],
            targetCommands: [String] = [],
            conflictPolicy: ReplicationSettings.ConflictPolicy = .overwrite
        ) throws {
            source = try SimulatorServer(
                source: .emulated(EmulationOptions(release: .v1_40, flowCount: 3)))
            try source.start()
            target = try RedisServer()
            for (command, database) in before {
                try source.execute(command, database: database)
            }
            let client = try target.client()
            for command in targetCommands {
                try client.command(command.split(separator: " ").map { Array($0.utf8) })
            }
            var settings = ReplicationSettings(
                mode: .replicate, source: Endpoint(host: "127.0.0.1", port: source.port),
                target: Endpoint(host: "127.0.0.1", port: target.port))
            rules(&settings.keyRules)
            settings.conflictPolicy = conflictPolicy
            replicator = try Replicator(settings: settings)
            try replicator.start()
            // Each flow follows its journal.
            for flow in 0..<source.flowCount {
                #expect(
                    source.waitForAcknowledgement(
                        flow: flow, atLeast: 1, timeoutMilliseconds: 60_000))
            }
        }

        deinit { source.stop() }

        func execute(_ command: String, database: Int = 0) throws {
            try source.execute(command, database: database)
        }

        func waitUntilApplied() {
            for (flow, end) in source.nextLSNs.enumerated() {
                #expect(
                    source.waitForAcknowledgement(
                        flow: flow, atLeast: end, timeoutMilliseconds: 60_000),
                    "\(source.report())")
            }
        }

        func end() -> RunReport {
            replicator.requestStop()
            let report = replicator.waitForEnd()
            #expect(source.waitUntilLeft(timeoutMilliseconds: 10_000))
            #expect(source.breaches == [])
            for counts in [report.progress.snapshot, report.progress.journal] {
                #expect(counts.pending == 0)
            }
            return report
        }

        func keys() throws -> [String] {
            try StateReader(target.client()).read().keys.sorted().map(\.description)
        }
    }

    private static let data = [
        ("SET k:1 a", 0), ("SET x:1 a", 0), ("RPUSH k:2 a", 0), ("HSET x:2 f v", 0),
        ("SET k:3 a", 1), ("SADD k:4 m", 2),
    ]

    @Test func entriesAreCountedByType() throws {
        let run = try Run(
            rules: {
                $0.include.prefixes = ["k:"]
                $0.exclude.types = ["set"]
                $0.databases = [0: 0, 2: 2]
            }, before: Self.data)
        let report = run.end()
        #expect(try run.keys() == ["db 0 \"k:1\"", "db 0 \"k:2\""])
        #expect(report.progress.snapshot.read == 6 && report.progress.snapshot.filtered == 4)
        let filtered = [RecordType.string, .list, .set, .zset, .hash].map {
            report.progress.snapshotByType[$0].filtered
        }
        #expect(filtered == [2, 0, 1, 0, 1])
        #expect(report.error == nil)
    }

    /// Of what else the target holds nobody knows whose it is.
    @Test(arguments: ["FLUSHALL", "FLUSHDB"])
    func aFlushEndsTheRun(_ command: String) throws {
        let run = try Run(rules: { $0.targetPrefix = "copy:" }, before: Self.data)
        let ends = run.source.nextLSNs
        try run.execute(command)
        let report = run.replicator.waitForEnd()
        #expect(report.error?.kind == .interrupted)
        #expect(report.error?.message.contains("set flush to apply") == true)
        #expect(try run.keys().count == 6)
        #expect(report.progress.journal.pending == 0)
        // Who goes on from here meets the flush again.
        #expect(report.progress.flows.map(\.appliedLSN) == ends)
    }

    /// A flush of what is not carried over is none.
    @Test func aFlushOfAFilteredDatabaseIsFiltered() throws {
        let run = try Run(rules: { $0.databases = [0: 0] }, before: Self.data)
        try run.execute("FLUSHDB", database: 1)
        try run.execute("SET k:9 a")
        run.waitUntilApplied()
        let report = run.end()
        #expect(report.error == nil)
        #expect(try run.keys().count == 5)
        // Once for each flow.
        #expect(report.progress.journal.filtered == 3)
        #expect(report.progress.journal.read == 4 && report.progress.journal.applied == 1)
    }

    /// Only databases that are ours are emptied, each once.
    @Test func aFlushStaysInTheMappedDatabases() throws {
        let run = try Run(
            rules: {
                $0.databases = [0: 5, 1: 6]
                $0.flush = .apply
            }, before: Self.data, targetCommands: ["SET foreign 1"])
        try run.execute("FLUSHALL")
        try run.execute("SET after a", database: 1)
        run.waitUntilApplied()
        #expect(try run.keys() == ["db 0 \"foreign\"", "db 6 \"after\""])
        try run.execute("SET other a")
        try run.execute("FLUSHDB", database: 1)
        run.waitUntilApplied()
        let report = run.end()
        #expect(try run.keys() == ["db 0 \"foreign\"", "db 5 \"other\""])
        #expect(report.error == nil && report.progress.journal.failed == 0)
        #expect(report.progress.journal.applied == report.progress.journal.read)
    }

    /// The target keeps a key under its name there; records name it as the source does.
    @Test func keptKeysGoByBothNames() throws {
        let run = try Run(
            rules: {
                $0.include.prefixes = ["k:"]
                $0.sourcePrefix = "k:"
                $0.targetPrefix = "copy:"
                $0.databases = [0: 3]
            }, before: Self.data, targetCommands: ["SELECT 3", "SET copy:1 foreign"],
            conflictPolicy: .skip)
        try run.execute("APPEND k:1 b")
        try run.execute("RENAME k:2 k:1")
        try run.execute("SET k:5 c")
        try run.execute("DEL k:1")
        run.waitUntilApplied()
        let report = run.end()
        #expect(report.error == nil && report.progress.keysToRepair == 0)
        #expect(try run.keys() == ["db 3 \"copy:1\"", "db 3 \"copy:5\""])
        let client = try run.target.client()
        try client.call("SELECT", "3")
        #expect(try client.call("GET", "copy:1").text == "foreign")
        #expect(report.progress.keysKept == 1 && report.progress.recordsOfKeptKeys >= 3)
        let kept = report.progress.findings.filter { $0.kind == .kept }
        #expect(kept.map(\.key) == ["k:1"] && kept.map(\.database) == [0])
        #expect(report.progress.snapshotByType[.string].skipped == 1)
    }

    /// The target's refusal names its own key; the source's is read, and written where it belongs.
    @Test func refusedRecordsAreRepaired() throws {
        let run = try Run(
            rules: {
                $0.include.prefixes = ["k:"]
                $0.sourcePrefix = "k:"
                $0.targetPrefix = "copy:"
                $0.databases = [0: 3]
            }, before: Self.data)
        let client = try run.target.client()
        try client.call("SELECT", "3")
        try client.call("SET", "copy:2", "spoiled")
        try run.execute("RPUSH k:2 b")
        try run.execute("DEL k:1 x:1")
        run.waitUntilApplied()
        let report = run.end()
        #expect(report.error == nil && report.progress.keysToRepair == 0)
        #expect(report.progress.journal.repaired == 1 && report.progress.keysRepaired == 1)
        #expect(try client.call("LRANGE", "copy:2", "0", "-1").elements?.map(\.text) == ["a", "b"])
        #expect(try run.keys() == ["db 3 \"copy:2\""])
    }

    /// A key of a kept type that becomes one of a filtered type is gone, whatever made it that.
    @Test func aKeyChangesItsType() throws {
        let run = try Run(rules: { $0.exclude.types = ["string"] }, before: Self.data)
        try run.execute("SET k:2 now-a-string")
        try run.execute("SADD k:5 m", database: 2)
        try run.execute("SET s 1", database: 2)
        try run.execute("RENAME s k:4", database: 2)
        run.waitUntilApplied()
        let report = run.end()
        #expect(report.error == nil && report.progress.keysToRepair == 0)
        #expect(try run.keys() == ["db 0 \"x:2\"", "db 2 \"k:5\""])
    }
}

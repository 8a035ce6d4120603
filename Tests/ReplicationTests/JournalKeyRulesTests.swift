import Bytes
import RedisTarget
import TestSupport
import Testing

@testable import Replication

/// What becomes of each kind of record if some of its keys are filtered, all are mapped, or types are
/// filtered (docs/guides/filters.md has the table).
@Suite struct JournalKeyRulesTests {
    /// A record of database 1, what becomes of it, what is sent, and which keys are read again.
    private struct Row {
        var record: String
        var outcome: RecordOutcome
        var command: String?
        var repairs: [String]

        static func sent(_ record: String, _ command: String) -> Row {
            Row(record: record, outcome: .sent, command: command, repairs: [])
        }

        static func filtered(_ record: String) -> Row {
            Row(record: record, outcome: .filtered, command: nil, repairs: [])
        }

        static func repaired(_ record: String, _ keys: String...) -> Row {
            Row(record: record, outcome: .repair(""), command: nil, repairs: keys)
        }
    }

    /// Keys that begin with k are kept, get a prefix, and go from database 1 to 0 and from 2 to 5.
    private static let mapping = {
        var rules = KeyRuleSettings()
        rules.include.prefixes = ["k"]
        rules.targetPrefix = "p:"
        rules.databases = [1: 0, 2: 5]
        return rules
    }()

    private func expect(
        _ rows: [Row], _ rules: KeyRuleSettings = mapping, database: Int = 1
    ) throws {
        for row in rows {
            let bench = try WriterBench(rules: rules)
            let words = row.record.split(separator: " ").map { Array($0.utf8) }
            let outcome = try bench.write(words, database: database)
            #expect(outcome == row.outcome, "\(row.record)")
            let commands = try bench.commands().map { $0.joined(separator: " ") }
            #expect(commands == (row.command.map { [$0] } ?? []), "\(row.record)")
            #expect(bench.repairKeys == row.repairs, "\(row.record)")
        }
    }

    @Test func oneKey() throws {
        try expect([
            .sent("INCR k", "INCR p:k"), .filtered("INCR x"), .sent("hset k f v", "hset p:k f v"),
            .sent("SET k v STICK", "SET p:k v"), .filtered("SET x k"),
            .sent("GETDEL k", "DEL p:k"), .sent("PERSIST k", "PERSIST p:k"),
            .sent("PEXPIREAT k 4102444800123", "PEXPIREAT p:k 4102444800123"),
            .sent("XGROUP CREATE k g $ MKSTREAM", "XGROUP CREATE p:k g $ MKSTREAM"),
            .filtered("XGROUP CREATE x g $ MKSTREAM"), .sent("SADDEX k 9 m", "SADD p:k m"),
            .filtered("STICK x"), .filtered("JSON.SET x $ 1"), .filtered("COPY k x"),
            .repaired("JSON.MSET x $ 1 k $ 2", "1 k"),
            .repaired("COPY x k", "1 k"), .repaired("BITOP AND k x", "1 k"),
            .repaired("SPOP k", "1 k"), .filtered("SPOP x"),
        ])
        // Another database is filtered, whatever the key.
        try expect([.filtered("INCR k"), .filtered("DEL k")], database: 0)
    }

    /// A script takes its keys from the mapped record.
    @Test func scriptsHaveTheTargetsKeys() throws {
        for (record, keys) in [
            ("INCRBYFLOAT k 1", ["1", "p:k"]), ("PREPEND k v", ["1", "p:k"]),
            ("ZREMRANGEBYLEX k - +", ["1", "p:k"]), ("SORT k1 STORE k2", ["2", "p:k2", "p:k1"]),
            ("ZRANGESTORE k1 k2 - + BYLEX", ["2", "p:k1", "p:k2"]),
        ] {
            let bench = try WriterBench(rules: Self.mapping)
            let words = record.split(separator: " ").map { Array($0.utf8) }
            #expect(try bench.write(words, database: 1) == .sent)
            let command = try #require(try bench.commands().first)
            #expect(Array(command[2..<(2 + keys.count)]) == keys, "\(record)")
        }
    }

    @Test func deletionsAndManyStrings() throws {
        try expect([
            .sent("DEL k1 x k2", "DEL p:k1 p:k2"), .sent("UNLINK x k", "UNLINK p:k"),
            .filtered("DEL x y"), .sent("MSET k1 a k2 b", "MSET p:k1 a p:k2 b"),
            .sent("MSET x k k1 x k2 b y c", "MSET p:k1 x p:k2 b"), .filtered("mset x k"),
        ])
    }

    @Test func renames() throws {
        for name in ["RENAME", "RENAMENX"] {
            try expect([
                .sent("\(name) k1 k2", "\(name) p:k1 p:k2"), .sent("\(name) k x", "DEL p:k"),
                .repaired("\(name) x k", "1 k"), .filtered("\(name) x y"),
            ])
        }
    }

    @Test func elementsThatMove() throws {
        try expect([
            .sent("SMOVE k1 k2 m", "SMOVE p:k1 p:k2 m"), .sent("SMOVE k x m", "SREM p:k m"),
            .repaired("SMOVE x k m", "1 k"), .filtered("SMOVE x y k"),
            .sent("LMOVE k1 k2 LEFT RIGHT", "LMOVE p:k1 p:k2 LEFT RIGHT"),
            .sent("LMOVE k x LEFT RIGHT", "LPOP p:k"), .sent("lmove k x right left", "RPOP p:k"),
            .sent("RPOPLPUSH k x", "RPOP p:k"), .repaired("RPOPLPUSH x k", "1 k"),
            .repaired("LMOVE x k LEFT RIGHT", "1 k"), .filtered("LMOVE x y LEFT RIGHT"),
        ])
    }

    @Test func results() throws {
        try expect([
            .repaired("SORT x STORE k", "1 k"), .filtered("SORT k STORE x"), .filtered("SORT x"),
            .sent(
                "ZUNIONSTORE k1 2 k2 k3 AGGREGATE MAX", "ZUNIONSTORE p:k1 2 p:k2 p:k3 AGGREGATE MAX"
            ),
            .repaired("ZUNIONSTORE k1 2 k2 x", "1 k1"), .filtered("ZINTERSTORE x 1 k"),
            .repaired("ZDIFFSTORE k", "1 k"), .filtered("ZDIFFSTORE x"),
            .sent("ZRANGESTORE k1 k2 0 -1", "ZRANGESTORE p:k1 p:k2 0 -1"),
            .repaired("ZRANGESTORE k x 0 -1", "1 k"), .filtered("ZRANGESTORE x k 0 -1"),
            .repaired("GEORADIUS x 1 2 3 km STORE k", "1 k"),
            .repaired("GEORADIUS k1 1 2 3 km STORE k2", "1 k2"),
            .filtered("GEORADIUS k 1 2 3 km STOREDIST x"), .filtered("GEORADIUS x 1 2 3 km"),
            Row(record: "SORT k", outcome: .skipped, command: nil, repairs: []),
            Row(record: "GEORADIUS k 1 2 3 km", outcome: .skipped, command: nil, repairs: []),
        ])
    }

    /// Which of several keys was popped depends on those that are filtered.
    @Test func popsOfSeveralKeys() throws {
        try expect([
            .sent("LMPOP 1 k LEFT COUNT 5", "LMPOP 1 p:k LEFT COUNT 5"),
            .sent("ZMPOP 2 k1 k2 MIN", "ZMPOP 2 p:k1 p:k2 MIN"),
            .repaired("LMPOP 3 k1 x k2 LEFT", "1 k1", "1 k2"), .filtered("LMPOP 1 x LEFT"),
            .repaired("LMPOP k1 k2", "1 k1", "1 k2"), .repaired("LMPOP k x", "1 k"),
        ])
    }

    @Test func otherDatabases() throws {
        try expect([
            .sent("MOVE k 2", "MOVE p:k 5"), .filtered("MOVE x 2"), .repaired("MOVE k 3", "1 k"),
            .repaired("MOVE k soon", "1 k"),
        ])
        try expect([.repaired("MOVE k 1", "1 k"), .filtered("MOVE k 4")], database: 3)
    }

    @Test func withoutKeys() throws {
        try expect([
            .sent("SCRIPT LOAD k", "SCRIPT LOAD k"),
            Row(record: "SHUTDOWN k", outcome: .unsupported(""), command: nil, repairs: []),
            Row(record: "FT.CREATE x", outcome: .unsupported(""), command: nil, repairs: []),
            // Which of its arguments are keys?
            .repaired("NOSUCH k a", "1 k"), .filtered("NOSUCH x k"),
        ])
    }

    /// Records inside a run that repairs name the source's keys.
    @Test func repairsNameTheSource() throws {
        let bench = try WriterBench(rules: Self.mapping)
        bench.noteElementExpiries("p:k1")
        let words = ["SMOVE", "k1", "k2", "m"].map { Array($0.utf8) }
        #expect(try bench.write(words, database: 1) == .repair(""))
        #expect(bench.repairKeys == ["1 k1", "1 k2"])
        bench.told(renamesKeepExpiry: true)
        let rename = ["RENAME", "k3", "k4"].map { Array($0.utf8) }
        #expect(try bench.write(rename, database: 1) == .sentRepair(""))
        #expect(bench.repairKeys == ["1 k4"])
    }

    /// A prefix of the source is taken away; other keys were not let in.
    @Test func prefixesAreReplaced() throws {
        var rules = KeyRuleSettings()
        rules.include.prefixes = ["app:"]
        rules.sourcePrefix = "app:"
        rules.targetPrefix = "n:"
        let long = "app:" + String(repeating: "x", count: 20_000)
        let target = "n:" + String(repeating: "x", count: 20_000)
        try expect(
            [
                .sent("DEL app:1 other app:", "DEL n:1 n:"), .sent("INCR app:", "INCR n:"),
                .repaired("XADD app:1 * f v", "0 app:1"),
            ], rules, database: 0)
        let bench = try WriterBench(rules: rules)
        #expect(try bench.write("APPEND", long, "v") == .sent)
        let commands = try bench.rawCommands()
        #expect(commands == [[Array("APPEND".utf8), Array(target.utf8), Array("v".utf8)]])
    }

    // MARK: Types and commands

    private static let withoutStrings = {
        var rules = KeyRuleSettings()
        rules.exclude.types = ["string"]
        return rules
    }()

    /// What replaces a key by a value of a filtered type deletes it; what changes such a value is
    /// left out, for it is not there; what says no type passes.
    @Test func filteredTypes() throws {
        try expect(
            [
                .sent("SET k v", "DEL k"), .sent("GETSET k v", "DEL k"),
                .sent("MSET a 1 b 2", "DEL a b"), .sent("RESTORE k 0 \u{0}abc REPLACE", "DEL k"),
                .filtered("INCR k"), .filtered("APPEND k v"), .filtered("GETDEL k"),
                .filtered("INCRBYFLOAT k 1"), .filtered("PFADD k a"),
                .sent("LPUSH k v", "LPUSH k v"), .sent("HINCRBY k f 1", "HINCRBY k f 1"),
                .sent("DEL k", "DEL k"), .sent("RENAME a b", "RENAME a b"),
                .sent("PERSIST k", "PERSIST k"), .repaired("MOVE k 3", "0 k", "3 k"),
                .repaired("SORT a STORE d", "0 d"), .repaired("ZUNIONSTORE d 2 a b", "0 d"),
                .repaired("ZRANGESTORE d s 0 -1", "0 d"),
                Row(record: "SORT a", outcome: .skipped, command: nil, repairs: []),
                Row(record: "GEORADIUS k 1 2 3 m", outcome: .skipped, command: nil, repairs: []),
                .repaired("JSON.SET k $ 1", "0 k"),
                .repaired("JSON.MSET k $ 1 l $ 2", "0 k", "0 l"),
            ], Self.withoutStrings, database: 0)
        var rules = KeyRuleSettings()
        rules.include.types = ["string"]
        try expect(
            [
                .sent("SET k v", "SET k v"), .filtered("LPUSH k v"),
                .filtered("LMOVE a b LEFT LEFT"),
                .filtered("SMOVE a b m"), .filtered("ZMPOP 1 k MIN"), .filtered("XADD k 1-1 f v"),
                .filtered("JSON.SET k $ 1"), .filtered("SADDEX k 9 m"),
            ], rules, database: 0)
    }

    /// Types and names together: only kept keys are deleted, under their names on the target.
    @Test func filteredTypesAndNames() throws {
        var rules = Self.mapping
        rules.exclude.types = ["string"]
        try expect(
            [
                .sent("MSET k1 a x b k2 c", "DEL p:k1 p:k2"), .filtered("MSET x a"),
                .sent("SET k v", "DEL p:k"), .filtered("SET x v"),
                .repaired("MOVE k 2", "1 k", "2 k"),
            ], rules)
    }

    /// A ghost must not delete the key on its own shard, which may be of another type by now.
    @Test func ghostsDeleteNothing() throws {
        for (rules, database) in [(Self.withoutStrings, 0), (Self.mapping, 1)] {
            let bench = try WriterBench(rules: rules)
            bench.placement = ShardPlacement(flowCount: 2)
            for index in 0..<100 {
                let key = Array("key:\(index)".utf8)
                let flow = key.withByteView { Int($0.xxh64(seed: 120_577_240_643) % 2) }
                key.withByteView { bench.placement.vote($0, flow: flow) }
            }
            let key = try #require((0..<20).map { "k\($0)" }.first { home(of: $0) == 1 })
            for (flow, outcome) in [(0, RecordOutcome.ghost), (1, .sent)] {
                let words = ["SET", key, "HYLLxyz"].map { Array($0.utf8) }
                #expect(try bench.write(words, flow: flow, database: database) == outcome)
            }
        }
    }

    private func home(of key: String) -> UInt64 {
        Array(key.utf8).withByteView { $0.xxh64(seed: 120_577_240_643) % 2 }
    }

    @Test func filteredCommands() throws {
        var rules = KeyRuleSettings()
        rules.exclude.commands = ["incr", "CONFIG"]
        try expect(
            [
                .filtered("INCR k"), .filtered("incr k"), .sent("INCRBY k 2", "INCRBY k 2"),
                .sent("NOSUCH k", "NOSUCH k"), .filtered("CONFIG SET dir /"),
            ], rules, database: 0)
        rules = KeyRuleSettings()
        rules.include.commands = ["SET", "DEL"]
        try expect(
            [.sent("SET k v", "SET k v"), .sent("del k", "del k"), .filtered("UNLINK k")], rules,
            database: 0)
    }

    // MARK: Flushes

    @Test func flushesStayInTheirDatabases() throws {
        var rules = KeyRuleSettings()
        rules.databases = [3: 0]
        rules.flush = .apply
        let bench = try WriterBench(rules: rules)
        bench.noteElementExpiries("h")
        #expect(try bench.writeFlush("FLUSHALL", "ASYNC") == .sent)
        #expect(try bench.commands() == [["FLUSHDB"]])
        #expect(!bench.mayExpireUnseen("h"))
        #expect(try bench.writeFlush("FLUSHDB", database: 3) == .sent)
        #expect(try bench.commands() == [["FLUSHDB"]])
    }

    /// A target database is first entered by a SELECT that is waited for: the flush goes on where it
    /// was, and does nothing twice.
    @Test func flushesGoOnAfterASelect() throws {
        var rules = KeyRuleSettings()
        rules.databases = [1: 0, 2: 7]
        rules.flush = .apply
        let bench = try WriterBench(rules: rules)
        #expect(try bench.writeFlush("FLUSHALL") == .blocked)
        #expect(try bench.commands() == [["FLUSHDB"], ["SELECT", "7"]])
        #expect(try bench.writeFlush("FLUSHALL") == .blocked)
        #expect(try bench.commands() == [])
    }
}

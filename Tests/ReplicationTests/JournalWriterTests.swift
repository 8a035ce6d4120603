import Bytes
import RedisTarget
import TestSupport
import Testing
import Wire

@testable import Replication

/// What the target is told for each kind of record, word for word (protocol.md 6).
@Suite struct JournalWriterTests {
    /// In the year 2100, far beyond the horizon of held expiries.
    private static let far = "4102444800123"
    private static let held = "\(WriterBench.now + 86_400_000)"

    /// A record, what becomes of it, and the commands that are sent for it.
    private struct Row {
        var record: String
        var outcome: RecordOutcome
        var commands: [String]

        init(_ record: String, _ outcome: RecordOutcome, _ commands: String...) {
            self.record = record
            self.outcome = outcome
            self.commands = commands
        }

        /// Sent as it came.
        static func same(_ record: String) -> Row { Row(record, .sent, [record]) }

        private init(_ record: String, _ outcome: RecordOutcome, _ commands: [String]) {
            self.record = record
            self.outcome = outcome
            self.commands = commands
        }
    }

    private func expect(
        _ rows: [Row], isInSnapshot: Bool = false, transaction: UInt64 = 0
    ) throws {
        let bench = try WriterBench()
        for row in rows {
            let words = row.record.split(separator: " ").map { Array($0.utf8) }
            let outcome = try bench.write(
                words, transaction: transaction, isInSnapshot: isInSnapshot)
            #expect(outcome == row.outcome, "\(row.record)")
            let commands = try bench.commands().map { $0.joined(separator: " ") }
            #expect(commands == row.commands, "\(row.record)")
        }
    }

    // MARK: As they came

    @Test func plainCommandsPass() throws {
        for isInSnapshot in [false, true] {
            let rules: [JournalRule] = [.pass, .push, .pop, .delete, .persist, .rename]
            let names = rules.flatMap { JournalRulesTests.commands[$0] ?? [] }
            try expect(names.map { .same("\($0) key a b") }, isInSnapshot: isInSnapshot)
        }
        try expect([
            .same("lpush key a"), .same("XGROUP CREATE key g $ MKSTREAM"), .same("PERSIST k"),
        ])
    }

    @Test func anyBytesPass() throws {
        let bench = try WriterBench()
        var generator = SeededGenerator(seed: 81)
        let record = [
            Array("MSET".utf8), [], [0, 13, 10], generator.bytes(63), generator.bytes(64),
            generator.bytes(16383), generator.bytes(16384), generator.bytes(100_000),
        ]
        #expect(try bench.write(record) == .sent)
        #expect(try bench.rawCommands() == [record])
    }

    @Test func moreThanTheRingPasses() throws {
        let bench = try WriterBench(ringBytes: 1 << 12)
        let value = [UInt8](repeating: 1, count: 1 << 20)
        #expect(try bench.write([Array("APPEND".utf8), [1], value]) == .sent)
        #expect(bench.commandsInFlight == 1)
        #expect(try bench.write("INCR", "n") == .blocked)
    }

    // MARK: Strings

    @Test func setKeepsWhatRedisKnows() throws {
        try expect([
            .same("SET k v"), .same("SET k v PXAT \(Self.far)"), .same("SET k v KEEPTTL"),
            .same("set k STICK"), .same("SET STICK v"),
            Row("SET k v STICK", .sent, "SET k v"),
            Row("SET k v keepttl stick _mcflags 7", .sent, "SET k v keepttl"),
            Row("SET k v PXAT \(Self.far) STICK _MCFLAGS 7", .sent, "SET k v PXAT \(Self.far)"),
            Row("SET k v _MCFLAGS 305419896", .sent, "SET k v"),
            Row("SET k", .repair("")), Row("SET k v PXAT soon", .repair("")),
            Row("SET k v PXAT", .repair("")),
        ])
    }

    @Test func droppedFlagsAreCounted() throws {
        let bench = try WriterBench()
        _ = try bench.write("SET", "k", "v", "STICK")
        _ = try bench.write("SET", "k", "v", "STICK", "_MCFLAGS", "1")
        _ = try bench.write("SET", "k", "v", "_MCFLAGS", "1")
        #expect(try bench.write("STICK", "k") == .skipped)
        #expect(bench.stickyFlagsDropped == 3)
        #expect(bench.memcachedFlagsDropped == 2)
    }

    @Test func oldValuesDoNotComeBack() throws {
        try expect([
            Row("GETSET k v", .sent, "SET k v"), Row("GETDEL k", .sent, "DEL k"),
            Row("DELEX k", .sent, "DEL k"), Row("DELEX k IFEQ v", .repair("")),
        ])
    }

    @Test func floatsAreAddedAsTheSourceDoes() throws {
        let bench = try WriterBench()
        #expect(try bench.write("INCRBYFLOAT", "k", "0.1") == .sent)
        #expect(try bench.write("HINCRBYFLOAT", "k", "f", "0.1") == .sent)
        #expect(try bench.write("INCRBYFLOAT", "k") == .repair(""))
        let commands = try bench.commands()
        #expect(commands.map { $0[0] } == ["EVAL", "EVAL"])
        #expect(commands.map { Array($0[2...]) } == [["1", "k", "0.1"], ["1", "k", "0.1", "f"]])
    }

    // MARK: Expiry

    @Test func nearExpiriesAreHeld() throws {
        let bench = try WriterBench()
        let near = "\(WriterBench.now + 1000)"
        #expect(try bench.write("PEXPIREAT", "a", Self.far) == .sent)
        #expect(bench.heldCount == 0)
        #expect(try bench.write("PEXPIREAT", "a", near) == .sent)
        #expect(try bench.write("SET", "b", "v", "PXAT", near) == .sent)
        #expect(bench.heldCount == 2)
        #expect(
            try bench.commands() == [
                ["PEXPIREAT", "a", Self.far], ["PEXPIREAT", "a", Self.held],
                ["SET", "b", "v", "PXAT", Self.held],
            ])
        // What sets or clears an expiry, or removes the key, ends it.
        for words in [
            ["PERSIST", "b"], ["DEL", "x", "b"], ["SET", "b", "v"], ["GETSET", "b", "v"],
            ["GETDEL", "b"], ["UNLINK", "b"], ["PEXPIREAT", "b", Self.far],
            ["SET", "b", "v", "PXAT", Self.far],
        ] {
            _ = try bench.write("PEXPIREAT", "b", near)
            #expect(bench.heldCount == 2, "\(words)")
            _ = try bench.write(words.map { Array($0.utf8) })
            #expect(bench.heldCount == 1, "\(words)")
        }
        for words in [["SET", "a", "v", "KEEPTTL"], ["APPEND", "a", "x"], ["RENAME", "a", "c"]] {
            _ = try bench.write(words.map { Array($0.utf8) })
            #expect(bench.heldCount == 1, "\(words)")
        }
        _ = try bench.write("DEL", "c")
        #expect(bench.heldCount == 0)
    }

    @Test func unreadableTimesAreRepaired() throws {
        try expect([
            Row("PEXPIREAT k", .repair("")), Row("PEXPIREAT k soon", .repair("")),
            Row("PEXPIREAT k 99999999999999999999", .repair("")),
        ])
    }

    // MARK: Elements with an expiry of their own

    @Test func saddex() throws {
        try expect([
            Row("SADDEX k 100 a b", .sent, "SADD k a b"),
            Row("SADDEX k KEEPTTL 100 a", .sent, "SADD k a"),
            Row("SADDEX k keepttl 100 100", .sent, "SADD k 100"),
            Row("SADDEX k 100", .repair("")), Row("SADDEX k", .repair("")),
            Row("SADDEX k soon a", .repair("")), Row("SADDEX k KEEPTTL 100", .repair("")),
        ])
    }

    @Test func hsetex() throws {
        try expect([
            Row("HSETEX k 100 f v g w", .sent, "HSET k f v g w"),
            Row("HSETEX k KEEPTTL 100 f v", .sent, "HSET k f v"),
            Row("HSETEX k keepttl 100 1 2", .sent, "HSET k 1 2"),
            Row("HSETEX k FIELDS 1 f v", .sent, "HSET k f v"),
            Row("HSETEX k EX 10 FIELDS 2 f v g w", .sent, "HSET k f v g w"),
            Row("HSETEX k PXAT \(Self.far) FIELDS 1 f v", .sent, "HSET k f v"),
            Row("HSETEX k KEEPTTL FIELDS 1 f v", .sent, "HSET k f v"),
            Row("HSETEX k FNX FIELDS 1 f v", .repair("")),
            Row("HSETEX k FXX EX 10 FIELDS 1 f v", .repair("")),
            Row("HSETEX k 100 f", .repair("")), Row("HSETEX k 100", .repair("")),
            Row("HSETEX k", .repair("")), Row("HSETEX k WHAT 100 f v", .repair("")),
            Row("HSETEX k EX 10 FIELDS 1", .repair("")),
        ])
    }

    @Test func hsetexOfAbsentFields() throws {
        let bench = try WriterBench()
        #expect(try bench.write("HSETEX", "k", "NX", "100", "f", "v", "g", "w") == .sent)
        #expect(try bench.write("HSETEX", "k", "nx", "KEEPTTL", "100", "f", "v") == .sent)
        let commands = try bench.commands()
        #expect(commands.map { $0[0] } == ["EVAL", "EVAL"])
        #expect(commands[0][1].contains("HSETNX"))
        #expect(
            commands.map { Array($0[2...]) } == [
                ["1", "k", "f", "v", "g", "w"], ["1", "k", "f", "v"],
            ])
    }

    /// The script sets what is absent and nothing else.
    @Test func absentFieldsOnARealServer() throws {
        let bench = try WriterBench()
        _ = try bench.write("HSETEX", "h", "NX", "100", "f", "new", "g", "w")
        let server = try RedisServer()
        let client = try server.client()
        try client.call("HSET", "h", "f", "old")
        for command in try bench.rawCommands() {
            #expect(try client.command(command) == .simple("OK"))
        }
        #expect(try client.call("HGET", "h", "f").text == "old")
        #expect(try client.call("HGET", "h", "g").text == "w")
    }

    /// As many fields as a record can have, in one command.
    @Test func hsetexOfManyFields() throws {
        let bench = try WriterBench(ringBytes: 1 << 14, commandsInFlight: 64)
        var words = ["HSETEX", "k", "NX", "100"]
        for index in 0..<20_000 { words += ["field:\(index)", "value"] }
        #expect(try bench.write(words.map { Array($0.utf8) }) == .sent)
        #expect(bench.commandsInFlight == 1)
        #expect(bench.memberExpiriesDropped == 20_000)
    }

    /// An expiry that is lost is counted, once; where there was none, none is.
    @Test func droppedElementExpiriesAreCounted() throws {
        let counts: [(String, Int)] = [
            ("SADDEX k 100 a b c", 3), ("SADDEX k 100", 0), ("HSETEX k 100 f v g w", 2),
            ("HSETEX k NX 100 f v", 1), ("HSETEX k EX 10 FIELDS 1 f v", 1),
            ("HSETEX k FIELDS 1 f v", 0), ("HSETEX k KEEPTTL FIELDS 1 f v", 0),
            ("HSETEX k 100 f", 0), ("FIELDEXPIRE k 10 f", 1), ("HEXPIRE k 10 FIELDS 1 f", 1),
            ("HGETEX k FIELDS 1 f", 0), ("HGETEX k PERSIST FIELDS 1 f", 0),
            ("HGETEX k EX 10 FIELDS 1 f", 1), ("HGETEX k", 0),
        ]
        for (record, count) in counts {
            let bench = try WriterBench()
            _ = try bench.write(record.split(separator: " ").map { Array($0.utf8) })
            #expect(bench.memberExpiriesDropped == count, "\(record)")
        }
    }

    @Test func elementExpiriesAreSkipped() throws {
        try expect([
            Row("HEXPIRE k 10 NX FIELDS 1 f", .skipped), Row("FIELDEXPIRE k 10 f", .skipped),
            Row("HGETEX k EX 10 FIELDS 1 f", .skipped), Row("HGETEX k FIELDS 1 f", .skipped),
        ])
    }

    // MARK: Streams

    @Test func xaddNeedsAFinalID() throws {
        try expect([
            .same("XADD k 1-1 f v"), .same("XADD k MINID 3-0 NOMKSTREAM 1-1 f v"),
            .same("XADD k NOMKSTREAM MINID 3-0 1-1 f v"), .same("XADD k MAXLEN 0 1-1 f v"),
            .same("XADD k maxlen = 5 7 f *"), .same("XADD k 1-1 * *"),
            Row("XADD k * f v", .repair("")), Row("XADD k 5-* f v", .repair("")),
            Row("XADD k MAXLEN ~ 100 LIMIT 10 * f v", .repair("")),
            Row("XADD k NOMKSTREAM * f v", .repair("")), Row("XADD k", .repair("")),
            Row("XADD k MAXLEN", .repair("")), Row("XADD", .repair("")),
        ])
    }

    @Test func claimsByIdleTimeAreRepaired() throws {
        try expect([
            .same("XCLAIM k g c 0 1-1 TIME 5 RETRYCOUNT 1 FORCE JUSTID LASTID 1-1"),
            .same("XAUTOCLAIM k g c 0 0-0"),
            Row("XCLAIM k g c 5000 1-1", .sentRepair(""), "XCLAIM k g c 5000 1-1"),
            Row(
                "XAUTOCLAIM k g c 5000 0-0 COUNT 10", .sentRepair(""),
                "XAUTOCLAIM k g c 5000 0-0 COUNT 10"),
        ])
    }

    // MARK: Commands that read other keys

    @Test func wholeOnesPass() throws {
        try expect([
            .same("ZUNIONSTORE d 2 a b WEIGHTS 1 2"), .same("ZINTERSTORE d 1 a"),
            .same("ZDIFFSTORE d 2 a b"), .same("ZRANGESTORE d s 0 -1 REV"),
            .same("LMPOP 1 k LEFT COUNT 2"), .same("ZMPOP 1 k MIN"), .same("MOVE k 3"),
        ])
    }

    /// A source that is missing leaves the destination alone, as on Dragonfly.
    @Test func sortWithStoreOnARealServer() throws {
        let bench = try WriterBench()
        #expect(try bench.write("SORT", "k", "BY", "w_*", "DESC", "STORE", "d") == .sent)
        #expect(try bench.write("SORT", "missing", "STORE", "d") == .sent)
        let server = try RedisServer()
        let client = try server.client()
        try client.call("RPUSH", "k", "1", "2", "3")
        try client.call("MSET", "w_1", "20", "w_2", "30", "w_3", "10")
        for command in try bench.rawCommands() {
            if case .error(let message) = try client.command(command) { Issue.record("\(message)") }
        }
        let sorted = try client.call("LRANGE", "d", "0", "-1").elements?.compactMap(\.text)
        #expect(sorted == ["2", "1", "3"])
    }

    @Test func sortWithoutStoreIsSkipped() throws {
        try expect([Row("SORT k", .skipped), Row("SORT k ASC ALPHA", .skipped)])
        try expect([Row("SORT k LIMIT 0 1", .skipped)], transaction: 5)
    }

    /// Older releases cut these off per shard, so that their result is lost (protocol.md 6.8).
    @Test func cutOnesAreRepaired() throws {
        try expect([Row("SORT k", .repair(""))], transaction: 5)
        try expect([
            Row("SORT k STORE", .repair("")), Row("ZUNIONSTORE d 2 a", .repair("")),
            Row("ZUNIONSTORE d", .repair("")), Row("ZUNIONSTORE a 0", .repair("")),
            Row("ZINTERSTORE d x a", .repair("")), Row("ZRANGESTORE d", .repair("")),
            Row("ZRANGESTORE d s 0", .repair("")), Row("LMPOP 2 a LEFT", .repair("")),
            Row("LMPOP", .repair("")), Row("ZUNIONSTORE d 9223372036854775807 a", .repair("")),
            Row("ZUNIONSTORE d 9223372036854775805 a", .repair("")),
        ])
    }

    /// While baselines are missing they would compute from the wrong keys (protocol.md 3.8).
    @Test func inTheSnapshotTheyAreRepaired() throws {
        try expect(
            [
                Row("SORT k STORE d", .repair("")), Row("ZUNIONSTORE d 1 a", .repair("")),
                Row("ZRANGESTORE d s 0 -1", .repair("")), Row("MOVE k 3", .repair("")),
                Row("SORT k", .skipped), .same("LMPOP 1 k LEFT"),
            ], isInSnapshot: true)
    }

    @Test func theKeyIsNamed() throws {
        let bench = try WriterBench()
        #expect(try bench.key("SET", "k", "v") == "k")
        #expect(try bench.key("SORT", "k", "BY", "STORE", "STORE", "d") == "d")
        #expect(try bench.key("SORT", "k") == "k")
        #expect(try bench.key("SORT", "k", "STORE") == "k")
        #expect(try bench.key("XGROUP", "CREATE", "k", "g", "0") == "k")
        #expect(try bench.key("LMPOP", "1", "k", "LEFT") == "k")
        #expect(try bench.key("FLUSHALL") == nil)
        #expect(try bench.key("SET") == nil)
    }

    // MARK: The rest

    @Test func whatIsNotForRedis() throws {
        try expect([
            Row("STICK k", .skipped), Row("SHRINK k", .skipped), Row("PING", .skipped),
            Row("SCRIPT FLAGS sha no-writes", .skipped), Row("SCRIPT", .skipped),
            .same("SCRIPT LOAD return"),
            Row("JSON.SET j $ {}", .unsupported), Row("BF.ADD b x", .unsupported),
            Row("FT.CREATE i", .unsupported), Row("PREPEND k v", .repair("")),
            Row("CL.THROTTLE k 1 2 3", .repair("")), Row("NOSUCH k", .repair("")),
            Row("DFLYCLUSTER FLUSHSLOTS 0 5", .repair("")),
        ])
    }

    @Test func flushesAreSentWhenTold() throws {
        let bench = try WriterBench()
        #expect(try bench.write("FLUSHALL") == .flush)
        #expect(try bench.write("flushdb", "ASYNC") == .flush)
        #expect(try bench.commands() == [])
        #expect(try bench.writeFlush("FLUSHALL", "SYNC") == .sent)
        #expect(try bench.commands() == [["FLUSHALL", "SYNC"]])
    }

    /// PFMERGE leaves copies of its result on other shards (protocol.md 6.7).
    @Test func ghostsAreDropped() throws {
        let bench = try WriterBench()
        bench.placement = ShardPlacement(flowCount: 2)
        for index in 0..<100 {
            let key = Array("key:\(index)".utf8)
            let flow = key.withByteView { Int($0.xxh64(seed: 120_577_240_643) % 2) }
            key.withByteView { bench.placement.vote($0, flow: flow) }
        }
        // Flow 1 by the table of protocol.md 7.4.
        #expect(try bench.write("SET", "foo", "HYLLxyz", flow: 0) == .ghost)
        #expect(try bench.write("SET", "foo", "HYLLxyz", flow: 1) == .sent)
        #expect(try bench.write("SET", "foo", "data", flow: 0) == .sent)
    }

    /// A record that finds no room is as if it had not been handed in.
    @Test func blockedRecordsCountNothing() throws {
        let bench = try WriterBench(ringBytes: 1 << 12)
        // Nothing is shorter.
        while try bench.write("DEL", "") == .sent {}
        _ = try bench.commands()
        let near = "\(WriterBench.now + 1000)"
        for record in [
            "SADDEX k 100 a b", "HSETEX k 100 f v", "HSETEX k NX 100 f v", "SET k v STICK",
            "SET k v _MCFLAGS 7", "SET k v PXAT \(near)", "PEXPIREAT k \(near)", "XADD k 1-1 f v",
            "XCLAIM k g c 5 1-1", "SORT k STORE d", "GETSET k v", "INCRBYFLOAT k 1", "DEL k",
            "SCRIPT LOAD x",
        ] {
            let words = record.split(separator: " ").map { Array($0.utf8) }
            #expect(try bench.write(words) == .blocked, "\(record)")
        }
        #expect(bench.memberExpiriesDropped == 0 && bench.stickyFlagsDropped == 0)
        #expect(bench.memcachedFlagsDropped == 0 && bench.heldCount == 0)
        #expect(try bench.commands() == [])
    }
}

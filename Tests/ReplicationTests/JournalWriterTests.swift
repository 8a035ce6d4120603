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

    private func expect(
        _ rows: [RecordRow], isInSnapshot: Bool = false, transaction: UInt64 = 0
    ) throws {
        try RecordRow.expect(
            rows, on: WriterBench(), isInSnapshot: isInSnapshot, transaction: transaction)
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
            RecordRow("SET k v STICK", .sent, "SET k v"),
            RecordRow("SET k v keepttl stick _mcflags 7", .sent, "SET k v keepttl"),
            RecordRow(
                "SET k v PXAT \(Self.far) STICK _MCFLAGS 7", .sent, "SET k v PXAT \(Self.far)"),
            RecordRow("SET k v _MCFLAGS 305419896", .sent, "SET k v"),
            RecordRow("SET k", .repair("")), RecordRow("SET k v PXAT soon", .repair("")),
            RecordRow("SET k v PXAT", .repair("")),
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
            RecordRow("GETSET k v", .sent, "SET k v"), RecordRow("GETDEL k", .sent, "DEL k"),
            RecordRow("DELEX k", .sent, "DEL k"),
        ])
    }

    /// Digests are computed by nobody here.
    @Test func delexWithADigestIsRepaired() throws {
        try expect([
            .repaired("DELEX k IFDEQ 6d1a0d2"), .repaired("DELEX k IFDNE 6d1a0d2"),
            .repaired("DELEX k IFEQ"), .repaired("DELEX k WHAT v"), .repaired("DELEX"),
            .repaired("DELEX k IFEQ v w"),
        ])
    }

    /// It is recorded even if it deleted nothing, so the target must compare.
    @Test func delexComparesOnARealServer() throws {
        let server = try RedisServer()
        let client = try server.client()
        for (option, value, remains) in [
            ("IFEQ", "v", false), ("ifeq", "w", true), ("IFNE", "v", true), ("ifne", "w", false),
            ("IFEQ", "", true),
        ] {
            let bench = try WriterBench()
            _ = try bench.write(["DELEX", "k", option, value].map { Array($0.utf8) })
            _ = try bench.write(["DELEX", "missing", option, value].map { Array($0.utf8) })
            try client.call("SET", "k", "v")
            for command in try bench.rawCommands() {
                #expect(try client.command(command) == .simple("OK"))
            }
            #expect(try client.call("EXISTS", "k").integer == (remains ? 1 : 0), "\(option)")
        }
    }

    /// What is put in front of a value is put in front of it on the target; its expiry stays.
    @Test func prependOnARealServer() throws {
        let bench = try WriterBench()
        let bytes: [UInt8] = [0, 255, 13, 10]
        #expect(try bench.write([Array("PREPEND".utf8), [107], bytes]) == .sent)
        #expect(try bench.write("PREPEND", "new", "v") == .sent)
        #expect(try bench.write("PREPEND", "list", "v") == .sent)
        #expect(try bench.write("PREPEND", "k") == .repair(""))
        let server = try RedisServer()
        let client = try server.client()
        try client.call("SET", "k", "old", "PXAT", Self.far)
        try client.call("RPUSH", "list", "a")
        let replies = try bench.rawCommands().map { try client.command($0) }
        #expect(replies[0] == .simple("OK") && replies[1] == .simple("OK"))
        // What the source could do and the target cannot is a difference, and must be told.
        if case .error(let message) = replies[2] {
            #expect(message.hasPrefix("WRONGTYPE"))
        } else {
            Issue.record("\(replies[2])")
        }
        #expect(try client.call("GET", "k").bytes == bytes + Array("old".utf8))
        #expect(try client.call("PEXPIRETIME", "k").integer == Int64(Self.far))
        #expect(try client.call("GET", "new").text == "v")
        #expect(try client.call("PTTL", "new").integer == -1)
    }

    /// memcached's incr and decr are recorded without their amount (protocol.md 6.8).
    @Test func incrementsOfMemcachedAreRepaired() throws {
        let bench = try WriterBench()
        try RecordRow.expect([.same("INCR k"), .same("DECR k")], on: bench)
        bench.told(memcachedIncrements: true)
        try RecordRow.expect(
            [
                .repaired("INCR k"), .repaired("DECR k"), .same("INCRBY k 1"),
                .same("DECRBY k 1"),
            ], on: bench)
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
            RecordRow("PEXPIREAT k", .repair("")), RecordRow("PEXPIREAT k soon", .repair("")),
            RecordRow("PEXPIREAT k 99999999999999999999", .repair("")),
        ])
    }

    // MARK: The rest

    /// v1.30 keeps the expiry that the new name had, and does not say so (protocol.md 6.8).
    @Test func renamesThatKeepAnExpiryAreRepaired() throws {
        let bench = try WriterBench()
        bench.told(renamesKeepExpiry: true)
        #expect(try bench.write("RENAME", "a", "b") == .sentRepair(""))
        #expect(bench.repairKeys == ["0 b"])
        #expect(try bench.write("RENAMENX", "a", "b") == .sentRepair(""))
        #expect(try bench.write("RENAME", "a", "a") == .sent)
        #expect(bench.repairKeys == [])
        #expect(try bench.commands().count == 3)
    }

    /// A key that is renamed to itself keeps what is held for it.
    @Test func aRenameToItselfKeepsWhatIsHeld() throws {
        let bench = try WriterBench()
        _ = try bench.write("PEXPIREAT", "a", "\(WriterBench.now + 1000)")
        _ = try bench.write("RENAME", "a", "a")
        #expect(bench.heldCount == 1)
    }

    @Test func whatIsNotForRedis() throws {
        try expect([
            RecordRow("STICK k", .skipped), RecordRow("SHRINK k", .skipped),
            RecordRow("PING", .skipped), RecordRow("SCRIPT FLAGS sha no-writes", .skipped),
            RecordRow("SCRIPT", .skipped), .same("SCRIPT LOAD return"),
            .repaired("JSON.SET j $ {}"),
            RecordRow("BF.ADD b x", .unsupported("")),
            RecordRow("CMS.MERGE d 1 s", .unsupported("")),
            RecordRow("CMS.MERGE d", .unsupported("")),
            .repaired("CL.THROTTLE k 1 2 3"), .repaired("DFLYCLUSTER FLUSHSLOTS 0 5"),
        ])
    }

    /// Index definitions stand in every flow and are named once.
    @Test func searchIndexesAreNamedOnce() throws {
        let bench = try WriterBench()
        #expect(try bench.write("FT.CREATE", "i", flow: 0) == .unsupported(""))
        #expect(try bench.write("FT.CREATE", "i", flow: 1) == .skipped)
        #expect(try bench.commands() == [])
    }

    /// The target may know what we do not; while baselines are missing, nobody knows what it reads.
    @Test func unknownCommandsPass() throws {
        let commands = ["NOSUCH k", "newcommand k x y", "NOSUCH", "ABCDEFGHIJKLMNOPQRSTUVWXYZ k"]
        try expect(commands.map { .same($0) })
        try expect(commands.map { .repaired($0) }, isInSnapshot: true)
    }

    /// What a source says must not stop or change the target, or leave the connection in another state.
    @Test func dangerousCommandsAreNamed() throws {
        try expect([
            RecordRow("SHUTDOWN NOSAVE", .unsupported("")),
            RecordRow("CONFIG SET dir /", .unsupported("")),
            RecordRow("REPLICAOF NO ONE", .unsupported("")),
            RecordRow("select 3", .unsupported("")), RecordRow("MULTI", .unsupported("")),
            RecordRow("EVAL return 0", .unsupported("")),
            .repaired("BLPOP k 0"), .repaired("SPOP k"), .repaired("EXPIRE k 10"),
        ])
    }

    /// What outcomes that ask for a repair are about.
    @Test func repairsNameTheirKeys() throws {
        let bench = try WriterBench()
        for (record, keys) in [
            ("DELEX k IFDEQ d", ["3 k"]), ("SET k v PXAT x", ["3 k"]), ("SET k v", []),
            ("DFLYCLUSTER FLUSHSLOTS 0 5", []), ("COPY a b", ["3 b"]), ("BITOP OR d a", ["3 d"]),
            ("GEORADIUS k 15 37 200 km STORE d", ["3 d"]), ("SORT a STORE", ["3 a"]),
        ] {
            let words = record.split(separator: " ").map { Array($0.utf8) }
            _ = try bench.write(words, database: 3)
            #expect(bench.repairKeys == keys, "\(record)")
        }
    }
}

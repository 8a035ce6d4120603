import TestSupport
import Testing

@testable import DragonflySimulator

/// How commands are recorded (protocol.md 5 and 6), beyond what the catalogue has.
@Suite struct EmulatedJournalTests {
    @Test func commandsOfSeveralShardsAreSliced() throws {
        let run = try EmulatedRun()
        let (a, b) = (run.key("a", on: 0), run.key("b", on: 1))
        #expect(try run.journal("MSET \(a) 1 \(b) 2") == ["0+: MSET \(a) 1", "1+: MSET \(b) 2"])
        #expect(try run.journal("mset \(a) 1 \(a) 2") == ["0: MSET \(a) 1 \(a) 2"])
        #expect(try run.journal("DEL \(a) \(b) no") == ["0+: DEL \(a)", "1+: DEL \(b)"])
        #expect(try run.journal("UNLINK \(a) \(b)") == [])
    }

    @Test func shardCountIsTheNumberOfShardsBefore138() throws {
        for (release, count) in [(EmulatedRelease.v1_35, 3), (.v1_40, 1)] {
            let run = try EmulatedRun(release, flows: 4)
            let keys = (0..<3).map { run.key("k", on: $0) }
            let words = keys.map { "\($0) 1" }.joined(separator: " ")
            let entries = try run.run("MSET \(words)").entries
            #expect(entries.map(\.entry.shardCount) == [count, count, count])
            let flush = try run.run("FLUSHALL ASYNC").entries
            #expect(flush.map(\.entry.shardCount) == Array(repeating: count == 1 ? 1 : 4, count: 4))
            #expect(Set(flush.map(\.entry.transaction)).count == 1)
            #expect(flush.map(\.flow) == [0, 1, 2, 3])
        }
    }

    @Test func slotsAreFlushedOnAllFlows() throws {
        let run = try EmulatedRun()
        try run.prepare("SET {06S} 1", "SET a{06S}b 2", "SET foo 3")
        let lines = try run.journal("DFLYCLUSTER FLUSHSLOTS 0 1 3 3")
        #expect(lines == (0..<2).map { "\($0): DFLYCLUSTER FLUSHSLOTS 0 1 3 3" })
        #expect(try run.reply("DBSIZE") == "1")
        for words in ["FLUSHSLOTS 0 x", "FLUSHSLOTS 0 1 2", "GETSLOTINFO SLOTS 1"] {
            #expect(try run.reply("DFLYCLUSTER \(words)").contains("syntax"), "\(words)")
        }
    }

    @Test func olderReleasesRecordDeletionsAsIssued() throws {
        let run = try EmulatedRun(.v1_35)
        let (a, b) = (run.key("a", on: 0), run.key("b", on: 1))
        try run.prepare("SET \(a) 1")
        #expect(try run.journal("UNLINK \(a) \(b)") == ["0+: UNLINK \(a)", "1+: UNLINK \(b)"])
    }

    @Test func failedCommandsAndEmptyOnesAreNotRecorded() throws {
        let run = try EmulatedRun()
        try run.prepare("SET s text", "SADD set a")
        for line in [
            "INCR s", "LPUSH s a", "HINCRBY s f 1", "LPOP no", "SREM no a", "HDEL no f",
            "ZREM no a",
            "SETNX s b", "GETDEL no", "PERSIST s", "EXPIRE no 10", "SPOP no", "RENAME no s",
            "SMOVE set no missing", "XADD no NOMKSTREAM * f v", "XTRIM no MAXLEN 1",
            "SORT no STORE s",
            "LMOVE no set LEFT LEFT", "BLPOP no 1", "COPY set s", "MSETNX s 1 other 1",
            "INCRBYFLOAT s 1", "NOSUCH a", "SET", "SDIFFSTORE no2 no", "MOVE s 99",
        ] {
            #expect(try run.journal(line) == [], "\(line)")
        }
        #expect(try run.reply("GET s") == "text")
    }

    @Test func successesWithoutEffectAreRecorded() throws {
        let run = try EmulatedRun(flows: 1)
        try run.prepare("SADD s a", "HSET h f 1", "ZADD z 1 a")
        for line in [
            "SADD s a", "SREM s b", "LPUSHX no a", "HDEL h no", "ZREM z no", "ZADD z NX 2 a",
            "HSETNX h f 2", "SETRANGE h2 0 x",
        ] {
            #expect(try run.journal(line) == ["0: \(line)"])
        }
        #expect(try run.journal("MOVE no 3") == ["0+: MOVE no 3"])
    }

    @Test func setIsRecordedWithAbsoluteTimesAndWithoutConditions() throws {
        let run = try EmulatedRun(flows: 1)
        #expect(
            try run.journal("set a 1 ex 10 nx stick")
                == ["0: SET a 1 PXAT 2000000010000 STICK"])
        #expect(try run.journal("SET a 1 NX GET") == [])
        #expect(try run.journal("SET a 2 XX GET KEEPTTL") == ["0: SET a 2 KEEPTTL"])
        #expect(try run.reply("PTTL a") == "10000")
        #expect(try run.journal("SET a 3 EXAT 1") == ["0: DEL a"])
        #expect(try run.journal("SET a 3 EXAT 1") == [])
        #expect(try run.reply("EXISTS a") == "0")
        #expect(try run.reply("SET a 1 EX 0") == "error ERR invalid expire time in 'set' command")
        #expect(
            try run.journal("SET a 1 PX 5 _MCFLAGS 9") == [
                "0: SET a 1 PXAT 2000000000005 _MCFLAGS 9"
            ])
    }

    @Test func expiryConditionsAreEvaluatedHere() throws {
        let run = try EmulatedRun(flows: 1)
        try run.prepare("SET a 1")
        #expect(try run.journal("EXPIRE a 10 GT") == [])
        #expect(try run.journal("EXPIRE a 10 XX") == [])
        #expect(try run.journal("EXPIRE a 10 LT") == ["0: PEXPIREAT a 2000000010000"])
        #expect(try run.journal("EXPIRE a 20 LT") == [])
        #expect(try run.journal("EXPIRE a 20 GT") == ["0: PEXPIREAT a 2000000020000"])
        #expect(try run.journal("EXPIRE a 20 NX") == [])
        #expect(try run.journal("GETEX a PX 7") == ["0: PEXPIREAT a 2000000000007"])
        #expect(try run.journal("GETEX a PERSIST") == ["0: PERSIST a"])
        #expect(try run.journal("GETEX a") == [])
        #expect(try run.journal("PEXPIREAT a 5") == ["0: DEL a"])
    }

    @Test func renameAcrossShardsIsDeletionAndRestore() throws {
        let run = try EmulatedRun()
        let (a, b) = (run.key("a", on: 0), run.key("b", on: 1))
        try run.prepare("SET \(a) 3 PX 1000 STICK")
        let entries = try run.run("RENAME \(a) \(b)").entries
        #expect(entries.map(\.flow) == [0, 1])
        #expect(entries[0].entry.words == EmulatedRun.words("DEL \(a)"))
        let payload: [UInt8] = [0, 0xc0, 3, 9, 0, 0xe1, 0x68, 0xa1, 0xbe, 0x85, 3, 0x0f, 0x8e]
        #expect(
            entries[1].entry.words
                == EmulatedRun.words("RESTORE \(b) 2000000001000") + [payload]
                + EmulatedRun.words("REPLACE ABSTTL STICK"))
        #expect(entries[0].entry.transaction != 0)
        #expect(entries[0].entry.transaction == entries[1].entry.transaction)
        #expect(try run.reply("PTTL \(b)") == "1000")

        let c = run.key("c", on: 1)
        #expect(try run.journal("RENAME \(b) \(c)") == ["1: RENAME \(b) \(c)"])
        #expect(try run.reply("PTTL \(c)") == "1000")
        #expect(try run.reply("RENAME \(c) \(c)") == "OK")
    }

    @Test(arguments: [(EmulatedRelease.v1_20, UInt8(15)), (.v1_30, 21), (.newest, 21)])
    func renamedStreamsHaveTheReleasesPayload(_ release: EmulatedRelease, _ type: UInt8) throws {
        let run = try EmulatedRun(release)
        let (a, b) = (run.key("a", on: 0), run.key("b", on: 1))
        try run.prepare("XADD \(a) 1-1 f v", "XGROUP CREATE \(a) g 0")
        let entries = try run.run("RENAME \(a) \(b)").entries
        #expect(entries.map { $0.entry.words[0] } == [text("DEL"), text("RESTORE")])
        #expect(entries[1].entry.words[3].first == type)
        #expect(entries[1].entry.words[3].suffix(10).prefix(2) == [9, 0])
        #expect(try run.reply("XLEN \(b)") == "1")
        // What a client's DUMP answers is the same.
        #expect(try run.run("DUMP \(b)").reply.bytes == entries[1].entry.words[3])
    }

    @Test func equalSeedsChooseEqualMembers() throws {
        func popped(seed: UInt64) throws -> [String] {
            let keyspace = try Keyspace()
            let executor = CommandExecutor(
                keyspace: keyspace, release: .newest, flowCount: 1, seed: seed)
            let members = (0..<200).map { "m\($0)" }.joined(separator: " ")
            _ = try executor.execute(EmulatedRun.words("SADD s \(members)"), database: 0)
            return try executor.execute(EmulatedRun.words("SPOP s 20"), database: 0).lines
        }
        #expect(try popped(seed: 1) == popped(seed: 1))
        #expect(try popped(seed: 1) != popped(seed: 2))
    }

    @Test func copyIsRestore() throws {
        let run = try EmulatedRun(flows: 1)
        try run.prepare("SET a 3 PX 1000")
        let entries = try run.run("COPY a b").entries
        #expect(entries.count == 1)
        #expect(entries[0].entry.words[0] == text("RESTORE"))
        #expect(entries[0].entry.words[2] == text("2000000001000"))
        #expect(try run.reply("PTTL b") == "1000")
        #expect(try EmulatedRun(.v1_20).reply("COPY a b") == "error ERR unknown command `COPY`")
    }

    @Test func movedKeysKeepWhatIsKnownOfThem() throws {
        let run = try EmulatedRun(flows: 1)
        try run.prepare("SET a 3 PX 1000")
        #expect(try run.journal("MOVE a 2") == ["0+: MOVE a 2"])
        #expect(try run.reply("PTTL a", database: 2) == "1000")
        #expect(try run.reply("EXISTS a") == "0")
        run.clock.milliseconds += 1000
        #expect(try run.executor.expire(limit: 1).entries.first?.entry.database == 2)
    }

    @Test func usersRestoreIsRecordedAsIssued() throws {
        let run = try EmulatedRun(flows: 1)
        try run.prepare("SET a 3")
        let payload = try #require(try run.run("DUMP a").reply.bytes)
        let words =
            EmulatedRun.words("RESTORE b 1000") + [payload] + EmulatedRun.words("STICK REPLACE")
        let execution = try run.executor.execute(words, database: 0)
        #expect(execution.reply == .ok)
        #expect(execution.entries.map(\.entry.words) == [words])
        #expect(try run.reply("PTTL b") == "1000")
        #expect(run.keyspace.details[KeyName(database: 0, key: text("b"))]?.isSticky == true)
        let past =
            EmulatedRun.words("RESTORE b 1000") + [payload] + EmulatedRun.words("REPLACE ABSTTL")
        #expect(try run.executor.execute(past, database: 0).entries.map(\.entry.words) == [past])
        #expect(try run.reply("EXISTS b") == "0")
    }

    @Test func movesBetweenListsArePopAndPush() throws {
        let run = try EmulatedRun()
        let (a, b) = (run.key("a", on: 0), run.key("b", on: 1))
        try run.prepare("RPUSH \(a) 1 2 3 4")
        #expect(
            try run.journal("LMOVE \(a) \(b) left RIGHT") == ["0+: LPOP \(a)", "1+: RPUSH \(b) 1"])
        #expect(
            try run.journal("BRPOPLPUSH \(a) \(b) 1") == ["0+: RPOP \(a)", "1+: LPUSH \(b) 4"])
        #expect(
            try run.journal("LMOVE \(a) \(a) LEFT RIGHT") == ["0: LPOP \(a)", "0: RPUSH \(a) 2"])
        let old = try EmulatedRun(.v1_30)
        try old.prepare("RPUSH \(a) 1 2")
        #expect(try old.journal("RPOPLPUSH \(a) \(a)") == ["0: LMOVE \(a) \(a) RIGHT LEFT"])
    }

    @Test func blockingCommandsActOrAnswerNull() throws {
        let run = try EmulatedRun(flows: 1)
        try run.prepare("RPUSH l 1 2 3", "ZADD z 1 a 2 b 3 c")
        #expect(try run.journal("BLPOP no l 1") == ["0: LPOP l"])
        #expect(try run.journal("BRPOP l 1") == ["0: RPOP l"])
        #expect(try run.journal("BLMPOP 1 2 no l LEFT") == ["0+: LPOP l"])
        #expect(try run.reply("BLPOP l 0") == "null")
        #expect(try run.reply("BZPOPMIN no z 0") == "[z a 1]")
        #expect(try run.journal("BZMPOP 1 1 z MAX COUNT 2") == ["0+: ZPOPMAX z 2"])
        #expect(try run.reply("BZPOPMAX z 0") == "null")
    }

    @Test func poppedMembersAreRecordedAsRemoval() throws {
        let run = try EmulatedRun(flows: 1)
        try run.prepare("SADD s a b c")
        run.executor.chooseMembers = { _, count in Array([text("b"), text("c")].prefix(count)) }
        #expect(try run.journal("SPOP s") == ["0: SREM s b"])
        #expect(try run.journal("SPOP s 5") == ["0: DEL s"])
        #expect(try run.reply("SPOP s") == "null")
        run.executor.chooseMembers = nil
        try run.prepare("SADD s a b c")
        #expect(try run.journal("SPOP s 2").first?.hasPrefix("0: SREM s ") == true)
        #expect(try run.reply("SCARD s") == "1")
    }

    @Test func movedMembersAreRemovalAndAddition() throws {
        let run = try EmulatedRun()
        let (a, b) = (run.key("a", on: 0), run.key("b", on: 1))
        try run.prepare("SADD \(a) m n")
        #expect(try run.journal("SMOVE \(a) \(b) m") == ["0+: SREM \(a) m", "1+: SADD \(b) m"])
    }

    @Test func storedResultsReplaceTheirKey() throws {
        let run = try EmulatedRun(flows: 1)
        try run.prepare("SADD s b a", "SET dst 1 PX 1000", "ZADD z 0.1 m -inf n 1e300 o")
        #expect(try run.journal("SUNIONSTORE dst s no") == ["0+: DEL dst", "0+: SADD dst a b"])
        #expect(try run.reply("PTTL dst") == "-1")
        #expect(try run.journal("SINTERSTORE dst s no") == ["0+: DEL dst"])
        #expect(
            try run.journal("ZRANGESTORE dst z 0 -1")
                == ["0+: DEL dst", "0+: ZADD dst -inf n 0.1 m 1e+300 o"])
        #expect(try run.journal("BITOP NOT dst no") == ["0+: DEL dst"])
    }

    @Test func scriptsAreRecordedCommandByCommand() throws {
        let run = try EmulatedRun()
        let (a, b) = (run.key("a", on: 0), run.key("b", on: 1))
        func evaluate(_ body: String, _ arguments: String) throws -> Execution {
            try run.executor.execute(
                [text("EVAL"), text(body)] + EmulatedRun.words(arguments), database: 0)
        }
        let body = "redis.call('SET', KEYS[1], ARGV[1])\nreturn redis.call(\"INCR\",KEYS[2])"
        let both = try evaluate(body, "2 \(a) \(b) x")
        #expect(both.lines == ["0+: SET \(a) x", "1+: INCR \(b)"])
        #expect(Set(both.entries.map(\.entry.transaction)).count == 1)
        #expect(both.reply == .integer(1))
        let single = try evaluate("redis.call('SET',KEYS[1],'y'); return 7", "1 \(a)")
        #expect(single.lines == ["0: SET \(a) y"])
        #expect(single.reply == .integer(7))
        #expect(try evaluate("for i = 1, 2 do end", "0").reply.isError)
        let loaded = try run.executor.execute(
            [text("SCRIPT"), text("LOAD"), text("return redis.call('GET',KEYS[1])")], database: 0)
        #expect(loaded.entries.map(\.flow) == [0])
        let digest = loaded.reply.plain
        #expect(try run.reply("EVALSHA \(digest) 1 \(a)") == "y")
        #expect(run.keyspace.scripts.count == 3)
    }

    @Test func newerReleasesRecordBlocksWithoutBrackets() throws {
        let run = try EmulatedRun(.v1_40)
        let (a, b) = (run.key("a", on: 0), run.key("b", on: 1))
        let commands = ["SET \(a) 1", "LPUSH \(a) 1", "INCR \(b)"].map(EmulatedRun.words)
        let execution = try run.executor.execute(transaction: commands, database: 5)
        #expect(execution.lines == ["0+: SET \(a) 1", "1+: INCR \(b)"])
        #expect(execution.entries.allSatisfy { $0.entry.operation == .command })
        #expect(execution.entries.allSatisfy { $0.entry.database == 5 })
        #expect(execution.reply.elements?.map(\.isError) == [false, true, false])
        let single = try run.executor.execute(
            transaction: [EmulatedRun.words("INCR \(a)"), EmulatedRun.words("INCR \(a)")],
            database: 0)
        #expect(single.lines == ["0: INCR \(a)", "0: INCR \(a)"])
    }

    @Test func release120BracketsBlocks() throws {
        let run = try EmulatedRun(.v1_20)
        let (a, b) = (run.key("a", on: 0), run.key("b", on: 1))
        let commands = ["SET \(a) 1", "MSET \(a) 1 \(b) 2"].map(EmulatedRun.words)
        let execution = try run.executor.execute(transaction: commands, database: 0)
        #expect(
            execution.lines
                == ["0+: SET \(a) 1", "0+: MSET \(a) 1", "1+: MSET \(b) 2", "0+: ", "1+: "])
        let entries = execution.entries.map(\.entry)
        #expect(
            entries.map(\.operation) == [.multiCommand, .multiCommand, .multiCommand, .exec, .exec])
        #expect(entries.map(\.shardCount) == [1, 2, 2, 2, 2])
        #expect(Set(entries.map(\.transaction)).count == 1)
        // A block that writes nothing leaves nothing.
        #expect(
            try run.executor.execute(transaction: [EmulatedRun.words("GET \(a)")], database: 0)
                .entries.isEmpty)
    }

    @Test func commandsCanBeAskedAboutBeforeTheyRun() throws {
        let run = try EmulatedRun(flows: 4)
        #expect(run.executor.refusal(of: EmulatedRun.words("GET")) != nil)
        #expect(run.executor.refusal(of: EmulatedRun.words("NOSUCH a")) != nil)
        #expect(run.executor.refusal(of: EmulatedRun.words("get a")) == nil)
        #expect(run.executor.isWriting(EmulatedRun.words("set a 1")))
        #expect(!run.executor.isWriting(EmulatedRun.words("get a")))
        let keys = [2, 1].map { run.key("k", on: $0) }
        #expect(run.executor.flows(of: EmulatedRun.words("MGET \(keys[0]) \(keys[1])")) == [1, 2])
        #expect(run.executor.flows(of: EmulatedRun.words("FLUSHALL")) == [0, 1, 2, 3])
        #expect(run.executor.flows(of: EmulatedRun.words("DBSIZE")) == [])
    }

    @Test func deletionsWithAConditionAreRecordedEvenIfNothingHappened() throws {
        let run = try EmulatedRun(flows: 1)
        try run.prepare("SET a 1")
        #expect(try run.journal("DELEX a IFEQ 2") == ["0: DELEX a IFEQ 2"])
        #expect(try run.reply("EXISTS a") == "1")
        #expect(try run.journal("DELEX a IFNE 2") == ["0: DELEX a IFNE 2"])
        #expect(try run.reply("EXISTS a") == "0")
        try run.prepare("SET a 1")
        #expect(try run.journal("DELEX a") == ["0: DEL a", "0: DELEX a"])
    }

    @Test func evictionIsADeletion() throws {
        let run = try EmulatedRun(.v1_30, flows: 1)
        try run.prepare("SET a 1")
        let execution = try run.executor.evict(KeyName(database: 0, key: text("a")))
        #expect(execution.entries.map(\.entry.operation) == [.expired])
        #expect(try run.executor.evict(KeyName(database: 0, key: text("a"))).entries.isEmpty)
    }

    @Test(arguments: [
        ("0.1", "0.2", "0.30000000000000004"), ("1e20", "0", "100000000000000000000"),
        ("1e21", "0", "1e+21"), ("0.000001", "0", "0.000001"), ("1e-7", "0", "1e-7"),
        ("1.5e300", "0", "1.5e+300"), ("-2", "0.5", "-1.5"), ("3", "-3", "0"),
    ])
    func floatsAreAddedInDoublePrecision(_ old: String, _ increment: String, _ sum: String) throws {
        let run = try EmulatedRun(flows: 1)
        try run.prepare("SET a \(old)", "HSET h f \(old)", "PEXPIRE a 1000")
        #expect(try run.reply("INCRBYFLOAT a \(increment)") == sum)
        #expect(try run.reply("GET a") == sum)
        #expect(try run.reply("PTTL a") == "1000")
        #expect(try run.reply("HINCRBYFLOAT h f \(increment)") == sum)
    }
}

import TestSupport
import Testing

@testable import DragonflySimulator

/// Each entry that loses information (protocol.md 6.8) is written by the releases that lose it: the
/// data has what the journal has not.
@Suite struct EmulatedLossTests {
    @Test func popOfSeveralForgetsItsCount() throws {
        let run = try EmulatedRun(flows: 1)
        try run.prepare("RPUSH l 1 2 3 4")
        #expect(try run.journal("LMPOP 1 l LEFT COUNT 3") == ["0+: LPOP l"])
        #expect(try run.reply("LRANGE l 0 -1") == "[4]")
        let old = try EmulatedRun(.v1_30, flows: 1)
        try old.prepare("RPUSH l 1 2 3 4")
        #expect(try old.journal("LMPOP 1 l LEFT COUNT 3") == ["0+: LMPOP 1 l LEFT COUNT 3"])
    }

    @Test func memcachedIncrementsForgetTheirDelta() throws {
        let run = try EmulatedRun(flows: 1)
        try run.prepare("SET a 10 PX 1000")
        func lines(_ command: MemcachedCommand) throws -> [String] {
            try run.executor.execute(memcached: command).lines
        }
        #expect(try lines(.increment(key: text("a"), delta: 7)) == ["0: INCR a"])
        #expect(try run.reply("GET a") == "17")
        #expect(try lines(.decrement(key: text("a"), delta: 20)) == ["0: DECR a"])
        #expect(try run.reply("GET a") == "0")
        #expect(try run.reply("PTTL a") == "1000")
        #expect(try lines(.increment(key: text("no"), delta: 1)) == [])
        #expect(
            try lines(.set(key: text("m"), value: text("v"), flags: 5, expiryMilliseconds: 0))
                == ["0: SET m v _MCFLAGS 5"])
        #expect(try lines(.prepend(key: text("m"), value: text("p"))) == ["0: PREPEND m p"])
        #expect(try run.reply("GET m") == "pv")
        #expect(try lines(.flush) == ["0+: FLUSHDB"])
    }

    @Test func sortAcrossShardsForgetsEverything() throws {
        let run = try EmulatedRun()
        let (a, b) = (run.key("a", on: 0), run.key("b", on: 1))
        try run.prepare("RPUSH \(a) 3 1 2")
        #expect(
            try run.journal("SORT \(a) DESC STORE \(b)") == ["0+: SORT \(a)", "1+: SORT \(b)"])
        #expect(try run.reply("LRANGE \(b) 0 -1") == "[3 2 1]")
        let c = run.key("c", on: 0)
        #expect(
            try run.journal("SORT \(a) DESC STORE \(c)") == ["0+: SORT \(a) DESC STORE \(c)"])
        try run.prepare("SET \(b) kept")
        #expect(try run.reply("SORT no STORE \(b)") == "0")
        #expect(try run.reply("GET \(b)") == "kept")
    }

    @Test func sketchMergeAcrossShardsForgetsItsSources() throws {
        let run = try EmulatedRun()
        let (a, b) = (run.key("a", on: 0), run.key("b", on: 1))
        try run.prepare("CMS.INITBYDIM \(a) 100 4", "CMS.INITBYDIM \(b) 100 4")
        #expect(
            try run.journal("CMS.MERGE \(a) 1 \(b)") == [
                "0+: CMS.MERGE \(a)", "1+: CMS.MERGE \(b)",
            ])
    }

    @Test func resultsOfSortedSetsAcrossShardsAreCutIn130() throws {
        let run = try EmulatedRun(.v1_30)
        let (a, b) = (run.key("a", on: 0), run.key("b", on: 1))
        try run.prepare("ZADD \(a) 1 m", "ZADD \(b) 2 n")
        let entries = try run.run("ZUNIONSTORE dst 2 \(a) \(b)").entries
        #expect(entries.allSatisfy { $0.entry.words.count < 4 })
        #expect(try run.reply("ZCARD dst") == "2")
    }

    @Test func expiryOfFieldsIsSilent() throws {
        let run = try EmulatedRun(flows: 1)
        try run.prepare("HSET h keep 1", "HSETEX h 10 f 4")
        run.clock.milliseconds += 10_000
        #expect(try run.journal("HINCRBY h f 5") == ["0: HINCRBY h f 5"])
        #expect(try run.reply("HGET h f") == "5")
        try run.prepare("SADDEX s 10 a")
        run.clock.milliseconds += 10_000
        #expect(try run.journal("SCARD s") == ["0: DEL s"])
    }

    @Test func newerReleasesCompensateWhatTheyTest() throws {
        for (release, isCompensated) in [(EmulatedRelease.v1_40, true), (.v1_35, false)] {
            let run = try EmulatedRun(release, flows: 1)
            try run.prepare("HSET h keep 1", "HSETEX h 10 f 4", "HSETEX h 10 g 4")
            run.clock.milliseconds += 10_000
            let command = "HEXPIRE h 10 FIELDS 2 f keep"
            let expected = (isCompensated ? ["0: HDEL h f"] : []) + ["0: \(command)"]
            #expect(try run.journal(command) == expected)
            #expect(try run.reply("HGETALL h") == "[keep 1]")
        }
    }

    @Test func relativeTimesOfElementsStayRelative() throws {
        let run = try EmulatedRun(flows: 1)
        for line in [
            "SADDEX s 10 a b", "HSETEX h NX 10 f 1", "FIELDEXPIRE s 20 a",
            "HEXPIRE h 30 FIELDS 1 f",
            "HSETEX h FNX EX 40 FIELDS 1 g 2", "HGETEX h EX 50 FIELDS 1 g",
        ] {
            #expect(try run.journal(line) == ["0: \(line)"])
        }
        #expect(try run.reply("FIELDTTL s a") == "20")
        #expect(try run.reply("FIELDTTL s b") == "10")
        #expect(try run.reply("FIELDTTL h f") == "30")
        #expect(try run.reply("FIELDTTL h g") == "50")
        // Older releases take no times that long.
        #expect(try EmulatedRun(.v1_30).run("SADDEX s 100000000 a").reply == .notInteger)
    }

    @Test func throttleIsRecordedVerbatim() throws {
        let run = try EmulatedRun(flows: 1)
        #expect(try run.journal("CL.THROTTLE t 1 30 60") == ["0: CL.THROTTLE t 1 30 60"])
        #expect(try run.reply("CL.THROTTLE t 1 30 60") == "[0 2 0 -1 5]")
        #expect(try run.reply("CL.THROTTLE t 1 30 60") == "[1 2 0 3 5]")
        #expect(try run.reply("PTTL t") == "4000")
        for value in ["9223372036854775807", "-9223372036854775808", "x"] {
            try run.prepare("SET t \(value)")
            #expect(try run.reply("CL.THROTTLE t 1 30 60").contains("ERR"))
        }
    }

    @Test func groupReadsAreRecordedFrom137On() throws {
        for (release, isRecorded) in [(EmulatedRelease.v1_40, true), (.v1_35, false)] {
            let run = try EmulatedRun(release, flows: 1)
            try run.prepare("XADD x 1-1 f v", "XADD x 1-2 f v", "XGROUP CREATE x g 0")
            let lines = try run.journal("XREADGROUP GROUP g c COUNT 1 BLOCK 5 STREAMS x >")
            #expect(
                lines
                    == (isRecorded
                        ? [
                            "0: XGROUP CREATECONSUMER x g c",
                            "0: XCLAIM x g c 0 1-1 TIME 2000000000000 RETRYCOUNT 1 FORCE JUSTID "
                                + "LASTID 1-1",
                            "0: XGROUP SETID x g 1-1 ENTRIESREAD 1",
                        ] : []))
            #expect(try run.reply("XPENDING x g") == "[1 1-1 1-1 [[c 1]]]")
            let noAcknowledgement = try run.journal("XREADGROUP GROUP g c NOACK STREAMS x >")
            #expect(
                noAcknowledgement == (isRecorded ? ["0: XGROUP SETID x g 1-2 ENTRIESREAD 2"] : []))
        }
    }

    @Test func idsOfEntriesAreFinalFrom127On() throws {
        let run = try EmulatedRun(.v1_30, flows: 1)
        #expect(try run.journal("XADD x * f v") == ["0: XADD x 2000000000000-0 f v"])
        #expect(try run.journal("XADD x * f v") == ["0: XADD x 2000000000000-1 f v"])
        #expect(
            try run.journal("XADD x MAXLEN = 1 * f v")
                == ["0: XADD x MINID 2000000000000-2 2000000000000-2 f v"])
        #expect(
            try run.journal("XADD x NOMKSTREAM MINID 5 9000000000000-* f v")
                == ["0: XADD x NOMKSTREAM MINID 5 9000000000000-0 f v"])
        #expect(try run.journal("XADD x * f v") == ["0: XADD x 9000000000000-1 f v"])
        #expect(
            try run.journal("XADD x MAXLEN 0 * f v") == ["0: XADD x MAXLEN 0 9000000000000-2 f v"])
        #expect(try run.journal("XTRIM x MAXLEN 0") == ["0: XTRIM x MAXLEN 0"])
        let old = try EmulatedRun(.v1_20, flows: 1)
        #expect(try old.journal("XADD x MAXLEN ~ 10 * f v") == ["0: XADD x MAXLEN ~ 10 * f v"])
        #expect(try old.journal("XTRIM x MAXLEN 1") == ["0: XTRIM x MAXLEN 1"])
    }

    @Test func mergedHyperLogLogsLeaveGhosts() throws {
        let run = try EmulatedRun()
        let (a, b) = (run.key("a", on: 0), run.key("b", on: 1))
        try run.prepare("PFADD \(a) x y", "PFADD \(b) z", "SET \(a)x 1")
        let entries = try run.run("PFMERGE \(a) \(b)").entries
        #expect(entries.map(\.flow) == [0, 1])
        #expect(entries.allSatisfy { $0.entry.words[..<2] == [text("SET"), text(a)] })
        #expect(entries.allSatisfy { $0.entry.words[2].count == 12304 })
        let name = KeyName(database: 0, key: text(a))
        #expect(Set(run.keyspace.ghosts.keys) == [1])
        #expect(run.keyspace.ghosts[1]?[name] != nil)
        #expect(try run.reply("PFCOUNT \(a)") == "3")
        // Asking for the count leaves the value alone.
        let value = try run.run("GET \(a)").reply.bytes
        #expect(value == entries[0].entry.words[2])
        try run.prepare("DEL \(a)")
        #expect(run.keyspace.ghosts[1]?[name] != nil)
        try run.prepare("FLUSHDB")
        #expect(run.keyspace.ghosts[1]?[name] == nil)
    }

    @Test func foreignTypesAreNoOthers() throws {
        let run = try EmulatedRun(flows: 1)
        #expect(try run.journal("JSON.SET j $ 1") == ["0: JSON.SET j $ 1"])
        #expect(try run.reply("TYPE j") == "ReJSON-RL")
        #expect(try run.reply("EXISTS j") == "1")
        #expect(try run.run("LPUSH j a").reply == .wrongType)
        #expect(try run.run("BF.ADD j a").reply == .wrongType)
        #expect(try run.journal("DEL j") == ["0: DEL j"])
        #expect(try run.reply("EXISTS j") == "0")
        try run.prepare("SET s 1", "JSON.SET j $ 1")
        #expect(try run.run("JSON.SET s $ 1").reply == .wrongType)
        try run.prepare("SET j 1")
        #expect(try run.reply("TYPE j") == "string")
    }
}

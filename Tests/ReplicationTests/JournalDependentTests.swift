import TestSupport
import Testing

@testable import Replication

/// Commands whose result depends on other keys (protocol.md 3.8, 6.8).
@Suite struct JournalDependentTests {
    private func expect(
        _ rows: [RecordRow], isInSnapshot: Bool = false, transaction: UInt64 = 0
    ) throws {
        try RecordRow.expect(
            rows, on: WriterBench(), isInSnapshot: isInSnapshot, transaction: transaction)
    }

    @Test func wholeOnesPass() throws {
        try expect([
            .same("ZUNIONSTORE d 2 a b WEIGHTS 1 2"), .same("ZINTERSTORE d 1 a"),
            .same("ZDIFFSTORE d 2 a b"), .same("ZRANGESTORE d s 0 -1 REV"),
            .same("LMPOP 1 k LEFT COUNT 2"), .same("ZMPOP 1 k MIN"), .same("MOVE k 3"),
            .same("LMPOP 2 a b right"), .same("ZMPOP 2 a b MAX COUNT 5"),
            .same("ZUNIONSTORE d 1 a AGGREGATE MAX"), .same("ZDIFFSTORE d 3 a b c"),
        ])
    }

    /// A source that is missing leaves the destination alone, as on Dragonfly.
    @Test func sortWithStoreOnARealServer() throws {
        let bench = try WriterBench()
        #expect(try bench.write("SORT", "k", "GET", "#", "DESC", "STORE", "d") == .sent)
        #expect(try bench.write("SORT", "missing", "STORE", "d") == .sent)
        let server = try RedisServer()
        let client = try server.client()
        try client.call("RPUSH", "k", "1", "3", "2")
        try client.call("RPUSH", "d", "old")
        let commands = try bench.rawCommands()
        // The first key is the one that is read again if the target refuses it.
        #expect(commands.first?.dropFirst(2).prefix(3) == [[50], [100], [107]])
        for command in commands {
            if case .error(let message) = try client.command(command) { Issue.record("\(message)") }
        }
        let sorted = try client.call("LRANGE", "d", "0", "-1").elements?.compactMap(\.text)
        #expect(sorted == ["3", "2", "1"])
    }

    /// With unequal scores the range depends on the form of the set: refused, so that it is repaired.
    @Test func lexicalRangesOnARealServer() throws {
        let bench = try WriterBench()
        for key in ["equal", "unequal", "missing"] {
            #expect(try bench.write("ZRANGESTORE", "d:\(key)", key, "[b", "+", "ByLex") == .sent)
            #expect(try bench.write("ZREMRANGEBYLEX", key, "-", "(c") == .sent)
        }
        let server = try RedisServer()
        let client = try server.client()
        try client.call("ZADD", "equal", "1", "a", "1", "b", "1", "c")
        try client.call("ZADD", "unequal", "1", "a", "1", "b", "2", "c")
        try client.call("ZADD", "d:missing", "1", "a")
        var refused: [Bool] = []
        for command in try bench.rawCommands() {
            if case .error = try client.command(command) {
                refused.append(true)
            } else {
                refused.append(false)
            }
        }
        #expect(refused == [false, false, true, true, false, false])
        func members(_ key: String) throws -> [String]? {
            try client.call("ZRANGE", key, "0", "-1").elements?.compactMap(\.text)
        }
        #expect(try members("d:equal") == ["b", "c"])
        #expect(try members("equal") == ["c"])
        #expect(try members("unequal") == ["a", "b", "c"])
        #expect(try members("d:missing") == [])
    }

    /// Other shards' keys are not in step with this one, and a set's own order is the source's.
    @Test func sortByOtherKeysIsRepaired() throws {
        for record in [
            "SORT k BY w_* STORE d", "SORT k BY nosort LIMIT 0 2 STORE d", "SORT k GET w_* STORE d",
            "SORT k get # GET w_*->f STORE d",
        ] {
            let bench = try WriterBench()
            try RecordRow.expect([.repaired(record)], on: bench)
            #expect(bench.repairKeys == ["0 d"])
        }
    }

    /// Three scores or more are added in another order by Redis, which rounds differently.
    @Test func sumsOfManyAreRepaired() throws {
        try expect([
            .repaired("ZUNIONSTORE d 3 a b c"), .repaired("ZINTERSTORE d 3 a b c WEIGHTS 1 2 3"),
        ])
    }

    @Test func sortWithoutStoreIsSkipped() throws {
        try expect([RecordRow("SORT k", .skipped), RecordRow("SORT k ASC ALPHA", .skipped)])
        try expect([RecordRow("SORT k LIMIT 0 1", .skipped)], transaction: 5)
    }

    /// Older releases cut these off per shard, so that their result is lost (protocol.md 6.8).
    @Test func cutOnesAreRepaired() throws {
        try expect([RecordRow("SORT k", .repair(""))], transaction: 5)
        try expect([
            RecordRow("SORT k STORE", .repair("")), RecordRow("ZUNIONSTORE d 2 a", .repair("")),
            RecordRow("ZUNIONSTORE d", .repair("")), RecordRow("ZUNIONSTORE a 0", .repair("")),
            RecordRow("ZINTERSTORE d x a", .repair("")), RecordRow("ZRANGESTORE d", .repair("")),
            RecordRow("ZRANGESTORE d s 0", .repair("")), RecordRow("LMPOP 2 a LEFT", .repair("")),
            RecordRow("LMPOP", .repair("")),
            RecordRow("ZUNIONSTORE d 9223372036854775807 a", .repair("")),
            RecordRow("ZUNIONSTORE d 9223372036854775805 a", .repair("")),
            .repaired("ZUNIONSTORE d 1 a b"), .repaired("LMPOP 1 k"), .repaired("LMPOP 1 k WHAT"),
            .repaired("ZMPOP a b"), .repaired("LMPOP 9223372036854775807 a LEFT"),
            .repaired("MOVE k"), .repaired("MOVE k x"), .repaired("MOVE k -1"),
        ])
    }

    /// While baselines are missing they would compute from the wrong keys (protocol.md 3.8).
    @Test func inTheSnapshotTheyAreRepaired() throws {
        try expect(
            [
                RecordRow("SORT k STORE d", .repair("")),
                RecordRow("ZUNIONSTORE d 1 a", .repair("")),
                RecordRow("ZRANGESTORE d s 0 -1", .repair("")), RecordRow("MOVE k 3", .repair("")),
                RecordRow("SORT k", .skipped), .same("LMPOP 1 k LEFT"),
                .repaired("LMPOP 2 a b LEFT"), .same("LMOVE a b LEFT RIGHT"),
                .same("RPOPLPUSH a b"),
                .same("SMOVE a b m"), .same("RENAME a b"), .same("RENAMENX a b"),
                RecordRow("GEORADIUS k 1 2 3 km", .skipped),
            ], isInSnapshot: true)
    }

    /// How v1.30 recorded ZUNIONSTORE, ZINTERSTORE, ZDIFFSTORE and ZRANGESTORE over two shards: the
    /// destination, if it is of this flow, comes first; a source alone is read again in vain.
    @Test func recordedCutsNameTheirFirstKey() throws {
        let bench = try WriterBench()
        for (record, key) in [
            ("ZUNIONSTORE zu z2", "zu"), ("ZUNIONSTORE z", "z"), ("ZINTERSTORE z2", "z2"),
            ("ZINTERSTORE zi z", "zi"), ("ZDIFFSTORE zd z", "zd"), ("ZRANGESTORE zr", "zr"),
        ] {
            try RecordRow.expect([.repaired(record)], on: bench)
            #expect(bench.repairKeys == ["0 \(key)"])
        }
    }

    /// Which key a cut pop took from is not recorded.
    @Test func popsNameAllTheirKeys() throws {
        let bench = try WriterBench()
        #expect(try bench.write("LMPOP", "a", "b") == .repair(""))
        #expect(bench.repairKeys == ["0 a", "0 b"])
        #expect(try bench.write("ZMPOP", "2", "a", "b", "MIN", isInSnapshot: true) == .repair(""))
        #expect(bench.repairKeys == ["0 a", "0 b"])
    }

    /// A key under repair must hear of each record that may change it, cut or not.
    @Test func popsTouchAllTheirKeys() throws {
        let bench = try WriterBench()
        #expect(try bench.allKeys("LMPOP", "2", "a", "b", "LEFT", "COUNT", "3") == ["a", "b"])
        #expect(try bench.allKeys("ZMPOP", "1", "a", "MIN") == ["a"])
        #expect(try bench.allKeys("LMPOP", "a", "b") == ["a", "b"])
        #expect(try bench.allKeys("LMPOP") == [])
    }

    /// Both keys of a MOVE may differ when it cannot be told whether it moved anything.
    @Test func movesNameBothKeys() throws {
        let bench = try WriterBench()
        #expect(try bench.write("MOVE", "k", "3", database: 1, isInSnapshot: true) == .repair(""))
        #expect(bench.repairKeys == ["1 k", "3 k"])
        #expect(try bench.write("MOVE", "k", "3") == .sent)
        #expect(bench.repairKeys == [])
        _ = try bench.write("PEXPIREAT", "k", "\(WriterBench.now + 1000)")
        for (database, other) in [("3", 3), ("0", 0)] {
            // From the database where something is held, and into it.
            #expect(try bench.write("MOVE", "k", database, database: 3 - other) == .repair(""))
            #expect(bench.repairKeys == ["\(3 - other) k", "\(other) k"])
        }
        _ = try bench.write("PERSIST", "k")
        #expect(try bench.write("MOVE", "k", "3") == .sent)
        bench.noteElementExpiries("k", database: 3)
        #expect(try bench.write("MOVE", "k", "3") == .repair(""))
        #expect(try bench.write("MOVE", "k", "2") == .sent)
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
}

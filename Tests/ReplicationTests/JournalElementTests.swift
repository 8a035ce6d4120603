import Bytes
import RedisTarget
import TestSupport
import Testing
import Wire

@testable import Replication

/// Elements with an expiry of their own, on a target that has none (protocol.md 5.10, 6.5, 6.6).
@Suite struct JournalElementTests {
    /// In the year 2100.
    private static let far = "4102444800123"

    private func expect(_ rows: [RecordRow]) throws {
        // Each on its own: a key with element expiries is treated otherwise afterwards.
        for row in rows { try RecordRow.expect([row], on: WriterBench()) }
    }

    @Test func saddex() throws {
        try expect([
            RecordRow("SADDEX k 100 a b", .sent, "SADD k a b"),
            RecordRow("SADDEX k KEEPTTL 100 a", .sent, "SADD k a"),
            RecordRow("SADDEX k keepttl 100 100", .sent, "SADD k 100"),
            RecordRow("SADDEX k 100", .repair("")), RecordRow("SADDEX k", .repair("")),
            .repaired("SADDEX k 0 a"), .repaired("SADDEX k -1 a"),
            RecordRow("SADDEX k soon a", .repair("")),
            RecordRow("SADDEX k KEEPTTL 100", .repair("")),
        ])
    }

    @Test func hsetex() throws {
        try expect([
            RecordRow("HSETEX k 100 f v g w", .sent, "HSET k f v g w"),
            RecordRow("HSETEX k KEEPTTL 100 f v", .sent, "HSET k f v"),
            RecordRow("HSETEX k keepttl 100 1 2", .sent, "HSET k 1 2"),
            RecordRow("HSETEX k FIELDS 1 f v", .sent, "HSET k f v"),
            RecordRow("HSETEX k EX 10 FIELDS 2 f v g w", .sent, "HSET k f v g w"),
            RecordRow("HSETEX k PXAT \(Self.far) FIELDS 1 f v", .sent, "HSET k f v"),
            RecordRow("HSETEX k KEEPTTL FIELDS 1 f v", .sent, "HSET k f v"),
            RecordRow("HSETEX k FNX FIELDS 1 f v", .repair("")),
            RecordRow("HSETEX k FXX EX 10 FIELDS 1 f v", .repair("")),
            RecordRow("HSETEX k 100 f", .repair("")), RecordRow("HSETEX k 100", .repair("")),
            RecordRow("HSETEX k", .repair("")), RecordRow("HSETEX k WHAT 100 f v", .repair("")),
            .repaired("HSETEX k EX 10 FIELDS 1"), .repaired("HSETEX k 0 f v"),
            .repaired("HSETEX k EXAT 1800000000 FIELDS 1 f v"),
            .repaired("HSETEX k PXAT 1800000000000 FIELDS 1 f v"),
            .repaired("HSETEX k EX 9223372036854775807 FIELDS 1 f v"),
        ])
    }

    @Test func hsetexOfAbsentFields() throws {
        let bench = try WriterBench()
        #expect(try bench.write("HSETEX", "k", "NX", "100", "f", "v", "g", "w") == .sent)
        #expect(try bench.write("HSETEX", "l", "nx", "KEEPTTL", "100", "f", "v") == .sent)
        let commands = try bench.commands()
        #expect(commands.map { $0[0] } == ["EVAL", "EVAL"])
        #expect(commands[0][1].contains("HSETNX"))
        #expect(
            commands.map { Array($0[2...]) } == [
                ["1", "k", "f", "v", "g", "w"], ["1", "l", "f", "v"],
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
            RecordRow("HEXPIRE k 10 NX FIELDS 1 f", .skipped),
            RecordRow("FIELDEXPIRE k 10 f", .skipped),
            RecordRow("HGETEX k EX 10 FIELDS 1 f", .skipped),
            RecordRow("HGETEX k PERSIST FIELDS 1 f", .skipped),
            RecordRow("HGETEX k FIELDS 1 f", .skipped),
            // An expiry that is past deletes the field.
            .repaired("HEXPIRE k 0 FIELDS 1 f"), .repaired("FIELDEXPIRE k -1 f"),
            .repaired("HGETEX k EXAT 1800000000 FIELDS 1 f"), .repaired("HGETEX k WHAT FIELDS 1 f"),
            .repaired("HEXPIRE k"), .repaired("HGETEX k EX"),
        ])
    }

    /// A baseline leaves out elements that had expired when it was read, so one that the source renewed
    /// before may be missing.
    @Test func renewedElementsInTheSnapshotAreRepaired() throws {
        let bench = try WriterBench()
        try RecordRow.expect(
            [
                .repaired("HEXPIRE k 10 FIELDS 1 f"), .repaired("FIELDEXPIRE k 10 f"),
                .repaired("HGETEX k EX 10 FIELDS 1 f"), .repaired("HGETEX k PERSIST FIELDS 1 f"),
                RecordRow("HGETEX k FIELDS 1 f", .skipped),
            ], on: bench, isInSnapshot: true)
    }

    // MARK: Elements that expire unseen

    /// Each record that gives elements an expiry makes its key one whose elements may be gone.
    @Test func keysWithElementExpiriesAreNoted() throws {
        for record in [
            "SADDEX k 100 a", "HSETEX k 100 f v", "HSETEX k NX 100 f v", "HEXPIRE k 10 FIELDS 1 f",
            "HSETEX k EX 10 FIELDS 1 f v", "HSETEX k FNX EX 10 FIELDS 1 f v", "FIELDEXPIRE k 10 f",
            "HGETEX k PX 10 FIELDS 1 f",
        ] {
            for version in [TargetVersion(major: 7, minor: 0), TargetVersion(major: 8, minor: 0)] {
                let bench = try WriterBench(version: version)
                _ = try bench.write(record.split(separator: " ").map { Array($0.utf8) })
                #expect(bench.mayExpireUnseen("k"), "\(record)")
                #expect(!bench.mayExpireUnseen("k", database: 2))
            }
        }
        for record in [
            "HSET k f v", "HSETEX k FIELDS 1 f v", "HGETEX k FIELDS 1 f", "SADDEX k 0 a",
            "SADD k a",
        ] {
            let bench = try WriterBench()
            _ = try bench.write(record.split(separator: " ").map { Array($0.utf8) })
            #expect(!bench.mayExpireUnseen("k"), "\(record)")
        }
    }

    /// What depends on whether an element is there is not sent for such a key, all else is.
    @Test func dependentWritesOfSuchKeysAreRepaired() throws {
        let bench = try WriterBench()
        let dependent = [
            "HINCRBY h f 5", "HINCRBYFLOAT h f 0.5", "HSETNX h f v", "HSETEX h NX 100 f v",
        ]
        for isNoted in [false, true] {
            if isNoted { bench.noteElementExpiries("h") }
            for record in dependent {
                let outcome = try bench.write(record.split(separator: " ").map { Array($0.utf8) })
                #expect(outcome == (isNoted ? .repair("") : .sent), "\(record)")
                #expect(bench.repairKeys == (isNoted ? ["0 h"] : []))
                if !isNoted { _ = try bench.write("DEL", "h") }
            }
        }
        _ = try bench.commands()
        try RecordRow.expect(
            [
                .same("HSET h f v"), .same("HDEL h f"), .same("HINCRBY other f 5"),
                .same("SADD h a"),
                .same("INCRBY h 5"), RecordRow("HSETEX h 100 f v", .sent, "HSET h f v"),
            ], on: bench)
    }

    /// As protocol.md 5.10 has it: HSET h f 1, HEXPIRE, (expired), HINCRBY h f 5 is 5 and not 6.
    @Test func commandsThatReadOtherSetsAreRepaired() throws {
        let bench = try WriterBench()
        bench.noteElementExpiries("s")
        #expect(try bench.write("SMOVE", "s", "d", "m") == .repair(""))
        #expect(bench.repairKeys == ["0 s", "0 d"])
        #expect(try bench.write("SMOVE", "d", "s", "m") == .sent)
        #expect(try bench.write("SORT", "s", "STORE", "d") == .repair(""))
        #expect(bench.repairKeys == ["0 d"])
        #expect(try bench.write("ZUNIONSTORE", "d", "2", "z", "s") == .repair(""))
        #expect(bench.repairKeys == ["0 d"])
        #expect(try bench.write("ZUNIONSTORE", "d", "1", "z", "WEIGHTS", "1") == .sent)
    }

    /// A key that is written anew has no such elements; a renamed one takes them along.
    @Test func newKeysAreForgotten() throws {
        let bench = try WriterBench()
        for words in [
            ["DEL", "x", "h"], ["UNLINK", "h"], ["SET", "h", "v"], ["SET", "h", "v", "STICK"],
            ["GETSET", "h", "v"], ["GETDEL", "h"], ["DELEX", "h"], ["RENAME", "other", "h"],
        ] {
            bench.noteElementExpiries("h")
            _ = try bench.write(words.map { Array($0.utf8) })
            #expect(!bench.mayExpireUnseen("h"), "\(words)")
        }
        for words in [["PERSIST", "h"], ["PEXPIREAT", "h", "4102444800123"], ["HDEL", "h", "f"]] {
            bench.noteElementExpiries("h")
            _ = try bench.write(words.map { Array($0.utf8) })
            #expect(bench.mayExpireUnseen("h"), "\(words)")
        }
        _ = try bench.write("RENAME", "h", "i")
        #expect(!bench.mayExpireUnseen("h") && bench.mayExpireUnseen("i"))
        #expect(try bench.writeFlush("FLUSHDB") == .sent)
        #expect(bench.mayExpireUnseen("i"))
        #expect(try bench.writeFlush("FLUSHALL") == .sent)
        #expect(!bench.mayExpireUnseen("i"))
    }
}

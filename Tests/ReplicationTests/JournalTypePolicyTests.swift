import Bytes
import RedisTarget
import TestSupport
import Testing
import Wire

@testable import Replication

/// Journal records about what a Redis without modules cannot hold: each policy, each command.
@Suite struct JournalTypePolicyTests {
    private func types(_ change: (inout TypePolicy) -> Void) -> TypePolicy {
        var types = TypePolicy()
        change(&types)
        return types
    }

    private func words(_ text: String) -> [[UInt8]] {
        text.split(separator: " ").map { Array($0.utf8) }
    }

    private static let jsonRecords = [
        "JSON.SET j $ {}", "JSON.MERGE j $ {}", "JSON.DEL j", "JSON.FORGET j $.a", "JSON.CLEAR j",
        "JSON.TOGGLE j .a", "JSON.NUMINCRBY j $.a 1", "JSON.NUMMULTBY j $.a 2",
        "JSON.STRAPPEND j $.a x", "JSON.ARRAPPEND j $.a 1", "JSON.ARRINSERT j $.a 0 1",
        "JSON.ARRPOP j", "JSON.ARRTRIM j $.a 0 1",
    ]

    // MARK: JSON

    @Test func jsonIsReadFromTheSource() throws {
        let bench = try WriterBench()
        for record in Self.jsonRecords + ["json.set j $ {}"] {
            #expect(try bench.write(words(record), database: 2) == .repair(""), "\(record)")
            #expect(bench.repairKeys == ["2 j"], "\(record)")
        }
        for snapshot in [true, false] {
            let outcome = try bench.write(
                words("JSON.MSET a $ 1 b $ 2 c . 3"), isInSnapshot: snapshot)
            #expect(outcome == .repair(""))
            #expect(bench.repairKeys == ["0 a", "0 b", "0 c"])
        }
        #expect(try bench.commands() == [])
        #expect(try bench.allKeys("JSON.MSET", "a", "$", "1", "b", "$", "2") == ["a", "b"])
    }

    @Test func jsonIsLeftOut() throws {
        for (policy, outcome) in [
            (TypePolicy.JSON.skip, RecordOutcome.unsupported("")), (.fail, .refused("")),
        ] {
            let bench = try WriterBench(types: types { $0.json = policy })
            for record in Self.jsonRecords + ["JSON.MSET a $ 1"] {
                #expect(try bench.write(words(record)) == outcome, "\(record)")
            }
            #expect(try bench.commands() == [])
        }
    }

    /// The module is told what it does as the source did: on whole values and plain paths. Of the
    /// rest, arithmetic, filters, conditions, the result is read.
    @Test func theModuleIsToldWhatIsCertain() throws {
        let bench = try WriterBench(types: types { $0.json = .module })
        try RecordRow.expect(
            [
                .same("JSON.SET j $.a 1"), .same("JSON.SET j .a.b_2 1"), .same("JSON.DEL j"),
                .same("JSON.DEL j $"), .same("JSON.FORGET j .a"), .same("JSON.ARRAPPEND j $.a 1 2"),
                .same("JSON.STRAPPEND j $.a \"x\""), .same("JSON.TOGGLE j $.a"),
                .repaired("JSON.SET j $ 1 NX"), .repaired("JSON.SET j $.a 1 XX"),
                .repaired("JSON.SET j $..a 1"), .repaired("JSON.SET j $.a[0] 1"),
                .repaired("JSON.SET j $.* 1"), .repaired("JSON.SET j a 1"),
                .repaired("JSON.SET j $.2 1"), .repaired("JSON.SET j $. 1"),
                .repaired("JSON.SET j $a 1"), .repaired("JSON.SET j $[?(@.a>1)] 1"),
                .repaired("JSON.NUMINCRBY j $.a 1"), .repaired("JSON.MERGE j $ {}"),
                .repaired("JSON.CLEAR j"), .repaired("JSON.ARRPOP j"),
                .repaired("JSON.MSET j $ 1"), .repaired("JSON.SET j"),
            ], on: bench)
    }

    /// A whole value ends the key's expiry on the source since v1.33, and never on the target.
    @Test(.enabled(if: RedisServer.jsonModule != nil, "\(RedisServer.jsonModuleHint)"))
    func aWholeValueEndsTheExpiry() throws {
        for endsExpiry in [true, false] {
            let target = try RedisServer(arguments: ["--loadmodule", RedisServer.jsonModule ?? ""])
            let client = try target.client()
            try client.call("JSON.SET", "j", "$", "1")
            try client.call("PEXPIRE", "j", "1000000")
            let bench = try WriterBench(types: types { $0.json = .module })
            bench.told(jsonSetEndsExpiry: endsExpiry)
            for record in [
                #"JSON.SET j $ {"a":"x","b":[1],"c":true}"#, #"JSON.STRAPPEND j $.a "y""#,
                "JSON.ARRAPPEND j .b 2", "JSON.TOGGLE j $.c", #"JSON.SET j $.d.e 1"#,
                #"JSON.SET j .d {"e":1}"#, "JSON.SET j $.d.e 2", "JSON.SET new . 5",
            ] {
                #expect(try bench.write(words(record)) == .sent, "\(record)")
            }
            for command in try bench.rawCommands() {
                if case .error(let message) = try client.command(command) {
                    Issue.record("\(message)")
                }
            }
            #expect(
                try client.call("JSON.GET", "j").text
                    == #"{"a":"xy","b":[1,2],"c":false,"d":{"e":2}}"#)
            #expect(try client.call("JSON.GET", "new").text == "5")
            let left = try client.call("PTTL", "j").integer
            #expect((left == -1) == endsExpiry)
        }
    }

    @Test func probabilisticTypesAreLeftOut() throws {
        let records = [
            "BF.ADD b x", "BF.LOADCHUNK b 1 x", "CF.ADD c x", "CMS.MERGE d 1 s", "CMS.MERGE d",
            "TOPK.ADD t x",
        ]
        for (policy, outcome) in [
            (TypePolicy.Probabilistic.skip, RecordOutcome.unsupported("")), (.fail, .refused("")),
        ] {
            let bench = try WriterBench(types: types { $0.probabilistic = policy })
            for record in records {
                #expect(try bench.write(words(record)) == outcome, "\(record)")
            }
            #expect(try bench.commands() == [])
        }
    }

    // MARK: Elements with an expiry

    private static let expiring = [
        "SADDEX k 100 a", "HSETEX k 100 f v", "HSETEX k NX 100 f v", "HEXPIRE k 10 FIELDS 1 f",
        "HSETEX k EX 10 FIELDS 1 f v", "FIELDEXPIRE k 10 f", "HGETEX k PX 10 FIELDS 1 f",
        "HGETEX k PERSIST FIELDS 1 f",
    ]

    private func policies() -> [TypePolicy] {
        [
            types {
                $0.hashFieldExpiry = .byUs
                $0.setMemberExpiry = .byUs
            },
            types {
                $0.hashFieldExpiry = .skip
                $0.setMemberExpiry = .skip
            },
            types {
                $0.hashFieldExpiry = .fail
                $0.setMemberExpiry = .fail
            },
        ]
    }

    /// Where the whole value decides, it is read; nothing half is sent, nothing is counted as dropped.
    @Test func expiriesOfElementsAreRead() throws {
        for types in policies() {
            for version in [TargetVersion(major: 7, minor: 0), TargetVersion(major: 8, minor: 0)] {
                for record in Self.expiring {
                    let bench = try WriterBench(version: version, types: types)
                    #expect(try bench.write(words(record)) == .repair(""), "\(record)")
                    #expect(bench.repairKeys == ["0 k"] && bench.mayExpireUnseen("k"))
                    #expect(try bench.commands() == [] && bench.memberExpiriesDropped == 0)
                }
                let bench = try WriterBench(version: version, types: types)
                #expect(try bench.write(words("HGETEX k FIELDS 1 f")) == .skipped)
            }
        }
    }

    /// A key that is left out must not come into being by its later records.
    @Test func laterRecordsOfSuchKeysAreRead() throws {
        var all = Array(policies().dropFirst())
        all.append(types { $0.hashFieldExpiry = .asKeyExpiry })
        for types in all {
            let bench = try WriterBench(types: types)
            for key in ["h", "s"] { bench.noteElementExpiries(key) }
            var records = ["HSET h f v", "HMSET h f v", "HDEL h f"]
            if types.setMemberExpiry != .drop {
                records += ["SADD s m", "SREM s m", "SMOVE x s m"]
            }
            for record in records {
                #expect(try bench.write(words(record)) == .repair(""), "\(record)")
            }
            #expect(try bench.commands() == [])
            try RecordRow.expect(
                [.same("HSET other f v"), .same("SADD other m"), .same("SREM other m")], on: bench)
        }
    }

    /// The key's own commands would take away the expiry that it has for its fields.
    @Test func keyExpiriesOfFieldsAreSetAgain() throws {
        let bench = try WriterBench(types: types { $0.hashFieldExpiry = .asKeyExpiry })
        let records = ["PERSIST h", "PEXPIREAT h 4102444800123", "SET h v KEEPTTL"]
        for record in records {
            bench.noteElementExpiries("h")
            #expect(try bench.write(words(record)) == .sentRepair(""), "\(record)")
            #expect(bench.repairKeys == ["0 h"])
            #expect(try bench.write(words(record.replacing(" h", with: " other"))) == .sent)
        }
    }

    /// Records that set or remove an element end our intention to remove it; of others the key is read.
    @Test func laterRecordsCancelWhatWasToBeRemoved() throws {
        let now = WriterBench.now
        let all = ["0 h f", "0 h g", "0 s m", "0 s n"]
        let rows: [(record: String, outcome: RecordOutcome, left: [String])] = [
            ("HSET h f v x y", .sent, ["0 h g", "0 s m", "0 s n"]),
            ("HMSET h x f g w", .sent, ["0 h f", "0 s m", "0 s n"]),
            ("HDEL h g x f", .sent, ["0 s m", "0 s n"]),
            ("SREM s m", .sent, ["0 h f", "0 h g", "0 s n"]),
            // What is there keeps its expiry; what we have removed already the source may still have.
            ("SADD s m", .sentRepair(""), all), ("HINCRBY h f 1", .repair(""), all),
            ("HSETNX h f 1", .repair(""), all), ("HINCRBYFLOAT h f 1", .repair(""), all),
            ("SMOVE s d m", .repair(""), all), ("SMOVE d s m", .repair(""), all),
            ("HSET other f v", .sent, all),
            ("DEL x h", .sent, ["0 s m", "0 s n"]), ("UNLINK s", .sent, ["0 h f", "0 h g"]),
            ("SET h v", .sent, ["0 s m", "0 s n"]), ("GETDEL h", .sent, ["0 s m", "0 s n"]),
            ("PERSIST h", .sent, all), ("PEXPIREAT h 4102444800123", .sent, all),
            ("RENAME h i", .sent, ["0 i f", "0 i g", "0 s m", "0 s n"]),
            ("RENAME s h", .sent, ["0 h m", "0 h n"]), ("MOVE h 3", .repair(""), all),
        ]
        for row in rows {
            let directory = try TemporaryDirectory()
            let bench = try WriterBench(types: policies()[0])
            try bench.keepTimers(directory.path)
            for field in ["f", "g"] { bench.addTimer("h", field, expiry: now + 1000) }
            for member in ["m", "n"] { bench.addTimer("s", member, isSet: true, expiry: now) }
            #expect(try bench.write(words(row.record)) == row.outcome, "\(row.record)")
            #expect(bench.timed(until: now + 1000) == row.left, "\(row.record)")
        }
        for (flush, left) in [("FLUSHALL", []), ("FLUSHDB", [])] as [(String, [String])] {
            let directory = try TemporaryDirectory()
            let bench = try WriterBench(types: policies()[0])
            try bench.keepTimers(directory.path)
            bench.addTimer("h", "f", expiry: now)
            #expect(try bench.writeFlush(flush) == .sent)
            #expect(bench.timed(until: now) == left)
        }
    }
}

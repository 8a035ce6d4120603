import Bytes
import TestSupport
import Testing
import Wire

@testable import Replication

/// What is kept, and that names lead to the target and back: a key that is written under a name which
/// does not lead back would be read again as another one.
@Suite struct KeyRulesTests {
    private func settings(_ change: (inout KeyRuleSettings) -> Void) -> KeyRuleSettings {
        var settings = KeyRuleSettings()
        change(&settings)
        return settings
    }

    private func kept(
        _ rules: KeyRules, of names: [String], database: Int = 0
    ) -> [String] {
        var kept: [String] = []
        for name in names {
            let isKept = Array(name.utf8).withByteView { rules.keeps(database: database, key: $0) }
            if isKept { kept.append(name) }
        }
        return kept
    }

    private func kept(_ rules: KeyRules, databases: Range<Int> = 0..<8) -> [Int] {
        var kept: [Int] = []
        for database in databases where rules.keeps(database: database) { kept.append(database) }
        return kept
    }

    @Test func withoutRulesNothingIsAsked() throws {
        let rules = try KeyRules()
        let facts = (rules.isActive, rules.concernsKeys, rules.flush)
        #expect(facts == (false, false, .apply))
        let names = kept(rules, of: ["", "a"], database: 5000)
        #expect(names == ["", "a"])
    }

    /// Lists of names go together, exclusion wins.
    @Test func names() throws {
        let rules = try KeyRules(
            settings {
                $0.include.prefixes = ["user:", "order:"]
                $0.include.suffixes = [":keep"]
                $0.include.globs = ["h?llo[0-9]*"]
                $0.exclude.prefixes = ["user:tmp:"]
                $0.exclude.globs = ["*secret*"]
            })
        let inside = ["user:", "user:1", "order:7", ":keep", "a:keep", "hello1", "hallo9x"]
        let outside = ["", "user", "User:1", "user:tmp:1", "user:secret", "keep", "hllo1", "hello"]
        let names = kept(rules, of: outside + inside)
        #expect(names == inside)
    }

    @Test func databases() throws {
        let mapped = try KeyRules(
            settings {
                $0.databases = [0: 3, 3: 0, 4: 4]
                $0.exclude.databases = [4]
            })
        var databases = kept(mapped)
        #expect(databases == [0, 3])
        databases = kept(mapped, databases: 1000..<2000)
        #expect(databases == [])
        databases = [0, 3].map { mapped.target(ofDatabase: $0) }
        #expect(databases == [3, 0])
        databases = [0, 3].map { mapped.source(ofDatabase: $0) }
        #expect(databases == [3, 0])
        databases = mapped.ownDatabases
        #expect(databases == [3, 0])
        let included = try KeyRules(settings { $0.include.databases = [1, 2] })
        databases = kept(included)
        #expect(databases == [1, 2])
        let excluded = try KeyRules(settings { $0.exclude.databases = [1] })
        databases = kept(excluded)
        #expect(databases == [0, 2, 3, 4, 5, 6, 7])
        databases = kept(excluded, databases: 5000..<5001)
        #expect(databases == [5000])
        databases = excluded.ownDatabases
        #expect(databases == [])
    }

    @Test func typesAndCommands() throws {
        let rules = try KeyRules(
            settings {
                $0.include.types = ["list", "hash", "json"]
                $0.exclude.types = ["json"]
                $0.include.commands = ["hset", "DEL", "LPUSH"]
                $0.exclude.commands = ["lpush"]
            })
        var families: [ValueFamily] = []
        for family in ValueFamily.allCases where rules.keeps(family) { families.append(family) }
        #expect(families == [.list, .hash])
        for (name, isKept) in [
            ("HSET", true), ("hset", true), ("Del", true), ("LPUSH", false), ("HSETNX", false),
            ("HSE", false), ("", false),
        ] {
            let found = Array(name.utf8).withByteView { rules.keeps(command: $0) }
            #expect(found == isKept, "\(name)")
        }
    }

    /// Each name leads to another one and back.
    @Test func namesLeadBack() throws {
        for (from, to) in [("", "copy:"), ("app:", ""), ("a:", "bb:"), ("long:", "l")] {
            let rules = try KeyRules(
                settings {
                    $0.sourcePrefix = from
                    $0.targetPrefix = to
                })
            for rest in ["", "1", "copy:copy:", "\u{0}\r\n", String(repeating: "x", count: 9000)] {
                let target = try (Array(from.utf8) + Array(rest.utf8))
                    .withByteView { key throws(SystemError) in
                        try rules.target(of: key).array()
                    }
                #expect(target == Array(to.utf8) + Array(rest.utf8))
                let source = try target.withByteView { key throws(SystemError) in
                    try rules.source(of: key).array()
                }
                #expect(source == Array(from.utf8) + Array(rest.utf8))
            }
        }
    }

    /// What could not be undone, or would delete what is not ours, is refused.
    @Test func contradictions() {
        let rows: [(KeyRuleSettings, [String])] = [
            (KeyRuleSettings(), []),
            (settings { $0.databases = [0: 1, 1: 0] }, []),
            (settings { $0.databases = [0: 1, 3: 1, 5: 1] }, ["dbs", "dbs"]),
            (settings { $0.targetPrefix = "p" }, []),
            (settings { $0.sourcePrefix = "p" }, ["keys.stripPrefix"]),
            (
                settings {
                    $0.sourcePrefix = "p:"
                    $0.include.prefixes = ["p:a", "p:"]
                    $0.include.globs = ["p:*", "p:\\*"]
                }, []
            ),
            (
                settings {
                    $0.sourcePrefix = "p:"
                    $0.targetPrefix = "q:"
                    $0.include.prefixes = ["p:", "p"]
                }, ["keys.replacePrefix"]
            ),
            (
                settings {
                    $0.sourcePrefix = "p:"
                    $0.include.globs = ["p*"]
                }, ["keys.stripPrefix"]
            ),
            (
                settings {
                    $0.sourcePrefix = "p:"
                    $0.include.prefixes = ["p:"]
                    $0.include.suffixes = ["x"]
                }, ["keys.stripPrefix"]
            ),
            (
                settings {
                    $0.flush = .apply
                    $0.exclude.databases = [1]
                }, ["flush"]
            ),
            (
                settings {
                    $0.flush = .apply
                    $0.exclude.databases = [1]
                    $0.databases = [0: 0, 1: 1]
                }, []
            ),
        ]
        for (settings, keys) in rows {
            #expect(settings.problems.map(\.key) == keys, "\(settings)")
        }
    }

    @Test func flushesAreAppliedOnlyWithoutRules() {
        #expect(KeyRuleSettings().flushInEffect == .apply)
        #expect(settings { $0.exclude.commands = ["SET"] }.flushInEffect == .fail)
        #expect(settings { $0.databases = [0: 0] }.flushInEffect == .fail)
        #expect(settings { $0.targetPrefix = "p" }.flushInEffect == .fail)
        #expect(
            settings {
                $0.targetPrefix = "p"
                $0.flush = .apply
            }.flushInEffect == .apply)
    }

    /// Patterns match what KEYS of a redis-server matches.
    @Test func globsAreThoseOfRedis() throws {
        let server = try RedisServer()
        let client = try server.client()
        var random = SeededGenerator(seed: 17)
        func text(_ alphabet: [UInt8], _ limit: Int) -> [UInt8] {
            (0..<Int.random(in: 1...limit, using: &random)).map { _ in
                alphabet.randomElement(using: &random) ?? 0
            }
        }
        var names: Set<[UInt8]> = []
        while names.count < 400 { names.insert(text(Array("abc-]^*\\".utf8), 5)) }
        for name in names { try client.command([Array("SET".utf8), name, []]) }
        var matches = 0
        for _ in 0..<3000 {
            let pattern = text(Array("aabc**??[[]]^-\\".utf8), 8)
            let reply = try client.command([Array("KEYS".utf8), pattern])
            let expected = Set(try #require(reply.elements).compactMap(\.bytes))
            let found = names.filter { name in
                pattern.withByteView { pattern in
                    name.withByteView { GlobPattern.matches(pattern, $0) }
                }
            }
            #expect(found == expected, "\(String(decoding: pattern, as: UTF8.self))")
            matches += found.count
        }
        #expect(matches > 1000)
    }

    /// Stars do not multiply the time.
    @Test func manyStarsEnd() {
        let pattern = Array(String(repeating: "*a", count: 500).utf8) + [98]
        let name = [UInt8](repeating: 97, count: 20_000)
        #expect(
            !pattern.withByteView { pattern in
                name.withByteView { GlobPattern.matches(pattern, $0) }
            })
    }

    /// Every command whose keys are of one type says so: another one would let values of a filtered
    /// type in, or leave kept ones out.
    @Test func commandsKnowTheirType() {
        let rules = JournalRules()
        // They write any type, one of two, or what other keys hold; or they are never sent.
        let any: Set<JournalRule> = [
            .delete, .persist, .rename, .expireAt, .restore, .deleteConditionally, .elementExpiry,
            .sort, .geoStore, .aggregateStore, .rangeStore, .move, .flushAll, .flushDatabase,
            .flushSlots, .script, .skip, .search, .administrative, .repair, .unknown,
        ]
        for (rule, names) in JournalRulesTests.commands {
            for name in names {
                let match = Array(name.utf8).withByteView { rules.match($0) }
                #expect((match.family == nil) == any.contains(rule), "\(name)")
            }
        }
        for (name, family) in [
            ("SET", ValueFamily.string), ("rpush", .list), ("SADD", .set), ("GEOADD", .zset),
            ("HINCRBYFLOAT", .hash), ("XACK", .stream), ("JSON.SET", .json), ("BF.ADD", .bloom),
            ("INCRBYFLOAT", .string), ("CF.ADD", .cuckoo), ("CMS.MERGE", .countMin),
            ("TOPK.ADD", .topK),
        ] {
            #expect(Array(name.utf8).withByteView { rules.match($0) }.family == family, "\(name)")
        }
    }
}

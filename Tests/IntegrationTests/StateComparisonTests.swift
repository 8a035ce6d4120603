import TestSupport
import Testing

/// The tests of the program are worth what their comparison sees: every kind of difference that
/// they are to catch is made here on a real redis-server.
@Suite struct StateComparisonTests {
    /// What the recordings hold survives writing and reading; all of it is compared.
    @Test(arguments: try Recording.all())
    func recordedStatesCompareEqualWithThemselves(_ recording: Recording) throws {
        let expected = try recording.expected()
        let server = try RedisServer()
        try StateWriter(client: server.client()).write(expected)
        let comparison = StateComparison(
            expected: expected, actual: try StateReader(server.client()).read())
        #expect(comparison.differences == [], "\(comparison.summary(recording.name))")
        let foreign = expected.values.count { if case .foreign = $0.value { true } else { false } }
        #expect(comparison.foreign.count == foreign)
        #expect(comparison.keysCompared == expected.count - foreign)
        #expect(
            comparison.expiringKeysCompared
                == expected.values.count { $0.expiryMilliseconds != 0 })
    }

    @Test(arguments: Corruption.all)
    func corruptionIsSeen(_ corruption: Corruption) throws {
        let server = try RedisServer()
        let client = try server.client()
        try StateWriter(client: client).write(Corruption.state)
        let before = StateComparison(
            expected: Corruption.state, actual: try StateReader(client).read())
        #expect(before.differences == [])
        for command in corruption.commands {
            let reply = try client.command(command.split(separator: " ").map { Array($0.utf8) })
            if case .error(let message) = reply { Issue.record("\(command): \(message)") }
        }
        let after = StateComparison(
            expected: Corruption.state, actual: try StateReader(client).read())
        let isSeen = after.differences.contains { $0.contains(corruption.finding) }
        #expect(isSeen, "\(after.summary(corruption.description))")
    }

    /// Only the expiry tolerance of one recording lets an expiry differ, and only by so much.
    @Test func expiryToleranceHasItsLimit() {
        let expected = [StateKey(0, "k"): entry(.string([1]), expiry: 5000)]
        var rules = StateComparison.Rules()
        rules.expiryToleranceMilliseconds = 10
        func differs(by milliseconds: Int64) -> Bool {
            let actual = [StateKey(0, "k"): entry(.string([1]), expiry: 5000 + milliseconds)]
            return !StateComparison(expected: expected, actual: actual, rules: rules).isEqual
        }
        #expect(!differs(by: 10))
        #expect(differs(by: 11))
        #expect(!differs(by: -10))
        #expect(differs(by: -5000))
    }

    /// A key that has expired since the recording was made is a failure, never left out silently.
    @Test func expiredKeysFailTheComparison() {
        let expected = [StateKey(0, "k"): entry(.string([1]), expiry: 5000)]
        var rules = StateComparison.Rules()
        rules.nearExpiryMilliseconds = 5000
        let comparison = StateComparison(expected: expected, actual: [:], rules: rules)
        #expect(comparison.differences.count == 2)
        #expect(comparison.nearExpiry.isEmpty)
    }

    @Test func keysAboutToExpireAreLeftOutAndListed() {
        let expected = [StateKey(0, "k"): entry(.string([1]), expiry: 5000)]
        let actual = [StateKey(0, "other"): entry(.string([1]), expiry: 4999)]
        var rules = StateComparison.Rules()
        rules.nearExpiryMilliseconds = 5001
        let comparison = StateComparison(expected: expected, actual: actual, rules: rules)
        #expect(comparison.isEqual)
        #expect(comparison.nearExpiry == [StateKey(0, "k"), StateKey(0, "other")])
        #expect(comparison.keysCompared == 0)
    }

    /// What Redis cannot hold must not be there in another guise.
    @Test func foreignKeysMustBeAbsent() {
        let bloom = StateEntry(type: "MBbloom--", expiryMilliseconds: 0, value: .foreign)
        let expected = [StateKey(0, "j"): bloom]
        let actual = [StateKey(0, "j"): entry(.string([1]))]
        #expect(!StateComparison(expected: expected, actual: actual).isEqual)
        #expect(StateComparison(expected: expected, actual: [:]).isEqual)
    }

    /// JSON is there as a string with a text of the same value.
    @Test func jsonMustBeThereAsText() {
        let json = StateEntry(
            type: "json", expiryMilliseconds: 0, value: .json(Array(#"{"a":1,"b":[true]}"#.utf8)))
        for (text, isEqual) in [
            (#"{"b":[true],"a":1}"#, true), (#"{"b":[true],"a":2}"#, false), ("{", false),
        ] {
            let actual = [StateKey(0, "j"): entry(.string(Array(text.utf8)))]
            let comparison = StateComparison(expected: [StateKey(0, "j"): json], actual: actual)
            #expect(comparison.isEqual == isEqual, "\(text)")
        }
    }

    /// The recorded zset with "negzero" holds plus zero: the wire has it as the integer 0.
    @Test func recordedZeroIsPositive() throws {
        let state = try Recording("types-plain").expected()
        guard case .zset(let members) = state[StateKey(0, "zset:lp")]?.value else {
            Issue.record("no zset:lp")
            return
        }
        let zero = members.first { $0.member == Array("negzero".utf8) }
        #expect(zero?.score.bitPattern == Double(0).bitPattern)
        let bytes = try Recording("types-plain").bytes(flow: 0)
        // Listpack: string of 7 bytes, its back length 8, the integer 0, its back length 1.
        #expect(bytes.firstRange(of: [0x87] + Array("negzero".utf8) + [0x08, 0x00, 0x01]) != nil)
    }

    private func entry(_ value: StateValue, expiry: Int64 = 0) -> StateEntry {
        StateEntry(type: "string", expiryMilliseconds: expiry, value: value)
    }
}

/// A single wrong value, made on the server by commands.
struct Corruption: Sendable, CustomStringConvertible {
    var description: String
    var commands: [String]
    /// Part of the difference that must be reported.
    var finding: String

    init(_ description: String, _ commands: String..., finding: String) {
        self.description = description
        self.commands = commands
        self.finding = finding
    }

    static let all = [
        Corruption("string", "SETRANGE s 0 w", finding: "\"s\": \"walue"),
        Corruption("string longer", "APPEND s x", finding: "\"s\""),
        Corruption(
            "expiry 1 ms late", "SELECT 1", "PEXPIREAT t 1999999999124", finding: "9124, expected"),
        Corruption(
            "expiry 1 ms early", "SELECT 1", "PEXPIREAT t 1999999999122", finding: "9122, expe"),
        Corruption("expiry lost", "SELECT 1", "PERSIST t", finding: "with an expiry 0 of 1"),
        Corruption("expiry gained", "PEXPIREAT s 1999999999123", finding: "expected 0"),
        Corruption("list order", "LSET l 0 b", "LSET l 1 a", finding: "element 0 is \"b\""),
        Corruption("list shorter", "RPOP l", finding: "first missing \"c\""),
        Corruption("list longer", "RPUSH l d", finding: "first surplus \"d\""),
        Corruption("set member gained", "SADD set c", finding: "surplus \"c\""),
        Corruption("set member lost", "SREM set a", finding: "\"set\""),
        Corruption("hash value", "HSET h f 2", finding: "\"f\"=\"2\""),
        Corruption("hash field gained", "HSET h z 2", finding: "surplus \"z\"=\"2\""),
        Corruption("hash field lost", "HDEL h g", finding: "missing \"g\""),
        Corruption("score one ulp up", "ZADD z 0.30000000000000004 b", finding: "at 0.3000"),
        Corruption("score -0", "ZREM z a", "ZADD z -0 a", finding: "\"a\" at -0.0"),
        Corruption("zset member lost", "ZREM z b", finding: "\"z\""),
        Corruption("entry deleted", "XDEL x 2-1", finding: "first missing 2-1"),
        Corruption("entry gained", "XADD x 9-9 k v", finding: "first surplus 9-9"),
        Corruption("last id", "XSETID x 3-1", finding: "last id 3-1, expected 3-0"),
        Corruption(
            "max-deleted id", "XSETID x 3-0 ENTRIESADDED 5 MAXDELETEDID 1-1",
            finding: "max-deleted id 1-1"),
        Corruption(
            "entries added", "XSETID x 3-0 ENTRIESADDED 6 MAXDELETEDID 1-5",
            finding: "entries-added 6"),
        Corruption("group lost", "XGROUP DESTROY x g2", finding: "missing group \"g2\""),
        Corruption("group gained", "XGROUP CREATE x g3 0", finding: "surplus group \"g3\""),
        Corruption(
            "group position", "XGROUP SETID x g1 2-1 ENTRIESREAD 2", finding: "last id 2-1"),
        Corruption(
            "entries read", "XGROUP SETID x g1 1-1 ENTRIESREAD 2", finding: "entries-read 2"),
        Corruption(
            "entries read unknown", "XGROUP SETID x g1 1-1", finding: "entries-read unknown"),
        Corruption("consumer lost", "XGROUP DELCONSUMER x g1 idle", finding: "consumer \"idle\""),
        Corruption(
            "consumer gained", "XGROUP CREATECONSUMER x g2 new", finding: "consumer \"new\""),
        Corruption("pending lost", "XACK x g1 1-1", finding: "first missing pending 1-1"),
        Corruption(
            "pending of another", "XCLAIM x g1 idle 0 1-1 RETRYCOUNT 3 JUSTID",
            finding: "pending 1-1 of \"idle\""),
        Corruption(
            "delivery count", "XCLAIM x g1 alice 0 1-1 RETRYCOUNT 4 JUSTID", finding: "× 4"),
        Corruption("key gained", "SET new 1", finding: "\"new\": not expected"),
        Corruption("key lost", "DEL s", finding: "\"s\": missing"),
        Corruption("other database", "MOVE s 3", finding: "db 3 \"s\": not expected"),
        Corruption("other type", "DEL s", "RPUSH s value", finding: "a list, expected a string"),
    ]

    static let state: ServerState = [
        StateKey(0, "s"): entry("string", .string(bytes("value"))),
        StateKey(1, "t"): entry("string", .string([0, 13, 10, 255]), expiry: 1_999_999_999_123),
        StateKey(0, "l"): entry("list", .list([bytes("a"), bytes("b"), bytes("c")])),
        StateKey(0, "set"): entry("set", .set([bytes("a"), bytes("b")])),
        StateKey(0, "h"): entry(
            "hash",
            .hash([
                FieldValue(field: bytes("f"), value: bytes("1")),
                FieldValue(field: bytes("g"), value: []),
            ])),
        StateKey(0, "z"): entry(
            "zset",
            .zset([
                ScoredMember(member: bytes("a"), score: 0),
                ScoredMember(member: bytes("b"), score: 0.3),
                // Long enough that redis keeps a skiplist: its listpacks turn -0 into 0.
                ScoredMember(member: [UInt8](repeating: 99, count: 65), score: 1),
            ])),
        StateKey(0, "x"): entry("stream", .stream(stream)),
    ]

    private static let stream = StreamState(
        entries: [
            StreamState.Entry(id: "1-1", fields: [bytes("k"), bytes("v"), bytes("k"), bytes("w")]),
            StreamState.Entry(id: "2-1", fields: [bytes("other"), []]),
        ],
        lastID: "3-0", maxDeletedID: "1-5", entriesAdded: 5,
        groups: [
            StreamState.Group(
                name: bytes("g1"), lastID: "1-1", entriesRead: 1,
                pending: [
                    StreamState.Pending(id: "1-1", consumer: bytes("alice"), deliveryCount: 3)
                ],
                consumers: [bytes("alice"), bytes("idle")]),
            StreamState.Group(
                name: bytes("g2"), lastID: "3-0", entriesRead: nil, pending: [], consumers: []),
        ])

    private static func entry(
        _ type: String, _ value: StateValue, expiry: Int64 = 0
    ) -> StateEntry {
        StateEntry(type: type, expiryMilliseconds: expiry, value: value)
    }

    private static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
}

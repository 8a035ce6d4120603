import TestSupport
import Testing

@testable import DragonflySimulator

/// Two of everything in two databases, half of it with an expiry, and 300 writes to 15 keys.
private func smallData() -> SyntheticData {
    var data = SyntheticData(seed: 5)
    data.databaseCount = 2
    data.expiringPercent = 50
    data.strings = .init(count: 400, elementBytes: 64)
    data.hashes = .init(count: 30, elements: 10, elementBytes: 16)
    data.lists = .init(count: 30, elements: 10, elementBytes: 16)
    data.sets = .init(count: 30, elements: 10, elementBytes: 16)
    data.sortedSets = .init(count: 30, elements: 10, elementBytes: 16)
    data.streams = .init(count: 30, elements: 7, elementBytes: 16)
    return data
}

private func smallTraffic() -> LiveTraffic {
    var traffic = LiveTraffic(recordCount: 300, seed: 6)
    traffic.keysPerKind = 5
    traffic.databaseCount = 2
    return traffic
}

/// Commands that write one key as a client would.
private func commands(_ key: [UInt8], _ value: SyntheticValue, _ expiry: Int64?) -> [[[UInt8]]] {
    func words(_ text: String) -> [[UInt8]] { text.split(separator: " ").map { Array($0.utf8) } }
    var commands: [[[UInt8]]]
    switch value {
    case .string(let bytes): commands = [words("SET") + [key, bytes]]
    case .hash(let fields):
        commands = [words("HSET") + [key] + fields.flatMap { [$0.field, $0.value] }]
    case .list(let elements): commands = [words("RPUSH") + [key] + elements]
    case .set(let members): commands = [words("SADD") + [key] + members]
    case .sortedSet(let members):
        commands = [
            words("ZADD") + [key] + members.flatMap { [Array("\($0.score)".utf8), $0.member] }
        ]
    case .stream(let stream):
        let ids = stream.entries.map { Array("\($0.id.milliseconds)-\($0.id.sequence)".utf8) }
        commands = zip(ids, stream.entries).map { id, entry in
            words("XADD") + [key, id] + entry.fields.flatMap { [$0.field, $0.value] }
        }
        if let group = stream.group {
            let last = ids[group.delivered - 1]
            commands.append(
                words("XGROUP CREATE") + [key, group.name, last]
                    + words("ENTRIESREAD \(group.delivered)"))
            commands.append(
                words("XCLAIM") + [key, group.name, group.consumer] + words("0")
                    + ids.prefix(group.delivered)
                    + words("TIME \(group.deliveryMilliseconds) RETRYCOUNT 1 FORCE JUSTID"))
        }
    }
    if let expiry { commands.append(words("PEXPIREAT") + [key] + words("\(expiry)")) }
    return commands
}

/// A redis-server that holds exactly what the master does.
private func filledServer(_ data: SyntheticData, _ traffic: LiveTraffic) throws -> RedisServer {
    let server = try RedisServer()
    let client = try server.client()
    for database in 0..<2 {
        var all = [[Array("SELECT".utf8), Array("\(database)".utf8)]]
        for kind in SyntheticData.Kind.allCases {
            for index in 0..<data.shape(kind).count where data.database(index) == database {
                all += commands(
                    data.key(kind, index), data.value(kind, index), data.expiry(kind, index))
            }
        }
        for key in traffic.keys() where key.database == database {
            all += commands(key.name, key.value, nil)
        }
        for reply in try client.pipeline(all) {
            if case .error(let message) = reply { throw TestSupportError(message) }
        }
    }
    return server
}

private func verify(_ server: RedisServer, _ data: SyntheticData) throws -> Verification {
    try Verification.run(
        host: "127.0.0.1", port: server.port, data: data, traffic: smallTraffic())
}

@Suite struct VerificationTests {
    /// What was written by plain commands is found equal, and every key was looked at.
    @Test func equalContentIsEqual() throws {
        let data = smallData()
        let server = try filledServer(data, smallTraffic())
        let result = try verify(server, data)
        #expect(result.isEqual, "\(result.lines)")
        #expect(result.counts.map(\.compared) == [400, 30, 30, 30, 30, 30, 15])
        #expect(result.counts.allSatisfy { $0.different == 0 })
        #expect(result.lines.count == 8)
    }

    struct Corruption: CustomTestStringConvertible, Sendable {
        let testDescription: String
        /// The key in database 1 that is changed, and that the result must name.
        let key: String
        /// Part of what the result must say.
        let says: String
        /// Commands after `SELECT 1`; KEY stands for the key.
        let commands: [String]

        init(_ name: String, _ key: String, says: String, _ commands: String...) {
            testDescription = name
            self.key = key
            self.says = says
            self.commands = commands
        }
    }

    static let corruptions: [Corruption] = [
        .init("string", "string:00000001", says: "expected", "SETRANGE KEY 63 #"),
        .init("longer string", "string:00000001", says: "expected", "APPEND KEY x"),
        .init("counter", "live:counter:00000001", says: "expected", "INCR KEY"),
        .init("hash value", "hash:00000001", says: "field", "HSET KEY FIRST other"),
        .init("hash field more", "hash:00000001", says: "has 11 fields", "HSET KEY more 1"),
        .init("hash field fewer", "hash:00000001", says: "has 9 fields", "HDEL KEY FIRST"),
        .init("list element", "list:00000001", says: "element 4", "LSET KEY 4 other"),
        .init("list order", "list:00000001", says: "element 0", "LMOVE KEY KEY RIGHT LEFT"),
        .init("list length", "list:00000001", says: "has 9 elements", "RPOP KEY"),
        .init("live list order", "live:list:00000001", says: "element", "LMOVE KEY KEY LEFT RIGHT"),
        .init("set member more", "set:00000001", says: "too many", "SADD KEY other"),
        .init("set member fewer", "set:00000001", says: "is missing", "SPOP KEY"),
        .init("score by one ulp", "zset:00000001", says: "score of", "ZADD KEY NEXT FIRST"),
        .init("sorted set member", "zset:00000001", says: "has 9 members", "ZREM KEY FIRST"),
        .init("stream entry", "stream:00000001", says: "length", "XADD KEY * value more"),
        .init("stream deletion", "stream:00000001", says: "length", "XDEL KEY 1700000000003-0"),
        .init(
            "stream content", "stream:00000001", says: "number 6 of its entries",
            "XDEL KEY 1700000000003-0",
            "XSETID KEY 1700000000002-1 ENTRIESADDED 6 MAXDELETEDID 0-0",
            "XADD KEY 1700000000003-0 value other"),
        .init("stream id", "stream:00000001", says: "last-generated", "XSETID KEY 1800000000000-0"),
        .init("group missing", "stream:00000001", says: "groups", "XGROUP DESTROY KEY workers"),
        .init("group too many", "stream:00000001", says: "groups", "XGROUP CREATE KEY other 0"),
        .init("group id", "stream:00000001", says: "last-delivered", "XGROUP SETID KEY workers 5"),
        .init("pending", "stream:00000001", says: "pel-count", "XACK KEY workers 1700000000000-0"),
        .init(
            "delivery count", "stream:00000001", says: "number 1 of its pending",
            "XCLAIM KEY workers worker-1 0 1700000000000-1 TIME 1700000000000 RETRYCOUNT 2"),
        .init(
            "delivery time", "stream:00000001", says: "number 0 of its pending",
            "XCLAIM KEY workers worker-1 0 1700000000000-0 TIME 1700000000001 RETRYCOUNT 1"),
        .init(
            "consumer", "stream:00000001", says: "of consumers",
            "XGROUP CREATECONSUMER KEY workers other"),
        .init("expiry by 1 ms", "EXPIRING", says: "expires at", "PEXPIREAT KEY LATER"),
        .init("expiry lost", "EXPIRING", says: "expires at -1", "PERSIST KEY"),
        .init("expiry too many", "live:set:00000001", says: "expected -1", "EXPIRE KEY 1000"),
        .init("type", "list:00000001", says: "is of type \"string\"", "SET KEY 1 KEEPTTL"),
        .init("missing", "set:00000001", says: "is missing", "DEL KEY"),
        .init("extra", "other", says: "no such key", "SET KEY 1"),
        .init(
            "extra for missing", "other", says: "no such key", "DEL string:00000003",
            "SET KEY 1"),
        .init("wrong database", "zset:00000001", says: "is missing", "MOVE KEY 0"),
        .init("unknown database", "hash:00000001", says: "is missing", "MOVE KEY 7"),
    ]

    /// Whatever was changed in one key, the result is unequal and names the key with its database.
    @Test func everyCorruptionIsFound() throws {
        let data = smallData()
        let traffic = smallTraffic()
        for corruption in Self.corruptions {
            let server = try filledServer(data, traffic)
            let key = try apply(corruption, to: server, data)
            let result = try verify(server, data)
            #expect(!result.isEqual, "\(corruption.testDescription)")
            let start = "database 1, key \"\(key)\": "
            #expect(
                result.differences.contains { $0.hasPrefix(start) && $0.contains(corruption.says) },
                "\(corruption.testDescription): \(result.lines)")
        }
    }

    /// Returns the changed key.
    private func apply(
        _ corruption: Corruption, to server: RedisServer, _ data: SyntheticData
    ) throws -> String {
        var key = corruption.key
        var later: Int64 = 0
        if key == "EXPIRING" {
            let index = try #require(
                (0..<data.strings.count).first {
                    data.database($0) == 1 && data.expiry(.string, $0) != nil
                })
            key = String(decoding: data.key(.string, index), as: UTF8.self)
            later = try #require(data.expiry(.string, index)) + 1
        }
        var first: [UInt8] = []
        var next = 0.0
        if case .hash(let fields) = data.value(.hash, 1) { first = fields[0].field }
        if key.hasPrefix("zset:"), case .sortedSet(let members) = data.value(.sortedSet, 1) {
            first = members[0].member
            next = members[0].score.nextUp
        }
        let client = try server.client()
        try client.call("SELECT", "1")
        for command in corruption.commands {
            let words = command.split(separator: " ").map { word in
                switch word {
                case "KEY": Array(key.utf8)
                case "FIRST": first
                case "NEXT": Array("\(next)".utf8)
                case "LATER": Array("\(later)".utf8)
                default: Array(word.utf8)
                }
            }
            if case .error(let message) = try client.command(words) {
                throw TestSupportError("\(command): \(message)")
            }
        }
        return key
    }

    /// A key in a wrong database is named twice: missing in its own, too many in the other.
    @Test func wrongDatabaseIsNamedTwice() throws {
        let data = smallData()
        let server = try filledServer(data, smallTraffic())
        let client = try server.client()
        try client.call("SELECT", "1")
        try client.call("MOVE", "set:00000003", "7")
        let result = try verify(server, data)
        #expect(
            result.differences == [
                "database 1, key \"set:00000003\": is missing",
                "database 7, key \"set:00000003\": the source has no such key there",
            ])
        #expect(result.otherKeys == 1 && result.differenceCount == 2)
    }

    /// An empty target lacks everything; the list of differences stays short and says so.
    @Test func listOfDifferencesIsLimited() throws {
        let data = smallData()
        let server = try RedisServer()
        let result = try verify(server, data)
        #expect(result.differenceCount == 565)
        #expect(result.differences.count == Verification.listLimit)
        #expect(result.lines.last == "and 545 more")
    }

    /// A key whose expiry has passed may be gone.
    @Test func expiredKeysMayBeGone() throws {
        var data = SyntheticData(seed: 5)
        data.expiringPercent = 100
        // 180 days are over.
        data.firstExpiryMilliseconds = 1_600_000_000_000
        data.strings = .init(count: 10)
        let server = try RedisServer()
        let result = try Verification.run(
            host: "127.0.0.1", port: server.port, data: data, traffic: LiveTraffic(recordCount: 0))
        #expect(result.isEqual)
        #expect(result.counts[0].compared == 10)
    }

    /// Values larger than the client's buffers are read whole.
    @Test func largeValuesAreCompared() throws {
        var data = SyntheticData(seed: 5)
        data.databaseCount = 2
        data.strings = .init(count: 3, elementBytes: 3 << 20)
        data.lists = .init(count: 1, elements: 40_000, elementBytes: 30)
        let server = try filledServer(data, smallTraffic())
        #expect(try verify(server, data).isEqual)
        let client = try server.client()
        try client.call("SETRANGE", "string:00000002", "\((3 << 20) - 1)", "#")
        try client.call("LSET", "list:00000000", "39999", "#")
        #expect(try verify(server, data).differenceCount == 2)
    }

    /// Nobody listening, or a server that wants a password, is an error and no result.
    @Test func unusableTargetIsAnError() throws {
        let port = try RedisServer.freePort()
        #expect(throws: VerificationError.self) {
            try Verification.run(
                host: "127.0.0.1", port: port, data: smallData(), traffic: smallTraffic())
        }
        let server = try RedisServer(arguments: ["--requirepass", "secret"])
        #expect(throws: VerificationError.self) { try verify(server, smallData()) }
    }
}

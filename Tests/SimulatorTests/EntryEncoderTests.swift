import Bytes
import TestSupport
import Testing

@testable import DragonflySimulator

/// A value, the command that makes it, and the type code that each release gives it.
struct EncodingCase: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var commands: [[[UInt8]]]
    /// 1.20, 1.30, and later.
    var types: [UInt8]

    init(_ name: String, _ types: [UInt8], _ commands: [[UInt8]]...) {
        testDescription = name
        self.types = types
        self.commands = commands
    }

    func type(_ release: EmulatedRelease) -> UInt8 {
        switch release {
        case .v1_20: types[0]
        case .v1_30: types[1]
        default: types[2]
        }
    }

    private static func bytes(_ count: Int) -> [UInt8] { Array(repeating: 0x78, count: count) }

    private static func numbers(_ range: Range<Int>) -> [[UInt8]] {
        range.map { Array("\($0)".utf8) }
    }

    /// `count` pairs of a number and a text.
    private static func pairs(_ count: Int, _ value: [UInt8]) -> [[UInt8]] {
        numbers(0..<count).flatMap { [$0, value] }
    }

    /// Each limit of each type from both sides.
    static let all = [
        EncodingCase("empty string", [0, 0, 0], words("SET", "k", "")),
        EncodingCase("integer", [0, 0, 0], words("SET", "k", "-2147483648")),
        EncodingCase("large integer", [0, 0, 0], words("SET", "k", "2147483648")),
        EncodingCase("no integer", [0, 0, 0], words("SET", "k", "007")),
        EncodingCase(
            "list", [14, 18, 18], words("RPUSH", "k", "a", "12", "", "-1", "99999999999")),
        EncodingCase(
            "long elements", [14, 18, 18],
            words("RPUSH", "k", "a", bytes(8192), "b", bytes(8193), "c", bytes(40_000), "d")),
        EncodingCase(
            "long element in a node", [14, 18, 18], words("RPUSH", "k", "a", "b", "c"),
            words("LSET", "k", "1", bytes(9000))),
        EncodingCase("many nodes", [14, 18, 18], words("RPUSH", "k") + numbers(0..<9000)),
        EncodingCase("intset", [11, 11, 11], words("SADD", "k", "1", "-3", "70000")),
        EncodingCase("256 integers", [11, 11, 11], words("SADD", "k") + numbers(0..<256)),
        EncodingCase("257 integers", [2, 2, 2], words("SADD", "k") + numbers(0..<257)),
        EncodingCase("texts", [2, 2, 2], words("SADD", "k", "a", "b", "longer", "5")),
        EncodingCase(
            "short fields", [13, 13, 16],
            words("HSET", "k", "f", "v", "n", "12", "", "-129", "x", bytes(64))),
        EncodingCase("a long value", [4, 4, 4], words("HSET", "k", "f", bytes(65), "g", "h")),
        EncodingCase("many short fields", [13, 13, 16], words("HSET", "k") + pairs(150, [])),
        EncodingCase("a full hash", [13, 13, 16], words("HSET", "k") + pairs(14, bytes(64))),
        EncodingCase("more than full", [4, 4, 4], words("HSET", "k") + pairs(16, bytes(64))),
        EncodingCase(
            "scores", [12, 12, 17],
            words(
                "ZADD", "k", "-inf", "a", "1", "b", "2.5", "c", "1e-7", "d", "1e22", "e", "inf", "f"
            )),
        EncodingCase("32 bytes", [12, 12, 17], words("ZADD", "k", "1", bytes(32))),
        EncodingCase("33 bytes", [5, 5, 5], words("ZADD", "k", "1", bytes(33), "0", "a")),
        EncodingCase("128 members", [12, 12, 17], words("ZADD", "k") + members(128)),
        EncodingCase("129 members", [5, 5, 5], words("ZADD", "k") + members(129)),
        EncodingCase(
            "stream", [15, 21, 21], words("XADD", "k", "1-1", "f", "v", "g", "12"),
            words("XADD", "k", "1-2", "f", "w", "g", "13"), words("XADD", "k", "2-0", "other", "1"),
            words("XDEL", "k", "1-2"), words("XGROUP", "CREATE", "k", "g1", "0"),
            words("XREADGROUP", "GROUP", "g1", "c1", "COUNT", "1", "STREAMS", "k", ">"),
            words("XGROUP", "CREATECONSUMER", "k", "g1", "c2")),
        EncodingCase(
            "empty stream", [15, 21, 21], words("XGROUP", "CREATE", "k", "g", "$", "MKSTREAM")),
    ]

    private static func members(_ count: Int) -> [[UInt8]] {
        numbers(0..<count).flatMap { [$0, $0] }
    }
}

/// Encodings of values that a redis-server really holds.
@Suite struct EntryEncoderTests {
    private static func stored(
        _ commands: [[[UInt8]]], _ client: RespClient
    ) throws -> StoredKey {
        try client.call("FLUSHALL")
        for (command, reply) in zip(commands, try client.pipeline(commands)) {
            if case .error(let text) = reply {
                throw TestSupportError("\(printable(command[0])): \(text)")
            }
        }
        return try EmulatedSnapshot.stored(KeyName(database: 0, key: Array("k".utf8)), client)
    }

    /// Each value has its release's type code and, when decoded, what was put in; also if it is
    /// cut at every place where that is allowed, and there alone.
    @Test(arguments: EncodingCase.all)
    func typesFollowTheRelease(_ row: EncodingCase) throws {
        let server = try RedisServer()
        let key = try Self.stored(row.commands, server.client())
        let expected = try StoredValue(dump: key.dump)
        for release in EmulatedRelease.allCases {
            let entry = try EntryEncoder(release: release).encode(key)
            var options = StreamOptions()
            options.compression = .none
            options.chunkBytes = 0
            let whole = try #require(
                try EmulatedSnapshot.decoded([entry], release, options).entries.first)
            #expect(whole.type == row.type(release), "\(release)")
            #expect(whole.chunks == 0)
            #expect(whole.value.plain(release) == expected.plain(release), "\(release)")
            options.chunkBytes = 1
            let cut = try #require(
                try EmulatedSnapshot.decoded([entry], release, options).entries.first)
            #expect(cut.value == whole.value, "\(release)")
            let isCut = !entry.splits.isEmpty && release.hasTaggedChunks
            #expect(cut.chunks == (isCut ? entry.splits.count + 1 : 0), "\(release)")
        }
    }

    /// A hash that outgrew redis' compact form and shrank again is not compact in Dragonfly either;
    /// a single field is, in the newest releases, whatever its size.
    @Test func formsDependOnTheRelease() throws {
        let server = try RedisServer()
        let client = try server.client()
        let long = Array(repeating: UInt8(ascii: "y"), count: 200)
        let shrunk = try Self.stored(
            [words("HSET", "k", "f", long, "g", "v", "h", "w"), words("HDEL", "k", "f")], client)
        let single = try Self.stored([words("HSET", "k", "f", long)], client)
        for release in EmulatedRelease.allCases {
            let encoder = EntryEncoder(release: release)
            #expect(try encoder.encode(shrunk).bytes[0] == 4)
            #expect(try encoder.encode(single).bytes[0] == (release.number >= 1039 ? 16 : 4))
        }
    }

    /// The bytes that a real server sent for the same keys (protocol.md 11.2).
    @Test func knownBytes() throws {
        let server = try RedisServer()
        let client = try server.client()
        let rows: [(commands: [[[UInt8]]], hex: String)] = [
            ([words("SET", "k", "v")], "00 01 6B 01 76"),
            (
                [words("SADD", "k", "1", "2", "-3")],
                "0B 01 6B 0E 02 00 00 00 03 00 00 00 FD FF 01 00 02 00"
            ),
            (
                [words("RPUSH", "k", "a", "12", "bb")],
                "12 01 6B 01 02 10 10 00 00 00 03 00 81 61 02 0C 01 82 62 62 03 FF"
            ),
            (
                [words("HSET", "k", "f", "v", "n", "12")],
                "10 01 6B 12 12 00 00 00 04 00 81 66 02 81 76 02 81 6E 02 0C 01 FF"
            ),
            (
                [words("ZADD", "k", "1", "a", "2.5", "b")],
                "11 01 6B 14 14 00 00 00 04 00 81 61 02 01 01 81 62 02 83 32 2E 35 04 FF"
            ),
        ]
        for row in rows {
            let key = try Self.stored(row.commands, client)
            let expected = row.hex.split(separator: " ").compactMap { UInt8($0, radix: 16) }
            #expect(try EntryEncoder(release: .newest).encode(key).bytes == expected)
        }
    }

    /// Prefixes and element expiries, as protocol.md 11.2 has them from a real server.
    @Test func knownPrefixes() throws {
        let server = try RedisServer()
        let client = try server.client()
        var key = try Self.stored([words("SET", "k", "v")], client)
        key.isSticky = true
        key.memcachedFlags = 0x1234_5678
        key.expiryMilliseconds = 0x1e0_8425_7945
        let encoded = try EntryEncoder(release: .newest).encode(key).bytes
        let prefixes: [UInt8] = [
            0xfc, 0x45, 0x79, 0x25, 0x84, 0xe0, 1, 0, 0, 0xdc, 3, 0, 0, 0, 0x78, 0x56, 0x34, 0x12,
        ]
        #expect(encoded == prefixes + [0, 1, 0x6b, 1, 0x76])
        // Memcached flags are in snapshots from 1.22 on.
        let old = try EntryEncoder(release: .v1_20).encode(key).bytes
        #expect(old == prefixes[..<9] + [0xdc, 1, 0, 0, 0, 0, 1, 0x6b, 1, 0x76])

        var hash = try Self.stored([words("HSET", "k", "f", "v", "g", "w")], client)
        hash.elementExpiries = [Array("f".utf8): 1_675_209_600 + 180_156_295]
        #expect(
            try EntryEncoder(release: .newest).encode(hash).bytes == [
                31, 1, 0x6b, 2, 1, 0x66, 1, 0x76, 0xc2, 0x87, 0xf7, 0xbc, 0x0a, 1, 0x67, 1, 0x77,
                0xc0, 0xff,
            ])
        var set = try Self.stored([words("SADD", "k", "7")], client)
        set.elementExpiries = [Array("7".utf8): 1_675_209_600 + 5]
        let bytes = try EntryEncoder(release: .v1_20).encode(set).bytes
        #expect(bytes == [32, 1, 0x6b, 1, 0xc0, 7, 0xc0, 5])
    }

    /// Whole scores as integers, others in the fewest digits, in Dragonfly's layout.
    @Test(arguments: [
        (0.0, "0"), (-0.0, "0"), (1e17, "100000000000000000"), (-3, "-3"), (0.1, "0.1"),
        (-2.5, "-2.5"), (1e-6, "0.000001"), (1e-7, "1e-7"), (1.5e-7, "1.5e-7"),
        (1e20, "100000000000000000000"), (1e21, "1e21"), (1.25e22, "1.25e22"),
        (123456.789, "123456.789"), (Double.leastNonzeroMagnitude, "5e-324"),
        (Double.greatestFiniteMagnitude, "1.7976931348623157e308"),
        (.infinity, "inf"), (-.infinity, "-inf"), (9007199254740993.5, "9007199254740994"),
    ])
    func scores(_ score: Double, _ text: String) {
        #expect(String(decoding: ScoreText.bytes(score), as: UTF8.self) == text)
    }

    /// What DUMP answers loads into a redis-server 7.0 as protocol.md 3.11 says, with the same value,
    /// and carries version 9.
    @Test(arguments: EncodingCase.all)
    func dumpsLoad(_ row: EncodingCase) throws {
        let server = try RedisServer()
        let client = try server.client()
        let key = try Self.stored(row.commands, client)
        let expected = try StoredValue(dump: key.dump)
        for release in EmulatedRelease.allCases {
            let dump = try EntryEncoder(release: release).dump(key)
            #expect(dump[0] == row.type(release))
            #expect(dump.suffix(10).prefix(2) == [9, 0])
            let reply = try client.command(words("RESTORE", "copy", "0", dump, "REPLACE"))
            // Redis 7.0 knows streams up to type 19.
            if row.type(release) == 21 {
                guard case .error(let text) = reply else {
                    Issue.record("\(release): loaded a stream of type 21")
                    continue
                }
                #expect(text.contains("Bad data format"), "\(release)")
                continue
            }
            #expect(reply.text == "OK", "\(release): \(reply)")
            let copy = try EmulatedSnapshot.stored(
                KeyName(database: 0, key: Array("copy".utf8)), client)
            #expect(
                try StoredValue(dump: copy.dump).plain(release) == expected.plain(release),
                "\(release)")
        }
    }

    /// DUMP of a string, as captured (protocol.md 3.11); long ones are LZF unless compression is off.
    @Test func knownDump() throws {
        let server = try RedisServer()
        let client = try server.client()
        let short = try Self.stored([words("SET", "k", "v")], client)
        let captured: [UInt8] = [
            0x00, 0x01, 0x76, 0x09, 0x00, 0x41, 0xfa, 0x9f, 0x7e, 0x4d, 0xbe, 0xe9, 0x7f,
        ]
        var encoder = EntryEncoder(release: .newest)
        #expect(try encoder.dump(short) == captured)
        let value = Array(repeating: UInt8(ascii: "z"), count: 1000)
        let long = try Self.stored([words("SET", "k", value)], client)
        #expect(try encoder.dump(long)[1] == 0xc3)
        #expect(try encoder.encode(long).bytes.count > 1000)
        encoder.options.compression = .none
        #expect(try encoder.dump(long).count == 1 + 2 + 1000 + 10)
    }
}

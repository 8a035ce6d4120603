import DragonflySimulator
import Foundation
import TestSupport
import Testing

/// The checklist of protocol.md 11.5, part RDB, line by line, from a source into every target that
/// is there, by every method: what arrives is what was sent.
///
/// - every row of 11.2: the recordings `types-*` (RecordingTests), `everyTarget`
/// - empty database: `emptyDatabase`
/// - only expired keys: `expiredKeys`
/// - 0-length key, binary key: `everyTarget`, rows *keys*
/// - 512 MB value: 40 MB here, `everyTarget`, row *large*; 6 MB and 60,000 elements in
///   SyntheticTests
/// - every listpack integer width and limit; strings of 63, 64, 4095, 4096 bytes; back lengths:
///   rows *elements*, in each container that has a packed form
/// - listpack with count 65535: row *65,535 elements*
/// - PLAIN nodes, LZF nodes: rows *list*
/// - compression modes 0 to 3, linked blocks, journal blob in LZF: recordings `types-plain`,
///   `types-lzf-untagged`, `types-zstd`, `types-lz4`; `emulatedReleases`
/// - tagged chunks: recordings `types-chunked`; `emulatedReleases`; SnapshotDecoderChunkTests
/// - sticky, memcached flags, both, with expiry: rows *prefixes*
/// - hash and set TTL: none, future, all past, mixed: rows *element expiry*; FieldExpiryTests for
///   the times
/// - TTL under lag: HeldExpiriesTests, RandomTrafficTests
/// - streams: `emulatedReleases` for types 15 and 21; TargetServerTests for 19; RandomValueTests
/// - JSON as type 30 and 20: recordings `types-*`; a release that has 20 is refused
///   (SourceRiskTests)
/// - types 33 to 37: recordings `types-*`: skipped by name, all else equal
/// - unknown AUX; RESIZEDB, IDLE, FREQ: `everyTarget`, items *passed over*
/// - unknown opcode: `unknownOpcodeEndsTheRun`
@Suite struct EncodingChecklistTests {
    /// A key as it stands in the snapshot, and what the target must hold; nil for nothing.
    private struct Row {
        var prefix: [UInt8] = []
        var type: UInt8
        var name: [UInt8]
        var value: [UInt8]
        var expected: StateValue?
        var expiryMilliseconds: Int64 = 0

        init(
            _ name: String, _ type: UInt8, _ value: [UInt8], _ expected: StateValue?,
            prefix: [UInt8] = [], expiry: Int64 = 0
        ) {
            self.init(Array(name.utf8), type, value, expected, prefix: prefix, expiry: expiry)
        }

        init(
            _ name: [UInt8], _ type: UInt8, _ value: [UInt8], _ expected: StateValue?,
            prefix: [UInt8] = [], expiry: Int64 = 0
        ) {
            self.name = name
            self.type = type
            self.value = value
            self.expected = expected
            self.prefix = prefix
            expiryMilliseconds = expiry
        }

        var bytes: [UInt8] {
            get throws { try prefix + [type] + MadeBytes.counted(name) + value }
        }
    }

    private static func text(_ text: String) -> [UInt8] { Array(text.utf8) }
    private static func bytes(_ count: Int, _ byte: UInt8 = 0x78) -> [UInt8] {
        Array(repeating: byte, count: count)
    }

    // MARK: Rows

    /// Integers at both ends of each width; strings at each limit of head and back length.
    private static var elements: [[UInt8]] {
        let limits: [Int64] = [
            0, 12, 13, 63, 64, 127, 128, 255, 256, 4095, 4096, 32767, 32768, 8_388_607, 8_388_608,
            2_147_483_647, 2_147_483_648, .max,
        ]
        let negative: [Int64] = [
            -1, -128, -129, -4096, -4097, -32768, -32769, -8_388_608, -8_388_609, -2_147_483_648,
            -2_147_483_649, .min,
        ]
        let numbers = (limits + negative).map { text(String($0)) }
        // Of these, 125 and 126 make elements of 127 and 128 bytes, 16377 and 16378 of 16382 and
        // 16383.
        let sizes = [0, 1, 20, 21, 62, 63, 64, 125, 126, 127, 128, 253, 254, 255, 4095, 4096]
        return numbers + sizes.map { bytes($0) } + [16377, 16378, 16383, 16384].map { bytes($0) }
            + ["007", "-0", "+1", "1.0", "9223372036854775808"].map(text)
    }

    private static func sorted(_ items: [[UInt8]]) -> [[UInt8]] {
        items.sorted { $0.lexicographicallyPrecedes($1) }
    }

    private static func pairs(_ items: [[UInt8]]) -> [FieldValue] {
        sorted(items).map { FieldValue(field: $0, value: $0) }
    }

    private static var containers: [Row] {
        get throws {
            let elements = elements
            let twice = elements.flatMap { [$0, $0] }
            let count = try MadeBytes.count(elements.count)
            let strings = try elements.flatMap { try MadeBytes.string($0) }
            let raw = try elements.flatMap { try MadeBytes.counted($0) }
            let list = StateValue.list(elements)
            let large = bytes(9000, 0x61)
            var rows = [
                Row("elements: list", 18, try [1] + MadeBytes.node(elements), list),
                Row("elements: old list", 14, try [1] + MadeBytes.ziplist(elements), list),
                Row("elements: set", 2, count + strings, .set(sorted(elements))),
                Row("elements: raw set", 2, count + raw, .set(sorted(elements))),
                Row("elements: hash 16", 16, try MadeBytes.listpack(twice), .hash(pairs(elements))),
                Row("elements: hash 13", 13, try MadeBytes.ziplist(twice), .hash(pairs(elements))),
                Row(
                    "elements: hash 4", 4,
                    try count
                        + elements.flatMap { try MadeBytes.string($0) + MadeBytes.string($0) },
                    .hash(pairs(elements))),
                Row(
                    "list: plain nodes", 18,
                    try [3] + MadeBytes.node([large], isPlain: true) + MadeBytes.node(elements)
                        + MadeBytes.node([[]], isPlain: true),
                    .list([large] + elements + [[]])),
                Row(
                    "list: compressed nodes", 18,
                    try [2] + MadeBytes.node(elements, isCompressed: true)
                        + MadeBytes.node([large], isPlain: true, isCompressed: true),
                    .list(elements + [large])),
                Row(
                    "list: LZF listpack", 16, try MadeBytes.listpack(twice, usesLZF: true),
                    .hash(pairs(elements))),
            ]
            // The count of a listpack stops at 65535: then it must be counted.
            for size in [65_534, 65_535, 65_536, 70_000] {
                let items = (0..<size).map { text(String($0 % 100)) }
                rows.append(
                    Row("\(size) elements", 18, try [1] + MadeBytes.node(items), .list(items)))
            }
            for (low, high) in [
                (-32768, 32767), (-32769, 5), (0, 32768), (-2_147_483_648, 2_147_483_647),
                (-2_147_483_649, 0), (0, 2_147_483_648), (Int64.min, Int64.max),
            ] as [(Int64, Int64)] {
                rows.append(
                    Row(
                        "intset \(low) \(high)", 11, try MadeBytes.intset([low, high]),
                        .set(sorted([text(String(low)), text(String(high))]))))
            }
            return rows
        }
    }

    private static var sortedSets: [Row] {
        get throws {
            let scores: [(String, Double)] = [
                ("-inf", -.infinity), ("-1.7976931348623157e308", -.greatestFiniteMagnitude),
                ("-9007199254740993", -9_007_199_254_740_992), ("-1", -1),
                ("-5e-324", -.leastNonzeroMagnitude), ("0", 0), ("5e-324", .leastNonzeroMagnitude),
                ("2.2250738585072014e-308", 2.2250738585072014e-308), ("0.1", 0.1),
                ("0.30000000000000004", 0.1 + 0.2), ("1", 1), ("4095", 4095), ("4096", 4096),
                ("9007199254740992", 9_007_199_254_740_992),
                ("1.7976931348623157e308", .greatestFiniteMagnitude), ("inf", .infinity),
            ]
            let items = scores.enumerated().flatMap { [text("m\($0)"), text($1.0)] }
            let members = scores.enumerated().map {
                ScoredMember(member: text("m\($0)"), score: $1.1)
            }
            let binary =
                try MadeBytes.count(scores.count)
                + scores.enumerated().flatMap { index, score in
                    try MadeBytes.string(text("m\(index)"))
                        + withUnsafeBytes(of: score.1.bitPattern.littleEndian) { Array($0) }
                }
            return [
                Row("scores 17", 17, try MadeBytes.listpack(items), .zset(members)),
                Row("scores 12", 12, try MadeBytes.ziplist(items), .zset(members)),
                Row("scores 5", 5, binary, .zset(members)),
            ]
        }
    }

    private static let expiry: Int64 = 4_102_444_800_123
    private static var expiryPrefix: [UInt8] {
        [0xfc] + withUnsafeBytes(of: expiry.littleEndian) { Array($0) }
    }

    private static var strings: [Row] {
        get throws {
            let value = try MadeBytes.string(text("v"))
            let flags: [UInt8] = [0x78, 0x56, 0x34, 0x12]
            var rows = [
                Row("", 0, value, .string(text("v"))),
                Row([0, 13, 10, 0xff, 0xfe, 0x80], 0, value, .string(text("v"))),
                Row(bytes(63), 0, value, .string(text("v"))),
                Row(bytes(64), 0, value, .string(text("v"))),
                Row(bytes(16384), 0, value, .string(text("v"))),
                Row(
                    "prefixes: expiry", 0, value, .string(text("v")), prefix: expiryPrefix,
                    expiry: expiry),
                Row("prefixes: sticky", 0, value, .string(text("v")), prefix: [0xdc, 1, 0, 0, 0]),
                Row(
                    "prefixes: memcached", 0, value, .string(text("v")),
                    prefix: [0xdc, 2, 0, 0, 0] + flags),
                Row(
                    "prefixes: all", 0, value, .string(text("v")),
                    prefix: expiryPrefix + [0xdc, 3, 0, 0, 0] + flags, expiry: expiry),
                Row("passed over: idle", 0, value, .string(text("v")), prefix: [0xf8, 0x40, 0xff]),
                Row("passed over: frequency", 0, value, .string(text("v")), prefix: [0xf9, 0x7f]),
            ]
            for (index, element) in elements.enumerated() {
                rows.append(
                    Row("string \(index)", 0, try MadeBytes.string(element), .string(element)))
                rows.append(
                    Row("raw string \(index)", 0, try MadeBytes.counted(element), .string(element)))
            }
            return rows
        }
    }

    /// 31 and 32: seconds since 2023-02-01, -1 for none.
    private static var elementExpiries: [Row] {
        get throws {
            let none = try MadeBytes.string(text("-1"))
            let past = try MadeBytes.string(text("5"))
            let future = try MadeBytes.string(text("180156295"))
            let names = ["a", "b", "c"].map(text)
            func hash(_ times: [[UInt8]]) throws -> [UInt8] {
                try [3]
                    + zip(names, times).flatMap {
                        try MadeBytes.string($0) + MadeBytes.string(text("v")) + $1
                    }
            }
            func set(_ times: [[UInt8]]) throws -> [UInt8] {
                try [3] + zip(names, times).flatMap { try MadeBytes.string($0) + $1 }
            }
            func hashOf(_ kept: [[UInt8]]) -> StateValue {
                .hash(kept.map { FieldValue(field: $0, value: text("v")) })
            }
            let cases: [(String, [[UInt8]], [[UInt8]])] = [
                ("none", [none, none, none], names), ("future", [future, future, future], names),
                ("past", [past, past, past], []),
                ("mixed", [past, none, future], [names[1], names[2]]),
            ]
            return try cases.flatMap { name, times, kept in
                [
                    Row(
                        "element expiry: hash, \(name)", 31, try hash(times),
                        kept.isEmpty ? nil : hashOf(kept)),
                    Row(
                        "element expiry: set, \(name)", 32, try set(times),
                        kept.isEmpty ? nil : .set(kept)),
                ]
            }
        }
    }

    private static var rows: [Row] {
        get throws {
            let large = bytes(40 << 20, 0x6c)
            return try strings + containers + sortedSets + elementExpiries
                + [Row("large", 0, MadeBytes.counted(large), .string(large))]
        }
    }

    private static func type(_ value: StateValue) -> String {
        switch value {
        case .string: "string"
        case .list: "list"
        case .set: "set"
        case .hash: "hash"
        case .zset: "zset"
        case .stream: "stream"
        case .json: "json"
        case .foreign: "foreign"
        }
    }

    // MARK: Tests

    @Test(arguments: TargetServer.available, WriteMethod.allCases)
    func everyTarget(_ target: TargetServer, _ method: WriteMethod) throws {
        try arrives(on: target, ["--write-method", method.rawValue])
    }

    /// The same with everything above 4 KiB in parts.
    @Test(arguments: TargetServer.available)
    func everyTargetInParts(_ target: TargetServer) throws {
        let folder = try TemporaryDirectory()
        let configuration = folder.file("configuration.yaml")
        try "advanced: {bigValueBytes: 4096}".write(
            toFile: configuration, atomically: true, encoding: .utf8)
        try arrives(on: target, ["--config", configuration])
    }

    private func arrives(on target: TargetServer, _ arguments: [String]) throws {
        let rows = try Self.rows
        // An AUX field that nobody knows, and RESIZEDB.
        var items: [UInt8] = [0xfa] + (try MadeBytes.counted(Self.text("x-unknown")))
        items += try MadeBytes.counted(Self.text("whatever")) + [0xfe, 0, 0xfb, 0x40, 0x99, 0]
        for row in rows { items += try row.bytes }
        let made = try MadeSource(items)
        let run = try RecordedRun(
            "migrate", source: made.source, arguments: arguments, on: target)
        let outcome = try run.waitForEnd(timeoutSeconds: 120)
        #expect(outcome.exitCode == 0, "\(outcome)")
        var expected: ServerState = [:]
        for row in rows {
            guard let value = row.expected else { continue }
            expected[StateKey(database: 0, name: row.name)] = StateEntry(
                type: Self.type(value), expiryMilliseconds: row.expiryMilliseconds, value: value)
        }
        let comparison = StateComparison(expected: expected, actual: try run.targetState())
        print(comparison.summary("checklist, \(target.rawValue), \(arguments[1])"))
        #expect(comparison.differences == [])
        #expect(comparison.keysCompared == expected.count)
        #expect(run.complaints == [])
    }

    /// AUX, end marks and token are all there is.
    @Test func emptyDatabase() throws {
        let run = try RecordedRun("migrate", source: MadeSource([]).source)
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 0, "\(outcome)")
        #expect(try run.targetState().isEmpty && run.report().snapshot.read == 0)
        #expect(run.complaints == [])
    }

    /// They are the source's to delete: it has not yet, so nothing fails, and none is left that
    /// the source would not have.
    @Test func expiredKeys() throws {
        let past: [UInt8] = [0xfc, 1, 0, 0, 0, 0, 0, 0, 0]
        let items = try past + [0, 1, 0x61] + MadeBytes.counted([0x76])
        let run = try RecordedRun("migrate", source: MadeSource(items).source)
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 0, "\(outcome)")
        #expect(try run.targetState().isEmpty)
        #expect(try run.report().snapshot.applied == 1)
    }

    @Test func unknownOpcodeEndsTheRun() throws {
        let items = try [0, 1, 0x61] + MadeBytes.counted([0x76]) + [0xcf, 1, 2, 3]
        let run = try RecordedRun("migrate", source: MadeSource(items).source)
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 1, "\(outcome)")
        #expect(outcome.standardError.contains("207") || outcome.standardError.contains("cf"))
        #expect(run.complaints == [])
    }

    /// What each release sends, in each way that it can be packed, into every target.
    @Test(arguments: TargetServer.available, EmulatedRelease.allCases)
    func emulatedReleases(_ target: TargetServer, _ release: EmulatedRelease) throws {
        for (index, compression) in StreamOptions.Compression.allCases.enumerated() {
            var options = EmulationOptions(release: release, flowCount: 2)
            options.stream.compression = compression
            options.stream.chunkBytes = [0, 1, 300, 65536][index]
            options.stream.listCompressDepth = index % 2
            let method = WriteMethod.allCases[index % 3]
            let run = try RecordedRun(
                "migrate", source: .emulated(options),
                arguments: ["--write-method", method.rawValue], on: target
            ) { source in
                for command in Self.commands { try source.execute(command, database: 0) }
            }
            let outcome = try run.waitForEnd(timeoutSeconds: 60)
            #expect(outcome.exitCode == 0, "\(outcome)")
            var rules = StateComparison.Rules()
            rules.hasOldStreams = release == .v1_20
            rules.lacksStreamCounters = target == .redis6
            try run.source.settle()
            let comparison = StateComparison(
                expected: try StateReader(RespClient(port: run.source.redisPort)).read(),
                actual: try run.targetState(), rules: rules)
            #expect(
                comparison.differences == [],
                "\(target), \(release), \(compression), \(method)")
            #expect(comparison.keysCompared == 14)
            #expect(run.complaints == [])
        }
    }

    /// Sizes on both sides of the limits of Dragonfly's compact forms, and streams.
    private static var commands: [String] {
        func members(_ count: Int) -> String { (0..<count).map { "m\($0)" }.joined(separator: " ") }
        func pairs(_ count: Int) -> String {
            (0..<count).map { "\($0) m\($0)" }.joined(separator: " ")
        }
        let long = String(repeating: "long", count: 3000)
        var commands = [
            "SET s \(long)", "SADD set \(members(300))", "SADD intset 1 2 70000",
            "SADD largeintset " + (0..<300).map(String.init).joined(separator: " "),
            "HSET small f v g 12", "HSET wide f \(long)", "HSET many \(pairs(200))",
            "ZADD z \(pairs(128))", "ZADD zlarge \(pairs(129))", "RPUSH l \(members(2000)) \(long)",
            "XGROUP CREATE empty g $ MKSTREAM",
        ]
        // Three nodes; messages deleted at both ends and between, groups with what they have read.
        for number in 1...250 { commands.append("XADD x \(number / 7 + 1)-\(number) f \(number)") }
        commands += [
            "XDEL x 1-1 10-65 36-250", "XGROUP CREATE x g1 0", "XGROUP CREATE x g2 10-66",
            "XREADGROUP GROUP g1 c1 COUNT 20 STREAMS x >",
            "XREADGROUP GROUP g1 c2 COUNT 7 STREAMS x >", "XACK x g1 1-3",
            "XGROUP CREATECONSUMER x g1 idle", "XADD y 5-5 f v", "XDEL y 5-5",
            "SET expiring v PXAT 4102444800123",
        ]
        return commands
    }
}

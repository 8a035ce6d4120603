import Bytes

@testable import Wire

/// A sound value of every type whose structure is looked at.
enum SampleValues {
    static func all() throws -> [(type: ValueType, value: [UInt8])] {
        let long = [UInt8](repeating: 0x61, count: 300)
        let pairs: [ValueBytes.Element] = [
            .string("field"), .integer(-5), .text(long), .integer(70000), .integer(12),
            .integer(5_000_000_000),
        ]
        let scored: [ValueBytes.Element] = [
            .string("a"), .string("-inf"), .integer(4), .integer(-300), .string("b"),
            .string("2.5"),
        ]
        let listpack = ValueBytes.listpack(pairs)
        let ziplist = ValueBytes.ziplist(pairs)
        var plainHash = try [3] + ValueBytes.lzf(long) + ValueBytes.string("v")
        plainHash += [0xc0, 0xfb, 0xc1, 0xe8, 3, 0, 0]
        var list = try [3, 2] + ValueBytes.lzf(listpack)
        list += [1] + ValueBytes.string("raw") + [2] + ValueBytes.string(listpack)
        let oldList =
            [2] + ValueBytes.string(ziplist) + ValueBytes.string(ValueBytes.ziplist([.integer(1)]))
        let zset =
            [2] + ValueBytes.string("a") + ValueBytes.little((1.5).bitPattern, 8)
            + ValueBytes.string("b") + ValueBytes.little(Double.infinity.bitPattern, 8)
        return [
            (.string, ValueBytes.string("text")), (.string, try ValueBytes.lzf(long)),
            (.set, [3, 1, 0x61, 0xc0, 5, 0]), (.hash, plainHash), (.zset2, zset),
            (.setIntset, ValueBytes.string(ValueBytes.intset([-3, 1, 2], width: 4))),
            (.setListpack, ValueBytes.string(listpack)),
            (.hashListpack, ValueBytes.string(listpack)),
            (.hashListpack, try ValueBytes.lzf(listpack)),
            (.hashZiplist, ValueBytes.string(ziplist)),
            (.zsetListpack, ValueBytes.string(ValueBytes.listpack(scored))),
            (.zsetZiplist, ValueBytes.string(ValueBytes.ziplist(scored))),
            (.listQuicklist, oldList), (.listQuicklist2, list),
            (
                .hashWithExpiry,
                [2, 1, 0x61, 1, 0x62, 0xc0, 0xff, 1, 0x63, 0, 0xc2, 0x87, 0xf7, 0xbc, 10]
            ),
            (.setWithExpiry, [2, 1, 0x61, 0xc0, 0xff, 1, 0x63, 0xc2, 0x87, 0xf7, 0xbc, 10]),
            (.json, ValueBytes.string("{\"a\":1}")),
            (.streamListpacks, stream(.streamListpacks).value),
            (.streamListpacks2, stream(.streamListpacks2).value),
            (.streamListpacks3, stream(.streamListpacks3).value),
        ]
    }

    /// Two nodes, deleted entries, negative differences, two groups with what is pending.
    static func stream(_ type: ValueType) -> ValueBytes.Stream {
        var stream = ValueBytes.Stream()
        stream.type = type
        stream.nodes = [
            ValueBytes.node(
                StreamID(1, 5),
                [
                    (StreamID(1, 5), false), (StreamID(1, 6), true), (StreamID(2, 0), false),
                    (StreamID(3, 0), true),
                ]),
            ValueBytes.node(
                StreamID(9, 1), [(StreamID(9, 1), false), (StreamID(1 << 40, 2), false)]),
        ]
        stream.metadata = StreamMetadata(
            length: 4, lastID: StreamID(1 << 40, 3), firstID: StreamID(1, 5),
            maxDeletedID: StreamID(3, 0), entriesAdded: 8)
        stream.groups = [
            ValueBytes.Stream.Group(
                name: "g1", lastID: StreamID(9, 1), entriesRead: 5,
                pending: [
                    (StreamID(1, 5), 1_700_000_000_000, 1), (StreamID(1, 6), 1_700_000_000_001, 70),
                    (StreamID(2, 0), 1_700_000_000_002, 1), (StreamID(9, 1), 1_700_000_000_003, 3),
                ],
                consumers: [
                    (
                        "alice", 1_700_000_000_004, 1_700_000_000_005,
                        [StreamID(1, 6), StreamID(9, 1)]
                    ),
                    ("bob", 1_700_000_000_006, -1, [StreamID(1, 5), StreamID(2, 0)]),
                    ("idle", 1_700_000_000_007, -1, []),
                ]),
            ValueBytes.Stream.Group(
                name: "g2", lastID: StreamID(1 << 40, 3), entriesRead: .max),
        ]
        return stream
    }
}

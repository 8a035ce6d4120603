import Bytes
import Testing
import Wire

/// Single items of the snapshot (protocol.md 3).
@Suite struct SnapshotDecoderTests {
    /// A key as captured from a server, split into head and value (protocol.md 11.2).
    struct Vector: CustomStringConvertible, Sendable {
        var head: String
        var value: String
        var type: ValueType
        var key: String
        var expiry: Int64 = 0
        var isSticky = false
        var hasMemcachedFlags = false

        var description: String { key }
    }

    static let vectors: [Vector] = [
        Vector(head: "00 03 737472", value: "01 76", type: .string, key: "str"),
        Vector(head: "00 01 65", value: "00", type: .string, key: "e"),
        Vector(
            head: "FC 45 79 25 84 E0 01 00 00 00 03 74 74 6C", value: "01 76", type: .string,
            key: "ttl", expiry: 0x1_e084_2579_45),
        Vector(
            head: "DC 01 00 00 00 00 02 73 74", value: "01 76", type: .string, key: "st",
            isSticky: true),
        Vector(
            head: "FC 45 79 25 84 E0 01 00 00 DC 01 00 00 00 00 04 62 6F 74 68", value: "01 76",
            type: .string, key: "both", expiry: 0x1_e084_2579_45, isSticky: true),
        Vector(
            head: "DC 02 00 00 00 78 56 34 12 00 02 6D 63", value: "01 76", type: .string,
            key: "mc", hasMemcachedFlags: true),
        Vector(
            head: "0B 02 73 69", value: "0E 02 00 00 00 03 00 00 00 FD FF 01 00 02 00",
            type: .setIntset, key: "si"),
        Vector(
            head: "0B 04 73 69 33 32", value: "10 04 00 00 00 02 00 00 00 01 00 00 00 70 11 01 00",
            type: .setIntset, key: "si32"),
        Vector(
            head: "0B 04 73 69 36 34",
            value: "18 08 00 00 00 02 00 00 00 01 00 00 00 00 00 00 00 00 F2 05 2A 01 00 00 00",
            type: .setIntset, key: "si64"),
        Vector(head: "02 02 73 73", value: "02 01 61 02 62 63", type: .set, key: "ss"),
        Vector(
            head: "12 01 6C",
            value: "01 02 10 10 00 00 00 03 00 81 61 02 0C 01 82 62 62 03 FF",
            type: .listQuicklist2, key: "l"),
        Vector(
            head: "12 04 6C 62 69 67",
            value: "02 01 63 28" + String(repeating: "78", count: 9000)
                + "02 0A 0A 00 00 00 01 00 81 61 02 FF",
            type: .listQuicklist2, key: "lbig"),
        Vector(
            head: "10 01 68",
            value: "12 12 00 00 00 04 00 81 66 02 81 76 02 81 6E 02 0C 01 FF",
            type: .hashListpack, key: "h"),
        Vector(
            head: "10 04 68 62 69 67",
            value: "40 D6 D6 00 00 00 02 00 81 66 02 E0 C8"
                + String(repeating: "79", count: 200) + "01 CA FF",
            type: .hashListpack, key: "hbig"),
        Vector(
            head: "1F 02 68 78", value: "02 01 66 01 76 C2 87 F7 BC 0A 01 67 01 77 C0 FF",
            type: .hashWithExpiry, key: "hx"),
        Vector(
            head: "20 02 73 78", value: "02 01 61 C2 87 F7 BC 0A 01 62 C0 FF",
            type: .setWithExpiry, key: "sx"),
        Vector(
            head: "11 01 7A",
            value: "14 14 00 00 00 04 00 81 61 02 01 01 81 62 02 83 32 2E 35 04 FF",
            type: .zsetListpack, key: "z"),
        Vector(
            head: "11 04 7A 69 6E 66",
            value: "18 18 00 00 00 04 00 81 61 02 84 2D 69 6E 66 05 81 62 02 83 69 6E 66 04 FF",
            type: .zsetListpack, key: "zinf"),
        Vector(
            head: "05 04 7A 62 69 67",
            value: "03 40 69" + member + "00 00 00 00 00 00 00 00 40 69" + member
                + "00 00 00 00 00 00 F0 3F 40 69" + member + "00 00 00 00 00 00 00 40",
            type: .zset2, key: "zbig"),
        Vector(
            head: "1E 01 6A", value: "11 7B2261223A5B312C322E352C2278225D7D",
            type: .json, key: "j"),
        Vector(
            head: "23 03 63 6D 73",
            value: "02 02 03 0000000000000000 0300000000000000 0000000000000000 0300000000000000",
            type: .countMin, key: "cms"),
        Vector(
            head: "24 02 74 6B",
            value: "00 02 04 02 CD CC CC CC CC CC EC 3F 02 01 61 01 01 62 01 20"
                + String(repeating: "AB", count: 32),
            type: .topK, key: "tk"),
        Vector(
            head: "25 02 63 66", value: "02 14 01 04 01 00 01 08 08 00 00 B9 00 00 00 00 00",
            type: .cuckoo, key: "cf"),
        Vector(
            head: "22 02 62 66",
            value: "00 0000000000000040 9A9999999999A93F 00 01 40 52 01 05 40 40 40 40"
                + String(repeating: "11", count: 64),
            type: .bloomChunked, key: "bf"),
        // Not captured: prefixes in other orders and kinds; keys as integer and LZF.
        Vector(
            head: "DC 03 00 00 00 78563412 F9 07 FC 0100000000000000 F8 40 FF 00 01 61",
            value: "C0 05", type: .string, key: "a", expiry: 1, isSticky: true,
            hasMemcachedFlags: true),
        Vector(
            head: "FD 40 E2 01 00 00 01 62", value: "00", type: .string, key: "b",
            expiry: 123_456_000),
        // Times at or before the epoch still mean that the key has expired.
        Vector(
            head: "FC 0000000000000000 00 01 63", value: "00", type: .string, key: "c", expiry: 1),
        Vector(
            head: "FC FFFFFFFFFFFFFFFF 00 01 64", value: "00", type: .string, key: "d", expiry: 1),
        Vector(head: "00 C0 FB", value: "01 76", type: .string, key: "-5"),
        Vector(head: "00 C2 A0 86 01 00", value: "01 76", type: .string, key: "100000"),
        Vector(
            head: "00 C3 05 0A 00 61 E0 00 00", value: "01 76", type: .string, key: "aaaaaaaaaa"),
        Vector(head: "00 00", value: "01 76", type: .string, key: ""),
    ]

    private static let member = String(repeating: "6D", count: 105)

    private func decode(_ content: StreamBytes, version: String = "0009") throws -> FlowRun {
        try FlowRun(
            StreamBytes.make {
                $0.header(version); $0.raw(content)
            }.bytes)
    }

    private func decode(_ hex: String) throws -> FlowRun {
        try decode(StreamBytes(hex: hex))
    }

    /// Every captured key, on its own and inside both kinds of blob, gives the same entry.
    @Test(arguments: vectors)
    func capturedKeys(_ vector: Vector) throws {
        let item = StreamBytes(hex: "FE 03" + vector.head + vector.value)
        let lz4 = try StreamBytes.make { try $0.blob(.lz4, item) }
        let zstd = try StreamBytes.make { try $0.blob(.zstd, item) }
        for stream in [item, lz4, zstd] {
            let run = try decode(stream)
            #expect(run.failure == nil)
            #expect(run.flowOffset == 9 + stream.bytes.count)
            let entry = try #require(run.entries.first)
            #expect(run.events.count == 1)
            #expect(entry.database == 3)
            #expect(entry.type == vector.type)
            #expect(String(decoding: entry.key, as: UTF8.self) == vector.key)
            #expect(entry.expiryMilliseconds == vector.expiry)
            #expect(entry.isSticky == vector.isSticky)
            #expect(entry.hasMemcachedFlags == vector.hasMemcachedFlags)
            #expect(entry.value == StreamBytes(hex: vector.value).bytes)
        }
    }

    /// Prefixes hold for one key, the database until the next SELECTDB, which starts at 0.
    @Test func prefixesHoldForOneKey() throws {
        let run = try decode(
            "FC 0500000000000000 DC 01000000 00 01 61 00  00 01 62 00"
                + "FE 40 64 00 01 63 00  00 01 64 00"
        )
        #expect(run.entries.map(\.expiryMilliseconds) == [5, 0, 0, 0])
        #expect(run.entries.map(\.isSticky) == [true, false, false, false])
        #expect(run.entries.map(\.database) == [0, 0, 100, 100])
    }

    /// The header of protocol.md 11.3; AUX values as integers and LZF come decoded.
    @Test func capturedHeader() throws {
        let run = try decode(
            StreamBytes.make {
                $0.raw(StreamBytes(hex: "FA 09 72656469732D766572 06 362E322E3131"))
                $0.raw(StreamBytes(hex: "FA 0A 72656469732D62697473 C0 40"))
                $0.raw(StreamBytes(hex: "FA 05 6374696D65 C2 15CD5B07"))
                $0.raw(StreamBytes(hex: "FA C0 07 C3 05 0A 00 61 E0 00 00"))
                $0.ending(nextLSN: 1)
                $0.raw(Array("b4d0513585dc458bb55ccd71752f07f5ebce4911".utf8))
            })
        func auxiliary(_ name: String, _ value: String) -> StreamEvent {
            .auxiliary(name: Array(name.utf8), value: Array(value.utf8))
        }
        #expect(
            run.events == [
                auxiliary("redis-ver", "6.2.11"), auxiliary("redis-bits", "64"),
                auxiliary("ctime", "123456789"), auxiliary("7", "aaaaaaaaaa"), .fullSyncEnd,
                .journalOffset(1), .end,
                .token(Array("b4d0513585dc458bb55ccd71752f07f5ebce4911".utf8)),
            ])
        #expect(run.failure == nil)
        #expect(run.nextLSN == 1)
    }

    /// The captured chunks of protocol.md 3.7.1: two ids, and the SELECTDB that is not adjacent.
    @Test func capturedChunks() throws {
        let b = [UInt8](repeating: UInt8(ascii: "b"), count: 80)
        let a = [UInt8](repeating: UInt8(ascii: "a"), count: 80)
        let members = (0..<6).map { Array("member-\($0)-0123456789012345678901".utf8) }
        let stream = StreamBytes.make {
            $0.raw(StreamBytes(hex: "FE 00 00 01 6B 01 76"))
            $0.chunk(
                2,
                .make {
                    $0.raw(StreamBytes(hex: "04 01 68 02"))
                    $0.string("f2")
                    $0.string(b)
                })
            $0.chunk(
                2,
                .make {
                    $0.string("f1")
                    $0.string(a)
                })
            $0.raw(StreamBytes(hex: "FE 00"))
            $0.chunk(
                3,
                .make {
                    $0.raw(StreamBytes(hex: "FC 54 5E 32 58 A4 01 00 00 02 01 73 06"))
                    $0.string(members[0])
                    $0.string(members[1])
                })
            $0.chunk(3, .make { for member in members[2..<5] { $0.string(member) } })
            $0.chunk(3, .make { $0.string(members[5]) })
            $0.raw(StreamBytes(hex: "FE 02"))
            $0.chunk(4, StreamBytes(hex: "02 01 74 01 01 61"))
        }
        let run = try decode(stream)
        #expect(run.failure == nil)
        let entries = run.entries
        #expect(entries.map { String(decoding: $0.key, as: UTF8.self) } == ["k", "h", "s", "t"])
        #expect(entries.map(\.database) == [0, 0, 0, 2])
        #expect(entries[2].expiryMilliseconds == 0x1_a458_325e_54)
        #expect(
            entries[1].value
                == StreamBytes.make {
                    $0.length(2)
                    $0.string("f2")
                    $0.string(b)
                    $0.string("f1")
                    $0.string(a)
                }.bytes)
        #expect(
            entries[2].value
                == StreamBytes.make {
                    $0.length(6)
                    for member in members { $0.string(member) }
                }.bytes)
    }

    /// Journal blobs in their three string encodings.
    @Test func journalBlobs() throws {
        let value = String(repeating: "x", count: 300)
        let records = StreamBytes.make {
            $0.raw(StreamBytes(hex: "06 02"))
            $0.command(["SET", "a", value])
            $0.raw(StreamBytes(hex: "0D"))
        }
        let run = try decode(
            try StreamBytes.make {
                $0.raw(StreamBytes(hex: "FE 01 D2 02"))
                $0.string(records.bytes)
                $0.raw(StreamBytes(hex: "D2 02"))
                try $0.lzf(records.bytes)
                // Bytes that happen to be the text of an integer: no valid journal.
                $0.raw(StreamBytes(hex: "00 01 6B 00 D2 01 C0 0D"))
            })
        #expect(run.events.count == 3)
        #expect(run.events[0] == run.events[1])
        guard case .journalBlob(let count, let inside) = run.events[0] else {
            Issue.record("no blob")
            return
        }
        #expect(count == 2)
        #expect(inside.map(\.database) == [2, 2])
        #expect(inside[0].texts == ["SET", "a", value])
        #expect(run.entries.first?.database == 1)
        // "13" is 31 33: opcode 49.
        #expect(run.failure?.reason == .unknownOpcode)
    }

    /// What never comes from a Dragonfly, or only with other options, is passed over in step.
    @Test(arguments: [
        "F4 01 40 FF 80 00 01 00 00", "F5 05 0102030405", "F5 C3 05 0A 00 61 E0 00 00",
        "F8 40 FF", "F9 FF", "FB 05 80 00 01 00 00",
        // MODULE_AUX: id, when, one of each operand, end.
        "F7 81 0102030405060708 02 02 01 05 02 40 FF 03 00000000 04 0000000000000000 05 02 6162 00",
        "F7 05 00",
        // SHARD_DOC_INDEX: shard, index, two documents.
        "DF 01 03 696478 02 01 61 05 C0 07 40 64",
        "DF 01 03 696478 00",
        // VECTOR_INDEX: entry point 7, two nodes of one and two levels.
        "DE 05 6964783A66 07 02" + "01000000 0200000000000000 00000000 02000000 0100000002000000"
            + "02000000 0300000000000000 01000000 00000000 01000000 09000000",
        "DE 01 61 00 00",
    ])
    func passedOver(_ hex: String) throws {
        let item = StreamBytes(hex: hex)
        let after = StreamBytes(hex: "00 01 6B 01 76")
        for format in [nil, FrameDecompressor.Format.lz4, .zstd] {
            let content = try StreamBytes.make {
                $0.header()
                let both = StreamBytes.make {
                    $0.raw(item)
                    $0.raw(after)
                }
                if let format { try $0.blob(format, both) } else { $0.raw(both) }
            }
            for segment in [Int.max, 1] {
                let run = try FlowRun(content.bytes, segment: { segment })
                #expect(run.failure == nil)
                #expect(run.entries.map(\.key) == [[UInt8(ascii: "k")]])
            }
        }
    }

    /// v1.37 and v1.38 wrote VECTOR_INDEX without the entry point; the df-ver AUX tells.
    @Test(arguments: [
        ("df-v1.37.0", false), ("df-v1.38.2", false), ("df-v1.39.0", true),
        ("df-v1.40.0-87-gf8eca6d0b", true), ("df-v2.0.0", true), ("df-dev", true),
    ])
    func vectorIndexFollowsRelease(_ release: String, _ hasEntryPoint: Bool) throws {
        let node = "01000000 0200000000000000 00000000 01000000 09000000"
        let run = try decode(
            StreamBytes.make {
                $0.byte(0xfa)
                $0.string("df-ver")
                $0.string(release)
                $0.raw(StreamBytes(hex: "DE 01 61" + (hasEntryPoint ? "07" : "") + "01" + node))
                $0.raw(StreamBytes(hex: "00 01 6B 01 76"))
            })
        #expect(run.failure == nil)
        #expect(run.entries.count == 1)
    }

    /// Code 20 was JSON before Redis gave it to another type in version 10.
    @Test func code20DependsOnTheHeader() throws {
        let item = StreamBytes(hex: "14 01 6A 02 7B 7D")
        #expect(try decode(item, version: "0009").entries.map(\.type) == [.json])
        #expect(try decode(item, version: "0010").entries.map(\.type) == [.setListpack])
        let chunked = StreamBytes.make { $0.chunk(1, item) }
        #expect(try decode(chunked, version: "0009").entries.map(\.type) == [.json])
    }
}

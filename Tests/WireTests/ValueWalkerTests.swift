import Bytes
import Testing
import Wire

/// A value ends where the walker says, whatever the pieces it comes in.
@Suite struct ValueWalkerTests {
    struct Sample: CustomStringConvertible, Sendable {
        var type: ValueType
        var bytes: [UInt8]
        var description: String { "\(type) of \(bytes.count)" }

        init(_ type: ValueType, hex: String) {
            self.type = type
            bytes = StreamBytes(hex: hex).bytes
        }
    }

    /// Values captured from a server (protocol.md 11.2, 3.9.9, 11.4) and hand-made ones for the
    /// rest.
    static let samples: [Sample] = [
        Sample(.string, hex: "01 76"),
        Sample(.string, hex: "00"),
        Sample(.string, hex: "C0 FB"),
        Sample(.string, hex: "C1 E8 03"),
        Sample(.string, hex: "C2 A0 86 01 00"),
        Sample(.string, hex: "C3 05 14 01 61 61 E0 07"),
        Sample(.set, hex: "02 01 61 02 62 63"),
        Sample(.set, hex: "00"),
        Sample(.set, hex: "80 00 00 00 02 C0 01 C0 02"),
        Sample(.setIntset, hex: "0E 02 00 00 00 03 00 00 00 FD FF 01 00 02 00"),
        Sample(.setListpack, hex: "0A 0A 00 00 00 01 00 81 61 02 FF"),
        Sample(.hash, hex: "02 01 66 01 76 01 67 C0 05"),
        Sample(.hashListpack, hex: "08 0102030405060708"),
        Sample(.hashZiplist, hex: "02 0102"),
        Sample(.zsetZiplist, hex: "02 0102"),
        Sample(.zsetListpack, hex: "02 0102"),
        Sample(.zset2, hex: "02 01 61 000000000000F03F C0 05 0000000000000040"),
        Sample(.listQuicklist, hex: "02 03 010203 00"),
        Sample(.listQuicklist2, hex: "02 01 03 010203 02 01 FF"),
        Sample(.json, hex: "02 7B 7D"),
        Sample(.hashWithExpiry, hex: "02 01 66 01 76 C2 87 F7 BC 0A 01 67 01 77 C0 FF"),
        Sample(.setWithExpiry, hex: "02 01 61 C2 87 F7 BC 0A 01 62 C0 FF"),
        Sample(.countMin, hex: "02 02 03" + String(repeating: "03 00000000000000", count: 4)),
        Sample(
            .topK,
            hex: "00 02 04 02 CD CC CC CC CC CC EC 3F 02 01 61 01 01 62 01 20"
                + String(repeating: "AB", count: 32)),
        Sample(.cuckoo, hex: "02 14 01 04 01 00 01 08 08 00 00 B9 00 00 00 00 00"),
        Sample(
            .bloom,
            hex: "00 0000000000000040 9A9999999999A93F 00 01 40 52 02 05 02 0102 06 01 03"),
        Sample(
            .bloomChunked,
            hex: "00 0000000000000040 9A9999999999A93F 00 01 40 52 01 05 40 40 40 40"
                + String(repeating: "11", count: 64)),
        // Two filters; pieces as plain, integer and LZF strings, and a filter without data.
        Sample(
            .bloomChunked,
            hex: "00 0000000000000040 9A9999999999A93F 00 01 40 52 02 05"
                + "1B 04 01020304 C1 E8 03 C3 04 13 00 61 E0 07 05 00"),
        Sample(.streamListpacks, hex: "00 00 00 00 00"),
        Sample(
            .streamListpacks,
            hex: "01 02 0102 01 FF 01 02 03 01 01 67 05 06 01" + pending + "01 01 63" + time
                + "01" + identifier),
        Sample(
            .streamListpacks2,
            hex: "00 00 03 00 01 01 01 02 04 02 01 67 05 06 07 00 00 01 68 05 06 07 01" + pending
                + "01 01 63" + time + "02" + identifier + identifier),
        Sample(
            .streamListpacks3,
            hex: "01 10" + identifier + "03 010203" + "03 03 00 01 01 01 02 04 01 02 67 31 02 00"
                + "81 FF FF FF FF FF FF FF FF 02" + pending + pending + "02 02 63 31" + time + time
                + "02" + identifier + identifier + "02 63 32" + time + "FF FF FF FF FF FF FF FF 00"
        ),
    ]

    private static let identifier = "0000000000000001 0000000000000001"
    private static let time = "4B7D2504A2010000"
    private static let pending = identifier + time + "01"

    /// Each type has a sample, so that none is forgotten.
    @Test func everyTypeHasASample() {
        #expect(Set(Self.samples.map(\.type)) == Set(ValueType.allCases))
    }

    /// Whole input is passed at once, and what follows it is not touched.
    @Test(arguments: samples)
    func passesExactlyTheValue(_ sample: Sample) throws {
        var walker = ValueWalker(sample.type)
        let count = try (sample.bytes + [0x01, 0x02, 0x03]).withByteView {
            view throws(DecodeError) in
            try walker.advance(view)
        }
        #expect(walker.isComplete)
        #expect(count == sample.bytes.count)
    }

    /// A beginning of a value is never complete and never an error, and goes on to the same end.
    @Test(arguments: samples)
    func resumesAtEverySplit(_ sample: Sample) throws {
        for split in 0..<sample.bytes.count {
            var walker = ValueWalker(sample.type)
            let (first, total) = try sample.bytes.withByteView { view throws(DecodeError) in
                let first = try walker.advance(view.slice(0, split))
                guard !walker.isComplete else { return (-1, -1) }
                return (first, first + (try walker.advance(view.dropFirst(first))))
            }
            #expect(first >= 0 && first <= split)
            #expect(total == sample.bytes.count)
            #expect(walker.isComplete)
        }
    }

    /// Bytes of a long string are passed as they come, without waiting for the rest.
    @Test func passesPartOfAString() throws {
        var walker = ValueWalker(.string)
        let beginning = StreamBytes(hex: "80 00 10 00 00 AA AA AA").bytes
        let count = try beginning.withByteView { view throws(DecodeError) in
            try walker.advance(view)
        }
        #expect(count == 8)
        #expect(!walker.isComplete)
        #expect(!walker.isBetweenPrimitives)
    }

    /// A count that the bytes do not bear out is no reason to loop or to allocate.
    @Test func hugeCountsOnlyWait() throws {
        for type in [ValueType.set, .hash, .zset2, .listQuicklist2, .streamListpacks3] {
            var walker = ValueWalker(type)
            let bytes = StreamBytes(hex: "81 00 00 00 FF FF FF FF FF").bytes
            let count = try bytes.withByteView { view throws(DecodeError) in
                try walker.advance(view)
            }
            #expect(count == 9)
            #expect(!walker.isComplete)
        }
    }

    @Test(arguments: [
        (ValueType.string, "82", DecodeError.Reason.badLength),
        (.string, "C4", .badString),
        (.string, "81 FF FF FF FF FF FF FF FF", .lengthAboveLimit),
        (.string, "C3 01 80 00 10 00 00", .damagedCompression),
        (.set, "C0", .badLength),
        (.set, "01 BF", .badLength),
        // Width times depth overflows, or is beyond any memory.
        (.countMin, "81 00 00 00 FF FF FF FF FF 81 00 00 00 FF FF FF FF FF 00", .lengthAboveLimit),
        (.countMin, "80 FF FF FF FF 80 00 FF FF FF 00", .lengthAboveLimit),
        // A piece larger than what its filter has left.
        (.cuckoo, "02 14 01 04 01 00 01 08 09", .damagedContainer),
        (.cuckoo, "02 14 01 04 01 00 01 08 05 0102030405 C1 E8 03", .damagedContainer),
    ])
    func refusesWhatCannotBe(_ type: ValueType, _ hex: String, _ reason: DecodeError.Reason) {
        var walker = ValueWalker(type)
        #expect(throws: DecodeError(reason)) {
            try StreamBytes(hex: hex).bytes.withByteView { view throws(DecodeError) in
                _ = try walker.advance(view)
            }
        }
    }
}

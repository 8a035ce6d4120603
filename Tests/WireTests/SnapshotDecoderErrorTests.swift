import Bytes
import Testing
import Wire

/// What must not be in a snapshot ends it, with its place named.
@Suite struct SnapshotDecoderErrorTests {
    private func failure(_ bytes: [UInt8], limits: DecoderLimits = DecoderLimits()) throws
        -> DecodeError?
    {
        let whole = try FlowRun(bytes, limits: limits).failure
        // One byte at a time the same error must come, at the same place.
        let dripped = try FlowRun(bytes, limits: limits, segment: { 1 }).failure
        #expect(dripped == whole)
        return whole
    }

    @Test(arguments: ["S", "REDIX", "REDIS00x9", "REDIS0000", "XEDIS0009"])
    func header(_ text: String) throws {
        #expect(try failure(Array(text.utf8)) == DecodeError(.badHeader, offset: 0, opcode: 0))
    }

    /// Each of these follows a header and one key (5 bytes), so the error is at 14.
    @Test(arguments: [
        ("01 01 61 00", DecodeError.Reason.unknownOpcode),
        ("03 01 61 00", .unknownOpcode),
        ("C7", .unknownOpcode),
        // The end of a blob is no item of the wire.
        ("CB", .unknownOpcode),
        ("DD", .unknownOpcode),
        ("F6", .unknownOpcode),
        ("00 82", .badLength),
        ("00 C4", .badString),
        ("00 01 61 C5", .badString),
        ("02 01 61 C0", .badLength),
        ("00 80 00 10 00 00", .lengthAboveLimit),
        ("00 C3 81 00 00 00 80 00 00 00 00 05", .lengthAboveLimit),
        ("00 C3 02 0A 00 61 00", .damagedCompression),
        ("00 C3 01 80 00 10 00 00", .damagedCompression),
        // Prefixes belong to the key behind them.
        ("FC 0100000000000000 FE 00 00 01 61 00", .outOfOrder),
        ("DC 01000000 FF 0000000000000000", .outOfOrder),
        ("FC 0100000000000000 E0 01000000 04000000 00016100", .outOfOrder),
        ("F9 01 F9 01 F9 01 F9 01 F9 01 F9 01 F9 01 F9 01 F9 01", .outOfOrder),
        // Order of the three marks at the end.
        ("FF 0000000000000000", .outOfOrder),
        ("D3 0100000000000000", .outOfOrder),
        // Chunks.
        ("E0 00000000 04000000 00016100", .badChunk),
        ("E0 FFFFFFFF 04000000 00016100", .badChunk),
        ("E0 01000000 00000000", .badChunk),
        // More than the value, a cut in a primitive, a cut in a string, a cut in the head.
        ("E0 01000000 05000000 00016100 00", .straddlesBoundary),
        ("E0 01000000 06000000 020161 02 01 61 E0 01000000 03000000 016201", .straddlesBoundary),
        ("E0 01000000 06000000 020161 02 01 61 E0 01000000 03000000 056262", .straddlesBoundary),
        ("E0 01000000 05000000 0201610241", .straddlesBoundary),
        ("E0 01000000 07000000 02016102 03 6161", .straddlesBoundary),
        ("E0 01000000 02000000 0201", .straddlesBoundary),
        ("E0 01000000 01000000 FC", .straddlesBoundary),
        // Only keys come in chunks.
        ("E0 01000000 02000000 FE00", .outOfOrder),
        ("E0 01000000 03000000 CA0100", .outOfOrder),
        ("E0 01000000 02000000 0600", .unknownOpcode),
        // Blobs that are no frames, or integers.
        ("CA 04 00000000", .damagedCompression),
        ("CA 00", .damagedCompression),
        ("C9 04 00000000", .damagedCompression),
        ("CA C0 01", .badString),
        ("CA C3 04 0A 00 61 E0 00", .badString),
        ("F7 01 06", .unknownOpcode),
    ])
    func items(_ hex: String, _ reason: DecodeError.Reason) throws {
        let item = StreamBytes(hex: hex).bytes
        let stream = StreamBytes.make {
            $0.header()
            $0.raw(StreamBytes(hex: "00 01 6B 01 76"))
            $0.raw(item)
        }
        let found = try #require(try failure(stream.bytes))
        #expect(found.reason == reason)
        // The second chunk of its case is where that one breaks.
        let second = "E0 01000000 06000000 020161 02 01 61 E0"
        #expect(found.offset == (hex.hasPrefix(second) ? 14 + 15 : 14))
        #expect(found.opcode == item[0])
    }

    private let marks = [
        StreamBytes(hex: "C8 0000000000000000"), StreamBytes(hex: "D3 0100000000000000"),
        StreamBytes(hex: "FF 0000000000000000"),
    ]

    /// C8, D3 and FF come once each and in this order, and between D3 and FF comes nothing.
    @Test func marksComeOnceAndInOrder() throws {
        for order in [[0, 0], [0, 1, 1], [1], [0, 2], [2]] {
            let stream = StreamBytes.make {
                $0.header()
                for index in order { $0.raw(marks[index]) }
            }
            #expect(try failure(stream.bytes)?.reason == .outOfOrder)
            #expect(try failure(stream.bytes)?.offset == 9 * order.count)
        }
        for item in ["00 01 61 00", "FE 00", "D2 00 00", "FA 00 00", "CA 00"] {
            let stream = StreamBytes.make {
                $0.header()
                $0.raw(marks[0])
                $0.raw(StreamBytes(hex: "D2 01 01 0D"))
                $0.raw(marks[1])
                $0.raw(StreamBytes(hex: item))
            }
            #expect(try failure(stream.bytes)?.reason == .outOfOrder)
        }
    }

    /// An entry whose chunks have not all come is lost: the end must not be believed.
    @Test func openChunksAtTheEnd() throws {
        let stream = StreamBytes.make {
            $0.header()
            $0.chunk(9, StreamBytes(hex: "02 01 61 02 01 61"))
            $0.ending()
        }
        #expect(try failure(stream.bytes) == DecodeError(.badChunk, offset: 42, opcode: 0xff))
    }

    /// Items end inside their blob; blobs do not nest; the end is outside of them.
    @Test(arguments: [
        ("00 01 6B 05 76", DecodeError.Reason.straddlesBoundary),
        ("FC 0100", .straddlesBoundary),
        ("FC 0100000000000000", .straddlesBoundary),
        ("FA 01 61", .straddlesBoundary),
        ("D2 01 05 0D", .straddlesBoundary),
        ("E0 01000000 0A000000 00016100", .straddlesBoundary),
        ("E0 01000000", .straddlesBoundary),
        ("F5 05 01", .straddlesBoundary),
        ("F5 40", .straddlesBoundary),
        ("CA 04 00000000", .outOfOrder),
        ("C9 04 00000000", .outOfOrder),
        ("FF 0000000000000000", .outOfOrder),
        ("06", .unknownOpcode),
    ])
    func insideBlobs(_ hex: String, _ reason: DecodeError.Reason) throws {
        for format in [FrameDecompressor.Format.lz4, .zstd] {
            let stream = try StreamBytes.make {
                $0.header()
                $0.raw(StreamBytes(hex: "C8 0000000000000000"))
                try $0.blob(
                    format,
                    .make {
                        if hex.hasPrefix("FF") { $0.raw(StreamBytes(hex: "D3 0100000000000000")) }
                        $0.raw(StreamBytes(hex: hex))
                    })
                // What would complete the item if blobs were no boundary.
                $0.raw([UInt8](repeating: 0, count: 20))
            }
            let found = try #require(try failure(stream.bytes))
            #expect(found.reason == reason, "\(format)")
            #expect(found.offset == 18)
        }
    }

    /// A frame must end exactly where its blob does.
    @Test(arguments: [true, false])
    func framesFillTheirBlob(_ isLZ4: Bool) throws {
        let format = isLZ4 ? FrameDecompressor.Format.lz4 : .zstd
        let content = StreamBytes(hex: "00 01 6B 01 76 00 01 6C 01 76")
        let blob = try StreamBytes.make { try $0.blob(format, content) }.bytes
        let frame = Array(blob[2...])
        for changed in [frame + [0], frame + frame, Array(frame.dropLast())] {
            let stream = StreamBytes.make {
                $0.header()
                $0.byte(blob[0])
                $0.string(changed)
                $0.raw([UInt8](repeating: 0xfe, count: 20))
            }
            #expect(
                try failure(stream.bytes)
                    == DecodeError(.damagedCompression, offset: 9, opcode: blob[0]))
        }
    }

    /// Keys have a limit of half a window, in every encoding and also inside chunks.
    @Test func keysHaveALimit() throws {
        let limits = DecoderLimits(windowBytes: 4096)
        func stream(_ size: Int, isLZF: Bool, isChunk: Bool) throws -> [UInt8] {
            let key = [UInt8](repeating: UInt8(ascii: "k"), count: size)
            let item = try StreamBytes.make {
                $0.byte(0)
                if isLZF { try $0.lzf(key) } else { $0.string(key) }
                $0.string("v")
            }
            return StreamBytes.make {
                $0.header()
                if isChunk { $0.chunk(5, item) } else { $0.raw(item) }
            }.bytes
        }
        for isLZF in [false, true] {
            for isChunk in [false, true] {
                let fits = try stream(2048, isLZF: isLZF, isChunk: isChunk)
                let run = try FlowRun(fits, limits: limits)
                #expect(run.failure == nil)
                #expect(run.entries.first?.key.count == 2048)
                let above = try stream(2049, isLZF: isLZF, isChunk: isChunk)
                #expect(try failure(above, limits: limits)?.reason == .lengthAboveLimit)
            }
        }
    }
}

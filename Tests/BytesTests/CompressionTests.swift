import Bytes
import TestSupport
import Testing

/// LZF: what was compressed comes back, and damaged bytes are noticed without harm.
@Suite struct LZFTests {
    @Test func roundTrips() throws {
        let seed: UInt64 = 31
        var generator = SeededGenerator(seed: seed)
        for round in 0..<300 {
            let count = Int.random(in: 1...20_000, using: &generator)
            let original = generator.bytes(count, kinds: [1, 2, 4, 16, 256][round % 5])
            var packed = try RegionBuffer()
            let fits = try original.withByteView { view throws(SystemError) in
                try LZF.compress(view, into: &packed)
            }
            #expect(fits == !packed.isEmpty)
            guard fits else { continue }
            #expect(packed.count < count)
            var plain = try RegionBuffer()
            try plain.append("before")
            #expect(try LZF.decompress(packed.view, originalCount: count, into: &plain))
            #expect(plain.view.dropFirst(6).array() == original, "seed \(seed), round \(round)")

            var ring = try MirroredRing(capacity: 1 << 15)
            for _ in 0..<(1 << 15) - 100 { ring.append(byte: 0) }
            ring.clear()
            #expect(LZF.decompress(packed.view, originalCount: count, into: &ring))
            #expect(ring.readable.array() == original)
        }
    }

    /// protocol.md 3.4.3 by hand: overlap, the extended length, the largest distance.
    @Test func knownStreams() throws {
        #expect(try decompress([0x00, 0x61, 0x20, 0x00], 4) == Array("aaaa".utf8))
        #expect(try decompress([0x01, 0x61, 0x62, 0x60, 0x01], 7) == Array("abababa".utf8))
        #expect(
            try decompress([0x00, 0x78, 0xe0, 0xff, 0x00], 265)
                == [UInt8](repeating: 0x78, count: 265))
        var generator = SeededGenerator(seed: 4)
        let far = generator.bytes(8192)
        var packed: [UInt8] = []
        for start in stride(from: 0, to: 8192, by: 32) {
            packed.append(31)
            packed += far[start..<start + 32]
        }
        packed += [0x3f, 0xff]
        #expect(try decompress(packed, 8195) == far + far.prefix(3))
    }

    /// Damaged input appends nothing, whatever it claims.
    @Test func refusesDamage() throws {
        let damaged: [([UInt8], Int)] = [
            ([0x00], 1), ([0x05, 0x61], 6), ([0x20, 0x00], 3), ([0x00, 0x61, 0x20, 0x01], 4),
            ([0x00, 0x61, 0xe0], 10), ([0x00, 0x61, 0x20], 4), ([0x00, 0x61], 2),
            ([0x01, 0x61, 0x62], 1), ([0x00, 0x61, 0xe0, 0xff, 0x00], 264), ([], 1),
        ]
        for (bytes, count) in damaged {
            #expect(try decompress(bytes, count) == nil, "\(bytes)")
        }
    }

    @Test func survivesRandomBytes() throws {
        var generator = SeededGenerator(seed: 6)
        var ring = try MirroredRing(capacity: 1 << 16)
        for _ in 0..<20_000 {
            let bytes = generator.bytes(Int.random(in: 0...60, using: &generator), kinds: 256)
            let count = Int.random(in: 0...500, using: &generator)
            ring.clear()
            let sound = bytes.withByteView {
                LZF.decompress($0, originalCount: count, into: &ring)
            }
            #expect(ring.count == (sound ? count : 0))
        }
    }

    private func decompress(_ bytes: [UInt8], _ count: Int) throws -> [UInt8]? {
        var buffer = try RegionBuffer()
        let sound = try bytes.withByteView { view throws(SystemError) in
            try LZF.decompress(view, originalCount: count, into: &buffer)
        }
        #expect(buffer.count == (sound ? count : 0))
        return sound ? buffer.view.array() : nil
    }
}

/// LZ4 and zstd frames: any cut of input and output gives the same bytes.
@Suite struct FrameDecompressorTests {
    @Test(arguments: [FrameDecompressor.Format.lz4, .zstd])
    func anyPieces(_ format: FrameDecompressor.Format) throws {
        let seed: UInt64 = 41
        var generator = SeededGenerator(seed: seed)
        for round in 0..<40 {
            let original = generator.bytes(
                Int.random(in: 0...150_000, using: &generator), kinds: [2, 16, 256][round % 3])
            let frame = try compress(original, format)
            var decompressor = FrameDecompressor(format)
            let limit = [1, 100, 100_000][round % 3]
            let outcome = try run(&decompressor, frame, &generator, pieceLimit: limit)
            #expect(outcome?.bytes == original, "seed \(seed), round \(round)")
            #expect(outcome?.used == frame.count)
        }
    }

    /// One decompressor serves frame after frame, and tells where one ends.
    @Test(arguments: [FrameDecompressor.Format.lz4, .zstd])
    func framesFollowEachOther(_ format: FrameDecompressor.Format) throws {
        var generator = SeededGenerator(seed: 8)
        var decompressor = FrameDecompressor(format)
        for count in [0, 1, 70_000, 3] {
            let original = generator.bytes(count, kinds: 5)
            let frame = try compress(original, format)
            let outcome = try run(
                &decompressor, frame + [1, 2, 3], &generator, pieceLimit: 1 << 20)
            #expect(outcome?.bytes == original)
            #expect(outcome?.used == frame.count, "what follows the frame is not touched")
        }
    }

    @Test(arguments: [FrameDecompressor.Format.lz4, .zstd])
    func truncatedFramesAreUnfinished(_ format: FrameDecompressor.Format) throws {
        var generator = SeededGenerator(seed: 9)
        let frame = try compress(generator.bytes(3000, kinds: 9), format)
        var ring = try MirroredRing(capacity: 4096)
        var decompressor = FrameDecompressor(format)
        for cut in 0..<frame.count {
            ring.clear()
            let result = Array(frame[..<cut]).withByteView {
                decompressor.decompress($0, into: &ring)
            }
            #expect(result.status == .more, "cut at \(cut)")
            decompressor.reset()
        }
        // After all those beginnings a whole frame still works.
        ring.clear()
        let whole = frame.withByteView { decompressor.decompress($0, into: &ring) }
        #expect(whole.status == .end && ring.count == 3000)
    }

    /// No damage crashes, hangs or writes more than the room; the next frame is read soundly.
    @Test(arguments: [FrameDecompressor.Format.lz4, .zstd])
    func damageIsSurvived(_ format: FrameDecompressor.Format) throws {
        let seed: UInt64 = 10
        var generator = SeededGenerator(seed: seed)
        let original = generator.bytes(5000, kinds: 7)
        let frame = try compress(original, format)
        var decompressor = FrameDecompressor(format)
        var noticed = 0
        for _ in 0..<2000 {
            var damaged = frame
            for _ in 0...Int.random(in: 0...3, using: &generator) {
                let index = Int.random(in: 0..<damaged.count, using: &generator)
                damaged[index] ^= UInt8.random(in: 1...255, using: &generator)
            }
            let outcome = try run(&decompressor, damaged, &generator, pieceLimit: 2000)
            if outcome == nil { noticed += 1 }
            decompressor.reset()
        }
        // Flips inside literals cannot be noticed: these frames have no checksum.
        #expect(noticed > 200)
        let outcome = try run(&decompressor, frame, &generator, pieceLimit: 2000)
        #expect(outcome?.bytes == original)
    }

    /// With serialization_max_chunk_size=0 a Dragonfly links LZ4 blocks: a match may reach into the
    /// block before (protocol.md 3.5).
    @Test func linkedBlocks() throws {
        let first = Array("the quick brown fox jumps over the lazy dog. ".utf8)
        // Magic; version 1, linked blocks, no checksums; blocks up to 64 KiB; header checksum.
        var frame: [UInt8] = [0x04, 0x22, 0x4d, 0x18, 0x40, 0x40, 0xc0]
        frame += [UInt8(first.count), 0, 0, 0x80] + first
        // 4 + 15 + 6 bytes from 45 back, then five literals.
        let block: [UInt8] = [0x0f, 45, 0, 6, 0x50] + Array("again".utf8)
        frame += [UInt8(block.count), 0, 0, 0] + block
        frame += [0, 0, 0, 0]
        var generator = SeededGenerator(seed: 1)
        for limit in [1, 7, 1000] {
            var decompressor = FrameDecompressor(.lz4)
            let outcome = try run(&decompressor, frame, &generator, pieceLimit: limit)
            #expect(outcome?.bytes == first + first.prefix(25) + Array("again".utf8))
        }
    }

    @Test func otherBytesAreDamage() throws {
        var ring = try MirroredRing(capacity: 4096)
        for format in [FrameDecompressor.Format.lz4, .zstd] {
            var decompressor = FrameDecompressor(format)
            let result = decompressor.decompress("this is no frame at all", into: &ring)
            #expect(result.status == .damaged)
            #expect(ring.count == 0)
        }
    }

    /// Feeds pieces of random size up to `pieceLimit` into a small ring. Nil if the frame is damaged
    /// or unfinished.
    private func run(
        _ decompressor: inout FrameDecompressor, _ frame: [UInt8],
        _ generator: inout SeededGenerator, pieceLimit: Int
    ) throws -> (bytes: [UInt8], used: Int)? {
        var ring = try MirroredRing(capacity: 4096)
        var output: [UInt8] = []
        var used = 0
        var idle = 0
        while idle < 3 {
            let size = min(frame.count - used, Int.random(in: 1...pieceLimit, using: &generator))
            let (consumed, status) = Array(frame[used..<used + size]).withByteView {
                decompressor.decompress($0, into: &ring)
            }
            #expect(consumed >= 0 && consumed <= size)
            used += consumed
            idle = consumed == 0 && ring.isEmpty ? idle + 1 : 0
            output += ring.readable.array()
            ring.clear()
            switch status {
            case .end: return (output, used)
            case .damaged: return nil
            case .more: break
            }
        }
        return nil
    }

    private func compress(
        _ bytes: [UInt8], _ format: FrameDecompressor.Format
    ) throws -> [UInt8] {
        var buffer = try RegionBuffer()
        try bytes.withByteView { view throws(SystemError) in
            try FrameDecompressor.compress(view, format, into: &buffer)
        }
        return buffer.view.array()
    }
}

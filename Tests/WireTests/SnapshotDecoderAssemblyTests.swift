import Bytes
import Testing
import Wire

/// Items that come in pieces or do not fit the window (protocol.md 3.5 to 3.7).
@Suite struct SnapshotDecoderAssemblyTests {
    private let small = DecoderLimits(windowBytes: 4096)

    private static func text(_ size: Int) -> [UInt8] {
        (0..<size).map { UInt8(ascii: "a") + UInt8($0 % 23) }
    }

    private static func stream(_ body: (inout StreamBytes) throws -> Void) rethrows -> [UInt8] {
        try StreamBytes.make {
            $0.header()
            try body(&$0)
        }.bytes
    }

    /// Values around and far above the window, small keys between them: same entries as when
    /// everything fits, in any pieces.
    @Test func valuesLargerThanTheWindow() throws {
        var generator = SeededGenerator(seed: 11)
        let bytes = try Self.stream {
            for size in [4080, 4090, 4096, 8192, 8200, 100_000] {
                $0.raw(StreamBytes(hex: "FC 0500000000000000 DC 03000000 01000000 00"))
                $0.string("string \(size)")
                $0.string(Self.text(size))
                $0.raw(StreamBytes(hex: "FE 02 04 C0 07"))
                $0.length(UInt64(size / 8))
                for index in 0..<size / 8 {
                    $0.string("f\(index)")
                    $0.string("v")
                }
                $0.raw(StreamBytes(hex: "00 01 6B 01 76 FE 00 15"))
                try $0.lzf(Self.text(500))
                $0.length(UInt64(size / 64))
                for _ in 0..<size / 64 {
                    $0.string([UInt8](repeating: 7, count: 16))
                    $0.string(Self.text(40))
                }
                $0.raw(StreamBytes(hex: "00 00 00 00 00 00 00 00 00"))
            }
        }
        let wanted = try FlowRun(bytes).events
        #expect(wanted.count == 24)
        for segment in [Int.max, 1, 4096] {
            let run = try FlowRun(bytes, limits: small, segment: { segment })
            #expect(run.failure == nil)
            let isSame = run.events == wanted
            #expect(isSame)
            #expect(run.assembledBytesMaximum > 4096)
        }
        let run = try FlowRun(bytes, limits: small) {
            Int.random(in: 1...5000, using: &generator)
        }
        let isSame = run.events == wanted
        #expect(isSame)
    }

    /// What waits in the window is not scanned again with every byte that comes: that would take
    /// hours here, not a second.
    @Test(.timeLimit(.minutes(1)))
    func waitingCostsNoScan() throws {
        let count = 120_000
        let set = Self.stream {
            $0.raw(StreamBytes(hex: "02 01 73"))
            $0.length(UInt64(count))
            $0.raw((0..<count).flatMap { [1, UInt8($0 & 0xff)] })
        }
        let record = StreamBytes.make { $0.command([String](repeating: "x", count: count)) }.bytes
        #expect(set.count < DecoderLimits().windowBytes)
        #expect(try FlowRun(set, segment: { 1 }).entries.map(\.value.count) == [2 * count + 5])
        let run = try FlowRun(record, partialLSN: 1, segment: { 1 })
        #expect(run.records.map(\.arguments.count) == [count])
    }

    /// A value above the limit is named, with its size, and what follows is in step; others go on.
    @Test func valuesAboveTheLimitAreRefused() throws {
        let limits = DecoderLimits(windowBytes: 4096, assemblyBytes: 64 << 10)
        let members = (0..<5).map { _ in Self.text(20_000) }
        let bytes = Self.stream {
            $0.raw(StreamBytes(hex: "FE 01 FC 0500000000000000 00 03 626967"))
            $0.string(Self.text(70_000))
            $0.chunk(
                7,
                .make {
                    $0.raw(StreamBytes(hex: "DC 01000000 02 03 736574 05"))
                    $0.string(members[0])
                })
            $0.raw(StreamBytes(hex: "FE 00 00 01 6B 01 76 00 01 6C"))
            $0.string(Self.text(20_000))
            for member in members.dropFirst() { $0.chunk(7, .make { $0.string(member) }) }
            $0.raw(StreamBytes(hex: "00 01 6D"))
            $0.string(Self.text(40_000))
        }
        for segment in [Int.max, 1, 3000] {
            let run = try FlowRun(bytes, limits: limits, segment: { segment })
            #expect(run.failure == nil)
            #expect(run.assembledBytesMaximum <= limits.assemblyBytes)
            #expect(run.events.count == 5)
            guard case .refused(let first, let firstSize) = run.events[0],
                case .refused(let second, let secondSize) = run.events[3]
            else {
                Issue.record("not refused")
                return
            }
            #expect(first.key == Array("big".utf8))
            #expect(first.type == .string)
            #expect(first.database == 1)
            #expect(first.expiryMilliseconds == 5)
            #expect(first.value.isEmpty)
            #expect(firstSize == 70_005)
            #expect(second.key == Array("set".utf8))
            #expect(second.type == .set)
            #expect(second.isSticky)
            #expect(second.database == 1)
            #expect(secondSize == 1 + 5 * 20_005)
            #expect(run.entries.map(\.value.count) == [2, 20_005, 40_005])
        }
    }

    /// Open ids cost memory even when their values are empty, so their number ends at the limit
    /// too.
    @Test func openIdsAreBounded() throws {
        let limits = DecoderLimits(windowBytes: 4096, assemblyBytes: 1 << 20)
        let bytes = Self.stream {
            for id in 1...1000 { $0.chunk(UInt32(id), StreamBytes(hex: "02 01 61 02 01 61")) }
        }
        let run = try FlowRun(bytes, limits: limits)
        #expect(run.failure?.reason == .outOfMemory)
        #expect(run.failure?.opcode == 0xe0)
        #expect(run.assembledBytesMaximum <= limits.assemblyBytes)
    }

    /// Chunks far larger than the window: first one, last one, only one; raw and in blobs.
    @Test func chunksLargerThanTheWindow() throws {
        let items = StreamBytes.make {
            $0.chunk(
                1,
                .make {
                    $0.raw(StreamBytes(hex: "FC 0900000000000000 04 01 68 04"))
                    $0.string(Self.text(50_000))
                    $0.string("small")
                })
            $0.raw(StreamBytes(hex: "FE 03"))
            // Complete in its first chunk, but too large for the window.
            $0.chunk(
                2,
                .make {
                    $0.raw(StreamBytes(hex: "02 01 73 01"))
                    $0.string(Self.text(9000))
                })
            $0.chunk(
                1,
                .make {
                    for size in [1, 20_000, 0, 4096, 3, 30_000] { $0.string(Self.text(size)) }
                })
        }
        let hash = StreamBytes.make {
            $0.length(4)
            $0.string(Self.text(50_000))
            $0.string("small")
            for size in [1, 20_000, 0, 4096, 3, 30_000] { $0.string(Self.text(size)) }
        }.bytes
        let raw = Self.stream { $0.raw(items) }
        let lz4 = try Self.stream { try $0.blob(.lz4, items) }
        let zstd = try Self.stream { try $0.blob(.zstd, items) }
        for bytes in [raw, lz4, zstd] {
            for segment in [Int.max, 1, 1234] {
                let run = try FlowRun(bytes, limits: small, segment: { segment })
                #expect(run.failure == nil)
                #expect(run.entries.map(\.key) == [Array("s".utf8), Array("h".utf8)])
                #expect(run.entries.map(\.database) == [3, 0])
                #expect(run.entries.map(\.value.count) == [9003, hash.count])
                let isSame = run.entries.last?.value == hash
                #expect(isSame)
                #expect(run.entries.last?.expiryMilliseconds == 9)
            }
        }
    }

    /// A chunk that goes on behind its value, found when the value is already being assembled.
    @Test func largeChunksEndWithTheirValue() throws {
        for extra in [0, 1] {
            let bytes = Self.stream {
                $0.chunk(
                    1,
                    .make {
                        $0.raw(StreamBytes(hex: "02 01 73 01"))
                        $0.string(Self.text(9000))
                        $0.raw([UInt8](repeating: 1, count: extra))
                    })
            }
            let run = try FlowRun(bytes, limits: small, segment: { 500 })
            #expect(run.entries.count == 1 - extra)
            #expect(
                run.failure
                    == (extra == 0
                        ? nil : DecodeError(.straddlesBoundary, offset: 9, opcode: 0xe0)))
        }
    }

    /// Blobs of any size pass through fixed memory: many items, items larger than the window,
    /// linked LZ4 blocks.
    @Test(arguments: [true, false])
    func blobsOfAnySize(_ isLZ4: Bool) throws {
        let items = StreamBytes.make {
            $0.raw(StreamBytes(hex: "FE 05"))
            for index in 0..<20_000 {
                $0.byte(0)
                $0.string("key:\(index)")
                $0.string("the value of \(index), which compresses well \(index)")
            }
            $0.byte(0)
            $0.string("large")
            $0.string(Self.text(300_000))
            $0.raw(StreamBytes(hex: "D2 01"))
            $0.string(StreamBytes.make { $0.command(["SET", "a", "b"]) }.bytes)
            $0.raw(StreamBytes(hex: "C8 0000000000000000 D3 2A00000000000000"))
        }
        let bytes = try Self.stream {
            try $0.blob(isLZ4 ? .lz4 : .zstd, items)
            $0.raw(StreamBytes(hex: "FF 0000000000000000"))
        }
        #expect(items.bytes.count > 1 << 20)
        for segment in [Int.max, 1, 10_000] {
            let run = try FlowRun(bytes, limits: small, segment: { segment })
            #expect(run.failure == nil)
            #expect(run.events.count == 20_005)
            #expect(run.entries.count == 20_001)
            #expect(run.entries[12_345].key == Array("key:12345".utf8))
            #expect(run.entries.allSatisfy { $0.database == 5 })
            #expect(run.entries.last?.value.count == 300_005)
            #expect(run.events.suffix(2) == [.journalOffset(42), .end])
            #expect(run.assembledBytesMaximum < 310_000)
        }
    }

    /// A blob without items is nothing.
    @Test func emptyBlob() throws {
        for format in [FrameDecompressor.Format.lz4, .zstd] {
            let bytes = try Self.stream {
                try $0.blob(format, StreamBytes())
                $0.raw(StreamBytes(hex: "00 01 6B 01 76"))
            }
            let run = try FlowRun(bytes, segment: { 1 })
            #expect(run.failure == nil)
            #expect(run.entries.count == 1)
        }
    }

    /// An AUX value too large for the window, plain or decompressed, comes empty under its name.
    @Test func largeAuxiliary() throws {
        let bytes = try Self.stream {
            for isLZF in [false, true] {
                $0.raw(StreamBytes(hex: "FA 03 6C7561"))
                if isLZF { try $0.lzf(Self.text(60_000)) } else { $0.string(Self.text(60_000)) }
                $0.raw(StreamBytes(hex: "FA C0 05 02 6F6B"))
            }
        }
        let large = StreamEvent.auxiliary(name: Array("lua".utf8), value: [])
        let next = StreamEvent.auxiliary(name: Array("5".utf8), value: Array("ok".utf8))
        for segment in [Int.max, 1, 1000] {
            let run = try FlowRun(bytes, limits: small, segment: { segment })
            #expect(run.failure == nil)
            #expect(run.events == [large, next, large, next])
        }
        let fits = try FlowRun(bytes)
        #expect(fits.events.contains(.auxiliary(name: Array("lua".utf8), value: Self.text(60_000))))
        let name = Self.stream {
            $0.byte(0xfa)
            $0.string(Self.text(3000))
            $0.string("v")
        }
        #expect(try FlowRun(name, limits: small).failure?.reason == .lengthAboveLimit)
    }

    /// Journal blobs larger than the window, plain and LZF; above the limit the session ends,
    /// because their records cannot be named.
    @Test func largeJournalBlobs() throws {
        let value = String(decoding: Self.text(50_000), as: UTF8.self)
        let records = StreamBytes.make {
            $0.command(["SET", "a", value])
            $0.command(["SET", "b", value])
        }
        for isLZF in [false, true] {
            let bytes = try Self.stream {
                $0.raw(StreamBytes(hex: "D2 02"))
                if isLZF { try $0.lzf(records.bytes) } else { $0.string(records.bytes) }
                $0.raw(StreamBytes(hex: "00 01 6B 01 76"))
            }
            for segment in [Int.max, 1, 1000] {
                let run = try FlowRun(bytes, limits: small, segment: { segment })
                #expect(run.failure == nil)
                #expect(run.events.count == 2)
                guard case .journalBlob(2, let inside) = run.events[0] else {
                    Issue.record("no blob")
                    return
                }
                let isSame = inside.map(\.texts) == [["SET", "a", value], ["SET", "b", value]]
                #expect(isSame)
            }
            let limits = DecoderLimits(windowBytes: 4096, assemblyBytes: 90_000)
            let run = try FlowRun(bytes, limits: limits)
            #expect(run.failure == DecodeError(.lengthAboveLimit, offset: 9, opcode: 0xd2))
            #expect(run.assembledBytesMaximum <= 90_000)
        }
    }

    /// Search data larger than the window is passed over without being collected.
    @Test func largeSearchIndexes() throws {
        let bytes = Self.stream {
            $0.raw(StreamBytes(hex: "DE 05 6964783A66 07"))
            $0.length(5000)
            for id in 0..<5000 {
                $0.little(UInt32(id))
                $0.little(UInt64(id))
                $0.little(UInt32(id % 3))
                for level in 0...(id % 3) {
                    $0.little(UInt32(level * 4))
                    for link in 0..<level * 4 { $0.little(UInt32(link)) }
                }
            }
            $0.raw(StreamBytes(hex: "00 01 6B 01 76"))
        }
        for segment in [Int.max, 1, 777] {
            let run = try FlowRun(bytes, limits: small, segment: { segment })
            #expect(run.failure == nil)
            #expect(run.entries.count == 1)
            #expect(run.assembledBytesMaximum == 0)
        }
    }
}

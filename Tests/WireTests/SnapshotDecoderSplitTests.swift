import Bytes
import Testing
import Wire

/// A short flow with one of everything, cut everywhere.
@Suite struct SnapshotDecoderSplitTests {
    static let token = Array("b4d0513585dc458bb55ccd71752f07f5ebce4911".utf8)

    /// Prefixes, chunks of two ids, both kinds of blob, LZF, journal blobs, marks, token, journal.
    static func sample() throws -> [UInt8] {
        let text = [UInt8](repeating: UInt8(ascii: "z"), count: 70)
        let first = StreamBytes.make {
            $0.raw(StreamBytes(hex: "FE 01 02 01 73 02 01 61 C0 05"))
            $0.chunk(1, StreamBytes(hex: "FC 45792584E0010000 04 01 68 02 01 66 01 76"))
            $0.chunk(2, StreamBytes(hex: "20 02 7378 02 01 61 C0 FF"))
        }
        let second = StreamBytes.make {
            $0.chunk(1, StreamBytes(hex: "01 67 01 77"))
            $0.raw(StreamBytes(hex: "D2 01 0F 0600 0A 00 01 03 05 03 534554 01 61 01 62"))
            $0.raw(StreamBytes(hex: "05 01 7A 01 01 61 000000000000F03F"))
        }
        let append = StreamBytes.make {
            $0.command(["APPEND", "b"] + [String](repeating: "yyyyyyyy", count: 6))
        }
        let journal = StreamBytes.make {
            $0.raw(StreamBytes(hex: "06 02"))
            $0.command(["SET", "a", ""], transactionID: 100)
            $0.raw(StreamBytes(hex: "0F 2A 0D"))
            $0.command(["DEL", "k"], opcode: 9)
        }
        return try StreamBytes.make {
            $0.header()
            $0.raw(StreamBytes(hex: "FA 06 64662D766572 08 64662D76312E3430"))
            $0.raw(StreamBytes(hex: "FE 00 FC 45792584E0010000 DC 02000000 78563412 00 01 6B"))
            try $0.lzf(text)
            try $0.blob(.lz4, first)
            $0.raw(StreamBytes(hex: "FE 02 D2 01"))
            try $0.lzf(append.bytes)
            try $0.blob(.zstd, second)
            $0.chunk(2, StreamBytes(hex: "01 62 C2 87F7BC0A"))
            $0.raw(StreamBytes(hex: "13 01 78 00 00 00 00 00 00 00 00 00 00"))
            $0.raw(StreamBytes(hex: "F9 05 00 C1 E803 C1 E803"))
            $0.ending(nextLSN: 42)
            $0.raw(token)
            $0.raw(journal)
        }.bytes
    }

    private static func events() throws -> [StreamEvent] {
        let run = try FlowRun(try sample())
        #expect(run.failure == nil)
        #expect(run.nextLSN == 45)
        return run.events
    }

    /// The sample is what it says, so that the tests below are about all of it.
    @Test func sampleIsComplete() throws {
        let events = try Self.events()
        let entries = events.compactMap { if case .entry(let entry) = $0 { entry } else { nil } }
        #expect(
            entries.map { String(decoding: $0.key, as: UTF8.self) }
                == ["k", "s", "h", "z", "sx", "x", "1000"])
        #expect(entries.map(\.database) == [0, 1, 1, 2, 1, 2, 2])
        #expect(events.count == 1 + 7 + 2 + 4 + 3)
    }

    /// Every way to cut the flow in two gives the same events.
    @Test func everySplitPoint() throws {
        let bytes = try Self.sample()
        let wanted = try Self.events()
        for split in 1..<bytes.count {
            var isFirst = true
            let run = try FlowRun(bytes) {
                defer { isFirst = false }
                return isFirst ? split : .max
            }
            #expect(run.failure == nil, "split at \(split)")
            #expect(run.events == wanted, "split at \(split)")
        }
    }

    /// Every beginning of the flow gives a beginning of the events, waits, and consumes no more
    /// than it has.
    @Test func everyTruncation() throws {
        let bytes = try Self.sample()
        let wanted = try Self.events()
        var longest = -1
        for count in 1..<bytes.count {
            let run = try FlowRun(Array(bytes[..<count]))
            #expect(run.failure == nil, "first \(count)")
            #expect(run.events == Array(wanted.prefix(run.events.count)), "first \(count)")
            #expect(run.events.count >= longest)
            #expect(run.flowOffset <= count)
            longest = run.events.count
        }
        #expect(longest == wanted.count - 1)
    }
}

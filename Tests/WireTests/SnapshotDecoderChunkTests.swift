import Bytes
import Testing
import Wire

/// Many chunk ids open at once (protocol.md 3.7.1). No recording interleaves them, so the streams
/// are made here.
@Suite struct SnapshotDecoderChunkTests {
    private let small = DecoderLimits(windowBytes: 4096)

    /// Hundreds of ids open at once, each complete in its turn; then the same ids again.
    @Test func manyOpenIds() throws {
        let bytes = StreamBytes.make { stream in
            stream.header()
            for round in 0..<3 {
                for id in 1...700 {
                    stream.chunk(
                        UInt32(id) &* 2_654_435_761,
                        .make {
                            $0.byte(2)
                            $0.string("key \(round) \(id)")
                            $0.raw(StreamBytes(hex: "02 01 61"))
                        })
                }
                for id in (1...700).reversed() {
                    stream.chunk(UInt32(id) &* 2_654_435_761, StreamBytes(hex: "01 62"))
                }
            }
        }.bytes
        let run = try FlowRun(bytes, limits: small, segment: { 100 })
        #expect(run.failure == nil)
        #expect(run.openChunksMaximum == 700)
        let keys = (0..<3).flatMap { round in
            (1...700).reversed().map { Array("key \(round) \($0)".utf8) }
        }
        #expect(run.entries.map(\.key) == keys)
        #expect(run.entries.allSatisfy { $0.value == [2, 1, 0x61, 1, 0x62] })
    }

    /// Chunks of many entries of every type that is split, interleaved at random with each other,
    /// with whole keys, database changes, journal blobs and compressed blobs.
    @Test(arguments: 1...12)
    func interleavedChunks(_ seed: Int) throws {
        var maker = ChunkedStreamMaker(seed: UInt64(seed))
        try maker.make(entryCount: 150, openMaximum: 50)
        for (segment, limits) in [
            (Int.max, DecoderLimits()), (1, DecoderLimits()), (1000, small), (7, small),
        ] {
            let run = try FlowRun(maker.stream.bytes, limits: limits, segment: { segment })
            #expect(run.failure == nil, "seed \(seed)")
            let isSame = run.events == maker.events
            #expect(isSame, "seed \(seed), segment \(segment), window \(limits.windowBytes)")
            #expect(run.openChunksMaximum > 20)
        }
    }
}

/// Makes a stream of interleaved chunks, and the events that it must give.
private struct ChunkedStreamMaker {
    var stream = StreamBytes()
    var events: [StreamEvent] = []
    private var generator: SeededGenerator
    private var database = 0

    private struct Open {
        var id: UInt32
        var entry: StreamEvent.Entry
        /// The value's pieces that must not be cut.
        var units: [[UInt8]]
        var next = 0
    }

    init(seed: UInt64) {
        generator = SeededGenerator(seed: seed)
    }

    private mutating func random(_ range: ClosedRange<Int>) -> Int {
        Int.random(in: range, using: &generator)
    }

    private mutating func text() -> [UInt8] {
        let size = random(0...20) == 0 ? random(0...6000) : random(0...90)
        return (0..<size).map { _ in UInt8(random(97...122)) }
    }

    /// One unit of a value of that type (protocol.md 3.7.1).
    private mutating func unit(_ type: ValueType) -> [UInt8] {
        var bytes = StreamBytes()
        switch type {
        case .set: bytes.string(text())
        case .hash, .streamListpacks3:
            bytes.string(text())
            bytes.string(text())
        case .setWithExpiry:
            bytes.string(text())
            bytes.raw([0xc0, 0xff])
        case .hashWithExpiry:
            bytes.string(text())
            bytes.string(text())
            bytes.raw([0xc2, 1, 2, 3, 4])
        case .zset2:
            bytes.string(text())
            bytes.little(UInt64(random(0...1_000_000)))
        default:
            bytes.length(2)
            bytes.string(text())
        }
        return bytes.bytes
    }

    private mutating func value(_ type: ValueType) -> [[UInt8]] {
        let count = random(1...25)
        var units = (0..<count).map { _ in unit(type) }
        units[0] = StreamBytes.make { $0.length(UInt64(count)) }.bytes + units[0]
        if type == .streamListpacks3 { units[count - 1] += [3, 3, 0, 1, 1, 1, 2, 4, 0] }
        return units
    }

    private mutating func entry(_ number: Int, _ type: ValueType, value: [UInt8])
        -> StreamEvent.Entry
    {
        let key = Array("key:\(number)".utf8)
        return key.withByteView { keyView in
            value.withByteView { valueView in
                StreamEvent.Entry(
                    SnapshotEntry(
                        database: database, type: type, key: keyView,
                        expiryMilliseconds: number % 3 == 0 ? Int64(number + 1) : 0,
                        isSticky: number % 4 == 0, value: valueView))
            }
        }
    }

    private static func head(_ entry: StreamEvent.Entry) -> [UInt8] {
        StreamBytes.make {
            if entry.expiryMilliseconds > 0 {
                $0.byte(0xfc)
                $0.little(entry.expiryMilliseconds)
            }
            if entry.isSticky { $0.raw([0xdc, 1, 0, 0, 0]) }
            $0.byte(entry.type.rawValue)
            $0.string(entry.key)
        }.bytes
    }

    mutating func make(entryCount: Int, openMaximum: Int) throws {
        let types: [ValueType] = [
            .set, .hash, .setWithExpiry, .hashWithExpiry, .zset2, .listQuicklist2,
            .streamListpacks3,
        ]
        stream.header()
        var open: [Open] = []
        var made = 0
        while made < entryCount || !open.isEmpty {
            var items = StreamBytes()
            for _ in 0..<random(1...6) {
                let isNew = open.isEmpty || open.count < openMaximum && random(0...1) == 0
                if made < entryCount && isNew {
                    let type = types[random(0...types.count - 1)]
                    let units = value(type)
                    let whole = entry(made, type, value: units.flatMap { $0 })
                    // Ids come again once they are free.
                    let id = Self.freeID(open)
                    open.append(Open(id: id, entry: whole, units: units))
                    made += 1
                    addChunk(&open, open.count - 1, &items)
                } else if !open.isEmpty {
                    addChunk(&open, random(0...open.count - 1), &items)
                }
                addOther(&items)
            }
            switch random(0...3) {
            case 0: try stream.blob(.lz4, items)
            case 1: try stream.blob(.zstd, items)
            default: stream.raw(items)
            }
        }
    }

    private static func freeID(_ open: [Open]) -> UInt32 {
        let used = Set(open.map(\.id))
        var id: UInt32 = 1
        while used.contains(id) { id += 1 }
        return id
    }

    private mutating func addChunk(_ open: inout [Open], _ index: Int, _ items: inout StreamBytes) {
        var payload: [UInt8] = open[index].next == 0 ? Self.head(open[index].entry) : []
        let left = open[index].units.count - open[index].next
        for _ in 0..<random(1...left) {
            payload += open[index].units[open[index].next]
            open[index].next += 1
        }
        items.chunk(open[index].id, .make { $0.raw(payload) })
        if open[index].next == open[index].units.count {
            events.append(.entry(open.remove(at: index).entry))
        }
    }

    /// Now and then a whole key, a database change or a journal blob.
    private mutating func addOther(_ items: inout StreamBytes) {
        switch random(0...9) {
        case 0:
            database = random(0...20)
            items.byte(0xfe)
            items.length(UInt64(database))
        case 1:
            let whole = entry(100_000, .string, value: [1, 0x76])
            items.raw(Self.head(whole) + [1, 0x76])
            events.append(.entry(whole))
        case 2:
            items.raw(StreamBytes(hex: "D2 01 01 0D"))
            let record = StreamEvent.Record(JournalRecord(operation: .ping, database: 0))
            events.append(.journalBlob(count: 1, [record]))
        default:
            break
        }
    }
}

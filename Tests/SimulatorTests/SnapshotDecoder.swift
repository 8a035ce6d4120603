import Bytes

@testable import DragonflySimulator

/// A slow, plain decoder of what the generator sends, written from protocol.md sections 3 and 5
/// alone: it shares nothing with the encoder but `SyntheticValue`, the form of its results.
struct SnapshotDecoder {
    struct Failure: Error {
        let text: String
        let position: Int
    }

    struct Entry: Equatable {
        let database: Int
        let expiry: Int64?
        let type: UInt8
        let key: [UInt8]
        let value: SyntheticValue
        let chunks: Int
    }

    struct Command: Equatable {
        let database: Int
        let words: [[UInt8]]
    }

    private(set) var entries: [Entry] = []
    private(set) var auxiliary: [String: [UInt8]] = [:]
    private(set) var blobCommands: [Command] = []
    /// Compressed blobs by opcode.
    private(set) var compressedBlobs: [UInt8: Int] = [:]
    private(set) var offset: UInt64 = 0
    private(set) var ended = false
    private var database = -1
    private var open: [UInt32: (database: Int, bytes: [UInt8], chunks: Int)] = [:]

    /// Decodes everything from the header to the end mark; returns what follows it.
    mutating func decode(_ bytes: [UInt8]) throws -> [UInt8] {
        var reader = Reader(bytes)
        guard try reader.take(9) == Array("REDIS0009".utf8) else { throw reader.failure("header") }
        while !ended { try item(&reader) }
        return Array(bytes[reader.position...])
    }

    private mutating func item(_ reader: inout Reader) throws {
        let start = reader.position
        switch try reader.byte() {
        case 0xfa:
            let name = try reader.string()
            auxiliary[String(decoding: name, as: UTF8.self)] = try reader.string()
        case 0xfe: database = try reader.length()
        case 0xc8: guard try reader.little(8) == 0 else { throw reader.failure("C8") }
        case 0xd3: offset = try reader.little(8)
        case 0xff:
            guard try reader.little(8) == 0 else { throw reader.failure("FF") }
            guard open.isEmpty else { throw reader.failure("open chunks") }
            ended = true
        case 0xd2:
            guard try reader.length() == 1 else { throw reader.failure("blob count") }
            var journal = JournalDecoder(next: 0)
            blobCommands += try journal.decode(try reader.string())
        case let opcode where opcode == 0xc9 || opcode == 0xca:
            compressedBlobs[opcode, default: 0] += 1
            let frame = try reader.string()
            var inner = Reader(try Self.decompress(frame, opcode == 0xca ? .lz4 : .zstd))
            while !inner.isAtEnd { try item(&inner) }
        case 0xe0: try chunk(&reader)
        default:
            reader.position = start
            let entry = try Self.entry(&reader, database, 0)
            guard let entry else { throw reader.failure("incomplete entry") }
            entries.append(entry)
        }
    }

    private mutating func chunk(_ reader: inout Reader) throws {
        let id = UInt32(try reader.little(4))
        let payload = try reader.take(Int(try reader.little(4)))
        guard id > 0, !payload.isEmpty else { throw reader.failure("chunk") }
        var entry = open[id] ?? (database, [], 0)
        entry.bytes += payload
        entry.chunks += 1
        open[id] = entry
        var inner = Reader(entry.bytes)
        guard let complete = try? Self.entry(&inner, entry.database, entry.chunks),
            inner.isAtEnd
        else { return }
        entries.append(complete)
        open[id] = nil
    }

    static func decompress(
        _ frame: [UInt8], _ format: FrameDecompressor.Format
    ) throws -> [UInt8] {
        var decompressor = FrameDecompressor(format)
        var ring = try MirroredRing(capacity: 4 << 20)
        return try frame.withByteView { view in
            let result = decompressor.decompress(view, into: &ring)
            guard result.status == .end, result.consumed == view.count else {
                throw Failure(text: "frame", position: 0)
            }
            return ring.readable.array()
        }
    }

    private static func entry(
        _ reader: inout Reader, _ database: Int, _ chunks: Int
    ) throws -> Entry? {
        var expiry: Int64?
        var type = try reader.byte()
        if type == 0xfc {
            expiry = Int64(bitPattern: try reader.little(8))
            type = try reader.byte()
        }
        let key = try reader.string()
        return Entry(
            database: database, expiry: expiry, type: type, key: key,
            value: try value(type, &reader), chunks: chunks)
    }

    private static func value(_ type: UInt8, _ reader: inout Reader) throws -> SyntheticValue {
        switch type {
        case 0: return .string(try reader.string())
        case 2: return .set(try reader.strings(try reader.length()))
        case 4: return .hash(pairs(try reader.strings(2 * (try reader.length()))))
        case 5:
            return .sortedSet(
                try (0..<(try reader.length())).map { _ in
                    SyntheticMember(
                        member: try reader.string(),
                        score: Double(bitPattern: try reader.little(8)))
                })
        case 11:
            var intset = Reader(try reader.string())
            let width = Int(try intset.little(4))
            let members = try (0..<Int(try intset.little(4))).map { _ in
                Array(String(try intset.signed(width)).utf8)
            }
            guard intset.isAtEnd else { throw intset.failure("intset") }
            return .set(members)
        case 16: return .hash(pairs(try listpack(try reader.string())))
        case 17:
            return .sortedSet(
                pairs(try listpack(try reader.string())).map {
                    let text = String(decoding: $0.value, as: UTF8.self)
                    return SyntheticMember(member: $0.field, score: Double(text) ?? .nan)
                })
        case 18:
            var elements: [[UInt8]] = []
            for _ in 0..<(try reader.length()) {
                let isPlain = try reader.length() == 1
                let node = try reader.string()
                elements += isPlain ? [node] : try listpack(node)
            }
            return .list(elements)
        case 21: return .stream(try stream(&reader))
        default: throw reader.failure("type \(type)")
        }
    }

    private static func pairs(_ items: [[UInt8]]) -> [SyntheticField] {
        stride(from: 0, to: items.count - 1, by: 2).map {
            SyntheticField(field: items[$0], value: items[$0 + 1])
        }
    }

    /// The elements as text; the header and every back-length are checked.
    static func listpack(_ bytes: [UInt8]) throws -> [[UInt8]] {
        var reader = Reader(bytes)
        guard try reader.little(4) == UInt64(bytes.count) else { throw reader.failure("total") }
        let count = Int(try reader.little(2))
        var elements: [[UInt8]] = []
        while true {
            let start = reader.position
            let lead = try reader.byte()
            if lead == 0xff { break }
            switch lead {
            case ..<0x80: elements.append(Array(String(lead).utf8))
            case ..<0xc0: elements.append(try reader.take(Int(lead & 0x3f)))
            case ..<0xe0:
                let value = Int(lead & 0x1f) << 8 | Int(try reader.byte())
                elements.append(Array(String(value >= 4096 ? value - 8192 : value).utf8))
            case ..<0xf0:
                elements.append(try reader.take(Int(lead & 15) << 8 | Int(try reader.byte())))
            case 0xf0: elements.append(try reader.take(Int(try reader.little(4))))
            default:
                let width = [0xf1: 2, 0xf2: 3, 0xf3: 4, 0xf4: 8][Int(lead)] ?? 0
                elements.append(Array(String(try reader.signed(width)).utf8))
            }
            // Read backwards, as the format wants it: low bits last, continuation in bit 7.
            let size = reader.position - start
            let width = size <= 127 ? 1 : size < 16383 ? 2 : size < 2_097_151 ? 3 : 4
            var back = 0
            for byte in try reader.take(width) { back = back << 7 | Int(byte & 0x7f) }
            guard back == size else { throw reader.failure("back length") }
        }
        guard reader.isAtEnd, count == min(elements.count, 65535) else {
            throw reader.failure("listpack count")
        }
        return elements
    }

    private static func stream(_ reader: inout Reader) throws -> SyntheticStream {
        var entries: [SyntheticStream.Entry] = []
        for _ in 0..<(try reader.length()) {
            var idReader = Reader(try reader.string())
            let node = try idReader.rawId()
            let items = try listpack(try reader.string())
            let text = items.map { String(decoding: $0, as: UTF8.self) }
            guard text[1] == "0", text[2] == "1", text[4] == "0", let count = Int(text[0]) else {
                throw reader.failure("master entry")
            }
            for number in 0..<count {
                let at = 5 + 5 * number
                guard text[at] == "2", text[at + 4] == "4", let milliseconds = UInt64(text[at + 1]),
                    let sequence = Int64(text[at + 2])
                else { throw reader.failure("stream entry") }
                let id = StreamID(
                    milliseconds: node.milliseconds + milliseconds,
                    sequence: UInt64(Int64(node.sequence) + sequence))
                entries.append(
                    .init(id: id, fields: [.init(field: items[3], value: items[at + 3])]))
            }
        }
        let length = try reader.length()
        let (last, first) = (try reader.id(), try reader.id())
        let deleted = try reader.id()
        let added = try reader.length()
        guard length == entries.count, added == length, last == entries.last?.id,
            first == entries.first?.id, deleted == .init(milliseconds: 0, sequence: 0)
        else { throw reader.failure("stream metadata") }
        guard try reader.length() == 1 else { return .init(entries: entries, group: nil) }
        return .init(entries: entries, group: try group(&reader, entries))
    }

    private static func group(
        _ reader: inout Reader, _ entries: [SyntheticStream.Entry]
    ) throws -> SyntheticStream.Group {
        let name = try reader.string()
        let last = try reader.id()
        let read = try reader.length()
        let pending = try (0..<(try reader.length())).map { _ in
            (try reader.rawId(), try reader.little(8), try reader.length())
        }
        guard try reader.length() == 1 else { throw reader.failure("consumers") }
        let consumer = try reader.string()
        let (seen, active) = (try reader.little(8), try reader.little(8))
        let owned = try (0..<(try reader.length())).map { _ in try reader.rawId() }
        guard pending.map(\.0) == owned, owned == entries.prefix(read).map(\.id),
            owned.last == last, seen == active, pending.allSatisfy({ $0.1 == seen && $0.2 == 1 })
        else { throw reader.failure("group") }
        return .init(
            name: name, consumer: consumer, delivered: read,
            deliveryMilliseconds: Int64(seen))
    }
}

/// The journal as protocol.md 5.2 and 5.4 lay it out, its LSN markers checked.
struct JournalDecoder {
    /// The LSN of the next entry.
    private(set) var next: UInt64
    private(set) var markers = 0
    private var database = 0

    init(next: UInt64) {
        self.next = next
    }

    mutating func decode(_ bytes: [UInt8]) throws -> [SnapshotDecoder.Command] {
        var reader = Reader(bytes)
        var commands: [SnapshotDecoder.Command] = []
        while !reader.isAtEnd {
            switch try reader.length() {
            case 6: database = try reader.length()
            case 15:
                markers += 1
                guard UInt64(try reader.length()) == next - 1 else { throw reader.failure("LSN") }
            case 10:
                guard try reader.length() == 0, try reader.length() == 1 else {
                    throw reader.failure("txid")
                }
                let count = try reader.length()
                let total = try reader.length()
                let words = try (0..<count).map { _ in try reader.take(try reader.length()) }
                guard words.reduce(0, { $0 + $1.count }) == total else {
                    throw reader.failure("total")
                }
                commands.append(.init(database: database, words: words))
                next += 1
            default: throw reader.failure("journal opcode")
            }
        }
        return commands
    }
}

struct Reader {
    private let bytes: [UInt8]
    var position = 0

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    var isAtEnd: Bool { position == bytes.count }

    func failure(_ text: String) -> SnapshotDecoder.Failure {
        .init(text: text, position: position)
    }

    mutating func take(_ count: Int) throws -> [UInt8] {
        guard count >= 0, bytes.count - position >= count else { throw failure("end of bytes") }
        defer { position += count }
        return Array(bytes[position..<position + count])
    }

    /// What was read since `start`.
    func bytes(from start: Int) -> [UInt8] { Array(bytes[start..<position]) }

    mutating func byte() throws -> UInt8 { try take(1)[0] }

    mutating func little(_ width: Int) throws -> UInt64 {
        try take(width).reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    mutating func signed(_ width: Int) throws -> Int64 {
        let shift = UInt64(64 - 8 * width)
        return Int64(bitPattern: try little(width) << shift) >> Int64(shift)
    }

    private mutating func big(_ width: Int) throws -> UInt64 {
        try take(width).reduce(0) { $0 << 8 | UInt64($1) }
    }

    mutating func length() throws -> Int {
        let first = try byte()
        switch first {
        case ..<0x40: return Int(first)
        case ..<0x80: return Int(first & 0x3f) << 8 | Int(try byte())
        case 0x80: return Int(try big(4))
        case 0x81: return Int(try big(8))
        default: throw failure("length")
        }
    }

    mutating func string() throws -> [UInt8] {
        let start = position
        switch try byte() {
        case 0xc0: return Array(String(try signed(1)).utf8)
        case 0xc1: return Array(String(try signed(2)).utf8)
        case 0xc2: return Array(String(try signed(4)).utf8)
        case 0xc3:
            let size = try length()
            let original = try length()
            var buffer = try RegionBuffer()
            let isComplete = try take(size).withByteView { view in
                try LZF.decompress(view, originalCount: original, into: &buffer)
            }
            guard isComplete else { throw failure("LZF") }
            return buffer.view.array()
        default:
            position = start
            return try take(try length())
        }
    }

    mutating func strings(_ count: Int) throws -> [[UInt8]] {
        try (0..<count).map { _ in try string() }
    }

    mutating func id() throws -> StreamID {
        .init(milliseconds: UInt64(try length()), sequence: UInt64(try length()))
    }

    mutating func rawId() throws -> StreamID {
        .init(milliseconds: try big(8), sequence: try big(8))
    }
}

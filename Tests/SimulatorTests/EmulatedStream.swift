import Bytes

@testable import DragonflySimulator

/// Reads what an emulated master sends on one flow, from its first byte on, written from
/// protocol.md sections 3 and 5 alone. Values stay as they are: whole payloads, to be restored somewhere.
struct EmulatedStream {
    struct Entry: Equatable {
        let database: Int
        /// Unix milliseconds, 0 for none.
        let expiry: Int64
        let key: [UInt8]
        /// Type byte and value.
        let payload: [UInt8]
    }

    struct Record: Equatable {
        let operation: UInt8
        let database: Int
        let transaction: UInt64
        let shardCount: Int
        let words: [[UInt8]]

        var text: String {
            words.map { String(decoding: $0, as: UTF8.self) }.joined(separator: " ")
        }
    }

    enum Item: Equatable {
        case entry(Entry)
        case blob(Record)
        case fullSyncEnd
        case record(Record)
    }

    private enum Phase {
        case header
        case snapshot
        case token
        case journal
    }

    private(set) var items: [Item] = []
    /// The LSN of the next entry: that of D3, or the one asked for, and what came since.
    private(set) var next: UInt64 = 0
    private(set) var markers = 0
    private(set) var auxiliary: [String: [UInt8]] = [:]
    private(set) var scripts: [[UInt8]] = []
    private(set) var chunks = 0
    private(set) var mostOpenChunks = 0
    private let token: [UInt8]
    private var phase: Phase
    private var buffer: [UInt8] = []
    private var database = -1
    private var open: [UInt32: (database: Int, bytes: [UInt8])] = [:]

    /// - Parameter lsn: where a resumed flow begins without a snapshot; nil with one.
    init(token: String, resumesAt lsn: UInt64? = nil) {
        self.token = Array(token.utf8)
        phase = lsn == nil ? .header : .journal
        next = lsn ?? 0
    }

    var isStable: Bool { phase == .journal }
    var hasFullSyncEnd: Bool { items.contains(.fullSyncEnd) }

    var entries: [Entry] {
        items.compactMap { if case .entry(let entry) = $0 { entry } else { nil } }
    }
    var blobs: [Record] {
        items.compactMap { if case .blob(let record) = $0 { record } else { nil } }
    }
    var records: [Record] {
        items.compactMap { if case .record(let record) = $0 { record } else { nil } }
    }

    /// Takes further bytes of the flow and reads what is complete.
    mutating func feed(_ bytes: [UInt8]) throws {
        buffer += bytes
        var reader = Reader(buffer)
        var start = 0
        while start < buffer.count {
            do {
                try step(&reader)
                start = reader.position
            } catch let failure as SnapshotDecoder.Failure where failure.text == "end of bytes" {
                break
            }
        }
        buffer.removeFirst(start)
    }

    private mutating func step(_ reader: inout Reader) throws {
        switch phase {
        case .header:
            guard try reader.take(9) == Array("REDIS0009".utf8) else {
                throw reader.failure("header")
            }
            phase = .snapshot
        case .snapshot: try item(&reader)
        case .token:
            guard try reader.take(40) == token else { throw reader.failure("token") }
            phase = .journal
        case .journal: try journalItem(&reader)
        }
    }

    // MARK: Snapshot

    private mutating func item(_ reader: inout Reader) throws {
        let start = reader.position
        switch try reader.byte() {
        case 0xfa:
            let name = String(decoding: try reader.string(), as: UTF8.self)
            let value = try reader.string()
            auxiliary[name] = value
            if name == "lua" { scripts.append(value) }
        case 0xfe: database = try reader.length()
        case 0xc8:
            guard try reader.little(8) == 0 else { throw reader.failure("C8") }
            items.append(.fullSyncEnd)
        case 0xd3: next = try reader.little(8)
        case 0xff:
            guard try reader.little(8) == 0 else { throw reader.failure("FF") }
            guard open.isEmpty else { throw reader.failure("open chunks") }
            phase = .token
        case 0xd2:
            guard try reader.length() == 1 else { throw reader.failure("blob count") }
            var body = Reader(try reader.string())
            items.append(.blob(try Self.complete { try Self.record(&body) }))
            guard body.isAtEnd else { throw reader.failure("blob") }
        case let opcode where opcode == 0xc9 || opcode == 0xca:
            let frame = try reader.string()
            var inner = Reader(
                try SnapshotDecoder.decompress(frame, opcode == 0xca ? .lz4 : .zstd))
            while !inner.isAtEnd { try Self.complete { try item(&inner) } }
        case 0xe0: try chunk(&reader)
        default:
            reader.position = start
            items.append(.entry(try Self.entry(&reader, database)))
        }
    }

    private mutating func chunk(_ reader: inout Reader) throws {
        let id = UInt32(try reader.little(4))
        let payload = try reader.take(Int(try reader.little(4)))
        guard id > 0, !payload.isEmpty else { throw reader.failure("chunk") }
        chunks += 1
        var entry = open[id] ?? (database, [])
        entry.bytes += payload
        var inner = Reader(entry.bytes)
        if let complete = try? Self.entry(&inner, entry.database), inner.isAtEnd {
            items.append(.entry(complete))
            open[id] = nil
        } else {
            open[id] = entry
            mostOpenChunks = max(mostOpenChunks, open.count)
        }
    }

    /// Inside of something complete a missing byte is damage.
    private static func complete<Result>(_ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch let failure as SnapshotDecoder.Failure where failure.text == "end of bytes" {
            throw SnapshotDecoder.Failure(text: "truncated inside", position: failure.position)
        }
    }

    private static func entry(_ reader: inout Reader, _ database: Int) throws -> Entry {
        var expiry: Int64 = 0
        var type = try reader.byte()
        if type == 0xfc {
            expiry = Int64(bitPattern: try reader.little(8))
            type = try reader.byte()
        }
        if type == 0xdc {
            if try reader.little(4) & 2 != 0 { _ = try reader.little(4) }
            type = try reader.byte()
        }
        let key = try reader.string()
        let start = reader.position
        try skipValue(type, &reader)
        return Entry(
            database: database, expiry: expiry, key: key,
            payload: [type] + reader.bytes(from: start))
    }

    private static func skipValue(_ type: UInt8, _ reader: inout Reader) throws {
        switch type {
        case 0, 11, 12, 13, 16, 17, 20: _ = try reader.string()
        case 2, 14: _ = try reader.strings(try reader.length())
        case 4, 32: _ = try reader.strings(2 * (try reader.length()))
        case 31: _ = try reader.strings(3 * (try reader.length()))
        case 5:
            for _ in 0..<(try reader.length()) {
                _ = try reader.string()
                _ = try reader.little(8)
            }
        case 18:
            for _ in 0..<(try reader.length()) {
                _ = try reader.length()
                _ = try reader.string()
            }
        case 15, 19, 21: try skipStream(type, &reader)
        default: throw reader.failure("type \(type)")
        }
    }

    private static func skipStream(_ type: UInt8, _ reader: inout Reader) throws {
        _ = try reader.strings(2 * (try reader.length()))
        for _ in 0..<(type == 15 ? 3 : 8) { _ = try reader.wideLength() }
        for _ in 0..<(try reader.length()) {
            _ = try reader.string()
            for _ in 0..<(type == 15 ? 2 : 3) { _ = try reader.wideLength() }
            for _ in 0..<(try reader.length()) {
                _ = try reader.take(24)
                _ = try reader.length()
            }
            for _ in 0..<(try reader.length()) {
                _ = try reader.string()
                _ = try reader.take(type == 21 ? 16 : 8)
                _ = try reader.take(16 * (try reader.length()))
            }
        }
    }

    // MARK: Journal

    private mutating func journalItem(_ reader: inout Reader) throws {
        let start = reader.position
        if try reader.length() == 15 {
            markers += 1
            guard UInt64(try reader.length()) == next - 1 else { throw reader.failure("LSN") }
            return
        }
        reader.position = start
        items.append(.record(try Self.record(&reader)))
        next += 1
    }

    private static func record(_ reader: inout Reader) throws -> Record {
        var operation = try reader.length()
        var database = -1
        if operation == 6 {
            database = try reader.length()
            operation = try reader.length()
        }
        if operation == 13 {
            return Record(
                operation: 13, database: database, transaction: 0, shardCount: 0, words: [])
        }
        guard (9...12).contains(operation), database >= 0 else {
            throw reader.failure("journal opcode \(operation)")
        }
        let transaction = try reader.wideLength()
        let shards = try reader.length()
        var words: [[UInt8]] = []
        if operation != 12 {
            let count = try reader.length()
            let total = try reader.length()
            words = try (0..<count).map { _ in try reader.take(try reader.length()) }
            guard words.reduce(0, { $0 + $1.count }) == total else {
                throw reader.failure("total")
            }
        }
        return Record(
            operation: UInt8(operation), database: database, transaction: transaction,
            shardCount: shards, words: words)
    }
}

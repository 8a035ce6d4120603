import Bytes

@testable import DragonflySimulator

/// A slow, plain decoder of snapshots, written from protocol.md sections 3 and 5 alone: it shares
/// nothing with the encoders but some forms of their results.
struct SnapshotDecoder {
    struct Failure: Error {
        let text: String
        let position: Int
    }

    struct Entry: Equatable {
        let database: Int
        let expiry: Int64?
        let mask: UInt32
        let memcachedFlags: UInt32?
        let type: UInt8
        let key: [UInt8]
        let value: PlainValue
        /// 0 for an entry that came whole.
        let chunks: Int
        let packedStrings: Int

        init(_ assembly: EntryAssembly) {
            database = assembly.database
            expiry = assembly.expiry
            mask = assembly.mask
            memcachedFlags = assembly.memcachedFlags
            type = assembly.type
            key = assembly.key
            value = assembly.value
            chunks = assembly.chunks
            packedStrings = assembly.packedStrings
        }

        var name: KeyName { KeyName(database: database, key: key) }
    }

    /// What a snapshot holds, in order.
    enum Item: Equatable {
        /// Number of the entry in `entries`.
        case entry(Int)
        case chunk(id: UInt32)
        case select
        case journal(JournalEntry)
        case fullSyncEnd
    }

    private(set) var entries: [Entry] = []
    private(set) var auxiliary: [String: [UInt8]] = [:]
    /// Names of the AUX fields, in order.
    private(set) var auxiliaryNames: [String] = []
    /// Values of the AUX field `lua`.
    private(set) var scripts: [[UInt8]] = []
    private(set) var items: [Item] = []
    private(set) var blobCommands: [JournalEntry] = []
    /// Compressed blobs by opcode.
    private(set) var compressedBlobs: [UInt8: Int] = [:]
    /// Their sizes when decompressed.
    private(set) var blobSizes: [Int] = []
    /// The largest number of chunk ids that were open at once.
    private(set) var openHigh = 0
    /// The full-sync end lay inside a compressed blob.
    private(set) var endedInBlob = false
    private(set) var offset: UInt64 = 0
    private(set) var ended = false
    private var database: Int?
    private var open: [UInt32: EntryAssembly] = [:]
    private var blobDepth = 0

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
            let name = String(decoding: try reader.string(), as: UTF8.self)
            auxiliaryNames.append(name)
            auxiliary[name] = try reader.string()
            if name == "lua", let script = auxiliary[name] { scripts.append(script) }
        case 0xfe:
            database = try reader.length()
            items.append(.select)
        case 0xc8:
            guard try reader.little(8) == 0 else { throw reader.failure("C8") }
            guard open.isEmpty else { throw reader.failure("C8 with open chunks") }
            items.append(.fullSyncEnd)
            endedInBlob = blobDepth > 0
        case 0xd3: offset = try reader.little(8)
        case 0xff:
            guard try reader.little(8) == 0, blobDepth == 0 else { throw reader.failure("FF") }
            guard open.isEmpty else { throw reader.failure("open chunks") }
            ended = true
        case 0xd2: try journal(&reader)
        case let opcode where opcode == 0xc9 || opcode == 0xca: try blob(opcode, &reader)
        case 0xe0: try chunk(&reader)
        default:
            reader.position = start
            guard let database else { throw reader.failure("key before FE") }
            var assembly = EntryAssembly(database: database)
            try assembly.readWhole(&reader)
            finish(assembly)
        }
    }

    private mutating func finish(_ assembly: EntryAssembly) {
        items.append(.entry(entries.count))
        entries.append(Entry(assembly))
    }

    private mutating func journal(_ reader: inout Reader) throws {
        guard try reader.length() == 1 else { throw reader.failure("blob count") }
        var journal = JournalDecoder(next: 0)
        let commands = try journal.decode(try reader.string())
        guard commands.count == 1 else { throw reader.failure("entries in a blob") }
        blobCommands += commands
        items.append(.journal(commands[0]))
        // The key of a command, where it is the first argument, must be complete (3.7.3).
        let key = commands[0].words.dropFirst().first
        guard !open.values.contains(where: { $0.key == key && $0.database == commands[0].database })
        else { throw reader.failure("journal entry between the chunks of its key") }
    }

    private mutating func blob(_ opcode: UInt8, _ reader: inout Reader) throws {
        guard blobDepth == 0 else { throw reader.failure("nested blob") }
        let frame = try reader.string()
        var inner = Reader(try Self.decompress(frame, opcode == 0xca ? .lz4 : .zstd))
        compressedBlobs[opcode, default: 0] += 1
        blobDepth += 1
        while !inner.isAtEnd { try item(&inner) }
        blobDepth -= 1
        blobSizes.append(inner.position)
    }

    private mutating func chunk(_ reader: inout Reader) throws {
        let id = UInt32(try reader.little(4))
        let payload = try reader.take(Int(try reader.little(4)))
        guard id > 0, id < .max, let database else { throw reader.failure("chunk") }
        items.append(.chunk(id: id))
        var assembly = open[id] ?? EntryAssembly(database: database)
        let isComplete = try assembly.readChunk(payload)
        open[id] = assembly
        openHigh = max(openHigh, open.count)
        guard isComplete else { return }
        finish(assembly)
        open[id] = nil
    }

    static func decompress(
        _ frame: [UInt8], _ format: FrameDecompressor.Format
    ) throws -> [UInt8] {
        var decompressor = FrameDecompressor(format)
        var ring = try MirroredRing(capacity: 16 << 20)
        return try frame.withByteView { view in
            let result = decompressor.decompress(view, into: &ring)
            guard result.status == .end, result.consumed == view.count else {
                throw Failure(text: "frame", position: 0)
            }
            return ring.readable.array()
        }
    }
}

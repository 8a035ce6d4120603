import Bytes

/// How a snapshot is packed (protocol.md 3.5 and 3.7).
public struct SnapshotOptions: Sendable, Equatable {
    public enum Compression: Sendable, Equatable {
        case none
        case lz4
        case zstd
    }

    public var compression = Compression.lz4
    /// Collections larger than this are sent in tagged chunks; 0 sends all in one piece.
    public var chunkBytes = 65536
    /// Encodes all flows before the server listens, in memory, so that encoding costs nothing while
    /// a replica is measured.
    public var isPrepared = false

    public init() {}
}

/// Where a snapshot's bytes go.
protocol SnapshotOutput: AnyObject {
    func write(_ bytes: ByteView) throws(SystemError)
}

extension FlowSink: SnapshotOutput {}

/// Keeps a snapshot in memory.
final class SnapshotMemory: SnapshotOutput, @unchecked Sendable {
    // Proof of Sendable: written by one thread before it is shared, only read afterwards.
    private var buffer: RegionBuffer

    init() throws(SystemError) {
        buffer = try RegionBuffer()
    }

    func write(_ bytes: ByteView) throws(SystemError) {
        try buffer.append(bytes)
    }

    var view: ByteView { buffer.view }
}

/// Builds one flow's snapshot: items are collected, then written plain or as a compressed blob.
struct SnapshotWriter: ~Copyable {
    /// A flush is due when this much is pending; Dragonfly's blobs are about as large.
    private static let flushBytes = 32 << 10
    private static let noDatabase = -1
    /// Strings above this are written in pieces.
    private static let pieceBytes = BlobPacker.largestBlobBytes

    let data: SyntheticData
    let options: SnapshotOptions
    private let output: any SnapshotOutput
    private var packer: BlobPacker
    private var database = noDatabase
    private var nextChunkId: UInt32 = 1
    /// The chunk id of the entry in hand, 0 before its first chunk.
    private var openChunkId: UInt32 = 0
    // The entry in hand, and scratch room for the parts of a collection.
    var entry: RegionBuffer
    var elements: RegionBuffer
    var first: RegionBuffer
    var second: RegionBuffer
    // What all strings have in common: type byte, key length and prefix; length of the value.
    private var stringHead: RegionBuffer
    private var stringLength: RegionBuffer

    init(
        data: SyntheticData, options: SnapshotOptions, output: any SnapshotOutput
    ) throws(SystemError) {
        let format: FrameDecompressor.Format? =
            switch options.compression {
            case .none: nil
            case .lz4: .lz4
            case .zstd: .zstd
            }
        let packer = try BlobPacker(format, output: output)
        let entry = try RegionBuffer()
        let elements = try RegionBuffer()
        let first = try RegionBuffer()
        let second = try RegionBuffer()
        var stringHead = try RegionBuffer()
        var stringLength = try RegionBuffer()
        let prefix = ByteView(SyntheticData.Kind.string.prefix)
        try stringHead.append(byte: 0)
        try stringHead.append(length: prefix.count + 8)
        try stringHead.append(prefix)
        try stringLength.append(length: data.strings.elementBytes)
        self.data = data
        self.options = options
        self.output = output
        self.packer = packer
        self.entry = entry
        self.elements = elements
        self.first = first
        self.second = second
        self.stringHead = stringHead
        self.stringLength = stringLength
    }

    var mustFlush: Bool { packer.pending.count >= Self.flushBytes }

    /// Writes what is pending. The database is named again before the next key.
    mutating func flush() throws(SystemError) {
        try packer.flush()
        database = Self.noDatabase
    }

    mutating func select(_ wanted: Int) throws(SystemError) {
        guard wanted != database else { return }
        try packer.pending.append(byte: 0xfe)
        try packer.pending.append(length: wanted)
        database = wanted
    }

    /// The header and the AUX fields of a flow.
    mutating func write(_ header: SnapshotHeader) throws(SystemError) {
        try header.append(to: &packer.pending)
        try packer.flush(isRaw: true)
    }

    /// One journal entry as a blob (protocol.md 3.6).
    mutating func appendJournalBlob(_ body: ByteView) throws(SystemError) {
        try packer.pending.append(byte: 0xd2)
        try packer.pending.append(length: 1)
        try packer.pending.append(counted: body)
    }

    /// String key number `index`: the fast way, since benchmarks serve millions.
    mutating func appendString(_ index: Int) throws(SystemError) {
        try select(data.database(index))
        if let expiry = data.expiry(.string, index) { try packer.pending.append(expiry: expiry) }
        try packer.pending.append(stringHead.view)
        try packer.pending.append(little: HexDigits.word(UInt32(truncatingIfNeeded: index)))
        let size = data.strings.elementBytes
        let salt = data.salt(.string, index)
        if size > Self.pieceBytes {
            // It cannot be compressed as a blob, so it need not be held either.
            try packer.pending.append(stringLength.view)
            try data.texts.append(salt, 0, Self.pieceBytes, to: &packer.pending)
            for start in stride(from: Self.pieceBytes, to: size, by: Self.pieceBytes) {
                try packer.flush(isRaw: true)
                let piece = start..<min(start + Self.pieceBytes, size)
                try data.texts.append(salt, 0, piece: piece, to: &packer.pending)
            }
            try packer.flush(isRaw: true)
            database = Self.noDatabase
            return
        }
        if size > 11 {
            try packer.pending.append(stringLength.view)
            return try data.texts.append(salt, 0, size, to: &packer.pending)
        }
        first.clear()
        try data.texts.append(salt, 0, size, to: &first)
        try packer.pending.append(string: first.view)
    }

    // ---- entries that are built in `entry`

    /// Starts an entry: prefixes, type and key.
    mutating func beginEntry(
        type: UInt8, key: ByteView, expiry: Int64?
    ) throws(SystemError) {
        entry.clear(keeping: 1 << 20)
        openChunkId = 0
        if let expiry { try entry.append(expiry: expiry) }
        try entry.append(byte: type)
        try entry.append(string: key)
    }

    /// To be called between two elements of a container: sends a chunk when enough is there.
    mutating func splitIfLarge(database: Int) throws(SystemError) {
        guard options.chunkBytes > 0, entry.count >= options.chunkBytes else { return }
        try appendChunk(database: database)
    }

    /// Completes the entry.
    mutating func endEntry(database: Int) throws(SystemError) {
        if openChunkId != 0 {
            try appendChunk(database: database)
        } else {
            try select(database)
            try packer.pending.append(entry.view)
            nextChunkId &+= 1
        }
    }

    private mutating func appendChunk(database: Int) throws(SystemError) {
        if openChunkId == 0 {
            openChunkId = nextChunkId
            nextChunkId &+= 1
            try select(database)
        }
        guard !entry.isEmpty else { return }
        try packer.pending.append(byte: 0xe0)
        try packer.pending.append(little: openChunkId)
        try packer.pending.append(little: UInt32(entry.count))
        try packer.pending.append(entry.view)
        entry.clear(keeping: 1 << 20)
        if mustFlush { try flush() }
    }
}

/// How an emulated master packs its snapshots.
public struct StreamOptions: Sendable {
    public enum Compression: String, CaseIterable, Sendable {
        case none
        /// LZF per string (compression_mode 1).
        case lzf
        case zstd
        case lz4
    }

    public var compression = Compression.lz4
    /// Entries larger than this come in chunks (tagged from 1.40 on, else contiguous pieces; up to
    /// 1.20 never); 0 never splits.
    public var chunkBytes = 65536
    /// Tagged chunks where the release has them (`serialization_tagged_chunks`).
    public var usesTaggedChunks = true
    /// List nodes with at least so many on either side are kept as LZF; 0 for none.
    public var listCompressDepth = 0
    /// How many entries may have chunks outstanding at once, at least 1.
    public var openEntriesLimit = 8
    /// Search indexes: a name, and the arguments of FT.CREATE after it (protocol.md 3.2).
    public var searchIndexes: [String] = []
    /// Of the order in which chunks of different entries, entries and blobs alternate.
    public var seed: UInt64 = 1

    public init() {}
}

import Bytes

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
    /// Entries larger than this come in chunks (tagged from 1.40 on, else contiguous pieces); 0
    /// never splits.
    public var chunkBytes = 65536
    /// Of the order in which chunks of different entries, entries and blobs alternate.
    public var seed: UInt64 = 1

    public init() {}
}

/// Packs one flow's snapshot (protocol.md 3): entries, in tagged chunks that interleave where the
/// release has them, journal blobs, compressed blobs, and what surrounds them.
final class SnapshotStream {
    /// - Parameter output: takes the finished bytes, in order.
    init(
        release: EmulatedRelease, options: StreamOptions, flow: Int, flowCount: Int,
        output: any SnapshotOutput
    ) throws(SystemError) {
        fatalError("to be written")
    }

    /// Header and AUX fields; on flow 0 also the scripts.
    func writeHeader(scripts: [[UInt8]]) throws(SystemError) {
        fatalError("to be written")
    }

    /// Adds an entry; its chunks may stay open.
    func add(_ entry: EncodedEntry) throws(SystemError) {
        fatalError("to be written")
    }

    /// Writes the remaining chunks of these keys, before a journal entry of theirs.
    func complete(_ names: [KeyName]) throws(SystemError) {
        fatalError("to be written")
    }

    /// Adds a journal entry as a blob.
    func add(_ entry: JournalEntry) throws(SystemError) {
        fatalError("to be written")
    }

    /// Completes everything open and hands over what is pending.
    func flush() throws(SystemError) {
        fatalError("to be written")
    }
}

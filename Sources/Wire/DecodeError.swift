/// Why bytes from the source cannot be decoded. The stream is out of step after it: the session must
/// be dropped, never resumed in place.
public struct DecodeError: Error, Equatable {
    public enum Reason: Equatable, Sendable {
        /// No such opcode or type code at this place (protocol.md 3.3, 3.9, 5.2).
        case unknownOpcode
        /// Not `REDIS` and four digits.
        case badHeader
        /// A first byte that starts no length (protocol.md 3.4.1).
        case badLength
        /// A length above a limit of the decoder or of the format.
        case lengthAboveLimit
        /// A string encoding that does not exist, or one where none may be (protocol.md 3.4.2).
        case badString
        /// LZF, LZ4 or zstd bytes that do not decompress to what was announced.
        case damagedCompression
        /// A listpack, ziplist, intset or stream whose structure is inconsistent.
        case damagedContainer
        /// An item that ends outside its blob or chunk.
        case straddlesBoundary
        /// A chunk id of 0, an empty chunk, or open chunks at the end (protocol.md 3.7.1).
        case badChunk
        /// An item that must not come in this state (protocol.md 4.1).
        case outOfOrder
        /// The announced total or count of a journal record or blob does not match (protocol.md 5.2).
        case badJournalTotal
        /// An LSN marker that is not next - 1: entries were lost or doubled (protocol.md 5.4).
        case markerMismatch
        /// The end-of-stream token is not the one of the FLOW reply (protocol.md 4.1).
        case tokenMismatch
        /// No memory for a value.
        case outOfMemory
    }

    public var reason: Reason
    /// Position in the flow's stream, in bytes after the `DFLY FLOW` reply. Inside a compressed blob
    /// it is the position of the blob.
    public var offset: Int
    /// The opcode or type code in whose item it happened, 0 before the first.
    public var opcode: UInt8

    public init(_ reason: Reason, offset: Int = 0, opcode: UInt8 = 0) {
        self.reason = reason
        self.offset = offset
        self.opcode = opcode
    }
}

/// Sizes above which a decoder refuses instead of growing.
public struct DecoderLimits: Sendable {
    /// An item that does not fit a window of this many bytes is moved to an assembly buffer. The
    /// input ring must hold at least twice as much.
    public var windowBytes: Int
    /// All assembly buffers of one decoder together; what cannot be taken apart (an element, a packed
    /// container, a journal record) is refused above it.
    public var assemblyBytes: Int
    /// A value above this many encoded bytes comes in parts, and is not held; at least the window.
    public var bigValueBytes: Int
    /// A value in parts above this many encoded bytes is refused by name.
    public var valueBytes: Int
    /// JSON values never come in parts.
    public var keepsJSONWhole: Bool

    public init(
        windowBytes: Int = 256 << 10, assemblyBytes: Int = 512 << 20, bigValueBytes: Int = .max,
        valueBytes: Int = .max, keepsJSONWhole: Bool = false
    ) {
        precondition(windowBytes >= 4096)
        self.windowBytes = windowBytes
        self.assemblyBytes = assemblyBytes
        self.bigValueBytes = max(bigValueBytes, windowBytes)
        self.valueBytes = valueBytes
        self.keepsJSONWhole = keepsJSONWhole
    }

    /// Assembly buffers of one decoder together above which a value comes in parts though it is not
    /// big yet: many chunk ids may be open at once.
    var assembliesBytes: Int { bigValueBytes > .max / 8 ? .max : 8 * bigValueBytes }
}

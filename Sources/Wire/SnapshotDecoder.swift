public import Bytes

/// Decodes the snapshot part of a flow, from the `R` of its header to EOF (protocol.md 3).
///
/// Give `next` everything readable; handle the event, whose views stay valid until input is dropped
/// or `next` is called again; then drop the first `consumed` bytes of the input, also after
/// `needMore`, before calling it again. Call it until it wants more.
///
/// Memory is fixed at creation, except for the assembly buffers, which `DecoderLimits` bounds.
/// After an error or `.end` the decoder must not be used any more.
public struct SnapshotDecoder: ~Copyable {
    enum Mode {
        case header
        /// At the start of an item.
        case item
        /// Inside an item that nobody wants whole; `walker` knows where it ends.
        case skipping
        /// Inside the bytes of `current`.
        case assembling
        /// The same, and they go out in parts.
        case parts
        case finished
    }

    /// Bytes at the start of the last input that are done with.
    public private(set) var consumed = 0
    /// Position in the flow of the input's first byte.
    private var inputOffset = 0

    let limits: DecoderLimits
    var mode = Mode.header
    /// The four digits of the header.
    var version = 0
    var database = 0
    /// Releases before v1.39 wrote VECTOR_INDEX differently (protocol.md 3.9.12).
    var hasVectorEntryPoints = true
    var isFullSyncEnded = false
    var hasJournalOffset = false
    /// For errors: the item being decoded.
    private var itemOffset = 0
    var opcode: UInt8 = 0
    /// Bytes of its source that the last call of `decodeItem` is done with.
    var taken = 0

    /// The walker of an item that waits in the window or is passed over.
    var walker = ValueWalker(.string)
    /// Bytes of the waiting item's value that `walker` has passed; nil if none waits.
    var waitingCount: Int?
    /// What is passed over is an AUX value; its name is in `keyScratch`.
    var isSkippingAuxiliary = false

    var pool: AssemblyPool
    var openChunks: [UInt32: Assembly] = [:]
    var current: Assembly?
    /// Bytes of the current chunk still to come; `Int.max` outside a chunk.
    var chunkRemaining = Int.max
    var lastBigNumber: UInt32 = 0
    /// After an event `bigValue`: which step it is. Valid as long as the event.
    public internal(set) var bigValueStep = BigValueStep.none
    /// Decompresses the LZF string that goes out in parts: there is one at a time.
    var lzf: LZFStream
    /// The assembly that the last event shows.
    private var delivered: Assembly?

    /// Holds the decoded key of an entry, or the name of an AUX field.
    var keyScratch: RegionBuffer
    /// Holds a decoded journal blob, or the value of an AUX field.
    var bodyScratch: RegionBuffer

    // A compressed blob is decompressed piece by piece into `inner`, where items are decoded just
    // as in the input.
    private var lz4: FrameDecompressor
    private var zstd: FrameDecompressor
    private var inner: MirroredRing
    /// The format of the blob that the decoder is in.
    var blob: FrameDecompressor.Format?
    var blobRemaining = 0
    private var isFrameEnded = false
    /// Bytes of `inner` that the last event may show.
    private var innerTaken = 0

    /// Fails if the memory cannot be had.
    public init(limits: DecoderLimits = DecoderLimits()) throws(SystemError) {
        var capacity = 4096
        while capacity < 2 * limits.windowBytes { capacity *= 2 }
        let inner = try MirroredRing(capacity: capacity)
        let keyScratch = try RegionBuffer(capacity: limits.windowBytes)
        let bodyScratch = try RegionBuffer()
        let lzf = try LZFStream()
        self.limits = limits
        self.inner = inner
        self.keyScratch = keyScratch
        self.bodyScratch = bodyScratch
        self.lzf = lzf
        lz4 = FrameDecompressor(.lz4)
        zstd = FrameDecompressor(.zstd)
        pool = AssemblyPool(limits: limits)
        openChunks.reserveCapacity(64)
    }

    /// Position in the flow behind everything consumed.
    public var flowOffset: Int { inputOffset + consumed }

    /// Bytes in assembly buffers, in whole pages: at most `DecoderLimits.assemblyBytes`.
    public var assembledBytes: Int { pool.usedBytes }

    /// Chunk ids whose entries are not complete (protocol.md 3.7.1).
    public var openChunkCount: Int { openChunks.count }

    /// The next event of the flow. Must not be called after `.end` or an error.
    public mutating func next(_ input: ByteView) throws(DecodeError) -> SnapshotEvent {
        precondition(mode != .finished)
        inputOffset += consumed
        consumed = 0
        releaseDelivered()
        do {
            return try decode(input)
        } catch {
            mode = .finished
            throw DecodeError(error.reason, offset: itemOffset, opcode: opcode)
        }
    }

    private mutating func decode(_ input: ByteView) throws(DecodeError) -> SnapshotEvent {
        while true {
            if blob == nil {
                if mode == .item { itemOffset = inputOffset + consumed }
                let event = try decodeItem(input.dropFirst(consumed))
                consumed += taken
                if let event { return event }
                continue
            }
            inner.consume(innerTaken)
            innerTaken = 0
            guard let event = try decodeItem(inner.readable) else {
                inner.consume(taken)
                continue
            }
            guard case .needMore = event else {
                innerTaken = taken
                return event
            }
            inner.consume(taken)
            if try inflate(input) { continue }
            guard isFrameEnded else { return .needMore }
            try leaveBlob()
        }
    }

    /// Decompresses what input and room allow; false if that was nothing.
    private mutating func inflate(_ input: ByteView) throws(DecodeError) -> Bool {
        guard !isFrameEnded else { return false }
        // An item that fills half the ring is moved out of it or refused.
        precondition(inner.free > 0)
        let before = inner.count
        let piece = input.slice(consumed, min(blobRemaining, input.count - consumed))
        let (used, status) =
            blob == .lz4
            ? lz4.decompress(piece, into: &inner) : zstd.decompress(piece, into: &inner)
        consumed += used
        blobRemaining -= used
        let isProgress = inner.count > before
        switch status {
        case .end where blobRemaining == 0:
            isFrameEnded = true
            return true
        // With all its input the frame must go on until it ends.
        case .more where blobRemaining > 0 || isProgress:
            return isProgress
        default:
            let code = blob == .lz4 ? SnapshotOpcode.lz4Blob : .zstdBlob
            opcode = code.rawValue
            throw DecodeError(.damagedCompression)
        }
    }

    private mutating func leaveBlob() throws(DecodeError) {
        guard mode == .item, inner.isEmpty else { throw DecodeError(.straddlesBoundary) }
        blob = nil
        isFrameEnded = false
    }

    /// Decodes one item, or a part of it, at the start of `source`; sets `taken`. Nil if there is
    /// no event to tell and more can be decoded at once.
    private mutating func decodeItem(_ source: ByteView) throws(DecodeError) -> SnapshotEvent? {
        taken = 0
        switch mode {
        case .item:
            guard !source.isEmpty else { return .needMore }
            let code = source[0]
            opcode = code
            if hasJournalOffset && code != SnapshotOpcode.end.rawValue {
                throw DecodeError(.outOfOrder)
            }
            return code < 200 ? try entry(source) : try special(code, source)
        case .assembling:
            return try assemble(source)
        case .parts:
            return try parts(source)
        case .skipping:
            return try skip(source)
        case .header:
            return try header(source)
        case .finished:
            preconditionFailure("nothing comes after the end")
        }
    }

    /// Marks `assembly` as shown by the event about to be returned.
    mutating func deliver(_ assembly: Assembly) {
        delivered = assembly
        current = nil
        mode = .item
    }

    private mutating func releaseDelivered() {
        bodyScratch.clear(keeping: limits.windowBytes)
        guard let assembly = delivered else { return }
        delivered = nil
        pool.release(assembly)
    }
}

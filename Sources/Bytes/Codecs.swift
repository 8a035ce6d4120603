import CCodec

extension ByteView {
    /// CRC-64 of a DUMP payload over this view, continued from `seed` (protocol.md 3.11).
    public func crc64(continuing seed: UInt64 = 0) -> UInt64 {
        cc_crc64(seed, base, count)
    }

    /// The same over the little-endian bytes of an integer.
    public static func crc64(
        little value: some FixedWidthInteger, continuing seed: UInt64 = 0
    ) -> UInt64 {
        // Proof: the pointer is used inside the closure only.
        withUnsafeBytes(of: value.littleEndian) { cc_crc64(seed, $0.baseAddress!, $0.count) }
    }

    /// Standard XXH64.
    public func xxh64(seed: UInt64) -> UInt64 {
        cc_xxh64(base, count, seed)
    }

    /// Redis Cluster slot of this key, 0...16383 (protocol.md 7.3).
    public func keySlot() -> Int {
        Int(cc_key_slot(base, count))
    }

    /// The hash tag of this key: the text between the first `{` and the first `}` after it, or the
    /// whole key if that is empty or missing (protocol.md 7.2).
    public func hashTag() -> ByteView {
        var start = 0
        let size = cc_hash_tag(base, count, &start)
        return slice(start, size)
    }
}

/// LZF (protocol.md 3.4.3).
public enum LZF {
    /// Decompresses `input` to exactly `originalCount` bytes, appended to `ring`, which must have the
    /// room. False, with nothing appended, if the input is damaged.
    public static func decompress(
        _ input: ByteView, originalCount: Int, into ring: inout MirroredRing
    ) -> Bool {
        precondition(ring.free >= originalCount)
        return ring.produce(limit: originalCount) { start, room in
            cc_lzf_decode(input.base, input.count, start, room) == 0 ? room : 0
        } == originalCount
    }

    /// The same, appended to `buffer`.
    public static func decompress(
        _ input: ByteView, originalCount: Int, into buffer: inout RegionBuffer
    ) throws(SystemError) -> Bool {
        let before = buffer.count
        try buffer.produce(size: originalCount) { start in
            cc_lzf_decode(input.base, input.count, start, originalCount) == 0 ? originalCount : 0
        }
        return buffer.count - before == originalCount
    }

    /// Compresses `input`, appended to `buffer`. False, with nothing appended, if it would not
    /// become smaller.
    public static func compress(
        _ input: ByteView, into buffer: inout RegionBuffer
    ) throws(SystemError) -> Bool {
        let before = buffer.count
        let room = max(input.count - 1, 0)
        try buffer.produce(size: room) { start in
            cc_lzf_encode(input.base, input.count, start, room)
        }
        return buffer.count > before
    }
}

/// LZF that comes in pieces, in fixed memory: a match reaches back at most 8 KiB.
public struct LZFStream: ~Copyable {
    private static let reachBytes = 8192

    private var state = cc_lzf_state()
    private var ring: MirroredRing

    /// - Parameter pieceBytes: what `decompress` gives at most, a power of two.
    public init(pieceBytes: Int = 128 << 10) throws(SystemError) {
        ring = try MirroredRing(capacity: 2 * max(pieceBytes, LZFStream.reachBytes))
    }

    /// Begins with another string.
    public mutating func start() {
        state = cc_lzf_state()
        ring.clear()
    }

    /// The string may end behind what was decompressed.
    public var isWhole: Bool {
        // Proof: the pointer is used inside the call only.
        withUnsafePointer(to: state) { cc_lzf_is_whole($0) } != 0
    }

    /// Decompresses a part of `input`, at most `limit` bytes of output, which are valid until the
    /// next call. Nil if it is damaged.
    public mutating func decompress(
        _ input: ByteView, limit: Int
    ) -> (consumed: Int, output: ByteView)? {
        if ring.count > LZFStream.reachBytes { ring.consume(ring.count - LZFStream.reachBytes) }
        let start = ring.tail
        var consumed = input.count
        let isSound = ring.produceBehindContent(limit: min(limit, ring.capacity / 2)) {
            output, room, history in
            Int(cc_lzf_resume(&state, input.base, &consumed, output, room, history))
        }
        guard isSound else { return nil }
        return (consumed, ring.view(at: start, ring.tail - start))
    }
}

/// A streaming decompressor of LZ4 or zstd frames (protocol.md 3.5). It allocates at creation and on
/// its first frame, then no more.
public struct FrameDecompressor: ~Copyable {
    public enum Format: Sendable {
        case lz4
        case zstd
    }

    public enum Status {
        /// All input was used, or the output is full.
        case more
        /// The frame is complete.
        case end
        case damaged
    }

    // Proof: the decoder is created in init, destroyed in deinit, and never leaves this struct.
    private let decoder: OpaquePointer

    public init(_ format: Format) {
        guard let decoder = cc_frame_create(format == .lz4 ? CC_FRAME_LZ4 : CC_FRAME_ZSTD) else {
            fatalError("no memory for a decompressor")
        }
        self.decoder = decoder
    }

    deinit {
        cc_frame_destroy(decoder)
    }

    /// Forgets a frame in progress.
    public mutating func reset() {
        cc_frame_reset(decoder)
    }

    /// Decompresses what fits into `ring`; returns how many bytes of `input` were used.
    public mutating func decompress(
        _ input: ByteView, into ring: inout MirroredRing
    ) -> (consumed: Int, status: Status) {
        var consumed = input.count
        var status = CC_FRAME_MORE
        _ = ring.produce(limit: ring.free) { start, room in
            var written = room
            status = cc_frame_decode(decoder, input.base, &consumed, start, &written)
            return written
        }
        switch status {
        case CC_FRAME_END: return (consumed, .end)
        case CC_FRAME_MORE: return (consumed, .more)
        default:
            cc_frame_reset(decoder)
            return (consumed, .damaged)
        }
    }

    /// Compresses `input` as one frame, appended to `buffer`; for tests and the simulator.
    public static func compress(
        _ input: ByteView, _ format: Format, into buffer: inout RegionBuffer
    ) throws(SystemError) {
        let kind = format == .lz4 ? CC_FRAME_LZ4 : CC_FRAME_ZSTD
        let room = cc_frame_bound(kind, input.count)
        try buffer.produce(size: room) { start in
            cc_frame_encode(kind, input.base, input.count, start, room)
        }
    }
}

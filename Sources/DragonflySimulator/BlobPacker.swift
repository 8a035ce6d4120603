import Bytes

/// Collects the items of a snapshot and hands them over: plain, or as a compressed blob where that
/// pays (protocol.md 3.5).
struct BlobPacker: ~Copyable {
    static let largestBlobBytes = 1 << 20
    private static let smallestBlobBytes = 256

    /// What is to be handed over next: whole items.
    var pending: RegionBuffer
    private let format: FrameDecompressor.Format?
    private let largestBlobBytes: Int
    private let output: any SnapshotOutput
    private var packed: RegionBuffer
    private var head: RegionBuffer

    /// - Parameter format: nil for never compressed.
    init(
        _ format: FrameDecompressor.Format?, largestBlobBytes: Int = Self.largestBlobBytes,
        output: any SnapshotOutput
    ) throws(SystemError) {
        let pending = try RegionBuffer(capacity: 64 << 10)
        let packed = try RegionBuffer()
        let head = try RegionBuffer()
        self.format = format
        self.largestBlobBytes = largestBlobBytes
        self.output = output
        self.pending = pending
        self.packed = packed
        self.head = head
    }

    /// Hands over what is pending, compressed unless `isRaw`.
    mutating func flush(isRaw: Bool = false) throws(SystemError) {
        guard !pending.isEmpty else { return }
        if isRaw { try output.write(pending.view) } else { try writeCompressed() }
        pending.clear(keeping: 1 << 20)
    }

    private mutating func writeCompressed() throws(SystemError) {
        guard let format, pending.count >= Self.smallestBlobBytes,
            pending.count <= largestBlobBytes
        else { return try output.write(pending.view) }
        packed.clear(keeping: 1 << 20)
        try FrameDecompressor.compress(pending.view, format, into: &packed)
        // It must become a twentieth smaller.
        guard !packed.isEmpty, packed.count * 20 <= pending.count * 19 else {
            return try output.write(pending.view)
        }
        head.clear()
        try head.append(byte: format == .lz4 ? 0xca : 0xc9)
        try head.append(length: packed.count)
        try output.write(head.view)
        try output.write(packed.view)
    }
}

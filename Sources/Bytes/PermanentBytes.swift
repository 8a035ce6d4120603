/// Bytes that stay where they are until the process ends, so that views of them never become invalid.
/// For tables that are made once.
public struct PermanentBytes: @unchecked Sendable {
    // Proof: the memory is written here only, before anybody else sees it, and never freed.
    public let view: ByteView

    public init(_ bytes: [UInt8]) {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        memory.copyBytes(from: bytes)
        view = memory.baseAddress.map { ByteView(base: $0, count: bytes.count) } ?? ByteView()
    }
}

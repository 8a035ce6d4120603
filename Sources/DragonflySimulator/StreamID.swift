/// The id of a stream's entry; in a snapshot either two lengths or 16 raw bytes.
public struct StreamID: Equatable, Sendable {
    public let milliseconds: UInt64
    public let sequence: UInt64
}

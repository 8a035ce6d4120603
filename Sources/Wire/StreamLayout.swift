import Bytes

/// What a stream says about itself besides its entries.
public struct StreamMetadata: Equatable, Sendable {
    /// Live entries.
    public var length: UInt64
    /// The id of the last entry ever added.
    public var lastID: StreamID
    /// The id of the first live entry, 0-0 in an empty stream.
    public var firstID: StreamID
    /// The greatest id ever deleted, 0-0 if none or unknown.
    public var maxDeletedID: StreamID
    /// Entries ever added.
    public var entriesAdded: UInt64

    /// Nothing, of an empty stream.
    public init(
        length: UInt64 = 0, lastID: StreamID = StreamID(), firstID: StreamID = StreamID(),
        maxDeletedID: StreamID = StreamID(), entriesAdded: UInt64 = 0
    ) {
        self.length = length
        self.lastID = lastID
        self.firstID = firstID
        self.maxDeletedID = maxDeletedID
        self.entriesAdded = entriesAdded
    }
}

/// The head of a consumer group as it is in a value.
struct StreamGroupHead {
    var name: WireString
    var lastID: StreamID
    /// Entries that the group has read, -1 unknown; nil where the layout does not say.
    var entriesRead: Int64?
}

/// The head of a consumer as it is in a value; times are Unix milliseconds.
struct StreamConsumerHead {
    var name: WireString
    var seenTimeMilliseconds: Int64
    /// -1 if never active; nil where the layout does not say.
    var activeTimeMilliseconds: Int64?
}

/// A delivered and not yet acknowledged entry of a group.
struct StreamPendingRecord {
    var id: StreamID
    var deliveryTimeMilliseconds: Int64
    var deliveryCount: UInt64
}

/// The parts of a stream value (protocol.md 3.9.7).
extension WholeCursor {
    /// An id as two lengths.
    mutating func streamID() throws(DecodeError) -> StreamID {
        let milliseconds = try length()
        return StreamID(milliseconds: milliseconds, sequence: try length())
    }

    /// An id as 16 big-endian bytes.
    mutating func rawStreamID() throws(DecodeError) -> StreamID {
        try raw(StreamID.rawSize).streamID(0)
    }

    /// The head of a node: its id. The listpack, a string, follows.
    mutating func streamNodeID() throws(DecodeError) -> StreamID {
        guard case .plain(let bytes) = try string(), bytes.count == StreamID.rawSize else {
            throw DecodeError(.damagedContainer)
        }
        return bytes.streamID(0)
    }

    /// What follows the nodes. For type 15 what the layout does not say is 0.
    mutating func streamMetadata(_ type: ValueType) throws(DecodeError) -> StreamMetadata {
        var metadata = StreamMetadata()
        metadata.length = try length()
        metadata.lastID = try streamID()
        guard type != .streamListpacks else { return metadata }
        metadata.firstID = try streamID()
        metadata.maxDeletedID = try streamID()
        metadata.entriesAdded = try length()
        return metadata
    }

    mutating func streamGroupHead(_ type: ValueType) throws(DecodeError) -> StreamGroupHead {
        var head = StreamGroupHead(name: try string(), lastID: try streamID())
        if type != .streamListpacks { head.entriesRead = Int64(bitPattern: try length()) }
        return head
    }

    mutating func streamPendingRecord() throws(DecodeError) -> StreamPendingRecord {
        let id = try rawStreamID()
        let time = try little(as: Int64.self)
        return StreamPendingRecord(
            id: id, deliveryTimeMilliseconds: time, deliveryCount: try length())
    }

    mutating func streamConsumerHead(_ type: ValueType) throws(DecodeError) -> StreamConsumerHead {
        var head = StreamConsumerHead(
            name: try string(), seenTimeMilliseconds: try little(as: Int64.self))
        if type == .streamListpacks3 { head.activeTimeMilliseconds = try little(as: Int64.self) }
        return head
    }
}

extension StreamID {
    /// Size of an id as big-endian bytes.
    static let rawSize = 16
}

extension ByteView {
    /// The id whose 16 big-endian bytes start at `offset`.
    func streamID(_ offset: Int) -> StreamID {
        StreamID(
            milliseconds: big(offset, as: UInt64.self), sequence: big(offset + 8, as: UInt64.self))
    }
}

public import Bytes

/// One step of a value that is too large to be held. For each number: `begin`, parts, `end`; other
/// items, and steps of other numbers, may come in between.
public struct BigValueStep {
    public enum Kind {
        case begin
        case part(BigValuePart)
        /// `refusedSize`: the value's encoded size, if it is above a limit; then parts are missing.
        case end(refusedSize: Int?)
    }

    /// Tells the values of one decoder apart; never used twice.
    public var number: UInt32
    /// Its `value` is the bytes of the part, else empty.
    public var entry: SnapshotEntry
    public var kind: Kind

    /// What a decoder has before its first one.
    static var none: BigValueStep {
        BigValueStep(
            number: 0,
            entry: SnapshotEntry(database: 0, type: .string, key: ByteView(), value: ByteView()),
            kind: .begin)
    }
}

/// What the bytes of a part are. Elements, nodes and ids are never cut.
public enum BigValuePart {
    /// Decoded bytes of a string or JSON text that has `total` of them, from `offset` on.
    case bytes(offset: Int, total: Int)
    /// So many elements of a collection, or nodes of a list: read them with
    /// `ValueReader.open(type:units:part:)`.
    case elements(Int)
    /// So many nodes of a stream: read them with `StreamPartReader`.
    case streamNodes(Int)
    /// What follows the nodes. What type 15 does not say is 0.
    case streamMetadata(StreamMetadata, groupCount: Int)
    /// A consumer group; its pending entries and then its consumers follow. `entriesRead` is -1 for
    /// unknown, nil where the layout does not say.
    case streamGroup(name: ByteView, lastID: StreamID, entriesRead: Int64?)
    /// So many pending entries of the group: read them with `StreamPartReader.nextPending`.
    case streamPending(Int)
    /// A consumer of the group; the ids that are pending for it follow.
    case streamConsumer(name: ByteView)
    /// So many ids: read them with `StreamPartReader.nextOwned`.
    case streamOwned(Int)
    /// A piece of a value that nothing can load.
    case opaque
}

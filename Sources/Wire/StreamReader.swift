public import Bytes

/// A live entry of a stream.
public struct StreamEntry: Equatable, Sendable {
    public var id: StreamID
    /// Fields, each with its value; at least one in a sound stream.
    public var fieldCount: Int
}

/// A consumer group: a view, valid until the reader's next call that moves to another group.
public struct StreamGroup {
    public var name: ByteView
    /// The last id delivered to the group.
    public var lastID: StreamID
    /// Entries that the group has read, -1 unknown.
    public var entriesRead: Int64
    /// Entries delivered and not yet acknowledged.
    public var pendingCount: Int
    public var consumerCount: Int
}

/// A consumer: a view, valid until the reader's next call that moves to another consumer or group.
public struct StreamConsumer {
    public var name: ByteView
    public var seenTimeMilliseconds: Int64
    /// -1 if never active. Type 21 only knows it; for others the time last seen.
    public var activeTimeMilliseconds: Int64
    public var pendingCount: Int
}

/// An entry that a consumer was given and has not acknowledged.
public struct StreamPending: Equatable, Sendable {
    public var id: StreamID
    public var deliveryTimeMilliseconds: Int64
    public var deliveryCount: UInt64
    /// True if the stream no longer has the entry: no command can make it pending again.
    public var isDeleted: Bool

    public init(
        id: StreamID, deliveryTimeMilliseconds: Int64 = 0, deliveryCount: UInt64 = 0,
        isDeleted: Bool = false
    ) {
        self.id = id
        self.deliveryTimeMilliseconds = deliveryTimeMilliseconds
        self.deliveryCount = deliveryCount
        self.isDeleted = isDeleted
    }
}

/// Reads a stream in the order in which commands can build it: entries and their fields, then
/// groups, their consumers, and what is pending for each (protocol.md 3.9.7).
///
///     open; metadata
///     while nextEntry { while nextField {} }           XADD, then XSETID
///     while nextGroup {                                XGROUP CREATE
///         while nextConsumer {                         XGROUP CREATECONSUMER
///             while nextPending {} } }                 XCLAIM
///
/// What is not read of an entry, consumer or group is passed over. To pass over something twice,
/// take a `mark` before and `rewind` to it after. The value's bytes must stay valid and in place
/// from `open` on. Damage throws where it is met, and nothing is promised about the reader then but
/// that it can open another value. All calls throw `damagedContainer`, `damagedCompression`,
/// `badLength`, `badString`, `lengthAboveLimit` or `outOfMemory`, without offset: the caller knows
/// the key.
///
/// Nothing is allocated per entry. Memory: eight bytes per node, eight per 32 pending entries of
/// one group, and the largest compressed string met.
public struct StreamReader: ~Copyable {
    /// A place in the stream that is open, for entries and groups.
    public struct Mark {
        fileprivate var node: StreamNodeCursor?
        fileprivate var nodeNumber: Int
        fileprivate var groups: StreamGroupsReader.Mark
    }

    public private(set) var metadata = StreamMetadata()
    /// Consumer groups of the stream.
    public var groupCount: Int { groups.groupCount }

    private var nodes: StreamNodes
    private var finder: StreamEntryFinder
    private var groups: StreamGroupsReader
    /// The node whose entries come next, and its number; nil before the first.
    private var node: StreamNodeCursor?
    private var nodeNumber = -1
    private var nodeScratch: Scratch
    private var nameScratch: Scratch
    private var valueScratch: Scratch

    /// - Parameter limits: `assemblyBytes` bounds what one compressed string may decompress to, and
    ///   scratch space above `windowBytes` is given back with the next stream.
    public init(limits: DecoderLimits = DecoderLimits()) throws(SystemError) {
        // All first: a struct that owns memory cannot be left half made.
        let nodes = try StreamNodes(keptBytes: limits.windowBytes)
        let finder = try StreamEntryFinder(limits)
        let groups = try StreamGroupsReader(limits)
        let node = try Scratch(limits)
        let name = try Scratch(limits)
        let value = try Scratch(limits)
        self.nodes = nodes
        self.finder = finder
        self.groups = groups
        nodeScratch = node
        nameScratch = name
        valueScratch = value
    }

    /// Starts with the value of a key: the bytes after the key, to their end. The type must be a
    /// stream.
    ///
    /// What type 15 does not say is derived as a server does when it loads one: the first id is
    /// that of the first live entry, entries added are the live ones, nothing was deleted, and a
    /// group's entries read are known where its last id is at an end of the stream.
    public mutating func open(type: ValueType, value: ByteView) throws(DecodeError) {
        precondition(type.family == .stream, "not a stream")
        nodeScratch.reset()
        nameScratch.reset()
        valueScratch.reset()
        finder.reset()
        restartEntries()
        groups.close()
        metadata = StreamMetadata()
        var cursor = WholeCursor(value)
        try nodes.open(&cursor)
        metadata = try cursor.streamMetadata(type)
        if type == .streamListpacks {
            metadata.firstID = try nextEntry()?.id ?? StreamID()
            metadata.entriesAdded = metadata.length
            restartEntries()
        }
        try groups.open(cursor, type: type, metadata: metadata)
    }

    private mutating func restartEntries() {
        node = nil
        nodeNumber = -1
    }

    /// The next live entry in ascending order of id, nil after the last.
    public mutating func nextEntry() throws(DecodeError) -> StreamEntry? {
        while true {
            while let entry = try node?.nextEntry() {
                if !entry.isDeleted {
                    return StreamEntry(id: entry.id, fieldCount: entry.fieldCount)
                }
            }
            guard nodeNumber + 1 < nodes.count else {
                node = nil
                nodeNumber = nodes.count
                return nil
            }
            node = nil
            nodeNumber += 1
            node = try nodes.cursor(nodeNumber, scratch: &nodeScratch)
        }
    }

    /// The next field of the entry in hand with its value, nil after the last: views, valid until
    /// the next call for an entry or field. Order and duplicates are the source's.
    public mutating func nextField() throws(DecodeError) -> (name: ByteView, value: ByteView)? {
        guard let field = try node?.nextField() else { return nil }
        return (try nameScratch.text(field.name), try valueScratch.text(field.value))
    }

    /// The next consumer group, nil after the last.
    public mutating func nextGroup() throws(DecodeError) -> StreamGroup? {
        try groups.nextGroup()
    }

    /// The next consumer of the group in hand, nil after the last.
    public mutating func nextConsumer() throws(DecodeError) -> StreamConsumer? {
        try groups.nextConsumer()
    }

    /// The next pending entry of the consumer in hand in ascending order of id, nil after the last.
    public mutating func nextPending() throws(DecodeError) -> StreamPending? {
        guard let record = try groups.nextPending() else { return nil }
        return StreamPending(
            id: record.id, deliveryTimeMilliseconds: record.deliveryTimeMilliseconds,
            deliveryCount: record.deliveryCount, isDeleted: !(try finder.find(record.id, in: nodes))
        )
    }

    /// The place before what the next call would return.
    public var mark: Mark {
        Mark(node: node, nodeNumber: nodeNumber, groups: groups.mark)
    }

    /// Goes back, or forward, to a place in the stream that is open.
    public mutating func rewind(to mark: Mark) throws(DecodeError) {
        if var restored = mark.node {
            if mark.nodeNumber == nodeNumber, let node {
                restored.move(to: node.bytes)
            } else {
                restored.move(to: try nodes.listpack(mark.nodeNumber, scratch: &nodeScratch))
            }
            node = restored
        } else {
            node = nil
        }
        nodeNumber = mark.nodeNumber
        try groups.rewind(to: mark.groups)
    }
}

public import Bytes

/// What the nodes of a stream have shown so far, kept from part to part.
public struct StreamProgress: Sendable {
    /// Live entries.
    public private(set) var length = 0
    public private(set) var firstLiveID = StreamID()
    fileprivate var lastLiveID = StreamID()
    fileprivate var lastNodeID: StreamID?

    public init() {}

    fileprivate mutating func passed(_ id: StreamID) {
        if length == 0 { firstLiveID = id }
        lastLiveID = id
        length += 1
    }

    /// What the stream says about itself, checked against its entries, and with what type 15 does
    /// not say derived as `StreamReader` does. Throws `damagedContainer`.
    public func complete(
        _ metadata: StreamMetadata, type: ValueType
    ) throws(DecodeError) -> StreamMetadata {
        guard metadata.length == UInt64(length), metadata.lastID >= lastLiveID else {
            throw DecodeError(.damagedContainer)
        }
        guard type == .streamListpacks else { return metadata }
        var metadata = metadata
        metadata.firstID = firstLiveID
        metadata.entriesAdded = metadata.length
        return metadata
    }
}

/// Reads a part of a stream: nodes with their entries, pending entries of a group, or ids of a
/// consumer. The part's bytes must stay in place from `open` on. Damage throws, without offset.
///
/// Nothing is allocated per entry; a compressed node takes scratch space.
public struct StreamPartReader: ~Copyable {
    /// A place among the fields of the entry in hand.
    public struct Mark {
        fileprivate var node: StreamNodeCursor?
    }

    private var cursor = WholeCursor(ByteView())
    private var unitsLeft = 0
    private var nodeID = StreamID()
    private var node: StreamNodeCursor?
    private var nodeScratch: Scratch
    private var nameScratch: Scratch
    private var valueScratch: Scratch

    public init(limits: DecoderLimits = DecoderLimits()) throws(SystemError) {
        // All first: a struct that owns memory cannot be left half made.
        let node = try Scratch(limits)
        let name = try Scratch(limits)
        let value = try Scratch(limits)
        nodeScratch = node
        nameScratch = name
        valueScratch = value
    }

    /// Starts with a part of `units` nodes, pending entries or ids.
    public mutating func open(units: Int, part: ByteView) {
        nodeScratch.reset()
        nameScratch.reset()
        valueScratch.reset()
        cursor = WholeCursor(part)
        unitsLeft = units
        node = nil
    }

    /// The next live entry, nil after the last of the part. Ids must ascend over all parts.
    public mutating func nextEntry(
        _ progress: inout StreamProgress
    ) throws(DecodeError) -> StreamEntry? {
        while true {
            while let entry = try node?.nextEntry() {
                guard !entry.isDeleted else { continue }
                guard entry.fieldCount > 0, entry.id > progress.lastLiveID, entry.id >= nodeID
                else { throw DecodeError(.damagedContainer) }
                progress.passed(entry.id)
                return StreamEntry(id: entry.id, fieldCount: entry.fieldCount)
            }
            node = nil
            guard unitsLeft > 0 else {
                try cursor.expectEnd()
                return nil
            }
            unitsLeft -= 1
            nodeID = try cursor.streamNodeID()
            if let last = progress.lastNodeID, last >= nodeID {
                throw DecodeError(.damagedContainer)
            }
            progress.lastNodeID = nodeID
            node = try StreamNodeCursor(
                id: nodeID, listpack: nodeScratch.decode(cursor.string()))
        }
    }

    /// The next field of the entry in hand with its value, nil after the last.
    public mutating func nextField() throws(DecodeError) -> (name: ByteView, value: ByteView)? {
        guard let field = try node?.nextField() else { return nil }
        return (try nameScratch.text(field.name), try valueScratch.text(field.value))
    }

    /// The place before the field that `nextField` would return.
    public var mark: Mark { Mark(node: node) }

    /// Goes back to a place among the fields of the entry in hand.
    public mutating func rewind(to mark: Mark) {
        node = mark.node
    }

    /// The next pending entry of the group, nil after the last of the part.
    public mutating func nextPending() throws(DecodeError) -> StreamPending? {
        guard unitsLeft > 0 else { return nil }
        unitsLeft -= 1
        let record = try cursor.streamPendingRecord()
        return StreamPending(
            id: record.id, deliveryTimeMilliseconds: record.deliveryTimeMilliseconds,
            deliveryCount: record.deliveryCount)
    }

    /// The next id of the consumer, nil after the last of the part.
    public mutating func nextOwned() throws(DecodeError) -> StreamID? {
        guard unitsLeft > 0 else { return nil }
        unitsLeft -= 1
        return try cursor.rawStreamID()
    }
}

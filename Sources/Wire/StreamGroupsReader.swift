import Bytes

/// Iterates over the groups of one stream, their consumers, and the pending entries of each.
struct StreamGroupsReader: ~Copyable {
    struct Mark {
        fileprivate var place: Place
    }

    /// Positions in the value, and what is left there.
    fileprivate struct Place {
        var groupsLeft = 0
        /// Where the group in hand starts, nil if there is none; then `next` is where one starts.
        var groupStart: Int?
        var consumersLeft = 0
        var consumerStart: Int?
        var idsLeft = 0
        /// What comes next: an id, a consumer or a group.
        var next = 0
    }

    private(set) var groupCount = 0
    private var type = ValueType.streamListpacks
    private var metadata = StreamMetadata()
    private var value = ByteView()
    private var place = Place()
    private var pending: PendingRecords
    private var groupScratch: Scratch
    private var consumerScratch: Scratch

    init(_ limits: DecoderLimits) throws(SystemError) {
        let pending = try PendingRecords(keptBytes: limits.windowBytes)
        let group = try Scratch(limits)
        let consumer = try Scratch(limits)
        self.pending = pending
        groupScratch = group
        consumerScratch = consumer
    }

    /// Forgets the stream in hand: there are no groups.
    mutating func close() {
        groupScratch.reset()
        consumerScratch.reset()
        groupCount = 0
        value = ByteView()
        place = Place()
    }

    /// Starts with the part of the value that follows the metadata.
    mutating func open(
        _ start: WholeCursor, type: ValueType, metadata: StreamMetadata
    ) throws(DecodeError) {
        var cursor = start
        groupCount = try cursor.count()
        self.type = type
        self.metadata = metadata
        value = cursor.bytes
        place = Place(groupsLeft: groupCount, next: cursor.position)
    }

    mutating func nextGroup() throws(DecodeError) -> StreamGroup? {
        while try nextConsumer() != nil {}
        var cursor = WholeCursor(value, at: place.next)
        guard place.groupsLeft > 0 else {
            place.groupStart = nil
            try cursor.expectEnd()
            return nil
        }
        let head = try cursor.streamGroupHead(type)
        let name = try groupScratch.decode(head.name)
        let pendingCount = try cursor.count()
        try pending.open(&cursor, count: pendingCount)
        place.groupStart = place.next
        place.groupsLeft -= 1
        place.consumersLeft = try cursor.count()
        place.consumerStart = nil
        place.next = cursor.position
        return StreamGroup(
            name: name, lastID: head.lastID,
            entriesRead: head.entriesRead ?? metadata.entriesRead(upTo: head.lastID),
            pendingCount: pendingCount, consumerCount: place.consumersLeft)
    }

    mutating func nextConsumer() throws(DecodeError) -> StreamConsumer? {
        guard place.idsLeft <= (value.count - place.next) / StreamID.rawSize else {
            throw DecodeError(.damagedContainer)
        }
        place.next += place.idsLeft * StreamID.rawSize
        place.idsLeft = 0
        place.consumerStart = nil
        guard place.consumersLeft > 0 else { return nil }
        var cursor = WholeCursor(value, at: place.next)
        let head = try cursor.streamConsumerHead(type)
        let name = try consumerScratch.decode(head.name)
        place.consumerStart = place.next
        place.consumersLeft -= 1
        place.idsLeft = try cursor.count()
        place.next = cursor.position
        return StreamConsumer(
            name: name, seenTimeMilliseconds: head.seenTimeMilliseconds,
            activeTimeMilliseconds: head.activeTimeMilliseconds ?? head.seenTimeMilliseconds,
            pendingCount: place.idsLeft)
    }

    /// The next pending entry of the consumer in hand; it must be among those of the group.
    mutating func nextPending() throws(DecodeError) -> StreamPendingRecord? {
        guard place.idsLeft > 0 else { return nil }
        var cursor = WholeCursor(value, at: place.next)
        let id = try cursor.rawStreamID()
        guard let record = try pending.record(id) else { throw DecodeError(.damagedContainer) }
        place.idsLeft -= 1
        place.next = cursor.position
        return record
    }

    var mark: Mark { Mark(place: place) }

    /// Goes to the group and consumer of the mark, so that their views are valid again, and on to
    /// its place.
    mutating func rewind(to mark: Mark) throws(DecodeError) {
        if let start = mark.place.groupStart, start != place.groupStart {
            place = Place(groupsLeft: mark.place.groupsLeft + 1, next: start)
            _ = try nextGroup()
        }
        if let start = mark.place.consumerStart, start != place.consumerStart {
            place.idsLeft = 0
            place.consumersLeft = mark.place.consumersLeft + 1
            place.next = start
            _ = try nextConsumer()
        }
        place = mark.place
    }
}

/// The pending entries of one group, in ascending order of id. Their records differ in size, so
/// every 32nd is remembered, which finds any of them in few steps.
private struct PendingRecords: ~Copyable {
    private static let stride = 32

    private var value = ByteView()
    private var count = 0
    /// Positions of the records 0, 32, 64...
    private var positions: RegionBuffer
    private let keptBytes: Int

    init(keptBytes: Int) throws(SystemError) {
        positions = try RegionBuffer()
        self.keptBytes = keptBytes
    }

    /// Reads `count` records; moves the cursor behind them.
    mutating func open(_ cursor: inout WholeCursor, count: Int) throws(DecodeError) {
        value = cursor.bytes
        self.count = 0
        positions.clear(keeping: keptBytes)
        var last: StreamID?
        for index in 0..<count {
            if index % PendingRecords.stride == 0 {
                do {
                    try positions.append(little: UInt64(cursor.position))
                } catch {
                    throw DecodeError(.outOfMemory)
                }
            }
            let id = try cursor.streamPendingRecord().id
            if let last, last >= id { throw DecodeError(.damagedContainer) }
            last = id
        }
        self.count = count
    }

    /// The record with an id, nil if there is none.
    func record(_ id: StreamID) throws(DecodeError) -> StreamPendingRecord? {
        var low = 0
        var high = positions.count / 8
        while low < high {
            let middle = (low + high) / 2
            if value.streamID(position(middle)) <= id { low = middle + 1 } else { high = middle }
        }
        guard low > 0 else { return nil }
        let first = (low - 1) * PendingRecords.stride
        var cursor = WholeCursor(value, at: position(low - 1))
        for _ in first..<min(first + PendingRecords.stride, count) {
            let record = try cursor.streamPendingRecord()
            if record.id == id { return record }
            if record.id > id { return nil }
        }
        return nil
    }

    private func position(_ number: Int) -> Int {
        Int(positions.view.little(number * 8, as: UInt64.self))
    }
}

extension StreamMetadata {
    /// How many entries a group with this last id has read, as a server estimates it for a stream
    /// of type 15, of which it does not know what was deleted; -1 unknown.
    public func entriesRead(upTo id: StreamID) -> Int64 {
        let added = Int64(clamping: entriesAdded)
        if added == 0 || id == lastID { return added }
        if id > lastID { return -1 }
        if id < firstID { return 0 }
        return id == firstID ? 1 : -1
    }
}

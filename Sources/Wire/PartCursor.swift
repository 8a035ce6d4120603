import Bytes

/// Takes an encoded value apart at the boundaries of its elements, as it arrives. It keeps a few
/// integers, never bytes, and looks at nothing twice but a unit that was not whole.
///
/// A unit is what is never cut: an element with all that belongs to it, a node, a head.
struct PartCursor {
    struct Step {
        /// Nil if the bytes hold nothing to tell.
        var part: BigValuePart?
        /// 0 if not even one unit is whole.
        var bytes = 0
    }

    private enum Phase {
        case head, bytes, packedBytes
        case elementCount, elements
        case nodeCount, nodes, metadata
        case group, pending, consumerCount, consumer, owned
        case opaque
        case complete
    }

    private let type: ValueType
    private var phase: Phase
    /// Units of the phase that are not passed yet, or bytes of a string, decoded.
    private var unitsLeft = 0
    private var groupsLeft = 0
    private var consumersLeft = 0
    /// Encoded and decoded sizes of a string, and how much of it is done.
    private var packedLeft = 0
    private var decodedCount = 0
    private var decodedPassed = 0
    /// Of the group in hand: what its pending entries, and the consumers' ids, add up to.
    private var pending = PendingIDs()
    private var owned = PendingIDs()
    private var pendingCount = 0
    private var ownedCount = 0
    private var ownedSum: UInt64 = 0
    /// Where a value ends that cannot be taken apart.
    private var walker: ValueWalker

    /// Whether a value of this type can be taken apart at all: one that is a single packed container
    /// cannot (the source makes none of more than a few kilobytes).
    static func canSplit(_ type: ValueType) -> Bool {
        switch type {
        case .setIntset, .setListpack, .hashZiplist, .hashListpack, .zsetZiplist, .zsetListpack:
            false
        default: true
        }
    }

    init(_ type: ValueType) {
        precondition(PartCursor.canSplit(type))
        self.type = type
        walker = ValueWalker(type)
        switch type.family {
        case .string, .json: phase = .head
        case .list, .set, .hash, .zset: phase = .elementCount
        case .stream: phase = .nodeCount
        default: phase = .opaque
        }
    }

    var isComplete: Bool { phase == .complete }

    /// Inside an LZF string: what comes goes through a decompressor (`passPacked`).
    var isPacked: Bool { phase == .packedBytes }

    /// Where a chunk may end: a string and the groups of a stream are never split
    /// (protocol.md 3.7.1).
    var maySplitHere: Bool {
        switch phase {
        case .elementCount, .elements, .nodeCount, .nodes, .metadata: true
        default: false
        }
    }

    /// What comes next are units, of which one can be collected if it does not fit the window.
    var hasUnits: Bool {
        switch phase {
        case .bytes, .packedBytes, .opaque, .complete: false
        default: true
        }
    }

    /// One unit of the phase as a program of `ValueWalker`.
    var unitProgram: ByteView {
        switch phase {
        case .head, .elementCount, .nodeCount, .consumerCount: "l"
        case .elements:
            switch type {
            case .hash, .setWithExpiry: "ss"
            case .hashWithExpiry: "sss"
            case .zset2: "s8"
            case .listQuicklist2: "ls"
            default: "s"
            }
        case .nodes: "ss"
        case .metadata: type == .streamListpacks ? "llll" : "lllllllll"
        case .group: type == .streamListpacks ? "slll" : "sllll"
        case .pending: "g8l"
        case .consumer: type == .streamListpacks3 ? "s88l" : "s8l"
        case .owned: "g"
        case .bytes, .packedBytes, .opaque, .complete:
            preconditionFailure("these have no units")
        }
    }

    /// Passes whole units at the start of `window`: at least one if there is one, and no further one
    /// that starts after `limit` bytes. A name comes in `scratch` if it is not plain.
    mutating func next(
        _ window: ByteView, limit: Int, nameLimit: Int, scratch: inout RegionBuffer
    ) throws(DecodeError) -> Step {
        var cursor = Cursor(window)
        switch phase {
        case .head:
            return try head(&cursor)
        case .bytes:
            let size = min(unitsLeft, window.count, limit)
            let part = BigValuePart.bytes(offset: decodedPassed, total: decodedCount)
            decodedPassed += size
            unitsLeft -= size
            if unitsLeft == 0 { phase = .complete }
            return Step(part: size > 0 ? part : nil, bytes: size)
        case .elementCount, .nodeCount:
            guard let count = try cursor.count() else { return Step() }
            unitsLeft = count
            phase = phase == .elementCount ? .elements : .nodes
            if count == 0 { endUnits() }
            return Step(bytes: cursor.position)
        case .elements, .nodes:
            let isElements = phase == .elements
            let units = try passUnits(&cursor, limit)
            guard units > 0 else { return Step() }
            return Step(
                part: isElements ? .elements(units) : .streamNodes(units), bytes: cursor.position)
        case .metadata:
            return try metadata(&cursor)
        case .group:
            return try group(&cursor, nameLimit, &scratch)
        case .pending:
            let units = try passPending(&cursor, limit)
            guard units > 0 else { return Step() }
            return Step(part: .streamPending(units), bytes: cursor.position)
        case .consumerCount:
            guard let count = try cursor.count() else { return Step() }
            consumersLeft = count
            try nextConsumer()
            return Step(bytes: cursor.position)
        case .consumer:
            return try consumer(&cursor, nameLimit, &scratch)
        case .owned:
            let units = try passOwned(&cursor, limit)
            guard units > 0 else { return Step() }
            return Step(part: .streamOwned(units), bytes: cursor.position)
        case .opaque:
            let size = try walker.advance(window.slice(0, min(window.count, limit)))
            if walker.isComplete { phase = .complete }
            return Step(part: size > 0 ? .opaque : nil, bytes: size)
        case .packedBytes, .complete:
            preconditionFailure("nothing to pass here")
        }
    }

    /// An element or node was passed that could not be held.
    mutating func skipUnit() throws(DecodeError) {
        guard phase == .elements || phase == .nodes else { throw DecodeError(.lengthAboveLimit) }
        unitsLeft -= 1
        if unitsLeft == 0 { endUnits() }
    }

    /// Inside an LZF string: `used` encoded bytes have become `produced` ones. Returns the part.
    mutating func passPacked(
        used: Int, produced: Int, isWhole: Bool
    ) throws(DecodeError) -> BigValuePart {
        let part = BigValuePart.bytes(offset: decodedPassed, total: decodedCount)
        packedLeft -= used
        decodedPassed += produced
        guard decodedPassed <= decodedCount else { throw DecodeError(.damagedCompression) }
        guard packedLeft == 0 else { return part }
        if decodedPassed == decodedCount {
            guard isWhole else { throw DecodeError(.damagedCompression) }
            phase = .complete
        } else if used + produced == 0 {
            throw DecodeError(.damagedCompression)
        }
        return part
    }

    /// Of an LZF string, encoded bytes and decoded bytes still to come.
    var packedBytesLeft: Int { packedLeft }
    var decodedBytesLeft: Int { decodedCount - decodedPassed }

    // MARK: Phases

    private mutating func head(_ cursor: inout Cursor) throws(DecodeError) -> Step {
        guard let head = try cursor.stringHead() else { return Step() }
        switch head {
        case .plain(let size):
            decodedCount = size
            unitsLeft = size
            phase = size > 0 ? .bytes : .complete
        case .lzf(let compressedCount, let originalCount):
            decodedCount = originalCount
            packedLeft = compressedCount
            phase = .packedBytes
        case .integer:
            preconditionFailure("an integer is not big")
        }
        return Step(bytes: cursor.position)
    }

    private mutating func endUnits() {
        phase = phase == .nodes ? .metadata : .complete
    }

    /// Leaves the cursor behind the last whole unit.
    private mutating func passUnits(
        _ cursor: inout Cursor, _ limit: Int
    ) throws(DecodeError) -> Int {
        let program = unitProgram
        var units = 0
        var end = 0
        while units < unitsLeft, end < limit, try PartCursor.pass(program, &cursor) {
            units += 1
            end = cursor.position
        }
        cursor.position = end
        unitsLeft -= units
        if unitsLeft == 0 { endUnits() }
        return units
    }

    @inline(__always)
    private static func pass(
        _ program: ByteView, _ cursor: inout Cursor
    ) throws(DecodeError) -> Bool {
        for index in 0..<program.count {
            switch program[index] {
            case UInt8(ascii: "s"):
                guard let head = try cursor.stringHead(), cursor.raw(head.size) != nil else {
                    return false
                }
            case UInt8(ascii: "l"):
                guard try cursor.length() != nil else { return false }
            default:
                guard cursor.raw(8) != nil else { return false }
            }
        }
        return true
    }

    // MARK: The end of a stream (protocol.md 3.9.7)

    private mutating func metadata(_ cursor: inout Cursor) throws(DecodeError) -> Step {
        let start = cursor
        for _ in 0..<unitProgram.count where try cursor.length() == nil { return Step() }
        var whole = WholeCursor(start.bytes, at: start.position)
        let metadata = try whole.streamMetadata(type)
        groupsLeft = try whole.count()
        nextGroup()
        return Step(
            part: .streamMetadata(metadata, groupCount: groupsLeft + (phase == .group ? 1 : 0)),
            bytes: whole.position)
    }

    private mutating func nextGroup() {
        phase = groupsLeft > 0 ? .group : .complete
        groupsLeft = max(groupsLeft - 1, 0)
    }

    private mutating func group(
        _ cursor: inout Cursor, _ nameLimit: Int, _ scratch: inout RegionBuffer
    ) throws(DecodeError) -> Step {
        let start = cursor
        for index in 0..<unitProgram.count {
            let isWhole = index == 0 ? try cursor.string() != nil : try cursor.length() != nil
            guard isWhole else { return Step() }
        }
        var whole = WholeCursor(start.bytes, at: start.position)
        let head = try whole.streamGroupHead(type)
        unitsLeft = try whole.count()
        pendingCount = unitsLeft
        pending = PendingIDs()
        ownedCount = 0
        ownedSum = 0
        phase = unitsLeft > 0 ? .pending : .consumerCount
        return Step(
            part: .streamGroup(
                name: try PartCursor.name(head.name, nameLimit, &scratch), lastID: head.lastID,
                entriesRead: head.entriesRead), bytes: whole.position)
    }

    private static func name(
        _ name: WireString, _ limit: Int, _ scratch: inout RegionBuffer
    ) throws(DecodeError) -> ByteView {
        guard name.decodedCount <= limit else { throw DecodeError(.lengthAboveLimit) }
        return try name.decoded(scratch: &scratch)
    }

    private mutating func passPending(
        _ cursor: inout Cursor, _ limit: Int
    ) throws(DecodeError) -> Int {
        var units = 0
        var end = 0
        while units < unitsLeft, end < limit {
            guard let id = cursor.raw(StreamID.rawSize), cursor.raw(8) != nil,
                try cursor.length() != nil
            else { break }
            try pending.add(id.streamID(0))
            units += 1
            end = cursor.position
        }
        cursor.position = end
        unitsLeft -= units
        if unitsLeft == 0 { phase = .consumerCount }
        return units
    }

    private mutating func nextConsumer() throws(DecodeError) {
        guard consumersLeft == 0 else {
            consumersLeft -= 1
            phase = .consumer
            return
        }
        // Every pending entry has exactly one owner, as `ContainerCheck` says.
        guard ownedCount == pendingCount, ownedSum == pending.sum else {
            throw DecodeError(.damagedContainer)
        }
        nextGroup()
    }

    private mutating func consumer(
        _ cursor: inout Cursor, _ nameLimit: Int, _ scratch: inout RegionBuffer
    ) throws(DecodeError) -> Step {
        let start = cursor
        guard try cursor.string() != nil,
            cursor.raw(type == .streamListpacks3 ? 16 : 8) != nil, try cursor.length() != nil
        else { return Step() }
        var whole = WholeCursor(start.bytes, at: start.position)
        let head = try whole.streamConsumerHead(type)
        unitsLeft = try whole.count()
        owned = PendingIDs()
        ownedCount += unitsLeft
        let part = BigValuePart.streamConsumer(
            name: try PartCursor.name(head.name, nameLimit, &scratch))
        phase = .owned
        if unitsLeft == 0 { try nextConsumer() }
        return Step(part: part, bytes: whole.position)
    }

    private mutating func passOwned(
        _ cursor: inout Cursor, _ limit: Int
    ) throws(DecodeError) -> Int {
        var units = 0
        while units < unitsLeft, cursor.position < limit,
            let id = cursor.raw(StreamID.rawSize)
        {
            try owned.add(id.streamID(0))
            units += 1
        }
        unitsLeft -= units
        if unitsLeft == 0 {
            ownedSum &+= owned.sum
            try nextConsumer()
        }
        return units
    }
}

import Bytes

/// Streams (protocol.md 3.9.7).
extension ContainerCheck {
    mutating func checkStream(
        _ cursor: inout WholeCursor, _ type: ValueType
    ) throws(DecodeError) {
        let lastLiveID = try checkNodes(&cursor)
        let metadata = try cursor.streamMetadata(type)
        guard metadata.length == UInt64(verdict.elementCount), metadata.lastID >= lastLiveID else {
            throw DecodeError(.damagedContainer)
        }
        let groupCount = try cursor.count()
        for _ in 0..<groupCount { try checkGroup(&cursor, type) }
    }

    /// Counts the live entries, whose ids must ascend over all nodes; returns the last one.
    private mutating func checkNodes(
        _ cursor: inout WholeCursor
    ) throws(DecodeError) -> StreamID {
        let nodeCount = try cursor.count()
        var lastNodeID: StreamID?
        var lastLiveID = StreamID()
        for _ in 0..<nodeCount {
            let nodeID = try cursor.streamNodeID()
            if let lastNodeID, lastNodeID >= nodeID { throw DecodeError(.damagedContainer) }
            lastNodeID = nodeID
            var node = try StreamNodeCursor(
                id: nodeID, listpack: containerScratch.decode(cursor.string()))
            while let entry = try node.nextEntry() {
                guard !entry.isDeleted else { continue }
                guard entry.fieldCount > 0, entry.id > lastLiveID, entry.id >= nodeID else {
                    throw DecodeError(.damagedContainer)
                }
                lastLiveID = entry.id
                verdict.elementCount += 1
            }
            if node.isDisputed { verdict.isVerbatimLoadable = false }
        }
        return lastLiveID
    }

    /// Every pending entry of a group must be owned by exactly one consumer: a server follows the
    /// owner of each without a look, and frees one with two owners twice.
    ///
    /// The ids of the group, and of each consumer, ascend strictly. So the consumers' lists
    /// together are the group's list if they have the same number of ids and the same sum of
    /// hashes, which needs no memory.
    private mutating func checkGroup(
        _ cursor: inout WholeCursor, _ type: ValueType
    ) throws(DecodeError) {
        try expectSound(cursor.streamGroupHead(type).name)
        let pendingCount = try cursor.count()
        var pending = PendingIDs()
        for _ in 0..<pendingCount {
            try pending.add(cursor.streamPendingRecord().id)
        }

        let consumerCount = try cursor.count()
        var ownedCount = 0
        var ownedSum: UInt64 = 0
        for _ in 0..<consumerCount {
            try expectSound(cursor.streamConsumerHead(type).name)
            let count = try cursor.count()
            var owned = PendingIDs()
            for _ in 0..<count { try owned.add(cursor.rawStreamID()) }
            ownedCount += count
            ownedSum &+= owned.sum
        }
        guard ownedCount == pendingCount, ownedSum == pending.sum else {
            throw DecodeError(.damagedContainer)
        }
    }

    private mutating func expectSound(_ name: WireString) throws(DecodeError) {
        if case .lzf = name { _ = try containerScratch.decode(name) }
    }
}

/// Ids in strictly ascending order and the sum of their hashes.
struct PendingIDs {
    private var last: StreamID?
    private(set) var sum: UInt64 = 0

    mutating func add(_ id: StreamID) throws(DecodeError) {
        if let last, last >= id { throw DecodeError(.damagedContainer) }
        last = id
        sum &+= PendingIDs.hash(id)
    }

    /// Two rounds of a 64-bit mixer (splitmix64), so that sums of ids that lie close together
    /// differ.
    private static func hash(_ id: StreamID) -> UInt64 {
        mixed(mixed(id.milliseconds) ^ id.sequence)
    }

    private static func mixed(_ value: UInt64) -> UInt64 {
        var bits = value &+ 0x9e37_79b9_7f4a_7c15
        bits = (bits ^ (bits >> 30)) &* 0xbf58_476d_1ce4_e5b9
        bits = (bits ^ (bits >> 27)) &* 0x94d0_49bb_1331_11eb
        return bits ^ (bits >> 31)
    }
}

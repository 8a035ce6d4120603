import Bytes

/// Iterates over the entries of one stream node, a listpack (protocol.md 3.9.7), and checks its
/// structure on the way: counts, flags, and the length at the end of every entry, by which a server
/// walks backwards.
struct StreamNodeCursor {
    struct Entry {
        var id: StreamID
        var isDeleted: Bool
        /// Fields, each with its value.
        var fieldCount: Int
    }

    private var listpack: PackedCursor
    private let nodeID: StreamID
    /// At the first of the names that entries may share.
    private var sharedNames: PackedCursor
    private let sharedCount: Int
    private let liveCount: Int
    private let deletedCount: Int
    private var livePassed = 0
    private var deletedPassed = 0
    /// Of the entry in hand: names still to come where it shares them, fields still to come, and
    /// the elements it should say it has.
    private var names: PackedCursor
    private var sharesNames = false
    private var fieldsLeft = 0
    private var elementCount = -1

    private static let deletedFlag: Int64 = 1
    private static let sharedNamesFlag: Int64 = 2

    init(id: StreamID, listpack bytes: ByteView) throws(DecodeError) {
        nodeID = id
        listpack = try PackedCursor(.listpack, bytes)
        liveCount = try StreamNodeCursor.count(&listpack)
        deletedCount = try StreamNodeCursor.count(&listpack)
        sharedCount = try StreamNodeCursor.count(&listpack)
        sharedNames = listpack
        names = listpack
        for _ in 0..<sharedCount { _ = try listpack.required() }
        guard try listpack.required().integer == 0 else { throw DecodeError(.damagedContainer) }
    }

    /// The same position in a copy of the listpack at another place.
    mutating func move(to bytes: ByteView) {
        listpack.bytes = bytes
        sharedNames.bytes = bytes
        names.bytes = bytes
    }

    var bytes: ByteView { listpack.bytes }
    var isDisputed: Bool { listpack.isDisputed }

    /// The next entry, deleted ones too, nil after the last; fields of the entry before that were
    /// not read are passed.
    mutating func nextEntry() throws(DecodeError) -> Entry? {
        try finishEntry()
        if livePassed == liveCount && deletedPassed == deletedCount {
            guard try listpack.next() == nil else { throw DecodeError(.damagedContainer) }
            return nil
        }
        guard let flags = try listpack.required().integer, flags & ~3 == 0,
            let milliseconds = try listpack.required().integer,
            let sequence = try listpack.required().integer
        else { throw DecodeError(.damagedContainer) }

        let isDeleted = flags & StreamNodeCursor.deletedFlag != 0
        if isDeleted { deletedPassed += 1 } else { livePassed += 1 }
        guard livePassed <= liveCount && deletedPassed <= deletedCount else {
            throw DecodeError(.damagedContainer)
        }
        sharesNames = flags & StreamNodeCursor.sharedNamesFlag != 0
        names = sharedNames
        fieldsLeft = sharesNames ? sharedCount : try StreamNodeCursor.count(&listpack)
        elementCount = sharesNames ? fieldsLeft + 3 : 2 * fieldsLeft + 4
        // Differences are taken modulo 2^64, so they may well be negative.
        let id = StreamID(
            milliseconds: nodeID.milliseconds &+ UInt64(bitPattern: milliseconds),
            sequence: nodeID.sequence &+ UInt64(bitPattern: sequence))
        return Entry(id: id, isDeleted: isDeleted, fieldCount: fieldsLeft)
    }

    /// The next field of the entry in hand with its value, nil after the last.
    mutating func nextField() throws(DecodeError) -> (name: PackedElement, value: PackedElement)? {
        guard fieldsLeft > 0 else { return nil }
        fieldsLeft -= 1
        let name = sharesNames ? try names.required() : try listpack.required()
        return (name, try listpack.required())
    }

    private mutating func finishEntry() throws(DecodeError) {
        guard elementCount >= 0 else { return }
        if sharesNames {
            for _ in 0..<fieldsLeft { _ = try listpack.required() }
        } else {
            while try nextField() != nil {}
        }
        guard try listpack.required().integer == Int64(elementCount) else {
            throw DecodeError(.damagedContainer)
        }
        fieldsLeft = 0
        elementCount = -1
    }

    /// A count of entries or fields: not negative, and not above the bytes that hold them.
    private static func count(_ listpack: inout PackedCursor) throws(DecodeError) -> Int {
        guard let count = try listpack.required().integer, count >= 0,
            count <= Int64(listpack.bytes.count)
        else { throw DecodeError(.damagedContainer) }
        return Int(count)
    }
}

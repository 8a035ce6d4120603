import Bytes

/// Keys that a master has answered for and that its replicas may not have yet: if one of them takes
/// over, these may have lost what was written last.
///
/// A position is a number of bytes that only grows. What the replicas have confirmed is forgotten; as
/// long as there is no room, nothing more is sent to that master. But if a replica has lost its link,
/// nobody knows how long that lasts: then the oldest keys are forgotten unconfirmed, and a failover
/// ends the run.
struct RecentKeys: ~Copyable {
    static let capacityBytes = 8 << 20
    /// Length, flow and database before each name.
    private static let headBytes = 12

    private var ring: MirroredRing
    /// What was in the ring when the master told its offset, and that offset.
    private var mark: (position: Int, offset: Int64)?
    private var askedAt: Int?

    init() throws(SystemError) {
        ring = try MirroredRing(capacity: RecentKeys.capacityBytes)
    }

    var isEmpty: Bool { ring.count == 0 }
    /// Keys were forgotten that may be missing on a replica.
    var isIncomplete: Bool { forgottenTo != nil }
    /// Behind the last of them.
    private var forgottenTo: Int?
    private var mayForget = false
    /// The question for offsets is out.
    var isAsked: Bool { askedAt != nil }

    /// Whether the keys of all commands in flight have room, and those of some more.
    func hasRoom(commandsInFlight: Int, bytesInFlight: Int) -> Bool {
        mayForget
            || ring.free - bytesInFlight - commandsInFlight * RecentKeys.headBytes
                > RecentKeys.capacityBytes / 8
    }

    mutating func add(database: Int, key: ByteView, flow: Int16) {
        let size = key.count + RecentKeys.headBytes
        while ring.free < size, ring.count > 0 {
            consumeFirst()
            forgottenTo = ring.head
        }
        guard ring.free >= size else { return }
        ring.append(little: UInt32(key.count))
        ring.append(little: UInt32(bitPattern: Int32(flow)))
        ring.append(little: UInt32(database))
        ring.append(key)
    }

    /// The master is asked for its offset and those of its replicas.
    mutating func asked() { askedAt = ring.tail }

    /// The question was lost with its connection.
    mutating func loseQuestion() { askedAt = nil }

    /// The answer.
    /// - Parameters:
    ///   - own: the master's offset.
    ///   - replicas: the least of those that may take over; nil if none may.
    ///   - areAllThere: no replica has lost its link.
    mutating func answered(own: Int64, replicas: Int64?, areAllThere: Bool) {
        guard let position = askedAt else { return }
        askedAt = nil
        mayForget = !areAllThere
        guard areAllThere else { return }
        if replicas.map({ $0 >= own }) ?? true {
            consume(to: position)
            mark = nil
        } else if let mark, let replicas, replicas >= mark.offset {
            consume(to: mark.position)
            self.mark = (position, own)
        } else if mark == nil {
            mark = (position, own)
        }
    }

    // What was forgotten lies before it.
    private mutating func consume(to position: Int) {
        if position > ring.head { ring.consume(to: position) }
        if let end = forgottenTo, position >= end { forgottenTo = nil }
    }

    private mutating func consumeFirst() {
        let size = Int(ring.readable.little(0, as: UInt32.self))
        ring.consume(RecentKeys.headBytes + size)
    }

    /// Calls `body` with each key, and forgets all.
    mutating func takeAll(_ body: (_ database: Int, _ key: ByteView, _ flow: Int) -> Void) {
        while ring.count > 0 {
            let bytes = ring.readable
            let size = Int(bytes.little(0, as: UInt32.self))
            body(
                Int(bytes.little(8, as: UInt32.self)), bytes.slice(RecentKeys.headBytes, size),
                Int(Int32(bitPattern: bytes.little(4, as: UInt32.self))))
            consumeFirst()
        }
        mark = nil
        askedAt = nil
        forgottenTo = nil
    }
}

import Bytes

/// Keys that a master has answered for and that its replicas may not have yet: if one of them takes
/// over, these may have lost what was written last.
///
/// A position is a number of bytes that only grows. What the replicas have confirmed is forgotten; as
/// long as there is no room, nothing more is sent to that master.
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
    /// A key had no room, so that not all of them are here.
    private(set) var isIncomplete = false
    /// The question for offsets is out.
    var isAsked: Bool { askedAt != nil }

    /// Whether the keys of all commands in flight have room, and those of some more.
    func hasRoom(commandsInFlight: Int, bytesInFlight: Int) -> Bool {
        ring.free - bytesInFlight - commandsInFlight * RecentKeys.headBytes
            > RecentKeys.capacityBytes / 8
    }

    mutating func add(database: Int, key: ByteView, flow: Int16) {
        guard ring.free >= key.count + RecentKeys.headBytes else {
            isIncomplete = true
            return
        }
        ring.append(little: UInt32(key.count))
        ring.append(little: UInt32(bitPattern: Int32(flow)))
        ring.append(little: UInt32(database))
        ring.append(key)
    }

    /// The master is asked for its offset and those of its replicas.
    mutating func asked() { askedAt = ring.tail }

    /// The answer. Nil for an offset that it does not have: no replica is in step, so none can take
    /// over with anything missing but all of it.
    mutating func answered(own: Int64, replicas: Int64?) {
        guard let position = askedAt else { return }
        askedAt = nil
        guard let replicas else {
            mark = nil
            ring.consume(to: position)
            return
        }
        if let mark, replicas >= mark.offset {
            ring.consume(to: mark.position)
            self.mark = nil
        }
        if replicas >= own {
            ring.consume(to: position)
            mark = nil
        } else if mark == nil {
            mark = (position, own)
        }
    }

    /// Calls `body` with each key, and forgets all.
    mutating func takeAll(_ body: (_ database: Int, _ key: ByteView, _ flow: Int) -> Void) {
        while ring.count > 0 {
            let bytes = ring.readable
            let size = Int(bytes.little(0, as: UInt32.self))
            body(
                Int(bytes.little(8, as: UInt32.self)), bytes.slice(RecentKeys.headBytes, size),
                Int(Int32(bitPattern: bytes.little(4, as: UInt32.self))))
            ring.consume(RecentKeys.headBytes + size)
        }
        mark = nil
        askedAt = nil
        isIncomplete = false
    }
}

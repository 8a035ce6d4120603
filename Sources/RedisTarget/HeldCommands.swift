import Bytes

/// Commands that a node of a cluster did not carry out, because their slot is elsewhere or the node is
/// gone, until the one that has it does.
///
/// Those of one slot go out one after the other, in the order in which they were sent at first, and
/// nothing else is sent for a slot that has any: so each key keeps its order.
struct HeldCommands: ~Copyable {
    /// Nothing new is sent to any node while more is held.
    static let bytesLimit = 64 << 20
    /// A larger command is not held; its keys are read again.
    static let commandBytesLimit = 4 << 20
    static let slotCount = 16384

    struct Entry {
        var command: CommandInFlight
        var bytes: [UInt8]
        var slot: Int
        /// When it was first refused, and before when it is not sent again, nanoseconds.
        var heldSince: Int64
        var notBefore: Int64
        /// The node that it is for, if that is not the one that owns the slot: behind ASKING.
        var askedNode: Int?
        var isSent = false

    }

    // In the order of their slots' commands; nil: done with.
    private var entries: [Entry?] = []
    private var first = 0
    // So many of the first are done with.
    private var done = 0
    private(set) var count = 0
    private(set) var bytes = 0
    /// How many of each slot.
    private var counts = [UInt32](repeating: 0, count: slotCount)
    // Slots that were passed in the walk with this number.
    private var walks = [UInt32](repeating: 0, count: slotCount)
    private var walk: UInt32 = 0

    var isEmpty: Bool { count == 0 }
    var isFull: Bool { bytes > HeldCommands.bytesLimit }

    func holds(slot: Int) -> Bool { counts[slot] > 0 }

    subscript(index: Int) -> Entry {
        get {
            guard let entry = entries[index - first] else {
                preconditionFailure("a command is held until it is removed")
            }
            return entry
        }
        set { entries[index - first] = newValue }
    }

    mutating func add(
        _ command: CommandInFlight, _ bytes: ByteView, slot: Int, now: Int64, notBefore: Int64,
        askedNode: Int?
    ) {
        entries.append(
            Entry(
                command: command, bytes: bytes.array(), slot: slot, heldSince: now,
                notBefore: notBefore, askedNode: askedNode))
        count += 1
        self.bytes += bytes.count
        counts[slot] += 1
    }

    /// Forgets a command, which was carried out or given up.
    mutating func remove(_ index: Int) {
        let entry = self[index]
        entries[index - first] = nil
        count -= 1
        bytes -= entry.bytes.count
        counts[entry.slot] -= 1
        guard count > 0 else {
            first += entries.count
            done = 0
            entries.removeAll(keepingCapacity: entries.count < 1024)
            return
        }
        while entries[done] == nil { done += 1 }
        // The oldest ones leave when half of all are done with: each is moved once on average.
        guard done > 64, done * 2 > entries.count else { return }
        entries.removeFirst(done)
        first += done
        done = 0
    }

    /// The commands that are their slot's next, unless that one is sent.
    mutating func next() -> [Int] {
        walk &+= 1
        var indices: [Int] = []
        for (place, entry) in entries.enumerated() {
            guard let entry, walks[entry.slot] != walk else { continue }
            walks[entry.slot] = walk
            if !entry.isSent { indices.append(first + place) }
        }
        return indices
    }

    /// Calls `body` with each command of a slot.
    func forEach(slot: Int, _ body: (_ entry: Entry) -> Void) {
        guard holds(slot: slot) else { return }
        for case .some(let entry) in entries where entry.slot == slot { body(entry) }
    }

    /// The first one was held at that time, nanoseconds; nil if there is none.
    var oldestSince: Int64? {
        for case .some(let entry) in entries { return entry.heldSince }
        return nil
    }
}

internal import Bytes

/// Remembers which hashes and sets have elements with an expiry of their own.
///
/// The source drops such an element silently (protocol.md 5.10), and on a target without element
/// expiries it stays. Commands that depend on whether it is there (HINCRBY, HSETNX and the like) then
/// compute something else, so their key must be repaired. What this table says too much costs a needless
/// repair, so it holds hashes of names only, and when it is full every key counts as one of it. The
/// elements themselves are known only where df2redis removes them: `timers`.
struct ElementExpiries: ~Copyable {
    private static let slotsAtStart = 1 << 10
    /// Three quarters of this many keys are remembered: 3,145,728 in 32 MiB.
    private static let slotsLimit = 1 << 22

    // Open addressing, linear probing; 0 is an empty slot.
    private var slots: [UInt64]
    private let slotsLimit: Int
    private(set) var count = 0
    /// There were more keys than can be remembered.
    private(set) var isFull = false
    /// The elements themselves, if df2redis removes them when they are due.
    var timers: ElementTimers?

    /// - Parameter slotsLimit: how far the table may grow, a power of two.
    init(slotsLimit: Int = slotsLimit) {
        self.slotsLimit = slotsLimit
        slots = [UInt64](repeating: 0, count: min(ElementExpiries.slotsAtStart, slotsLimit))
    }

    /// False: no key need be looked up.
    var isInUse: Bool { count > 0 || isFull }

    mutating func insert(database: Int, key: ByteView) {
        let hash = ElementExpiries.hash(database, key)
        guard !isFull, find(hash) == nil else { return }
        guard makeRoom() else {
            isFull = true
            return
        }
        place(hash)
        count += 1
    }

    /// Whether the key may have elements with an expiry.
    func contains(database: Int, key: ByteView) -> Bool {
        guard count > 0 else { return isFull }
        return isFull || find(ElementExpiries.hash(database, key)) != nil
    }

    /// The key is gone or written anew.
    mutating func remove(database: Int, key: ByteView) {
        timers?.remove(database: database, key: key)
        removeName(database: database, key: key)
    }

    private mutating func removeName(database: Int, key: ByteView) {
        guard count > 0, let index = find(ElementExpiries.hash(database, key)) else { return }
        remove(at: index)
    }

    /// The key has another name, or is in another database.
    mutating func move(database: Int, key: ByteView, toDatabase: Int, toKey: ByteView) {
        guard isInUse, database != toDatabase || !key.equals(toKey) else { return }
        timers?.move(database: database, key: key, toDatabase: toDatabase, toKey: toKey)
        let isIn = contains(database: database, key: key)
        removeName(database: database, key: key)
        removeName(database: toDatabase, key: toKey)
        if isIn { insert(database: toDatabase, key: toKey) }
    }

    /// A database is empty, or all of them (nil) are. What stays here of one does no harm.
    mutating func removeAll(database: Int? = nil) {
        timers?.removeAll(database: database)
        guard isInUse, database == nil else { return }
        for index in slots.indices { slots[index] = 0 }
        count = 0
        isFull = false
    }

    // MARK: The table

    private static func hash(_ database: Int, _ key: ByteView) -> UInt64 {
        max(1, key.xxh64(seed: UInt64(bitPattern: Int64(database))))
    }

    private func find(_ hash: UInt64) -> Int? {
        let mask = slots.count - 1
        var index = Int(truncatingIfNeeded: hash) & mask
        while slots[index] != 0 {
            if slots[index] == hash { return index }
            index = (index + 1) & mask
        }
        return nil
    }

    private mutating func place(_ hash: UInt64) {
        let mask = slots.count - 1
        var index = Int(truncatingIfNeeded: hash) & mask
        while slots[index] != 0 { index = (index + 1) & mask }
        slots[index] = hash
    }

    // Entries after the gap move up into it, as far as their own place allows.
    private mutating func remove(at gap: Int) {
        count -= 1
        let mask = slots.count - 1
        var hole = gap
        var index = (gap + 1) & mask
        while slots[index] != 0 {
            let home = Int(truncatingIfNeeded: slots[index]) & mask
            if (index - home) & mask >= (index - hole) & mask {
                slots[hole] = slots[index]
                hole = index
            }
            index = (index + 1) & mask
        }
        slots[hole] = 0
    }

    private mutating func makeRoom() -> Bool {
        guard (count + 1) * 4 > slots.count * 3 else { return true }
        guard slots.count < slotsLimit else { return false }
        let old = slots
        slots = [UInt64](repeating: 0, count: old.count * 2)
        for hash in old where hash != 0 { place(hash) }
        return true
    }
}

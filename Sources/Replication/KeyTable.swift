internal import Bytes

/// Maps keys (database and name) to small values, in a bounded amount of memory. Looking up allocates
/// nothing.
///
/// Open addressing with linear probing. A place is valid until the next insertion or removal.
struct KeyTable<Value: BitwiseCopyable>: ~Copyable {
    private struct Slot: BitwiseCopyable {
        var database: Int
        var value: Value
        var keyOffset: Int
        var keyCount: Int
        var hash: UInt64
        var isUsed: Bool
    }

    private let empty: Slot
    private let slotsLimit: Int
    private var slots: [Slot]
    private(set) var count = 0
    // Keys lie here one after another; those of slots given up remain until it is packed anew.
    private var keys: RegionBuffer
    private var spare: RegionBuffer
    private var keyBytesUsed = 0

    /// - Parameters:
    ///   - slots: to begin with; doubled with need. A power of two, as is the limit.
    ///   - slotsLimit: three quarters of this many keys are held at most.
    ///   - filler: any value, for places without a key.
    init(slots count: Int, slotsLimit: Int, filler: Value) throws(SystemError) {
        let keys = try RegionBuffer(capacity: 64 << 10)
        let spare = try RegionBuffer(capacity: 64 << 10)
        self.keys = keys
        self.spare = spare
        self.slotsLimit = slotsLimit
        empty = Slot(
            database: 0, value: filler, keyOffset: 0, keyCount: 0, hash: 0, isUsed: false)
        slots = [Slot](repeating: empty, count: count)
    }

    /// Places of the table; some are empty.
    var places: Range<Int> { slots.indices }

    func isUsed(at place: Int) -> Bool { slots[place].isUsed }

    /// The value at a place that `find` returned.
    subscript(place: Int) -> Value {
        get { slots[place].value }
        set { slots[place].value = newValue }
    }

    /// The key at a place that is used; valid until the next change.
    func key(at place: Int) -> (database: Int, name: ByteView) {
        let slot = slots[place]
        return (slot.database, keys.view.slice(slot.keyOffset, slot.keyCount))
    }

    /// Where a key is; nil if it is not there.
    func find(_ database: Int, _ key: ByteView) -> Int? {
        guard count > 0 else { return nil }
        return find(database, key, hash(database, key))
    }

    /// Sets the value of a key; false if it is new and there is no room.
    mutating func insert(_ database: Int, _ key: ByteView, _ value: Value) -> Bool {
        let hash = hash(database, key)
        if let place = find(database, key, hash) {
            slots[place].value = value
            return true
        }
        guard makeRoom(keyBytes: key.count) else { return false }
        let offset = keys.count
        guard (try? keys.append(key)) != nil else { return false }
        keyBytesUsed += key.count
        put(
            Slot(
                database: database, value: value, keyOffset: offset, keyCount: key.count,
                hash: hash, isUsed: true))
        count += 1
        return true
    }

    // Entries after the gap move up into it, as far as their own place allows.
    mutating func remove(at gap: Int) {
        count -= 1
        keyBytesUsed -= slots[gap].keyCount
        let mask = slots.count - 1
        var hole = gap
        var index = (gap + 1) & mask
        while slots[index].isUsed {
            let home = Int(truncatingIfNeeded: slots[index].hash) & mask
            if (index - home) & mask >= (index - hole) & mask {
                slots[hole] = slots[index]
                hole = index
            }
            index = (index + 1) & mask
        }
        slots[hole].isUsed = false
    }

    mutating func removeAll() {
        for index in slots.indices { slots[index].isUsed = false }
        count = 0
        keyBytesUsed = 0
        keys.clear()
    }

    private mutating func put(_ slot: Slot) {
        var index = Int(truncatingIfNeeded: slot.hash) & (slots.count - 1)
        while slots[index].isUsed { index = (index + 1) & (slots.count - 1) }
        slots[index] = slot
    }

    private func find(_ database: Int, _ key: ByteView, _ hash: UInt64) -> Int? {
        var index = Int(truncatingIfNeeded: hash) & (slots.count - 1)
        while slots[index].isUsed {
            let slot = slots[index]
            if slot.hash == hash, slot.database == database,
                keys.view.slice(slot.keyOffset, slot.keyCount).equals(key)
            {
                return index
            }
            index = (index + 1) & (slots.count - 1)
        }
        return nil
    }

    private func hash(_ database: Int, _ key: ByteView) -> UInt64 {
        key.xxh64(seed: UInt64(bitPattern: Int64(database)))
    }

    private mutating func makeRoom(keyBytes: Int) -> Bool {
        if (count + 1) * 4 > slots.count * 3 {
            guard slots.count < slotsLimit else { return false }
            let old = slots
            slots = [Slot](repeating: empty, count: old.count * 2)
            for slot in old where slot.isUsed { put(slot) }
        }
        // Pack when most of the key space is gaps.
        if keys.count > 64 << 10, keys.count > 2 * (keyBytesUsed + keyBytes) {
            spare.clear()
            guard (try? spare.reserve(keyBytesUsed + keyBytes)) != nil else { return false }
            for index in slots.indices where slots[index].isUsed {
                let key = keys.view.slice(slots[index].keyOffset, slots[index].keyCount)
                slots[index].keyOffset = spare.count
                guard (try? spare.append(key)) != nil else { return false }
            }
            swap(&keys, &spare)
        }
        return true
    }
}

internal import Bytes

/// Keeps keys alive on the target whose expiry is near or past, as long as the source may still
/// change it.
///
/// We are always behind the source: a key that the target expired on its own is lost if the source
/// had renewed it meanwhile (protocol.md 5.11). So an expiry that is past or nearer than the horizon
/// is written as a day from now and remembered here. The source's own DEL removes the key in time;
/// what is still open when the run ends gets its true expiry then, unless the key was given another
/// one since.
struct HeldExpiries: ~Copyable {
    /// Expiries further away than this are written as they are.
    static let horizonMilliseconds: Int64 = 60_000
    private static let dayMilliseconds: Int64 = 86_400_000
    private static let slotsAtStart = 1 << 12
    /// Three quarters of this many keys are held at once; further ones get their true expiry.
    private static let slotsLimit = 1 << 20

    struct Held: BitwiseCopyable {
        var database: Int
        /// What the source said, and what was written for it; Unix milliseconds.
        var trueExpiry: Int64
        var heldExpiry: Int64
        fileprivate var keyOffset: Int
        fileprivate var keyCount: Int
        fileprivate var hash: UInt64
        fileprivate var isUsed: Bool
    }

    private static let empty = Held(
        database: 0, trueExpiry: 0, heldExpiry: 0, keyOffset: 0, keyCount: 0, hash: 0,
        isUsed: false)

    private var slots: [Held]
    private(set) var count = 0
    /// Near expiries written as they were for want of room.
    private(set) var notHeld = 0
    // Keys lie here one after another; those of slots given up remain until it is packed anew.
    private var keys: RegionBuffer
    private var spare: RegionBuffer
    private var keyBytesUsed = 0

    init() throws(SystemError) {
        let keys = try RegionBuffer(capacity: 64 << 10)
        let spare = try RegionBuffer(capacity: 64 << 10)
        self.keys = keys
        self.spare = spare
        slots = [Held](repeating: HeldExpiries.empty, count: HeldExpiries.slotsAtStart)
    }

    /// What to write for a key's expiry (Unix milliseconds, not 0) now.
    mutating func adjust(
        _ expiry: Int64, database: Int, key: ByteView, now: Int64
    ) -> Int64 {
        guard expiry <= now + HeldExpiries.horizonMilliseconds else {
            cancel(database: database, key: key)
            return expiry
        }
        let held = now + HeldExpiries.dayMilliseconds
        guard insert(database: database, key: key, trueExpiry: expiry, heldExpiry: held) else {
            notHeld += 1
            return expiry
        }
        return held
    }

    /// The key is gone, or its expiry was set or cleared: nothing is open for it.
    mutating func cancel(database: Int, key: ByteView) {
        guard count > 0, let index = find(database, key, hash(database, key)) else { return }
        remove(at: index)
    }

    /// The key was given another name, or moved to another database, with its expiry.
    mutating func move(
        database: Int, key: ByteView, toDatabase: Int, toKey: ByteView
    ) {
        guard count > 0 else { return }
        cancel(database: toDatabase, key: toKey)
        guard let index = find(database, key, hash(database, key)) else { return }
        let held = slots[index]
        remove(at: index)
        if !insert(
            database: toDatabase, key: toKey, trueExpiry: held.trueExpiry,
            heldExpiry: held.heldExpiry)
        {
            notHeld += 1
        }
    }

    mutating func removeAll() {
        for index in slots.indices { slots[index].isUsed = false }
        count = 0
        keyBytesUsed = 0
        keys.clear()
    }

    /// Places of the table; some are empty.
    var places: Range<Int> { slots.indices }

    /// The open entry at a place; its key is valid until the next change.
    func entry(at place: Int) -> (held: Held, key: ByteView)? {
        guard slots[place].isUsed else { return nil }
        return (slots[place], keys.view.slice(slots[place].keyOffset, slots[place].keyCount))
    }

    // MARK: The table: open addressing, linear probing

    private mutating func insert(
        database: Int, key: ByteView, trueExpiry: Int64, heldExpiry: Int64
    ) -> Bool {
        let hash = hash(database, key)
        if let index = find(database, key, hash) {
            slots[index].trueExpiry = trueExpiry
            slots[index].heldExpiry = heldExpiry
            return true
        }
        guard makeRoom(keyBytes: key.count) else { return false }
        let offset = keys.count
        guard (try? keys.append(key)) != nil else { return false }
        keyBytesUsed += key.count
        place(
            Held(
                database: database, trueExpiry: trueExpiry, heldExpiry: heldExpiry,
                keyOffset: offset, keyCount: key.count, hash: hash, isUsed: true))
        count += 1
        return true
    }

    private mutating func place(_ held: Held) {
        var index = Int(truncatingIfNeeded: held.hash) & (slots.count - 1)
        while slots[index].isUsed { index = (index + 1) & (slots.count - 1) }
        slots[index] = held
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

    // Entries after the gap move up into it, as far as their own place allows.
    private mutating func remove(at gap: Int) {
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

    private func hash(_ database: Int, _ key: ByteView) -> UInt64 {
        key.xxh64(seed: UInt64(bitPattern: Int64(database)))
    }

    private mutating func makeRoom(keyBytes: Int) -> Bool {
        if (count + 1) * 4 > slots.count * 3 {
            guard slots.count < HeldExpiries.slotsLimit else { return false }
            let old = slots
            slots = [Held](repeating: HeldExpiries.empty, count: old.count * 2)
            for held in old where held.isUsed { place(held) }
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

    /// Sets the true expiry if the key still has the one written for it.
    /// KEYS[1], ARGV[1] = held, ARGV[2] = true expiry, Unix milliseconds.
    static let releaseScript: StaticString = """
        local now = redis.call('TIME')
        local left = redis.call('PTTL', KEYS[1])
        local expiry = now[1] * 1000 + math.floor(now[2] / 1000) + left
        if left > 0 and math.abs(expiry - ARGV[1]) <= 1000 then
            redis.call('PEXPIREAT', KEYS[1], ARGV[2])
        end
        return redis.status_reply('OK')
        """
}

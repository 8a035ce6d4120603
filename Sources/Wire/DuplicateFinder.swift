import Bytes

/// Remembers which fields of one container were seen, by hash and position.
///
/// A server that loads a packed hash, set or zset does not look for duplicates by default, but
/// asserts that there are none when it converts it to a table, sometimes at once.
struct DuplicateFinder: ~Copyable {
    /// Above this many fields a container is not looked through (2 MiB of slots).
    static let limit = 1 << 16

    private struct Slot {
        var hash: UInt64
        var position: UInt32
        /// A slot belongs to the container in hand if this is its number.
        var generation: UInt32
    }

    private var slots: [Slot]
    private var mask = 0
    private var generation: UInt32 = 0
    /// How many more fields may be inserted.
    private(set) var room = 0
    private var probe = 0
    private var probedHash: UInt64 = 0

    private static let empty = Slot(hash: 0, position: 0, generation: 0)

    init() {
        slots = Array(repeating: DuplicateFinder.empty, count: 1024)
    }

    /// Forgets everything and makes room for `count` fields, at most `limit`.
    mutating func start(count: Int) {
        precondition(count <= DuplicateFinder.limit)
        var capacity = 32
        while capacity < 2 * count { capacity *= 2 }
        if capacity > slots.count {
            slots = Array(repeating: DuplicateFinder.empty, count: capacity)
        }
        mask = capacity - 1
        room = count
        generation &+= 1
        if generation == 0 {
            for index in slots.indices { slots[index] = DuplicateFinder.empty }
            generation = 1
        }
    }

    /// Begins a search; `nextCandidate` then gives the positions of equal hashes.
    mutating func search(_ hash: UInt64) {
        probedHash = hash
        probe = Int(truncatingIfNeeded: hash) & mask
    }

    /// The position of a field with the hash searched for, nil after the last one. Then `insert`
    /// puts the field at the place found.
    mutating func nextCandidate() -> Int? {
        while slots[probe].generation == generation {
            let slot = slots[probe]
            probe = (probe + 1) & mask
            if slot.hash == probedHash { return Int(slot.position) }
        }
        return nil
    }

    /// Needs `room`.
    mutating func insert(position: Int) {
        precondition(room > 0)
        room -= 1
        slots[probe] = Slot(
            hash: probedHash, position: UInt32(truncatingIfNeeded: position),
            generation: generation)
    }
}

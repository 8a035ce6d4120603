/// What a Redis does not know of a key, or knows otherwise.
struct KeyDetails: Equatable {
    /// Unix milliseconds, 0 for none.
    var expiryMilliseconds: Int64 = 0
    var isSticky = false
    var memcachedFlags: UInt32?
    /// Expiries of hash fields or set members, Unix seconds.
    var elementExpiries: [[UInt8]: Int64] = [:]

    var isEmpty: Bool {
        expiryMilliseconds == 0 && !isSticky && memcachedFlags == nil && elementExpiries.isEmpty
    }

    func isExpired(at milliseconds: Int64) -> Bool {
        expiryMilliseconds != 0 && expiryMilliseconds <= milliseconds
    }

    /// The elements whose time has come, in byte order.
    func expiredElements(at milliseconds: Int64) -> [[UInt8]] {
        guard !elementExpiries.isEmpty else { return [] }
        return elementExpiries.filter { $0.value * 1000 <= milliseconds }.map(\.key)
            .sorted { $0.lexicographicallyPrecedes($1) }
    }
}

/// Expiries in the order of their time. An entry may be outdated: who takes one compares it with the
/// key's details.
struct ExpiryQueue {
    struct Entry {
        var expiryMilliseconds: Int64
        var name: KeyName
    }

    /// A binary heap, the earliest first.
    private var entries: [Entry] = []

    var first: Entry? { entries.first }

    mutating func insert(_ name: KeyName, _ expiryMilliseconds: Int64) {
        entries.append(Entry(expiryMilliseconds: expiryMilliseconds, name: name))
        var index = entries.count - 1
        while index > 0 {
            let parent = (index - 1) / 2
            guard entries[index].expiryMilliseconds < entries[parent].expiryMilliseconds else {
                return
            }
            entries.swapAt(index, parent)
            index = parent
        }
    }

    mutating func removeFirst() {
        entries.swapAt(0, entries.count - 1)
        entries.removeLast()
        var index = 0
        while true {
            var least = index
            for child in [2 * index + 1, 2 * index + 2] where child < entries.count {
                if entries[child].expiryMilliseconds < entries[least].expiryMilliseconds {
                    least = child
                }
            }
            if least == index { return }
            entries.swapAt(index, least)
            index = least
        }
    }

    mutating func removeAll() { entries.removeAll() }
}

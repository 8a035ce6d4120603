/// The newest part of a shard's journal, kept for partial syncs (protocol.md 8.5).
struct Backlog {
    private struct Item {
        let bytes: [UInt8]
        let isPing: Bool
        let milliseconds: Int64
    }

    /// A release that evicts by time does so a little with each write (protocol.md 8.5).
    private static let evictionsPerAppend = 100

    private let limit: BacklogLimit
    private var items: [Item] = []
    /// Where in `items` the oldest entry kept stands.
    private var start = 0
    private var byteCount = 0
    /// The LSN that the next entry gets.
    private(set) var nextLSN: UInt64 = 1

    init(limit: BacklogLimit) {
        self.limit = limit
    }

    /// The LSN of the oldest entry kept; `nextLSN` if none is.
    var firstLSN: UInt64 { nextLSN - UInt64(items.count - start) }

    /// Whether a flow can resume with `lsn`.
    func holds(_ lsn: UInt64) -> Bool {
        lsn >= firstLSN && lsn <= nextLSN
    }

    /// Adds an entry in its journal form; returns its LSN.
    mutating func append(_ bytes: [UInt8], isPing: Bool, now milliseconds: Int64) -> UInt64 {
        items.append(Item(bytes: bytes, isPing: isPing, milliseconds: milliseconds))
        byteCount += bytes.count
        nextLSN += 1
        switch limit {
        case .entries(let count):
            while items.count - start > count { dropFirst() }
        case .age(let age, let bytes):
            var budget = Self.evictionsPerAppend
            while budget > 0, start < items.count - 1,
                byteCount > bytes || milliseconds - items[start].milliseconds >= age
            {
                dropFirst()
                budget -= 1
            }
        }
        return nextLSN - 1
    }

    /// Forgets all entries, not the numbering (protocol.md 8.6).
    mutating func clear() {
        items = []
        start = 0
        byteCount = 0
    }

    /// The entries from `lsn` on, which must be held.
    func forEach(
        from lsn: UInt64, _ body: (_ bytes: [UInt8], _ lsn: UInt64, _ isPing: Bool) -> Void
    ) {
        var current = lsn
        for item in items[(start + Int(lsn - firstLSN))...] {
            body(item.bytes, current, item.isPing)
            current += 1
        }
    }

    private mutating func dropFirst() {
        byteCount -= items[start].bytes.count
        start += 1
        if start > 1024 && start * 2 > items.count {
            items.removeFirst(start)
            start = 0
        }
    }
}

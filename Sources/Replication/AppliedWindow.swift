/// The journal records of one flow that are under way to several nodes, which answer each at its own
/// pace: tells up to where all of them are applied.
struct AppliedWindow {
    /// Records that may be under way, a power of two.
    static let capacity = 1 << 14

    private struct Record {
        var nextLSN: UInt64
        /// Its commands that are not answered.
        var pending: UInt32
    }

    private var records = [Record](
        repeating: Record(nextLSN: 0, pending: 0), count: capacity)
    private var head = 0
    private var tail = 0
    /// The LSN of the first record not applied, as far as these tell; 0 before the first.
    private(set) var applied: UInt64 = 0

    var hasRoom: Bool { tail - head < AppliedWindow.capacity }

    /// A command of the record before `nextLSN` goes out. Records come in their order; the first
    /// command of one needs room.
    mutating func add(_ nextLSN: UInt64) {
        if tail > head {
            let last = (tail - 1) & (AppliedWindow.capacity - 1)
            precondition(records[last].nextLSN <= nextLSN)
            if records[last].nextLSN == nextLSN {
                records[last].pending += 1
                return
            }
        }
        precondition(hasRoom)
        records[tail & (AppliedWindow.capacity - 1)] = Record(nextLSN: nextLSN, pending: 1)
        tail += 1
    }

    /// One of its commands is answered. Returns `applied`.
    mutating func settle(_ nextLSN: UInt64) -> UInt64 {
        var low = head
        var high = tail
        while low < high {
            let middle = (low + high) / 2
            if self[middle].nextLSN < nextLSN { low = middle + 1 } else { high = middle }
        }
        precondition(low < tail && self[low].nextLSN == nextLSN && self[low].pending > 0)
        records[low & (AppliedWindow.capacity - 1)].pending -= 1
        while head < tail, self[head].pending == 0 {
            applied = self[head].nextLSN
            head += 1
        }
        return applied
    }

    private subscript(index: Int) -> Record { records[index & (AppliedWindow.capacity - 1)] }
}

internal import Bytes

/// Watches pops inside transactions: LMPOP with a COUNT is journaled as one LPOP or RPOP, whatever it
/// removed (protocol.md 6.8). LMOVE and its relatives journal the same, with a push of the same
/// transaction beside it. A pop for which no push turns up is reported.
struct PopWatch {
    /// A pop whose push did not turn up.
    struct Suspect {
        var database: Int
        var key: [UInt8]
        var flow: Int
        fileprivate var since: Int64
    }

    /// Pops that may wait for their push at once, and pushes remembered. One flow may be handled for
    /// a whole turn (1 MiB, some 25,000 short records) before the other gets its own.
    private static let capacity = 1 << 15
    /// A push of another flow comes within this time.
    private static let patienceMilliseconds: Int64 = 2_000

    private var waiting: [UInt64: [Suspect]] = [:]
    private var waitingCount = 0
    /// Each transaction has one place in it; a later one takes it over.
    private var pushes = [UInt64](repeating: 0, count: capacity)

    var isWaiting: Bool { waitingCount > 0 }

    /// A push of a transaction (id not 0) was read.
    mutating func pushed(_ transactionID: UInt64) {
        pushes[PopWatch.place(transactionID)] = transactionID
        guard waitingCount > 0, let explained = waiting.removeValue(forKey: transactionID) else {
            return
        }
        waitingCount -= explained.count
    }

    /// A pop without a count, of a transaction (id not 0), was read. The key is copied: such records
    /// are rare beside the rest.
    mutating func popped(
        _ transactionID: UInt64, database: Int, key: ByteView, flow: Int, now: Int64,
        report: (Suspect) -> Void
    ) {
        guard pushes[PopWatch.place(transactionID)] != transactionID else { return }
        let pop = Suspect(database: database, key: key.array(), flow: flow, since: now)
        guard waitingCount < PopWatch.capacity else {
            report(pop)
            return
        }
        waiting[transactionID, default: []].append(pop)
        waitingCount += 1
    }

    /// Reports pops that have waited long enough.
    mutating func tick(_ now: Int64, report: (Suspect) -> Void) {
        finish(before: now - PopWatch.patienceMilliseconds, report: report)
    }

    /// Reports all that still wait; the run ends.
    mutating func finish(report: (Suspect) -> Void) {
        finish(before: .max, report: report)
    }

    private mutating func finish(before time: Int64, report: (Suspect) -> Void) {
        guard waitingCount > 0 else { return }
        let due = waiting.filter { $0.value[0].since < time }
        for transactionID in due.keys { waiting.removeValue(forKey: transactionID) }
        waitingCount -= due.reduce(0) { $0 + $1.value.count }
        for pop in due.values.joined().sorted(by: { $0.since < $1.since }) { report(pop) }
    }

    private static func place(_ transactionID: UInt64) -> Int {
        Int(truncatingIfNeeded: transactionID) & (capacity - 1)
    }
}

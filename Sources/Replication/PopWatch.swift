internal import Bytes

/// Watches pops inside transactions: LMPOP with a COUNT is journaled as one LPOP or RPOP, whatever it
/// removed (protocol.md 6.8). LMOVE and its relatives journal the same, with a push of the same
/// transaction beside it. A pop for which no push turns up is reported.
struct PopWatch {
    private struct Pop {
        var transactionID: UInt64
        var database: Int
        var key: [UInt8]
        var since: Int64
    }

    /// Pops that may wait for their push at once, and pushes remembered.
    private static let capacity = 64
    /// A push of another flow comes within this time.
    private static let patienceMilliseconds: Int64 = 2_000

    private var waiting: [Pop] = []
    private var pushes = [UInt64](repeating: 0, count: capacity)
    private var nextPush = 0

    /// A push of a transaction (id not 0) was read.
    mutating func pushed(_ transactionID: UInt64) {
        pushes[nextPush] = transactionID
        nextPush = (nextPush + 1) % PopWatch.capacity
        waiting.removeAll { $0.transactionID == transactionID }
    }

    /// A pop without a count, of a transaction (id not 0), was read. The key is copied: such records
    /// are rare beside the rest.
    mutating func popped(
        _ transactionID: UInt64, database: Int, key: ByteView, now: Int64,
        report: (Finding) -> Void
    ) {
        guard !pushes.contains(transactionID) else { return }
        if waiting.count == PopWatch.capacity { report(finding(waiting.removeFirst())) }
        waiting.append(
            Pop(transactionID: transactionID, database: database, key: key.array(), since: now))
    }

    /// Reports pops that have waited long enough.
    mutating func tick(_ now: Int64, report: (Finding) -> Void) {
        while let first = waiting.first, now - first.since > PopWatch.patienceMilliseconds {
            report(finding(waiting.removeFirst()))
        }
    }

    /// Reports all that still wait; the run ends.
    mutating func finish(report: (Finding) -> Void) {
        for pop in waiting { report(finding(pop)) }
        waiting.removeAll()
    }

    private func finding(_ pop: Pop) -> Finding {
        Finding(
            kind: .repair, database: pop.database,
            key: pop.key.withByteView { $0.printable() }, command: "LPOP/RPOP",
            reason: "may stand for an LMPOP or BLMPOP that took more than one element")
    }
}

internal import Bytes

/// Watches pops inside transactions: LMPOP with a COUNT is journaled as one LPOP or RPOP, whatever it
/// removed (protocol.md 6.8). LMOVE and its relatives journal one pop and one push of one element, and
/// nothing else, in a transaction of their own. Every other transaction with a pop is suspect. (One of
/// an LMPOP and a push of one element cannot be told from LMOVE.)
struct PopWatch: ~Copyable {
    /// A pop that may stand for more.
    struct Suspect {
        var database: Int
        var key: [UInt8]
        var flow: Int
    }

    private struct Transaction {
        var pops: [Suspect] = []
        var since: Int64
    }

    /// All records of a transaction, on whatever flow, come from the source within this time.
    private static let patienceMilliseconds: Int64 = 2_000

    private var transactions: [UInt64: Transaction] = [:]
    private let counts: TransactionCounts
    /// Keys of the pops that wait for their judgement, with how many there are of each.
    private var keys: KeyTable<Int32>

    /// - Parameter counts: of the cores together, which may have a part of a transaction each.
    init(_ counts: TransactionCounts = TransactionCounts()) throws(SystemError) {
        keys = try KeyTable(
            slots: 1 << 6, slotsLimit: TransactionCounts.capacity << 1, filler: 0)
        self.counts = counts
    }

    var isWaiting: Bool { !transactions.isEmpty }

    /// Whether a pop of the key waits for its judgement: the target may hold more of it than the
    /// source.
    func isWaiting(for key: ByteView, database: Int) -> Bool { keys.find(database, key) != nil }

    /// A record of a transaction (id not 0) that is no pop was read; `isPush` says that it pushes one
    /// element.
    mutating func passed(_ transactionID: UInt64, isPush: Bool) {
        counts.note(transactionID, isPush ? .push : .other)
    }

    /// A pop without a count, of a transaction (id not 0), was read. The key is copied: such records
    /// are rare beside the rest.
    mutating func popped(
        _ transactionID: UInt64, database: Int, key: ByteView, flow: Int, now: Int64,
        report: (Suspect) -> Void
    ) {
        counts.note(transactionID, .pop)
        let pop = Suspect(database: database, key: key.array(), flow: flow)
        let others = keys.find(database, key).map { keys[$0] } ?? 0
        guard transactions.count < TransactionCounts.capacity,
            keys.insert(database, key, others + 1)
        else {
            report(pop)
            return
        }
        transactions[transactionID, default: Transaction(since: now)].pops.append(pop)
    }

    /// Reports pops that have waited long enough.
    /// - Parameter readUpTo: when every flow of every core had last been read dry. A flow that lags may
    ///   have more of a transaction.
    mutating func tick(_ now: Int64, readUpTo: Int64 = .max, report: (Suspect) -> Void) {
        finish(before: min(now - PopWatch.patienceMilliseconds, readUpTo), report: report)
    }

    /// Judges all that still wait; the run ends.
    mutating func finish(report: (Suspect) -> Void) {
        finish(before: .max, report: report)
    }

    private mutating func finish(before time: Int64, report: (Suspect) -> Void) {
        guard !transactions.isEmpty else { return }
        let due = transactions.filter { $0.value.since < time }
        for (transactionID, transaction) in due.sorted(by: { $0.key < $1.key }) {
            transactions.removeValue(forKey: transactionID)
            let isMove =
                counts.counts(of: transactionID)
                == TransactionCounts.Counts(pops: 1, pushes: 1, others: 0)
            for pop in transaction.pops {
                release(pop)
                if !isMove { report(pop) }
            }
        }
    }

    private mutating func release(_ pop: Suspect) {
        guard let place = pop.key.withByteView({ keys.find(pop.database, $0) }) else { return }
        keys[place] -= 1
        if keys[place] == 0 { keys.remove(at: place) }
    }
}

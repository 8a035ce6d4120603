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

    /// What was read of a transaction. A later one takes its place over.
    private struct Records: BitwiseCopyable {
        var transactionID: UInt64 = 0
        /// Pushes of one element, and records of any other kind but pops.
        var pushes: Int32 = 0
        var others: Int32 = 0
    }

    /// Transactions remembered. One flow may be handled for a whole turn (1 MiB, some 25,000 short
    /// records) before the other gets its own.
    private static let capacity = 1 << 17
    /// All records of a transaction, on whatever flow, come within this time.
    private static let patienceMilliseconds: Int64 = 2_000

    private var transactions: [UInt64: Transaction] = [:]
    private var records = [Records](repeating: Records(), count: capacity)
    /// Keys of the pops that wait for their judgement, with how many there are of each.
    private var keys: KeyTable<Int32>

    init() throws(SystemError) {
        keys = try KeyTable(slots: 1 << 6, slotsLimit: PopWatch.capacity << 1, filler: 0)
    }

    var isWaiting: Bool { !transactions.isEmpty }

    /// Whether a pop of the key waits for its judgement: the target may hold more of it than the
    /// source.
    func isWaiting(for key: ByteView, database: Int) -> Bool { keys.find(database, key) != nil }

    /// A record of a transaction (id not 0) that is no pop was read; `isPush` says that it pushes one
    /// element.
    mutating func passed(_ transactionID: UInt64, isPush: Bool) {
        let place = take(transactionID)
        if isPush {
            records[place].pushes &+= 1
        } else {
            records[place].others &+= 1
        }
    }

    /// A pop without a count, of a transaction (id not 0), was read. The key is copied: such records
    /// are rare beside the rest.
    mutating func popped(
        _ transactionID: UInt64, database: Int, key: ByteView, flow: Int, now: Int64,
        report: (Suspect) -> Void
    ) {
        let pop = Suspect(database: database, key: key.array(), flow: flow)
        let others = keys.find(database, key).map { keys[$0] } ?? 0
        guard transactions.count < PopWatch.capacity, keys.insert(database, key, others + 1) else {
            report(pop)
            return
        }
        _ = take(transactionID)
        transactions[transactionID, default: Transaction(since: now)].pops.append(pop)
    }

    /// Reports pops that have waited long enough.
    mutating func tick(_ now: Int64, report: (Suspect) -> Void) {
        finish(before: now - PopWatch.patienceMilliseconds, report: report)
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
            let seen = records[PopWatch.place(transactionID)]
            let isMove =
                seen.transactionID == transactionID && transaction.pops.count == 1
                && seen.pushes == 1 && seen.others == 0
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

    /// The place of a transaction, empty if it was another one's.
    private mutating func take(_ transactionID: UInt64) -> Int {
        let place = PopWatch.place(transactionID)
        if records[place].transactionID != transactionID {
            records[place] = Records(transactionID: transactionID)
        }
        return place
    }

    private static func place(_ transactionID: UInt64) -> Int {
        Int(truncatingIfNeeded: transactionID) & (capacity - 1)
    }
}

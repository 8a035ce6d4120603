internal import Bytes

/// What was read of the source's latest transactions, on whatever flow and core. A later transaction
/// takes the place of an earlier one.
final class TransactionCounts: Sendable {
    enum Record {
        case pop
        /// Of one element.
        case push
        case other
    }

    /// Of one transaction; 63 means as many or more.
    struct Counts: Equatable {
        var pops = 0
        var pushes = 0
        var others = 0
    }

    /// Transactions remembered. One flow may be handled for a whole turn (1 MiB, some 25,000 short
    /// records) before the other gets its own, and the flows of another core may lag behind.
    static let capacity = 1 << 17
    private static let countBits: UInt64 = 6
    private static let countLimit: UInt64 = (1 << countBits) - 1
    private static let tagShift = 3 * countBits

    // From the top: the transaction's number without the bits that tell its place, then others, pushes
    // and pops.
    private let words = AtomicWords(count: capacity)

    /// A record of a transaction (number not 0) was read.
    func note(_ transactionID: UInt64, _ record: Record) {
        let shift: UInt64 =
            switch record {
            case .pop: 0
            case .push: TransactionCounts.countBits
            case .other: 2 * TransactionCounts.countBits
            }
        let tag = TransactionCounts.tag(transactionID)
        words.update(TransactionCounts.place(transactionID)) { word in
            let last = word >> TransactionCounts.tagShift
            // Of one that has lost its place nothing is known any more.
            guard last <= tag else { return word }
            let word = last == tag ? word : tag << TransactionCounts.tagShift
            let isFull =
                word >> shift & TransactionCounts.countLimit == TransactionCounts.countLimit
            return isFull ? word : word + 1 << shift
        }
    }

    /// Nil if a later transaction has its place.
    func counts(of transactionID: UInt64) -> Counts? {
        let word = words.load(TransactionCounts.place(transactionID))
        guard word >> TransactionCounts.tagShift == TransactionCounts.tag(transactionID) else {
            return nil
        }
        func count(_ shift: UInt64) -> Int { Int(word >> shift & TransactionCounts.countLimit) }
        return Counts(
            pops: count(0), pushes: count(TransactionCounts.countBits),
            others: count(2 * TransactionCounts.countBits))
    }

    private static func place(_ transactionID: UInt64) -> Int {
        Int(truncatingIfNeeded: transactionID) & (capacity - 1)
    }

    private static func tag(_ transactionID: UInt64) -> UInt64 {
        let bits = UInt64(capacity.trailingZeroBitCount)
        return transactionID >> bits & (UInt64.max >> tagShift)
    }
}

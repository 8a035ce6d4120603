internal import Synchronization

/// Lets through so many units per second, in whole nanoseconds and without drift, of whatever threads
/// spend them.
///
/// What was spent is paid off before the next: a unit is let through once the time has come at which
/// all before it are paid, so one huge command is followed by the pause that it costs. After a pause
/// of its own making at most `burstNanoseconds` worth of units go at once. Threads that look at the
/// same moment may each take a unit; all are paid for.
public final class TokenBucket: Sendable {
    /// A hundredth of a second: the first second after a rest is within 1 %, and a turn that comes
    /// late by less costs nothing.
    static let burstNanoseconds: Int64 = 10_000_000
    /// Units that are paid off at once, so that the product with a second fits 64 bits.
    private static let unitsLimit = 8 << 30

    private let rateStored: Atomic<Int>
    /// When everything spent is paid.
    private let paidAt = Atomic<Int64>(-burstNanoseconds)
    /// Part of a nanosecond, in units of 1 / rate.
    private let remainder = Atomic<Int64>(0)

    public init(rate: Int = 0) {
        precondition(rate >= 0)
        rateStored = Atomic(rate)
    }

    /// Units per second; 0 lets everything through.
    public var rate: Int { rateStored.load(ordering: .relaxed) }

    /// Takes effect at once. Debts at the old rate are forgotten: an operator who raises a rate does
    /// not wait for what was spent before.
    public func setRate(_ rate: Int) {
        guard rate != self.rate else { return }
        rateStored.store(rate, ordering: .relaxed)
        forget()
    }

    private func forget() {
        remainder.store(0, ordering: .relaxed)
        paidAt.store(-TokenBucket.burstNanoseconds, ordering: .relaxed)
    }

    /// Whether the next unit may go at `now`, monotonic nanoseconds.
    public func isOpen(_ now: Int64) -> Bool { rate == 0 || opensAt <= now }

    /// When it may; in the past, or 0, if it may already.
    var opensAt: Int64 { rate == 0 ? 0 : paidAt.load(ordering: .relaxed) }

    /// Takes `units`, whether they are there or not.
    public func spend(_ units: Int, now: Int64) {
        let rate = Int64(rate)
        guard rate > 0 else { return }
        let left = remainder.exchange(0, ordering: .relaxed)
        let cost = Int64(min(units, TokenBucket.unitsLimit)) * 1_000_000_000 + left
        let (nanoseconds, rest) = cost.quotientAndRemainder(dividingBy: rate)
        remainder.wrappingAdd(rest, ordering: .relaxed)
        var paid = paidAt.load(ordering: .relaxed)
        while true {
            let (isExchanged, original) = paidAt.weakCompareExchange(
                expected: paid,
                desired: max(paid, now - TokenBucket.burstNanoseconds) + nanoseconds,
                ordering: .relaxed)
            if isExchanged { break }
            paid = original
        }
        // It was paid at a rate that is no more.
        if self.rate != Int(rate) { forget() }
    }
}

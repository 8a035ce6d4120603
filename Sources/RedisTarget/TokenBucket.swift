/// Lets through so many units per second, in whole nanoseconds and without drift.
///
/// What was spent is paid off before the next: a unit is let through once the time has come at which
/// all before it are paid, so one huge command is followed by the pause that it costs. After a pause
/// of its own making at most `burstNanoseconds` worth of units go at once.
public struct TokenBucket: Sendable {
    /// A hundredth of a second: the first second after a rest is within 1 %, and a turn that comes
    /// late by less costs nothing.
    static let burstNanoseconds: Int64 = 10_000_000
    /// Units that are paid off at once, so that the product with a second fits 64 bits.
    private static let unitsLimit = 8 << 30

    /// Units per second; 0 lets everything through.
    public private(set) var rate: Int
    /// When everything spent is paid.
    private var paidAt: Int64 = .min
    /// Part of a nanosecond, in units of 1 / rate.
    private var remainder: Int64 = 0

    public init(rate: Int = 0) {
        precondition(rate >= 0)
        self.rate = rate
    }

    /// Takes effect at once. Debts at the old rate are forgotten: an operator who raises a rate does
    /// not wait for what was spent before.
    public mutating func setRate(_ rate: Int) {
        guard rate != self.rate else { return }
        self = TokenBucket(rate: rate)
    }

    /// Whether the next unit may go at `now`, monotonic nanoseconds.
    public func isOpen(_ now: Int64) -> Bool { rate == 0 || paidAt <= now }

    /// When it may; in the past if it may already.
    var opensAt: Int64 { rate == 0 ? .min : paidAt }

    /// Takes `units`, whether they are there or not.
    public mutating func spend(_ units: Int, now: Int64) {
        guard rate > 0 else { return }
        let cost = Int64(min(units, TokenBucket.unitsLimit)) * 1_000_000_000 + remainder
        let (nanoseconds, rest) = cost.quotientAndRemainder(dividingBy: Int64(rate))
        remainder = rest
        paidAt = max(paidAt, now - TokenBucket.burstNanoseconds) + nanoseconds
    }
}

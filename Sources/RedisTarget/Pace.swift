/// Whether the next command may be begun: rates, the target's memory, its latency, and the operator.
///
/// Nothing of it concerns the log-in, and nothing but the rates concerns commands inside an open
/// transaction, which is admitted as a whole.
public struct Pace: Sendable {
    /// Why a command was not begun.
    public enum Hold: UInt8, Sendable {
        case none
        /// The operator wants nothing to be written.
        case pause
        /// The target has no memory left, or must first say how much.
        case memory
        case rate
        /// As many commands are in flight as the target answers in time.
        case latency
    }

    /// False until the target is known.
    private var isOn = false
    public private(set) var operations = TokenBucket()
    public private(set) var bytes = TokenBucket()
    public private(set) var memory = MemoryRoom()
    public private(set) var window = LatencyWindow()
    public var isPaused = false
    /// The last refusal since `takeHold`.
    private var hold = Hold.none

    public init() {}

    /// From now on commands are paced.
    public mutating func begin() { isOn = true }

    /// What is still to be written ends the run: only the rates hold it up.
    public mutating func end() {
        isPaused = false
        isEnding = true
        window.setLimit(milliseconds: 0)
    }

    private var isEnding = false

    public mutating func setRates(operations: Int, bytes: Int, latencyMilliseconds: Int) {
        self.operations.setRate(operations)
        self.bytes.setRate(bytes)
        window.setLimit(milliseconds: isEnding ? 0 : latencyMilliseconds)
    }

    /// Nothing limits what is written.
    var isUnlimited: Bool {
        !isOn
            || !isPaused && operations.rate == 0 && bytes.rate == 0 && !window.isOn
                && !memory.isLimited
    }

    /// Why something was held since the last call.
    public mutating func takeHold() -> Hold {
        defer { hold = .none }
        return hold
    }

    /// When the rates let the next command through.
    public var ratesOpenAt: Int64 { max(operations.opensAt, bytes.opensAt) }

    /// - Parameters:
    ///   - size: bytes that it takes on the wire.
    ///   - isInside: whether it belongs to a transaction that was admitted.
    mutating func admits(
        _ size: Int, _ demand: MemoryRoom.Demand, isInside: Bool, commandsInFlight: Int,
        now: Int64
    ) -> Bool {
        guard isOn else { return true }
        if !operations.isOpen(now) || !bytes.isOpen(now) {
            hold = .rate
        } else if isInside || isEnding {
            return true
        } else if isPaused {
            hold = .pause
        } else if !memory.admits(size, demand) {
            hold = .memory
        } else if !window.admits(commandsInFlight) {
            hold = .latency
        } else {
            return true
        }
        return false
    }

    mutating func began(_ size: Int, _ demand: MemoryRoom.Demand) {
        if isOn { memory.began(size, demand) }
    }

    mutating func sent(_ size: Int, number: Int, now: Int64) {
        guard isOn else { return }
        operations.spend(1, now: now)
        bytes.spend(size, now: now)
        window.sent(number, now: now)
    }

    mutating func answered(_ number: Int, commandsInFlight: Int, now: Int64) {
        window.answered(number, commandsInFlight: commandsInFlight, now: now)
    }

    public mutating func tick(commandsInFlight: Int, now: Int64) {
        window.tick(commandsInFlight: commandsInFlight, now: now)
    }

    mutating func askedForMemory() { memory.asked() }

    /// The answer to the question for the target's memory; nil if it gave none.
    public mutating func answered(_ sample: MemoryRoom.Sample?) { memory.answered(sample) }

    /// The target has refused a command for want of memory.
    public mutating func wasRefusedForMemory() { memory.wasRefused() }
}

/// Whether the next command may be begun: rates, the target's memory, its latency, and the operator.
///
/// Nothing of it concerns the log-in, and nothing but the rates concerns commands inside an open
/// transaction, which is admitted as a whole.
public struct Pace {
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

    private let shared: SharedPace
    /// False until the server has let us in.
    private var isOn = false
    public private(set) var memory = MemoryRoom()
    public private(set) var window = LatencyWindow()
    // The last refusal since `takeHold`.
    private var hold = Hold.none

    public init(_ shared: SharedPace = SharedPace()) {
        self.shared = shared
        window.setLimit(milliseconds: shared.latencyMilliseconds)
    }

    /// From now on commands are paced.
    mutating func begin(_ server: ServerMemory) {
        memory = MemoryRoom(server)
        isOn = true
    }

    var isPaused: Bool { shared.isPaused }

    /// Nothing limits what is written.
    var isUnlimited: Bool {
        !isOn || shared.isOpen && !window.isOn && !memory.isLimited
    }

    /// Why something was held since the last call.
    public mutating func takeHold() -> Hold {
        defer { hold = .none }
        return hold
    }

    /// - Parameters:
    ///   - size: bytes that it takes on the wire.
    ///   - isInside: whether it belongs to a transaction that was admitted.
    mutating func admits(
        _ size: Int, _ demand: MemoryRoom.Demand, isInside: Bool, commandsInFlight: Int,
        now: Int64
    ) -> Bool {
        guard isOn else { return true }
        if !shared.isOpen {
            guard shared.operations.isOpen(now), shared.bytes.isOpen(now) else {
                hold = .rate
                return false
            }
            if shared.isEnding { return true }
            if shared.isPaused, !isInside {
                hold = .pause
                return false
            }
        }
        if isInside { return true }
        if !window.admits(commandsInFlight) {
            hold = .latency
        } else if !memory.admits(size, demand) {
            hold = .memory
        } else {
            return true
        }
        return false
    }

    mutating func began(_ size: Int, _ demand: MemoryRoom.Demand) {
        if isOn { memory.began(size, demand) }
    }

    /// What was admitted last is not begun.
    mutating func gaveUp() { memory.giveUp() }

    /// The connection has ended.
    func end() { memory.leave() }

    mutating func sent(_ size: Int, number: Int, now: Int64) {
        guard isOn else { return }
        if !shared.isOpen {
            shared.operations.spend(1, now: now)
            shared.bytes.spend(size, now: now)
        }
        window.sent(number, now: now)
    }

    mutating func answered(_ number: Int, commandsInFlight: Int, now: Int64) {
        window.answered(number, commandsInFlight: commandsInFlight, now: now)
    }

    public mutating func tick(commandsInFlight: Int, now: Int64) {
        window.setLimit(milliseconds: shared.latencyMilliseconds)
        window.tick(commandsInFlight: commandsInFlight, now: now)
    }

    mutating func askedForMemory() { memory.asked() }

    /// The answer to the question for the target's memory; nil if it gave none.
    public mutating func answered(_ sample: MemoryRoom.Sample?) { memory.answered(sample) }

    /// The target has refused a command for want of memory.
    public mutating func wasRefusedForMemory() { memory.wasRefused() }
}

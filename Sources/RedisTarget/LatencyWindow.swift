/// How many commands may be in flight, so that replies come within a limit: one more after each timely
/// reply that was waited for, half of them after a late one.
public struct LatencyWindow: Sendable {
    static let smallest = 1
    static let largest = 1 << 15
    /// Commands that a timely reply adds.
    private static let step = 16

    /// Nanoseconds; 0 watches nothing.
    public private(set) var limit: Int64 = 0
    /// Commands that may be in flight.
    public private(set) var size = largest
    /// The command that is watched, by its number, and when it was sent.
    private var watched = -1
    private var sentAt: Int64 = 0
    /// The reply that is watched is late already, and has been counted.
    private var isLate = false
    /// The last one watched took so long, nanoseconds.
    public private(set) var latency: Int64 = 0

    public init() {}

    public var isOn: Bool { limit > 0 }

    public mutating func setLimit(milliseconds: Int) {
        let nanoseconds = Int64(milliseconds) * 1_000_000
        guard nanoseconds != limit else { return }
        self = LatencyWindow()
        limit = nanoseconds
    }

    func admits(_ commandsInFlight: Int) -> Bool { !isOn || commandsInFlight < size }

    /// Command `number` goes out at `now`.
    mutating func sent(_ number: Int, now: Int64) {
        guard isOn, watched < 0 else { return }
        watched = number
        sentAt = now
        isLate = false
    }

    /// Command `number` is answered; `commandsInFlight` are not.
    mutating func answered(_ number: Int, commandsInFlight: Int, now: Int64) {
        guard watched >= 0, number >= watched else { return }
        latency = now - sentAt
        watched = -1
        if latency > limit {
            if !isLate { shrink(commandsInFlight + 1) }
        } else {
            // Only a window that was used has proved to be small enough.
            if commandsInFlight * 2 >= size || size < LatencyWindow.step {
                size = min(LatencyWindow.largest, size + LatencyWindow.step)
            }
        }
    }

    /// A reply that has not come within the limit is late before it is here.
    mutating func tick(commandsInFlight: Int, now: Int64) {
        guard isOn, watched >= 0, !isLate, now - sentAt > limit else { return }
        isLate = true
        shrink(commandsInFlight)
    }

    private mutating func shrink(_ commandsInFlight: Int) {
        size = max(LatencyWindow.smallest, min(size, commandsInFlight) / 2)
    }
}

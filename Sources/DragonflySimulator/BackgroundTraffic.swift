import Bytes
import CPlatform

/// Random traffic that a simulator process writes by itself.
public struct BackgroundTraffic: Sendable {
    public var options: RandomTraffic.Options
    /// Steps executed before the master listens.
    public var stepsBefore = 1000
    /// Steps per second from then on; 0 writes no more.
    public var stepsPerSecond = 1000
    /// Steps from then on, nil without end.
    public var stepsAfter: Int?

    public init(_ options: RandomTraffic.Options) {
        self.options = options
    }
}

/// The thread that writes the traffic.
final class TrafficWriter: Sendable {
    /// Expired keys deleted with each step, as a background task would.
    private static let expiriesPerStep = 2
    /// What the thread and its owner share.
    private struct State: Sendable {
        var mustStop = false
        var isDone = false
        var failure: EmulationError?
    }

    private let state = Monitor(State())

    /// Executes the first steps, then begins the thread. Throws `EmulationError` or, if no thread can
    /// be had, `SystemError`.
    init(_ traffic: BackgroundTraffic, on server: SimulatorServer) throws {
        var random = RandomTraffic(traffic.options)
        for _ in 0..<traffic.stepsBefore { try server.execute(random.next(at: Self.now())) }
        let first = random
        try startThread(named: "sim-traffic") { [state] in
            do throws(EmulationError) {
                try Self.write(first, traffic, server, state)
            } catch {
                state.update { $0.failure = error }
            }
            state.update { $0.isDone = true }
        }
    }

    /// Ends the thread; throws what ended it before.
    func stop() throws(EmulationError) {
        state.update { $0.mustStop = true }
        _ = state.wait { $0.isDone ? true : nil }
        try check()
    }

    /// Throws what has ended the thread, if anything went wrong.
    func check() throws(EmulationError) {
        if let failure = state.read({ $0.failure }) { throw failure }
    }

    private static func now() -> Int64 { cp_unix_milliseconds() }

    private static func write(
        _ first: RandomTraffic, _ traffic: BackgroundTraffic, _ server: SimulatorServer,
        _ state: Monitor<State>
    ) throws(EmulationError) {
        guard traffic.stepsPerSecond > 0 else { return }
        var random = first
        var remaining = traffic.stepsAfter ?? .max
        let interval = 1_000_000_000 / Int64(traffic.stepsPerSecond)
        var due = cp_monotonic_nanoseconds()
        while remaining > 0 {
            remaining -= 1
            due += interval
            let mustStop: Bool? = state.wait(until: due) { $0.mustStop ? true : nil }
            if mustStop != nil { return }
            try server.execute(random.next(at: now()))
            try server.expire(limit: expiriesPerStep)
        }
    }
}

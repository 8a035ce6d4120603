import Bytes
import CPlatform

/// Random traffic that a simulator process writes by itself.
public struct BackgroundTraffic: Sendable {
    public var options: RandomTraffic.Options
    /// Steps executed before the master listens.
    public var stepsBefore = 1000
    /// Steps per second from then on; 0 writes none.
    public var stepsPerSecond = 1000
    /// After this many of these no more are written; nil sets no limit.
    public var stepLimit: Int?

    public init(_ options: RandomTraffic.Options) {
        self.options = options
    }
}

/// What an emulated master does by itself: it writes the traffic, and deletes expired keys as
/// Dragonfly's background task does.
struct TrafficWriter {
    /// Expired keys deleted in each turn.
    private static let expiriesPerTurn = 2
    /// The longest time between two turns.
    private static let turnNanoseconds: Int64 = 10_000_000

    private let traffic: BackgroundTraffic
    private let server: SimulatorServer
    private var random: RandomTraffic

    init(_ traffic: BackgroundTraffic, on server: SimulatorServer) {
        self.traffic = traffic
        self.server = server
        random = RandomTraffic(traffic.options)
    }

    /// Executes the first steps, or, when `mustStop` says so, only some of them: false then.
    mutating func writeFirstSteps(unless mustStop: () -> Bool) throws(EmulationError) -> Bool {
        for _ in 0..<traffic.stepsBefore {
            if mustStop() { return false }
            try writeStep()
        }
        return true
    }

    /// Begins to write, on a thread of its own that ends when the server stops. A failure is one of
    /// the master: `SimulatorServer.failure`.
    /// - Parameter whenWritten: called once the limit of the steps is reached.
    func start(whenWritten: @escaping @Sendable () -> Void) throws(SystemError) {
        let writer = self
        try server.master.runThread(named: "sim-traffic") {
            var writer = writer
            do throws(EmulationError) {
                try writer.write(whenWritten)
            } catch {
                writer.server.master.record(.masterFailed(error.description))
            }
        }
    }

    private mutating func write(_ whenWritten: () -> Void) throws(EmulationError) {
        let rate = Int64(traffic.stepsPerSecond)
        var stepsLeft = rate > 0 ? traffic.stepLimit ?? .max : 0
        var due = cp_monotonic_nanoseconds()
        while true {
            let turn = cp_monotonic_nanoseconds() + Self.turnNanoseconds
            guard server.isRunning(until: stepsLeft > 0 ? min(due, turn) : turn) else { return }
            do throws(EmulationError) {
                if stepsLeft > 0, due <= cp_monotonic_nanoseconds() {
                    try writeStep()
                    due += 1_000_000_000 / rate
                    stepsLeft -= 1
                    if stepsLeft == 0 { whenWritten() }
                }
                try server.expire(limit: Self.expiriesPerTurn)
            } catch EmulationError.shuttingDown {
                // A takeover may fail, and then the master goes on.
            }
        }
    }

    private mutating func writeStep() throws(EmulationError) {
        try server.execute(random.next(at: cp_unix_milliseconds()))
    }
}

extension SimulatorServer {
    /// Waits until `deadline` (monotonic nanoseconds); false as soon as the server stops.
    fileprivate func isRunning(until deadline: Int64) -> Bool {
        let hasStopped: Bool? = master.state.wait(until: deadline) { $0.isStopping ? true : nil }
        return hasStopped == nil
    }
}

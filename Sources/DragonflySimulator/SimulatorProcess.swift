import Bytes
import CPlatform
import Glibc

/// A simulated master as a process of its own.
public enum SimulatorProcess {
    private static let turnMilliseconds: Int32 = 200
    /// While clients are watched, who may come and go quickly.
    private static let watchMilliseconds: Int32 = 20

    /// Serves until SIGINT or SIGTERM arrives, until the master was taken over, or, with
    /// `exitWhenLeft`, until a session was opened and all clients have left. Prints
    /// `listening on 127.0.0.1:PORT` when clients may connect, `wrote N commands` when a limited
    /// traffic is at its end, and the report as the last line.
    ///
    /// To be called before any other thread exists, because it blocks the signals for all of them.
    /// - Parameter traffic: written to an emulated master, before it listens and from then on.
    /// - Throws: `SystemError`, or `EmulationError` if an emulated master cannot begin or go on; then
    ///   the report was printed, if it has listened.
    public static func run(
        source: SimulatorSource, options: SimulatorOptions, exitWhenLeft: Bool,
        traffic: BackgroundTraffic? = nil
    ) throws {
        let signals = cp_signal_descriptor()
        guard signals >= 0 else { throw SystemError(result: signals) }
        defer { _ = cp_close(signals) }
        let server = try SimulatorServer(source: source, options: options)
        var writer = traffic.map { TrafficWriter($0, on: server) }
        let isComplete = try writer?.writeFirstSteps(unless: { cp_wait_two(signals, -1, 0) != 0 })
        guard isComplete != false else { return server.stop() }
        try server.start()
        writeLine("listening on 127.0.0.1:\(server.port)")
        try writer?.start {
            writeLine("wrote \(traffic?.stepLimit ?? 0) commands")
        }
        let result = serve(server, until: signals, exitWhenLeft: exitWhenLeft)
        server.stop()
        writeLine(server.report())
        if let failure = server.failure { throw failure }
        guard result >= 0 else { throw SystemError(result: result) }
    }

    /// Returns what ended it: 0, the bits of `cp_wait_two`, or a negative error number.
    private static func serve(
        _ server: SimulatorServer, until signals: Int32, exitWhenLeft: Bool
    ) -> Int32 {
        while server.failure == nil, !server.wasTakenOver {
            if exitWhenLeft && server.waitUntilLeft(timeoutMilliseconds: 0) { break }
            let timeout = exitWhenLeft ? watchMilliseconds : turnMilliseconds
            let result = cp_wait_two(signals, -1, timeout)
            if result != 0 { return result }
        }
        return 0
    }

    /// Prints a line at once, also into a pipe.
    private static func writeLine(_ line: String) {
        print(line)
        fflush(nil)
    }
}

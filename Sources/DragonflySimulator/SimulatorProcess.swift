import Bytes
import CPlatform
import Glibc

/// A simulated master as a process of its own.
public enum SimulatorProcess {
    /// Serves until SIGINT or SIGTERM arrives, or, with `exitWhenLeft`, until a session was opened
    /// and all clients have left. Prints `listening on 127.0.0.1:PORT` when clients may connect, and
    /// the report as the last line.
    ///
    /// To be called before any other thread exists, because it blocks the signals for all of them.
    /// - Parameter traffic: written to an emulated master, before it listens and from then on.
    public static func run(
        source: SimulatorSource, options: SimulatorOptions, exitWhenLeft: Bool,
        traffic: BackgroundTraffic? = nil
    ) throws {
        let signals = cp_signal_descriptor()
        guard signals >= 0 else { throw SystemError(result: signals) }
        let server = try SimulatorServer(source: source, options: options)
        let writer = try traffic.map { try TrafficWriter($0, on: server) }
        defer { server.stop() }
        try server.start()
        writeLine("listening on 127.0.0.1:\(server.port)")
        while cp_wait_two(signals, -1, exitWhenLeft ? 20 : 1000) == 0 {
            if exitWhenLeft && server.waitUntilLeft(timeoutMilliseconds: 0) { break }
            try writer?.check()
        }
        try writer?.stop()
        writeLine(server.report())
        _ = cp_close(signals)
    }

    /// Prints a line at once, also into a pipe.
    private static func writeLine(_ line: String) {
        print(line)
        fflush(nil)
    }
}

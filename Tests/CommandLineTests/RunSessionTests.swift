import Glibc
import Replication
import Synchronization
import Testing

@testable import df2redis

/// Signals reach the run as stop requests, and its end reaches the main thread at once.
struct RunSessionTests {
    /// A run that ends by itself, or after a number of stop requests.
    private final class FakeJob: ReplicationJob {
        let endPipe = Pipe()
        let stopsUntilEnd: Int
        let startError: RunError?
        let stops = Mutex(0)
        let readings = Mutex(0)

        init(stopsUntilEnd: Int, startError: RunError? = nil) {
            self.stopsUntilEnd = stopsUntilEnd
            self.startError = startError
            if stopsUntilEnd == 0 { endPipe.put([1]) }
        }

        var endDescriptor: Int32 { endPipe.reader }

        let settings = ReplicationSettings(
            mode: .replicate, source: Endpoint(host: "a", port: 1),
            target: Endpoint(host: "b", port: 2))

        func setRate(_ rate: RateLimits) {}
        func setPaused(_ isPaused: Bool) {}
        func requestRepair(database: Int, key: [UInt8]) -> Bool { true }
        func requestedPace() -> (rate: RateLimits, isPaused: Bool) { (RateLimits(), false) }

        func start() throws(RunError) {
            if let startError { throw startError }
        }

        func requestStop() {
            stops.withLock { $0 += 1 }
            if stops.withLock({ $0 }) == stopsUntilEnd { endPipe.put([1]) }
        }

        func progress() -> Progress {
            readings.withLock { $0 += 1 }
            return SampleReports.snapshot()
        }

        func waitForEnd() -> RunReport {
            RunReport(
                progress: SampleReports.finished(), error: nil,
                stopped: stops.withLock { $0 } > 0)
        }
    }

    private final class Pipe: Sendable {
        let reader: Int32
        let writer: Int32

        init() {
            var ends: [Int32] = [-1, -1]
            precondition(pipe(&ends) == 0)
            (reader, writer) = (ends[0], ends[1])
            _ = fcntl(reader, F_SETFL, O_NONBLOCK)
        }

        deinit {
            close(reader)
            close(writer)
        }

        func put(_ bytes: [UInt8]) {
            _ = Files.writeAll(bytes, to: writer)
        }

        /// The record that a signal descriptor yields: 128 bytes that begin with the number.
        func put(signal: Int32) {
            put([UInt8(signal), 0, 0, 0] + [UInt8](repeating: 0, count: 124))
        }
    }

    private func session(
        _ job: FakeJob, _ signals: Pipe, _ recorder: Recorder
    ) -> RunSession<FakeJob> {
        let console = Console(descriptor: recorder.descriptor, environment: [:])
        let logger = ConsoleLogHandler.logger(console: console, format: .text)
        let settings = ReplicationSettings(
            mode: .replicate, source: Endpoint(host: "s", port: 1),
            target: Endpoint(host: "t", port: 2))
        let display = ProgressDisplay(
            console: console, logger: logger, format: .text, isQuiet: true, title: "test",
            settings: settings, nanoseconds: 0)
        return RunSession(
            job: job, signalDescriptor: signals.reader, logger: logger, display: display)
    }

    @Test func endsWithTheRun() throws {
        let job = FakeJob(stopsUntilEnd: 0)
        let signals = Pipe()
        var session = try session(job, signals, Recorder())
        let report = session.run()
        #expect(!report.stopped && session.stopSignal == nil)
        #expect(job.stops.withLock { $0 } == 0)
    }

    @Test(arguments: [SIGINT, SIGTERM])
    func firstSignalStopsInOrder(signal: Int32) throws {
        let job = FakeJob(stopsUntilEnd: 1)
        let signals = Pipe()
        let recorder = try Recorder()
        var session = session(job, signals, recorder)
        signals.put(signal: signal)
        let report = session.run()
        #expect(report.stopped && session.stopSignal == signal)
        #expect(job.stops.withLock { $0 } == 1)
        #expect(recorder.text().contains("stopping in order"))
    }

    /// The exit code follows the first signal, whatever the second is.
    @Test func secondSignalEndsAtOnce() throws {
        let job = FakeJob(stopsUntilEnd: 2)
        let signals = Pipe()
        let recorder = try Recorder()
        var session = session(job, signals, recorder)
        signals.put(signal: SIGTERM)
        signals.put(signal: SIGINT)
        _ = session.run()
        #expect(session.stopSignal == SIGTERM)
        #expect(job.stops.withLock { $0 } == 2)
        #expect(recorder.text().contains("SIGINT: ending at once"))
    }

    @Test func startFailureIsAReport() throws {
        let error = RunError(.unreachable, "no route")
        let job = FakeJob(stopsUntilEnd: 1, startError: error)
        var session = try session(job, Pipe(), Recorder())
        #expect(session.run().error == error)
    }
}

public import Replication

/// Turns counters read from time to time into rates over the last few seconds.
public struct ProgressMeter {
    /// Rates per second.
    public struct Rates: Equatable, Sendable {
        /// Snapshot entries done.
        public var keys: Double
        /// Journal records done.
        public var records: Double
        public var bytesRead: Double
        public var bytesSent: Double
        /// Commands to the target.
        public var commands: Double

        public init(
            keys: Double = 0, records: Double = 0, bytesRead: Double = 0, bytesSent: Double = 0,
            commands: Double = 0
        ) {
            self.keys = keys
            self.records = records
            self.bytesRead = bytesRead
            self.bytesSent = bytesSent
            self.commands = commands
        }
    }

    private struct Sample {
        var nanoseconds: Int64
        var keys: Int
        var records: Int
        var bytesRead: Int
        var bytesSent: Int
        var commands: Int
    }

    /// Long enough to be calm, short enough to show a change.
    private static let windowNanoseconds: Int64 = 5_000_000_000
    private var samples: [Sample] = []

    public init() {}

    /// Adds a reading and returns the rates up to it.
    public mutating func add(_ progress: Progress, nanoseconds: Int64) -> Rates {
        let sample = Sample(
            nanoseconds: nanoseconds, keys: progress.snapshot.done,
            records: progress.journal.done, bytesRead: progress.bytesRead,
            bytesSent: progress.bytesSent, commands: progress.commandsSent)
        samples.append(sample)
        // One sample older than the window is kept: rates span at least the window.
        while samples.count > 2, samples[1].nanoseconds <= nanoseconds - Self.windowNanoseconds {
            samples.removeFirst()
        }
        let first = samples[0]
        let seconds = Double(nanoseconds - first.nanoseconds) / 1e9
        guard seconds > 0 else { return Rates() }
        return Rates(
            keys: Double(sample.keys - first.keys) / seconds,
            records: Double(sample.records - first.records) / seconds,
            bytesRead: Double(sample.bytesRead - first.bytesRead) / seconds,
            bytesSent: Double(sample.bytesSent - first.bytesSent) / seconds,
            commands: Double(sample.commands - first.commands) / seconds)
    }
}

extension RecordCounts {
    /// Records that need nothing more.
    public var done: Int { applied + filtered + skipped + repaired + failed }
}

extension Progress {
    /// Bytes of the source's flows.
    public var bytesRead: Int { flows.reduce(0) { $0 + $1.bytesRead } }
    public var pending: Int { snapshot.pending + journal.pending }
    public var failed: Int { snapshot.failed + journal.failed }
    public var skipped: Int { snapshot.skipped + journal.skipped }
}

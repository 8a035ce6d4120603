import Replication

/// Turns counters read from time to time into rates over the last few seconds.
struct ProgressMeter {
    /// Rates per second.
    struct Rates: Equatable {
        /// Snapshot entries done.
        var keys = 0.0
        /// Journal records done.
        var records = 0.0
        var bytesRead = 0.0
        var bytesSent = 0.0
    }

    private struct Sample {
        var nanoseconds: Int64
        var keys: Int
        var records: Int
        var bytesRead: Int
        var bytesSent: Int
    }

    /// Long enough to be calm, short enough to show a change.
    private static let windowNanoseconds: Int64 = 5_000_000_000
    private var samples: [Sample] = []

    /// Adds a reading and returns the rates up to it.
    mutating func add(_ progress: Progress, nanoseconds: Int64) -> Rates {
        let sample = Sample(
            nanoseconds: nanoseconds, keys: progress.snapshot.done,
            records: progress.journal.done, bytesRead: progress.bytesRead,
            bytesSent: progress.bytesSent)
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
            bytesSent: Double(sample.bytesSent - first.bytesSent) / seconds)
    }
}

extension RecordCounts {
    /// Records that need nothing more.
    var done: Int { applied + filtered + skipped + repaired + failed }
}

extension Progress {
    var bytesRead: Int { flows.reduce(0) { $0 + $1.bytesRead } }
    var pending: Int { snapshot.pending + journal.pending }
    var failed: Int { snapshot.failed + journal.failed }
    var skipped: Int { snapshot.skipped + journal.skipped }
}

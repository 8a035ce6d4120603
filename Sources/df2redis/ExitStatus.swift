import Operations
import Replication

/// The exit codes of the program.
enum ExitStatus {
    /// Done, and everything was applied.
    static let success: Int32 = 0
    /// Ended with failures, with keys to repair, or early.
    static let failures: Int32 = 1
    /// Wrong flags or configuration; nothing was started.
    static let usage: Int32 = 2
    /// A server could not be reached or did not let us in.
    static let unreachable: Int32 = 3
    /// A server refused: version, permission, protocol.
    static let refused: Int32 = 4

    static func of(_ error: RunError) -> Int32 {
        switch error.kind {
        case .unreachable: unreachable
        case .refused: refused
        case .interrupted: failures
        }
    }

    /// The code if the report or the result could not be written: a good end is not known to be one.
    static func undelivered(_ status: Int32) -> Int32 {
        status == success || status > 128 ? failures : status
    }

    /// Failures outrank the signal that ended the run: `replicate` always ends by one or by a command,
    /// and its failures must not hide behind 130 or 143.
    /// - Parameter isComplete: the job is done as far as it has an end of its own.
    static func of(_ report: RunReport, stopSignal: Int32?, isComplete: Bool) -> Int32 {
        if let error = report.error { return of(error) }
        let progress = report.progress
        if progress.failed > 0 || progress.keysToRepair > 0 || progress.pending != 0 {
            return failures
        }
        if let stopSignal { return 128 + stopSignal }
        return report.stopped && !isComplete ? failures : success
    }
}

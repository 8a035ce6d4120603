import Glibc
import Operations
import Replication

/// A run that is over: what it was asked to do and what became of it.
struct RunOutcome {
    /// Format of `report.json`; goes up when a member changes its meaning.
    static let reportVersion = 2
    static let reportFileName = "report.json"

    var settings: ReplicationSettings
    var report: RunReport
    /// The signal that ended the run, if one did.
    var stopSignal: Int32?
    var elapsedSeconds: Int
    /// False once writing `report.json` has failed.
    var canWriteReport = true

    var exitStatus: Int32 {
        let status = ExitStatus.of(
            report, stopSignal: stopSignal, isComplete: isFullSyncComplete)
        return canWriteReport ? status : ExitStatus.undelivered(status)
    }

    var commandName: String { settings.mode == .migrate ? "migrate" : "replicate" }

    /// Where the whole report is, nil if it is nowhere.
    var reportPath: String? {
        guard canWriteReport else { return nil }
        return settings.stateDirectory.map { $0 + "/" + Self.reportFileName }
    }

    /// Where failed records are listed, nil if there is no such file of this run.
    var deadLetterPath: String? {
        guard report.progress.deadLetters.lines > 0 else { return nil }
        return settings.stateDirectory.map { $0 + "/failed.ndjson" }
    }

    /// One sentence for how it ended.
    var sentence: String {
        if let error = report.error { return "ended early: " + error.message }
        let troubles = self.troubles
        if !isFullSyncComplete {
            let end = "before the full sync was complete; the target holds only part of the data"
            return "stopped" + (stopSignalName.map { " by \($0)" } ?? "") + " " + end
                + (troubles.isEmpty ? "" : "; " + troubles)
        }
        if !troubles.isEmpty { return "finished with failures: " + troubles }
        guard let stopSignalName else {
            return report.stopped ? "stopped by command, nothing failed" : "done, nothing failed"
        }
        return "stopped by \(stopSignalName), nothing failed"
    }

    /// False if the target holds only part of the snapshot.
    var isFullSyncComplete: Bool {
        let flows = report.progress.flows
        if flows.isEmpty || (settings.mode == .migrate && report.stopped) { return false }
        return flows.allSatisfy { $0.appliedLSN > 0 }
    }

    private var troubles: String {
        let progress = report.progress
        var parts: [String] = []
        if progress.failed > 0 {
            parts.append("\(PrintableText.count(progress.failed)) records not applied")
        }
        if progress.keysToRepair > 0 {
            parts.append("\(PrintableText.count(progress.keysToRepair)) keys to repair")
        }
        if progress.pending != 0 {
            parts.append("\(PrintableText.count(progress.pending)) records without an answer")
        }
        return parts.joined(separator: ", ")
    }

    private var stopSignalName: String? {
        switch stopSignal {
        case SIGINT: "SIGINT"
        case SIGTERM: "SIGTERM"
        case .some(let number): "signal \(number)"
        case nil: nil
        }
    }
}

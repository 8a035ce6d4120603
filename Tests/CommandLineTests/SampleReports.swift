import Operations
import Replication
import Wire

@testable import df2redis

/// Progress and reports as a run would make them.
enum SampleReports {
    static func counts(read: Int, skipped: Int = 0, failed: Int = 0, pending: Int = 0)
        -> RecordCounts
    {
        var counts = RecordCounts()
        counts.read = read
        counts.skipped = skipped
        counts.failed = failed
        counts.applied = read - skipped - failed - pending
        return counts
    }

    /// A run half way through its snapshot.
    static func snapshot(flows: Int = 2, pending: Int = 100) -> Progress {
        var progress = Progress()
        progress.phase = .snapshot
        progress.sourceKeys = flows * 20_000
        progress.bytesSent = 3 << 20
        for _ in 0..<flows {
            var flow = FlowProgress()
            flow.phase = .snapshot
            flow.bytesRead = 1 << 20
            flow.snapshotByType[.hash] = counts(read: 10_000 + pending, pending: pending)
            progress.flows.append(flow)
        }
        return progress
    }

    /// A run that has reached its end.
    static func finished(failed: Int = 0, repair: Int = 0, skipped: Int = 0) -> Progress {
        var progress = Progress()
        progress.phase = .finished
        for index in 0..<2 {
            var flow = FlowProgress()
            flow.phase = .finished
            flow.appliedLSN = UInt64(101 + index)
            flow.snapshotByType[.string] = counts(read: 750, failed: index == 0 ? failed : 0)
            flow.snapshotByType[.json] = counts(read: 250, skipped: index == 0 ? skipped : 0)
            flow.journalByType[.generic] = counts(read: 100)
            progress.flows.append(flow)
        }
        progress.keysToRepair = repair
        for index in 0..<failed {
            progress.findings.append(
                Finding(
                    kind: .failed, database: 3, key: "key\u{1B}[2J\n\(index)", command: "SET",
                    reason: "-OOM command not allowed"))
        }
        for index in 0..<repair {
            progress.findings.append(
                Finding(
                    kind: .repair, database: 0, key: "list:\(index)", command: "LMPOP",
                    reason: "the record lost its COUNT"))
        }
        return progress
    }

    static func outcome(
        _ progress: Progress, mode: ReplicationSettings.Mode = .migrate, error: RunError? = nil,
        stopped: Bool = false, stopSignal: Int32? = nil, stateDirectory: String? = nil
    ) -> RunOutcome {
        var settings = ReplicationSettings(
            mode: mode, source: Endpoint(host: "127.0.0.1", port: 6379, password: "hunter2"),
            target: Endpoint(host: "::1", port: 6380, user: "u", password: "hunter2"))
        settings.stateDirectory = stateDirectory
        let report = RunReport(
            progress: progress, error: error, stopped: stopped, sourceVersion: "df-v1.40.0",
            targetVersion: "redis 7.0.15", sourceID: "0123abcd")
        return RunOutcome(
            settings: settings, report: report, stopSignal: stopSignal, elapsedSeconds: 75)
    }
}

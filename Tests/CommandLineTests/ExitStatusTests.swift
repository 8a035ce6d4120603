import Glibc
import Operations
import Replication
import Testing
import Wire

@testable import df2redis

/// 0 means done and everything applied, and nothing else does.
struct ExitStatusTests {
    @Test func doneAndEverythingApplied() {
        #expect(SampleReports.outcome(SampleReports.finished()).exitStatus == 0)
        // What rules leave out is told, and is no failure.
        #expect(SampleReports.outcome(SampleReports.finished(skipped: 5)).exitStatus == 0)
    }

    @Test func failuresAndRepairsAreOne() {
        #expect(SampleReports.outcome(SampleReports.finished(failed: 1)).exitStatus == 1)
        #expect(SampleReports.outcome(SampleReports.finished(repair: 1)).exitStatus == 1)
        var progress = SampleReports.finished()
        progress.flows[1].journalByType[.generic].failed = 1
        progress.flows[1].journalByType[.generic].applied -= 1
        #expect(SampleReports.outcome(progress).exitStatus == 1)
    }

    /// read = applied + filtered + skipped + repaired + failed, or the run did not succeed.
    @Test func unaccountedRecordsAreOne() {
        var progress = SampleReports.finished()
        progress.flows[0].journalByType[.generic].read += 1
        #expect(SampleReports.outcome(progress).exitStatus == 1)
        progress.flows[0].journalByType[.generic].read -= 2
        #expect(SampleReports.outcome(progress).exitStatus == 1)
    }

    @Test(
        arguments: [
            (RunError(.interrupted, "x"), 1), (RunError(.unreachable, "x"), 3),
            (RunError(.refused, "x"), 4),
        ] as [(RunError, Int32)])
    func errors(error: RunError, status: Int32) {
        #expect(SampleReports.outcome(SampleReports.snapshot(), error: error).exitStatus == status)
        let stopped = SampleReports.outcome(
            SampleReports.snapshot(), error: error, stopped: true, stopSignal: SIGINT)
        #expect(stopped.exitStatus == status)
    }

    @Test func signals() {
        func status(_ progress: Progress, _ signal: Int32) -> Int32 {
            SampleReports.outcome(
                progress, mode: .replicate, stopped: true, stopSignal: signal
            ).exitStatus
        }
        #expect(status(SampleReports.finished(), SIGINT) == 130)
        #expect(status(SampleReports.finished(), SIGTERM) == 143)
        // Failures do not hide behind the signal that ends every replicate.
        #expect(status(SampleReports.finished(failed: 1), SIGTERM) == 1)
        #expect(status(SampleReports.snapshot(), SIGINT) == 1)
    }

    @Test func undelivered() {
        #expect([0, 1, 2, 3, 4, 130, 143].map(ExitStatus.undelivered) == [1, 1, 2, 3, 4, 1, 1])
    }

    @Test func sentences() {
        func sentence(_ outcome: RunOutcome) -> String { outcome.sentence }
        #expect(
            sentence(SampleReports.outcome(SampleReports.finished()))
                == "done, nothing failed")
        #expect(
            sentence(SampleReports.outcome(SampleReports.finished(failed: 1200, repair: 2)))
                == "finished with failures: 1,200 records not applied, 2 keys to repair")
        #expect(
            sentence(
                SampleReports.outcome(
                    SampleReports.finished(), mode: .replicate, stopped: true, stopSignal: SIGTERM))
                == "stopped by SIGTERM, nothing failed")
        let early = SampleReports.outcome(
            SampleReports.snapshot(pending: 0), mode: .replicate, stopped: true, stopSignal: SIGINT)
        #expect(early.sentence.contains("the target holds only part of the data"))
        #expect(!early.isFullSyncComplete)
    }
}

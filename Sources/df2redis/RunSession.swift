import CPlatform
import Glibc
import Logging
import Replication

/// A run as the main thread sees it.
protocol ReplicationJob {
    /// Readable once the run has ended.
    var endDescriptor: Int32 { get }
    func start() throws(RunError)
    func requestStop()
    func progress() -> Progress
    func waitForEnd() -> RunReport
}

extension Replicator: ReplicationJob {}

/// Sits on the main thread while the run's own threads work: passes signals on and keeps the
/// display up to date.
struct RunSession<Job: ReplicationJob> {
    static var refreshMilliseconds: Int32 { 500 }

    let job: Job
    /// From `cp_signal_descriptor`, made before any thread started.
    let signalDescriptor: Int32
    let logger: Logger
    var display: ProgressDisplay
    /// The first signal that asked for the end.
    private(set) var stopSignal: Int32?
    private var stopRequests = 0
    private var hasToldRisks = false
    private var toldOfDeadLetters = false

    init(job: Job, signalDescriptor: Int32, logger: Logger, display: ProgressDisplay) {
        self.job = job
        self.signalDescriptor = signalDescriptor
        self.logger = logger
        self.display = display
    }

    /// Runs the job to its end.
    mutating func run() -> RunReport {
        do throws(RunError) {
            try job.start()
        } catch {
            return RunReport(progress: job.progress(), error: error, stopped: false)
        }
        while true {
            let progress = job.progress()
            tell(progress.sourceRisks)
            display.update(progress, nanoseconds: cp_monotonic_nanoseconds())
            warn(progress.deadLetters)
            let ready = cp_wait_two(signalDescriptor, job.endDescriptor, Self.refreshMilliseconds)
            guard ready >= 0 else {
                logger.error("waiting failed: \(String(cString: strerror(-ready)))")
                job.requestStop()
                break
            }
            if ready & 1 != 0 { takeSignals() }
            if ready & 2 != 0 { break }
        }
        let report = job.waitForEnd()
        display.finish(report.progress)
        tell(report.progress.sourceRisks)
        warn(report.progress.deadLetters)
        for notice in report.progress.notices { logger.warning("source: \(notice)") }
        return report
    }

    /// Once, as soon as they are known.
    private mutating func tell(_ risks: [SourceRisk]) {
        guard !hasToldRisks, !risks.isEmpty else { return }
        hasToldRisks = true
        for risk in risks {
            logger.log(level: risk.weight == .handled ? .info : .warning, "source: \(risk.text)")
        }
    }

    private mutating func warn(_ deadLetters: DeadLetterProgress) {
        guard let error = deadLetters.error, !toldOfDeadLetters else { return }
        toldOfDeadLetters = true
        logger.warning(
            "cannot write failed.ndjson in the state directory: \(error); the run goes on, and further failed records are only counted"
        )
    }

    private mutating func takeSignals() {
        while true {
            let number = cp_signal_next(signalDescriptor)
            guard number > 0 else { return }
            let name = number == SIGINT ? "SIGINT" : "SIGTERM"
            stopRequests += 1
            switch stopRequests {
            case 1:
                stopSignal = number
                logger.notice("\(name): stopping in order; a second signal ends at once")
                job.requestStop()
            case 2:
                logger.warning("\(name): ending at once")
                job.requestStop()
            default:
                // Whatever keeps the run from ending, the operator has the last word.
                display.finish(job.progress())
                _exit(128 + number)
            }
        }
    }
}

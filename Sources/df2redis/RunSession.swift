import CPlatform
import Glibc
import Logging
import Operations
import Replication

/// A run as the main thread sees it.
protocol ReplicationJob: ControllableRun {
    var settings: ReplicationSettings { get }
    /// Readable once the run has ended.
    var endDescriptor: Int32 { get }
    func start() throws(RunError)
    func progress() -> Progress
    func waitForEnd() -> RunReport
}

extension Replicator: ReplicationJob {}

/// Sits on the main thread while the run's own threads work: passes signals on, answers the control
/// socket and keeps the display up to date.
struct RunSession<Job: ReplicationJob> {
    static var refreshMilliseconds: Int64 { 500 }

    let job: Job
    /// From `cp_signal_descriptor`, made before any thread started.
    let signalDescriptor: Int32
    let logger: Logger
    var display: ProgressDisplay
    /// Nil without a state directory.
    let control: ControlServer?
    /// The first signal that asked for the end.
    private(set) var stopSignal: Int32?
    private var stopRequests = 0
    private var hasToldRisks = false
    private var toldOfDeadLetters = false
    private var watch: RunWatch

    init(
        job: Job, signalDescriptor: Int32, logger: Logger, display: ProgressDisplay,
        control: ControlServer? = nil
    ) {
        self.job = job
        self.signalDescriptor = signalDescriptor
        self.logger = logger
        self.display = display
        self.control = control
        watch = RunWatch(logger: logger)
    }

    /// Runs the job to its end.
    mutating func run() -> RunReport {
        do throws(RunError) {
            try job.start()
        } catch {
            return RunReport(progress: job.progress(), error: error, stopped: false)
        }
        var refreshAt: Int64 = 0
        while true {
            let now = cp_monotonic_nanoseconds() / 1_000_000
            if now >= refreshAt {
                refreshAt = now + Self.refreshMilliseconds
                let progress = job.progress()
                tell(progress.sourceRisks)
                warn(progress.deadLetters)
                watch.look(at: progress)
                display.update(progress, nanoseconds: now * 1_000_000)
            }
            var descriptors = [
                pollfd(fd: signalDescriptor, events: Int16(POLLIN), revents: 0),
                pollfd(fd: job.endDescriptor, events: Int16(POLLIN), revents: 0),
            ]
            descriptors += control?.descriptors(now: now) ?? []
            let timeout = control?.isBusy == true ? 0 : Int32(clamping: refreshAt - now)
            guard poll(&descriptors, nfds_t(descriptors.count), timeout) >= 0 || errno == EINTR
            else {
                logger.error("waiting failed: \(String(cString: strerror(errno)))")
                job.requestStop()
                break
            }
            if descriptors[0].revents != 0 { takeSignals() }
            if descriptors[1].revents != 0 { break }
            serve(Array(descriptors[2...]), now)
        }
        let report = job.waitForEnd()
        display.finish(report.progress)
        tell(report.progress.sourceRisks)
        warn(report.progress.deadLetters)
        watch.look(at: report.progress)
        for notice in report.progress.notices { logger.warning("\(notice)") }
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

    private mutating func serve(_ descriptors: [pollfd], _ now: Int64) {
        var stops = 0
        control?.serve(descriptors, now: now) { request in
            let (reply, isStop) = RunControl.answer(
                request, run: job, status: display.status(job.settings, job.progress()))
            if isStop { stops += 1 }
            if request != .status { logger.notice("control socket: \(request.name)") }
            return reply
        }
        stopRequests += stops
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
                stopSignal = stopSignal ?? number
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

/// Says once what an operator should know of how the target is written to.
private struct RunWatch {
    let logger: Logger
    private var told = WriteHold.none
    private var seen = WriteHold.none
    private var warnsOfEviction = false

    init(logger: Logger) { self.logger = logger }

    mutating func look(at progress: Progress) {
        let warning = RunStatus.evictionWarning(progress)
        if let warning, !warnsOfEviction { logger.warning("\(warning)") }
        warnsOfEviction = warning != nil
        // Rates come and go with every command, and memory may while smaller commands fit still: the
        // display shows them.
        let isLong = progress.hold == .memory || progress.hold == .pause
        let hold = isLong ? progress.hold : .none
        defer { seen = hold }
        guard hold == seen, hold != told else { return }
        told = hold
        if isLong, let text = RunStatus.holdText(progress) {
            logger.warning("\(text)")
        } else if progress.phase < .stopping {
            logger.notice("writing again")
        }
    }
}

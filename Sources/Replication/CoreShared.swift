internal import Bytes
internal import CPlatform
internal import DragonflySource
internal import Reactor
internal import RedisTarget
internal import Synchronization

/// Where to look for the target.
struct TargetPlace: Sendable {
    var host: String
    var port: UInt16
    var address: cp_address
}

/// What all cores must know of the session with the source.
struct SourceFacts: Sendable {
    /// It knows LSNs and ACKs.
    var acknowledges = false
    var release: SourceRelease?
    var releaseText = ""
    var flowCount = 0
}

/// A HyperLogLog that was written while nothing told whether it is a ghost.
struct DoubtfulCopy: BitwiseCopyable {
    /// Of the target's key of that name, where `conflict.policy` may let it be.
    enum Claim: UInt8 {
        /// Nobody asked.
        case none
        /// A guarded baseline will tell.
        case unanswered
        /// It came from us.
        case ours
        /// The target had it, and keeps it.
        case kept
    }

    /// The flow that it came on, -1 if it was several.
    var flow: Int32
    var claim = Claim.none
}

/// A value that the cores share, for what happens seldom.
///
/// `@unchecked Sendable`, proof: the value is touched under the lock only.
final class Shared<Value: ~Copyable>: @unchecked Sendable {
    private let lock = Mutex(())
    private var value: Value

    init(_ value: consuming Value) { self.value = value }

    func with<Result, Failure>(
        _ body: (inout Value) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        var result: Result?
        try lock.withLock { _ throws(Failure) in result = try body(&value) }
        return result!
    }
}

/// What the cores and the control thread share.
final class CoreShared: Sendable {
    /// One per core that there may be; those after the first are started when it is known how many
    /// flows there are.
    let inboxes: [CoreInbox]
    /// The CPU that each of them stays on; nil lets it float.
    let cpus: [Int?]
    let endDescriptor: Int32
    let pace = SharedPace()
    /// Whom the sentinels call the target's master.
    let master = Mutex<TargetPlace?>(nil)
    /// What the control thread wants, taken up by the first core.
    let requests: Mutex<ControlRequests>
    let transactions = TransactionCounts()
    private let readDry: AtomicWords
    let votes = Mutex(ShardPlacement.Votes())
    let doubtfulCopies: Shared<KeyTable<DoubtfulCopy>>
    /// Whether there is any.
    let hasDoubtfulCopies = Atomic<Bool>(false)
    let findings = Shared(Findings())
    let deadLetters: Shared<DeadLetters>
    let repairLog = Shared<RepairLog?>(nil)

    private struct State {
        var parts: [Progress]
        var running = 0
        var failure: RunError?
        var stopped = false
        var versions = (source: "", target: "", sourceID: "")
        var report: RunReport?
    }

    private let state: Mutex<State>
    private let coresStarted = Atomic<Int>(1)

    private static let doubtfulCopiesSlots = 1 << 16

    init(_ settings: ReplicationSettings) throws(SystemError) {
        var inboxes: [CoreInbox] = []
        cpus = try settings.cpusOfCores()
        for _ in cpus { inboxes.append(try CoreInbox()) }
        self.inboxes = inboxes
        readDry = AtomicWords(count: cpus.count)
        requests = Mutex(ControlRequests(rate: settings.rate))
        doubtfulCopies = Shared(
            try KeyTable(
                slots: 1 << 6, slotsLimit: CoreShared.doubtfulCopiesSlots,
                filler: DoubtfulCopy(flow: 0)))
        deadLetters = Shared(
            try DeadLetters(
                directory: settings.stateDirectory,
                head: [
                    ("run", settings.mode == .migrate ? "migrate" : "replicate"),
                    ("task", settings.taskName), ("source", settings.source.description),
                    ("target", settings.target.description),
                ], bytesLimit: settings.deadLetterBytesLimit))
        state = Mutex(State(parts: [Progress](repeating: Progress(), count: inboxes.count)))
        let descriptor = cp_wakeup_create()
        guard descriptor >= 0 else { throw SystemError(result: descriptor) }
        endDescriptor = descriptor
    }

    deinit {
        _ = cp_close(endDescriptor)
    }

    /// Cores that have flows: flow f belongs to core f mod `coreCount`.
    var coreCount: Int { coresStarted.load(ordering: .acquiring) }

    /// Set once, before the second core is started.
    func setCoreCount(_ count: Int) {
        coresStarted.store(count, ordering: .releasing)
    }

    /// All that had come on the core's flows was handled at that time, monotonic milliseconds.
    func noteReadDry(_ core: Int, _ time: Int64) {
        readDry.update(core) { _ in UInt64(clamping: time) }
    }

    /// Since when that holds for all cores.
    var readDryAt: Int64 {
        Int64(clamping: (0..<coreCount).reduce(UInt64.max) { min($0, readDry.load($1)) })
    }

    func send(_ message: CoreMessage, to core: Int) { inboxes[core].send(message) }

    func sendAll(_ message: CoreMessage) {
        for inbox in inboxes { inbox.send(message) }
    }

    // MARK: Progress and end

    /// Keeps the first reason for which the run ends.
    func fail(_ error: RunError) {
        state.withLock { $0.failure = $0.failure ?? error }
    }

    var failure: RunError? { state.withLock { $0.failure } }
    var report: RunReport? { state.withLock { $0.report } }

    func publish(_ progress: Progress, of core: Int) {
        state.withLock { $0.parts[core] = progress }
    }

    /// Of all cores.
    var progress: Progress {
        let (parts, last) = state.withLock { ($0.parts, $0.report?.progress) }
        if let last { return last }
        var progress = Progress(joining: Array(parts.prefix(coreCount)))
        (progress.findings, progress.keysToRepair) = findings.with { ($0.list, $0.keysToRepair) }
        progress.deadLetters = deadLetters.with { $0.progress }
        return progress
    }

    func coreBegins() {
        state.withLock { $0.running += 1 }
    }

    /// What only the first core knows.
    func note(stopped: Bool, sourceVersion: String, sourceID: String, targetVersion: String) {
        state.withLock {
            $0.stopped = stopped
            $0.versions = (sourceVersion, targetVersion, sourceID)
        }
    }

    /// A core has ended; with the last one the run has.
    func coreEnds() {
        let isLast = state.withLock {
            $0.running -= 1
            return $0.running == 0
        }
        guard isLast else { return }
        deadLetters.with { $0.finish() }
        let progress = progress
        state.withLock {
            $0.report = RunReport(
                progress: progress, error: $0.failure, stopped: $0.stopped,
                sourceVersion: $0.versions.source, targetVersion: $0.versions.target,
                sourceID: $0.versions.sourceID)
        }
        let result = cp_wakeup_signal(endDescriptor)
        precondition(result == 0, "a wake-up descriptor takes a signal")
    }
}

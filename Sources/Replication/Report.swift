internal import DragonflySource
public import Wire

/// Records by what became of them. read = applied + filtered + skipped + repaired + failed, always,
/// once nothing is in flight.
public struct RecordCounts: Sendable, Equatable {
    public var read = 0
    public var applied = 0
    /// Left out by the rules for keys, databases, types and commands.
    public var filtered = 0
    /// Passed over by rule: ghosts, types and commands that the target cannot hold.
    public var skipped = 0
    /// Left to the repair list: the value of the key is read from the source again, and holds what
    /// the record did. A key for which that did not succeed is named (`Finding.Kind.repair`).
    public var repaired = 0
    public var failed = 0

    public init() {}

    /// Records whose reply is still awaited.
    public var pending: Int { read - applied - filtered - skipped - repaired - failed }

    static func += (left: inout RecordCounts, right: RecordCounts) {
        left.read += right.read
        left.applied += right.applied
        left.filtered += right.filtered
        left.skipped += right.skipped
        left.repaired += right.repaired
        left.failed += right.failed
    }
}

/// Records by type. Its size is fixed, so that counting allocates nothing.
public struct CountsByType: Sendable, Equatable {
    private var counts: InlineArray<12, RecordCounts>

    public init() {
        precondition(RecordType.allCases.count == 12)
        counts = InlineArray(repeating: RecordCounts())
    }

    public subscript(type: RecordType) -> RecordCounts {
        get { counts[Int(type.rawValue)] }
        set { counts[Int(type.rawValue)] = newValue }
    }

    public var total: RecordCounts {
        var total = RecordCounts()
        for type in RecordType.allCases { total += self[type] }
        return total
    }

    static func += (left: inout CountsByType, right: CountsByType) {
        for type in RecordType.allCases { left[type] += right[type] }
    }

    public static func == (left: CountsByType, right: CountsByType) -> Bool {
        RecordType.allCases.allSatisfy { left[$0] == right[$0] }
    }
}

/// One flow's place in the run.
public struct FlowProgress: Sendable, Equatable {
    public enum Phase: UInt8, Sendable {
        case connecting, snapshot, tail, stable, finished

        public var name: String {
            switch self {
            case .connecting: "connecting"
            case .snapshot: "full sync"
            case .tail: "tail"
            case .stable: "stable"
            case .finished: "finished"
            }
        }
    }

    public var phase = Phase.connecting
    public var bytesRead = 0
    public var snapshotByType = CountsByType()
    public var journalByType = CountsByType()
    /// LSN of the first record not yet applied; 0 before the flow's JOURNAL_OFFSET.
    public var appliedLSN: UInt64 = 0

    public init() {}

    public var snapshot: RecordCounts { snapshotByType.total }
    public var journal: RecordCounts { journalByType.total }
}

/// Something the operator should know by name: a failure, or a key to be repaired.
public struct Finding: Sendable, Equatable {
    public enum Kind: String, Sendable {
        /// The target answered with an error, or the value was refused.
        case failed
        /// The key may differ, and its value could not be read from the source again.
        case repair
        /// The target cannot hold the value; it was left out.
        case skipped
        /// The target had the key already and keeps it, as `conflict.policy` says.
        case kept
    }

    public var kind: Kind
    public var database: Int
    /// Printable form of the key.
    public var key: String
    public var command: String
    /// The target's reply, or the reason.
    public var reason: String

    public init(kind: Kind, database: Int, key: String, command: String, reason: String) {
        self.kind = kind
        self.database = database
        self.key = key
        self.command = command
        self.reason = reason
    }
}

/// What is known to be wrong with the source's release or settings, and touches the run.
public struct SourceRisk: Sendable, Equatable {
    public enum Weight: String, Sendable {
        /// The target would very likely differ; the operator accepted it.
        case refused
        /// The target may differ.
        case loss
        /// The source may stall or crash.
        case harm
        /// Known and dealt with; told for what it costs.
        case handled
    }

    /// Stable, for scripts.
    public var name: String
    public var weight: Weight
    public var problem: String
    /// What avoids it.
    public var advice: String

    public init(name: String, weight: Weight, problem: String, advice: String) {
        self.name = name
        self.weight = weight
        self.problem = problem
        self.advice = advice
    }

    init(_ known: KnownProblem) {
        let weight: Weight =
            switch known.weight {
            case .refused: .refused
            case .loss: .loss
            case .harm: .harm
            case .handled: .handled
            }
        self.init(
            name: known.name, weight: weight, problem: known.problem, advice: known.advice)
    }

    /// Problem and advice in one line.
    public var text: String { "\(problem). To avoid it: \(advice)" }
}

/// Why nothing, or less than possible, is written at the moment.
public enum WriteHold: Sendable, Equatable {
    case none
    /// The operator paused it.
    case pause
    /// The target has no memory for the next command, and does not evict.
    case memory
    /// The limits of rate are used up.
    case rate
    /// The target answers later than it should.
    case latency

    public var name: String {
        switch self {
        case .none: "none"
        case .pause: "paused"
        case .memory: "target memory"
        case .rate: "rate"
        case .latency: "latency"
        }
    }
}

/// What the target said of its memory last.
public struct TargetMemory: Sendable, Equatable {
    /// Bytes that count against the limit.
    public var used = 0
    /// `maxmemory`; 0 means none.
    public var limit = 0
    /// It makes room by deleting keys.
    public var evicts = false

    public init() {}
}

/// Totals over all flows and what needs a name. A value; safe to read at any time.
public struct Progress: Sendable {
    public enum Phase: UInt8, Sendable, Comparable {
        case connecting, snapshot, tail, stable, stopping, finished

        public static func < (left: Phase, right: Phase) -> Bool {
            left.rawValue < right.rawValue
        }

        public var name: String {
            switch self {
            case .connecting: "connecting"
            case .snapshot: "full sync"
            case .tail: "end of full sync"
            case .stable: "stable sync"
            case .stopping: "stopping"
            case .finished: "finished"
            }
        }
    }

    public var phase = Phase.connecting
    public var flows: [FlowProgress] = []
    /// Keys of the full sync that the target had already and keeps, and the journal's records of such
    /// keys.
    public var keysKept = 0
    public var recordsOfKeptKeys = 0
    public var ghostKeys = 0
    /// Keys that may differ: named as findings.
    public var keysToRepair = 0
    /// Keys whose value was read from the source again, because a record lost information or was
    /// refused (protocol.md 6.8).
    public var keysRepaired = 0
    /// Keys for which that is under way.
    public var repairsOpen = 0
    public var memberExpiriesDropped = 0
    /// Fields and members that df2redis removed when they were due, and those that it still has to
    /// remove; they stand in `elements.log` of the state directory.
    public var elementsRemoved = 0
    public var elementsOpen = 0
    /// JSON values that were written as strings.
    public var jsonTextsWritten = 0
    public var stickyFlagsDropped = 0
    public var memcachedFlagsDropped = 0
    public var scriptsLoaded = 0
    /// Keys kept alive on the target past their expiry, because the source may still renew it; they
    /// get it when the run ends.
    public var expiriesHeld = 0
    /// Near expiries that were set at once because too many were held already.
    public var expiriesNotHeld = 0
    /// Pending entries of deleted stream messages, which commands cannot create.
    public var pendingEntriesDropped = 0
    /// Keys on the source when the run began, 0 if unknown.
    public var sourceKeys = 0
    public var bytesSent = 0
    /// The file of failed records.
    public var deadLetters = DeadLetterProgress()
    /// Commands sent, SELECT and log-in included.
    public var commandsSent = 0
    public var commandsInFlight = 0
    /// The limits in effect.
    public var rate = RateLimits()
    public var isPaused = false
    public var hold = WriteHold.none
    /// Nil until the target has said.
    public var targetMemory: TargetMemory?
    /// What the next command may add to it, while the target has no room.
    public var memoryNeeded = 0
    /// Times that the target has refused a command because it was full; the keys are written again.
    public var memoryRefusals = 0
    /// Which flow a key belongs to is known: keys can be given to the repair list by name.
    public var knowsPlacement = false
    /// What source and target said that is worth a line and changes no result.
    public var notices: [String] = []
    /// Known before the run began; the weightiest first.
    public var sourceRisks: [SourceRisk] = []
    /// The first findings of each kind; the counts above are complete.
    public var findings: [Finding] = []

    public init() {}

    /// What several cores have done together: of the first, and what the others add. Flow f is of core
    /// f mod their number.
    init(joining cores: [Progress]) {
        self = cores[0]
        let ends = cores.indices.map { core in
            cores[core].flows.isEmpty ? 0 : (cores[core].flows.count - 1) * cores.count + core + 1
        }
        flows = (0..<(ends.max() ?? 0)).map { flow in
            let own = cores[flow % cores.count].flows
            // It may not be open yet.
            return flow / cores.count < own.count ? own[flow / cores.count] : FlowProgress()
        }
        for core in cores.dropFirst() {
            phase = min(phase, core.phase)
            for sum in Progress.sums { self[keyPath: sum] += core[keyPath: sum] }
            isPaused = isPaused || core.isPaused
            if hold == .none { hold = core.hold }
            if memoryNeeded < core.memoryNeeded {
                memoryNeeded = core.memoryNeeded
                targetMemory = core.targetMemory
            }
            knowsPlacement = knowsPlacement && core.knowsPlacement
            notices += core.notices.filter { !notices.contains($0) }
        }
    }

    private static var sums: [WritableKeyPath<Progress, Int>] {
        [
            \.keysKept, \.recordsOfKeptKeys, \.ghostKeys, \.keysRepaired,
            \.repairsOpen, \.memberExpiriesDropped, \.elementsRemoved, \.elementsOpen,
            \.jsonTextsWritten, \.stickyFlagsDropped, \.memcachedFlagsDropped, \.scriptsLoaded,
            \.expiriesHeld, \.expiriesNotHeld, \.pendingEntriesDropped, \.bytesSent,
            \.commandsSent, \.commandsInFlight, \.memoryRefusals,
        ]
    }

    public var snapshot: RecordCounts { snapshotByType.total }
    public var journal: RecordCounts { journalByType.total }
    public var snapshotByType: CountsByType { sum(\.snapshotByType) }
    public var journalByType: CountsByType { sum(\.journalByType) }

    private func sum(_ part: KeyPath<FlowProgress, CountsByType>) -> CountsByType {
        var total = CountsByType()
        for flow in flows { total += flow[keyPath: part] }
        return total
    }
}

/// Why a run ended before its job was done. `message` says what failed, why, and what to do.
public struct RunError: Error, Sendable, Equatable {
    public enum Kind: Sendable {
        /// Could not reach a server, or could not log in: exit code 3.
        case unreachable
        /// The source or the target refused (version, permission, protocol): exit code 4.
        case refused
        /// Lost a connection, or the stream was damaged, after the job began: exit code 1.
        case interrupted
    }

    public var kind: Kind
    public var message: String

    public init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }
}

/// How a run ended.
public struct RunReport: Sendable {
    public var progress: Progress
    public var error: RunError?
    /// True if a stop was asked for before the job was done.
    public var stopped: Bool
    /// Release of the source, e.g. `df-v1.40.0`, empty if it did not say.
    public var sourceVersion: String
    public var targetVersion: String
    /// The source's replication id.
    public var sourceID: String

    public init(
        progress: Progress, error: RunError?, stopped: Bool, sourceVersion: String = "",
        targetVersion: String = "", sourceID: String = ""
    ) {
        self.progress = progress
        self.error = error
        self.stopped = stopped
        self.sourceVersion = sourceVersion
        self.targetVersion = targetVersion
        self.sourceID = sourceID
    }
}

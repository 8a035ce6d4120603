public import Replication

/// What a run says of itself at one moment, as one versioned JSON object: the answer to `status`.
public struct RunStatus {
    /// Goes up when a member changes its meaning; new members do not change it.
    public static let version = 1

    public var program: String
    public var settings: ReplicationSettings
    public var progress: Progress
    public var rates: ProgressMeter.Rates
    public var elapsedSeconds: Int
    public var processIdentifier: Int

    public init(
        program: String, settings: ReplicationSettings, progress: Progress,
        rates: ProgressMeter.Rates, elapsedSeconds: Int, processIdentifier: Int
    ) {
        self.program = program
        self.settings = settings
        self.progress = progress
        self.rates = rates
        self.elapsedSeconds = elapsedSeconds
        self.processIdentifier = processIdentifier
    }

    public var json: JSONValue {
        let memory = progress.targetMemory
        return .object([
            ("ok", .boolean(true)),
            ("version", .integer(Self.version)),
            ("program", .string(program)),
            ("processIdentifier", .integer(processIdentifier)),
            ("command", .string(settings.mode == .migrate ? "migrate" : "replicate")),
            ("task", .string(settings.taskName)),
            ("source", .string(settings.source.description)),
            ("target", .string(settings.target.description)),
            ("phase", .string(progress.phase.name)),
            ("elapsedSeconds", .integer(elapsedSeconds)),
            ("paused", .boolean(progress.isPaused)),
            ("waitsFor", progress.hold == .none ? .null : .string(progress.hold.name)),
            ("waitsForText", Self.holdText(progress).map { .string($0) } ?? .null),
            ("recordsBehind", .integer(progress.pending)),
            ("rate", JSONValue(progress.rate)),
            ("perSecond", speeds),
            ("commandsInFlight", .integer(progress.commandsInFlight)),
            (
                "targetMemory",
                memory.map {
                    .object([
                        ("used", .integer($0.used)), ("limit", .integer($0.limit)),
                        ("evicts", .boolean($0.evicts)),
                    ])
                } ?? .null
            ),
            ("memoryRefusals", .integer(progress.memoryRefusals)),
            ("sourceKeys", .integer(progress.sourceKeys)),
            ("snapshot", JSONValue(progress.snapshot)),
            ("journal", JSONValue(progress.journal)),
            ("types", .array(JSONValue.types(of: progress))),
            ("flows", .array(JSONValue.flows(of: progress))),
            ("bytesRead", .integer(progress.bytesRead)),
            ("bytesSent", .integer(progress.bytesSent)),
            ("commandsSent", .integer(progress.commandsSent)),
            ("repairsOpen", .integer(progress.repairsOpen)),
            ("keysRepaired", .integer(progress.keysRepaired)),
            ("keysToRepair", .integer(progress.keysToRepair)),
        ])
    }

    private var speeds: JSONValue {
        .object([
            ("keys", .number(rates.keys.rounded())),
            ("records", .number(rates.records.rounded())),
            ("commands", .number(rates.commands.rounded())),
            ("bytesRead", .number(rates.bytesRead.rounded())),
            ("bytesSent", .number(rates.bytesSent.rounded())),
        ])
    }

    /// Why nothing or little is written and what to do about it; nil if nothing is held up.
    public static func holdText(_ progress: Progress) -> String? {
        switch progress.hold {
        case .none:
            return nil
        case .pause:
            return "paused: go on with df2redis resume"
        case .memory:
            guard let memory = progress.targetMemory, memory.limit > 0 else {
                return "waiting: the target refused a command for want of memory; free some"
            }
            return "waiting for memory of the target: \(memory.used) of \(memory.limit) bytes are"
                + " used, and the next command may take \(progress.memoryNeeded); raise its"
                + " maxmemory or free memory"
        case .rate:
            return "slowed down by the rate limit"
        case .latency:
            return "slowed down: replies of the target take more than"
                + " \(progress.rate.maxLatencyMilliseconds) ms"
        }
    }

    /// What is worth a warning about a target that deletes keys by itself; nil if it does not.
    public static func evictionWarning(_ progress: Progress) -> String? {
        guard let memory = progress.targetMemory, memory.evicts, memory.limit > 0 else {
            return nil
        }
        return "the target evicts keys when its memory of \(memory.limit) bytes is full: what it"
            + " evicts is missing there without an error; set its maxmemory-policy to noeviction"
    }
}

extension JSONValue {
    init(_ rate: RateLimits) {
        self = .object([
            ("operationsPerSecond", .integer(rate.operationsPerSecond)),
            ("bytesPerSecond", .integer(rate.bytesPerSecond)),
            ("maxLatencyMilliseconds", .integer(rate.maxLatencyMilliseconds)),
        ])
    }
}

internal import Bytes
internal import Reactor
internal import RedisTarget
internal import Synchronization
internal import Wire

/// What the control thread asks of a core.
struct ControlRequests: Sendable {
    /// Keys that an operator names wait here until the core's next turn.
    static let repairsLimit = 1024

    var rate: RateLimits
    var isPaused = false
    private(set) var repairs: [(database: Int, key: [UInt8])] = []

    init(rate: RateLimits) { self.rate = rate }

    /// False if too many wait.
    mutating func addRepair(database: Int, key: [UInt8]) -> Bool {
        guard repairs.count < ControlRequests.repairsLimit else { return false }
        repairs.append((database, key))
        return true
    }

    mutating func takeRepairs() -> [(database: Int, key: [UInt8])] {
        defer { repairs.removeAll() }
        return repairs
    }
}

/// How fast the target is written to: the operator's limits, its memory, its latency.
extension Core {
    /// A refused command waits at least so long for its tokens: one wake-up for a handful of commands.
    private static let shortestWaitNanoseconds: Int64 = 1_000_000

    func takeRequests() {
        let (rate, isPaused, keys) = shared.requests.withLock {
            ($0.rate, $0.isPaused, $0.takeRepairs())
        }
        nodes.pace.setRates(
            operations: rate.operationsPerSecond, bytes: rate.bytesPerSecond,
            latencyMilliseconds: rate.maxLatencyMilliseconds)
        nodes.pace.isPaused = isPaused && !wasStopped && !isLeaving
        totals.rate = rate
        for (database, key) in keys {
            key.withByteView { view in
                // Ways of placing keys that are believed alike may name two flows, or none.
                let homes = (0..<placement.flowCount).filter {
                    placement.verdict(view, flow: $0) == .home
                }
                let home = homes.count == 1 ? homes[0] : -1
                let core = home < 0 ? 0 : home % shared.coreCount
                guard core == index else {
                    return shared.send(
                        .repairAsked(database: database, key: key, flow: home), to: core)
                }
                repairAsked(database, view, home)
            }
        }
        tellAll(.retry)
    }

    /// An operator wants a key of one of this core's flows (-1: of an unknown one) to be read again.
    func repairAsked(_ database: Int, _ key: ByteView, _ flow: Int) {
        guard !isLeftAlone(database, key) else { return }
        markForRepair(
            database: database, key: key, flow: flow, command: "repair",
            reason: "an operator asked for it")
    }

    /// Whether a key that an operator names is not carried over, and so not read again; then that is
    /// named.
    private func isLeftAlone(_ database: Int, _ key: ByteView) -> Bool {
        let reason: String
        if !keeps(database: database, key: key) {
            reason = "the filter leaves it out"
        } else if conflicts.isKept(database: database, key: key) {
            reason = "the target had this key and keeps it, as conflict.policy says"
        } else {
            return false
        }
        report(
            Finding(
                kind: .skipped, database: database, key: key.printable(), command: "repair",
                reason: reason))
        return true
    }

    /// Sees to it that what was held up in this turn is tried again.
    func keepPace() {
        guard isTargetUsable else { return }
        for node in nodes.nodes {
            switch node.connection.pace.takeHold() {
            case .rate:
                let wait = max(nodes.pace.ratesOpenAt, reactor.now) - reactor.now
                reactor.setTimer(Timer.pace, after: max(wait, Core.shortestWaitNanoseconds))
                hold = .rate
            case .memory:
                if node.connection.pace.memory.mustAskNow { askForMemory(node) }
            case .latency:
                hold = .latency
            case .none, .pause:
                break  // Whoever ends a pause resumes the flows.
            }
        }
    }

    private func askForMemory(_ node: TargetNode) {
        guard node.state == .ready, !node.connection.pace.memory.isAsked else { return }
        // Without room now, the replies that make some lead here again.
        _ = node.connection.askForMemory()
    }

    /// Called every 100 ms.
    func tickPace() {
        guard isTargetUsable else { return }
        for node in nodes.nodes {
            let connection = node.connection
            connection.pace.tick(
                commandsInFlight: connection.commandsInFlight, now: reactor.now)
            // Also while nothing is written: others may fill it, and a limit may be set.
            if !isSourceLeft { askForMemory(node) }
        }
        // What is left at the end takes as long as the limits want.
        if isSourceLeft, hold == .rate {
            drainDeadline = reactor.now + Core.drainLimitNanoseconds
        }
    }

    func settleMemory(_ reply: TargetReply) {
        guard !reply.reply.hasError else {
            // Without INFO there is no pacing by memory, and a refusal is dealt with when it comes.
            target.pace.answered(nil)
            return
        }
        target.pace.answered(MemoryRoom.Sample(InfoText(reply.reply.content)))
    }

    // MARK: A full target

    /// The error that was answered last says that the target is full.
    var isWantOfMemory: Bool {
        let error = target.errorText
        // EXEC and EVAL put it into a sentence of their own.
        return error.starts(with: "OOM ") || error.contains("OOM command not allowed")
    }

    /// The target refuses commands although it had room: somebody else has filled it. Nothing more is
    /// written until there is room again.
    func noteWantOfMemory() {
        guard isWantOfMemory else { return }
        totals.memoryRefusals += 1
        target.pace.wasRefusedForMemory()
    }

    /// A server that has no memory left; nothing is written to it.
    private var shortNode: TargetNode? {
        nodes.nodes.first { $0.state == .ready && $0.connection.pace.memory.isShort }
    }

    /// Nothing is written, and not because of the target's speed.
    var isHeldUp: Bool { nodes.pace.isPaused || shortNode != nil }

    func publishPace() {
        totals.commandsSent = nodes.commandsSent
        totals.commandsInFlight = nodes.commandsInFlight
        totals.isPaused = nodes.pace.isPaused
        totals.knowsPlacement = source?.flowCount == 1 || placement.isKnown
        let short = shortNode
        // Of several servers the one that is short, or has the least room.
        let tightest = nodes.masters.min { MemoryRoom.Sample.isTighter($0.memory, $1.memory) }
        totals.memoryNeeded = short?.connection.pace.memory.needed ?? 0
        if let sample = (short ?? tightest)?.memory {
            var memory = TargetMemory()
            memory.used = sample.used
            memory.limit = sample.limit
            memory.evicts = sample.evicts
            totals.targetMemory = memory
        }
        if nodes.pace.isPaused {
            totals.hold = .pause
        } else if short != nil, !isLeaving {
            totals.hold = .memory
        } else {
            totals.hold = hold
        }
        // Held once since the last look is held: between two commands nothing is.
        hold = .none
    }
}

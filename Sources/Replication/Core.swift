internal import Bytes
internal import CPlatform
internal import DragonflySource
internal import Reactor
internal import RedisTarget
internal import Synchronization
internal import Wire

/// One reactor thread with everything that belongs to it: its flows, its connections to the target, a
/// connection that reads keys; with the first core the control connection. Nothing in here is touched
/// by another thread.
///
/// `@unchecked Sendable`, proof: it is made by the control thread or the first core, handed to its own
/// thread by `CoreThread.start`, and used only there from then on; all that is shared is in
/// `CoreShared`.
final class Core: ReactorOwner, CoreBody, @unchecked Sendable {
    enum Role {
        static let control: UInt32 = 0
        static let reader: UInt32 = 1
        static let lane: UInt32 = 2
        static let firstFlow: UInt32 = 3
        static let firstTarget: UInt32 = 1 << 16
    }

    enum Timer {
        static let tick = 0
        static let pace = 1
        static let cluster = 2
        static let count = 3
    }

    /// A flow is read at most this much in one turn, so that others get theirs.
    static let turnBudgetBytes = 1 << 20
    /// What is read at once stays in the caches until it is handled, also if there are many flows.
    static let readBytes = 128 << 10
    /// How long the target may take to answer what is in flight after the source was left.
    static let drainLimitNanoseconds: Int64 = 30_000_000_000
    /// How long it may take for the greeting, and be silent with commands in flight at any time.
    static let greetingLimitNanoseconds: Int64 = 15_000_000_000
    static let silenceLimitNanoseconds: Int64 = 120_000_000_000

    /// Between two looks at the clocks, and two publications of the counters.
    var tickNanoseconds: Int64 = 100_000_000
    /// The first one, 0, has the control connection.
    let index: Int
    let settings: ReplicationSettings
    let shared: CoreShared
    let reactor: Reactor
    let sourceAddress: cp_address

    let nodes: TargetNodes
    /// The connection in hand: the one that is read, or that takes the commands which are being
    /// written (see `aim`).
    var target: TargetConnection
    var targetVersion: TargetVersion?
    let targets: [TargetPlace]
    /// Further places to begin with, if the first one does not answer.
    var seeds: [TargetPlace]
    /// Made once the target has said what it is.
    var entries: EntryWriter?
    /// The same, for values that come in parts.
    var shadows: ShadowWriter?
    let lane: StringLane
    /// What of the target is to be swept before the run, and where in the first of them.
    var sweeps: [(node: TargetNode, database: Int)] = []
    var sweepCursor: [UInt8] = []
    /// Databases that a cluster must take before the run.
    var databasesToCheck: [Int] = []
    /// Databases of the source that had keys before the run.
    var sourceDatabases: [Int] = []
    var startedAt: Int64 = 0
    var masterFlush = MasterFlush()
    var flushLog: FlushLog?
    var targetNotices: [String] = []
    /// Once a run: the target refuses to remove elements whose expiry has come.
    var toldOfRefusedRemoval = false
    var journalWriter = JournalWriter()
    let keyRules: KeyRules
    /// The target let us in, and nothing has shown since that it is gone.
    var isTargetUsable = false
    /// What held up commands since the counters were published.
    var hold = WriteHold.none

    var controlSocket: Socket?
    var control: ControlSession
    /// Nil until the source has said how many flows there are.
    var source: SourceFacts?
    /// Of this core, to be opened once the target is ready.
    var flowsToOpen: [FlowSettings] = []
    var flows: [Flow] = []
    var placement = ShardPlacement(flowCount: 1)
    var pops: PopWatch
    var groups: StreamGroups
    var held: HeldExpiries
    var conflicts: Conflicts

    var repairs: RepairList
    /// Lines of `CoreShared` were added that must reach the disk.
    var hasNewLetters = false
    var hasNewRepairLines = false
    /// The connection that reads keys, made when the first one is to be read.
    var reader: KeyReader?
    var readerSocket: Socket?
    /// The repair whose key is being read, and the one whose value is half written.
    var readingRepair: Int?
    var writingRepair: Int?
    var readerFailures = 0
    var readerNotBefore: Int64 = 0
    var readerDeadline = Int64.max
    /// When repairs last moved on, and when an orderly end was wanted, milliseconds.
    var repairProgressAt: Int64 = 0
    var finishingSince: Int64 = 0

    /// Up to where in `held` the true expiries were set, at the end.
    var releasePlace = 0
    var scratch: RegionBuffer

    /// Snapshot entries whose flag was dropped; the journal's are counted by its writer.
    var stickyEntries = 0
    var memcachedEntries = 0
    var totals = Progress()
    var wasStopped = false
    /// The run is to end in order, once nothing is left to repair.
    var isFinishing = false
    var isLeaving = false
    var isSourceLeft = false
    /// When reading the closing control connection ends at the latest, milliseconds.
    var controlDeadline = Int64.max
    var drainDeadline = Int64.max
    /// Of this core, flows that reached the flush that is being waited for.
    var flowsAtFlush = 0
    var flushStep = FlushStep.waiting
    /// Steps that this core has reached.
    var stepsReached = [Bool](repeating: false, count: CoreStep.allCases.count)
    /// All cores have applied what the snapshot brought.
    var isPastBaselines = false
    /// What only the first core knows: how many cores have reached each step, and which flush.
    var arrivals = [Int](repeating: 0, count: CoreStep.allCases.count)
    var flushPoint: FlushPoint?
    var coresAtFlush = 0

    init(
        index: Int = 0, settings: ReplicationSettings, shared: CoreShared, source: cp_address,
        targets: [TargetPlace]
    ) throws(SystemError) {
        self.index = index
        self.targets = targets
        self.settings = settings
        self.shared = shared
        sourceAddress = source
        reactor = try Reactor(
            mailbox: shared.inboxes[index].mailbox, capacity: 1032 + TargetNodes.nodesLimit,
            timers: Timer.count)
        let greeting = TargetGreeting(
            user: settings.target.user, password: settings.target.password,
            name: settings.taskName, needsJSON: settings.types.json == .module)
        nodes = TargetNodes(
            TargetNodes.Settings(
                firstRole: Role.firstTarget, outputBytes: settings.targetRingBytes,
                greeting: greeting, addressing: settings.clusterAddressing,
                isFollowed: settings.sentinelMaster != nil),
            reactor: reactor, pace: shared.pace)
        reactor.busyPollNanoseconds = Int64(settings.busyPollMicroseconds) * 1_000
        let first = targets[0]
        target = try nodes.open(host: first.host, port: first.port, address: first.address)
            .connection
        seeds = Array(targets.dropFirst())
        lane = StringLane(role: Role.lane, reactor: reactor, greeting: greeting)
        control = ControlSession(settings.controlSettings, now: 0)
        scratch = try RegionBuffer(capacity: 64 << 10)
        keyRules = try KeyRules(settings.keyRules)
        held = try HeldExpiries()
        pops = try PopWatch(shared.transactions)
        groups = try StreamGroups()
        repairs = try RepairList(valueBytesLimit: settings.heldBytesLimit)
        conflicts = try Conflicts(
            policy: settings.conflictPolicy, directory: settings.spillDirectory)
    }

    var nowMilliseconds: Int64 { reactor.now / 1_000_000 }

    // MARK: The thread

    func runCore() {
        startedAt = reactor.now
        reactor.setTimer(Timer.tick, after: tickNanoseconds)
        if index == 0 {
            openRepairLog()
            openFlushLog()
            checkElementTimers()
        }
        do throws(SystemError) {
            try reactor.run(self)
        } catch {
            shared.fail(RunError(.interrupted, "the event loop failed: \(error)"))
            // Without this core nothing ends in order.
            shared.sendAll(.halt)
        }
        publish()
        if index == 0 {
            shared.note(
                stopped: wasStopped, sourceVersion: control.releaseText,
                sourceID: control.replicationID,
                targetVersion: targetVersion?.description ?? "")
        }
        shared.coreEnds()
    }

    func received(_ word: UInt64) {
        for message in shared.inboxes[index].take() { take(message) }
    }

    /// Why the run ends before its job is done.
    var failure: RunError? { shared.failure }

    /// Ends the run in order: what the journal did not tell is read from the source before it is
    /// left.
    func finish() {
        guard !isFinishing, !isLeaving else { return }
        isFinishing = true
        finishingSince = nowMilliseconds
        pops.finish { markForRepair($0) }
        markGroups()
    }

    // MARK: Sockets

    func connected(_ socket: Socket) {
        switch socket.role {
        case Role.lane:
            lane.connected()
        case Role.control:
            perform(control.connected(now: nowMilliseconds, output: &socket.output))
            reactor.markDirty(socket)
        case Role.reader:
            if let action = reader?.connected(now: nowMilliseconds, output: &socket.output) {
                perform(action)
            }
            reactor.markDirty(socket)
        case Role.firstTarget...:
            guard let node = nodes.node(of: socket) else { return }
            node.greeting.begin(node.connection)
        default:
            let flow = flow(of: socket)
            perform(
                flow.session.connected(now: nowMilliseconds, output: &socket.output), on: flow)
            reactor.markDirty(socket)
        }
    }

    func ready(_ socket: Socket) {
        switch socket.role {
        case Role.firstTarget...:
            if let node = nodes.node(of: socket) { read(node) }
        case Role.control: readControl(socket)
        case Role.reader: readReader(socket)
        case Role.lane:
            lane.read()
            resumeBlockedFlows()
        default: advance(flow(of: socket))
        }
    }

    func failed(_ socket: Socket, _ error: SystemError) {
        switch socket.role {
        case Role.firstTarget...:
            if let node = nodes.node(of: socket) { lost(node, "\(error)") }
        case Role.control:
            perform(control.connectionEnded("\(error)"))
            if control.phase == .closed { sourceIsLeft() }
        case Role.reader: failedReader(error)
        case Role.lane:
            lane.failed(error)
            resumeBlockedFlows()
        default:
            let flow = flow(of: socket)
            perform(flow.session.connectionEnded("\(error)"), on: flow)
        }
    }

    func flow(of socket: Socket) -> Flow { flows[Int(socket.role - Role.firstFlow)] }

    /// The one with that number, which must be of this core.
    func flow(_ number: Int) -> Flow { flows[number / shared.coreCount] }

    /// Nil if it is none, or not of this core.
    func ownFlow(_ number: Int) -> Flow? {
        let count = shared.coreCount
        guard number >= 0, number % count == index, number / count < flows.count else { return nil }
        return flows[number / count]
    }

    // MARK: Turns

    func timerFired(_ timer: Int) {
        if timer == Timer.pace { return resumeBlockedFlows() }
        // The end of the turn sees to it.
        if timer == Timer.cluster { return }
        reactor.setTimer(Timer.tick, after: tickNanoseconds)
        if let controlSocket, !isSourceLeft {
            perform(control.tick(now: nowMilliseconds, output: &controlSocket.output))
            reactor.markDirty(controlSocket)
            if nowMilliseconds >= controlDeadline { sourceIsLeft() }
        }
        noteReadDry()
        pops.tick(nowMilliseconds, readUpTo: shared.readDryAt) { markForRepair($0) }
        tickReader()
        watchTarget()
        followMaster()
        watchNodes()
        tickPace()
        publish()
        if reactor.now > drainDeadline {
            // All that is in flight may be one string on its own connection.
            let commands = nodes.commandsInFlight + (lane.isTaken ? 1 : 0)
            fail(
                .interrupted,
                "the target did not answer \(commands) commands within "
                    + "\(Core.drainLimitNanoseconds / 1_000_000_000) s; check it and run again")
            reactor.stop()
        }
    }

    func turnEnding() {
        for node in nodes.nodes where node.state == .ready { node.connection.pumpOversize() }
        if lane.hasNewRoom() { resumeBlockedFlows() }
        if nodes.mayMove { advanceNodes() }
        if !databasesToCheck.isEmpty { checkDatabases() }
        if !sweeps.isEmpty { sweep() }
        if !isLeaving { checkConflicts() }
        advanceRepairs()
        removeDueElements()
        if hasNewLetters {
            shared.deadLetters.with { $0.flush() }
            hasNewLetters = false
        }
        if settings.mode == .migrate { decideOnFlows() }
        for flow in flows where !flow.isClosed {
            if flow.progress.appliedLSN > 0 {
                flow.session.applied(upTo: flow.progress.appliedLSN)
            }
            guard !flow.awaitsShutdown else { continue }
            perform(
                flow.session.tick(now: nowMilliseconds, output: &flow.socket.output), on: flow)
            if flow.socket.bytesUnsent > 0 { reactor.markDirty(flow.socket) }
        }
        shareVotes()
        advanceSteps()
        if isSourceLeft, readerSocket == nil {
            releaseHeldExpiries()
            // Removing a shadow may have to wait for its turn, too.
            let isSettled =
                nodes.commandsInFlight == 0 && held.count == 0 && !lane.isTaken
                && shadows?.hasOpen != true
            if isSettled || !isTargetUsable {
                giveUpWrittenRepairs()
                reactor.stop()
            }
        }
        keepPace()
    }

    /// A copy is complete at the beginning of a flow's journal, unless there is something to repair:
    /// then the journal is followed as far as that takes.
    private func decideOnFlows() {
        let hasDoubtfulCopies = shared.hasDoubtfulCopies.load(ordering: .relaxed)
        guard isPastBaselines || !hasDoubtfulCopies else { return }
        for flow in flows
        where flow.routedLSN > 0 && flow.recordsPending == 0 && !flow.follows && !flow.isDone {
            if repairs.openCount > 0 || groups.count > 0 || pops.isWaiting {
                flow.follows = true
            } else {
                flow.isDone = true
            }
            reactor.resume(flow.socket)
        }
    }

    // MARK: The end

    /// Begins to leave the source in order; the run ends when it is left and the target has
    /// answered.
    func leave() {
        guard !isLeaving else { return }
        isLeaving = true
        pops.finish { markForRepair($0) }
        endRepairs()
        nodes.pace.end()
        endFlows()
        guard index == 0 else { return shared.send(.leave, to: 0) }
        guard controlSocket != nil else {
            sourceIsLeft()
            return
        }
        perform(control.stop())
    }

    /// Nothing more is taken from the source.
    func endFlows() {
        for flow in flows {
            flow.isDone = true
            flow.dropHeld()
            reactor.resume(flow.socket)
        }
    }

    func fail(_ kind: RunError.Kind, _ message: String) {
        shared.fail(RunError(kind, message))
        leave()
    }

    /// The run ends, since what must be on disk is not.
    func failLog(_ fileName: String, _ error: SystemError) {
        fail(
            .interrupted,
            "cannot write \(fileName) in the state directory: \(error); make room and run again")
    }

    /// The control connection has ended.
    func sourceIsLeft() {
        guard !isSourceLeft else { return }
        if let controlSocket { reactor.close(controlSocket) }
        tellAll(.sourceIsLeft)
    }

    /// False for a key to repair that is named already.
    @discardableResult
    func report(_ finding: Finding) -> Bool {
        shared.findings.with { $0.add(finding) }
    }

    func publish() {
        totals.phase = phase
        totals.flows = flows.map(\.progress)
        totals.keysRepaired = repairs.repaired
        totals.keysKept = conflicts.kept.count - conflicts.keptByOthers
        totals.repairsOpen = repairs.openCount
        totals.memberExpiriesDropped =
            journalWriter.memberExpiriesDropped + (entries?.memberExpiriesDropped ?? 0)
            + (shadows?.memberExpiriesDropped ?? 0)
        totals.elementsOpen = journalWriter.elementExpiries.timers?.count ?? 0
        totals.jsonTextsWritten =
            (entries?.jsonTextsWritten ?? 0) + (shadows?.jsonTextsWritten ?? 0)
        totals.stickyFlagsDropped = stickyEntries + journalWriter.stickyFlagsDropped
        totals.memcachedFlagsDropped = memcachedEntries + journalWriter.memcachedFlagsDropped
        totals.bytesSent = nodes.bytesSent + lane.bytesSent
        publishPace()
        totals.expiriesHeld = held.count
        totals.expiriesNotHeld = held.notHeld
        totals.pendingEntriesDropped =
            (entries?.pendingEntriesDropped ?? 0) + (shadows?.pendingEntriesDropped ?? 0)
        totals.notices =
            (targetNotices + (lane.refusal.map { [$0] } ?? [])).map { "target: \($0)" }
            + control.warnings.map { "source: \($0)" }
        shared.publish(totals, of: index)
    }

    private var phase: Progress.Phase {
        if isSourceLeft && (nodes.commandsInFlight == 0 || !isTargetUsable) { return .finished }
        if isLeaving || isFinishing && wasStopped { return .stopping }
        if flows.isEmpty { return .connecting }
        return switch flows.map(\.progress.phase).min(by: { $0.rawValue < $1.rawValue }) {
        case .snapshot: .snapshot
        case .tail: .tail
        case .stable, .finished: .stable
        default: .connecting
        }
    }
}

internal import Bytes
internal import Reactor
internal import RedisTarget
internal import Synchronization
internal import Wire

/// A flush that goes to every master, while nothing else is in flight. To those of a cluster twice: a
/// slot that goes from a master which has not flushed yet to one which has takes its keys along.
struct MasterFlush {
    /// 0 if none is under way.
    var round = 0
    /// Of this round, the masters, how many of them were told, and of these have not answered.
    var masters: [TargetNode] = []
    var told = 0
    var pending = 0
    /// Slots have moved meanwhile, or a master did not carry it out: all begins anew.
    var isUpset = false
    var slotsMovedBefore = 0
    /// Of a flush of slots, where the first master that is not done goes on (SCAN).
    var cursor = MasterFlush.start
    /// When all may begin anew, monotonic nanoseconds.
    var retryAt: Int64 = 0
    /// The operator was told what it waits for.
    var isWaitTold = false

    static let start = Array("0".utf8)
    private static let retryNanoseconds: Int64 = 100_000_000

    /// All is to begin anew, soon.
    mutating func upset(now: Int64) {
        isUpset = true
        retryAt = now + MasterFlush.retryNanoseconds
    }

    mutating func restart(slotsMoved: Int) {
        self = MasterFlush(round: 1, slotsMovedBefore: slotsMoved, isWaitTold: isWaitTold)
    }
}

/// What is different if the target's masters may change: a Redis Cluster, or what sentinels watch.
extension Core {
    /// Which of the masters must be reached before a run, nanoseconds.
    private static let beginLimitNanoseconds: Int64 = 20_000_000_000

    /// True, and the run ends, if the target is not what it should be.
    func refuseKind(_ node: TargetNode) -> Bool {
        let isCluster = node.greeting.isClusterNode
        switch settings.targetKind {
        case .standalone where isCluster:
            fail(
                .refused,
                "the target \(node.name) is a node of a cluster; set target.type to redis-cluster or "
                    + "leave it out")
        case .cluster where !isCluster:
            fail(
                .refused,
                "the target \(node.name) is no node of a cluster (cluster-enabled); set target.type "
                    + "to redis-standalone or leave it out")
        default:
            return false
        }
        return true
    }

    // MARK: Turns

    func advanceNodes() {
        for (node, reason) in nodes.takeCondemned() { lost(node, reason) }
        do throws(DecodeError) {
            if try nodes.advance() { resumeBlockedFlows() }
        } catch {
            fail(.interrupted, "no memory to send a command again")
        }
        for node in nodes.takeFailedOver() { failedOver(node) }
        for doubt in nodes.takeDoubts() {
            guard !doubt.isShadow else {
                shadows?.lose { !nodes.isCluster || $0 == doubt.slot }
                continue
            }
            doubt.key.withByteView { key in
                markWritten(
                    doubt.database, key, doubt.flow, "",
                    "its slot moved while it was written, which upset the order of its commands")
            }
        }
        if let problem = nodes.problem { fail(.interrupted, problem) }
        if nodes.nextAdvance != .max {
            reactor.setTimer(Timer.cluster, after: max(0, nodes.nextAdvance - reactor.now))
        }
    }

    /// Called every 100 ms: the sentinels may have another master.
    func followMaster() {
        guard let place = shared.master.withLock({ $0 }) else { return }
        do throws(SystemError) {
            try nodes.follow(host: place.host, port: place.port, address: place.address)
        } catch {
            fail(
                .interrupted,
                "cannot connect to \(place.host):\(place.port), the target's new master: \(error)")
        }
    }

    /// Called every 100 ms.
    func watchNodes() {
        guard nodes.mayMove else { return }
        nodes.watch()
        // Replies move a flush on; what else it may wait for does not tell when it is there.
        if masterFlush.round > 0 { resumeBlockedFlows() }
        guard entries == nil, !isLeaving, reactor.now - startedAt > Core.beginLimitNanoseconds
        else {
            return
        }
        let missing = nodes.masters.filter { $0.state != .ready }.map {
            $0.lossReason.isEmpty ? $0.name : "\($0.name) (\($0.lossReason))"
        }
        fail(
            .unreachable,
            missing.isEmpty
                ? nodes.resolveFailure
                    ?? "the target's cluster does not serve all slots; see CLUSTER INFO"
                : "cannot connect to these masters of the target's cluster: "
                    + "\(missing.joined(separator: ", ")); see target.cluster.addressMap if they "
                    + "announce addresses that are not reached from here")
    }

    // A replica took over, and may lack what its master had answered last.
    private func failedOver(_ node: TargetNode) {
        shadows?.lose { nodes.tookOver($0, from: node) }
        nodes.takeRecent(node) { database, key, flow in
            markWritten(
                database, key, flow, "",
                "a replica of \(node.name) took over, which may lack what was written last")
        }
    }

    // A key by its name on the target.
    private func markWritten(
        _ database: Int, _ key: ByteView, _ flow: Int, _ command: String, _ reason: String
    ) {
        let name = sourceName(database, key)
        markForRepair(
            database: name.database, key: name.key, flow: flow, command: command, reason: reason)
    }

    /// A command whose connection was lost, and that cannot simply be sent again.
    func settleLoss(_ loss: TargetNodes.Loss) {
        let command = loss.command
        let database = Int(command.database)
        let isRecord = ownFlow(Int(command.flow)) != nil
        switch command.kind {
        case .shadow, .shadowLength, .shadowClaim, .shadowGuard:
            shadows?.lose(command)
        case .repair:
            repairs.retry(Int(command.nextLSN), now: nowMilliseconds, counts: false)
        case .sweep:
            sweepCursor = Array("0".utf8)
        case .flush:
            masterFlush.pending -= 1
            masterFlush.upset(now: reactor.now)
        case .entry where isRecord:
            let flow = flow(Int(command.flow))
            flow.settle(nextLSN: 0)
            flow.progress.snapshotByType[command.type].repaired += 1
            markLost(loss)
        case .guardedEntry where isRecord, .probe where isRecord:
            let flow = flow(Int(command.flow))
            let key = loss.encoded.key ?? loss.groupKey
            let own = sourceName(database, key)
            flow.settle(nextLSN: 0)
            flow.progress.snapshotByType[command.type].failed += 1
            answeredBaseline(own.database, own.key, isKept: true)
            conflicts.keep(database: own.database, key: own.key)
            fail(
                DeadLetters.Letter(
                    phase: .snapshot, flow: flow.index, database: own.database, key: own.key,
                    command: command.type.name, reply: Core.lostUnseen))
        case .journal where isRecord:
            let flow = flow(Int(command.flow))
            flow.settle(nextLSN: command.nextLSN)
            flow.progress.journalByType[command.type].repaired += 1
            markLost(loss)
        case .journalPart where isRecord:
            flow(Int(command.flow)).settle(nextLSN: command.nextLSN)
            markLost(loss)
        case .script where isRecord:
            let flow = flow(Int(command.flow))
            flow.settle(nextLSN: command.nextLSN)
            // As if it were refused, which is no failure either.
            flow.progress.journalByType[command.type].applied += 1
        default: break
        }
    }

    private static let lostUnseen =
        "the connection was lost before the target answered, and nothing tells whether it was done"

    private func markLost(_ loss: TargetNodes.Loss) {
        let command = loss.encoded.name.printable(limit: 32)
        let reason = "its node was lost before it answered"
        var isMarked = false
        loss.encoded.forEachKey { database, key in
            isMarked = true
            markWritten(database, key, Int(loss.command.flow), command, reason)
        }
        guard !isMarked else { return }
        markWritten(
            Int(loss.command.database), loss.groupKey, Int(loss.command.flow), command, reason)
    }

    // MARK: Replies

    /// The error that was answered last says that the command belongs elsewhere.
    var isRedirected: Bool {
        nodes.mayMove && ClusterRedirection(target.errorText) != nil
    }

    /// One key of a record that goes out key by key; the record is counted by its last.
    func settlePart(_ reply: TargetReply, _ flow: Flow) {
        flow.settle(nextLSN: reply.command.nextLSN)
        guard reply.recordFailed, !markRefused(reply, flow) else { return }
        let (command, key) = target.name(of: reply.command)
        let name = sourceName(Int(reply.command.database), key)
        nameForRepair(
            name.database, name.key, flow.index, command.printable(limit: 32),
            "the target refused it: \(refusal)", "nor would it take the value")
    }

    // MARK: Databases

    /// Asks whether the cluster takes the databases that the source uses, before the run.
    func checkDatabases() {
        guard let database = databasesToCheck.first, let connection = nodes.anyConnection,
            !isLeaving
        else { return }
        do throws(DecodeError) {
            // Opened, the database is there; nothing is to be written.
            guard try connection.begin(flow: 0, database: database, bytes: 0) else { return }
            connection.abandon()
        } catch {
            fail(.interrupted, "no memory to ask for database \(database)")
            return
        }
        databasesToCheck.removeFirst()
        if databasesToCheck.isEmpty { startSweep() }
    }

    func refuseDatabase(_ database: Int) {
        let answer = "the target refused database \(database): \(target.errorText.printable())"
        guard nodes.isCluster else {
            return fail(
                .refused,
                "\(answer); give it more databases, or send the source's elsewhere with dbs")
        }
        let own = keyRules.isActive ? keyRules.source(ofDatabase: database) : database
        fail(
            .refused,
            "\(answer). This cluster has database 0 only: \"dbs: {0: 0}\" carries over database 0 and "
                + "leaves the others out, \"dbs: {\(own): 0}\" does so with database \(own), for a target "
                + "of its own; Valkey 9 has more with cluster-databases")
    }

    // MARK: Flushes

    /// Has all masters carry out a flush that all flows have reached. False until all have.
    func flushMasters(
        _ record: JournalRecord, _ context: RecordContext
    ) throws(DecodeError) -> Bool {
        // What is in flight may be another flush, of which all that is awaited here is not.
        guard masterFlush.round > 0 || nodes.isQuiet else { return false }
        guard masterFlush.pending == 0, reactor.now >= masterFlush.retryAt else { return false }
        let isOfSlots = journalWriter.match(record).rule == .flushSlots
        let hasSteps = isOfSlots || nodes.isCluster
        if masterFlush.told > 0, masterFlush.told == masterFlush.masters.count,
            !masterFlush.isUpset, masterFlush.slotsMovedBefore == nodes.slotsMoved
        {
            masterFlush.round += 1
            guard masterFlush.round <= (nodes.isCluster ? 2 : 1) else {
                masterFlush = MasterFlush()
                if hasSteps { logFlush { (log) throws(SystemError) in try log.done() } }
                return true
            }
            masterFlush.masters = []
            masterFlush.told = 0
        } else if masterFlush.round == 0 || masterFlush.isUpset
            || masterFlush.slotsMovedBefore != nodes.slotsMoved
        {
            if masterFlush.round == 0, hasSteps {
                logFlush { (log) throws(SystemError) in try log.begun(record) }
                guard !isLeaving else { return false }
            }
            journalWriter.forgetFlushes()
            masterFlush.restart(slotsMoved: nodes.slotsMoved)
        }
        guard nodes.isQuiet || masterFlush.told > 0 else { return false }
        if masterFlush.masters.isEmpty { masterFlush.masters = nodes.mastersToFlush }
        while masterFlush.told < masterFlush.masters.count {
            let node = masterFlush.masters[masterFlush.told]
            guard node.state == .ready else {
                masterFlush.upset(now: reactor.now)
                return false
            }
            let outcome: RecordOutcome
            if isOfSlots {
                outcome = try masterFlush.cursor.withByteView { (cursor) throws(DecodeError) in
                    try journalWriter.writeFlushOfSlots(
                        record, context, cursor: cursor, to: node.connection)
                }
            } else {
                outcome = try journalWriter.writeFlush(
                    record, context, rules: keyRules, to: node.connection)
            }
            guard outcome == .sent else { return false }
            masterFlush.pending += 1
            // Page by page, one master after the other.
            if isOfSlots { return false }
            masterFlush.told += 1
        }
        return false
    }

    func settleFlush(_ reply: TargetReply) {
        masterFlush.pending -= 1
        guard reply.recordFailed else {
            // A page of slots; a whole flush answers OK.
            guard reply.reply.kind == .bulk else { return }
            masterFlush.cursor = reply.reply.content.array()
            if masterFlush.cursor == MasterFlush.start { masterFlush.told += 1 }
            return
        }
        masterFlush.upset(now: reactor.now)
        guard !isRedirected else {
            tellWaitOfFlush()
            return nodes.wantTopology()
        }
        fail(
            .interrupted,
            "a master of the target refused to be flushed, so it may hold what the source deleted: "
                + "\(refusal); allow +flushall, and for flushSlots +eval +scan +unlink, to this user and "
                + "run again")
    }

    func openFlushLog() {
        guard let directory = settings.stateDirectory else { return }
        do throws(SystemError) {
            flushLog = try FlushLog(directory: directory)
        } catch {
            return failLog(FlushLog.fileName, error)
        }
        guard let left = flushLog?.left, !left.isEmpty else { return }
        targetNotices.append(
            "it may hold keys that the source had deleted: an earlier run was interrupted in "
                + "\(left.joined(separator: ", ")), and no full sync removes them; empty it, or "
                + "compare both sides, and delete \(FlushLog.fileName) in the state directory")
    }

    private func logFlush(_ body: (inout FlushLog) throws(SystemError) -> Void) {
        guard flushLog != nil else { return }
        do throws(SystemError) {
            try body(&flushLog!)
        } catch {
            flushLog = nil
            failLog(FlushLog.fileName, error)
        }
    }

    private func tellWaitOfFlush() {
        guard !masterFlush.isWaitTold, masterFlush.told < masterFlush.masters.count else { return }
        masterFlush.isWaitTold = true
        targetNotices.append(
            "a flush of the source waits for \(masterFlush.masters[masterFlush.told].name), and all "
                + "flows with it: \(refusal); if no slot is being moved, see redis-cli --cluster check"
        )
    }
}

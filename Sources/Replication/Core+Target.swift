internal import Bytes
internal import Reactor
internal import RedisTarget
internal import Wire

/// The target's side of a core: log-in, replies, room.
extension Core {
    /// Takes the connection in hand that commands of a flow for a key of the target go to; false while
    /// they must wait.
    func aim(_ flow: Int, at key: ByteView) -> Bool {
        guard nodes.mayMove else { return true }
        if let building = entries?.buildingTarget, entries?.buildingFlow == flow {
            target = building
            return true
        }
        guard let connection = nodes.connection(for: key) else { return false }
        target = connection
        return true
    }

    func read(_ node: TargetNode) {
        target = node.connection
        let mayMove = nodes.mayMove
        var budget = Core.turnBudgetBytes
        do throws(RESPError) {
            while budget > 0 {
                let count = target.socket.fill(limit: Core.readBytes)
                budget -= count
                while let reply = try target.nextReply() {
                    if mayMove, case .held = nodes.judge(reply, node) { continue }
                    settle(reply, node)
                }
                if count == 0 { break }
            }
        } catch {
            lost(node, "it sent bytes that are no reply")
            return
        }
        if target.socket.reachedEnd {
            lost(node, "it closed the connection")
            return
        }
        target.pumpOversize()
        resumeBlockedFlows()
    }

    /// Replies made room: blocked flows try again.
    func resumeBlockedFlows() {
        for flow in flows where flow.isBlocked {
            flow.isBlocked = false
            reactor.resume(flow.socket)
        }
    }

    /// The run ends, so nobody will renew what was kept alive, or delete it.
    func releaseHeldExpiries() {
        guard isTargetUsable else { return }
        do throws(DecodeError) {
            // An open transaction would swallow what follows.
            guard try entries?.abandon() ?? true else { return }
            guard try shadows?.giveUpAll(nodes) ?? true else { return }
        } catch {
            fail(.interrupted, "no memory to end a transaction")
            return
        }
        // Whether a key is one that the target keeps is known with its reply.
        guard held.count > 0, conflicts.unansweredCount == 0 else { return }
        while releasePlace < held.places.upperBound {
            if let (entry, database, key) = held.entry(at: releasePlace) {
                do throws(DecodeError) {
                    guard let connection = nodes.connection(for: key),
                        try journalWriter.release(
                            entry, database: database, key, to: connection)
                    else { return }
                } catch {
                    fail(.interrupted, "no memory to set the expiry of \(key.printable())")
                    return
                }
            }
            releasePlace += 1
        }
        held.removeAll()
    }

    /// A node's connection has ended. Masters of a cluster come back, or are replaced; a run with a
    /// single server ends.
    func lost(_ node: TargetNode, _ reason: String) {
        guard node.state != .lost else { return }
        let wasKnown = node.greeting.isDone
        if node.connection === entries?.buildingTarget { entries?.forgetBuilding() }
        nodes.lose(node, reason) { settleLoss($0) }
        guard !nodes.mayMove else { return resumeBlockedFlows() }
        if wasKnown {
            isTargetUsable = false
            fail(
                .interrupted,
                "lost the connection to the target \(settings.target): \(reason); what was not "
                    + "answered may or may not be applied: run again")
        } else if let next = seeds.first {
            seeds.removeFirst()
            targetNotices.append("\(node.name) was not reached (\(reason)), \(next.host) is asked")
            begin(next)
        } else {
            fail(.unreachable, "cannot connect to the target \(settings.target): \(reason)")
        }
    }

    private func begin(_ place: TargetPlace) {
        do throws(SystemError) {
            target = try nodes.open(
                host: place.host, port: place.port, address: place.address
            ).connection
        } catch {
            fail(.unreachable, "cannot begin to connect to \(place.host): \(error)")
        }
    }

    /// Ends connections that hang.
    func watchTarget() {
        let isLaneLost = lane.watch(
            greetingLimit: Core.greetingLimitNanoseconds,
            silenceLimit: Core.silenceLimitNanoseconds)
        if isLaneLost { resumeBlockedFlows() }
        for node in nodes.nodes where node.state != .lost {
            let silence = node.connection.silence()
            let limit =
                node.greeting.isDone ? Core.silenceLimitNanoseconds : Core.greetingLimitNanoseconds
            guard silence > limit else { continue }
            lost(node, "it has not answered for \(silence / 1_000_000_000) s")
        }
    }

    private func settle(_ reply: TargetReply, _ node: TargetNode) {
        if reply.reply.hasError { noteWantOfMemory() }
        switch reply.command.kind {
        case .authenticate, .setName, .information, .jsonQuestion:
            greet(reply, node)
        case .select:
            if reply.reply.hasError { refuseDatabase(Int(reply.command.database)) }
        case .part, .discard, .scriptCopy, .asking:
            break
        case .topology:
            nodes.receiveTopology(reply, node)
            targetIsReady()
        case .replication:
            nodes.receiveReplicas(reply, node)
        case .shadow, .shadowLength, .shadowClaim:
            shadows?.settle(reply, target)
        case .shadowGuard:
            let flow = flow(Int(reply.command.flow))
            shadows?.settle(reply, target)
            if reply.foundKey { flow.progress.snapshotByType[reply.command.type].read += 1 }
            _ = settleGuarded(reply, flow)
        case .shadowRemoval:
            if reply.reply.hasError { leaveShadow(reply) }
        case .sweep:
            settleSweep(reply)
        case .repair:
            settleRepair(reply)
        case .element:
            settleElement(reply)
        case .memory:
            settleMemory(reply)
        case .auxiliaryScript:
            if !reply.reply.hasError { totals.scriptsLoaded += 1 }
        case .expiry:
            if reply.recordFailed {
                nameRefusedExpiry(reply)
                fail(
                    .interrupted,
                    "the target refused to set the true expiry of a key that was kept alive; such "
                        + "keys live up to a day too long")
            }
        case .entry, .guardedEntry, .probe:
            let flow = flow(Int(reply.command.flow))
            flow.settle(nextLSN: 0)
            if reply.command.kind != .entry, settleGuarded(reply, flow) { return }
            if reply.command.kind == .probe, !reply.recordFailed {
                let (_, key) = target.name(of: reply.command)
                let own = sourceName(Int(reply.command.database), key)
                leaveOut(database: own.database, key: own.key, reply.command.type, flow)
            } else if reply.command.kind == .entry, reply.recordFailed,
                isWantOfMemory || isRedirected, markRefused(reply, flow)
            {
                // Not a guarded one: a repair would not ask whether the target has a key of its own.
                flow.progress.snapshotByType[reply.command.type].repaired += 1
            } else if reply.recordFailed {
                flow.progress.snapshotByType[reply.command.type].failed += 1
                // It has no elements on the target.
                journalWriter.elementExpiries.remove(
                    database: Int(reply.command.database), key: target.name(of: reply.command).key)
                nameFailure(reply, flow)
            } else {
                flow.progress.snapshotByType[reply.command.type].applied += 1
            }
        case .journal, .script:
            settleJournal(reply, flow(Int(reply.command.flow)))
        case .journalPart:
            settlePart(reply, flow(Int(reply.command.flow)))
        case .flush:
            guard masterFlush.round == 0 else { return settleFlush(reply) }
            for flow in flows { settleJournal(reply, flow) }
        }
    }

    private func settleJournal(_ reply: TargetReply, _ flow: Flow) {
        let isOwn = Int(reply.command.flow) == flow.index
        if isOwn { flow.settle(nextLSN: reply.command.nextLSN) } else { flow.settleFlush() }
        if reply.recordFailed {
            if reply.command.kind == .journal, markRefused(reply, flow) {
                flow.progress.journalByType[reply.command.type].repaired += 1
            } else {
                flow.progress.journalByType[reply.command.type].failed += 1
                nameFailure(reply, flow)
            }
        } else {
            flow.progress.journalByType[reply.command.type].applied += 1
            if repairs.doubtfulCount > 0, isOwn { watchAnswered(reply.command) }
        }
        if reply.command.kind == .script && !reply.reply.hasError { totals.scriptsLoaded += 1 }
    }

    private func nameFailure(_ reply: TargetReply, _ flow: Flow) {
        let (command, key) = target.name(of: reply.command)
        let name = sourceName(Int(reply.command.database), key)
        // A flush is a record of each flow; its LSN is known for the one that sent it.
        let isOwn = Int(reply.command.flow) == flow.index
        let nextLSN = isOwn ? reply.command.nextLSN : 0
        let isJournal = reply.command.kind == .journal || reply.command.kind == .flush
        fail(
            DeadLetters.Letter(
                phase: isJournal ? .journal : .snapshot,
                flow: flow.index,
                lsn: nextLSN > 0 ? nextLSN - 1 : 0, database: name.database, key: name.key,
                command: command.printable(limit: 32), reply: refusal))
    }

    private func nameRefusedExpiry(_ reply: TargetReply) {
        let (command, key) = target.name(of: reply.command)
        let name = sourceName(Int(reply.command.database), key)
        report(
            Finding(
                kind: .failed, database: name.database, key: name.key.printable(),
                command: command.printable(limit: 32), reason: refusal))
    }

    /// A record that was not applied is named, and goes to the file.
    func fail(_ letter: DeadLetters.Letter) {
        report(
            Finding(
                kind: .failed, database: letter.database, key: letter.key.printable(),
                command: letter.command, reason: letter.reply))
        add(letter)
    }

    func add(_ letter: DeadLetters.Letter) {
        shared.deadLetters.with { $0.add(letter) }
        hasNewLetters = true
    }

    /// The target's error, without what it repeats of the command: that may be a value.
    var refusal: String {
        let text = target.errorText.printable()
        guard let end = text.firstRange(of: ", with args beginning with") else { return text }
        return String(text[..<end.lowerBound])
    }

    private func greet(_ reply: TargetReply, _ node: TargetNode) {
        switch node.greet(reply) {
        case .waiting:
            break
        case .ready:
            nodes.becameReady(node)
            resumeBlockedFlows()
            guard !refuseKind(node) else { return }
            targetIsReady()
        case .refused(let isLogin, let message):
            // A node of a cluster may be about to load its data, or be none any more; one without
            // slots may get its users later.
            guard !nodes.mayMove || isLogin && node.ownsSlots else { return lost(node, message) }
            fail(isLogin ? .unreachable : .refused, "the target \(node.name): \(message)")
        }
    }

    /// The target can be written to: once a run.
    func targetIsReady() {
        guard nodes.isReady, entries == nil, !isLeaving else { return }
        let versions = nodes.masters.compactMap(\.greeting.version)
        guard let version = versions.min(by: { $0.isOlder(than: $1) }) else { return }
        targetVersion = version
        do throws(SystemError) {
            entries = try EntryWriter(
                version: version, method: settings.writeMethod.method, policy: settings.types,
                task: settings.taskName)
            shadows = try ShadowWriter(
                version: version, policy: settings.types, task: settings.taskName,
                directory: settings.spillDirectory, lane: lane)
        } catch {
            fail(.interrupted, "no memory for the target's writer: \(error)")
            return
        }
        isTargetUsable = true
        guard index == 0 else { return openFlows() }
        takeRequests()
        if nodes.isCluster { databasesToCheck = databasesExpected.filter { $0 != 0 } }
        if databasesToCheck.isEmpty { startSweep() }
    }
}

extension ReplicationSettings.WriteMethod {
    var method: EntryWriter.Method {
        switch self {
        case .automatic: .automatic
        case .restore: .restore
        case .commands: .commands
        }
    }
}

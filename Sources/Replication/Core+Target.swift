internal import Bytes
internal import Reactor
internal import RedisTarget
internal import Wire

/// The target's side of a core: log-in, replies, room.
extension Core {
    func readTarget() {
        var budget = Core.turnBudgetBytes
        do throws(RESPError) {
            while budget > 0 {
                let count = target.socket.fill(limit: Core.readBytes)
                budget -= count
                while let reply = try target.nextReply() { settle(reply) }
                if count == 0 { break }
            }
        } catch {
            lostTarget("it sent bytes that are no reply")
            return
        }
        if target.socket.reachedEnd {
            lostTarget("it closed the connection")
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
            guard try entries?.abandon(target) ?? true else { return }
            guard try shadows?.giveUpAll(target) ?? true else { return }
        } catch {
            fail(.interrupted, "no memory to end a transaction")
            return
        }
        // Whether a key is one that the target keeps is known with its reply.
        guard held.count > 0, conflicts.unansweredCount == 0 else { return }
        while releasePlace < held.places.upperBound {
            if let (entry, database, key) = held.entry(at: releasePlace) {
                do throws(DecodeError) {
                    guard
                        try journalWriter.release(
                            entry, database: database, key, to: target)
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

    func lostTarget(_ reason: String) {
        isTargetUsable = false
        if greeting.isDone {
            fail(
                .interrupted,
                "lost the connection to the target \(settings.target): \(reason); what was not "
                    + "answered may or may not be applied: run again")
        } else {
            fail(.unreachable, "cannot connect to the target \(settings.target): \(reason)")
        }
        reactor.close(target.socket)
    }

    /// Ends connections that hang.
    func watchTarget() {
        let isLaneLost = lane.watch(
            greetingLimit: Core.greetingLimitNanoseconds,
            silenceLimit: Core.silenceLimitNanoseconds)
        if isLaneLost { resumeBlockedFlows() }
        let silence = target.silence()
        let limit = greeting.isDone ? Core.silenceLimitNanoseconds : Core.greetingLimitNanoseconds
        guard silence > limit, target.socket.state != .closed else { return }
        lostTarget("it has not answered for \(silence / 1_000_000_000) s")
    }

    private func settle(_ reply: TargetReply) {
        if reply.reply.hasError { noteWantOfMemory() }
        switch reply.command.kind {
        case .authenticate, .setName, .information, .jsonQuestion:
            greet(reply)
        case .select:
            if reply.reply.hasError {
                fail(
                    .refused,
                    "the target refused database \(reply.command.database): "
                        + "\(target.errorText.printable()); give it more databases, or "
                        + "send the source's elsewhere with dbs")
            }
        case .part, .discard:
            break
        case .shadow, .shadowLength, .shadowClaim:
            shadows?.settle(reply, target)
        case .shadowGuard:
            let flow = flows[Int(reply.command.flow)]
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
            let flow = flows[Int(reply.command.flow)]
            flow.settle(nextLSN: 0)
            if reply.command.kind != .entry, settleGuarded(reply, flow) { return }
            if reply.command.kind == .probe, !reply.recordFailed {
                let (_, key) = target.name(of: reply.command)
                let own = sourceName(Int(reply.command.database), key)
                leaveOut(database: own.database, key: own.key, reply.command.type, flow)
            } else if reply.command.kind == .entry, reply.recordFailed, isWantOfMemory,
                markRefused(reply, flow)
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
            settleJournal(reply, flows[Int(reply.command.flow)])
        case .flush:
            for flow in flows { settleJournal(reply, flow) }
        }
    }

    private func settleJournal(_ reply: TargetReply, _ flow: Flow) {
        let isOwn = Int(reply.command.flow) == flow.index
        flow.settle(nextLSN: isOwn ? reply.command.nextLSN : 0)
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
        deadLetters.add(letter)
    }

    /// The target's error, without what it repeats of the command: that may be a value.
    var refusal: String {
        let text = target.errorText.printable()
        guard let end = text.firstRange(of: ", with args beginning with") else { return text }
        return String(text[..<end.lowerBound])
    }

    private func greet(_ reply: TargetReply) {
        switch greeting.receive(reply, target) {
        case .waiting:
            break
        case .ready(let version):
            do throws(SystemError) {
                entries = try EntryWriter(
                    version: version, method: settings.writeMethod.method, policy: settings.types)
                shadows = try ShadowWriter(
                    version: version, policy: settings.types, task: settings.taskName,
                    directory: settings.spillDirectory, lane: lane)
            } catch {
                fail(.interrupted, "no memory for the target's writer: \(error)")
                return
            }
            isTargetUsable = true
            beginPacing()
            startSweep()
        case .refused(let isLogin, let message):
            fail(isLogin ? .unreachable : .refused, "the target \(settings.target): \(message)")
        }
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

internal import Bytes
internal import DragonflySource
internal import Reactor
internal import RedisTarget
internal import Wire

/// Journal records on their way to the target, inside the snapshot and after it.
extension Core {
    func handleBlob(
        _ count: Int, _ body: ByteView, _ flow: Flow
    ) throws(DecodeError) -> Step {
        if flow.blob == nil {
            flow.blob = JournalBlobReader(count: count, body: body)
            flow.heldIsCounted = false
        }
        while true {
            if flow.heldRecord == nil {
                do throws(DecodeError) {
                    flow.heldRecord = try flow.blob?.next()
                } catch {
                    throw located(error, flow, opcode: error.opcode)
                }
                flow.heldIsCounted = false
            }
            guard let record = flow.heldRecord else {
                flow.blob = nil
                return .done
            }
            let step = try handle(record, isInSnapshot: true, flow)
            guard step == .done else { return step }
            flow.heldRecord = nil
            guard !flow.isDone else { return .done }
        }
    }

    func journalStep(_ flow: Flow) throws(DecodeError) -> Step {
        if flow.heldRecord == nil {
            guard settings.mode == .replicate || flow.follows else { return .needsInput }
            if repairs.openCount > 0, !writeDueRepairs(flow) { return .blocked }
        }
        let record: JournalRecord
        if let held = flow.heldRecord {
            record = held
        } else {
            switch try flow.journal.next(flow.socket.input.readable) {
            case .needMore:
                flow.socket.input.consume(flow.journal.consumed)
                return .needsInput
            case .refused(let refused, let size):
                refuse(refused, size, flow)
                flow.socket.input.consume(flow.journal.consumed)
                return .done
            case .record(let next):
                record = next
            }
            flow.heldIsCounted = false
        }
        // Held while it is handled, so that an error or the end of the run takes it back.
        flow.heldRecord = record
        guard try handle(record, isInSnapshot: false, flow) == .done else { return .blocked }
        // The run ends at this record, which is not applied.
        guard flow.heldRecord != nil else { return .done }
        flow.heldRecord = nil
        flow.heldIsCounted = false
        flow.routedLSN = record.lsn + 1
        flow.settleIdle()
        if record.operation == .ping { flow.session.pingSeen(next: record.lsn + 1) }
        flow.socket.input.consume(flow.journal.consumed)
        return .done
    }

    private func refuse(_ record: JournalRecord, _ size: Int, _ flow: Flow) {
        flow.progress.journalByType[.generic].read += 1
        flow.progress.journalByType[.generic].failed += 1
        flow.routedLSN = record.lsn + 1
        flow.settleIdle()
        fail(
            DeadLetters.Letter(
                phase: .journal, flow: flow.index, lsn: record.lsn, database: record.database,
                key: ByteView(), command: "(journal record)",
                reply: "the record with LSN \(record.lsn) has \(size) bytes, above the limit of "
                    + "\(settings.heldBytesLimit)"))
    }

    private func handle(
        _ record: JournalRecord, isInSnapshot: Bool, _ flow: Flow
    ) throws(DecodeError) -> Step {
        let isNew = !flow.heldIsCounted
        let match = journalWriter.match(record)
        if isNew {
            flow.heldIsCounted = true
            flow.heldType = match.type
            flow.progress.journalByType[match.type].read += 1
        }
        guard record.argumentCount > 0 else {
            // PING and EXEC: nothing to apply.
            flow.progress.journalByType[match.type].applied += 1
            return .done
        }
        if isNew { watch(record, match, flow) }
        // A mark may have ended the run, which takes the record back.
        guard !flow.isDone else { return .done }
        switch match.rule {
        case .flushAll, .flushDatabase:
            guard !keyRules.isActive || keepsFlush(record, match) else {
                return passOverFlush(record, match, flow)
            }
            return try flush(record, match, isInSnapshot: isInSnapshot, flow)
        case .flushSlots where keyRules.flushSlots != .report:
            guard SlotRanges(record) != nil else { break }
            guard keyRules.flushSlots == .delete else {
                flow.progress.journalByType[match.type].skipped += 1
                return .done
            }
            return try flush(record, match, isInSnapshot: isInSnapshot, flow)
        default: break
        }
        if isInSnapshot, conflicts.isGuarding, !claimDoubtfulCopy(record, match, flow) {
            return .blocked
        }
        if let step = keepConflicts(record, match, flow) { return step }
        if repairs.doubtfulCount > 0 || pops.isWaiting {
            watchRepairs(record, match, flow)
            guard !flow.isDone else { return .done }
        }
        let context = RecordContext(
            flow: flow.index, type: match.type, nextLSN: isInSnapshot ? 0 : record.lsn + 1,
            isInSnapshot: isInSnapshot, unixMilliseconds: reactor.unixMilliseconds)
        let outcome: RecordOutcome
        guard entries != nil, flow.window?.hasRoom != false else { return .blocked }
        do throws(DecodeError) {
            outcome = try journalWriter.write(
                record, match, context, placement: placement, rules: keyRules,
                entries: &entries!, held: &held, to: nodes)
        } catch {
            throw located(error, flow, opcode: record.operation.rawValue)
        }
        noteParts(flow, context.nextLSN)
        guard outcome != .blocked, outcome != .flush else { return .blocked }
        // Counted by what became of it: nothing takes it back any more, not even the end of the run.
        flow.heldIsCounted = false
        if isInSnapshot, outcome == .sent, let key = doubtfulCopy(record, match, flow) {
            noteDoubtfulCopy(database: record.database, key: key, flow)
        }
        if isInSnapshot, conflicts.isGuarding, outcome == .sent || outcome == .sentRepair("") {
            noteWritten(record, match)
        }
        switch outcome {
        case .sent:
            noteSent(flow, context.nextLSN)
        case .blocked, .flush:
            break
        case .filtered:
            flow.progress.journalByType[match.type].filtered += 1
        case .skipped:
            flow.progress.journalByType[match.type].skipped += 1
        case .unsupported(let reason):
            flow.progress.journalByType[match.type].skipped += 1
            name(record, match, "\(reason)")
        case .refused(let reason):
            flow.progress.journalByType[match.type].failed += 1
            fail(
                DeadLetters.Letter(
                    phase: .journal, flow: flow.index, lsn: isInSnapshot ? 0 : record.lsn,
                    database: record.database,
                    key: journalWriter.key(of: record, match) ?? ByteView(),
                    command: record.arguments.first?.printable(limit: 32) ?? "",
                    reply: "\(reason)"))
        case .ghost:
            flow.progress.journalByType[match.type].skipped += 1
            totals.ghostKeys += 1
        case .repair(let reason):
            flow.progress.journalByType[match.type].repaired += 1
            markForRepair(record, flow, "\(reason)")
        case .sentRepair(let reason):
            noteSent(flow, context.nextLSN)
            markForRepair(record, flow, "\(reason)")
        }
        return .done
    }

    /// A record that goes out key by key is under way from its first key on.
    private func noteParts(_ flow: Flow, _ nextLSN: UInt64) {
        guard journalWriter.partsWritten > 0 else { return }
        if !flow.isInParts { flow.sent(nextLSN: nextLSN) }
        flow.isInParts = true
        for _ in 0..<journalWriter.partsWritten { flow.sent(nextLSN: nextLSN) }
    }

    private func noteSent(_ flow: Flow, _ nextLSN: UInt64) {
        if !flow.isInParts { flow.sent(nextLSN: nextLSN) }
        flow.isInParts = false
    }

    /// What only looks at a record: the vote on placement, and pops that may stand for more.
    private func watch(_ record: JournalRecord, _ match: JournalRules.Match, _ flow: Flow) {
        guard placement.wantsVotes || record.transactionID != 0 || groups.isWatching,
            let key = journalWriter.key(of: record, match)
        else { return }
        // A ghost would vote for the wrong shard.
        if placement.wantsVotes, !setsHyperLogLog(record, match) {
            placement.vote(key, flow: flow.index)
        }
        if groups.isWatching { watchGroups(record, match, key, flow) }
        guard record.transactionID != 0 else { return }
        if match.rule == .pop, record.argumentCount == 2 {
            pops.popped(
                record.transactionID, database: record.database, key: key, flow: flow.index,
                now: nowMilliseconds
            ) { markForRepair($0) }
        } else {
            pops.passed(
                record.transactionID,
                isPush: match.rule == .push && record.argumentCount == 3)
        }
    }

    /// The key of a record that may have made a ghost.
    private func doubtfulCopy(
        _ record: JournalRecord, _ match: JournalRules.Match, _ flow: Flow
    ) -> ByteView? {
        guard placement.wantsVotes, setsHyperLogLog(record, match),
            let key = journalWriter.key(of: record, match),
            placement.verdict(key, flow: flow.index) == .unknown
        else { return nil }
        return key
    }

    /// What it writes is not to be taken for the target's by a baseline that another core has. False
    /// while such a baseline is unanswered.
    private func claimDoubtfulCopy(
        _ record: JournalRecord, _ match: JournalRules.Match, _ flow: Flow
    ) -> Bool {
        guard setsHyperLogLog(record, match), let key = journalWriter.key(of: record, match)
        else { return true }
        // Of one that is known to be at home by now, another flow may have a copy that waits.
        guard placement.flowCount > 1,
            placement.verdict(key, flow: flow.index) != .elsewhere
        else { return true }
        switch noteDoubtfulCopy(database: record.database, key: key, flow, claim: .ours) {
        case .unanswered: return false
        case .kept: conflicts.keepToo(database: record.database, key: key)
        case .none, .ours: break
        }
        return true
    }

    private func setsHyperLogLog(_ record: JournalRecord, _ match: JournalRules.Match) -> Bool {
        match.rule == .set && journalWriter.argument(record, 2)?.starts(with: "HYLL") == true
    }

    private func name(
        _ record: JournalRecord, _ match: JournalRules.Match, _ reason: String
    ) {
        var arguments = record.arguments
        let command = arguments.next() ?? ByteView()
        report(
            Finding(
                kind: .skipped, database: record.database,
                key: journalWriter.key(of: record, match)?.printable() ?? "",
                command: command.printable(limit: 32), reason: reason))
    }

    // MARK: Flushes

    /// A flush stands in every flow and is sent once, when all flows have reached it
    /// (protocol.md 5.7).
    private func flush(
        _ record: JournalRecord, _ match: JournalRules.Match, isInSnapshot: Bool, _ flow: Flow
    ) throws(DecodeError) -> Step {
        guard !isInSnapshot else {
            fail(
                .interrupted,
                "the source was flushed during the full sync, which makes the snapshot worthless; "
                    + "run again: the target is brought up to date by a new full sync")
            return .done
        }
        let isOfSlots = match.rule == .flushSlots
        guard isOfSlots || keyRules.flush == .apply else {
            let name = record.arguments.first?.printable(limit: 32) ?? ""
            fail(
                .interrupted,
                "the source was flushed (\(name) in database \(record.database)), and a target of "
                    + "which only some keys are the source's is not: delete them there and run "
                    + "again, or set flush to apply if all may go")
            return .done
        }
        guard conflicts.unansweredCount == 0 else { return .blocked }
        guard conflicts.kept.count == 0 else {
            fail(
                .interrupted,
                "the source was flushed, which would delete the \(conflicts.kept.count) keys that the "
                    + "target had and keeps (conflict.policy skip): delete on the target what came "
                    + "from the source, and run again")
            return .done
        }
        if !flow.waitsForFlush {
            flow.waitsForFlush = true
            flow.heldRecord = record
            flowsAtFlush += 1
        }
        guard flowsAtFlush == flows.count else { return .blocked }
        guard flows.allSatisfy({ isSameFlush($0.heldRecord, record) }) else {
            throw located(
                DecodeError(.outOfOrder), flow, opcode: record.operation.rawValue)
        }
        guard mayFlush(record) else { return .blocked }
        let context = RecordContext(
            flow: flow.index, nextLSN: record.lsn + 1, isInSnapshot: false,
            unixMilliseconds: 0)
        let isAwaited = nodes.mayMove || shared.coreCount > 1 || isOfSlots
        if isAwaited {
            if index == 0, try !flushMasters(record, context) { return .blocked }
        } else {
            guard
                try journalWriter.writeFlush(record, context, rules: keyRules, to: target)
                    == .sent
            else { return .blocked }
        }
        journalWriter.forgetElements(of: record, rules: keyRules)
        endFlush()
        flowsAtFlush = 0
        for each in flows {
            if repairs.openCount > 0, let own = each.heldRecord {
                repairs.touchAll(flow: each.index, lsn: own.lsn, now: nowMilliseconds)
            }
            if isAwaited {
                // Every master has answered.
                each.progress.journalByType[each.heldType].applied += 1
            } else {
                each.recordsPending += 1
            }
            each.waitsForFlush = false
            guard each !== flow, let own = each.heldRecord else { continue }
            each.heldRecord = nil
            each.heldIsCounted = false
            each.routedLSN = own.lsn + 1
            each.settleIdle()
            each.socket.input.consume(each.journal.consumed)
            each.isBlocked = false
            reactor.resume(each.socket)
        }
        return .done
    }

    private func isSameFlush(_ left: JournalRecord?, _ right: JournalRecord) -> Bool {
        guard let left else { return false }
        return FlushPoint(left) == FlushPoint(right)
    }
}

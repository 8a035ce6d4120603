internal import Bytes
internal import CPlatform
internal import DragonflySource
internal import Reactor
internal import RedisTarget
internal import Wire

/// The way of a record: from a flow's ring through its decoder into the target's pipeline.
extension Core {
    /// Where handling a flow's buffered input ended.
    private enum Step {
        /// Handled; go on.
        case done
        /// The input ends inside an item.
        case needsInput
        /// The pipeline has no room, or other flows must come first: the item is held.
        case blocked
    }

    /// Reads and handles what there is, within the turn's budget.
    func advance(_ flow: Flow) {
        var budget = Core.turnBudgetBytes
        while !flow.isClosed {
            guard handleBuffered(flow) else {
                flow.isBlocked = true
                flow.socket.isPaused = true
                return
            }
            // Bytes that came before an end or an error were handled above.
            guard !flow.isClosed, budget > 0 else { return }
            let count = flow.socket.fill(limit: min(budget, Core.readBytes))
            guard count > 0 else { break }
            flow.progress.bytesRead += count
            budget -= count
        }
        if flow.socket.reachedEnd, !flow.isClosed {
            perform(flow.session.connectionEnded("the source closed it"), on: flow)
        }
    }

    /// Handles everything complete in the ring; false if the flow is blocked.
    private func handleBuffered(_ flow: Flow) -> Bool {
        while !flow.isClosed {
            do throws(DecodeError) {
                switch try step(flow) {
                case .done: continue
                case .needsInput: return true
                case .blocked: return false
                }
            } catch {
                flow.dropHeld()
                flow.isDone = true
                perform(
                    control.flowFailed(
                        flow.index, SourceError(.restart, message(error, flow))))
            }
        }
        return true
    }

    private func message(_ error: DecodeError, _ flow: Flow) -> String {
        "flow \(flow.index), byte \(error.offset), opcode \(error.opcode): the stream cannot be "
            + "read (\(error.reason)); nothing after this point was applied: run again, and report "
            + "it with the source's version \(control.releaseText) if it comes back"
    }

    private func step(_ flow: Flow) throws(DecodeError) -> Step {
        switch flow.session.reader {
        case .session:
            let (consumed, action) = flow.session.receive(
                flow.socket.input.readable, now: nowMilliseconds, output: &flow.socket.output)
            flow.socket.input.consume(consumed)
            perform(action, on: flow)
            return consumed > 0 ? .done : .needsInput
        case .snapshot:
            guard !flow.isDone else { return discard(flow) }
            return try snapshotStep(flow)
        case .journal:
            guard !flow.isDone else { return discard(flow) }
            return try journalStep(flow)
        }
    }

    /// The flow has what it came for: what else arrives is read and dropped, so that the source is
    /// not held up.
    private func discard(_ flow: Flow) -> Step {
        flow.socket.input.clear()
        return .needsInput
    }

    // MARK: Snapshot

    private func snapshotStep(_ flow: Flow) throws(DecodeError) -> Step {
        let event: SnapshotEvent
        if let held = flow.heldEvent {
            event = held
        } else {
            event = try flow.snapshot.next(flow.socket.input.readable)
        }
        let step = try handle(event, flow)
        if step == .blocked {
            flow.heldEvent = event
            return .blocked
        }
        flow.heldEvent = nil
        flow.heldIsCounted = false
        flow.socket.input.consume(flow.snapshot.consumed)
        return step
    }

    private func handle(_ event: SnapshotEvent, _ flow: Flow) throws(DecodeError) -> Step {
        switch event {
        case .needMore:
            return .needsInput
        case .entry(let entry):
            return try handle(entry, flow)
        case .refused(let entry, let size):
            flow.progress.snapshot.read += 1
            flow.progress.snapshot.failed += 1
            totals.entriesByFamily[Int(entry.type.family.rawValue)] += 1
            report(
                Finding(
                    kind: .failed, database: entry.database, key: entry.key.printable(),
                    command: entry.type.family.name,
                    reason: "its \(size) bytes are above the limit of "
                        + "\(settings.valueBytesLimit) bytes for one value"))
        case .journalBlob(let count, let body):
            return try handleBlob(count, body, flow)
        case .auxiliary(let name, let value):
            return try auxiliary(name, value, flow)
        case .fullSyncEnd:
            perform(flow.session.fullSyncEnd(), on: flow)
        case .journalOffset(let next):
            perform(flow.session.journalOffset(next), on: flow)
        case .end:
            perform(flow.session.snapshotEnd(), on: flow)
        }
        return .done
    }

    private func handle(_ entry: SnapshotEntry, _ flow: Flow) throws(DecodeError) -> Step {
        if !flow.heldIsCounted {
            flow.heldIsCounted = true
            flow.progress.snapshot.read += 1
            totals.entriesByFamily[Int(entry.type.family.rawValue)] += 1
            if placement.wantsVotes { placement.vote(entry.key, flow: flow.index) }
            if try isGhost(entry, flow) {
                totals.ghostKeys += 1
                flow.progress.snapshot.skipped += 1
                return .done
            }
            if entry.type == .streamListpacks { try suspectGroups(entry, flow) }
        }
        guard entries != nil else { return .blocked }
        let outcome: EntryOutcome
        do throws(DecodeError) {
            var entry = entry
            let now = cp_unix_milliseconds()
            if entry.expiryMilliseconds != 0 {
                entry.expiryMilliseconds = held.adjust(
                    entry.expiryMilliseconds, database: entry.database, key: entry.key, now: now)
            }
            outcome = try entries!.write(
                entry, flow: flow.index, as: .entry, nextLSN: 0, unixMilliseconds: now,
                to: target)
        } catch {
            throw located(error, flow, opcode: entry.type.rawValue)
        }
        switch outcome {
        case .blocked:
            return .blocked
        case .sent:
            flow.recordsPending += 1
            if entry.isSticky { stickyEntries += 1 }
            if entry.hasMemcachedFlags { memcachedEntries += 1 }
        case .impossible:
            flow.progress.snapshot.skipped += 1
            totals.skippedByFamily[Int(entry.type.family.rawValue)] += 1
            report(
                Finding(
                    kind: .skipped, database: entry.database, key: entry.key.printable(),
                    command: entry.type.family.name,
                    reason: "the target has no such type"))
        }
        return .done
    }

    /// An error found inside a value or record, with its place in the flow.
    private func located(_ error: DecodeError, _ flow: Flow, opcode: UInt8) -> DecodeError {
        let offset =
            flow.session.reader == .journal ? flow.journal.flowOffset : flow.snapshot.flowOffset
        return DecodeError(error.reason, offset: offset, opcode: opcode)
    }

    /// PFMERGE leaves copies of its result on other shards (protocol.md 6.7). Only such copies are
    /// dropped: any other key in an unexpected place is data.
    private func isGhost(_ entry: SnapshotEntry, _ flow: Flow) throws(DecodeError) -> Bool {
        guard flows.count > 1, placement.verdict(entry.key, flow: flow.index) == .elsewhere else {
            return false
        }
        var cursor = Cursor(entry.value)
        if entry.type == .string, let value = try cursor.string(),
            try value.decoded(scratch: &scratch).starts(with: "HYLL")
        {
            return true
        }
        totals.misplacedKeys += 1
        return false
    }

    /// Up to v1.25 Dragonfly writes the stream's last id in place of each group's.
    private func suspectGroups(_ entry: SnapshotEntry, _ flow: Flow) throws(DecodeError) {
        if let release = control.release, (release.major, release.minor) >= (1, 26) { return }
        do throws(DecodeError) {
            try groupReader.open(type: entry.type, value: entry.value)
        } catch {
            throw located(error, flow, opcode: entry.type.rawValue)
        }
        guard groupReader.groupCount > 0 else { return }
        report(
            Finding(
                kind: .repair, database: entry.database, key: entry.key.printable(),
                command: "stream",
                reason: "this release of the source sends a wrong last id for consumer groups; "
                    + "set it with XGROUP SETID"))
    }

    private func auxiliary(
        _ name: ByteView, _ value: ByteView, _ flow: Flow
    ) throws(DecodeError) -> Step {
        guard name.equals("lua"), !value.isEmpty else { return .done }
        let bytes = value.count + TargetConnection.argumentBytes(8) * 3
        guard try target.begin(flow: flow.index, database: 0, bytes: bytes) else {
            return .blocked
        }
        target.header(arguments: 3)
        target.argument("SCRIPT")
        target.argument("LOAD")
        target.argument(value)
        target.end(.auxiliaryScript, flow: flow.index, database: 0, nextLSN: 0)
        return .done
    }

    // MARK: Journal

    private func handleBlob(
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

    private func journalStep(_ flow: Flow) throws(DecodeError) -> Step {
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
        guard try handle(record, isInSnapshot: false, flow) == .done else {
            flow.heldRecord = record
            return .blocked
        }
        flow.heldRecord = nil
        flow.heldIsCounted = false
        flow.routedLSN = record.lsn + 1
        flow.settleIdle()
        if record.operation == .ping { flow.session.pingSeen(next: record.lsn + 1) }
        flow.socket.input.consume(flow.journal.consumed)
        return .done
    }

    private func refuse(_ record: JournalRecord, _ size: Int, _ flow: Flow) {
        flow.progress.journal.read += 1
        flow.progress.journal.failed += 1
        flow.routedLSN = record.lsn + 1
        flow.settleIdle()
        report(
            Finding(
                kind: .failed, database: record.database, key: "(LSN \(record.lsn))",
                command: "(journal record)",
                reason: "its \(size) bytes are above the limit of "
                    + "\(settings.valueBytesLimit) bytes"))
    }

    private func handle(
        _ record: JournalRecord, isInSnapshot: Bool, _ flow: Flow
    ) throws(DecodeError) -> Step {
        let isNew = !flow.heldIsCounted
        if isNew {
            flow.heldIsCounted = true
            flow.progress.journal.read += 1
        }
        guard record.argumentCount > 0 else {
            // PING and EXEC: nothing to apply.
            flow.progress.journal.applied += 1
            return .done
        }
        let match = journalWriter.match(record)
        if isNew { watch(record, match, flow) }
        if match.rule == .flushAll || match.rule == .flushDatabase {
            return try flush(record, isInSnapshot: isInSnapshot, flow)
        }
        let context = RecordContext(
            flow: flow.index, nextLSN: isInSnapshot ? 0 : record.lsn + 1,
            isInSnapshot: isInSnapshot, unixMilliseconds: cp_unix_milliseconds())
        let outcome: RecordOutcome
        guard entries != nil else { return .blocked }
        do throws(DecodeError) {
            outcome = try journalWriter.write(
                record, match, context, placement: placement, entries: &entries!,
                held: &held, to: target)
        } catch {
            throw located(error, flow, opcode: record.operation.rawValue)
        }
        switch outcome {
        case .sent:
            flow.recordsPending += 1
        case .blocked, .flush:
            return .blocked
        case .skipped:
            flow.progress.journal.skipped += 1
        case .unsupported:
            flow.progress.journal.skipped += 1
            name(record, match, .skipped, "the target has no such type")
        case .ghost:
            flow.progress.journal.skipped += 1
            totals.ghostKeys += 1
        case .repair(let reason):
            flow.progress.journal.skipped += 1
            name(record, match, .repair, "\(reason)")
        case .sentRepair(let reason):
            flow.recordsPending += 1
            name(record, match, .repair, "\(reason)")
        }
        return .done
    }

    /// What only looks at a record: the vote on placement, and pops that may stand for more.
    private func watch(_ record: JournalRecord, _ match: JournalRules.Match, _ flow: Flow) {
        guard placement.wantsVotes || record.transactionID != 0,
            let key = journalWriter.key(of: record, match)
        else { return }
        if placement.wantsVotes { placement.vote(key, flow: flow.index) }
        guard record.transactionID != 0 else { return }
        if match.rule == .pop, record.argumentCount == 2 {
            pops.popped(
                record.transactionID, database: record.database, key: key, now: nowMilliseconds
            ) { report($0) }
        } else if match.rule == .push {
            pops.pushed(record.transactionID)
        }
    }

    private func name(
        _ record: JournalRecord, _ match: JournalRules.Match, _ kind: Finding.Kind,
        _ reason: String
    ) {
        var arguments = record.arguments
        let command = arguments.next() ?? ByteView()
        report(
            Finding(
                kind: kind, database: record.database,
                key: journalWriter.key(of: record, match)?.printable() ?? "",
                command: command.printable(limit: 32), reason: reason))
    }

    // MARK: Flushes

    /// A flush stands in every flow and is sent once, when all flows have reached it
    /// (protocol.md 5.7).
    private func flush(
        _ record: JournalRecord, isInSnapshot: Bool, _ flow: Flow
    ) throws(DecodeError) -> Step {
        guard !isInSnapshot else {
            fail(
                .interrupted,
                "the source was flushed during the full sync, which makes the snapshot worthless; "
                    + "run again: the target is brought up to date by a new full sync")
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
        let context = RecordContext(
            flow: flow.index, nextLSN: record.lsn + 1, isInSnapshot: false,
            unixMilliseconds: 0)
        guard try journalWriter.writeFlush(record, context, to: target) == .sent else {
            return .blocked
        }
        flowsAtFlush = 0
        for each in flows {
            each.recordsPending += 1
            each.waitsForFlush = false
            guard each !== flow, let own = each.heldRecord else { continue }
            each.heldRecord = nil
            each.heldIsCounted = false
            each.routedLSN = own.lsn + 1
            each.socket.input.consume(each.journal.consumed)
            each.isBlocked = false
            reactor.resume(each.socket)
        }
        return .done
    }

    private func isSameFlush(_ left: JournalRecord?, _ right: JournalRecord) -> Bool {
        guard let left, left.transactionID == right.transactionID,
            left.database == right.database, let name = left.arguments.first,
            let other = right.arguments.first
        else { return false }
        return name.equals(other)
    }
}

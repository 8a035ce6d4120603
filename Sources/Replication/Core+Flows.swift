internal import Bytes
internal import DragonflySource
internal import Reactor
internal import RedisTarget
internal import Synchronization
internal import Wire

/// The way of a record: from a flow's ring through its decoder into the target's pipeline.
extension Core {
    /// Where handling a flow's buffered input ended.
    enum Step {
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
            guard count > 0 else {
                flow.readDryAt = nowMilliseconds
                break
            }
            flow.progress.bytesRead += count
            budget -= count
        }
        if flow.socket.reachedEnd, !flow.isClosed {
            perform(flow.session.connectionEnded("the source closed it"), on: flow)
        }
    }

    /// Called every 100 ms: tells the other cores since when nothing is left that this one could know of
    /// transactions.
    func noteReadDry() {
        var oldest = nowMilliseconds
        for flow in flows where !flow.isDone {
            if !flow.isBlocked, !flow.socket.mayRead { flow.readDryAt = nowMilliseconds }
            oldest = min(oldest, flow.readDryAt)
        }
        shared.noteReadDry(index, oldest)
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
                tellControl(.failed(SourceError(.restart, message(error, flow))), flow.index)
            }
        }
        return true
    }

    private func message(_ error: DecodeError, _ flow: Flow) -> String {
        "flow \(flow.index), byte \(error.offset), opcode \(error.opcode): the stream cannot be "
            + "read (\(error.reason)); nothing after this point was applied: run again, and report "
            + "it with the source's version \(source?.releaseText ?? "") if it comes back"
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
        case .bigValue:
            return try handle(flow.snapshot.bigValueStep, flow)
        case .refused(let entry, let size):
            flow.progress.snapshotByType[RecordType(entry.type.family)].read += 1
            guard keeps(entry) else {
                countFiltered(entry, flow)
                return .done
            }
            refuse(entry, size, flow)
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

    func refuse(_ entry: SnapshotEntry, _ size: Int, _ flow: Flow) {
        flow.progress.snapshotByType[RecordType(entry.type.family)].failed += 1
        fail(
            DeadLetters.Letter(
                phase: .snapshot, flow: flow.index, database: entry.database, key: entry.key,
                command: entry.type.family.name,
                reply: "its \(size) bytes are above the limit of "
                    + "\(settings.valueBytesLimit) bytes for one value, or an element of it above "
                    + "\(settings.heldBytesLimit)"))
    }

    private func handle(_ entry: SnapshotEntry, _ flow: Flow) throws(DecodeError) -> Step {
        let type = RecordType(entry.type.family)
        if !flow.heldIsCounted {
            flow.heldIsCounted = true
            flow.heldType = type
            flow.heldIsGuarded = conflicts.guardsBaseline(
                database: entry.database, key: entry.key)
            flow.progress.snapshotByType[type].read += 1
            // A ghost would vote for the wrong shard.
            if placement.wantsVotes, !(try isHyperLogLog(entry)) {
                placement.vote(entry.key, flow: flow.index)
            }
            guard keeps(entry) else {
                countFiltered(entry, flow)
                return .done
            }
            if try isGhost(entry, flow) {
                totals.ghostKeys += 1
                flow.progress.snapshotByType[type].skipped += 1
                return .done
            }
            if placement.wantsVotes || flow.heldIsGuarded, try mayBeGhost(entry, flow) {
                noteDoubtfulCopy(entry, flow)
            }
            if groups.isWatching, entry.type.family == .stream { try noteGroups(entry, flow) }
        }
        guard entries != nil else { return .blocked }
        let isGuarded = flow.heldIsGuarded
        guard checkConflicts() else { return .done }
        if conflicts.isGuarding, !isGuarded {
            // What was written of this key may have met one that the target keeps.
            guard takeClaim(entry) else { return .blocked }
            if conflicts.isUnanswered(database: entry.database, key: entry.key) { return .blocked }
            if conflicts.isKept(database: entry.database, key: entry.key) {
                flow.progress.snapshotByType[type].skipped += 1
                return .done
            }
        }
        let outcome: EntryOutcome
        do throws(DecodeError) {
            var entry = entry
            if keyRules.isActive { try nameForTarget(&entry) }
            guard aim(flow.index, at: entry.key) else { return .blocked }
            let now = reactor.unixMilliseconds
            if entry.expiryMilliseconds != 0 {
                entry.expiryMilliseconds = held.adjust(
                    entry.expiryMilliseconds, database: entry.database, key: entry.key, now: now)
            }
            outcome = try entries!.write(
                entry, flow: flow.index, as: isGuarded ? .guardedEntry : .entry, nextLSN: 0,
                unixMilliseconds: now, to: target)
            if outcome == .leftOut, isGuarded {
                // What the target has of that name is not ours to change either.
                guard try entries!.probe(entry, flow: flow.index, to: target) else {
                    return .blocked
                }
            }
            switch outcome {
            case .sent: try journalWriter.noteWritten(entry, flow: flow.index, entries!)
            case .leftOut: journalWriter.noteLeftOut(entry)
            case .blocked: break
            }
        } catch {
            throw located(error, flow, opcode: entry.type.rawValue)
        }
        switch outcome {
        case .blocked:
            return .blocked
        case .sent:
            flow.sent(nextLSN: 0)
            if isGuarded {
                conflicts.sentBaseline(database: entry.database, key: entry.key)
            }
            if entry.isSticky { stickyEntries += 1 }
            if entry.hasMemcachedFlags { memcachedEntries += 1 }
        case .leftOut:
            if isGuarded {
                flow.sent(nextLSN: 0)
                conflicts.sentBaseline(database: entry.database, key: entry.key)
            } else {
                leaveOut(database: entry.database, key: entry.key, type, flow)
            }
        }
        return .done
    }

    /// A value of the full sync that `types:` does not let through is counted and named.
    func leaveOut(database: Int, key: ByteView, _ type: RecordType, _ flow: Flow) {
        let reason = "\(settings.types.reason(for: type))"
        if settings.types.fails(type) {
            flow.progress.snapshotByType[type].failed += 1
            fail(
                DeadLetters.Letter(
                    phase: .snapshot, flow: flow.index, database: database, key: key,
                    command: type.name, reply: reason))
        } else {
            flow.progress.snapshotByType[type].skipped += 1
            report(
                Finding(
                    kind: .skipped, database: database, key: key.printable(), command: type.name,
                    reason: reason))
        }
    }

    /// An error found inside a value or record, with its place in the flow.
    func located(_ error: DecodeError, _ flow: Flow, opcode: UInt8) -> DecodeError {
        let offset =
            flow.session.reader == .journal ? flow.journal.flowOffset : flow.snapshot.flowOffset
        return DecodeError(error.reason, offset: offset, opcode: opcode)
    }

    /// PFMERGE leaves copies of its result on other shards (protocol.md 6.7). Only such copies are
    /// dropped: any other key in an unexpected place is data.
    private func isGhost(_ entry: SnapshotEntry, _ flow: Flow) throws(DecodeError) -> Bool {
        // Hashing every key would cost 4 % of everything.
        guard placement.flowCount > 1, entry.mayBeHyperLogLog,
            placement.verdict(entry.key, flow: flow.index) == .elsewhere
        else { return false }
        return try isHyperLogLog(entry)
    }

    /// It may be all that is left of a deleted key, or older than the key. One for which there is no
    /// room stays as it is.
    /// - Parameter claim: what is known from now on of the target's key, if nothing is.
    /// - Returns: what was known.
    @discardableResult
    func noteDoubtfulCopy(
        database: Int, key: ByteView, _ flow: Flow, claim: DoubtfulCopy.Claim = .none
    ) -> DoubtfulCopy.Claim {
        shared.hasDoubtfulCopies.store(true, ordering: .relaxed)
        return shared.doubtfulCopies.with { copies in
            let new = DoubtfulCopy(flow: Int32(flow.index), claim: claim)
            guard let place = copies.find(database, key) else {
                _ = copies.insert(database, key, new)
                return .none
            }
            let known = copies[place].claim
            if copies[place].flow != new.flow { copies[place].flow = -1 }
            if known == .none { copies[place].claim = claim }
            return known
        }
    }

    /// Of several baselines of one key only the first, on whatever core, may find a key of the target:
    /// the others would find what we wrote.
    private func noteDoubtfulCopy(_ entry: SnapshotEntry, _ flow: Flow) {
        let known = noteDoubtfulCopy(
            database: entry.database, key: entry.key, flow,
            claim: flow.heldIsGuarded ? .unanswered : .none)
        guard flow.heldIsGuarded else { return }
        conflicts.noteWritten(database: entry.database, key: entry.key)
        flow.heldIsGuarded = known == .none
    }

    /// False as long as the first baseline of the key, on whatever flow, is not answered: it may not
    /// even be sent.
    private func takeClaim(_ entry: SnapshotEntry) -> Bool {
        guard shared.hasDoubtfulCopies.load(ordering: .relaxed) else { return true }
        let claim = shared.doubtfulCopies.with { copies in
            copies.find(entry.database, entry.key).map { copies[$0].claim } ?? .ours
        }
        if claim == .unanswered { return false }
        if claim == .kept { conflicts.keepToo(database: entry.database, key: entry.key) }
        return true
    }

    /// A flow's journal begins: of its keys, those that a copy has been written for are read again.
    /// All baselines have come, so the votes are in; what another core has not told yet is dealt with
    /// when all cores have applied theirs.
    func markDoubtfulCopies(_ flow: Flow) {
        shared.doubtfulCopies.with { copies in
            for place in copies.places where copies.isUsed(at: place) {
                let key = copies.key(at: place)
                guard placement.flow(of: key.name) == flow.index, copies[place].flow != flow.index
                else { continue }
                markForRepair(
                    database: key.database, key: key.name, flow: flow.index, command: "PFMERGE",
                    reason: "a copy of it came before it was known where the source places keys")
            }
        }
    }

    /// A copy, or the key itself, while too few keys have voted to tell. Another core may know less than
    /// this one, and ask the target for the same key.
    private func mayBeGhost(_ entry: SnapshotEntry, _ flow: Flow) throws(DecodeError) -> Bool {
        let isAsked = flow.heldIsGuarded && shared.coreCount > 1
        guard isAsked || placement.verdict(entry.key, flow: flow.index) == .unknown else {
            return false
        }
        return try isHyperLogLog(entry)
    }

    private func isHyperLogLog(_ entry: SnapshotEntry) throws(DecodeError) -> Bool {
        guard entry.mayBeHyperLogLog else { return false }
        var cursor = Cursor(entry.value)
        guard let value = try cursor.string() else { return false }
        return try value.decoded(scratch: &scratch).starts(with: "HYLL")
    }

    private func noteGroups(_ entry: SnapshotEntry, _ flow: Flow) throws(DecodeError) {
        do throws(DecodeError) {
            guard try !groups.note(entry, flow: flow.index) else { return }
        } catch {
            throw located(error, flow, opcode: entry.type.rawValue)
        }
        noteGroups(database: entry.database, key: entry.key, flow: flow)
    }

    private func auxiliary(
        _ name: ByteView, _ value: ByteView, _ flow: Flow
    ) throws(DecodeError) -> Step {
        if name.equals("search-index") || name.equals("search-synonyms") {
            nameSearchIndex(value, isIndex: name.equals("search-index"), flow)
        }
        guard name.equals("lua"), !value.isEmpty else { return .done }
        let bytes = value.count + TargetConnection.argumentBytes(8) * 3
        let masters = nodes.masters
        // Until all have it, handed in again: to load one twice does no harm.
        for node in masters {
            let connection = node.connection
            guard node.state == .ready,
                try connection.begin(flow: flow.index, database: 0, bytes: bytes)
            else { return .blocked }
            connection.header(arguments: 3)
            connection.argument("SCRIPT")
            connection.argument("LOAD")
            connection.argument(value)
            connection.end(
                node === masters.last ? .auxiliaryScript : .scriptCopy, flow: flow.index,
                database: 0, nextLSN: 0)
        }
        return .done
    }

    // The name of the index, then the arguments of its command (protocol.md 3.2). Other flows may say
    // the same.
    private func nameSearchIndex(_ value: ByteView, isIndex: Bool, _ flow: Flow) {
        guard flow.index == 0 else { return }
        var end = 0
        while end < value.count, value[end] != UInt8(ascii: " ") { end += 1 }
        report(
            Finding(
                kind: .skipped, database: 0, key: value.slice(0, end).printable(),
                command: isIndex ? "FT.CREATE" : "FT.SYNUPDATE",
                reason: "\(JournalWriter.searchReason)"))
    }
}

internal import Bytes
internal import Reactor
internal import RedisTarget
internal import Wire

/// Values that are too large to be held: each is built under a shadow key and swapped in.
extension Core {
    func handle(_ step: BigValueStep, _ flow: Flow) throws(DecodeError) -> Step {
        guard shadows != nil else { return .blocked }
        do throws(DecodeError) {
            switch step.kind {
            case .begin:
                return try begin(step, flow)
            case .part(let part):
                // Filtered, or of a type that the target has not.
                guard shadows!.isOpen(flow: flow.index, number: step.number) else { return .done }
                if case .streamMetadata(_, let groupCount) = part, groupCount > 0,
                    groups.isWatching
                {
                    noteGroups(
                        database: step.entry.database, key: step.entry.key, flow: flow)
                }
                let entry = try targetEntry(step)
                guard aim(flow.index, at: entry.key) else { return .blocked }
                let outcome = try shadows!.write(
                    part, entry, flow: flow.index, number: step.number,
                    unixMilliseconds: reactor.unixMilliseconds, to: target)
                if case .blocked = outcome { return .blocked }
                if case .elements(let units) = part, entry.type.hasElementExpiries {
                    try journalWriter.noteWritten(
                        entry, units: units, flow: flow.index, entries!,
                        aliveAt: shadows?.elementsAliveAt ?? 0)
                }
                return .done
            case .end(let refusedSize):
                return try end(step, refusedSize, flow)
            }
        } catch {
            throw located(error, flow, opcode: step.entry.type.rawValue)
        }
    }

    /// A value is counted as read when it is complete, or known to be left out.
    private func begin(_ step: BigValueStep, _ flow: Flow) throws(DecodeError) -> Step {
        let type = RecordType(step.entry.type.family)
        guard keeps(step.entry) else {
            flow.progress.snapshotByType[type].read += 1
            countFiltered(step.entry, flow)
            return .done
        }
        let entry = try targetEntry(step)
        guard aim(flow.index, at: entry.key) else { return .blocked }
        let isGuarded = conflicts.guardsBaseline(
            database: step.entry.database, key: step.entry.key)
        guard checkConflicts() else { return .done }
        switch try shadows!.begin(
            entry, isGuarded: isGuarded, flow: flow.index, number: step.number, to: target)
        {
        case .blocked:
            return .blocked
        case .sent:
            journalWriter.noteBegun(entry)
            if isGuarded {
                conflicts.sentBaseline(database: step.entry.database, key: step.entry.key)
            }
            // No ghost is that large (protocol.md 6.7).
            if placement.wantsVotes { placement.vote(step.entry.key, flow: flow.index) }
        case .leftOut:
            if isGuarded {
                // What the target has of that name is not ours to change either.
                guard try entries!.probe(entry, flow: flow.index, to: target) else {
                    return .blocked
                }
                flow.sent(nextLSN: 0)
                conflicts.sentBaseline(database: step.entry.database, key: step.entry.key)
            } else {
                leaveOut(database: step.entry.database, key: step.entry.key, type, flow)
            }
            flow.progress.snapshotByType[type].read += 1
        }
        return .done
    }

    private func end(
        _ step: BigValueStep, _ refusedSize: Int?, _ flow: Flow
    ) throws(DecodeError) -> Step {
        guard shadows!.isOpen(flow: flow.index, number: step.number) else { return .done }
        // The answer may count the value, too.
        guard !shadows!.awaitsGuard(flow: flow.index, number: step.number) else {
            return .blocked
        }
        let type = RecordType(step.entry.type.family)
        var entry = try targetEntry(step)
        guard aim(flow.index, at: entry.key) else { return .blocked }
        let isLeft = shadows!.isLeft(flow: flow.index, number: step.number)
        if isLeft || refusedSize != nil {
            guard try shadows!.giveUp(flow: flow.index, number: step.number, target) else {
                return .blocked
            }
            journalWriter.noteGivenUp(entry)
            if !isLeft, let refusedSize {
                flow.progress.snapshotByType[type].read += 1
                refuse(step.entry, refusedSize, flow)
            }
            return .done
        }
        if entry.expiryMilliseconds != 0 {
            entry.expiryMilliseconds = held.adjust(
                entry.expiryMilliseconds, database: entry.database, key: entry.key,
                now: reactor.unixMilliseconds)
        }
        let isGuarded = conflicts.guardsBaseline(
            database: step.entry.database, key: step.entry.key)
        guard checkConflicts() else { return .done }
        switch try shadows!.finish(
            entry, as: isGuarded ? .guardedEntry : .entry, flow: flow.index, number: step.number,
            unixMilliseconds: reactor.unixMilliseconds, to: target)
        {
        case .blocked:
            return .blocked
        case .sent:
            flow.sent(nextLSN: 0)
            if isGuarded {
                conflicts.sentBaseline(database: step.entry.database, key: step.entry.key)
            }
            if entry.isSticky { stickyEntries += 1 }
            if entry.hasMemcachedFlags { memcachedEntries += 1 }
        case .leftOut:
            leaveOut(database: step.entry.database, key: step.entry.key, type, flow)
        case .failed(let failure) where failure.mayPass && !isGuarded:
            journalWriter.noteGivenUp(entry)
            flow.progress.snapshotByType[type].repaired += 1
            markForRepair(
                database: step.entry.database, key: step.entry.key, flow: flow.index,
                command: failure.command,
                reason: "the target did not take \(failure.command): \(failure.reason)")
        case .failed(let failure):
            journalWriter.noteGivenUp(entry)
            flow.progress.snapshotByType[type].failed += 1
            fail(
                DeadLetters.Letter(
                    phase: .snapshot, flow: flow.index, database: step.entry.database,
                    key: step.entry.key, command: failure.command, reply: failure.reason))
        }
        flow.progress.snapshotByType[type].read += 1
        return .done
    }

    /// What a step is about, under its name and in its database on the target.
    private func targetEntry(_ step: BigValueStep) throws(DecodeError) -> SnapshotEntry {
        var entry = step.entry
        if keyRules.isActive { try nameForTarget(&entry) }
        return entry
    }

    // MARK: Leftovers of dead runs

    /// The target is swept before the source is turned to.
    func startSweep() {
        sweeps = nodes.masters.flatMap { node in
            node.greeting.usedDatabases.map { (node, $0) }
        }
        sweepCursor = Array("0".utf8)
        if sweeps.isEmpty { endSweep() }
    }

    /// Sends the next piece, if the last one is answered.
    func sweep() {
        guard !sweepCursor.isEmpty, let (node, database) = sweeps.first, !isLeaving else { return }
        guard node.state == .ready else {
            // A replica has taken over; the next run sweeps it.
            if nodes.mayMove, !node.ownsSlots { endSweepOfFirst() }
            return
        }
        do throws(DecodeError) {
            let isSent = try sweepCursor.withByteView { (cursor) throws(DecodeError) in
                try shadows?.sweep(database: database, cursor: cursor, to: node.connection) ?? true
            }
            if isSent { sweepCursor = [] }
        } catch {
            fail(.interrupted, "no memory to look for leftovers on the target")
        }
    }

    func settleSweep(_ reply: TargetReply) {
        if reply.reply.hasError {
            targetNotices.append(
                "the target \(sweeps.first?.node.name ?? "") was not searched for keys that an interrupted run may have left "
                    + "(df2redis:{*}:\(settings.taskName):shadow:*): "
                    + "\(target.errorText.printable()); allow +eval +scan +unlink to its user, or "
                    + "remove such keys by hand")
        } else {
            sweepCursor = reply.reply.content.array()
            guard reply.reply.content.equals("0") else { return }
        }
        endSweepOfFirst()
    }

    private func endSweepOfFirst() {
        sweeps.removeFirst()
        sweepCursor = Array("0".utf8)
        if sweeps.isEmpty { endSweep() }
    }

    private func endSweep() {
        if !isLeaving { connectSource() }
    }

    /// What was built of a value could not be removed.
    func leaveShadow(_ reply: TargetReply) {
        let key = target.name(of: reply.command).key.printable()
        targetNotices.append(
            "the target keeps \(key), part of a value that was given up: "
                + "\(target.errorText.printable()); the next run of this taskName removes it")
    }
}

internal import Bytes
internal import DragonflySource
internal import Reactor
internal import RedisTarget
internal import Wire

/// The repair list at work: marks, records of keys under repair, values that are written.
extension Core {
    /// An orderly end waits for open repairs as long as one is done in this time, and not longer than
    /// that: while the source is written to, there may always be another one.
    private static let repairPatienceMilliseconds: Int64 = 10_000
    private static let repairLimitMilliseconds: Int64 = 60_000

    // MARK: Marks

    /// Has a key read again from the source.
    func markForRepair(
        database: Int, key: ByteView, flow: Int, command: String, reason: String
    ) {
        guard keeps(database: database, key: key) else { return }
        let core = max(0, flow) % shared.coreCount
        // A core that has nothing left to do hears nothing.
        guard flow < 0 || core == index || isLeaving else {
            return shared.send(
                .repair(
                    database: database, key: key.array(), flow: flow, command: command,
                    reason: reason), to: core)
        }
        // The target keeps its own.
        guard !conflicts.isKept(database: database, key: key) else { return }
        guard !isLeaving, let source, source.acknowledges else {
            return nameForRepair(
                database, key, flow, command, reason,
                isLeaving ? "the run ended before" : "the source knows no LSNs")
        }
        // The LSNs of another shard would say nothing of what the value holds.
        guard flow >= 0, placement.verdict(key, flow: flow) != .elsewhere else {
            return nameForRepair(
                database, key, flow, command, reason,
                flow < 0
                    ? "it is not known which shard it is on; ask again when more keys have come"
                    : "its shard is not the one whose record named it")
        }
        let isNew = repairs.mark(
            database: database, key: key, flow: flow, command: command, reason: reason)
        guard let isNew else {
            return nameForRepair(
                database, key, flow, command, reason, "too many keys are under repair")
        }
        guard isNew else { return }
        log { (log) throws(SystemError) in
            try log.opened(database: database, flow: flow, key: key.array(), reason: reason)
        }
        hasNewRepairLines = true
    }

    /// What an earlier run left open, if this one goes on where that ended.
    func takeOpenRepairs() {
        do throws(SystemError) {
            let left = try shared.repairLog.with { (log) throws(SystemError) in
                try log?.takeOpen(resumes: settings.position != nil) ?? []
            }
            for open in left {
                open.key.withByteView {
                    markForRepair(
                        database: open.database, key: $0, flow: open.flow, command: "",
                        reason: open.reason)
                }
            }
        } catch {
            failRepairLog(error)
        }
    }

    /// The keys that the journal writer named for a record are to be read again.
    func markForRepair(_ record: JournalRecord, _ flow: Flow, _ reason: String) {
        let command = record.arguments.first?.printable(limit: 32) ?? ""
        for named in journalWriter.repairKeys {
            // It is not applied: a value that may lack what it did is of no use.
            _ = repairs.touch(
                database: named.database, key: named.key, flow: flow.index, lsn: record.lsn,
                now: nowMilliseconds)
            markForRepair(
                database: named.database, key: named.key, flow: flow.index, command: command,
                reason: reason)
        }
        if journalWriter.repairKeys.isEmpty {
            nameForRepair(
                record.database, ByteView(), flow.index, command, reason, "no key is known")
        }
    }

    /// A pop that may stand for more than it says.
    func markForRepair(_ suspect: PopWatch.Suspect) {
        suspect.key.withByteView {
            markForRepair(
                database: suspect.database, key: $0, flow: suspect.flow, command: "LPOP/RPOP",
                reason: "may stand for an LMPOP or BLMPOP that took more than one element")
        }
    }

    /// Streams of which the journal told too little.
    func markGroups() {
        groups.forEach { database, key, flow in
            markForRepair(
                database: database, key: key, flow: flow, command: "stream",
                reason: "this release of the source does not journal what groups read")
        }
    }

    /// A record may make a group, or bring a stream with groups under another name.
    func watchGroups(
        _ record: JournalRecord, _ match: JournalRules.Match, _ key: ByteView, _ flow: Flow
    ) {
        let database = record.database
        switch match.rule {
        case .streamGroup:
            noteGroups(database: database, key: key, flow: flow)
        case .rename where groups.contains(database: database, key: key):
            guard let newKey = journalWriter.argument(record, 2) else { return }
            noteGroups(database: database, key: newKey, flow: flow)
        case .move where groups.contains(database: database, key: key):
            guard let other = journalWriter.argument(record, 2)?.parseInteger() else { return }
            noteGroups(database: Int(other), key: key, flow: flow)
        case .restore:
            // Whether it has groups would cost a look into the payload.
            guard let payload = journalWriter.argument(record, 3), payload.count > 0,
                ValueType(rawValue: payload[0])?.family == .stream
            else { return }
            noteGroups(database: database, key: key, flow: flow)
        default: break
        }
    }

    /// A stream has groups, on a source that does not journal all of them.
    func noteGroups(database: Int, key: ByteView, flow: Flow) {
        guard keeps(database: database, key: key),
            !groups.note(database: database, key: key, flow: flow.index)
        else { return }
        nameForRepair(
            database, key, flow.index, "stream", "this release does not journal what groups read",
            "too many streams have groups")
    }

    /// A record that the target refused: its keys are read again, if that can help.
    func markRefused(_ reply: TargetReply, _ flow: Flow) -> Bool {
        let error = target.errorText
        guard !Core.isStateOfTarget(error) || isWantOfMemory || isRedirected else { return false }
        let name = target.name(of: reply.command)
        guard !name.command.isEmpty, !name.key.isEmpty || !name.command.equals("EXEC") else {
            return false
        }
        let database = Int(reply.command.database)
        let command = name.command.printable(limit: 32)
        let reason = "the target refused \(command): \(refusal)"
        // An EXEC has none of its own.
        let first = sourceName(database, name.key)
        markForRepair(
            database: first.database, key: first.key, flow: flow.index, command: command,
            reason: reason)
        target.forEachKey(of: reply.command) { database, key in
            let name = sourceName(database, key)
            markForRepair(
                database: name.database, key: name.key, flow: flow.index, command: command,
                reason: reason)
        }
        return true
    }

    /// What was made of a key before its record was known to be refused is read again, too. Called
    /// when a record is answered: what came before it in the pipeline has been.
    func watchAnswered(_ command: CommandInFlight) {
        var keys = 0
        var keysOpen = 0
        target.forEachKey(of: command) { database, key in
            keys += 1
            let name = sourceName(database, key)
            if repairs.isDoubtful(database: name.database, key: name.key) { keysOpen += 1 }
        }
        guard keysOpen > 0, keysOpen < keys else { return }
        let name = target.name(of: command).command
        guard !Core.replacesAll(name) else { return }
        target.forEachKey(of: command) { database, key in
            let own = sourceName(database, key)
            guard !repairs.isDoubtful(database: own.database, key: own.key) else { return }
            markForRepair(
                database: own.database, key: own.key, flow: Int(command.flow),
                command: name.printable(limit: 32), reason: Core.madeOfOpen)
        }
    }

    private static let madeOfOpen = "it was made of a key under repair"

    private static func replacesAll(_ command: ByteView) -> Bool {
        command.equalsIgnoringCase("DEL") || command.equalsIgnoringCase("UNLINK")
            || command.equalsIgnoringCase("MSET")
    }

    /// Errors that say nothing of the record: writing another value would meet them as well.
    private static func isStateOfTarget(_ error: ByteView) -> Bool {
        for prefix: ByteView in [
            "READONLY", "LOADING", "MISCONF", "BUSY ", "NOPERM", "NOAUTH", "NOREPLICAS",
            "MASTERDOWN", "CLUSTERDOWN", "MOVED", "ASK ",
        ] where error.starts(with: prefix) { return true }
        return false
    }

    /// A key that may differ and cannot be read again.
    func nameForRepair(
        _ database: Int, _ key: ByteView, _ flow: Int, _ command: String, _ reason: String,
        _ why: String
    ) {
        let reason = "\(reason); not read again: \(why)"
        let isNew = report(
            Finding(
                kind: .repair, database: database, key: key.printable(), command: command,
                reason: reason))
        guard isNew else { return }
        add(
            DeadLetters.Letter(
                phase: .repair, flow: flow, database: database, key: key, command: command,
                reply: reason))
    }

    func giveUpRepair(_ index: Int, _ why: String) {
        let repair = repairs[index]
        repair.key.withByteView { key in
            guard !conflicts.isKept(database: repair.database, key: key) else { return }
            nameForRepair(
                repair.database, key, repair.flow, repair.command, repair.reason, why)
            // Of a key in doubt none would ever be sent. A run that goes on reads the key again.
            if !isLeaving {
                let name = targetName(repair.database, key)
                journalWriter.elementExpiries.timers?.remove(
                    database: name.database, key: name.key)
            }
        }
        // The entry stays open in the log: the next reader of it should know.
        if writingRepair == index { writingRepair = nil }
        if readingRepair == index { readingRepair = nil }
        repairs.abandon(index)
    }

    private func closeRepair(_ index: Int, isRepaired: Bool = true) {
        let repair = repairs[index]
        log { (log) throws(SystemError) in
            try log.closed(database: repair.database, key: repair.key)
        }
        hasNewRepairLines = true
        repairs.close(index, isRepaired: isRepaired)
        repairProgressAt = nowMilliseconds
    }

    private func log(_ body: (inout RepairLog) throws(SystemError) -> Void) {
        do throws(SystemError) {
            try shared.repairLog.with { (log) throws(SystemError) in
                guard log != nil else { return }
                try body(&log!)
            }
        } catch {
            failRepairLog(error)
        }
    }

    func openRepairLog() {
        guard let directory = settings.stateDirectory else { return }
        do throws(SystemError) {
            try shared.repairLog.with { (log) throws(SystemError) in
                log = try RepairLog(directory: directory)
            }
        } catch {
            failRepairLog(error)
        }
    }

    private func failRepairLog(_ error: SystemError) {
        shared.repairLog.with { $0 = nil }
        failLog(RepairLog.fileName, error)
    }

    // MARK: Records of keys under repair

    /// Tells the list of a record. What it does to a key under repair is of no matter, but what it
    /// makes of such a key for another one is: that one is read again, too. So it is while the value
    /// of the former is unanswered: the target may refuse it; or while a pop of it may turn out to
    /// have been more.
    func watchRepairs(_ record: JournalRecord, _ match: JournalRules.Match, _ flow: Flow) {
        var dependencies = 0
        journalWriter.forEachKey(of: record, match) { database, key, use in
            let touch = repairs.touch(
                database: database, key: key, flow: flow.index, lsn: record.lsn,
                now: nowMilliseconds)
            guard use != .replaced else { return }
            if touch != .none || pops.isWaiting(for: key, database: database) { dependencies += 1 }
        }
        guard dependencies > 0 else { return }
        journalWriter.forEachKey(of: record, match) { database, key, use in
            let touch = repairs.touch(
                database: database, key: key, flow: flow.index, lsn: record.lsn,
                now: nowMilliseconds)
            let isDoubtful = touch != .none || pops.isWaiting(for: key, database: database)
            let own = isDoubtful && use != .replaced ? 1 : 0
            guard use != .read, touch != .held, dependencies > own else { return }
            markForRepair(
                database: database, key: key, flow: flow.index,
                command: record.arguments.first?.printable(limit: 32) ?? "",
                reason: Core.madeOfOpen)
        }
    }

    // MARK: Turns

    /// Moves everything on. Called at the end of each turn, before the ACKs.
    func advanceRepairs() {
        if repairs.openCount > 0 {
            for flow in flows where flow.heldRecord == nil && flow.heldEvent == nil {
                _ = writeDueRepairs(flow)
            }
            readNextKey()
        }
        syncRepairLog()
    }

    /// Before an ACK passes what was written to it.
    func syncRepairLog() {
        guard hasNewRepairLines else { return }
        hasNewRepairLines = false
        log { (log) throws(SystemError) in try log.sync() }
    }

    /// Writes the values whose flow has come far enough; false while there is no room.
    func writeDueRepairs(_ flow: Flow) -> Bool {
        guard entries != nil, flow.routedLSN > 0 else { return true }
        while true {
            let index: Int
            if let writingRepair {
                // Another flow's value is half written.
                guard repairs[writingRepair].flow == flow.index else { return false }
                index = writingRepair
            } else if let due = repairs.due(flow: flow.index, next: flow.routedLSN) {
                index = due
            } else {
                return true
            }
            guard write(index, flow) else { return false }
            guard flow.isBlocked else { continue }
            flow.isBlocked = false
            reactor.resume(flow.socket)
        }
    }

    private func write(_ index: Int, _ flow: Flow) -> Bool {
        let repair = repairs[index]
        guard let value = repair.value else { preconditionFailure("a value to write") }
        if conflicts.concernRecords {
            let (mustWait, isKept) = repair.key.withByteView { key in
                (
                    conflicts.isUnanswered(database: repair.database, key: key),
                    conflicts.isKept(database: repair.database, key: key)
                )
            }
            if mustWait { return false }
            if isKept {
                closeRepair(index, isRepaired: false)
                return true
            }
        }
        do throws(DecodeError) {
            let outcome = try repair.key.withByteView { (key) throws(DecodeError) in
                try write(repair, value, key, index)
            }
            switch outcome {
            case .blocked:
                if entries?.buildingFlow == flow.index { writingRepair = index }
                return false
            case .sent:
                writingRepair = nil
                repairs.isWritten(index)
            case .leftOut:
                let type = RecordType(value.type.family)
                let reason = "\(settings.types.reason(for: type))"
                guard !settings.types.fails(type) else {
                    giveUpRepair(index, reason)
                    return true
                }
                report(
                    Finding(
                        kind: .skipped, database: repair.database,
                        key: repair.key.withByteView { $0.printable() }, command: type.name,
                        reason: reason))
                closeRepair(index, isRepaired: false)
            }
        } catch {
            if entries?.buildingFlow == flow.index {
                fail(.interrupted, "no memory to write the value of a key under repair")
            }
            giveUpRepair(index, "its value is damaged (\(error.reason))")
        }
        return true
    }

    private func write(
        _ repair: Repair, _ value: ReadValue, _ key: ByteView, _ index: Int
    ) throws(DecodeError) -> EntryOutcome {
        let place = UInt64(index)
        let name = targetName(repair.database, key)
        guard aim(repair.flow, at: name.key) else { return .blocked }
        // Its type may have changed to one that is filtered: what the target had of it goes.
        if value.isMissing || keyRules.isActive && !keyRules.keeps(value.type.family) {
            guard
                try entries!.delete(
                    database: name.database, key: name.key, flow: repair.flow, as: .repair,
                    nextLSN: place, to: target)
            else { return .blocked }
            held.cancel(database: name.database, key: name.key)
            journalWriter.elementExpiries.remove(database: name.database, key: name.key)
            return .sent
        }
        let now = reactor.unixMilliseconds
        var expiry = value.expiryMilliseconds
        if expiry == 0 {
            held.cancel(database: name.database, key: name.key)
        } else {
            expiry = held.adjust(expiry, database: name.database, key: name.key, now: now)
        }
        let entry = SnapshotEntry(
            database: name.database, type: value.type, key: name.key, expiryMilliseconds: expiry,
            value: value.view)
        let outcome = try entries!.write(
            entry, flow: repair.flow, as: .repair, nextLSN: place, unixMilliseconds: now,
            byCommands: repair.byCommands || value.isInPieces, to: target)
        switch outcome {
        case .sent: try journalWriter.noteWritten(entry, flow: repair.flow, entries!)
        case .leftOut: journalWriter.noteLeftOut(entry)
        case .blocked: break
        }
        return outcome
    }

    /// The target has answered the value of a key.
    func settleRepair(_ reply: TargetReply) {
        let index = Int(reply.command.nextLSN)
        guard reply.recordFailed else {
            guard repairs[index].isMarkedAgain else { return closeRepair(index) }
            repairs[index].isMarkedAgain = false
            repairs.retry(index, now: nowMilliseconds)
            return
        }
        // Neither a full target nor a slot on its way says anything of the value, and neither lasts.
        if isWantOfMemory || isRedirected {
            repairs.retry(index, now: nowMilliseconds, counts: false)
            return
        }
        let text = refusal
        if repairs[index].byCommands || repairs[index].attempts >= RepairList.attemptsLimit {
            giveUpRepair(index, "the target refused its value: \(text)")
        } else {
            repairs[index].byCommands = true
            repairs.retry(index, now: nowMilliseconds)
        }
    }

    // MARK: The end

    /// Whether an orderly end may come: nothing is left to repair, or it takes too long.
    func mayLeaveRepairs() -> Bool {
        // What is half written is ended first; a target that does not answer is noticed.
        if writingRepair != nil { return false }
        if repairs.openCount == 0 { return true }
        // Held up by us or for the target's memory: that is not for a copy to give up.
        if isHeldUp, !wasStopped {
            finishingSince = nowMilliseconds
            return false
        }
        let patience = max(repairProgressAt, finishingSince) + Core.repairPatienceMilliseconds
        return nowMilliseconds >= min(patience, finishingSince + Core.repairLimitMilliseconds)
    }

    /// The source is being left: what is still open is named.
    func endRepairs() {
        for index in repairs.indices where repairs[index].state != .writing {
            giveUpRepair(index, "the run ended before")
        }
        leaveReader()
    }

    /// The target is gone, or does not answer: nothing will settle what was sent.
    func giveUpWrittenRepairs() {
        for index in repairs.indices { giveUpRepair(index, "the target did not answer") }
    }
}

internal import Bytes
internal import RedisTarget
internal import Synchronization
internal import Wire

/// Keys that the target has already, with a `conflict.policy` that lets them be.
extension Core {
    /// A guarded baseline, or a probe, is answered. True if the target had the key.
    func settleGuarded(_ reply: TargetReply, _ flow: Flow) -> Bool {
        let database = Int(reply.command.database)
        let (command, key) = target.name(of: reply.command)
        let own = sourceName(database, key)
        // Refused unseen, maybe: the target may have the key, so no record may touch it.
        let isKept = reply.foundKey || reply.recordFailed || reply.reply.hasError
        answeredBaseline(own.database, own.key, isKept: isKept)
        guard reply.foundKey else {
            if isKept { conflicts.keep(database: own.database, key: own.key) }
            return false
        }
        held.cancel(database: database, key: key)
        journalWriter.elementExpiries.remove(database: database, key: key)
        let type = reply.command.type
        guard conflicts.policy == .skip else {
            flow.progress.snapshotByType[type].failed += 1
            fail(
                DeadLetters.Letter(
                    phase: .snapshot, flow: flow.index, database: own.database, key: own.key,
                    command: command.printable(limit: 32), reply: Core.targetHasKey))
            fail(
                .refused,
                "the target \(settings.target) has the key \(key.printable()) in database "
                    + "\(database) already, and conflict.policy is panic: the key is left as it is; "
                    + "empty the target, or set conflict.policy to skip or overwrite")
            return true
        }
        flow.progress.snapshotByType[type].skipped += 1
        conflicts.keep(database: own.database, key: own.key)
        checkConflicts()
        if shared.findings.with({ $0.hasRoom(for: .kept) }) {
            report(
                Finding(
                    kind: .kept, database: own.database, key: own.key.printable(),
                    command: type.name, reason: Core.targetHasKey))
        }
        return true
    }

    /// Whether the target keeps the key is known: who waits for it goes on.
    func answeredBaseline(_ database: Int, _ key: ByteView, isKept: Bool) {
        conflicts.answeredBaseline(database: database, key: key)
        guard shared.hasDoubtfulCopies.load(ordering: .relaxed) else { return }
        let isClaimed = shared.doubtfulCopies.with { copies in
            guard let place = copies.find(database, key), copies[place].claim == .unanswered else {
                return false
            }
            copies[place].claim = isKept ? .kept : .ours
            return true
        }
        if isClaimed { tellAll(.retry) }
    }

    private static let targetHasKey = "the target has this key already"

    /// What kept keys mean for a record; nil if it names none of them. A record of a kept key is
    /// skipped. Other keys that it writes, too, are read again: what it made of them may come from a
    /// key that the target does not have.
    func keepConflicts(
        _ record: JournalRecord, _ match: JournalRules.Match, _ flow: Flow
    ) -> Step? {
        guard conflicts.concernRecords, keepsCommand(record) else { return nil }
        var mustWait = false
        var keysKept = 0
        journalWriter.forEachKey(of: record, match) { database, key, _ in
            if conflicts.isUnanswered(database: database, key: key) { mustWait = true }
            if conflicts.isKept(database: database, key: key) { keysKept += 1 }
        }
        guard checkConflicts() else { return .done }
        if mustWait { return .blocked }
        guard keysKept > 0 else { return nil }
        // It is settled here, even if the run ends by a mark.
        flow.heldIsCounted = false
        var keysMarked = 0
        journalWriter.forEachKey(of: record, match) { database, key, use in
            guard use != .read, keeps(database: database, key: key),
                !conflicts.isKept(database: database, key: key)
            else { return }
            keysMarked += 1
            _ = repairs.touch(
                database: database, key: key, flow: flow.index, lsn: record.lsn,
                now: nowMilliseconds)
            markForRepair(
                database: database, key: key, flow: flow.index,
                command: record.arguments.first?.printable(limit: 32) ?? "",
                reason: "its record names a key that the target keeps")
        }
        totals.recordsOfKeptKeys += 1
        if keysMarked > 0 {
            flow.progress.journalByType[match.type].repaired += 1
        } else {
            flow.progress.journalByType[match.type].skipped += 1
        }
        return .done
    }

    /// Notes what a record of the snapshot stream wrote: a baseline that comes later is ours.
    func noteWritten(_ record: JournalRecord, _ match: JournalRules.Match) {
        journalWriter.forEachKey(of: record, match) { database, key, use in
            if use != .read { conflicts.noteWritten(database: database, key: key) }
        }
    }

    /// False, and the run ends, if the names of kept keys are lost.
    @discardableResult
    func checkConflicts() -> Bool {
        guard let failure = conflicts.failure else { return true }
        fail(
            .interrupted,
            "cannot remember which keys the target keeps, in a file in "
                + "\(settings.spillDirectory): \(failure); make room and run again")
        return false
    }
}

internal import Bytes
internal import CPlatform
internal import DragonflySource
internal import Reactor
internal import RedisTarget
internal import Wire

/// The repair list at work: marks, the connection that reads keys, values that are written.
extension Core {
    private static let readerRingBytes = 1 << 20
    private static let readerFailuresLimit = 5
    private static let readerPauseMilliseconds: Int64 = 1_000
    /// An orderly end waits for open repairs as long as one is done in this time.
    private static let repairPatienceMilliseconds: Int64 = 10_000

    // MARK: Marks

    /// Has a key read again from the source.
    func markForRepair(
        database: Int, key: ByteView, flow: Int, command: String, reason: String
    ) {
        guard !isLeaving, controlSocket != nil, control.acknowledges else {
            return nameForRepair(
                database, key, command, reason,
                isLeaving ? "the run ended before" : "the source knows no LSNs")
        }
        let isNew = repairs.mark(
            database: database, key: key, flow: flow, command: command, reason: reason)
        guard let isNew else {
            return nameForRepair(database, key, command, reason, "too many keys are under repair")
        }
        guard isNew else { return }
        log { (log) throws(SystemError) in
            try log.opened(database: database, flow: flow, key: key.array(), reason: reason)
        }
    }

    /// Every key that a record writes is to be read again.
    func markForRepair(
        _ record: JournalRecord, _ match: JournalRules.Match, _ flow: Flow, _ reason: String
    ) {
        let command = record.arguments.first?.printable(limit: 32) ?? ""
        var isNamed = false
        journalWriter.forEachKey(of: record, match) { database, key, use in
            guard use != .read else { return }
            isNamed = true
            markForRepair(
                database: database, key: key, flow: flow.index, command: command, reason: reason)
        }
        if !isNamed {
            nameForRepair(record.database, ByteView(), command, reason, "no key is known")
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

    /// A stream has groups, on a source that does not journal all of them.
    func noteGroups(database: Int, key: ByteView, flow: Flow) {
        guard !groups.note(database: database, key: key, flow: flow.index) else { return }
        nameForRepair(
            database, key, "stream", "this release does not journal what groups read",
            "too many streams have groups")
    }

    /// A record that the target refused: its keys are read again, if that can help.
    func markRefused(_ reply: TargetReply, _ flow: Flow) -> Bool {
        let error = target.errorText
        guard !Core.isStateOfTarget(error) else { return false }
        let name = target.name(of: reply.command)
        guard !name.command.isEmpty, !name.key.isEmpty || !name.command.equals("EXEC") else {
            return false
        }
        let database = Int(reply.command.database)
        let command = name.command.printable(limit: 32)
        let reason = "the target refused \(command): \(error.printable(limit: 200))"
        markForRepair(
            database: database, key: name.key, flow: flow.index, command: command, reason: reason)
        if let other = target.secondArgument(of: reply.command) {
            if Core.namesTwoKeys(name.command) {
                markForRepair(
                    database: database, key: other, flow: flow.index, command: command,
                    reason: reason)
            } else if name.command.equalsIgnoringCase("MOVE"), let other = other.parseInteger() {
                markForRepair(
                    database: Int(other), key: name.key, flow: flow.index, command: command,
                    reason: reason)
            }
        }
        return true
    }

    private static func namesTwoKeys(_ command: ByteView) -> Bool {
        command.equalsIgnoringCase("RENAME") || command.equalsIgnoringCase("RENAMENX")
            || command.equalsIgnoringCase("LMOVE") || command.equalsIgnoringCase("RPOPLPUSH")
            || command.equalsIgnoringCase("SMOVE")
    }

    /// Errors that say nothing of the record: writing another value would meet them as well.
    private static func isStateOfTarget(_ error: ByteView) -> Bool {
        for prefix: ByteView in [
            "OOM", "READONLY", "LOADING", "MISCONF", "BUSY ", "NOPERM", "NOAUTH", "NOREPLICAS",
            "MASTERDOWN", "CLUSTERDOWN", "MOVED", "ASK ",
        ] where error.starts(with: prefix) { return true }
        return false
    }

    /// A key that may differ and cannot be read again.
    private func nameForRepair(
        _ database: Int, _ key: ByteView, _ command: String, _ reason: String, _ why: String
    ) {
        report(
            Finding(
                kind: .repair, database: database, key: key.printable(), command: command,
                reason: "\(reason); not read again: \(why)"))
    }

    private func giveUpRepair(_ index: Int, _ why: String) {
        let repair = repairs[index]
        repair.key.withByteView {
            nameForRepair(repair.database, $0, repair.command, repair.reason, why)
        }
        // The entry stays open in the log: the next reader of it should know.
        if writingRepair == index { writingRepair = nil }
        repairs.close(index, isRepaired: false)
    }

    private func closeRepair(_ index: Int) {
        let repair = repairs[index]
        log { (log) throws(SystemError) in
            try log.closed(database: repair.database, key: repair.key)
        }
        repairs.close(index, isRepaired: true)
        repairDeadline = nowMilliseconds + Core.repairPatienceMilliseconds
    }

    private func log(_ body: (inout RepairLog) throws(SystemError) -> Void) {
        guard repairLog != nil else { return }
        do throws(SystemError) {
            try body(&repairLog!)
        } catch {
            failLog(error)
        }
    }

    private func failLog(_ error: SystemError) {
        repairLog = nil
        fail(
            .interrupted,
            "cannot write \(RepairLog.fileName) in the state directory: \(error); make room and "
                + "run again")
    }

    // MARK: Records of keys under repair

    /// Tells the list of a record. What it does to a key under repair is of no matter, but what it
    /// makes of such a key for another one is: that one is read again, too.
    func watchRepairs(_ record: JournalRecord, _ match: JournalRules.Match, _ flow: Flow) {
        var dependsOnRepair = false
        journalWriter.forEachKey(of: record, match) { database, key, use in
            if repairs.touch(database: database, key: key, lsn: record.lsn), use != .replaced {
                dependsOnRepair = true
            }
        }
        guard dependsOnRepair else { return }
        journalWriter.forEachKey(of: record, match) { database, key, use in
            guard use != .read, !repairs.touch(database: database, key: key, lsn: record.lsn) else {
                return
            }
            markForRepair(
                database: database, key: key, flow: flow.index,
                command: record.arguments.first?.printable(limit: 32) ?? "",
                reason: "it was made of a key under repair")
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
            case .impossible:
                report(
                    Finding(
                        kind: .skipped, database: repair.database,
                        key: repair.key.withByteView { $0.printable() },
                        command: value.type.family.name, reason: "the target has no such type"))
                closeRepair(index)
            }
        } catch {
            giveUpRepair(index, "its value is damaged (\(error.reason))")
        }
        return true
    }

    private func write(
        _ repair: Repair, _ value: ReadValue, _ key: ByteView, _ index: Int
    ) throws(DecodeError) -> EntryOutcome {
        let place = UInt64(index)
        if value.isMissing {
            guard
                try entries!.delete(
                    database: repair.database, key: key, flow: repair.flow, as: .repair,
                    nextLSN: place, to: target)
            else { return .blocked }
            held.cancel(database: repair.database, key: key)
            return .sent
        }
        let now = cp_unix_milliseconds()
        var expiry = value.expiryMilliseconds
        if expiry == 0 {
            held.cancel(database: repair.database, key: key)
        } else {
            expiry = held.adjust(expiry, database: repair.database, key: key, now: now)
        }
        let entry = SnapshotEntry(
            database: repair.database, type: value.type, key: key, expiryMilliseconds: expiry,
            value: value.view)
        return try entries!.write(
            entry, flow: repair.flow, as: .repair, nextLSN: place, unixMilliseconds: now,
            byCommands: repair.byCommands || value.isInPieces, to: target)
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
        let text = target.errorText.printable(limit: 200)
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
        if repairs.openCount == 0 { return true }
        if repairDeadline == 0 {
            repairDeadline = nowMilliseconds + Core.repairPatienceMilliseconds
        }
        return nowMilliseconds >= repairDeadline
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

    // MARK: Reading

    private func readNextKey() {
        guard !isLeaving, flows.allSatisfy({ $0.routedLSN > 0 }), readingRepair == nil else {
            return
        }
        guard let socket = readerSocket else {
            if nowMilliseconds >= readerNotBefore { openReader() }
            return
        }
        guard reader?.phase == .idle, let index = repairs.nextToRead(now: nowMilliseconds) else {
            return
        }
        readingRepair = index
        let repair = repairs[index]
        let action = repair.key.withByteView { key in
            reader?.read(
                database: repair.database, key: key, flow: repair.flow, now: nowMilliseconds,
                output: &socket.output)
        }
        perform(action ?? .none)
        reactor.markDirty(socket)
    }

    private func openReader() {
        do throws(SystemError) {
            let socket = try Socket(
                connectingTo: sourceAddress, role: Role.reader, inputBytes: Core.readerRingBytes,
                outputBytes: Core.readerRingBytes)
            reader = try KeyReader(
                KeyReaderSettings(
                    credentials: settings.controlSettings.credentials,
                    limitBytes: settings.valueBytesLimit),
                now: nowMilliseconds)
            try reactor.add(socket)
            readerSocket = socket
        } catch {
            failReader(SourceError(.restart, "\(error)"))
        }
    }

    func readReader(_ socket: Socket) {
        while reader != nil, readerSocket === socket {
            let (consumed, action) =
                reader?.receive(
                    socket.input.readable, now: nowMilliseconds, output: &socket.output)
                ?? (socket.input.count, .none)
            socket.input.consume(consumed)
            perform(action)
            if consumed > 0 { continue }
            guard socket.fill(limit: Core.readBytes) > 0 else { break }
        }
        if socket.reachedEnd, readerSocket === socket {
            if isLeaving {
                closeReader()
            } else if let action = reader?.connectionEnded("the source closed it") {
                perform(action)
            }
        }
        reactor.markDirty(socket)
    }

    func perform(_ action: KeyReaderAction) {
        switch action {
        case .none: break
        case .ready: readNextKey()
        case .finished(let reading): finish(reading)
        case .failed(let error): failReader(error)
        }
    }

    private func finish(_ reading: KeyReading) {
        guard let index = readingRepair else { preconditionFailure("a reading was asked for") }
        readingRepair = nil
        readerFailures = 0
        guard !isLeaving else { return }
        switch reading.outcome {
        case .refused(let text):
            giveUpRepair(index, "the source answered \"\(text)\"")
        case .tooLarge(let size):
            giveUpRepair(
                index, "its \(size) bytes or more are above the limit for one value")
        case .missing:
            take(reading, type: .string, index)
        case .value(let code):
            guard let type = ValueType(rawValue: code) else {
                return giveUpRepair(index, "its type \(code) is unknown")
            }
            take(reading, type: type, index)
        }
        readNextKey()
    }

    private func take(_ reading: KeyReading, type: ValueType, _ index: Int) {
        guard reading.before > 0, reading.after >= reading.before else {
            return giveUpRepair(index, "DFLY REPLICAOFFSET did not tell the LSN of its shard")
        }
        do throws(SystemError) {
            let value = try repairs.takeSpareValue()
            if let place = reader?.exchangeBuffer(&value.bytes) {
                (value.start, value.count) = place
            }
            value.type = type
            value.isMissing = reading.outcome == .missing
            value.isInPieces = reading.isInPieces
            value.expiryMilliseconds = reading.expiryMilliseconds
            let isUseful = repairs.wasRead(
                index, before: reading.before, after: reading.after, value: value,
                now: nowMilliseconds)
            if !isUseful, repairs[index].attempts >= RepairList.attemptsLimit {
                giveUpRepair(
                    index,
                    "it was written while it was read, \(RepairList.attemptsLimit) times; stop its "
                        + "writers and run again")
            }
        } catch {
            giveUpRepair(index, "no memory for its value")
        }
    }

    private func failReader(_ error: SourceError) {
        closeReader()
        if let index = readingRepair {
            readingRepair = nil
            repairs.retry(index, now: nowMilliseconds)
        }
        readerFailures += 1
        readerNotBefore = nowMilliseconds + Core.readerPauseMilliseconds
        guard !error.isWorthRetrying || readerFailures >= Core.readerFailuresLimit else { return }
        for index in repairs.indices where repairs[index].state == .waiting {
            giveUpRepair(index, error.message)
        }
        readerFailures = 0
    }

    func tickReader() {
        guard reader != nil, let action = reader?.tick(now: nowMilliseconds) else { return }
        perform(action)
        if isLeaving, nowMilliseconds >= readerDeadline { closeReader() }
    }

    /// Our side of the reading connection ends; what is still under way to us is read and dropped,
    /// so that closing it is no reset.
    private func leaveReader() {
        guard let readerSocket, readerSocket.state == .open, !readerSocket.hasFailed else {
            closeReader()
            return
        }
        reactor.flushNow(readerSocket)
        readerSocket.shutdownWriting()
        readerDeadline = nowMilliseconds + SessionTiming.leaveLimit
    }

    private func closeReader() {
        if let readerSocket { reactor.close(readerSocket) }
        readerSocket = nil
        reader = nil
    }

    func failedReader(_ error: SystemError) {
        // The reactor closes a socket that failed.
        if isLeaving {
            closeReader()
        } else if let action = reader?.connectionEnded("\(error)") {
            perform(action)
        }
    }
}

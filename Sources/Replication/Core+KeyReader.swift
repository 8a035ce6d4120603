internal import Bytes
internal import DragonflySource
internal import Reactor
internal import Wire

/// The connection that reads keys from the source for the repair list.
extension Core {
    private static let readerRingBytes = 1 << 20
    private static let readerFailuresLimit = 5
    private static let readerPauseMilliseconds: Int64 = 1_000

    /// Asks for the next key, once every flow of this core knows its LSN.
    func readNextKey() {
        guard !isLeaving, flows.allSatisfy({ $0.routedLSN > 0 }), readingRepair == nil else {
            return
        }
        guard let socket = readerSocket else {
            if nowMilliseconds >= readerNotBefore { openReader() }
            return
        }
        guard reader?.phase == .idle, let index = nextToRead() else { return }
        readingRepair = index
        let repair = repairs[index]
        let action = repair.key.withByteView { key in
            let name = targetName(repair.database, key)
            return reader?.read(
                database: repair.database, key: key, flow: repair.flow,
                neverInPieces: journalWriter.elementExpiries.contains(
                    database: name.database, key: name.key),
                now: nowMilliseconds, output: &socket.output)
        }
        perform(action ?? .none)
        reactor.markDirty(socket)
    }

    private func nextToRead() -> Int? {
        while let index = repairs.nextToRead(now: nowMilliseconds) {
            guard repairs[index].attempts >= RepairList.attemptsLimit else { return index }
            giveUpRepair(
                index,
                "it was written while it was read, \(RepairList.attemptsLimit) times; stop its "
                    + "writers and run again")
        }
        return nil
    }

    private func openReader() {
        do throws(SystemError) {
            let socket = try Socket(
                connectingTo: sourceAddress, role: Role.reader, inputBytes: Core.readerRingBytes,
                outputBytes: Core.readerRingBytes)
            reader = try KeyReader(
                KeyReaderSettings(
                    credentials: settings.controlSettings.credentials,
                    limitBytes: settings.heldBytesLimit),
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
            if consumed > 0 {
                // A large value takes its time.
                repairProgressAt = nowMilliseconds
                continue
            }
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
        readerFailures = 0
        // The end of the run has given it up.
        guard let index = readingRepair else { return }
        readingRepair = nil
        switch reading.outcome {
        case .refused(let text)
        where (text.hasPrefix("LOADING") || text.hasPrefix("BUSY"))
            && repairs[index].attempts < RepairList.attemptsLimit:
            repairs.retry(index, now: nowMilliseconds)
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
            repairs.wasRead(
                index, before: reading.before, after: reading.after, value: value,
                now: nowMilliseconds)
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
    func leaveReader() {
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

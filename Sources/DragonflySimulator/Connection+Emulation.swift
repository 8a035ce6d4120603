import Bytes
import CPlatform

/// The data commands and the orders of an operator that only an emulated master obeys.
extension Connection {
    /// Answers an ordinary command from the emulated master's data.
    func answer(_ name: String, _ words: [[UInt8]], by content: EmulatedContent) -> Reply {
        switch name {
        case "MULTI":
            guard transaction == nil else { return .error("ERR MULTI calls can not be nested") }
            transaction = []
            return .ok
        case "EXEC":
            guard let commands = transaction else { return .error("ERR EXEC without MULTI") }
            transaction = nil
            return reply { () throws(EmulationError) in
                .passed(try content.execute(transaction: commands, database: database))
            }
        case "DISCARD":
            guard transaction != nil else { return .error("ERR DISCARD without MULTI") }
            transaction = nil
            return .ok
        case "WATCH", "UNWATCH": return .ok
        case "SELECT": return select(words)
        case "WAIT": return wait(words, by: content)
        case "DUMP":
            if let refusal = busyReply() { return refusal }
        default: break
        }
        if transaction != nil {
            transaction?.append(words)
            return .simple("QUEUED")
        }
        return reply { () throws(EmulationError) in
            .passed(try content.execute(words, database: database))
        }
    }

    private func busyReply() -> Reply? {
        master.state.update { state in
            guard state.busyReads < master.options.busyReads else { return nil }
            state.busyReads += 1
            return state.busyReads % 2 == 1
                ? .error("LOADING Dragonfly is loading the dataset in memory")
                : .error("BUSY Redis is busy running a script")
        }
    }

    private func reply(_ body: () throws(EmulationError) -> Reply) -> Reply {
        do {
            return try body()
        } catch {
            if error != .shuttingDown { master.record(.masterFailed(error.description)) }
            closeSoon()
            return .error("ERR \(error)")
        }
    }

    private func select(_ words: [[UInt8]]) -> Reply {
        guard words.count == 2 else { return .wrongArguments("SELECT") }
        guard let index = Int(String(decoding: words[1], as: UTF8.self)) else { return .notInteger }
        guard (0..<Keyspace.databaseCount).contains(index) else {
            return .error("ERR DB index is out of range")
        }
        database = index
        return .ok
    }

    /// `CLIENT PAUSE milliseconds [WRITE | ALL]`; without an emulated master nobody writes.
    func pause(_ arguments: [String]) -> Reply {
        guard let milliseconds = arguments.first.flatMap({ Int($0) }), milliseconds >= 0 else {
            return .error("ERR timeout is not an integer or out of range")
        }
        let mode = arguments.count > 1 ? arguments[1].uppercased() : "ALL"
        guard mode == "WRITE" || mode == "ALL" else { return .syntaxError }
        (master.content as? EmulatedContent)?.pause(
            milliseconds: milliseconds, reads: mode == "ALL")
        return .ok
    }

    /// `DFLY EXPIRE`: deletes all expired keys.
    func expireAll() -> Reply {
        guard let content = master.content as? EmulatedContent else { return .ok }
        return reply { () throws(EmulationError) in
            try content.expire(limit: .max)
            return .ok
        }
    }

    /// `WAIT replicas milliseconds`, from 1.40 on: a PING entry on every flow, then ACKs
    /// (protocol.md 5.8).
    private func wait(_ words: [[UInt8]], by content: EmulatedContent) -> Reply {
        guard content.options.release.number >= 1040 else {
            return .error("ERR unknown command `WAIT`")
        }
        let numbers = words.dropFirst().compactMap { Int(String(decoding: $0, as: UTF8.self)) }
        guard numbers.count == 2, words.count == 3, numbers.allSatisfy({ $0 >= 0 }) else {
            return .notInteger
        }
        return reply { () throws(EmulationError) in
            let wanted = try content.ping()
            let limit = numbers[1] == 0 ? nil : deadline(afterMilliseconds: numbers[1])
            func count(_ state: MasterState) -> Int {
                state.sessions.values.filter { $0.phase == .stable && $0.hasAcknowledged(wanted) }
                    .count
            }
            let reached: Int? = master.state.wait(until: limit) { state in
                let count = count(state)
                return count >= numbers[0] || state.isStopping ? count : nil
            }
            return .integer(Int64(reached ?? master.state.read(count)))
        }
    }

    /// `DFLY TAKEOVER seconds [SAVE] SYNCn` (protocol.md 2.9).
    func takeOver(_ arguments: [String]) -> Reply {
        guard let content = master.content as? EmulatedContent else { return .syntaxError }
        guard (2...3).contains(arguments.count), let seconds = Int(arguments[0]) else {
            return .syntaxError
        }
        if arguments.count == 3, arguments[1].uppercased() != "SAVE" { return .syntaxError }
        guard seconds >= 0 else { return .error("ERR timeout is negative") }
        let session: Int
        switch master.state.read({ $0.lookUp(sessionId: arguments[arguments.count - 1]) }) {
        case .badId: return .error("ERR bad sync id")
        case .unknown: return .error("ERR syncid not found")
        case .found(let found):
            guard found.phase == .stable else { return .invalidState }
            session = found.number
        }
        return reply { () throws(EmulationError) in
            let wanted = try content.beginTakeover()
            let limit = deadline(afterMilliseconds: seconds * 1000)
            let converged: Bool? = master.state.wait(until: limit) { state in
                guard let found = state.sessions[session], found.phase == .stable else {
                    return false
                }
                return found.hasAcknowledged(wanted) ? true : nil
            }
            guard converged == true else {
                content.endTakeover()
                return .error("ERR Takeover failed!")
            }
            send(.ok)
            master.shutDown()
            closeSoon()
            return .ok
        }
    }
}

extension Session {
    /// Every flow has acknowledged its LSN of `wanted` or more.
    fileprivate func hasAcknowledged(_ wanted: [UInt64]) -> Bool {
        zip(flows, wanted).allSatisfy { ($0?.lastAcknowledged ?? 0) >= $1 }
    }
}

import Bytes

/// Random traffic on an emulated master.
extension SimulatorServer {
    /// Executes one step of a random traffic.
    @discardableResult
    public func execute(_ step: RandomTraffic.Step) throws(EmulationError) -> SimulatorReply {
        switch step {
        case .command(let words, let database), .malformed(let words, let database):
            return try execute(words, database: database)
        case .transaction(let commands, let database):
            return try execute(transaction: commands, database: database)
        case .memcached(let words):
            guard let command = MemcachedCommand(words) else {
                throw EmulationError(description: "not a command of memcached")
            }
            return SimulatorReply(try emulatedContent.execute(memcached: command))
        }
    }

    /// Deletes a key as a master does that has no memory left (protocol.md 5.10); false if there
    /// was none.
    @discardableResult
    public func evict(_ key: [UInt8], database: Int = 0) throws(EmulationError) -> Bool {
        try emulatedContent.evict(KeyName(database: database, key: key)) == .integer(1)
    }
}

extension MemcachedCommand {
    /// The forms of `RandomTraffic.Step.memcached`; nil for any other.
    fileprivate init?(_ words: [[UInt8]]) {
        func number(_ index: Int) -> Int64? {
            index < words.count ? words[index].withByteView { $0.parseInteger() } : nil
        }
        guard words.count >= 3 else { return nil }
        let key = words[1]
        switch String(decoding: words[0], as: UTF8.self) {
        case "incr":
            guard let delta = number(2), delta >= 0 else { return nil }
            self = .increment(key: key, delta: UInt64(delta))
        case "decr":
            guard let delta = number(2), delta >= 0 else { return nil }
            self = .decrement(key: key, delta: UInt64(delta))
        case "append": self = .append(key: key, value: words[2])
        case "prepend": self = .prepend(key: key, value: words[2])
        case "touch":
            guard let moment = number(2) else { return nil }
            self = .touch(key: key, expiryMilliseconds: moment)
        case "set" where words.count == 5:
            guard let flags = number(2).flatMap({ UInt32(exactly: $0) }), let moment = number(3)
            else { return nil }
            self = .set(key: key, value: words[4], flags: flags, expiryMilliseconds: moment)
        default: return nil
        }
    }
}

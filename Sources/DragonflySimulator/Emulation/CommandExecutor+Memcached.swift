/// What clients of the memcached port do (protocol.md 6.3, 6.8).
enum MemcachedCommand {
    /// `expiryMilliseconds` is absolute, 0 for none.
    case set(key: [UInt8], value: [UInt8], flags: UInt32, expiryMilliseconds: Int64)
    case increment(key: [UInt8], delta: UInt64)
    case decrement(key: [UInt8], delta: UInt64)
    case append(key: [UInt8], value: [UInt8])
    case prepend(key: [UInt8], value: [UInt8])
    case touch(key: [UInt8], expiryMilliseconds: Int64)
    case flush
}

extension CommandExecutor {
    /// Executes a command of a memcached client in database 0. The reply is the number of `incr` and
    /// `decr`, null for a missing key, else OK.
    func execute(memcached command: MemcachedCommand) throws(EmulationError) -> Execution {
        begin()
        let reply: TargetReply
        switch command {
        case .set(let key, let value, let flags, let moment):
            var words = [text("SET"), key, value]
            if moment != 0 { words += [text("PXAT"), decimal(moment)] }
            if flags != 0 { words += [text("_MCFLAGS"), decimal(flags)] }
            reply = try run(words, database: 0)
        case .increment(let key, let delta): reply = try add(key, delta, isIncrement: true)
        case .decrement(let key, let delta): reply = try add(key, delta, isIncrement: false)
        case .append(let key, let value):
            reply = try run([text("APPEND"), key, value], database: 0)
        case .prepend(let key, let value):
            reply = try run([text("PREPEND"), key, value], database: 0)
        case .touch(let key, let moment):
            let words =
                moment == 0
                ? [text("PERSIST"), key] : [text("PEXPIREAT"), key, decimal(moment)]
            reply = try run(words, database: 0)
        case .flush: reply = try run([text("FLUSHDB")], database: 0)
        }
        return Execution(reply: reply, entries: entries)
    }

    /// `incr` and `decr`: recorded without the delta (6.8).
    private func add(
        _ key: [UInt8], _ delta: UInt64, isIncrement: Bool
    ) throws(EmulationError) -> TargetReply {
        guard let rule = CommandRule.find(text(isIncrement ? "INCR" : "DECR")) else { return .null }
        var call = CommandCall(
            words: [rule.name, key], rule: rule, database: 0, keyPositions: [1])
        call.flows = [flow(of: key)]
        try access(call)
        let old = try keyspace.call([text("GET"), key], database: 0)
        if old == .null || old.isError { return old }
        guard let value = UInt64(String(decoding: old.bytes ?? [], as: UTF8.self)) else {
            return .error(text("ERR value is not an integer or out of range"))
        }
        try announce(call)
        let new = isIncrement ? value &+ delta : value - min(delta, value)
        _ = try keyspace.require(
            [text("SET"), key, decimal(new), text("KEEPTTL")], database: 0)
        recordSlices(&call)
        return .bulk(decimal(new))
    }
}

/// Reading commands: the server answers, with the times that a Dragonfly knows.
extension CommandExecutor {
    /// Executes a reading command. It may write entries: of keys that it finds expired.
    func read(_ call: CommandCall) throws(EmulationError) -> TargetReply {
        try access(call)
        switch call.rule.behaviour {
        case .readTime: return try readTime(call)
        case .readHyperLogLog:
            // For a single key Redis would keep the result inside the value.
            let words = call.keys.count == 1 ? call.words + [call.key] : call.words
            return try keyspace.call(words, database: call.database)
        case .dump:
            guard let stored = try keyspace.stored(call.name) else { return .null }
            return .bulk(try encoder.dump(stored))
        case .type:
            if let type = keyspace.foreignKeys[call.name] { return .simple(text(type.rawValue)) }
            return try keyspace.call(call.words, database: call.database)
        case .exists:
            let reply = try keyspace.call(call.words, database: call.database)
            guard case .integer(let count) = reply else { return reply }
            let foreign = call.keys.filter { keyspace.isNameOnly(call.name($0)) }
            return .integer(count + Int64(foreign.count))
        case .fieldTimeToLive: return try fieldTimeToLive(call)
        default:
            return try keyspace.call(withoutBlocking(call.words), database: call.database)
        }
    }

    private func withoutBlocking(_ words: [[UInt8]]) -> [[UInt8]] {
        guard words[0] == text("XREAD"),
            let block = words.firstIndex(where: { $0.isWord("BLOCK") }), block + 1 < words.count
        else { return words }
        return Array(words[..<block] + words[(block + 2)...])
    }

    private func readTime(_ call: CommandCall) throws(EmulationError) -> TargetReply {
        let reply = try keyspace.call(call.words, database: call.database)
        guard let moment = keyspace.details[call.name]?.expiryMilliseconds, moment != 0,
            case .integer(let time) = reply, time >= 0
        else { return reply }
        let left = moment - keyspace.clock()
        return switch call.words[0] {
        case text("TTL"): .integer((left + 500) / 1000)
        case text("PTTL"): .integer(left)
        case text("EXPIRETIME"): .integer((moment + 500) / 1000)
        default: .integer(moment)
        }
    }

    /// FIELDTTL key element: seconds; -1 without an expiry, -2 without the key, -3 without the
    /// element.
    private func fieldTimeToLive(_ call: CommandCall) throws(EmulationError) -> TargetReply {
        let element = call.words[2]
        let type = try keyspace.require([text("TYPE"), call.key], database: call.database)
        let command: String
        switch type.bytes ?? [] {
        case text("none"): return .integer(-2)
        case text("hash"): command = "HEXISTS"
        case text("set"): command = "SISMEMBER"
        default: return .wrongType
        }
        let found = try keyspace.require(
            [text(command), call.key, element], database: call.database)
        guard found == .integer(1) else { return .integer(-3) }
        guard let moment = keyspace.details[call.name]?.elementExpiries[element] else {
            return .integer(-1)
        }
        return .integer(moment - keyspace.clock() / 1000)
    }
}

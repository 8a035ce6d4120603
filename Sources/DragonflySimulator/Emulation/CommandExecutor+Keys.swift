import Bytes

/// Commands of keys of any type (protocol.md 6.4).
extension CommandExecutor {
    /// Up to v1.39 recorded with all keys and the name as issued, then as DEL of those that
    /// existed.
    func delete(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let keys = call.keys
        try announce(call)
        let replies = try keyspace.call(
            keys.map { [text("DEL"), $0] }, database: call.database)
        var deleted: [[UInt8]] = []
        for (key, reply) in zip(keys, replies) {
            let name = call.name(key)
            let isForeign = keyspace.foreignKeys[name] != nil
            guard reply == .integer(1) || isForeign else { continue }
            keyspace.setForeign(name, nil)
            keyspace.forgetDetails(name)
            deleted.append(key)
        }
        if release.number < 1040 {
            recordSlices(&call)
        } else {
            for flow in call.flows {
                let own = deleted.filter { self.flow(of: $0) == flow }
                if !own.isEmpty { record([text("DEL")] + own, &call, flow: flow) }
            }
        }
        return .integer(Int64(deleted.count))
    }

    /// DELEX key [IFEQ|IFNE value]. Without a condition DEL is recorded, too (6.3).
    func deleteConditionally(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let words = call.words
        let isConditional = words.count == 4
        if isConditional {
            guard words[2].isWord("IFEQ") || words[2].isWord("IFNE") else {
                return .error(text("ERR the emulated master has no digests of values"))
            }
        } else if words.count != 2 {
            return .syntaxError
        }
        guard try exists(call.key, call) else { return .integer(0) }
        if isConditional {
            let value = try keyspace.call([text("GET"), call.key], database: call.database)
            if value.isError { return value }
            let isWanted = (value.bytes == words[3]) == words[2].isWord("IFEQ")
            if !isWanted {
                recordSlices(&call)
                return .integer(0)
            }
        }
        try announce(call)
        _ = try keyspace.require([text("DEL"), call.key], database: call.database)
        keyspace.forgetDetails(call.name)
        if !isConditional { record([text("DEL"), call.key], &call) }
        recordSlices(&call)
        return .integer(1)
    }

    // MARK: - Expiry

    /// EXPIRE and its like are recorded as PEXPIREAT, or DEL if the time has passed.
    func expire(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let name = String(decoding: call.words[0], as: UTF8.self)
        guard let number = call.words[2].integer else { return .notInteger }
        let limit = Int64.max / 2000
        let factor: Int64 = name.hasPrefix("P") ? 1 : 1000
        let start = name.hasSuffix("AT") ? 0 : keyspace.clock()
        let moment = limited(start + min(max(number, -limit), limit) * factor)
        let current = keyspace.details[call.name]?.expiryMilliseconds ?? 0
        var isWanted = true
        for option in call.words[3...] {
            if option.isWord("NX") {
                isWanted = isWanted && current == 0
            } else if option.isWord("XX") {
                isWanted = isWanted && current != 0
            } else if option.isWord("GT") {
                isWanted = isWanted && current != 0 && moment > current
            } else if option.isWord("LT") {
                isWanted = isWanted && (current == 0 || moment < current)
            } else {
                let shown = String(decoding: option, as: UTF8.self)
                return .error(text("ERR Unsupported option: \(shown)"))
            }
        }
        guard isWanted else { return .integer(0) }
        try announce(call)
        let isPast = moment <= keyspace.clock()
        let words =
            isPast
            ? [text("DEL"), call.key]
            : [text("PEXPIREAT"), call.key, decimal(moment + Keyspace.expiryShift)]
        let reply = try keyspace.require(words, database: call.database)
        guard reply == .integer(1) else { return reply }
        if isPast {
            keyspace.forgetDetails(call.name)
            record(words, &call)
        } else {
            keyspace.changeDetails(call.name) { $0.expiryMilliseconds = moment }
            record([text("PEXPIREAT"), call.key, decimal(moment)], &call)
        }
        return reply
    }

    // MARK: - From one key to another

    /// On one shard as it is; across shards DEL of the old and RESTORE of the new key.
    func rename(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let (source, target) = (call.keys[0], call.keys[1])
        let isOnlyIfAbsent = call.words[0] == text("RENAMENX")
        if source == target {
            guard try exists(source, call) else { return .error(text("ERR no such key")) }
            return isOnlyIfAbsent ? .integer(0) : .ok
        }
        try announce(call)
        let reply = try keyspace.call(call.words, database: call.database)
        guard !reply.isError, reply != .integer(0) else { return reply }
        keyspace.setDetails(call.name(target), keyspace.details[call.name(source)] ?? KeyDetails())
        keyspace.forgetDetails(call.name(source))
        if call.flows.count == 1 {
            recordSlices(&call)
        } else {
            // Only the payload goes to the other shard, and the flags are not in it.
            keyspace.changeDetails(call.name(target)) { $0.memcachedFlags = nil }
            record([text("DEL"), source], &call)
            try recordRestore(target, &call)
        }
        return reply
    }

    /// COPY is recorded as RESTORE.
    func copy(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let (source, target) = (call.keys[0], call.keys[1])
        guard call.words.count == 3 || (call.words.count == 4 && call.words[3].isWord("REPLACE"))
        else { return .syntaxError }
        try announce(call, [target])
        let reply = try keyspace.call(call.words, database: call.database)
        guard reply == .integer(1) else { return reply }
        var details = keyspace.details[call.name(source)] ?? KeyDetails()
        details.memcachedFlags = nil
        keyspace.setDetails(call.name(target), details)
        call.hasSteps = true
        try recordRestore(target, &call)
        return release.number <= 1030 ? .ok : reply
    }

    /// Records a key as RESTORE with what DUMP answers.
    private func recordRestore(
        _ key: [UInt8], _ call: inout CommandCall
    ) throws(EmulationError) {
        guard let stored = try keyspace.stored(call.name(key)) else {
            throw EmulationError(description: "the emulated key \(quoted(key)) has vanished")
        }
        var words = [
            text("RESTORE"), key, decimal(stored.expiryMilliseconds), try encoder.dump(stored),
            text("REPLACE"), text("ABSTTL"),
        ]
        if stored.isSticky { words.append(text("STICK")) }
        record(words, &call)
    }

    /// Recorded even when nothing was moved.
    func move(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        guard let number = call.words[2].integer,
            (0..<Int64(Keyspace.databaseCount)).contains(number)
        else { return .error(text("ERR DB index is out of range")) }
        let target = KeyName(database: Int(number), key: call.key)
        try access(target)
        try willChange([call.name, target])
        let reply = try keyspace.call(call.words, database: call.database)
        guard !reply.isError else { return reply }
        if reply == .integer(1) {
            keyspace.setDetails(target, keyspace.details[call.name] ?? KeyDetails())
            keyspace.forgetDetails(call.name)
        }
        call.hasSteps = true
        recordSlices(&call)
        return reply
    }

    /// RESTORE of a user is recorded as it is: with a relative time if it was one.
    func restore(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        guard let time = call.words[2].integer, time >= 0 else {
            return .error(text("ERR Invalid TTL value, must be >= 0"))
        }
        let options = call.words.dropFirst(4)
        let isAbsolute = options.contains { $0.isWord("ABSTTL") }
        let replaces = options.contains { $0.isWord("REPLACE") }
        var moment: Int64 = 0
        if time > 0 {
            let start = isAbsolute ? 0 : keyspace.clock()
            moment = limited(start + min(time, Int64.max / 2))
        }
        let isPast = moment != 0 && moment <= keyspace.clock()
        let shifted = moment == 0 ? 0 : moment + Keyspace.expiryShift
        var words = [text("RESTORE"), call.key, decimal(shifted), call.words[3], text("ABSTTL")]
        words += options.filter { !$0.isWord("ABSTTL") && !$0.isWord("STICK") }
        try announce(call)
        let reply = try keyspace.call(words, database: call.database)
        guard !reply.isError else { return reply }
        if isPast {
            _ = try keyspace.require([text("DEL"), call.key], database: call.database)
            keyspace.forgetDetails(call.name)
        } else {
            var details = KeyDetails(expiryMilliseconds: moment)
            details.isSticky =
                options.contains { $0.isWord("STICK") }
                || (replaces && keyspace.details[call.name]?.isSticky ?? false)
            keyspace.setDetails(call.name, details)
        }
        recordSlices(&call)
        return reply
    }

    // MARK: - Others

    /// STICK: the reply is how many keys have become sticky.
    func stick(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let keys = call.keys
        try announce(call)
        let replies = try keyspace.call(
            keys.map { [text("EXISTS"), $0] }, database: call.database)
        var count = 0
        for (key, reply) in zip(keys, replies) where reply == .integer(1) {
            let name = call.name(key)
            if keyspace.details[name]?.isSticky ?? false { continue }
            keyspace.changeDetails(name) { $0.isSticky = true }
            count += 1
        }
        recordSlices(&call)
        return .integer(Int64(count))
    }

    /// SHRINK changes no data.
    func shrink(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        guard try exists(call.key, call) else { return .integer(0) }
        recordSlices(&call)
        return .integer(1)
    }

    /// Recorded as it is even without STORE, because it is flagged as a write; across shards as its
    /// two keys and nothing else (6.8). A missing key leaves the destination alone.
    func sort(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let stores = call.keys.count == 2
        let hasPattern = call.words.dropFirst(2).contains { $0.isWord("BY") || $0.isWord("GET") }
        if release.number <= 1030, stores || hasPattern { return .syntaxError }
        guard try exists(call.key, call) else { return stores ? .integer(0) : .array([]) }
        if stores { try announce(call, [call.keys[1]]) }
        let reply = try keyspace.call(call.words, database: call.database)
        guard !reply.isError else { return reply }
        if stores {
            keyspace.forgetDetails(call.name(call.keys[1]))
            call.hasSteps = true
        }
        recordSlices(&call)
        return reply
    }

    /// On all flows, under one transaction id (protocol.md 5.7).
    func flush(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        guard
            call.words.count == 1
                || (call.words.count == 2
                    && (call.words[1].isWord("ASYNC") || call.words[1].isWord("SYNC")))
        else { return .syntaxError }
        let database = call.words[0] == text("FLUSHDB") ? call.database : nil
        try willFlush(database)
        _ = try keyspace.require(call.words, database: call.database)
        keyspace.forgetAll(database: database)
        call.flows = Array(0..<flowCount)
        call.hasSteps = true
        for flow in call.flows { record(call.words, &call, flow: flow) }
        return .ok
    }

    /// DFLYCLUSTER FLUSHSLOTS first last ...: on all flows, with no transaction id, and of database 0
    /// only (protocol.md 5.7).
    func flushSlots(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let numbers = call.words.dropFirst(2).compactMap {
            Int(String(decoding: $0, as: UTF8.self))
        }
        guard call.words[1].isWord("FLUSHSLOTS"), numbers.count == call.words.count - 2,
            numbers.count % 2 == 0, numbers.allSatisfy({ (0..<16384).contains($0) })
        else { return .syntaxError }
        for name in try keyspace.allKeys() where name.database == 0 {
            let slot = name.key.withByteView { $0.keySlot() }
            let isFlushed = stride(from: 0, to: numbers.count, by: 2).contains {
                numbers[$0] <= slot && slot <= numbers[$0 + 1]
            }
            if isFlushed { try removeKey(name, isRecorded: false) }
        }
        call.flows = Array(0..<flowCount)
        call.transaction = 0
        for flow in call.flows { record(call.words, &call, flow: flow) }
        return .ok
    }
}

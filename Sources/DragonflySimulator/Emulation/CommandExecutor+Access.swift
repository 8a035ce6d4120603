/// Elements that the access to a key has found expired.
struct RemovedElements {
    var name: KeyName
    var isSet: Bool
    var elements: [[UInt8]]
}

/// What happens to keys when commands touch them: expiry, and the end of empty ones.
extension CommandExecutor {
    /// Deletes what has expired of a call's keys, as every access does (protocol.md 5.10).
    func access(_ call: CommandCall) throws(EmulationError) {
        for key in call.keys { try access(call.name(key)) }
    }

    /// Deletes a key if it has expired, and its elements that have. Keys go with an entry in the
    /// journal, elements silently unless they were the last.
    func access(_ name: KeyName) throws(EmulationError) {
        guard let details = keyspace.details[name] else { return }
        let now = keyspace.clock()
        if details.isExpired(at: now) {
            try removeKey(name)
            return
        }
        let elements = details.expiredElements(at: now)
        if elements.isEmpty { return }
        try willChange([name])
        let type = try keyspace.removeElements(elements, of: name)
        removedElements = RemovedElements(
            name: name, isSet: type == text("set"), elements: elements)
        keyspace.changeDetails(name) { details in
            for element in elements { details.elementExpiries[element] = nil }
        }
        if try forgetIfGone([name.key], database: name.database) {
            removedElements = nil
            recordDeletion(name)
        }
    }

    /// Deletes a key that has expired or is evicted, and records that.
    func removeKey(_ name: KeyName, isRecorded: Bool = true) throws(EmulationError) {
        try willChange([name])
        _ = try keyspace.require([text("DEL"), name.key], database: name.database)
        keyspace.forgetDetails(name)
        keyspace.setForeign(name, nil)
        if isRecorded { recordDeletion(name) }
    }

    /// Runs a command on the server. Keys of the call that are gone afterwards, because it took
    /// their last element, are forgotten.
    func perform(_ words: [[UInt8]], _ call: CommandCall) throws(EmulationError) -> TargetReply {
        try perform([words], call)[0]
    }

    /// The same for several commands; a reply for each.
    func perform(
        _ commands: [[[UInt8]]], _ call: CommandCall
    ) throws(EmulationError) -> [TargetReply] {
        let known = call.keys.filter { keyspace.details[call.name($0)] != nil }
        let checks = known.map { [text("EXISTS"), $0] }
        let replies = try keyspace.call(commands + checks, database: call.database)
        for (key, reply) in zip(known, replies.dropFirst(commands.count))
        where reply == .integer(0) {
            keyspace.forgetDetails(call.name(key))
        }
        return Array(replies.prefix(commands.count))
    }

    /// Forgets those of the keys that do not exist; returns whether one was so.
    @discardableResult
    func forgetIfGone(_ keys: [[UInt8]], database: Int) throws(EmulationError) -> Bool {
        let replies = try keyspace.call(keys.map { [text("EXISTS"), $0] }, database: database)
        var isOneGone = false
        for (key, reply) in zip(keys, replies) where reply == .integer(0) {
            keyspace.forgetDetails(KeyName(database: database, key: key))
            isOneGone = true
        }
        return isOneGone
    }

    /// Whether a key is there.
    func exists(_ key: [UInt8], _ call: CommandCall) throws(EmulationError) -> Bool {
        try keyspace.require([text("EXISTS"), key], database: call.database) == .integer(1)
    }

    /// Removes elements from what is known of a key, because they were overwritten or taken out.
    func forgetElements(_ elements: some Sequence<[UInt8]>, of name: KeyName) {
        guard let details = keyspace.details[name], !details.elementExpiries.isEmpty else { return }
        keyspace.changeDetails(name) { details in
            for element in elements { details.elementExpiries[element] = nil }
        }
    }

    /// A key got a new value that has no expiry, as by SET: only stickiness remains.
    func keepOnlyStickiness(_ name: KeyName) {
        guard let details = keyspace.details[name] else { return }
        keyspace.setDetails(name, KeyDetails(isSticky: details.isSticky))
    }
}

extension TargetReply {
    /// What Dragonfly answers often.
    static let ok = TargetReply.simple(text("OK"))
    static let syntaxError = TargetReply.error(text("ERR syntax error"))
    static let notInteger = TargetReply.error(
        text("ERR value is not an integer or out of range"))
    static let wrongType = TargetReply.error(
        text("WRONGTYPE Operation against a key holding the wrong kind of value"))

    /// Whether this is an error reply.
    var isError: Bool {
        if case .error = self { true } else { false }
    }

    /// The elements of an array; nil for anything else.
    var elements: [TargetReply]? {
        if case .array(let elements) = self { elements } else { nil }
    }
}

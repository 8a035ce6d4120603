import Bytes

/// Lists, sets, sorted sets (protocol.md 6.5).
extension CommandExecutor {
    // MARK: - Lists

    /// LMOVE and its relatives are recorded as a pop and a push; up to v1.33 as LMOVE where both keys
    /// lie on one shard.
    func moveElement(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let (source, target) = (call.keys[0], call.keys[1])
        let isDirected = call.words[0].contains(UInt8(ascii: "M"))
        let from = isDirected ? call.words[3].map(asciiUppercased) : text("RIGHT")
        let to = isDirected ? call.words[4].map(asciiUppercased) : text("LEFT")
        guard [from, to].allSatisfy({ $0 == text("LEFT") || $0 == text("RIGHT") }) else {
            return .syntaxError
        }
        try announce(call)
        let words = [text("LMOVE"), source, target, from, to]
        let reply = try perform(words, call)
        guard let element = reply.bytes else { return reply }
        if call.flows.count == 1, release.number <= 1033 {
            record(words, &call)
        } else {
            record([text(from == text("LEFT") ? "LPOP" : "RPOP"), source], &call)
            record([text(to == text("LEFT") ? "LPUSH" : "RPUSH"), target, element], &call)
        }
        return reply
    }

    /// BLPOP, BRPOP, BZPOPMIN, BZPOPMAX: one element of the first key that has one. They do not wait.
    func popBlocking(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let name = text(String(decoding: call.words[0].dropFirst(), as: UTF8.self))
        for key in call.keys {
            let isThere = try exists(key, call)
            if !isThere { continue }
            try announce(call, [key])
            let reply = try perform([name, key], call)
            if reply.isError { return reply }
            record([name, key], &call)
            return .array([.bulk(key)] + (reply.elements ?? [reply]))
        }
        return .null
    }

    /// LMPOP, ZMPOP and their blocking forms. LMPOP forgets its COUNT in the journal (6.8). Up to
    /// v1.33 the non-blocking ones are recorded as they are, or as their keys.
    func popMany(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let isList = [text("LMPOP"), text("BLMPOP")].contains(call.words[0])
        let isBlocking = call.words[0].first == UInt8(ascii: "B")
        let options = call.words[(call.keyPositions.last ?? 0) + 1..<call.words.count]
        guard let side = options.first, options.count == 1 || options.count == 3 else {
            return .syntaxError
        }
        let isFirst = side.isWord(isList ? "LEFT" : "MIN")
        guard isFirst || side.isWord(isList ? "RIGHT" : "MAX") else { return .syntaxError }
        var count: Int64 = 1
        if options.count == 3 {
            guard options[options.startIndex + 1].isWord("COUNT"),
                let number = options[options.startIndex + 2].integer, number > 0
            else { return .syntaxError }
            count = number
        }
        let name: [UInt8] =
            isList ? text(isFirst ? "LPOP" : "RPOP") : text(isFirst ? "ZPOPMIN" : "ZPOPMAX")
        for key in call.keys {
            let isThere = try exists(key, call)
            if !isThere { continue }
            try announce(call, [key])
            let reply = try perform([name, key, decimal(count)], call)
            if reply.isError { return reply }
            call.hasSteps = true
            if release.number <= 1033, !isBlocking {
                recordSlices(&call)
            } else {
                record(isList ? [name, key] : [name, key, decimal(count)], &call)
            }
            return .array([.bulk(key), isList ? reply : scored(reply)])
        }
        return .null
    }

    /// Members and scores in turn, as pairs.
    private func scored(_ reply: TargetReply) -> TargetReply {
        let flat = reply.elements ?? []
        return .array(
            stride(from: 0, to: flat.count - 1, by: 2).map { .array([flat[$0], flat[$0 + 1]]) })
    }

    // MARK: - Sets

    /// SPOP is recorded as what it took: SREM, or DEL of the whole set.
    func popRandom(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        var count: Int64 = 1
        if call.words.count > 2 {
            guard let number = call.words[2].integer, number >= 0 else { return .notInteger }
            count = number
        }
        let size = try keyspace.call([text("SCARD"), call.key], database: call.database)
        guard case .integer(let memberCount) = size else { return size }
        let isSingle = call.words.count == 2
        if memberCount == 0 || count == 0 { return isSingle ? .null : .array([]) }
        try announce(call)
        if count >= memberCount {
            let all = try keyspace.require([text("SMEMBERS"), call.key], database: call.database)
            _ = try keyspace.require([text("DEL"), call.key], database: call.database)
            keyspace.forgetDetails(call.name)
            record([text("DEL"), call.key], &call)
            return isSingle ? .bulk(all.texts?.first ?? []) : all
        }
        var members = chooseMembers?(call.name, Int(count))
        if members == nil {
            members = try keyspace.require(
                [text("SRANDMEMBER"), call.key, decimal(count)], database: call.database
            ).texts
        }
        guard let members else { throw EmulationError(description: "SRANDMEMBER gave no texts") }
        let words = [text("SREM"), call.key] + members
        _ = try keyspace.require(words, database: call.database)
        forgetElements(members, of: call.name)
        record(words, &call)
        return isSingle ? .bulk(members[0]) : .array(members.map { .bulk($0) })
    }

    func moveMember(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let (source, target) = (call.keys[0], call.keys[1])
        let member = call.words[3]
        try announce(call)
        let reply = try perform(call.words, call)
        guard reply == .integer(1), source != target else { return reply }
        forgetElements([member], of: call.name(source))
        call.hasSteps = true
        call.countsFlows = false
        record([text("SREM"), source, member], &call)
        record([text("SADD"), target, member], &call)
        return reply
    }

    /// SINTERSTORE and its like: DEL and SADD of the result; of an empty result, DEL if there was
    /// something.
    func storeSet(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let reply = try store(&call)
        guard reply != .integer(0), !reply.isError else { return reply }
        let result = try keyspace.require([text("SMEMBERS"), call.key], database: call.database)
        record([text("DEL"), call.key], &call)
        // The order of a hash table is nobody's promise; this one is the same in every run.
        let members = (result.texts ?? []).sorted { $0.lexicographicallyPrecedes($1) }
        record([text("SADD"), call.key] + members, &call)
        return reply
    }

    /// Executes a command that replaces its first key by a result, and records the DEL of an empty
    /// one.
    private func store(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        try announce(call, [call.key])
        let check = [text("EXISTS"), call.key]
        let replies = try keyspace.call([check, call.words], database: call.database)
        guard !replies[1].isError else { return replies[1] }
        keyspace.forgetDetails(call.name)
        call.hasSteps = true
        call.countsFlows = false
        if replies[1] == .integer(0), replies[0] == .integer(1) {
            record([text("DEL"), call.key], &call)
        }
        return replies[1]
    }

    /// SADDEX key [KEEPTTL] seconds member...
    func addMembersWithExpiry(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let keepsExpiry = call.words[2].isWord("KEEPTTL")
        let members = Array(call.words[(keepsExpiry ? 4 : 3)...])
        guard !members.isEmpty else { return .syntaxError }
        guard let seconds = elementSeconds(call.words[keepsExpiry ? 3 : 2]), seconds > 0 else {
            return .notInteger
        }
        try announce(call)
        let replies = try keyspace.call(
            [
                [text("SMISMEMBER"), call.key] + members, [text("SADD"), call.key] + members,
            ], database: call.database)
        guard !replies[1].isError else { return replies[1] }
        let present = replies[0].elements ?? []
        let moment = keyspace.clock() / 1000 + seconds
        keyspace.changeDetails(call.name) { details in
            for (member, isPresent) in zip(members, present)
            where !(keepsExpiry && isPresent == .integer(1)) {
                details.elementExpiries[member] = moment
            }
        }
        recordSlices(&call)
        return replies[1]
    }

    /// A number of seconds that an element may live; nil if it is none. Older releases take less than
    /// 2^26 (recorded: v1.30-catalogue refuses 90000000 and 100000000).
    func elementSeconds(_ word: [UInt8]) -> Int64? {
        let limit: Int64 = release.number < 1040 ? 1 << 26 : 1 << 28
        guard let seconds = word.integer, seconds >= 0, seconds < limit else { return nil }
        return seconds
    }

    // MARK: - Sorted sets

    /// ZUNIONSTORE, ZRANGESTORE and their like: DEL and ZADD of the result. Up to v1.33 as they are,
    /// or each shard's keys and nothing else (6.8).
    func storeSortedSet(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        if release.number <= 1033 {
            try announce(call, [call.key])
            let reply = try keyspace.call(call.words, database: call.database)
            guard !reply.isError else { return reply }
            keyspace.forgetDetails(call.name)
            call.hasSteps = true
            recordSlices(&call)
            return reply
        }
        let reply = try store(&call)
        if reply != .integer(0), !reply.isError { try recordSortedSet(call.key, &call) }
        return reply
    }

    /// Records a stored sorted set: DEL and ZADD.
    private func recordSortedSet(
        _ key: [UInt8], _ call: inout CommandCall
    ) throws(EmulationError) {
        let result = try keyspace.require(
            [text("ZRANGE"), key, text("0"), text("-1"), text("WITHSCORES")],
            database: call.database)
        var words = [text("ZADD"), key]
        let flat = result.texts ?? []
        for index in stride(from: 0, to: flat.count - 1, by: 2) {
            guard let score = FloatText.parse(flat[index + 1]) else {
                throw EmulationError(description: "ZRANGE answered a score that is no number")
            }
            words += [FloatText.text(score), flat[index]]
        }
        record([text("DEL"), key], &call)
        record(words, &call)
    }

    func geoRadius(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        guard call.keys.count == 2 else {
            return try keyspace.call(call.words, database: call.database)
        }
        let target = call.keys[1]
        try announce(call, [target])
        let check = [text("EXISTS"), target]
        let replies = try keyspace.call([check, call.words], database: call.database)
        guard !replies[1].isError else { return replies[1] }
        keyspace.forgetDetails(call.name(target))
        call.hasSteps = true
        call.countsFlows = false
        if replies[1] != .integer(0) {
            try recordSortedSet(target, &call)
        } else if replies[0] == .integer(1) {
            record([text("DEL"), target], &call)
        }
        return replies[1]
    }
}

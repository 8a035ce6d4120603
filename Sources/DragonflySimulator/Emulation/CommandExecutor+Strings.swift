/// SET and the other commands of strings that Dragonfly records in its own words (protocol.md 6.3).
extension CommandExecutor {
    /// What SET writes.
    struct SetOperation {
        var key: [UInt8]
        var value: [UInt8]
        /// Absolute, 0 for none.
        var expiryMilliseconds: Int64 = 0
        var keepsExpiry = false
        var isOnlyIfAbsent = false
        var isOnlyIfPresent = false
        var answersOld = false
        var becomesSticky = false
        var memcachedFlags: UInt32?
    }

    /// SET with all its options.
    func set(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        var operation = SetOperation(key: call.words[1], value: call.words[2])
        var index = 3
        while index < call.words.count {
            let option = call.words[index]
            index += 1
            if option.isWord("NX") {
                operation.isOnlyIfAbsent = true
            } else if option.isWord("XX") {
                operation.isOnlyIfPresent = true
            } else if option.isWord("GET") {
                operation.answersOld = true
            } else if option.isWord("KEEPTTL") {
                operation.keepsExpiry = true
            } else if option.isWord("STICK") {
                operation.becomesSticky = true
            } else {
                guard index < call.words.count else { return .syntaxError }
                let argument = call.words[index]
                index += 1
                if option.isWord("_MCFLAGS") {
                    guard let flags = argument.integer.flatMap({ UInt32(exactly: $0) }) else {
                        return .notInteger
                    }
                    operation.memcachedFlags = flags
                } else {
                    switch expiry(option, argument, command: "set") {
                    case .moment(let moment): operation.expiryMilliseconds = moment
                    case .refused(let reply): return reply
                    }
                }
            }
        }
        let isTwice = operation.isOnlyIfAbsent && operation.isOnlyIfPresent
        if isTwice || (operation.keepsExpiry && operation.expiryMilliseconds != 0) {
            return .syntaxError
        }
        return try set(operation, &call)
    }

    /// An expiry that was given in words: absolute milliseconds, or why it is refused.
    enum ParsedExpiry {
        case moment(Int64)
        case refused(TargetReply)
    }

    /// The absolute time that EX, PX, EXAT or PXAT with this argument means.
    func expiry(_ option: [UInt8], _ argument: [UInt8], command: String) -> ParsedExpiry {
        let isSeconds = option.isWord("EX") || option.isWord("EXAT")
        let isRelative = option.isWord("EX") || option.isWord("PX")
        guard isSeconds || isRelative || option.isWord("PXAT") else {
            return .refused(.syntaxError)
        }
        guard let number = argument.integer else { return .refused(.notInteger) }
        guard number > 0, number < Int64.max / 2000 else {
            return .refused(.error(text("ERR invalid expire time in '\(command)' command")))
        }
        let milliseconds = isSeconds ? number * 1000 : number
        return .moment(
            isRelative ? limited(keyspace.clock() + milliseconds) : limited(milliseconds))
    }

    /// Dragonfly takes no expiry later than 2^28 - 1 s from now (protocol.md 9.2).
    func limited(_ moment: Int64) -> Int64 {
        min(moment, keyspace.clock() + ((1 << 28) - 1) * 1000)
    }

    /// SETEX and PSETEX are recorded as SET with PXAT.
    func setWithExpiry(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let isSeconds = call.words[0] == text("SETEX")
        let name = isSeconds ? "setex" : "psetex"
        switch expiry(text(isSeconds ? "EX" : "PX"), call.words[2], command: name) {
        case .refused(let reply): return reply
        case .moment(let moment):
            return try set(
                SetOperation(
                    key: call.key, value: call.words[3], expiryMilliseconds: moment), &call)
        }
    }

    /// Sets a string and records that; one whose time has passed is deleted.
    func set(
        _ operation: SetOperation, _ call: inout CommandCall
    ) throws(EmulationError) -> TargetReply {
        try announce(call)
        let moment = operation.expiryMilliseconds
        let isPast = moment != 0 && moment <= keyspace.clock()
        var words = [text("SET"), operation.key, operation.value]
        if operation.keepsExpiry { words.append(text("KEEPTTL")) }
        if operation.isOnlyIfAbsent { words.append(text("NX")) }
        if operation.isOnlyIfPresent { words.append(text("XX")) }
        if operation.answersOld { words.append(text("GET")) }
        if moment != 0 { words += [text("PXAT"), decimal(moment + Keyspace.expiryShift)] }
        let check = [text("EXISTS"), operation.key]
        let replies = try keyspace.call(isPast ? [check, words] : [words], database: call.database)
        let reply = replies[replies.count - 1]
        guard !reply.isError else { return reply }
        let isDone: Bool
        if !operation.answersOld {
            isDone = reply != .null
        } else if operation.isOnlyIfAbsent {
            isDone = reply == .null
        } else {
            isDone = !operation.isOnlyIfPresent || reply != .null
        }
        guard isDone else { return reply }
        if isPast {
            _ = try keyspace.require([text("DEL"), operation.key], database: call.database)
            keyspace.forgetDetails(call.name)
            if replies[0] == .integer(1) { record([text("DEL"), operation.key], &call) }
        } else {
            noteSet(operation, call.name)
            recordSet(operation, &call)
        }
        return reply
    }

    private func noteSet(_ operation: SetOperation, _ name: KeyName) {
        let old = keyspace.details[name]
        var new = KeyDetails(memcachedFlags: operation.memcachedFlags)
        new.expiryMilliseconds =
            operation.keepsExpiry ? old?.expiryMilliseconds ?? 0 : operation.expiryMilliseconds
        new.isSticky = operation.becomesSticky || old?.isSticky ?? false
        keyspace.setDetails(name, new)
    }

    private func recordSet(_ operation: SetOperation, _ call: inout CommandCall) {
        var words = [text("SET"), operation.key, operation.value]
        if operation.expiryMilliseconds != 0 {
            words += [text("PXAT"), decimal(operation.expiryMilliseconds)]
        } else if operation.keepsExpiry {
            words.append(text("KEEPTTL"))
        }
        if operation.becomesSticky { words.append(text("STICK")) }
        if let flags = operation.memcachedFlags { words += [text("_MCFLAGS"), decimal(flags)] }
        record(words, &call)
    }

    /// GETSET takes an expiry away.
    func getSet(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        try announce(call)
        let reply = try perform(call.words, call)
        guard !reply.isError else { return reply }
        keepOnlyStickiness(call.name)
        recordSlices(&call)
        return reply
    }

    /// GETEX is recorded as what it does to the expiry.
    func getExpire(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        guard call.words.count > 2 else {
            return try keyspace.call([text("GET"), call.key], database: call.database)
        }
        let isPersist = call.words.count == 3 && call.words[2].isWord("PERSIST")
        var moment: Int64 = 0
        if !isPersist {
            guard call.words.count == 4 else { return .syntaxError }
            switch expiry(call.words[2], call.words[3], command: "getex") {
            case .moment(let parsed): moment = parsed
            case .refused(let reply): return reply
            }
        }
        try announce(call)
        let reply = try keyspace.call([text("GET"), call.key], database: call.database)
        guard !reply.isError, reply != .null else { return reply }
        if isPersist {
            guard keyspace.details[call.name]?.expiryMilliseconds ?? 0 != 0 else { return reply }
            _ = try keyspace.require([text("PERSIST"), call.key], database: call.database)
            keyspace.changeDetails(call.name) { $0.expiryMilliseconds = 0 }
            record([text("PERSIST"), call.key], &call)
        } else {
            try setExpiry(moment, &call)
        }
        return reply
    }

    /// Gives the call's existing key an expiry and records that; a past one deletes it.
    func setExpiry(_ moment: Int64, _ call: inout CommandCall) throws(EmulationError) {
        if moment <= keyspace.clock() {
            _ = try keyspace.require([text("DEL"), call.key], database: call.database)
            keyspace.forgetDetails(call.name)
            record([text("DEL"), call.key], &call)
            return
        }
        _ = try keyspace.require(
            [text("PEXPIREAT"), call.key, decimal(moment + Keyspace.expiryShift)],
            database: call.database)
        keyspace.changeDetails(call.name) { $0.expiryMilliseconds = moment }
        record([text("PEXPIREAT"), call.key, decimal(moment)], &call)
    }

    /// MSET, slice by slice.
    func multipleSet(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        try announce(call)
        let reply = try perform(call.words, call)
        guard !reply.isError else { return reply }
        for key in call.keys { keepOnlyStickiness(call.name(key)) }
        recordSlices(&call)
        return reply
    }

    /// MSETNX is recorded as MSET, if it stored.
    func multipleSetIfAbsent(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        try announce(call)
        let reply = try perform(call.words, call)
        guard reply == .integer(1) else { return reply }
        call.hasSteps = true
        call.words[0] = text("MSET")
        recordSlices(&call)
        return reply
    }

    /// INCRBYFLOAT, in double precision.
    func incrementFloat(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let old = try keyspace.call([text("GET"), call.key], database: call.database)
        if old.isError { return old }
        guard let start = old == .null ? 0 : FloatText.parse(old.bytes ?? []),
            let increment = FloatText.parse(call.words[2])
        else { return .error(text("ERR value is not a valid float")) }
        let sum = start + increment
        guard sum.isFinite else {
            return .error(text("ERR increment would produce NaN or Infinity"))
        }
        try announce(call)
        let value = FloatText.text(sum)
        _ = try keyspace.require(
            [text("SET"), call.key, value, text("KEEPTTL")], database: call.database)
        recordSlices(&call)
        return .bulk(value)
    }

    /// PREPEND, which a Redis has not.
    func prepend(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let old = try keyspace.call([text("GET"), call.key], database: call.database)
        if old.isError { return old }
        try announce(call)
        let value = call.words[2] + (old.bytes ?? [])
        _ = try keyspace.require(
            [text("SET"), call.key, value, text("KEEPTTL")], database: call.database)
        recordSlices(&call)
        return .integer(Int64(value.count))
    }

    /// BITOP is recorded as SET of its result, or DEL if that is empty.
    func bitOperation(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let target = call.key
        try announce(call, [target])
        let reply = try perform(call.words, call)
        guard !reply.isError else { return reply }
        keepOnlyStickiness(call.name)
        call.hasSteps = true
        call.countsFlows = false
        if reply == .integer(0) {
            keyspace.forgetDetails(call.name)
            record([text("DEL"), target], &call)
        } else {
            let value = try keyspace.require([text("GET"), target], database: call.database)
            record([text("SET"), target, value.bytes ?? []], &call)
        }
        return reply
    }

    /// PFMERGE stores the result on every shard that owns one of its keys, and records it there: on
    /// all but one as ghosts (protocol.md 6.7).
    func mergeHyperLogLogs(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let target = call.key
        try announce(call, [target])
        let reply = try perform(call.words, call)
        guard !reply.isError else { return reply }
        _ = try keyspace.require(
            [text("PFDEBUG"), text("TODENSE"), target], database: call.database)
        let value = try keyspace.require([text("GET"), target], database: call.database)
        let words = [text("SET"), target, value.bytes ?? []]
        // The record takes an expiry away on replicas; so that there is one truth, here, too.
        _ = try keyspace.require(words, database: call.database)
        keepOnlyStickiness(call.name)
        call.hasSteps = true
        call.countsFlows = false
        for flow in call.flows { record(words, &call, flow: flow) }
        let ghostFlows = call.flows.filter { $0 != flow(of: target) }
        if !ghostFlows.isEmpty, var ghost = try keyspace.stored(call.name) {
            ghost.isSticky = false
            for flow in ghostFlows { keyspace.setGhost(ghost, flow: flow) }
        }
        return reply
    }

    /// CL.THROTTLE key burst count period [quantity]: the key holds the moment at which the bucket
    /// is empty again (GCRA), in ms, and expires then.
    func throttle(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let numbers = call.words[2...].map(\.integer)
        guard let burst = numbers[0], let count = numbers[1], let period = numbers[2],
            let quantity = numbers.count > 3 ? numbers[3] : 1, burst >= 0, count > 0, period > 0
        else { return .notInteger }
        let old = try keyspace.call([text("GET"), call.key], database: call.database)
        if old.isError { return old }
        // Dragonfly computes in 64 bits and refuses what does not fit, or is no number.
        let numbersFit = [burst, count, period, quantity].allSatisfy { $0.magnitude < 1 << 20 }
        guard numbersFit,
            old == .null || (old.bytes?.integer).map({ $0.magnitude < 1 << 52 }) == true
        else { return .notInteger }
        let now = keyspace.clock()
        let interval = max(period * 1000 / count, 1)
        let room = interval * (burst + 1)
        let start = max(now, old.bytes?.integer ?? now)
        let end = start + interval * quantity
        let isLimited = end - now > room
        let used = (isLimited ? start : end) - now
        if !isLimited, end > now {
            try announce(call)
            _ = try keyspace.require(
                [
                    text("SET"), call.key, decimal(end), text("PXAT"),
                    decimal(end + Keyspace.expiryShift),
                ], database: call.database)
            keyspace.changeDetails(call.name) { $0.expiryMilliseconds = end }
        }
        recordSlices(&call)
        return .array([
            .integer(isLimited ? 1 : 0), .integer(burst + 1), .integer((room - used) / interval),
            .integer(isLimited ? (end - now - room) / 1000 + 1 : -1), .integer(used / 1000 + 1),
        ])
    }
}

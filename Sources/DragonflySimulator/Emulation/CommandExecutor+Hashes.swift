/// Hashes, and the expiries of their fields and of set members (protocol.md 5.10, 6.6).
extension CommandExecutor {
    /// HSET and HMSET: what they overwrite loses its expiry.
    func setFields(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        try announce(call)
        let reply = try perform(call.words, call)
        guard !reply.isError else { return reply }
        let fields = stride(from: 2, to: call.words.count, by: 2).map { call.words[$0] }
        forgetElements(fields, of: call.name)
        recordSlices(&call)
        return reply
    }

    /// HINCRBYFLOAT, in double precision.
    func incrementFieldFloat(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let field = call.words[2]
        let old = try keyspace.call([text("HGET"), call.key, field], database: call.database)
        if old.isError { return old }
        guard let increment = FloatText.parse(call.words[3]) else {
            return .error(text("ERR value is not a valid float"))
        }
        guard let start = old == .null ? 0 : FloatText.parse(old.bytes ?? []) else {
            return .error(text("ERR hash value is not a float"))
        }
        let sum = start + increment
        guard sum.isFinite else {
            return .error(text("ERR increment would produce NaN or Infinity"))
        }
        try announce(call)
        let value = FloatText.text(sum)
        _ = try keyspace.require([text("HSET"), call.key, field, value], database: call.database)
        recordSlices(&call)
        return .bulk(value)
    }

    // MARK: - HSETEX

    /// Either `HSETEX key [NX] [KEEPTTL] seconds field value...` or, from v1.40 on,
    /// `HSETEX key [FNX|FXX] [EX s|PX ms|EXAT s|PXAT ms|KEEPTTL] FIELDS n field value...`.
    func setFieldsWithExpiry(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let isRedisForm = call.words.dropFirst(2).prefix(4).contains { $0.isWord("FIELDS") }
        if isRedisForm, release.number >= 1040 { return try setFieldsAsRedis(&call) }
        var position = 2
        var isOnlyIfAbsent = false
        var keepsExpiry = false
        while position < call.words.count {
            if call.words[position].isWord("NX") {
                isOnlyIfAbsent = true
            } else if call.words[position].isWord("KEEPTTL") {
                keepsExpiry = true
            } else {
                break
            }
            position += 1
        }
        guard position < call.words.count, let seconds = elementSeconds(call.words[position]),
            seconds > 0
        else { return .notInteger }
        let pairs = Array(call.words[(position + 1)...])
        guard !pairs.isEmpty, pairs.count % 2 == 0 else { return .syntaxError }
        let present: [Bool]
        switch try fieldPresence(stride(from: 0, to: pairs.count, by: 2).map { pairs[$0] }, call) {
        case .refused(let reply): return reply
        case .fields(let found): present = found
        }
        try announce(call)
        var words = [text("HSET"), call.key]
        let moment = keyspace.clock() / 1000 + seconds
        var expiries: [[UInt8]: Int64] = [:]
        // One field after another: given twice, it is there the second time.
        var seen: Set<[UInt8]> = []
        var created: Int64 = 0
        for (index, wasPresent) in present.enumerated() {
            let field = pairs[2 * index]
            let isPresent = !seen.insert(field).inserted || wasPresent
            created += isPresent ? 0 : 1
            guard !(isPresent && isOnlyIfAbsent) else { continue }
            words += pairs[2 * index...2 * index + 1]
            if !(isPresent && keepsExpiry) { expiries[field] = moment }
        }
        if words.count > 2 { _ = try keyspace.require(words, database: call.database) }
        keyspace.changeDetails(call.name) { details in
            details.elementExpiries.merge(expiries) { $1 }
        }
        recordSlices(&call)
        return .integer(created)
    }

    /// Recorded even if its condition failed.
    private func setFieldsAsRedis(
        _ call: inout CommandCall
    ) throws(EmulationError) -> TargetReply {
        guard let options = FieldOptions(call.words, step: 2) else { return .syntaxError }
        if let condition = options.condition, condition != "FNX", condition != "FXX" {
            return .syntaxError
        }
        let moment: Int64?
        switch fieldExpiry(options) {
        case .refused(let reply): return reply
        case .moment(let parsed): moment = parsed == 0 ? nil : parsed
        }
        if options.condition != nil { try compensate(options.fields, &call) }
        let present: [Bool]
        switch try fieldPresence(options.fields, call) {
        case .refused(let reply): return reply
        case .fields(let found): present = found
        }
        let isRefused =
            (options.condition == "FNX" && present.contains(true))
            || (options.condition == "FXX" && present.contains(false))
        if !isRefused {
            try announce(call)
            let pairs = call.words[options.firstField...]
            _ = try keyspace.require(
                [text("HSET"), call.key] + pairs, database: call.database)
            if !options.keepsExpiry { forgetElements(options.fields, of: call.name) }
            if let moment {
                keyspace.changeDetails(call.name) { details in
                    for field in options.fields { details.elementExpiries[field] = moment }
                }
            }
        }
        recordSlices(&call)
        return .integer(isRefused ? 0 : 1)
    }

    private enum Presence {
        case fields([Bool])
        case refused(TargetReply)
    }

    /// Which of the fields the hash has.
    private func fieldPresence(
        _ fields: [[UInt8]], _ call: CommandCall
    ) throws(EmulationError) -> Presence {
        let reply = try keyspace.call(
            [text("HMGET"), call.key] + fields, database: call.database)
        guard let elements = reply.elements else { return .refused(reply) }
        return .fields(elements.map { $0 != .null })
    }

    /// The absolute time in seconds that the options give, 0 for none.
    private func fieldExpiry(_ options: FieldOptions) -> ParsedExpiry {
        guard let option = options.expiryOption, let argument = options.expiryArgument else {
            return .moment(0)
        }
        switch expiry(option, argument, command: "hsetex") {
        case .refused(let reply): return .refused(reply)
        // Elements expire at whole seconds.
        case .moment(let moment): return .moment((moment + 999) / 1000)
        }
    }

    // MARK: - Expiries of existing elements

    /// Before a command that re-arms or tests elements v1.40 records the removal of those that it
    /// finds expired (5.10). They are gone already: `access` has taken them out.
    private func compensate(
        _ elements: [[UInt8]], _ call: inout CommandCall
    ) throws(EmulationError) {
        guard release.number >= 1040, let expired = removedElements, expired.name == call.name
        else { return }
        let named = expired.elements.filter { elements.contains($0) }
        if named.isEmpty { return }
        record([text(expired.isSet ? "SREM" : "HDEL"), call.key] + named, &call)
    }

    /// FIELDEXPIRE key seconds element...
    func expireElements(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        guard let seconds = elementSeconds(call.words[2]), seconds > 0 else { return .notInteger }
        return try expireElements(
            Array(call.words[3...]), seconds: seconds, condition: nil, &call)
    }

    /// HEXPIRE key seconds [NX|XX|GT|LT] FIELDS n field...
    func expireFields(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        guard let seconds = elementSeconds(call.words[2]) else { return .notInteger }
        let options = FieldOptions(Array(call.words[..<2]) + call.words[3...], step: 1)
        guard let options, options.expiryOption == nil, !options.keepsExpiry else {
            return .syntaxError
        }
        if let condition = options.condition, !["NX", "XX", "GT", "LT"].contains(condition) {
            return .syntaxError
        }
        let type = try keyspace.require([text("TYPE"), call.key], database: call.database)
        if type.bytes != text("hash"), type.bytes != text("none") { return .wrongType }
        return try expireElements(
            options.fields, seconds: seconds, condition: options.condition, &call)
    }

    /// Gives those of the elements that are there an expiry; 0 seconds removes them.
    private func expireElements(
        _ elements: [[UInt8]], seconds: Int64, condition: String?, _ call: inout CommandCall
    ) throws(EmulationError) -> TargetReply {
        try compensate(elements, &call)
        let type = try keyspace.require([text("TYPE"), call.key], database: call.database)
        let isSet = type.bytes == text("set")
        if type.bytes == text("none") {
            return .array(elements.map { _ in .integer(-2) })
        }
        guard isSet || type.bytes == text("hash") else { return .wrongType }
        let found = try keyspace.require(
            [text(isSet ? "SMISMEMBER" : "HMGET"), call.key] + elements, database: call.database)
        try announce(call)
        let moment = keyspace.clock() / 1000 + seconds
        var details = keyspace.details[call.name] ?? KeyDetails()
        var replies: [TargetReply] = []
        var removed: [[UInt8]] = []
        for (element, presence) in zip(elements, found.elements ?? []) {
            if presence == .null || presence == .integer(0) {
                replies.append(.integer(-2))
                continue
            }
            let old = details.elementExpiries[element]
            let isWanted =
                switch condition {
                case "NX": old == nil
                case "XX": old != nil
                case "GT": old.map { moment > $0 } ?? false
                case "LT": old.map { moment < $0 } ?? true
                default: true
                }
            if !isWanted {
                replies.append(.integer(0))
            } else if seconds == 0 {
                removed.append(element)
                details.elementExpiries[element] = nil
                replies.append(.integer(2))
            } else {
                details.elementExpiries[element] = moment
                replies.append(.integer(1))
            }
        }
        keyspace.setDetails(call.name, details)
        if !removed.isEmpty {
            try keyspace.removeElements(removed, of: call.name)
            try forgetIfGone([call.key], database: call.database)
        }
        recordSlices(&call)
        return .array(replies)
    }

    /// HGETEX key [EX s|PX ms|EXAT s|PXAT ms|PERSIST] FIELDS n field...: recorded even without
    /// options.
    func getFieldsWithExpiry(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        guard let options = FieldOptions(call.words, step: 1),
            options.condition == nil || options.condition == "PERSIST", !options.keepsExpiry
        else { return .syntaxError }
        let moment: Int64
        switch fieldExpiry(options) {
        case .refused(let reply): return reply
        case .moment(let parsed): moment = parsed
        }
        try compensate(options.fields, &call)
        let reply = try keyspace.call(
            [text("HMGET"), call.key] + options.fields, database: call.database)
        guard let values = reply.elements, try exists(call.key, call) else { return reply }
        try announce(call)
        keyspace.changeDetails(call.name) { details in
            for (field, value) in zip(options.fields, values) where value != .null {
                if moment != 0 {
                    details.elementExpiries[field] = moment
                } else if options.condition == "PERSIST" {
                    details.elementExpiries[field] = nil
                }
            }
        }
        recordSlices(&call)
        return reply
    }
}

/// What stands between the key and the fields of HEXPIRE, HGETEX and HSETEX in the form of Redis 8.
private struct FieldOptions {
    /// In upper case.
    var condition: String?
    var expiryOption: [UInt8]?
    var expiryArgument: [UInt8]?
    var keepsExpiry = false
    var fields: [[UInt8]] = []
    /// Position of the first field.
    var firstField = 0

    /// - Parameter step: 2 if each field has a value behind it.
    init?(_ words: [[UInt8]], step: Int) {
        var index = 2
        while index < words.count, !words[index].isWord("FIELDS") {
            let word = words[index]
            let shown = String(decoding: word, as: UTF8.self).uppercased()
            if ["EX", "PX", "EXAT", "PXAT"].contains(shown) {
                guard index + 1 < words.count, expiryOption == nil else { return nil }
                expiryOption = word
                expiryArgument = words[index + 1]
                index += 2
                continue
            }
            if shown == "KEEPTTL" {
                keepsExpiry = true
            } else if ["FNX", "FXX", "NX", "XX", "GT", "LT", "PERSIST"].contains(shown),
                condition == nil
            {
                condition = shown
            } else {
                return nil
            }
            index += 1
        }
        guard index + 1 < words.count, let count = words[index + 1].integer, count > 0,
            Int64(words.count - index - 2) == count * Int64(step)
        else { return nil }
        if expiryOption != nil, keepsExpiry || condition == "PERSIST" { return nil }
        firstField = index + 2
        fields = stride(from: firstField, to: words.count, by: step).map { words[$0] }
    }
}

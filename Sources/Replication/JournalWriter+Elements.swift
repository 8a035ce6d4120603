internal import Bytes
internal import RedisTarget
internal import Wire

/// Commands for elements with an expiry of their own, and those that depend on whether such an element
/// is still there (protocol.md 5.10, 6.5, 6.6).
extension JournalWriter {
    /// - Parameters:
    ///   - fields: what is done about the expiries of hash fields. Native ones are set, counted from
    ///     now where they are relative; since the source counted from another moment, the key is read
    ///     again, too. Where only the whole value tells what to do, it is read and nothing is sent.
    ///   - members: the same of set members.
    mutating func element(
        _ record: JournalRecord, _ rule: JournalRule, _ context: RecordContext,
        _ fields: ElementExpiry, _ members: ElementExpiry, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        guard let key = argument(record, 1) else { return .repair("the key is missing") }
        let mayHaveExpired = elementExpiries.contains(database: record.database, key: key)
        switch rule {
        case .setFields, .removeElements, .addMembers:
            guard mayHaveExpired else { return try pass(record, context, target) }
            return try change(record, rule, key, fields, members, context, target)
        case .readsElement:
            guard !mayHaveExpired else { return .repair(JournalWriter.elementsExpireUnseen) }
            return try pass(record, context, target)
        case .setMove:
            let other = argument(record, 2)
            let changesOther =
                members.needsWholeValue
                && other.map { elementExpiries.contains(database: record.database, key: $0) }
                    ?? false
            guard !mayHaveExpired, !changesOther else {
                addRepairs(record, 1..<3)
                return .repair(JournalWriter.elementsExpireUnseen)
            }
            return try pass(record, context, target)
        case .addWithExpiry:
            guard !members.needsWholeValue else { return readWhole(record, key) }
            return try addWithExpiry(record, key, context, target)
        case .hashSetWithExpiry:
            guard !fields.needsWholeValue else { return readWhole(record, key) }
            return try hashSetWithExpiry(
                record, key, mayHaveExpired, context, fields == .native, target)
        case .hashGetWithExpiry:
            if fields.needsWholeValue {
                let reads = argument(record, 2)?.equalsIgnoringCase("FIELDS") ?? false
                return reads ? .skipped : readWhole(record, key)
            }
            return try hashGetWithExpiry(record, key, context, fields == .native, target)
        case .hashExpiry where fields.needsWholeValue,
            .elementExpiry where fields.needsWholeValue || members.needsWholeValue:
            return readWhole(record, key)
        default:
            return try expire(record, rule, key, context, fields == .native, target)
        }
    }

    private mutating func readWhole(_ record: JournalRecord, _ key: ByteView) -> RecordOutcome {
        elementExpiries.insert(database: record.database, key: key)
        return .repair("elements get an expiry, about which the whole value decides")
    }

    // HSET, HMSET, HDEL, SADD or SREM of a key with element expiries.
    private mutating func change(
        _ record: JournalRecord, _ rule: JournalRule, _ key: ByteView, _ fields: ElementExpiry,
        _ members: ElementExpiry, _ context: RecordContext, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        let isOfSet =
            rule == .addMembers || (argument(record, 0)?.equalsIgnoringCase("SREM") ?? false)
        switch isOfSet ? members : fields {
        case .native, .drop:
            return try pass(record, context, target)
        case .asKeyExpiry, .skip, .fail:
            return .repair(
                "elements of the key have an expiry, about which the whole value decides")
        case .byUs:
            guard try pass(record, context, target) == .sent else { return .blocked }
        }
        // A member that is there keeps its expiry, and whether we have removed it the source knows.
        if rule == .addMembers { return .sentRepair(JournalWriter.elementsExpireUnseen) }
        var arguments = record.arguments
        _ = arguments.next()
        _ = arguments.next()
        while let element = arguments.next() {
            elementExpiries.timers?.cancel(
                database: record.database, key: key, element: element)
            if rule == .setFields { _ = arguments.next() }
        }
        return .sent
    }

    /// A whole value was written: its elements' expiries are what is known of the key now.
    mutating func noteWritten(
        _ entry: SnapshotEntry, flow: Int, _ entries: borrowing EntryWriter
    ) throws(DecodeError) {
        noteBegun(entry)
        guard entry.type.hasElementExpiries else { return }
        let expiry = entry.type == .hashWithExpiry ? entries.fieldExpiry : entries.memberExpiry
        guard expiry == .byUs else { return }
        try elementExpiries.timers?.take(entry, flow: flow, aliveAt: entries.elementsAliveAt)
    }

    /// A value in parts begins: what was known of its key's elements is outdated.
    mutating func noteBegun(_ entry: SnapshotEntry) {
        elementExpiries.remove(database: entry.database, key: entry.key)
        guard entry.type.hasElementExpiries else { return }
        elementExpiries.insert(database: entry.database, key: entry.key)
    }

    /// A part of it was written: `units` elements.
    mutating func noteWritten(
        _ entry: SnapshotEntry, units: Int, flow: Int, _ entries: borrowing EntryWriter,
        aliveAt: Int64
    ) throws(DecodeError) {
        let expiry = entry.type == .hashWithExpiry ? entries.fieldExpiry : entries.memberExpiry
        guard expiry == .byUs else { return }
        try elementExpiries.timers?.take(entry, units: units, flow: flow, aliveAt: aliveAt)
    }

    /// What was built of a value in parts is gone: its elements are not those of the key.
    mutating func noteGivenUp(_ entry: SnapshotEntry) {
        elementExpiries.remove(database: entry.database, key: entry.key)
    }

    /// A whole value was left out. What is known of its elements is known all the same.
    mutating func noteLeftOut(_ entry: SnapshotEntry) {
        guard entry.type.hasElementExpiries else { return }
        elementExpiries.insert(database: entry.database, key: entry.key)
    }

    /// Whether the record's key has the expiry of its fields on the target, which the record takes
    /// away there: SET with KEEPTTL, PERSIST, PEXPIREAT.
    func hasFieldsExpiry(
        _ record: JournalRecord, _ match: JournalRules.Match, _ fields: ElementExpiry
    ) -> Bool {
        guard fields == .asKeyExpiry, elementExpiries.isInUse else { return false }
        switch match.rule {
        case .set, .persist, .expireAt:
            guard let key = argument(record, 1) else { return false }
            return elementExpiries.contains(database: record.database, key: key)
        default: return false
        }
    }

    private static let relativeExpiry: StaticString =
        "its relative expiry counts from when the source ran it"
    private static let pastExpiry: StaticString =
        "its expiry is unreadable, or past, so that elements may be gone"

    // SADDEX k [KEEPTTL] seconds m...
    private mutating func addWithExpiry(
        _ record: JournalRecord, _ key: ByteView, _ context: RecordContext,
        _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        var arguments = record.arguments
        _ = arguments.next()
        _ = arguments.next()
        var seconds = arguments.next()
        if let option = seconds, option.equalsIgnoringCase("KEEPTTL") { seconds = arguments.next() }
        guard arguments.remaining > 0, let count = seconds?.parseInteger(), count > 0 else {
            return .repair("a SADDEX with unreadable arguments")
        }
        let members = arguments.remaining
        guard
            try begin("SADD", key, members, record, context, target)
        else { return .blocked }
        while let member = arguments.next() { target.argument(member) }
        end(.journal, record, context, target)
        memberExpiriesDropped += members
        elementExpiries.insert(database: record.database, key: key)
        return .sent
    }

    /// What stands before the fields of an HSETEX.
    private struct HashSetOptions {
        var onlyAbsent = false
        /// FNX or FXX.
        var hasCondition = false
        var keepsExpiry = false
        /// Unix milliseconds, nil without.
        var expiry: Int64?
        var fields: JournalArguments
    }

    // HSETEX k [NX] [KEEPTTL] seconds f v... or, as in Redis 8,
    // HSETEX k [FNX | FXX] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL] FIELDS n f v...;
    // nil if it cannot be read, or if the expiry has passed.
    private func hashSetOptions(_ record: JournalRecord, now: Int64) -> HashSetOptions? {
        var arguments = record.arguments
        _ = arguments.next()
        _ = arguments.next()
        var options = HashSetOptions(fields: arguments)
        options: while let option = arguments.next() {
            if option.equalsIgnoringCase("NX") {
                options.onlyAbsent = true
            } else if option.equalsIgnoringCase("KEEPTTL") {
                options.keepsExpiry = true
            } else if option.equalsIgnoringCase("FNX") || option.equalsIgnoringCase("FXX") {
                options.hasCondition = true
            } else if option.equalsIgnoringCase("FIELDS") {
                _ = arguments.next()
                break options
            } else if let unit = ExpiryUnit(option) {
                options.expiry = unit.absolute(arguments.next(), now: now)
                guard options.expiry != nil else { return nil }
            } else {
                options.expiry = ExpiryUnit.seconds.absolute(option, now: now)
                guard options.expiry != nil else { return nil }
                break options
            }
        }
        guard arguments.remaining > 0, arguments.remaining % 2 == 0 else { return nil }
        options.fields = arguments
        return options
    }

    private mutating func hashSetWithExpiry(
        _ record: JournalRecord, _ key: ByteView, _ mayHaveExpired: Bool,
        _ context: RecordContext, _ knowsFieldExpiry: Bool, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        guard let options = hashSetOptions(record, now: context.unixMilliseconds) else {
            return .repair(JournalWriter.pastExpiry)
        }
        if options.expiry != nil, options.hasCondition {
            elementExpiries.insert(database: record.database, key: key)
        }
        guard !options.hasCondition else {
            return .repair("HSETEX with a condition is recorded even if it did nothing")
        }
        if options.onlyAbsent && (mayHaveExpired || knowsFieldExpiry) {
            elementExpiries.insert(database: record.database, key: key)
            return .repair(JournalWriter.elementsExpireUnseen)
        }
        if knowsFieldExpiry && options.keepsExpiry {
            elementExpiries.insert(database: record.database, key: key)
            return .repair("HSET would end an expiry that HSETEX keeps")
        }
        var fields = options.fields
        let strings = fields.remaining
        let setsExpiry = knowsFieldExpiry && options.expiry != nil
        if options.onlyAbsent || setsExpiry {
            // One command, however many fields there are.
            guard
                try beginScript(
                    setsExpiry
                        ? JournalWriter.setExpiringScript : JournalWriter.setAbsentScript, key,
                    arguments: strings + (setsExpiry ? 1 : 0), record, context, target)
            else { return .blocked }
            if setsExpiry, let expiry = options.expiry { target.argument(decimal: expiry) }
        } else {
            guard
                try begin("HSET", key, strings, record, context, target)
            else { return .blocked }
        }
        while let string = fields.next() { target.argument(string) }
        end(.journal, record, context, target)
        guard options.expiry != nil else { return .sent }
        elementExpiries.insert(database: record.database, key: key)
        if setsExpiry { return .sentRepair(JournalWriter.relativeExpiry) }
        memberExpiriesDropped += strings / 2
        return .sent
    }

    /// HSETNX of many fields. KEYS[1], ARGV = field, value, ...
    private static let setAbsentScript: StaticString = """
        for index = 1, #ARGV, 2 do
            redis.call('HSETNX', KEYS[1], ARGV[index], ARGV[index + 1])
        end
        return redis.status_reply('OK')
        """

    /// KEYS[1], ARGV = Unix milliseconds, field, value, ...
    private static let setExpiringScript: StaticString = """
        for index = 2, #ARGV, 2 do
            redis.call('HSET', KEYS[1], ARGV[index], ARGV[index + 1])
            redis.call('HPEXPIREAT', KEYS[1], ARGV[1], 'FIELDS', 1, ARGV[index])
        end
        return redis.status_reply('OK')
        """

    // HGETEX k [EX s | PX ms | EXAT s | PXAT ms | PERSIST] FIELDS n f...
    private mutating func hashGetWithExpiry(
        _ record: JournalRecord, _ key: ByteView, _ context: RecordContext,
        _ knowsFieldExpiry: Bool, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        guard let option = argument(record, 2), !option.equalsIgnoringCase("FIELDS") else {
            return .skipped
        }
        if option.equalsIgnoringCase("PERSIST") {
            // Nothing to take away where there is none.
            guard knowsFieldExpiry else { return unheld(context) }
            return try passFields(
                "HPERSIST", from: 3, expiry: nil, record, key, context, target)
        }
        guard let unit = ExpiryUnit(option),
            let expiry = unit.absolute(argument(record, 3), now: context.unixMilliseconds)
        else { return .repair(JournalWriter.pastExpiry) }
        return try setExpiry(
            expiry, optionsFrom: 4, record, key, context, knowsFieldExpiry, target)
    }

    // HEXPIRE k seconds [NX | XX | GT | LT] FIELDS n f..., FIELDEXPIRE k seconds f...
    private mutating func expire(
        _ record: JournalRecord, _ rule: JournalRule, _ key: ByteView,
        _ context: RecordContext, _ knowsFieldExpiry: Bool, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        guard
            let expiry = ExpiryUnit.seconds.absolute(
                argument(record, 2), now: context.unixMilliseconds)
        else { return .repair(JournalWriter.pastExpiry) }
        if rule == .elementExpiry && knowsFieldExpiry {
            elementExpiries.insert(database: record.database, key: key)
            return .repair("whether it is about a hash or a set is not recorded")
        }
        return try setExpiry(
            expiry, optionsFrom: 3, record, key, context, knowsFieldExpiry, target)
    }

    private mutating func setExpiry(
        _ expiry: Int64, optionsFrom position: Int, _ record: JournalRecord, _ key: ByteView,
        _ context: RecordContext, _ knowsFieldExpiry: Bool, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        guard knowsFieldExpiry else {
            memberExpiriesDropped += 1
            elementExpiries.insert(database: record.database, key: key)
            return unheld(context)
        }
        let outcome = try passFields(
            "HPEXPIREAT", from: position, expiry: expiry, record, key, context, target)
        guard outcome != .blocked else { return .blocked }
        elementExpiries.insert(database: record.database, key: key)
        return outcome
    }

    // The target has no such expiry. But the baseline leaves out what had expired when it was read,
    // and this may have renewed it before.
    private func unheld(_ context: RecordContext) -> RecordOutcome {
        context.isInSnapshot ? .repair(JournalWriter.elementsExpireUnseen) : .skipped
    }

    // HPEXPIREAT k ms [condition] FIELDS n f... or HPERSIST k FIELDS n f..., the rest as it came.
    private func passFields(
        _ name: ByteView, from position: Int, expiry: Int64?, _ record: JournalRecord,
        _ key: ByteView, _ context: RecordContext, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        let rest = record.argumentCount - position
        guard rest > 0 else { return .repair("the fields are missing") }
        guard
            try begin(name, key, rest + (expiry == nil ? 0 : 1), record, context, target)
        else { return .blocked }
        if let expiry { target.argument(decimal: expiry) }
        var arguments = record.arguments
        var index = 0
        while let argument = arguments.next() {
            if index >= position { target.argument(argument) }
            index += 1
        }
        end(.journal, record, context, target)
        return .sentRepair(JournalWriter.relativeExpiry)
    }

    private func begin(
        _ name: ByteView, _ key: ByteView, _ rest: Int, _ record: JournalRecord,
        _ context: RecordContext, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let bytes =
            record.payload.count + TargetConnection.argumentBytes(20) * (record.argumentCount + 1)
        guard
            try target.begin(flow: context.flow, database: record.database, bytes: bytes)
        else { return false }
        target.header(arguments: 2 + rest)
        target.argument(name)
        target.argument(key)
        return true
    }
}

/// How a command says when an element expires.
private enum ExpiryUnit {
    case seconds
    case milliseconds
    case unixSeconds
    case unixMilliseconds

    init?(_ option: ByteView) {
        if option.equalsIgnoringCase("EX") {
            self = .seconds
        } else if option.equalsIgnoringCase("PX") {
            self = .milliseconds
        } else if option.equalsIgnoringCase("EXAT") {
            self = .unixSeconds
        } else if option.equalsIgnoringCase("PXAT") {
            self = .unixMilliseconds
        } else {
            return nil
        }
    }

    /// The moment in Unix milliseconds; nil if the argument is no number, or if that moment is not in
    /// the future.
    func absolute(_ argument: ByteView?, now: Int64) -> Int64? {
        guard let number = argument?.parseInteger(), number > 0 else { return nil }
        let factor: Int64 = self == .seconds || self == .unixSeconds ? 1000 : 1
        let (milliseconds, isTooLong) = number.multipliedReportingOverflow(by: factor)
        let isRelative = self == .seconds || self == .milliseconds
        let (moment, isTooLate) = milliseconds.addingReportingOverflow(isRelative ? now : 0)
        guard !isTooLong, !isTooLate, moment > now else { return nil }
        return moment
    }
}

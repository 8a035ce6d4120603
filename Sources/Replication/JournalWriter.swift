internal import Bytes
internal import RedisTarget
internal import Wire

/// What became of a journal record when it was handed to the writer.
enum RecordOutcome: Equatable {
    /// Its commands are in the pipeline; the last one's reply settles it.
    case sent
    /// No room in the pipeline; hand the same record in again.
    case blocked
    /// Nothing to do for a Redis.
    case skipped
    /// The target has no such type.
    case unsupported
    /// A PFMERGE copy that belongs to another flow.
    case ghost
    /// All flows must reach it first.
    case flush
    /// Not carried over, or not exactly: the key is to be repaired.
    case repair(StaticString)
    /// Sent, but its key is to be repaired all the same.
    case sentRepair(StaticString)

    static func == (left: RecordOutcome, right: RecordOutcome) -> Bool {
        switch (left, right) {
        case (.sent, .sent), (.blocked, .blocked), (.skipped, .skipped),
            (.unsupported, .unsupported), (.ghost, .ghost), (.flush, .flush),
            (.repair, .repair), (.sentRepair, .sentRepair):
            true
        default: false
        }
    }
}

/// Where a record comes from and what is known there.
struct RecordContext {
    var flow: Int
    /// The LSN after the record, 0 inside the snapshot.
    var nextLSN: UInt64
    /// Inside the snapshot other keys' baselines may still be missing (protocol.md 3.8).
    var isInSnapshot: Bool
    var unixMilliseconds: Int64
}

/// Turns journal records into commands for one Redis.
struct JournalWriter: ~Copyable {
    private let rules = JournalRules()
    /// Element expiries that the target cannot hold.
    private(set) var memberExpiriesDropped = 0
    private(set) var stickyFlagsDropped = 0
    private(set) var memcachedFlagsDropped = 0

    func match(_ record: JournalRecord) -> JournalRules.Match {
        var arguments = record.arguments
        guard let name = arguments.next() else {
            return JournalRules.Match(rule: .skip, keyPosition: 0)
        }
        return rules.match(name)
    }

    /// The key that the record writes (the first of several), nil if it has none.
    func key(of record: JournalRecord, _ match: JournalRules.Match) -> ByteView? {
        guard match.keyPosition > 0 else { return nil }
        if match.rule == .sort, let store = storePosition(record),
            let destination = argument(record, store + 1)
        {
            return destination
        }
        return argument(record, match.keyPosition)
    }

    /// Writes one COMMAND, EXPIRED or MULTI_COMMAND record.
    mutating func write(
        _ record: JournalRecord, _ match: JournalRules.Match, _ context: RecordContext,
        placement: ShardPlacement, entries: inout EntryWriter, held: inout HeldExpiries,
        to target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        switch match.rule {
        case .pass, .push, .pop:
            return try pass(record, context, target)
        case .floatIncrement:
            return try floatIncrement(record, context, target)
        case .set:
            return try set(record, context, placement, &held, target)
        case .expireAt:
            return try expireAt(record, context, &held, target)
        case .delete, .persist, .rename, .setWithoutReply, .deleteWithoutReply:
            return try endHolding(record, match.rule, context, &held, target)
        case .deleteConditionally:
            guard record.argumentCount == 2 else {
                return .repair("a conditional DELEX is not carried over")
            }
            return try pass(record, context, target, as: "DEL")
        case .restore:
            return try restore(record, context, &entries, &held, target)
        case .addWithExpiry:
            return try addWithExpiry(record, context, target)
        case .hashSetWithExpiry:
            return try hashSetWithExpiry(record, context, target)
        case .elementExpiry:
            memberExpiriesDropped += 1
            return .skipped
        case .hashGetWithExpiry:
            if let option = argument(record, 2), !option.equalsIgnoringCase("FIELDS") {
                memberExpiriesDropped += 1
            }
            return .skipped
        case .streamAdd, .streamClaim, .streamAutoClaim:
            return try stream(record, match.rule, context, target)
        case .multiPop, .sort, .aggregateStore, .rangeStore, .move:
            return try dependent(record, match.rule, context, target)
        case .flushAll, .flushDatabase:
            return .flush
        case .flushSlots:
            return .repair("keys of flushed slots may remain on the target")
        case .script:
            return try script(record, context, target)
        case .skip:
            if let name = argument(record, 0), name.equalsIgnoringCase("STICK") {
                stickyFlagsDropped += 1
            }
            return .skipped
        case .unsupported:
            return .unsupported
        case .repair:
            return .repair("the command has no equal on the target")
        }
    }

    /// Sends the flush that all flows have reached.
    func writeFlush(
        _ record: JournalRecord, _ context: RecordContext, to target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        try pass(record, context, target, kind: .flush)
    }

    // MARK: Passing on

    private func pass(
        _ record: JournalRecord, _ context: RecordContext, _ target: TargetConnection,
        as name: ByteView? = nil, kind: CommandKind = .journal
    ) throws(DecodeError) -> RecordOutcome {
        let bytes =
            record.payload.count + TargetConnection.argumentBytes(16) * record.argumentCount
        guard
            try target.begin(flow: context.flow, database: record.database, bytes: bytes)
        else { return .blocked }
        target.header(arguments: record.argumentCount)
        var arguments = record.arguments
        if let name {
            _ = arguments.next()
            target.argument(name)
        }
        while let argument = arguments.next() { target.argument(argument) }
        end(kind, record, context, target)
        return .sent
    }

    private func end(
        _ kind: CommandKind, _ record: JournalRecord, _ context: RecordContext,
        _ target: TargetConnection
    ) {
        target.end(
            kind, flow: context.flow, database: record.database, nextLSN: context.nextLSN)
    }

    private func argument(_ record: JournalRecord, _ position: Int) -> ByteView? {
        var arguments = record.arguments
        var index = 0
        while let argument = arguments.next() {
            if index == position { return argument }
            index += 1
        }
        return nil
    }

    // MARK: Strings and keys

    // SET k v [PXAT ms | KEEPTTL] [STICK] [_MCFLAGS n] (protocol.md 6.3).
    private mutating func set(
        _ record: JournalRecord, _ context: RecordContext, _ placement: ShardPlacement,
        _ held: inout HeldExpiries, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        var arguments = record.arguments
        _ = arguments.next()
        guard let key = arguments.next(), let value = arguments.next() else {
            return .repair("a SET without a value")
        }
        if value.starts(with: "HYLL"), placement.verdict(key, flow: context.flow) == .elsewhere {
            return .ghost
        }
        guard record.argumentCount > 3 else {
            let outcome = try pass(record, context, target)
            if outcome == .sent { held.cancel(database: record.database, key: key) }
            return outcome
        }
        var kept = 3
        var isSticky = false
        var hasMemcachedFlags = false
        var expiry: Int64?
        var keepsExpiry = false
        while let option = arguments.next() {
            if option.equalsIgnoringCase("PXAT") {
                guard let time = arguments.next()?.parseInteger() else {
                    return .repair("a SET with an unreadable expiry")
                }
                expiry = time
            } else if option.equalsIgnoringCase("STICK") {
                isSticky = true
            } else if option.equalsIgnoringCase("_MCFLAGS") {
                hasMemcachedFlags = true
                _ = arguments.next()
            } else {
                if option.equalsIgnoringCase("KEEPTTL") { keepsExpiry = true }
                kept += 1
            }
        }
        if expiry != nil { kept += 2 }
        let bytes = record.payload.count + TargetConnection.argumentBytes(16) * kept
        guard
            try target.begin(flow: context.flow, database: record.database, bytes: bytes)
        else { return .blocked }
        target.header(arguments: kept)
        target.argument("SET")
        target.argument(key)
        target.argument(value)
        if let expiry {
            target.argument("PXAT")
            target.argument(
                decimal: held.adjust(
                    expiry, database: record.database, key: key, now: context.unixMilliseconds))
        } else if !keepsExpiry {
            held.cancel(database: record.database, key: key)
        }
        var options = record.arguments
        for _ in 0..<3 { _ = options.next() }
        while let option = options.next() {
            if option.equalsIgnoringCase("STICK") { continue }
            if option.equalsIgnoringCase("_MCFLAGS") || option.equalsIgnoringCase("PXAT") {
                _ = options.next()
            } else {
                target.argument(option)
            }
        }
        end(.journal, record, context, target)
        if isSticky { stickyFlagsDropped += 1 }
        if hasMemcachedFlags { memcachedFlagsDropped += 1 }
        return .sent
    }

    // INCRBYFLOAT k increment, HINCRBYFLOAT k field increment
    private func floatIncrement(
        _ record: JournalRecord, _ context: RecordContext, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        var arguments = record.arguments
        _ = arguments.next()
        guard let key = arguments.next(), let second = arguments.next() else {
            return .repair("a float increment without an increment")
        }
        let third = arguments.next()
        let script = ByteView(FloatIncrement.script)
        let bytes =
            script.count + record.payload.count
            + TargetConnection.argumentBytes(8) * 7
        guard
            try target.begin(flow: context.flow, database: record.database, bytes: bytes)
        else { return .blocked }
        target.header(arguments: third == nil ? 5 : 6)
        target.argument("EVAL")
        target.argument(script)
        target.argument("1")
        target.argument(key)
        target.argument(third ?? second)
        if third != nil { target.argument(second) }
        end(.journal, record, context, target)
        return .sent
    }

    // RESTORE k ttl payload [REPLACE] [ABSTTL] [STICK] [IDLETIME n] [FREQ n] (protocol.md 6.4).
    private mutating func restore(
        _ record: JournalRecord, _ context: RecordContext, _ entries: inout EntryWriter,
        _ held: inout HeldExpiries, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        var arguments = record.arguments
        _ = arguments.next()
        guard let key = arguments.next(), let ttl = arguments.next()?.parseInteger(), ttl >= 0,
            let payload = arguments.next()
        else { return .repair("a RESTORE with unreadable arguments") }
        var isAbsolute = false
        var isSticky = false
        while let option = arguments.next() {
            if option.equalsIgnoringCase("ABSTTL") { isAbsolute = true }
            if option.equalsIgnoringCase("STICK") { isSticky = true }
        }
        guard let content = try? DumpPayload.parse(payload) else {
            return .repair("a RESTORE whose payload cannot be read")
        }
        var expiry = ttl
        if ttl == 0 {
            held.cancel(database: record.database, key: key)
        } else {
            expiry = held.adjust(
                isAbsolute ? ttl : context.unixMilliseconds + ttl, database: record.database,
                key: key, now: context.unixMilliseconds)
        }
        let entry = SnapshotEntry(
            database: record.database, type: content.type, key: key, expiryMilliseconds: expiry,
            isSticky: isSticky, value: content.value)
        let outcome: EntryOutcome
        do {
            outcome = try entries.write(
                entry, flow: context.flow, as: .journal, nextLSN: context.nextLSN,
                unixMilliseconds: context.unixMilliseconds, to: target)
        } catch {
            guard error.reason != .outOfMemory else { throw error }
            return .repair("a RESTORE whose payload is damaged")
        }
        switch outcome {
        case .sent:
            if isSticky { stickyFlagsDropped += 1 }
            return .sent
        case .blocked: return .blocked
        case .impossible: return .unsupported
        }
    }

    // PEXPIREAT k ms
    private func expireAt(
        _ record: JournalRecord, _ context: RecordContext, _ held: inout HeldExpiries,
        _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        guard let key = argument(record, 1), let expiry = argument(record, 2)?.parseInteger() else {
            return .repair("a PEXPIREAT with an unreadable time")
        }
        let bytes = key.count + TargetConnection.argumentBytes(20) * 3
        guard
            try target.begin(flow: context.flow, database: record.database, bytes: bytes)
        else { return .blocked }
        target.header(arguments: 3)
        target.argument("PEXPIREAT")
        target.argument(key)
        target.argument(
            decimal: held.adjust(
                expiry, database: record.database, key: key, now: context.unixMilliseconds))
        end(.journal, record, context, target)
        return .sent
    }

    // Commands after which the expiry that was held for a key is no longer its own.
    private func endHolding(
        _ record: JournalRecord, _ rule: JournalRule, _ context: RecordContext,
        _ held: inout HeldExpiries, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        let name: ByteView? =
            switch rule {
            case .setWithoutReply: "SET"
            case .deleteWithoutReply: "DEL"
            default: nil
            }
        let outcome = try pass(record, context, target, as: name)
        guard outcome == .sent, held.count > 0 else { return outcome }
        var arguments = record.arguments
        _ = arguments.next()
        if rule == .rename {
            guard let key = arguments.next(), let newKey = arguments.next() else { return outcome }
            held.move(
                database: record.database, key: key, toDatabase: record.database, toKey: newKey)
            return outcome
        }
        while let key = arguments.next() {
            held.cancel(database: record.database, key: key)
            if rule == .setWithoutReply { break }
        }
        return outcome
    }

    /// Sets the true expiry of a key that was kept alive.
    func release(
        _ entry: HeldExpiries.Held, _ key: ByteView, to target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let script = ByteView(HeldExpiries.releaseScript)
        let bytes = script.count + key.count + TargetConnection.argumentBytes(20) * 6
        guard
            try target.begin(flow: 0, database: Int(entry.database), bytes: bytes)
        else { return false }
        target.header(arguments: 6)
        target.argument("EVAL")
        target.argument(script)
        target.argument("1")
        target.argument(key)
        target.argument(decimal: entry.heldExpiry)
        target.argument(decimal: entry.trueExpiry)
        target.end(.expiry, flow: 0, database: Int(entry.database), nextLSN: 0)
        return true
    }

    private mutating func script(
        _ record: JournalRecord, _ context: RecordContext, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        guard let subcommand = argument(record, 1), subcommand.equalsIgnoringCase("LOAD") else {
            return .skipped
        }
        return try pass(record, context, target, kind: .script)
    }

    // MARK: Elements with an expiry of their own

    // SADDEX k [KEEPTTL] seconds m... (protocol.md 6.5).
    private mutating func addWithExpiry(
        _ record: JournalRecord, _ context: RecordContext, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        var arguments = record.arguments
        _ = arguments.next()
        guard let key = arguments.next(), var seconds = arguments.next() else {
            return .repair("a SADDEX without members")
        }
        if seconds.equalsIgnoringCase("KEEPTTL"), let next = arguments.next() { seconds = next }
        guard arguments.remaining > 0, seconds.parseInteger() != nil else {
            return .repair("a SADDEX with unreadable arguments")
        }
        let members = arguments.remaining
        guard
            try begin("SADD", key, members, record, context, target)
        else { return .blocked }
        while let member = arguments.next() { target.argument(member) }
        end(.journal, record, context, target)
        memberExpiriesDropped += members
        return .sent
    }

    // HSETEX k [NX] [KEEPTTL] seconds f v... or, as in Redis 8,
    // HSETEX k [FNX | FXX] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL] FIELDS n f v...
    // (protocol.md 6.6).
    private mutating func hashSetWithExpiry(
        _ record: JournalRecord, _ context: RecordContext, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        var arguments = record.arguments
        _ = arguments.next()
        guard let key = arguments.next() else { return .repair("an HSETEX without a key") }
        var onlyAbsent = false
        options: while let option = arguments.next() {
            if option.equalsIgnoringCase("NX") {
                onlyAbsent = true
            } else if option.equalsIgnoringCase("FNX") || option.equalsIgnoringCase("FXX") {
                return .repair("HSETEX with a condition is recorded even if it did nothing")
            } else if option.equalsIgnoringCase("FIELDS") {
                _ = arguments.next()
                break options
            } else if option.equalsIgnoringCase("EX") || option.equalsIgnoringCase("PX")
                || option.equalsIgnoringCase("EXAT") || option.equalsIgnoringCase("PXAT")
            {
                _ = arguments.next()
            } else if option.parseInteger() != nil {
                break options
            } else if !option.equalsIgnoringCase("KEEPTTL") {
                return .repair("an HSETEX with an unknown option")
            }
        }
        let strings = arguments.remaining
        guard strings > 0, strings % 2 == 0 else {
            return .repair("an HSETEX without field and value pairs")
        }
        memberExpiriesDropped += strings / 2
        guard onlyAbsent else {
            guard try begin("HSET", key, strings, record, context, target) else {
                memberExpiriesDropped -= strings / 2
                return .blocked
            }
            while let string = arguments.next() { target.argument(string) }
            end(.journal, record, context, target)
            return .sent
        }
        let bytes =
            record.payload.count + (key.count + TargetConnection.argumentBytes(16) * 4) * strings
        guard
            try target.begin(
                flow: context.flow, database: record.database, bytes: bytes,
                commands: strings / 2)
        else {
            memberExpiriesDropped -= strings / 2
            return .blocked
        }
        while let field = arguments.next(), let value = arguments.next() {
            target.header(arguments: 4)
            target.argument("HSETNX")
            target.argument(key)
            target.argument(field)
            target.argument(value)
            end(arguments.remaining == 0 ? .journal : .part, record, context, target)
        }
        return .sent
    }

    private func begin(
        _ name: ByteView, _ key: ByteView, _ rest: Int, _ record: JournalRecord,
        _ context: RecordContext, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let bytes =
            record.payload.count + TargetConnection.argumentBytes(16) * record.argumentCount
        guard
            try target.begin(flow: context.flow, database: record.database, bytes: bytes)
        else { return false }
        target.header(arguments: 2 + rest)
        target.argument(name)
        target.argument(key)
        return true
    }

    // MARK: Streams

    private func stream(
        _ record: JournalRecord, _ rule: JournalRule, _ context: RecordContext,
        _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        switch rule {
        case .streamAdd:
            guard hasFinalID(record) else {
                return .repair("XADD without a final id (Dragonfly 1.26 or older)")
            }
            return try pass(record, context, target)
        default:
            // XCLAIM k g c min-idle ..., XAUTOCLAIM k g c min-idle ...: decided by the clock
            // of whoever runs it, unless everything is idle long enough.
            let outcome = try pass(record, context, target)
            guard outcome == .sent, argument(record, 4)?.parseInteger() != 0 else { return outcome }
            return .sentRepair("a claim by idle time is decided anew by the target's clock")
        }
    }

    // XADD k [NOMKSTREAM] [MAXLEN | MINID [= | ~] x [LIMIT n]] id f v...
    private func hasFinalID(_ record: JournalRecord) -> Bool {
        var arguments = record.arguments
        _ = arguments.next()
        _ = arguments.next()
        while let option = arguments.next() {
            if option.equalsIgnoringCase("NOMKSTREAM") { continue }
            if option.equalsIgnoringCase("MAXLEN") || option.equalsIgnoringCase("MINID") {
                guard let threshold = arguments.next() else { return false }
                if threshold.equals("=") || threshold.equals("~") { _ = arguments.next() }
                continue
            }
            if option.equalsIgnoringCase("LIMIT") {
                _ = arguments.next()
                continue
            }
            return option.count > 0 && option[option.count - 1] != UInt8(ascii: "*")
        }
        return false
    }

    // MARK: Commands that depend on other keys

    private func dependent(
        _ record: JournalRecord, _ rule: JournalRule, _ context: RecordContext,
        _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        switch rule {
        case .sort:
            guard let store = storePosition(record) else {
                // Cut off per shard, or a mere reading: only a transaction can be the former.
                if record.argumentCount == 2 && record.transactionID != 0 {
                    return .repair("SORT ... STORE over several shards loses its result")
                }
                return .skipped
            }
            guard store + 1 < record.argumentCount else {
                return .repair("SORT ... STORE without a destination")
            }
        case .aggregateStore:
            guard let count = argument(record, 2)?.parseInteger(), count > 0,
                record.argumentCount >= 3 + Int(count)
            else { return .repair("the command was cut per shard by an older release") }
        case .multiPop:
            guard let count = argument(record, 1)?.parseInteger(), count == 1 else {
                return .repair("the command was cut per shard by an older release")
            }
            return try pass(record, context, target)
        case .rangeStore:
            guard record.argumentCount >= 5 else {
                return .repair("the command was cut per shard by an older release")
            }
        default:
            break
        }
        guard !context.isInSnapshot else {
            return .repair("it depends on keys whose baseline may not have arrived")
        }
        return rule == .sort
            ? try sortIntoKey(record, context, target) : try pass(record, context, target)
    }

    /// Dragonfly leaves the destination alone if there is nothing to sort; Redis deletes it.
    private static let sortScript: StaticString = """
        if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
        return redis.call('SORT', KEYS[1], unpack(ARGV))
        """

    // SORT key [...] STORE destination
    private func sortIntoKey(
        _ record: JournalRecord, _ context: RecordContext, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        let script = ByteView(JournalWriter.sortScript)
        let bytes =
            script.count + record.payload.count
            + TargetConnection.argumentBytes(16) * (record.argumentCount + 2)
        guard
            try target.begin(flow: context.flow, database: record.database, bytes: bytes)
        else { return .blocked }
        target.header(arguments: record.argumentCount + 2)
        target.argument("EVAL")
        target.argument(script)
        target.argument("1")
        var arguments = record.arguments
        _ = arguments.next()
        while let argument = arguments.next() { target.argument(argument) }
        end(.journal, record, context, target)
        return .sent
    }

    // SORT key [...] STORE destination: searched from the end (protocol.md 6.13).
    private func storePosition(_ record: JournalRecord) -> Int? {
        var arguments = record.arguments
        var found: Int?
        var index = 0
        while let argument = arguments.next() {
            if index > 1 && argument.equalsIgnoringCase("STORE") { found = index }
            index += 1
        }
        return found
    }
}

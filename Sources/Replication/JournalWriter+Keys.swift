internal import Bytes
internal import RedisTarget
internal import Wire

/// Strings, whole keys and their expiry.
extension JournalWriter {
    // SET k v [PXAT ms | KEEPTTL] [STICK] [_MCFLAGS n] (protocol.md 6.3).
    mutating func set(
        _ record: JournalRecord, _ context: RecordContext, _ placement: ShardPlacement,
        _ held: inout HeldExpiries, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        var arguments = record.arguments
        _ = arguments.next()
        guard let key = arguments.next(), let value = arguments.next() else {
            return .repair("a SET without a value")
        }
        if isGhost(context.sourceKey ?? key, value, context, placement) { return .ghost }
        guard record.argumentCount > 3 else {
            let outcome = try pass(record, context, target)
            if outcome == .sent {
                held.cancel(database: record.database, key: key)
                elementExpiries.remove(database: record.database, key: key)
            }
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
        elementExpiries.remove(database: record.database, key: key)
        if isSticky { stickyFlagsDropped += 1 }
        if hasMemcachedFlags { memcachedFlagsDropped += 1 }
        return .sent
    }

    /// A copy that PFMERGE left on another shard (protocol.md 6.7).
    func isGhost(
        _ key: ByteView, _ value: ByteView, _ context: RecordContext, _ placement: ShardPlacement
    ) -> Bool {
        value.starts(with: "HYLL") && placement.verdict(key, flow: context.flow) == .elsewhere
    }

    // INCRBYFLOAT k increment, HINCRBYFLOAT k field increment
    func floatIncrement(
        _ record: JournalRecord, _ context: RecordContext, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        var arguments = record.arguments
        _ = arguments.next()
        guard let key = arguments.next(), let second = arguments.next() else {
            return .repair("a float increment without an increment")
        }
        let third = arguments.next()
        if third != nil, elementExpiries.contains(database: record.database, key: key) {
            return .repair(JournalWriter.elementsExpireUnseen)
        }
        guard
            try beginScript(
                FloatIncrement.script, key, arguments: third == nil ? 1 : 2, record, context,
                target)
        else { return .blocked }
        target.argument(third ?? second)
        if third != nil { target.argument(second) }
        end(.journal, record, context, target)
        return .sent
    }

    /// Creates the key if it is missing, as APPEND does.
    private static let prependScript: StaticString = """
        local old = redis.call('GET', KEYS[1]) or ''
        redis.call('SET', KEYS[1], ARGV[1] .. old, 'KEEPTTL')
        return redis.status_reply('OK')
        """

    // PREPEND k v
    func prepend(
        _ record: JournalRecord, _ context: RecordContext, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        guard record.argumentCount == 3, let key = argument(record, 1),
            let value = argument(record, 2)
        else { return .repair("a PREPEND without a value") }
        guard
            try beginScript(
                JournalWriter.prependScript, key, arguments: 1, record, context, target)
        else { return .blocked }
        target.argument(value)
        end(.journal, record, context, target)
        return .sent
    }

    /// ARGV[1] = IFEQ or IFNE, ARGV[2] = what the value is compared with.
    private static let deleteComparedScript: StaticString = """
        local value = redis.call('GET', KEYS[1])
        if value and (value == ARGV[2]) == (ARGV[1] == 'IFEQ') then redis.call('DEL', KEYS[1]) end
        return redis.status_reply('OK')
        """

    // DELEX k [IFEQ v | IFNE v | IFDEQ digest | IFDNE digest] (protocol.md 6.3).
    mutating func deleteConditionally(
        _ record: JournalRecord, _ context: RecordContext, _ held: inout HeldExpiries,
        _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        if record.argumentCount == 2 {
            return try endHolding(record, .deleteWithoutReply, context, &held, target)
        }
        guard record.argumentCount == 4, let key = argument(record, 1),
            let option = argument(record, 2), let value = argument(record, 3)
        else { return .repair("a DELEX with unreadable arguments") }
        let isEqual = option.equalsIgnoringCase("IFEQ")
        guard isEqual || option.equalsIgnoringCase("IFNE") else {
            return .repair("a DELEX that compares digests is recorded even if it did nothing")
        }
        guard
            try beginScript(
                JournalWriter.deleteComparedScript, key, arguments: 2, record, context, target)
        else { return .blocked }
        target.argument(isEqual ? "IFEQ" : "IFNE")
        target.argument(value)
        end(.journal, record, context, target)
        return .sent
    }

    // RESTORE k ttl payload [REPLACE] [ABSTTL] [STICK] [IDLETIME n] [FREQ n] (protocol.md 6.4).
    mutating func restore(
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
            // How long it was not used, or how often it was: nothing that a value is made of.
            if option.equalsIgnoringCase("IDLETIME") || option.equalsIgnoringCase("FREQ") {
                _ = arguments.next()
            }
        }
        guard let content = try? DumpPayload.parse(payload) else {
            return .repair("a RESTORE whose payload cannot be read")
        }
        var expiry = ttl
        let isPast = isAbsolute && ttl != 0 && ttl <= context.unixMilliseconds
        if ttl == 0 {
            held.cancel(database: record.database, key: key)
        } else {
            if !isAbsolute {
                let (time, isBeyond) = context.unixMilliseconds.addingReportingOverflow(ttl)
                expiry = isBeyond ? .max : time
            }
            expiry = held.adjust(
                expiry, database: record.database, key: key, now: context.unixMilliseconds)
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
        case .sent: break
        case .blocked: return .blocked
        case .leftOut:
            noteLeftOut(entry)
            let type = RecordType(entry.type.family)
            let reason = entries.policy.reason(for: type)
            return entries.policy.fails(type) ? .refused(reason) : .unsupported(reason)
        }
        if isSticky { stickyFlagsDropped += 1 }
        try noteWritten(entry, flow: context.flow, entries)
        if isPast {
            return .sentRepair("its expiry has passed, so the source may not have stored it")
        }
        guard isAbsolute || ttl == 0 else {
            return .sentRepair("its relative expiry counts from when the source ran it")
        }
        return .sent
    }

    // PEXPIREAT k ms
    func expireAt(
        _ record: JournalRecord, _ context: RecordContext, _ held: inout HeldExpiries,
        _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        guard let key = argument(record, 1), let expiry = argument(record, 2)?.parseInteger() else {
            return .repair("a PEXPIREAT with an unreadable time")
        }
        let bytes = key.count + TargetConnection.argumentBytes(20) * 3
        guard
            try target.begin(
                flow: context.flow, database: record.database, bytes: bytes, demand: .nothing)
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

    // Commands after which what was known of their keys' expiries no longer holds.
    mutating func endHolding(
        _ record: JournalRecord, _ rule: JournalRule, _ context: RecordContext,
        _ held: inout HeldExpiries, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        let name: ByteView? =
            switch rule {
            case .setWithoutReply: "SET"
            case .deleteWithoutReply: "DEL"
            default: nil
            }
        let isGrowing = rule == .setWithoutReply
        let outcome = try pass(
            record, context, target, as: name, demand: isGrowing ? .bySize : .nothing)
        guard outcome == .sent else { return outcome }
        if rule == .rename { return renamed(record, &held) }
        guard held.count > 0 || elementExpiries.isInUse else { return .sent }
        var arguments = record.arguments
        _ = arguments.next()
        while let key = arguments.next() {
            held.cancel(database: record.database, key: key)
            if rule == .persist { break }
            elementExpiries.remove(database: record.database, key: key)
            if rule == .setWithoutReply { break }
        }
        return .sent
    }

    // RENAME k k2: both buckets were captured before it, so it is exact in the snapshot, too.
    private mutating func renamed(
        _ record: JournalRecord, _ held: inout HeldExpiries
    ) -> RecordOutcome {
        guard let key = argument(record, 1), let newKey = argument(record, 2) else { return .sent }
        let database = record.database
        held.move(database: database, key: key, toDatabase: database, toKey: newKey)
        elementExpiries.move(database: database, key: key, toDatabase: database, toKey: newKey)
        guard renamesKeepExpiry, !key.equals(newKey) else { return .sent }
        addRepair(database: database, newKey)
        return .sentRepair("this release keeps the expiry that the new name had")
    }

    // MOVE k database
    mutating func move(
        _ record: JournalRecord, _ context: RecordContext, _ held: borrowing HeldExpiries,
        _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        guard let key = argument(record, 1), let number = argument(record, 2)?.parseInteger(),
            let database = Int(exactly: number), database >= 0
        else { return .repair("a MOVE with an unreadable database") }
        // It is recorded even if it moved nothing, so what is known of the keys cannot go along.
        let isKnown =
            isWatched(record.database, key, held) || isWatched(database, key, held)
        guard !context.isInSnapshot, !isKnown else {
            addRepair(database: record.database, key)
            addRepair(database: database, key)
            return context.isInSnapshot
                ? .repair(JournalWriter.baselineMayBeMissing)
                : .repair("whether it moved a key that expires cannot be told")
        }
        return try pass(record, context, target)
    }

    private func isWatched(_ database: Int, _ key: ByteView, _ held: borrowing HeldExpiries) -> Bool
    {
        held.holds(database: database, key: key)
            || elementExpiries.contains(database: database, key: key)
    }

    /// Sets the true expiry of a key that was kept alive.
    func release(
        _ entry: HeldExpiries.Held, database: Int, _ key: ByteView, to target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let script = ByteView(HeldExpiries.releaseScript)
        let bytes = script.count + key.count + TargetConnection.argumentBytes(20) * 6
        guard
            try target.begin(flow: 0, database: database, bytes: bytes, demand: .nothing)
        else { return false }
        target.header(arguments: 6)
        target.argument("EVAL")
        target.argument(script)
        target.argument("1")
        target.argument(key)
        target.argument(decimal: entry.heldExpiry)
        target.argument(decimal: entry.trueExpiry)
        target.end(.expiry, flow: 0, database: database, nextLSN: 0)
        return true
    }

    mutating func script(
        _ record: JournalRecord, _ context: RecordContext, _ target: TargetConnection,
        as kind: CommandKind = .script
    ) throws(DecodeError) -> RecordOutcome {
        guard let subcommand = argument(record, 1), subcommand.equalsIgnoringCase("LOAD") else {
            return .skipped
        }
        return try pass(record, context, target, kind: kind)
    }
}

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
    func floatIncrement(
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
        }
        guard let content = try? DumpPayload.parse(payload) else {
            return .repair("a RESTORE whose payload cannot be read")
        }
        var expiry = ttl
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
        case .sent:
            if isSticky { stickyFlagsDropped += 1 }
            return .sent
        case .blocked: return .blocked
        case .impossible: return .unsupported
        }
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
    func endHolding(
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
        _ entry: HeldExpiries.Held, database: Int, _ key: ByteView, to target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let script = ByteView(HeldExpiries.releaseScript)
        let bytes = script.count + key.count + TargetConnection.argumentBytes(20) * 6
        guard
            try target.begin(flow: 0, database: database, bytes: bytes)
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
        _ record: JournalRecord, _ context: RecordContext, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        guard let subcommand = argument(record, 1), subcommand.equalsIgnoringCase("LOAD") else {
            return .skipped
        }
        return try pass(record, context, target, kind: .script)
    }
}

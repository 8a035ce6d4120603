internal import Bytes
internal import RedisTarget
internal import Wire

/// Streams, and commands whose result depends on other keys or on the clock.
extension JournalWriter {
    func stream(
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
    func hasFinalID(_ record: JournalRecord) -> Bool {
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

    func dependent(
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
                count <= record.argumentCount - 3
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
    func sortIntoKey(
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
    func storePosition(_ record: JournalRecord) -> Int? {
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

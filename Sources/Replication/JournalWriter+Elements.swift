internal import Bytes
internal import RedisTarget
internal import Wire

/// Dragonfly's commands for elements with an expiry of their own, which this target cannot hold.
extension JournalWriter {
    // SADDEX k [KEEPTTL] seconds m... (protocol.md 6.5).
    mutating func addWithExpiry(
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
    mutating func hashSetWithExpiry(
        _ record: JournalRecord, _ context: RecordContext, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        var arguments = record.arguments
        _ = arguments.next()
        guard let key = arguments.next() else { return .repair("an HSETEX without a key") }
        var onlyAbsent = false
        var hasExpiry = false
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
                hasExpiry = true
                _ = arguments.next()
            } else if option.parseInteger() != nil {
                hasExpiry = true
                break options
            } else if !option.equalsIgnoringCase("KEEPTTL") {
                return .repair("an HSETEX with an unknown option")
            }
        }
        let strings = arguments.remaining
        guard strings > 0, strings % 2 == 0 else {
            return .repair("an HSETEX without field and value pairs")
        }
        let bytes =
            JournalWriter.setAbsentScript.utf8CodeUnitCount + record.payload.count
            + TargetConnection.argumentBytes(16) * (record.argumentCount + 4)
        guard
            try target.begin(flow: context.flow, database: record.database, bytes: bytes)
        else { return .blocked }
        if onlyAbsent {
            // One command, however many fields there are.
            target.header(arguments: 4 + strings)
            target.argument("EVAL")
            target.argument(ByteView(JournalWriter.setAbsentScript))
            target.argument("1")
        } else {
            target.header(arguments: 2 + strings)
            target.argument("HSET")
        }
        target.argument(key)
        while let string = arguments.next() { target.argument(string) }
        end(.journal, record, context, target)
        if hasExpiry { memberExpiriesDropped += strings / 2 }
        return .sent
    }

    /// HSETNX of many fields. KEYS[1], ARGV = field, value, ...
    private static let setAbsentScript: StaticString = """
        for index = 1, #ARGV, 2 do
            redis.call('HSETNX', KEYS[1], ARGV[index], ARGV[index + 1])
        end
        return redis.status_reply('OK')
        """

    func begin(
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
}

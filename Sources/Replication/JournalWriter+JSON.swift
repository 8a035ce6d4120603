internal import Bytes
internal import RedisTarget
internal import Wire

/// JSON.* records (protocol.md 6.10).
extension JournalWriter {
    /// As a string a value is read from the source whenever it has changed. A target's JSON module is
    /// told what it certainly does as the source did; of all else the result is read.
    mutating func json(
        _ record: JournalRecord, _ context: RecordContext, _ policy: TypePolicy.JSON,
        _ held: inout HeldExpiries, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        switch policy {
        case .skip: return .unsupported(TypePolicy.jsonReason)
        case .fail: return .refused(TypePolicy.jsonReason)
        case .module:
            if let outcome = try passJSON(record, context, &held, target) { return outcome }
        case .string: break
        }
        if let name = argument(record, 0), name.equalsIgnoringCase("JSON.MSET") {
            for position in stride(from: 1, to: record.argumentCount, by: 3) {
                addRepairs(record, position..<position + 1)
            }
        }
        return .repair("the JSON value is read from the source")
    }

    // Nil if the module might make something else of it.
    private mutating func passJSON(
        _ record: JournalRecord, _ context: RecordContext, _ held: inout HeldExpiries,
        _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome? {
        guard let name = argument(record, 0), let key = argument(record, 1) else { return nil }
        // Without a path the whole value is meant.
        let path = argument(record, 2) ?? "$"
        let isWhole = path.equals("$") || path.equals(".")
        guard isWhole || JournalWriter.isPlain(path) else { return nil }
        if name.equalsIgnoringCase("JSON.SET") {
            // NX or XX is recorded even if nothing was done.
            guard record.argumentCount == 4 else { return nil }
            return isWhole
                ? try setWhole(record, key, context, &held, target)
                : try pass(record, context, target)
        }
        if name.equalsIgnoringCase("JSON.DEL") || name.equalsIgnoringCase("JSON.FORGET") {
            let outcome = try pass(record, context, target)
            if isWhole, outcome == .sent { held.cancel(database: record.database, key: key) }
            return outcome
        }
        guard
            name.equalsIgnoringCase("JSON.ARRAPPEND") || name.equalsIgnoringCase("JSON.STRAPPEND")
                || name.equalsIgnoringCase("JSON.TOGGLE")
        else { return nil }
        return try pass(record, context, target)
    }

    /// The module leaves the key its expiry.
    private static let setWholeScript: StaticString = """
        redis.call('PERSIST', KEYS[1])
        return redis.call('JSON.SET', KEYS[1], '$', ARGV[1])
        """

    // JSON.SET k $ v
    private mutating func setWhole(
        _ record: JournalRecord, _ key: ByteView, _ context: RecordContext,
        _ held: inout HeldExpiries, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome? {
        guard jsonSetEndsExpiry else { return try pass(record, context, target) }
        guard let value = argument(record, 3) else { return nil }
        guard
            try beginScript(
                JournalWriter.setWholeScript, key, arguments: 1, record, context, target)
        else { return .blocked }
        target.argument(value)
        end(.journal, record, context, target)
        held.cancel(database: record.database, key: key)
        return .sent
    }

    /// Member names of letters, digits and underscores only, from the root on: `$.a.b` or `.a.b`.
    private static func isPlain(_ path: ByteView) -> Bool {
        var position = path.count > 0 && path[0] == UInt8(ascii: "$") ? 1 : 0
        guard position < path.count else { return false }
        while position < path.count {
            guard path[position] == UInt8(ascii: ".") else { return false }
            position += 1
            let start = position
            while position < path.count, isNameByte(path[position], isFirst: position == start) {
                position += 1
            }
            guard position > start else { return false }
        }
        return true
    }

    private static func isNameByte(_ byte: UInt8, isFirst: Bool) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "_"):
            true
        case UInt8(ascii: "0")...UInt8(ascii: "9"): !isFirst
        default: false
        }
    }
}

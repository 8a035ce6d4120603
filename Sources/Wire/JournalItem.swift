import Bytes

/// One item of the journal up to its payload (protocol.md 5.2).
enum JournalItem {
    case select(database: Int)
    case marker(lsn: UInt64)
    case record(JournalHead)

    /// Reads an item's head; nil if the input ends inside it. Then the cursor's position means
    /// nothing. NOOP (0) and FIN (14) never come in a stream, so they are unknown.
    @inline(__always)
    static func read(_ cursor: inout Cursor) throws(DecodeError) -> JournalItem? {
        guard let opcode = try cursor.length() else { return nil }
        switch opcode {
        case 6:
            guard let database = try cursor.count() else { return nil }
            return .select(database: database)
        case 9: return try command(.expired, &cursor)
        case 10: return try command(.command, &cursor)
        case 11: return try command(.multiCommand, &cursor)
        case 12:
            guard let transactionID = try cursor.length(), let shardCount = try cursor.length()
            else { return nil }
            return .record(
                JournalHead(
                    operation: .exec, transactionID: transactionID, shardCount: shardCount))
        case 13: return .record(JournalHead(operation: .ping))
        case 15:
            guard let lsn = try cursor.length() else { return nil }
            return .marker(lsn: lsn)
        default: throw DecodeError(.unknownOpcode)
        }
    }

    @inline(__always)
    private static func command(
        _ operation: JournalRecord.Operation, _ cursor: inout Cursor
    ) throws(DecodeError) -> JournalItem? {
        guard let transactionID = try cursor.length(), let shardCount = try cursor.length(),
            let argumentCount = try cursor.count(), let total = try cursor.count()
        else { return nil }
        // A record has a command name at least.
        guard argumentCount > 0 else { throw DecodeError(.badJournalTotal) }
        return .record(
            JournalHead(
                operation: operation, transactionID: transactionID, shardCount: shardCount,
                argumentCount: argumentCount, total: total))
    }
}

/// What a record says before its strings.
struct JournalHead {
    var operation: JournalRecord.Operation
    var transactionID: UInt64 = 0
    var shardCount: UInt64 = 1
    var argumentCount = 0
    /// Announced sum of the strings' lengths.
    var total = 0

    func record(database: Int, lsn: UInt64, payload: ByteView) -> JournalRecord {
        JournalRecord(
            operation: operation, database: database, transactionID: transactionID,
            shardCount: shardCount, lsn: lsn, argumentCount: argumentCount, payload: payload)
    }
}

/// Walks over the strings of a record, checking them against the announced total. Resumable like
/// `ValueWalker`.
struct PayloadWalker {
    private var stringsRemaining: Int
    /// What the lengths of the remaining strings must add up to.
    private var totalRemaining: Int
    /// Bytes of the current string still to pass.
    private var bodyRemaining = 0

    init(_ head: JournalHead) {
        stringsRemaining = head.argumentCount
        totalRemaining = head.total
    }

    var isComplete: Bool { stringsRemaining == 0 && bodyRemaining == 0 }

    /// Passes over what `window` has of the payload and returns how many bytes that was.
    @inline(__always)
    mutating func advance(_ window: ByteView) throws(DecodeError) -> Int {
        var cursor = Cursor(window)
        while true {
            if bodyRemaining > 0 {
                let step = min(bodyRemaining, cursor.remaining)
                cursor.position += step
                bodyRemaining -= step
                if bodyRemaining > 0 { break }
            }
            if stringsRemaining == 0 {
                guard totalRemaining == 0 else { throw DecodeError(.badJournalTotal) }
                break
            }
            guard let size = try cursor.count() else { break }
            guard size <= totalRemaining else { throw DecodeError(.badJournalTotal) }
            totalRemaining -= size
            stringsRemaining -= 1
            bodyRemaining = size
        }
        return cursor.position
    }
}

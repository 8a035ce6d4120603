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
    var memberExpiriesDropped = 0
    var stickyFlagsDropped = 0
    var memcachedFlagsDropped = 0

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
            // Without a time it is a reading, or takes away what the target does not have.
            if let option = argument(record, 2), !option.equalsIgnoringCase("FIELDS"),
                !option.equalsIgnoringCase("PERSIST")
            {
                memberExpiriesDropped += 1
            }
            return .skipped
        case .streamAdd, .streamClaim, .streamAutoClaim:
            return try stream(record, match.rule, context, target)
        case .multiPop, .sort, .aggregateStore, .rangeStore:
            return try dependent(record, match.rule, context, target)
        case .move:
            let outcome = try dependent(record, match.rule, context, target)
            if outcome == .sent, let key = argument(record, 1),
                let database = argument(record, 2)?.parseInteger()
            {
                held.move(
                    database: record.database, key: key, toDatabase: Int(database), toKey: key)
            }
            return outcome
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

    func pass(
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

    func end(
        _ kind: CommandKind, _ record: JournalRecord, _ context: RecordContext,
        _ target: TargetConnection
    ) {
        target.end(
            kind, flow: context.flow, database: record.database, nextLSN: context.nextLSN)
    }

    func argument(_ record: JournalRecord, _ position: Int) -> ByteView? {
        var arguments = record.arguments
        var index = 0
        while let argument = arguments.next() {
            if index == position { return argument }
            index += 1
        }
        return nil
    }
}

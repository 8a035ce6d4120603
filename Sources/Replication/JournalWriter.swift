internal import Bytes
internal import RedisTarget
internal import Wire

/// What became of a journal record when it was handed to the writer.
enum RecordOutcome: Equatable {
    /// Its commands are in the pipeline; the last one's reply settles it.
    case sent
    /// No room in the pipeline; hand the same record in again.
    case blocked
    /// Not to be carried over, by the rules for keys.
    case filtered
    /// Nothing to do for a Redis.
    case skipped
    /// Not carried over and named, with the reason: mostly the target has no such type.
    case unsupported(StaticString)
    /// The same where policy calls it a failure.
    case refused(StaticString)
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
        case (.sent, .sent), (.blocked, .blocked), (.filtered, .filtered), (.skipped, .skipped),
            (.unsupported, .unsupported), (.refused, .refused), (.ghost, .ghost), (.flush, .flush),
            (.repair, .repair), (.sentRepair, .sentRepair):
            true
        default: false
        }
    }
}

/// Where a record comes from and what is known there.
struct RecordContext {
    var flow: Int
    /// What the record is counted as.
    var type = RecordType.generic
    /// The LSN after the record, 0 inside the snapshot.
    var nextLSN: UInt64
    /// Inside the snapshot other keys' baselines may still be missing (protocol.md 3.8).
    var isInSnapshot: Bool
    var unixMilliseconds: Int64
    /// The source's name of the record's key, if the record has the target's.
    var sourceKey: ByteView?
}

/// A key that must be read again from the source. The view is valid as long as its record is.
struct RepairKey {
    var database: Int
    var key: ByteView
}

/// Turns journal records into commands for one Redis.
struct JournalWriter: ~Copyable {
    private let rules = JournalRules()
    /// The source also serves memcached, whose incr and decr are recorded without their amount
    /// (protocol.md 6.8): no INCR or DECR is believed.
    var memcachedIncrements = false
    /// RENAME onto a key with an expiry keeps that expiry, which nobody records (protocol.md 6.8).
    var renamesKeepExpiry = false
    /// After an outcome `repair` or `sentRepair`: the source's names of the keys it is about. Empty if
    /// the record has none.
    private(set) var repairKeys: [RepairKey] = []
    /// JSON.SET of a whole value ends its expiry, as it does since v1.33.
    var jsonSetEndsExpiry = true
    /// The target's names of hashes and sets with elements that may expire unseen.
    var elementExpiries = ElementExpiries()
    /// Element expiries that the target cannot hold.
    var memberExpiriesDropped = 0
    var stickyFlagsDropped = 0
    var memcachedFlagsDropped = 0
    /// Of a record that is carried out key by key, how many commands the last `write` has sent before
    /// the last one.
    var partsWritten = 0
    /// Per flow, how many of the held record were sent.
    var partsSentByFlow: [Int] = []
    /// Of the FLUSHDBs that stand for a FLUSHALL, how many were sent.
    private var databasesFlushed = 0

    static let baselineMayBeMissing: StaticString =
        "it depends on keys whose baseline may not have arrived"
    static let elementsExpireUnseen: StaticString =
        "elements of the key may have expired on the source, which nobody records"

    static let searchReason: StaticString = "search indexes are not created on the target"

    init() { repairKeys.reserveCapacity(16) }

    func match(_ record: JournalRecord) -> JournalRules.Match {
        var arguments = record.arguments
        guard let name = arguments.next() else {
            return JournalRules.Match(rule: .skip, keyPosition: 0, type: .generic)
        }
        return rules.match(name)
    }

    /// The key that the record writes (the first of several), nil if it has none.
    func key(of record: JournalRecord, _ match: JournalRules.Match) -> ByteView? {
        guard match.keyPosition > 0 else { return nil }
        var position = match.keyPosition
        if match.rule == .sort {
            position = sortOptions(record).destinationPosition ?? position
        } else if match.rule == .geoStore {
            position = geoDestinationPosition(record) ?? position
        }
        return argument(record, position)
    }

    /// Writes one COMMAND, EXPIRED or MULTI_COMMAND record.
    mutating func write(
        _ record: JournalRecord, _ match: JournalRules.Match, _ context: RecordContext,
        placement: ShardPlacement, rules: KeyRules, entries: inout EntryWriter,
        held: inout HeldExpiries, to nodes: TargetNodes
    ) throws(DecodeError) -> RecordOutcome {
        if !repairKeys.isEmpty { repairKeys.removeAll(keepingCapacity: true) }
        partsWritten = 0
        guard rules.isActive else {
            return try dispatch(record, match, context, placement, &entries, &held, nodes)
        }
        var context = context
        let route = try route(record, match, context, placement, rules)
        switch route {
        case .filtered:
            return .filtered
        case .repair(let reason):
            return .repair(reason)
        case .send(let own, let ownMatch, let isMapped):
            if isMapped { context.sourceKey = key(of: record, match) }
            let outcome = try dispatch(
                own, ownMatch, context, placement, &entries, &held, nodes)
            do throws(SystemError) {
                try rules.nameSources(of: &repairKeys)
            } catch {
                throw DecodeError(.outOfMemory)
            }
            return outcome
        }
    }

    mutating func addRepair(database: Int, _ key: ByteView) {
        repairKeys.append(RepairKey(database: database, key: key))
    }

    private mutating func dispatch(
        _ record: JournalRecord, _ match: JournalRules.Match, _ context: RecordContext,
        _ placement: ShardPlacement, _ entries: inout EntryWriter, _ held: inout HeldExpiries,
        _ nodes: TargetNodes
    ) throws(DecodeError) -> RecordOutcome {
        let hasKeyExpiry = hasFieldsExpiry(record, match, entries.fieldExpiry)
        var outcome: RecordOutcome
        switch destination(record, match, context, entries, nodes) {
        case .connection(let target):
            outcome = try carryOut(record, match, context, placement, &entries, &held, target)
        case .apart:
            outcome = try writeApart(record, match, context, &held, nodes)
        case .everywhere:
            outcome = try writeEverywhere(record, context, nodes)
        case .wait:
            return .blocked
        }
        if hasKeyExpiry, outcome == .sent {
            outcome = .sentRepair("the key's expiry on the target is that of its fields")
        }
        switch outcome {
        case .repair, .sentRepair:
            if repairKeys.isEmpty, let key = key(of: record, match) {
                addRepair(database: record.database, key)
            }
        default: break
        }
        return outcome
    }

    private mutating func carryOut(
        _ record: JournalRecord, _ match: JournalRules.Match, _ context: RecordContext,
        _ placement: ShardPlacement, _ entries: inout EntryWriter, _ held: inout HeldExpiries,
        _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        switch match.rule {
        case .pass, .push:
            return try pass(record, context, target, demand: demand(of: record, match, target))
        case .pop:
            return try pass(record, context, target, demand: .nothing)
        case .increment:
            guard !memcachedIncrements else {
                return .repair("it may be memcached's, which is recorded without its amount")
            }
            return try pass(record, context, target)
        case .floatIncrement:
            return try floatIncrement(record, context, target)
        case .prepend:
            return try prepend(record, context, target)
        case .set:
            return try set(record, context, placement, &held, target)
        case .expireAt:
            return try expireAt(record, context, &held, target)
        case .delete, .persist, .rename, .setWithoutReply, .deleteWithoutReply:
            return try endHolding(record, match.rule, context, &held, target)
        case .deleteConditionally:
            return try deleteConditionally(record, context, &held, target)
        case .restore:
            return try restore(record, context, &entries, &held, target)
        case .setFields, .removeElements, .addMembers, .readsElement, .setMove, .addWithExpiry,
            .hashSetWithExpiry, .hashExpiry, .elementExpiry, .hashGetWithExpiry:
            return try element(
                record, match.rule, context, entries.fieldExpiry, entries.memberExpiry, target)
        case .json:
            return try json(record, context, entries.policy.json, &held, target)
        case .probabilistic:
            let reason = TypePolicy.probabilisticReason
            return entries.policy.fails(match.type) ? .refused(reason) : .unsupported(reason)
        case .streamAdd, .streamTrim, .streamClaim, .streamGroup, .streamSetID:
            return try stream(
                record, match.rule, context, entries.version.knowsEntriesRead, target)
        case .multiPop, .sort, .geoStore, .aggregateStore, .rangeStore:
            return try dependent(record, match.rule, context, target)
        case .lexicalRange:
            return try lexicalRange(record, keys: 1, context, target)
        case .move:
            return try move(record, context, held, target)
        case .flushAll, .flushDatabase:
            return .flush
        default:
            return try unwritten(record, match.rule, context, target)
        }
    }

    /// Commands that have no data for a Redis, and those of which nothing is known.
    private mutating func unwritten(
        _ record: JournalRecord, _ rule: JournalRule, _ context: RecordContext,
        _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        switch rule {
        case .script:
            return try script(record, context, target)
        case .skip:
            if let name = argument(record, 0), name.equalsIgnoringCase("STICK") {
                stickyFlagsDropped += 1
            }
            return .skipped
        case .search:
            // It stands in every flow (protocol.md 5.7).
            return context.flow == 0
                ? .unsupported(JournalWriter.searchReason) : .skipped
        case .administrative:
            return .unsupported("a target is never told such a command")
        case .flushSlots:
            return .repair("keys of flushed slots may remain on the target (flushSlots)")
        case .unknown:
            guard !context.isInSnapshot else {
                return .repair(JournalWriter.baselineMayBeMissing)
            }
            return try pass(record, context, target)
        default:
            return .repair("the command has no equal on the target")
        }
    }

    /// Sends the flush that all flows have reached.
    mutating func writeFlush(
        _ record: JournalRecord, _ context: RecordContext, rules: KeyRules,
        to target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        var record = record
        let isWhole = match(record).rule == .flushAll
        if isWhole, !rules.ownDatabases.isEmpty {
            return try writeFlushes(rules.ownDatabases, record, context, target)
        }
        if !isWhole { record.database = rules.target(ofDatabase: record.database) }
        return try pass(record, context, target, kind: .flush, demand: .nothing)
    }

    /// What a flush deletes has no elements.
    mutating func forgetElements(of record: JournalRecord, rules: KeyRules) {
        if let slots = SlotRanges(record) {
            elementExpiries.timers?.removeAll(database: record.database, in: slots)
            return
        }
        let isWhole = match(record).rule == .flushAll
        let database = isWhole ? nil : rules.target(ofDatabase: record.database)
        elementExpiries.removeAll(database: database)
    }

    /// A flush that was sent in part begins anew.
    mutating func forgetFlushes() { databasesFlushed = 0 }

    // Databases of the target that are not ours stay. All flows wait meanwhile, so that nothing comes
    // in between, over however many turns it takes.
    private mutating func writeFlushes(
        _ databases: [Int], _ record: JournalRecord, _ context: RecordContext,
        _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        while databasesFlushed < databases.count {
            let database = databases[databasesFlushed]
            let isLast = databasesFlushed + 1 == databases.count
            let bytes = TargetConnection.argumentBytes(8)
            guard
                try target.begin(
                    flow: context.flow, database: database, bytes: bytes, demand: .nothing)
            else { return .blocked }
            target.header(arguments: 1)
            target.argument("FLUSHDB")
            target.end(
                isLast ? .flush : .part, flow: context.flow, database: database,
                nextLSN: isLast ? context.nextLSN : 0)
            databasesFlushed += 1
        }
        databasesFlushed = 0
        return .sent
    }

    // MARK: Passing on

    func pass(
        _ record: JournalRecord, _ context: RecordContext, _ target: TargetConnection,
        as name: ByteView? = nil, kind: CommandKind = .journal,
        demand: MemoryRoom.Demand = .bySize
    ) throws(DecodeError) -> RecordOutcome {
        let bytes =
            record.payload.count + TargetConnection.argumentBytes(16) * record.argumentCount
        guard
            try target.begin(
                flow: context.flow, database: record.database, bytes: bytes, demand: demand)
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

    // A string may become as long as the place that a few bytes go to.
    private func demand(
        of record: JournalRecord, _ match: JournalRules.Match, _ target: TargetConnection
    ) -> MemoryRoom.Demand {
        guard match.type == .string, target.pace.memory.isLimited,
            let name = argument(record, 0), let place = argument(record, 2)?.parseInteger()
        else { return .bySize }
        if name.equalsIgnoringCase("SETRANGE") {
            return .bytes(Int(clamping: place) + record.payload.count * 2 + 1024)
        }
        if name.equalsIgnoringCase("SETBIT") { return .bytes(Int(clamping: place) / 8 + 1024) }
        return .bySize
    }

    /// Opens a script with the key that it writes, and maybe one that it reads, for a record whose
    /// arguments it takes all or in part; then write `arguments` arguments and `end`. False if there
    /// is no room.
    func beginScript(
        _ script: StaticString, _ key: ByteView, reading other: ByteView? = nil, arguments: Int,
        _ record: JournalRecord, _ context: RecordContext, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let text = ByteView(script)
        let bytes =
            text.count + record.payload.count
            + TargetConnection.argumentBytes(20) * (record.argumentCount + 6)
        guard
            try target.begin(flow: context.flow, database: record.database, bytes: bytes)
        else { return false }
        target.header(arguments: (other == nil ? 4 : 5) + arguments)
        target.argument("EVAL")
        target.argument(text)
        target.argument(other == nil ? "1" : "2")
        target.argument(key)
        if let other { target.argument(other) }
        return true
    }

    func end(
        _ kind: CommandKind, _ record: JournalRecord, _ context: RecordContext,
        _ target: TargetConnection
    ) {
        target.end(
            kind, type: context.type, flow: context.flow, database: record.database,
            nextLSN: context.nextLSN)
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

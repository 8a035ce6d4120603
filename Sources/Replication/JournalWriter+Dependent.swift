internal import Bytes
internal import RedisTarget
internal import Wire

/// Commands whose result depends on other keys, or on how a server stores them.
extension JournalWriter {
    mutating func dependent(
        _ record: JournalRecord, _ rule: JournalRule, _ context: RecordContext,
        _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        switch rule {
        case .sort: return try sort(record, context, target)
        case .multiPop: return try multiPop(record, context, target)
        case .geoStore:
            return geoDestinationPosition(record) == nil
                ? .skipped : .repair("the source records its result only")
        case .aggregateStore:
            if let reason = aggregateDoubt(record) { return .repair(reason) }
        default:
            // ZRANGESTORE d s min max ...
            guard record.argumentCount >= 5 else { return .repair(JournalWriter.cutPerShard) }
        }
        guard !context.isInSnapshot else { return .repair(JournalWriter.baselineMayBeMissing) }
        if rule == .rangeStore, hasLexicalRange(record) {
            return try lexicalRange(record, keys: 2, context, target)
        }
        return try pass(record, context, target)
    }

    // ZRANGESTORE d s min max [BYSCORE | BYLEX] ...
    private func hasLexicalRange(_ record: JournalRecord) -> Bool {
        var arguments = record.arguments
        for _ in 0..<5 { _ = arguments.next() }
        while let option = arguments.next() {
            if option.equalsIgnoringCase("BYLEX") { return true }
        }
        return false
    }

    /// What a lexical range takes is defined for equal scores only; with others it depends on the form
    /// in which a server stores the set. ARGV[1] is the command, the rest follows its keys.
    private static let lexicalRangeScript: StaticString = """
        local function score(rank)
            return redis.call('ZRANGE', KEYS[#KEYS], rank, rank, 'WITHSCORES')[2]
        end
        if score(0) ~= score(-1) then
            return redis.error_reply('ERR a lexical range of unequal scores')
        end
        local command = {ARGV[1]}
        for _, key in ipairs(KEYS) do command[#command + 1] = key end
        for index = 2, #ARGV do command[#command + 1] = ARGV[index] end
        return redis.call(unpack(command))
        """

    /// Refused by the target, and so repaired, if the scores differ.
    func lexicalRange(
        _ record: JournalRecord, keys: Int, _ context: RecordContext, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        var arguments = record.arguments
        guard let name = arguments.next(), let key = arguments.next() else {
            return .repair("the key is missing")
        }
        let source = keys == 2 ? arguments.next() : nil
        guard
            try beginScript(
                JournalWriter.lexicalRangeScript, key, reading: source,
                arguments: 1 + arguments.remaining, record, context, target)
        else { return .blocked }
        target.argument(name)
        while let argument = arguments.next() { target.argument(argument) }
        end(.journal, record, context, target)
        return .sent
    }

    private static let cutPerShard: StaticString =
        "the command was cut per shard by an older release"

    // ZUNIONSTORE, ZINTERSTORE, ZDIFFSTORE d n k... [WEIGHTS w...] [AGGREGATE a]: why the target
    // might make something else of it, nil if it does not.
    private func aggregateDoubt(_ record: JournalRecord) -> StaticString? {
        guard let number = argument(record, 2)?.parseInteger(), number > 0,
            number <= record.argumentCount - 3
        else { return JournalWriter.cutPerShard }
        let end = 3 + Int(number)
        if let option = argument(record, end), !option.equalsIgnoringCase("WEIGHTS"),
            !option.equalsIgnoringCase("AGGREGATE")
        {
            return JournalWriter.cutPerShard
        }
        if number > 2, argument(record, 0)?.equalsIgnoringCase("ZDIFFSTORE") != true {
            return "Redis adds three or more scores in another order, which rounds differently"
        }
        guard elementExpiries.isInUse else { return nil }
        for position in 3..<end {
            if let key = argument(record, position),
                elementExpiries.contains(database: record.database, key: key)
            {
                return JournalWriter.elementsExpireUnseen
            }
        }
        return nil
    }

    // LMPOP n k... LEFT | RIGHT [COUNT c], ZMPOP n k... MIN | MAX [COUNT c]
    private mutating func multiPop(
        _ record: JournalRecord, _ context: RecordContext, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        guard let keys = multiPopKeys(record) else {
            addRepairs(record, 1..<record.argumentCount)
            return .repair(JournalWriter.cutPerShard)
        }
        // Of several keys it takes the first that is there: all must be as on the source.
        guard context.isInSnapshot, keys.count > 1 else {
            return try pass(record, context, target)
        }
        addRepairs(record, keys)
        return .repair(JournalWriter.baselineMayBeMissing)
    }

    /// Where the keys of an LMPOP or ZMPOP stand; nil if the record was cut per shard.
    func multiPopKeys(_ record: JournalRecord) -> Range<Int>? {
        guard let number = argument(record, 1)?.parseInteger(), number > 0,
            number <= record.argumentCount - 3, isEnd(argument(record, 2 + Int(number)))
        else { return nil }
        return 2..<(2 + Int(number))
    }

    private func isEnd(_ argument: ByteView?) -> Bool {
        guard let argument else { return false }
        return argument.equalsIgnoringCase("LEFT") || argument.equalsIgnoringCase("RIGHT")
            || argument.equalsIgnoringCase("MIN") || argument.equalsIgnoringCase("MAX")
    }

    mutating func addRepairs(_ record: JournalRecord, _ positions: Range<Int>) {
        var arguments = record.arguments
        var index = 0
        while let argument = arguments.next() {
            if positions.contains(index) { addRepair(database: record.database, argument) }
            index += 1
        }
    }

    // MARK: SORT

    struct SortOptions {
        var hasStore = false
        var destinationPosition: Int?
        /// BY and GET read other keys, on whatever shard; BY nosort takes a set's own order.
        var readsOtherKeys = false
    }

    // SORT k [BY p] [LIMIT a b] [GET p]... [ASC | DESC] [ALPHA] [STORE d]
    func sortOptions(_ record: JournalRecord) -> SortOptions {
        var arguments = record.arguments
        _ = arguments.next()
        _ = arguments.next()
        var options = SortOptions()
        while let option = arguments.next() {
            if option.equalsIgnoringCase("STORE") {
                options.hasStore = true
                options.destinationPosition = nil
                guard arguments.remaining > 0 else { break }
                options.destinationPosition = record.argumentCount - arguments.remaining
                _ = arguments.next()
            } else if option.equalsIgnoringCase("BY") {
                options.readsOtherKeys = true
                _ = arguments.next()
            } else if option.equalsIgnoringCase("GET") {
                if let pattern = arguments.next(), !pattern.equals("#") {
                    options.readsOtherKeys = true
                }
            } else if option.equalsIgnoringCase("LIMIT") {
                _ = arguments.next()
                _ = arguments.next()
            }
        }
        return options
    }

    /// Dragonfly leaves the destination alone if there is nothing to sort; Redis deletes it.
    private static let sortScript: StaticString = """
        if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
        return redis.call('SORT', KEYS[2], unpack(ARGV))
        """

    private func sort(
        _ record: JournalRecord, _ context: RecordContext, _ target: TargetConnection
    ) throws(DecodeError) -> RecordOutcome {
        let options = sortOptions(record)
        guard options.hasStore else {
            // Cut off per shard, or a mere reading: only a transaction can be the former.
            if record.argumentCount == 2 && record.transactionID != 0 {
                return .repair("SORT ... STORE over several shards loses its result")
            }
            return .skipped
        }
        guard let position = options.destinationPosition,
            let destination = argument(record, position), let source = argument(record, 1)
        else {
            return .repair("SORT ... STORE without a destination")
        }
        guard !context.isInSnapshot else { return .repair(JournalWriter.baselineMayBeMissing) }
        guard !options.readsOtherKeys else {
            return .repair("it depends on keys of other shards, or on the order inside a set")
        }
        guard !elementExpiries.contains(database: record.database, key: source) else {
            return .repair(JournalWriter.elementsExpireUnseen)
        }
        guard
            try beginScript(
                JournalWriter.sortScript, destination, reading: source,
                arguments: record.argumentCount - 2, record, context, target)
        else { return .blocked }
        var arguments = record.arguments
        _ = arguments.next()
        _ = arguments.next()
        while let argument = arguments.next() { target.argument(argument) }
        end(.journal, record, context, target)
        return .sent
    }

    // GEORADIUS k ... [STORE d] [STOREDIST d]
    func geoDestinationPosition(_ record: JournalRecord) -> Int? {
        var arguments = record.arguments
        // The key, and what comes before the options, may be called anything.
        for _ in 0..<5 { _ = arguments.next() }
        while let option = arguments.next() {
            if option.equalsIgnoringCase("STORE") || option.equalsIgnoringCase("STOREDIST") {
                return arguments.remaining > 0 ? record.argumentCount - arguments.remaining : nil
            }
        }
        return nil
    }
}

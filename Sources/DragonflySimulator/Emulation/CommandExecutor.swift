import Bytes

/// What a client's command did.
struct Execution {
    var reply: TargetReply
    /// The journal entries, in order, each with its flow.
    var entries: [(flow: Int, entry: JournalEntry)]
}

/// Executes clients' commands on a keyspace as a Dragonfly would, and says what the journals of its
/// shards record of them (protocol.md 6), with that release's losses (6.8).
///
/// Not thread-safe: its owner calls it under its lock.
final class CommandExecutor {
    /// The flow to which scripts are journaled (protocol.md 6.4).
    static let scriptFlow = 0

    /// The data, of which nothing else may be changed while this is in use.
    let keyspace: Keyspace
    /// Whose behaviour and losses are emulated.
    let release: EmulatedRelease
    /// How many shards the keys are spread over.
    let flowCount: Int
    /// For the payloads of DUMP and of RESTORE entries.
    var encoder: EntryEncoder
    /// Called with the keys that a command is about to change, before it does.
    var willChange: ([KeyName]) throws(EmulationError) -> Void = { (_) throws(EmulationError) in }
    /// Called before all keys of a database, or of all databases (nil), are deleted at once.
    var willFlush: (Int?) throws(EmulationError) -> Void = { (_) throws(EmulationError) in }
    /// Which members SPOP takes from a set, given the number wanted; without it they are
    /// chosen by the seed.
    var chooseMembers: ((KeyName, Int) -> [[UInt8]]?)?

    /// Entries of the call that is being executed.
    var entries: [(flow: Int, entry: JournalEntry)] = []
    /// The MULTI block or script that is being executed.
    var block: TransactionBlock?
    /// What the current command's access to its key has found expired.
    var removedElements: RemovedElements?
    /// Bodies of scripts by their digests, as EVALSHA finds them.
    var scriptBodies: [[UInt8]: [UInt8]] = [:]
    /// What SPOP chooses by.
    var random: SplitMix
    private var nextTransaction: UInt64 = 1

    /// - Parameter seed: of what commands choose at random.
    init(keyspace: Keyspace, release: EmulatedRelease, flowCount: Int, seed: UInt64 = 1) {
        random = SplitMix(seed: seed)
        self.keyspace = keyspace
        self.release = release
        self.flowCount = flowCount
        encoder = EntryEncoder(release: release)
    }

    /// The flow that owns a key (protocol.md 7.1).
    func flow(of key: [UInt8]) -> Int {
        flowCount == 1 ? 0 : key.withByteView { $0.shard(flowCount: flowCount) }
    }

    // MARK: - What clients call

    /// Executes one command. Blocking commands do not wait: they answer null when there is nothing.
    /// A command that fails answers an error.
    func execute(_ words: [[UInt8]], database: Int) throws(EmulationError) -> Execution {
        begin()
        let reply = try run(words, database: database)
        return Execution(reply: reply, entries: entries)
    }

    /// Executes commands as MULTI ... EXEC does: one transaction id. The reply is an array.
    func execute(
        transaction commands: [[[UInt8]]], database: Int
    ) throws(EmulationError) -> Execution {
        begin()
        openBlock(commands)
        var replies: [TargetReply] = []
        for words in commands { replies.append(try run(words, database: database)) }
        closeBlock(database: database)
        return Execution(reply: .array(replies), entries: entries)
    }

    /// Deletes up to `limit` keys that have expired, as Dragonfly's background task does. The reply
    /// is how many they were.
    func expire(limit: Int) throws(EmulationError) -> Execution {
        begin()
        let now = keyspace.clock()
        var count = 0
        while count < limit, let first = keyspace.expiryQueue.first,
            first.expiryMilliseconds <= now
        {
            keyspace.takeFirstExpiry()
            // The key may have got another expiry since, or be gone.
            guard keyspace.details[first.name]?.expiryMilliseconds == first.expiryMilliseconds
            else { continue }
            try removeKey(first.name)
            count += 1
        }
        return Execution(reply: .integer(Int64(count)), entries: entries)
    }

    /// Deletes a key as Dragonfly's eviction does (protocol.md 5.10).
    func evict(_ name: KeyName) throws(EmulationError) -> Execution {
        begin()
        let reply = try keyspace.require([text("EXISTS"), name.key], database: name.database)
        if reply == .integer(1) { try removeKey(name) }
        return Execution(reply: reply, entries: entries)
    }

    /// Makes ready for what a client calls.
    func begin() {
        entries = []
        block = nil
    }

    // MARK: - One command

    /// Why Dragonfly refuses a command before it runs (its name or the number of its words); nil if
    /// it does not. MULTI asks this when it queues one.
    func refusal(of words: [[UInt8]]) -> TargetReply? {
        switch parse(words, database: 0) {
        case .refused(let reply): reply
        case .call: nil
        }
    }

    /// The flows of a command's keys, ascending; all flows for one that concerns every shard, none
    /// for one that is refused.
    func flows(of words: [[UInt8]]) -> [Int] {
        guard case .call(let call) = parse(words, database: 0) else { return [] }
        if call.rule.behaviour.isFlush { return Array(0..<flowCount) }
        return call.flows
    }

    /// Whether a command may write; false for one that is refused.
    func isWriting(_ words: [[UInt8]]) -> Bool {
        guard case .call(let call) = parse(words, database: 0) else { return false }
        return !call.rule.behaviour.isRead
    }

    private enum Parsed {
        case call(CommandCall)
        case refused(TargetReply)
    }

    private func parse(_ words: [[UInt8]], database: Int) -> Parsed {
        guard let name = words.first else { return .refused(.error(text("ERR empty command"))) }
        guard let rule = CommandRule.find(name), rule.since <= release.number else {
            let shown = name.map(asciiUppercased)
            return .refused(.error(text("ERR unknown command `") + shown + text("`")))
        }
        guard words.count >= rule.minimumWords, let positions = rule.positions(words) else {
            let shown = String(decoding: name, as: UTF8.self).lowercased()
            return .refused(
                .error(text("ERR wrong number of arguments for '\(shown)' command")))
        }
        var call = CommandCall(
            words: words, rule: rule, database: database, keyPositions: positions)
        call.words[0] = rule.name
        call.flows =
            positions.count == 1
            ? [flow(of: words[positions[0]])] : Set(positions.map { flow(of: words[$0]) }).sorted()
        return .call(call)
    }

    /// Executes a command of a client, a block or a script, and records it.
    func run(_ words: [[UInt8]], database: Int) throws(EmulationError) -> TargetReply {
        switch parse(words, database: database) {
        case .refused(let reply): return reply
        case .call(var call):
            removedElements = nil
            return call.rule.behaviour.isRead ? try read(call) : try write(&call)
        }
    }

    /// A transaction id for a command or block that does not run on one shard alone.
    func takeTransaction() -> UInt64 {
        defer { nextTransaction += 1 }
        return nextTransaction
    }

    /// Says that a call's keys, or those given, are about to change.
    func announce(_ call: CommandCall, _ keys: [[UInt8]]? = nil) throws(EmulationError) {
        let keys = keys ?? call.keys
        if !keys.isEmpty { try willChange(keys.map(call.name)) }
    }
}

/// A command on its way through the executor.
struct CommandCall {
    /// With the canonical name.
    var words: [[UInt8]]
    let rule: CommandRule
    let database: Int
    let keyPositions: [Int]
    /// The flows of its keys, ascending, each once.
    var flows: [Int] = []
    /// True for what takes several steps: it has a transaction id even on a single shard
    /// (protocol.md 5.5).
    var hasSteps = false
    /// False for what records its result in other words, which counts one shard (recorded:
    /// v1.30-catalogue, SUNIONSTORE).
    var countsFlows = true
    /// Its transaction id, once it has one.
    var transaction: UInt64?

    /// Its keys, in their order.
    var keys: [[UInt8]] { keyPositions.map { words[$0] } }
    /// The first key.
    var key: [UInt8] { words[keyPositions[0]] }

    /// The name of a key in the database of the call.
    func name(_ key: [UInt8]) -> KeyName { KeyName(database: database, key: key) }
    /// The name of the first key.
    var name: KeyName { name(key) }
}

import Bytes
import CPlatform

/// A Dragonfly whose data lives in a redis-server: its shards with their journals, and the flows
/// that follow them.
///
/// Everything here is done under the lock of the simulator's state, one command after another.
final class EmulatedMaster: @unchecked Sendable {
    // Proof of Sendable: all mutable state is touched only inside closures of the one
    // `Monitor<MasterState>` that holds this object.

    /// A shard's journal and who follows it.
    struct Shard {
        var backlog: Backlog
        /// False until the first flow came: before it nothing is journaled.
        var hasJournal = false
        var flows: [EmulatedFlow] = []
    }

    let options: EmulationOptions
    let keyspace: Keyspace
    let encoder: EntryEncoder
    var executor: CommandExecutor
    var shards: [Shard] = []
    var counters = EmulationCounters()
    /// Monotonic nanoseconds until which commands wait (CLIENT PAUSE), and whether reads do, too.
    var pausedUntil: Int64 = 0
    var pausesReads = false
    /// DFLY TAKEOVER is under way: ordinary commands are refused.
    var isTakenOver = false
    /// The id that the journals had before a failover (protocol.md 8.4).
    var lastMasterId: String?
    /// Something was queued for a flow that had nothing to send.
    var mustWake = false
    private var random: SplitMix
    /// The keys that the command in hand changes.
    private var changing: [KeyName] = []
    /// The key whose SET or DEL the command in hand may leave out of blobs.
    private var omissible: KeyName?

    var release: EmulatedRelease { options.release }

    init(options: EmulationOptions) throws(EmulationError) {
        self.options = options
        keyspace = try Keyspace()
        encoder = EntryEncoder(release: options.release, options: options.stream)
        executor = CommandExecutor(
            keyspace: keyspace, release: options.release, flowCount: options.flowCount)
        random = SplitMix(seed: options.seed)
        reset(flowCount: options.flowCount)
    }

    /// Begins anew with empty journals, as a restarted process does. The data stay.
    func reset(flowCount: Int) {
        executor = CommandExecutor(
            keyspace: keyspace, release: options.release, flowCount: flowCount)
        executor.encoder = encoder
        executor.willChange = { [weak self] (names) throws(EmulationError) in
            try self?.willChange(names)
        }
        executor.willFlush = { [weak self] (database) throws(EmulationError) in
            try self?.willFlush(database)
        }
        shards = (0..<flowCount).map { _ in Shard(backlog: Backlog(limit: options.backlog)) }
        pausedUntil = 0
        isTakenOver = false
        lastMasterId = nil
    }

    /// Whether CLIENT PAUSE holds up a command now.
    func isPaused(isWrite: Bool) -> Bool {
        (isWrite || pausesReads) && pausedUntil > cp_monotonic_nanoseconds()
    }

    /// The id of a process: 40 lowercase hex characters.
    func nextMasterId() -> String {
        HexDigits.forty(seed: random.next())
    }

    /// The shard that owns a key.
    func shard(of name: KeyName) -> Int {
        name.key.withByteView { $0.shard(flowCount: shards.count) }
    }

    /// As `DFLY REPLICAOFFSET` answers it (protocol.md 2.8).
    func offset(_ shard: Int) -> UInt64 {
        shards[shard].hasJournal ? shards[shard].backlog.nextLSN : 0
    }

    // MARK: Commands

    /// Executes a command of a client and journals it. Returns the reply and the flows on which the
    /// caller must wait.
    func execute(
        _ words: [[UInt8]], database: Int
    ) throws(EmulationError) -> (TargetReply, [EmulatedFlow]) {
        changing = []
        omissible = options.omitsRedundantWrites ? Self.omissibleKey(words, database) : nil
        defer { omissible = nil }
        let execution = try executor.execute(words, database: database)
        return (execution.reply, try journal(execution))
    }

    /// The same for MULTI ... EXEC.
    func execute(
        transaction commands: [[[UInt8]]], database: Int
    ) throws(EmulationError) -> (TargetReply, [EmulatedFlow]) {
        changing = []
        let execution = try executor.execute(transaction: commands, database: database)
        return (execution.reply, try journal(execution))
    }

    /// Executes a command of a memcached client.
    func execute(
        memcached command: MemcachedCommand
    ) throws(EmulationError) -> (TargetReply, [EmulatedFlow]) {
        changing = []
        let execution = try executor.execute(memcached: command)
        return (execution.reply, try journal(execution))
    }

    /// Deletes a key for want of memory.
    func evict(_ name: KeyName) throws(EmulationError) -> (TargetReply, [EmulatedFlow]) {
        changing = []
        let execution = try executor.evict(name)
        return (execution.reply, try journal(execution))
    }

    /// Deletes up to `limit` expired keys.
    func expire(limit: Int) throws(EmulationError) -> (TargetReply, [EmulatedFlow]) {
        changing = []
        let execution = try executor.expire(limit: limit)
        return (execution.reply, try journal(execution))
    }

    /// Appends a PING entry to every journal; returns the LSNs that answer them (protocol.md 5.8).
    func ping() throws(EmulationError) -> [UInt64] {
        changing = []
        for shard in shards.indices { try append(.ping, to: shard) }
        return shards.map(\.backlog.nextLSN)
    }

    /// Appends a record that no command made.
    func append(
        record words: [[UInt8]], database: Int, to shard: Int
    ) throws(EmulationError) -> (TargetReply, [EmulatedFlow]) {
        changing = []
        let entry = JournalEntry(database: database, words: words)
        return (.null, try journal(Execution(reply: .null, entries: [(shard, entry)])))
    }

    /// A plain SET or DEL of one key.
    private static func omissibleKey(_ words: [[UInt8]], _ database: Int) -> KeyName? {
        guard let name = words.first.map({ String(decoding: $0, as: UTF8.self).uppercased() }),
            name == "SET" && words.count == 3 || name == "DEL" && words.count == 2
        else { return nil }
        return KeyName(database: database, key: words[1])
    }

    // MARK: Journal

    private func journal(_ execution: Execution) throws(EmulationError) -> [EmulatedFlow] {
        var flows: [EmulatedFlow] = []
        var shardsSeen: Set<Int> = []
        for (shard, entry) in execution.entries {
            try append(entry, to: shard)
            if shardsSeen.insert(shard).inserted { flows += shards[shard].flows }
        }
        return flows.filter { $0.queue.unsent > options.outputLimitBytes }
    }

    /// Gives an entry its LSN and sends it on the shard's flows.
    private func append(_ entry: JournalEntry, to shard: Int) throws(EmulationError) {
        guard shards[shard].hasJournal else { return }
        let isPing = entry.operation == .ping
        let bytes = entry.encoded()
        let now = cp_monotonic_nanoseconds() / 1_000_000
        let lsn = shards[shard].backlog.append(bytes, isPing: isPing, now: now)
        counters.records += 1
        var hasOmitted = false
        for flow in shards[shard].flows {
            let wasIdle = flow.queue.isEmpty
            switch flow.phase {
            case .waiting, .ended:
                continue
            case .snapshot, .tail:
                hasOmitted = try append(entry, toSnapshotOf: flow) || hasOmitted
            case .stable:
                flow.append(
                    stable: bytes, lsn: lsn, isPing: isPing,
                    markerInterval: options.markerIntervalMilliseconds, now: now)
            }
            if wasIdle { mustWake = true }
        }
        // A record missing in somebody's full sync makes the ring useless (protocol.md 8.6).
        if hasOmitted { shards[shard].backlog.clear() }
    }

    /// Writes an entry as a blob; true if it was left out.
    private func append(
        _ entry: JournalEntry, toSnapshotOf flow: EmulatedFlow
    ) throws(EmulationError) -> Bool {
        if let omissible, entry.words.count > 1, entry.words[1] == omissible.key,
            flow.buckets.uncaptured(omissible) != nil
        {
            flow.buckets.add(omissible)
            counters.omitted += 1
            return true
        }
        guard let stream = flow.stream else { return false }
        do {
            try stream.complete(changing)
            try stream.add(entry)
        } catch {
            throw EmulationError(description: "a journal blob cannot be written: \(error)")
        }
        counters.blobs += 1
        return false
    }

    // MARK: Snapshot

    /// A command is about to change keys: their buckets are captured first (protocol.md 3.8).
    private func willChange(_ names: [KeyName]) throws(EmulationError) {
        changing += names
        for name in names {
            let owner = shard(of: name)
            for shard in shards.indices {
                // Elsewhere only what PFMERGE left there changes.
                guard shard == owner || keyspace.ghosts[shard]?[name] != nil else { continue }
                for flow in shards[shard].flows where flow.phase == .snapshot {
                    guard name != omissible, let bucket = flow.buckets.uncaptured(name) else {
                        continue
                    }
                    try capture(bucket, on: flow)
                }
            }
        }
    }

    /// A flush is coming. What a snapshot has not captured yet it still sends, behind the flush
    /// (protocol.md 3.6).
    private func willFlush(_ database: Int?) throws(EmulationError) {
        for shard in shards.indices {
            for flow in shards[shard].flows where flow.phase == .snapshot {
                while let bucket = flow.buckets.nextUncaptured() {
                    flow.leftovers += try stored(flow.buckets.capture(bucket), on: flow)
                }
            }
        }
    }

    /// The keys of a flow's bucket as they are now.
    private func stored(
        _ names: [KeyName], on flow: EmulatedFlow
    ) throws(EmulationError) -> [StoredKey] {
        let owned = names.filter { shard(of: $0) == flow.shard }
        let ghosts = names.compactMap { keyspace.ghosts[flow.shard]?[$0] }
        return try keyspace.stored(owned) + ghosts
    }

    /// Writes all keys of a bucket into the flow's snapshot.
    func capture(_ bucket: Int, on flow: EmulatedFlow) throws(EmulationError) {
        try write(stored(flow.buckets.capture(bucket), on: flow), to: flow)
    }

    /// Writes keys into the flow's snapshot.
    func write(_ keys: [StoredKey], to flow: EmulatedFlow) throws(EmulationError) {
        guard let stream = flow.stream else { return }
        let wasIdle = flow.queue.isEmpty
        for key in keys {
            let entry = try encoder.encode(key)
            do {
                try stream.add(entry)
            } catch {
                throw EmulationError(description: "a snapshot entry cannot be written: \(error)")
            }
            counters.baselines += 1
        }
        if wasIdle && !flow.queue.isEmpty { mustWake = true }
    }

    /// Whether something was queued for an idle flow since the last call.
    func takeMustWake() -> Bool {
        defer { mustWake = false }
        return mustWake
    }

    /// A seed for a flow's order of buckets.
    func nextRandom() -> SplitMix {
        SplitMix(seed: random.next())
    }
}

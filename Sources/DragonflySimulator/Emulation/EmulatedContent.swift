import Bytes
import CPlatform
import Glibc

/// What an emulated master sends, and the way of commands to it. All functions may be called from
/// any thread, none under the lock of the simulator's state.
final class EmulatedContent: FlowContent {
    /// How long a client that leaves may take to read what is on the way.
    private static let lastBytesMilliseconds = 100

    let options: EmulationOptions
    let state: Monitor<MasterState>
    private let master: EmulatedMaster
    private let currentIdentity: Monitor<MasterIdentity>

    init(_ options: EmulationOptions, state: Monitor<MasterState>) throws(EmulationError) {
        self.options = options
        self.state = state
        let master = try EmulatedMaster(options: options)
        self.master = master
        currentIdentity = Monitor(
            Self.identity(options, id: master.nextMasterId(), flowCount: options.flowCount))
        state.update { $0.emulated = master }
    }

    private static func identity(
        _ options: EmulationOptions, id: String, flowCount: Int
    ) -> MasterIdentity {
        MasterIdentity(
            masterId: id, release: options.release.text,
            redisVersion: "6.2.11",
            protocolVersion: options.release.protocolVersion,
            sendsLineage: options.release.sendsLineage, flowCount: flowCount, keyCounts: [])
    }

    var identity: MasterIdentity { currentIdentity.read { $0 } }

    /// The port of the redis-server that holds the data.
    var redisPort: UInt16 { master.keyspace.port }

    var partialNeedsSync: Bool { options.release.partialNeedsSync }

    func token(flow: Int, session: Int) -> String {
        HexDigits.forty(seed: options.seed &+ UInt64(session) << 16 &+ UInt64(flow) &+ 0x746f_6b65)
    }

    func start(flow: Int, lsn: UInt64?, lastMaster: String?) -> FlowStart? {
        let id = identity.masterId
        return state.read { _ in
            guard flow < master.shards.count else { return nil }
            return master.start(flow: flow, lsn: lsn, ofLastMaster: lastMaster, id)
        }
    }

    func nextLSN(flow: Int) -> UInt64 {
        state.read { _ in flow < master.shards.count ? master.offset(flow) : 0 }
    }

    // MARK: Sending

    func play(
        flow index: Int, session: Int, start: FlowStart, to sink: FlowSink
    ) throws(SystemError) {
        let found = state.read { _ in master.flow(session: session, index: index) }
        guard let flow = found else { throw SystemError(code: ECANCELED) }
        sink.emulatedFlow = flow
        while true {
            switch try step(flow) {
            case .send(let bytes):
                try bytes.withByteView { (view) throws(SystemError) in
                    try sink.write(view)
                    try sink.flush()
                }
            case .rest:
                let pause = Int64(options.bucketPauseMicroseconds) * 1000
                try sink.sleep(until: cp_monotonic_nanoseconds() + pause)
            case .again, .wait: break
            }
        }
    }

    /// The next thing that a flow's thread does; waits while there is nothing. Throws `ECANCELED`
    /// when the session is over.
    private func step(_ flow: EmulatedFlow) throws(SystemError) -> EmulatedMaster.Step {
        while true {
            let owed: Int64? = state.read { _ in flow.owedAnswers.first?.sent }
            let limit = owed.map {
                $0 + Int64(options.pingLimitMilliseconds) * 1_000_000 + 1_000_000
            }
            let result = state.wait(until: limit) {
                (state: inout MasterState) -> Result<EmulatedMaster.Step, SystemError>? in
                state.judgePings(now: cp_monotonic_nanoseconds())
                guard flow.phase != .ended else { return .failure(SystemError(code: ECANCELED)) }
                do throws(EmulationError) {
                    let step = try master.step(flow)
                    if case .wait = step {
                        return flow.owedAnswers.isEmpty == (owed == nil) ? nil : .success(.again)
                    }
                    return .success(step)
                } catch {
                    _ = state.fail(session: flow.session, error)
                    return .failure(SystemError(code: ECANCELED))
                }
            }
            if let result { return try result.get() }
        }
    }

    /// The client has ended a flow: one more marker goes out, as entries of a busy master would,
    /// before this side ends, too. A client that does not read any more answers with a reset.
    func sendLast(session: Int, flow index: Int, connection: Int) {
        let found: EmulatedFlow? = state.update { state in
            guard !state.isStopping, state.sessions[session]?.phase == .stable,
                !state.broken.contains(connection), !state.frozen.contains(connection),
                let flow = master.flow(session: session, index: index), flow.sendsMarkers
            else { return nil }
            let next = master.shards[index].backlog.nextLSN
            guard next > 1 else { return nil }
            flow.queue.append(JournalEntry.marker(next - 1))
            state.byteWaiters += 1
            return flow
        }
        guard let flow = found else { return }
        let limit = deadline(afterMilliseconds: Self.lastBytesMilliseconds)
        _ = state.wait(until: limit) { _ in
            flow.phase == .ended || flow.queue.unsent == 0 ? true : nil
        }
        state.update { $0.byteWaiters -= 1 }
    }

    // MARK: Commands

    /// Executes a command of a client; waits while commands are paused, and for flows that have too
    /// much to send (protocol.md 2.11).
    func execute(_ words: [[UInt8]], database: Int) throws(EmulationError) -> TargetReply {
        let isWrite = !words.isEmpty && CommandRule.find(words[0])?.behaviour.isRead != true
        return try run(isWrite: isWrite) { master throws(EmulationError) in
            try master.execute(words, database: database)
        }
    }

    /// The same for MULTI ... EXEC; the reply is that of EXEC.
    func execute(
        transaction commands: [[[UInt8]]], database: Int
    ) throws(EmulationError) -> TargetReply {
        try run(isWrite: true) { master throws(EmulationError) in
            try master.execute(transaction: commands, database: database)
        }
    }

    /// Executes a command of a memcached client.
    func execute(memcached command: MemcachedCommand) throws(EmulationError) -> TargetReply {
        try run(isWrite: true) { master throws(EmulationError) in
            try master.execute(memcached: command)
        }
    }

    /// Deletes a key for want of memory; the reply is how many were there.
    func evict(_ name: KeyName) throws(EmulationError) -> TargetReply {
        try run(isWrite: false) { master throws(EmulationError) in try master.evict(name) }
    }

    /// Appends a record that no command made.
    func append(
        record words: [[UInt8]], database: Int, flow: Int
    ) throws(EmulationError) {
        _ = try run(isWrite: true) { master throws(EmulationError) in
            try master.append(record: words, database: database, to: flow)
        }
    }

    /// Deletes up to `limit` expired keys, as Dragonfly does in the background.
    @discardableResult
    func expire(limit: Int) throws(EmulationError) -> TargetReply {
        // A pause does not keep keys from expiring.
        try run(isWrite: false) { master throws(EmulationError) in try master.expire(limit: limit) }
    }

    private func run(
        isWrite: Bool,
        _ body: (EmulatedMaster) throws(EmulationError) -> (TargetReply, [EmulatedFlow])
    ) throws(EmulationError) -> TargetReply {
        while true {
            waitForPause(isWrite: isWrite)
            let outcome: (TargetReply, [EmulatedFlow])? = try state.update(wakingIf: {
                (_) throws(EmulationError) in
                // A pause may have begun since.
                guard !master.isTakenOver, !master.isPaused(isWrite: isWrite) else {
                    return (nil, false)
                }
                let outcome = try body(master)
                return (outcome, master.takeMustWake())
            })
            if let (reply, flows) = outcome {
                if !flows.isEmpty { waitForRoom(on: flows) }
                return reply
            }
            if state.read({ $0.isStopping || master.isTakenOver }) {
                throw EmulationError.shuttingDown
            }
        }
    }

    private func waitForPause(isWrite: Bool) {
        while true {
            let limit = state.read { state -> Int64 in
                !state.isStopping && master.isPaused(isWrite: isWrite) ? master.pausedUntil : 0
            }
            guard limit > cp_monotonic_nanoseconds() else { return }
            _ = state.wait(until: limit) { state in
                state.isStopping || master.pausedUntil != limit ? true : nil
            }
        }
    }

    /// Waits until these flows have little enough to send; cancels the sessions of those that do
    /// not get there in time.
    private func waitForRoom(on flows: [EmulatedFlow]) {
        let begin = cp_monotonic_nanoseconds()
        // In a full sync it is the single write to the socket that has a limit of its own.
        let isStable = state.read { _ in flows.contains { $0.phase == .stable } }
        let limit = deadline(
            afterMilliseconds: isStable
                ? options.writerTimeoutMilliseconds : options.replicationTimeoutMilliseconds)
        func blocking() -> [EmulatedFlow] {
            flows.filter { $0.phase != .ended && $0.queue.unsent > options.outputLimitBytes }
        }
        state.update { $0.byteWaiters += 1 }
        let hasRoom: Bool? = state.wait(until: limit) { state in
            blocking().isEmpty || state.isStopping ? true : nil
        }
        state.update { state in
            state.byteWaiters -= 1
            let milliseconds = Int((cp_monotonic_nanoseconds() - begin) / 1_000_000)
            master.counters.longestWriterWaitMilliseconds = max(
                master.counters.longestWriterWaitMilliseconds, milliseconds)
            guard hasRoom == nil else { return }
            for session in Set(blocking().map(\.session)) {
                master.counters.timeouts += 1
                state.cancel(session: session)
            }
        }
    }

    /// A PING entry on every journal; returns the LSNs that answer them.
    func ping() throws(EmulationError) -> [UInt64] {
        try state.update { (_) throws(EmulationError) in try master.ping() }
    }

    /// From now on commands are refused; returns the LSNs that a replica must acknowledge.
    func beginTakeover() throws(EmulationError) -> [UInt64] {
        try state.update { (_) throws(EmulationError) in
            master.isTakenOver = true
            return try master.ping()
        }
    }

    func endTakeover() {
        state.update { _ in master.isTakenOver = false }
    }

    // MARK: Control

    /// CLIENT PAUSE for `milliseconds`; 0 ends it.
    func pause(milliseconds: Int, reads: Bool) {
        state.update { _ in
            master.pausedUntil = milliseconds > 0 ? deadline(afterMilliseconds: milliseconds) : 0
            master.pausesReads = reads
        }
    }

    /// Ends all sessions and begins anew with another id, LSNs from 1 and, unless `flowCount` is
    /// nil, another number of shards.
    func restart(flowCount: Int?) {
        state.update { state in
            let count = flowCount ?? master.shards.count
            state.endAllConnections()
            master.reset(flowCount: count)
            while state.flows.count < count { state.flows.append(FlowRecord()) }
            state.flowCount = count
            let fresh = Self.identity(options, id: master.nextMasterId(), flowCount: count)
            currentIdentity.update { $0 = fresh }
        }
    }

    /// Another process takes over, as a promoted replica does: another id, the journals go on
    /// (protocol.md 8.4).
    func failOver() {
        state.update { state in
            state.endAllConnections()
            let old = currentIdentity.read { $0 }
            master.lastMasterId = old.masterId
            let fresh = Self.identity(
                options, id: master.nextMasterId(), flowCount: old.flowCount)
            currentIdentity.update { $0 = fresh }
        }
    }

    /// Makes the redis-server the expected end state; nothing may be executed afterwards.
    func settle() throws(EmulationError) {
        try state.update { (_) throws(EmulationError) in try master.keyspace.settle() }
    }

    func stop() {
        state.update { _ in master.keyspace.stop() }
    }

    var counters: EmulationCounters {
        state.read { _ in master.counters }
    }

    /// What CONFIG GET answers.
    var settings: [(String, String)] {
        let stream = options.stream
        var settings = [
            ("cluster_mode", ""), ("dbnum", "16"), ("lock_on_hashtags", "false"),
            ("maxmemory", "0"), ("memcached_port", String(options.memcachedPort)),
            ("replication_stream_output_limit", String(options.outputLimitBytes)),
            ("replication_timeout", String(options.replicationTimeoutMilliseconds)),
            ("requirepass", ""), ("serialization_max_chunk_size", String(stream.chunkBytes)),
        ]
        if options.release.number >= 1032 && options.release.number < 1038 {
            settings.append(("point_in_time_snapshot", String(options.isPointInTime)))
        }
        if options.release.number >= 1039 {
            settings.append(("serialization_tagged_chunks", "true"))
        }
        switch options.backlog {
        case .entries(let count): settings.append(("shard_repl_backlog_len", String(count)))
        case .age(let milliseconds, let bytes):
            settings.append(("shard_repl_backlog_time_ms", String(milliseconds)))
            settings.append(("shard_repl_backlog_max_bytes", String(bytes)))
        }
        return settings
    }

    /// The lines of INFO's section Keyspace.
    func keyspaceInformation() -> String {
        let reply = state.read { _ in
            try? master.keyspace.read(
                [Array("INFO".utf8), Array("keyspace".utf8)], database: 0)
        }
        let text = String(decoding: reply?.bytes ?? [], as: UTF8.self)
        let lines = text.split(separator: "\r\n").filter { $0.hasPrefix("db") }
        return lines.map { $0 + "\r\n" }.joined()
    }
}

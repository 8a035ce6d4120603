import Bytes
import CPlatform
import Glibc

/// One replication attempt (protocol.md 2.7).
struct Session: Sendable {
    enum Phase: Sendable {
        case preparation
        case fullSync
        case stable
        case cancelled
    }

    /// One flow connection of the session.
    struct Flow: Sendable {
        let connection: Int
        let start: FlowStart
        var writerRuns = false
        /// The end of the static part (C8) was handed to the socket.
        var fullSyncEndSent = false
        /// Everything up to the journal was written.
        var tailWritten = false
        /// Everything was written.
        var finished = false
        /// Bytes of the stream that the socket was given so far, the segment in hand included.
        var bytesHanded = 0
        var lastAcknowledged: UInt64?
        /// Monotonic nanoseconds until which nothing is written.
        var stalledUntil: Int64 = 0
    }

    let number: Int
    let control: Int
    var phase = Phase.preparation
    var clientVersions = 0
    /// What `REPLCONF CLIENT-VERSION` announced.
    var clientVersion = 0
    var flows: [Flow?]

    init(number: Int, control: Int, flowCount: Int) {
        self.number = number
        self.control = control
        flows = Array(repeating: nil, count: flowCount)
    }

    var allFlowsOpen: Bool { flows.allSatisfy { $0 != nil } }
    var isPartial: Bool { flows.contains { $0?.start != .full && $0 != nil } }
    var isAllPartial: Bool { flows.allSatisfy { $0 != nil && $0?.start != .full } }
    var allTailsWritten: Bool { flows.allSatisfy { $0?.tailWritten == true } }
    var isFinished: Bool { flows.allSatisfy { $0?.finished == true } }
    var writersRun: Bool { flows.contains { $0?.writerRuns == true } }
}

/// What is known of one flow over all sessions.
struct FlowRecord: Sendable {
    var bytesSent = 0
    var acknowledgements: [UInt64] = []
}

/// Everything the threads of a simulated master share. The functions are transitions: they do no
/// I/O but shutting down sockets, which wakes their threads.
struct MasterState: Sendable {
    var sessions: [Int: Session] = [:]
    var lastSession = 0
    var flows: [FlowRecord]
    var breaches: [Breach] = []
    /// Connections that a client reset instead of closing.
    var resets = 0
    /// The master behind a `SimulatorSource.emulated`.
    var emulated: EmulatedMaster?
    /// Callers that wait for bytes to be sent.
    var byteWaiters = 0
    /// Connections that are neither read nor written any more, and stay open.
    var frozen: Set<Int> = []
    /// Until when replies on control connections wait, monotonic nanoseconds.
    var stalledControls: [Int: Int64] = [:]
    /// Connections that this side has ended with a fault: what their sockets report is no breach.
    var broken: Set<Int> = []
    /// How many DFLY commands were refused with LOADING.
    var loadingReplies = 0
    /// How many DUMPs were refused with LOADING or BUSY.
    var busyReads = 0
    /// Faults that have happened.
    var faults: [Fault] = []
    /// Replaces `SimulatorOptions.pacing` by flow.
    var pacing: [Int: Pacing] = [:]
    /// Open sockets by connection number. A connection leaves before its descriptor is closed, so
    /// a descriptor found here is valid.
    var descriptors: [Int: Int32] = [:]
    var lastConnection = 0
    var threadCount = 0
    var isStopping = false
    /// By DFLY TAKEOVER: nobody is served any more.
    var wasTakenOver = false
    /// Process CPU time when the first DFLY SYNC came and when the last flow was sent, nanoseconds.
    var cpuAtStart: Int64?
    var cpuAtEnd: Int64?
    /// What `REPLCONF listening-port` and `ip-address` said, by connection.
    var replicaPorts: [Int: Int] = [:]
    var replicaAddresses: [Int: String] = [:]

    /// The number of flows of a session; `flows` may hold more, of before a restart.
    var flowCount: Int

    init(flowCount: Int) {
        self.flowCount = flowCount
        flows = Array(repeating: FlowRecord(), count: flowCount)
    }

    /// The newest session, whatever its phase.
    var newest: Session? { sessions[lastSession] }

    mutating func openSession(control: Int) -> Int {
        lastSession += 1
        sessions[lastSession] = Session(
            number: lastSession, control: control, flowCount: flowCount)
        return lastSession
    }

    /// Ends a session: its flows are shut down, its id becomes unknown (protocol.md 2.7).
    mutating func cancel(session number: Int) {
        guard let session = sessions[number], session.phase != .cancelled else { return }
        judgePings(now: cp_monotonic_nanoseconds())
        sessions[number]?.phase = .cancelled
        emulated?.end(session: number)
        for flow in session.flows {
            if let flow { shutDownWriting(connection: flow.connection) }
        }
    }

    /// Ends a connection in both directions, and wakes whoever reads or writes it.
    func shutDown(connection: Int) {
        guard !frozen.contains(connection), let descriptor = descriptors[connection] else { return }
        _ = Glibc.shutdown(descriptor, Int32(SHUT_RDWR))
    }

    /// Sends the end of the stream: the client's own end is still read.
    func shutDownWriting(connection: Int) {
        guard !frozen.contains(connection), let descriptor = descriptors[connection] else { return }
        _ = Glibc.shutdown(descriptor, Int32(SHUT_WR))
    }

    /// Ends all sessions and connections as if the process or the network had gone.
    mutating func endAllConnections() {
        frozen = []
        for session in sessions.keys { cancel(session: session) }
        for connection in descriptors.keys {
            broken.insert(connection)
            shutDown(connection: connection)
        }
    }

    /// A control connection went away: a session that sends ends with it, one in preparation stays
    /// (protocol.md 2.7).
    /// - Parameter byClient: the client closed it, not this side.
    mutating func controlClosed(_ connection: Int, byClient: Bool) {
        for session in sessions.values where session.control == connection {
            if byClient { judgeLeaving(session) }
            if session.phase == .fullSync || session.phase == .stable {
                cancel(session: session.number)
            }
        }
    }

    /// Flows end before their control connection does, whoever ended the session (protocol.md 9.1).
    private mutating func judgeLeaving(_ session: Session) {
        let open = openFlows(of: session)
        if !open.isEmpty { breaches.append(.controlClosedFirst(openFlows: open)) }
    }

    /// The flows of a control connection's sessions that the client has not ended.
    func openFlows(ofControl connection: Int) -> [Int] {
        sessions.values.filter { $0.control == connection }.flatMap { openFlows(of: $0) }
    }

    /// Whether any flow of a control connection's sessions is still served.
    func hasFlows(ofControl connection: Int) -> Bool {
        sessions.values.contains { session in
            session.control == connection
                && session.flows.contains { $0.flatMap { descriptors[$0.connection] } != nil }
        }
    }

    private func openFlows(of session: Session) -> [Int] {
        guard !isStopping, !broken.contains(session.control) else { return [] }
        return session.flows.indices.filter { index in
            guard let connection = session.flows[index]?.connection,
                !broken.contains(connection), !frozen.contains(connection),
                let descriptor = descriptors[connection]
            else { return false }
            return !SocketEnd.hasArrived(on: descriptor)
        }
    }

    /// Records PING entries that have gone unanswered for too long.
    mutating func judgePings(now: Int64) {
        guard let emulated else { return }
        let limit = now - Int64(emulated.options.pingLimitMilliseconds) * 1_000_000
        for shard in emulated.shards.indices {
            for flow in emulated.shards[shard].flows {
                for lsn in flow.overdueAnswers(sentBefore: limit) {
                    breaches.append(.unansweredPing(flow: shard, next: lsn))
                }
            }
        }
    }

    /// Judges the value of an ACK (protocol.md 2.10).
    /// - Parameter next: the next LSN of the flow, if no emulated master knows better.
    mutating func acknowledge(session number: Int, flow index: Int, value: UInt64, next: UInt64) {
        flows[index].acknowledgements.append(value)
        guard let session = sessions[number], session.phase != .cancelled,
            let flow = session.flows[index]
        else { return }
        guard session.phase == .stable else {
            return breaches.append(.acknowledgedBeforeStable(flow: index, value: value))
        }
        if let previous = flow.lastAcknowledged, value < previous {
            breaches.append(.acknowledgedBackwards(flow: index, value: value, previous: previous))
        }
        sessions[number]?.flows[index]?.lastAcknowledged = value
        guard let emulatedFlow = emulated?.flow(session: number, index: index) else {
            if value > next {
                breaches.append(.acknowledgedBeyond(flow: index, value: value, next: next))
            }
            return
        }
        judgePings(now: cp_monotonic_nanoseconds())
        guard let sent = emulatedFlow.queue.deliveredLSN else {
            return breaches.append(.acknowledgedBeforeStable(flow: index, value: value))
        }
        if value > next {
            breaches.append(.acknowledgedBeyond(flow: index, value: value, next: next))
        } else if value > sent {
            breaches.append(.acknowledgedUnsent(flow: index, value: value, sent: sent))
        } else if let start = emulatedFlow.stableLSN, value < start {
            breaches.append(.acknowledgedBelowStart(flow: index, value: value, start: start))
        }
        emulatedFlow.acknowledged(value)
    }

    /// A session by the id a client sent: "SYNC<number>".
    func lookUp(sessionId: String) -> SessionLookup {
        guard sessionId.hasPrefix("SYNC"), let number = Int(sessionId.dropFirst(4)), number >= 0
        else { return .badId }
        guard let session = sessions[number], session.phase != .cancelled else { return .unknown }
        return .found(session)
    }
}

extension MasterState {
    /// An emulated master begins the snapshots of a session; a reply if it cannot.
    mutating func beginEmulatedFullSync(_ session: Int) -> Reply? {
        guard let emulated else { return nil }
        do throws(EmulationError) {
            try emulated.beginFullSync(session: session)
            return nil
        } catch {
            return fail(session: session, error)
        }
    }

    /// An emulated master begins the journals of a session; a reply if it cannot.
    mutating func startEmulatedStable(_ session: Int) -> Reply? {
        guard let emulated else { return nil }
        do throws(EmulationError) {
            guard try emulated.startStable(session: session) else {
                cancel(session: session)
                return .invalidState
            }
            for index in 0..<flowCount {
                // A resumed flow that has missed nothing has no tail to write.
                guard emulated.flow(session: session, index: index)?.tailEnd == 0 else { continue }
                sessions[session]?.flows[index]?.tailWritten = true
            }
            return nil
        } catch {
            return fail(session: session, error)
        }
    }

    /// The emulated master cannot go on with a session.
    mutating func fail(session: Int, _ error: EmulationError) -> Reply {
        breaches.append(.masterFailed(error.description))
        cancel(session: session)
        return .error("ERR \(error)")
    }
}

enum SessionLookup {
    case badId
    case unknown
    case found(Session)
}

import Bytes
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
    }

    let number: Int
    let control: Int
    var phase = Phase.preparation
    var clientVersions = 0
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
    /// Open sockets by connection number. A connection leaves before its descriptor is closed, so
    /// a descriptor found here is valid.
    var descriptors: [Int: Int32] = [:]
    var lastConnection = 0
    var threadCount = 0
    var isStopping = false
    /// Process CPU time when the first DFLY SYNC came and when the last flow was sent, nanoseconds.
    var cpuAtStart: Int64?
    var cpuAtEnd: Int64?
    /// What `REPLCONF listening-port` and `ip-address` said, by connection.
    var replicaPorts: [Int: Int] = [:]
    var replicaAddresses: [Int: String] = [:]

    init(flowCount: Int) {
        flows = Array(repeating: FlowRecord(), count: flowCount)
    }

    /// The newest session, whatever its phase.
    var newest: Session? { sessions[lastSession] }

    mutating func openSession(control: Int) -> Int {
        lastSession += 1
        sessions[lastSession] = Session(
            number: lastSession, control: control, flowCount: flows.count)
        return lastSession
    }

    /// Ends a session: its flows are shut down, its id becomes unknown (protocol.md 2.7).
    mutating func cancel(session number: Int) {
        guard let session = sessions[number], session.phase != .cancelled else { return }
        sessions[number]?.phase = .cancelled
        for flow in session.flows {
            if let flow { shutDown(connection: flow.connection) }
        }
    }

    /// Wakes whoever reads or writes a connection.
    func shutDown(connection: Int) {
        if let descriptor = descriptors[connection] {
            _ = Glibc.shutdown(descriptor, Int32(SHUT_RDWR))
        }
    }

    /// A control connection went away: a session that sends ends with it, one in preparation stays
    /// (protocol.md 2.7).
    mutating func controlClosed(_ connection: Int) {
        for session in sessions.values where session.control == connection {
            if session.phase == .fullSync || session.phase == .stable {
                cancel(session: session.number)
            }
        }
    }

    /// A session by the id a client sent: "SYNC<number>".
    func lookUp(sessionId: String) -> SessionLookup {
        guard sessionId.hasPrefix("SYNC"), let number = Int(sessionId.dropFirst(4)), number >= 0
        else { return .badId }
        guard let session = sessions[number], session.phase != .cancelled else { return .unknown }
        return .found(session)
    }
}

enum SessionLookup {
    case badId
    case unknown
    case found(Session)
}

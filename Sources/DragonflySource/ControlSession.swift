public import Bytes

/// What the owner of a control session does next. Commands are not actions: they are in `output`.
public enum ControlAction: Sendable, Equatable {
    case none
    /// Open one connection per element, each with a `FlowSession`, and report each to this session.
    /// Every one of them must be reported to `flowClosed` in the end, opened or not.
    case openFlows([FlowSettings])
    /// `DFLY SYNC` was accepted: every flow sends its snapshot.
    case startedFullSync
    /// The source streams its journal: tell every flow with `sessionBecameStable`.
    case enteredStable
    /// Call `leave` on every flow. If it was not asked for, `failure` says why.
    case leaveFlows
    /// Close the control connection, the session is over; nil if `stop` ended it.
    case close(SourceError?)
}

/// The control connection of one session with a Dragonfly master, from the handshake to its end
/// (protocol.md 2.3, 4.2): takes what happened, writes commands into `output`, returns what to do.
///
/// No command is written before the one before it was answered, and the hazards of protocol.md 2.2
/// cannot be reached: `CLIENT-VERSION` goes out once, before any flow exists; `DFLY SYNC` when
/// every flow needs it; `DFLY STARTSTABLE` when every flow ended its full sync. Reports that make
/// no sense in the present phase change nothing. A session is used once.
///
///     var session = ControlSession(settings, now: now)
///     // Connected: perform(session.connected(now: now, output: &sendRing))
///     // Readable:
///     while true {
///         let (consumed, action) = session.receive(
///             receiveRing.readable, now: now, output: &sendRing)
///         receiveRing.consume(consumed)
///         perform(action)
///         if consumed == 0 { break }
///     }
///     // At least once a second: perform(session.tick(now: now, output: &sendRing))
///     // Then flush sendRing.
///
/// `receiveRing` holds `HandshakeReply.bytesLimit` or more, `sendRing` any ring used for this only.
/// `DFLY SYNC` is written by the call that reports the last flow as ready: read all flows by then,
/// and hold that report back while the target is not yet prepared.
/// `now` is in milliseconds of a monotonic clock.
public struct ControlSession: ~Copyable {
    public enum Phase: Sendable {
        case connecting, handshake, openingFlows, fullSync, startingStable, stable, leaving, closed
    }

    /// The command whose answer is awaited. The first nine are the handshake, in this order.
    enum Request {
        case login, ping, info, listeningPort, address, capabilities, dragonfly, clientID
        case clientVersion
        case keepalive, sync, startStable
    }

    struct FlowState {
        var kind: SyncKind?
        var hasEndedFullSync = false
        var isClosed = false
    }

    public let settings: ControlSettings
    public internal(set) var phase = Phase.connecting
    /// Text of the source's release, empty if it did not tell: `df-v1.40.0`.
    public internal(set) var releaseText = ""
    /// Nil if the source did not tell.
    public internal(set) var release: SourceRelease?
    /// 40 hexadecimal digits naming the source process; empty before the session exists.
    public internal(set) var replicationID = ""
    /// `SYNC` and a number; empty before the session exists.
    public internal(set) var sessionID = ""
    public internal(set) var flowCount = 0
    /// The source's protocol version (protocol.md 1.1), 0 if it reports none.
    public internal(set) var protocolVersion = 0
    /// Whether the source knows LSNs and ACKs: v1.4 and later.
    public internal(set) var acknowledges = false
    /// Why a full sync is made although a position was given.
    public internal(set) var resumeObstacle: ResumeObstacle?
    /// Answers that are worth a log line and do not matter otherwise.
    public internal(set) var warnings: [String] = []
    /// Why the session is being left; nil while it runs and if `stop` ended it.
    public internal(set) var failure: SourceError?

    var flows: [FlowState] = []
    var asksForLSNs = false
    var awaited: Request?
    /// When the last command was written; at first, when the connection was begun.
    var lastSendTime: Int64

    public init(_ settings: ControlSettings, now: Int64) {
        self.settings = settings
        lastSendTime = now
    }

    /// The connection is established, TLS included.
    public mutating func connected(
        now: Int64, output: inout MirroredRing
    ) -> ControlAction {
        guard phase == .connecting else { return .none }
        phase = .handshake
        return send(settings.credentials == nil ? .ping : .login, now: now, output: &output)
    }

    /// Bytes from the source, from the first not yet consumed one. Takes one reply at most.
    public mutating func receive(
        _ input: ByteView, now: Int64, output: inout MirroredRing
    ) -> (consumed: Int, action: ControlAction) {
        switch phase {
        case .connecting: return (0, .none)
        case .leaving, .closed: return (input.count, .none)
        default: break
        }
        switch HandshakeReply.parse(input) {
        case .incomplete:
            return (0, .none)
        case .malformed:
            // The answer to AUTH could repeat the password.
            let shown = awaited == .login ? "" : ": \"\(input.printable(limit: 64))\""
            return (input.count, end(unexpected("bytes that are no reply\(shown)")))
        case .reply(let reply, let size):
            guard let request = awaited else {
                return (size, end(unexpected("\(reply.summary) without being asked")))
            }
            awaited = nil
            return (size, answered(request, reply, now: now, output: &output))
        }
    }

    /// Flow `index` was answered: its `FlowAction.ready`.
    public mutating func flowReady(
        _ index: Int, _ kind: SyncKind, now: Int64, output: inout MirroredRing
    ) -> ControlAction {
        guard phase == .openingFlows, flows.indices.contains(index), flows[index].kind == nil
        else { return .none }
        flows[index].kind = kind
        if kind == .partial && !asksForLSNs {
            return end(
                SourceError(
                    .restart, "flow \(index) was answered PARTIAL without being asked to resume"))
        }
        if kind == .full && asksForLSNs { resumeObstacle = .evicted }
        if flows.contains(where: { $0.kind != nil && $0.kind != kind }) {
            return end(
                SourceError(
                    .restartInFull,
                    "only some flows can resume, and such a mix cannot be continued: "
                        + "\(ResumeObstacle.evicted); beginning anew with a full sync"))
        }
        return proceed(now: now, output: &output)
    }

    /// Flow `index` has delivered FULLSYNC_END: its `FlowAction.endedFullSync`.
    public mutating func flowEndedFullSync(
        _ index: Int, now: Int64, output: inout MirroredRing
    ) -> ControlAction {
        guard flows.indices.contains(index) else { return .none }
        if phase == .openingFlows {
            return end(
                SourceError(.restart, "flow \(index) ended its full sync before DFLY SYNC"))
        }
        guard phase == .fullSync else { return .none }
        flows[index].hasEndedFullSync = true
        return proceed(now: now, output: &output)
    }

    /// Flow `index` cannot go on: its `FlowAction.failed`, or bytes that do not decode. It is
    /// closed like the others, through `leave`.
    public mutating func flowFailed(_ index: Int, _ error: SourceError) -> ControlAction {
        guard flows.indices.contains(index) else { return .none }
        return end(error)
    }

    /// The connection of flow `index` is closed, or was never made.
    public mutating func flowClosed(_ index: Int) -> ControlAction {
        guard flows.indices.contains(index) else { return .none }
        flows[index].isClosed = true
        guard phase == .leaving else {
            return end(SourceError(.restart, "flow \(index) was closed; beginning anew"))
        }
        guard flows.allSatisfy(\.isClosed) else { return .none }
        phase = .closed
        return .close(failure)
    }

    /// The control connection could not be made, or has ended; `reason` is the system's or the
    /// peer's.
    public mutating func connectionEnded(_ reason: String) -> ControlAction {
        switch phase {
        case .connecting:
            return end(
                SourceError(
                    .unreachable,
                    "cannot connect to the source: \(reason); check its address and that it runs"))
        case .handshake:
            return end(
                SourceError(
                    .unreachable, "the source ended the connection during the handshake: \(reason)")
            )
        default:
            return end(
                SourceError(
                    .restart, "lost the control connection to the source: \(reason)"))
        }
    }

    /// Asks for an orderly end (protocol.md 9.1).
    public mutating func stop() -> ControlAction {
        end(nil)
    }

    /// Moves the session's clock: PING, and what takes too long. Call it at least once a second.
    public mutating func tick(now: Int64, output: inout MirroredRing) -> ControlAction {
        guard phase != .leaving, phase != .closed else { return .none }
        let silence = now - lastSendTime
        if phase == .connecting {
            guard silence >= SessionTiming.answerLimit else { return .none }
            return connectionEnded("no answer in \(silence / 1000) s")
        }
        guard let request = awaited else {
            guard silence >= SessionTiming.pingInterval else { return .none }
            return send(.keepalive, now: now, output: &output)
        }
        guard silence >= limit(of: request) else { return .none }
        return end(
            SourceError(
                phase == .handshake ? .unreachable : .restart,
                "the source did not answer \(name(of: request)) in \(silence / 1000) s"))
    }

    // MARK: Steps

    /// Sends what the phase calls for, once nothing is awaited and every flow is there.
    mutating func proceed(now: Int64, output: inout MirroredRing) -> ControlAction {
        guard awaited == nil else { return .none }
        switch phase {
        case .openingFlows where flows.allSatisfy({ $0.kind != nil }):
            if flows[0].kind == .partial && release?.partialSync == .straightToStable {
                phase = .startingStable
                return send(.startStable, now: now, output: &output)
            }
            phase = .fullSync
            return send(.sync, now: now, output: &output)
        case .fullSync where flows.allSatisfy(\.hasEndedFullSync):
            phase = .startingStable
            return send(.startStable, now: now, output: &output)
        default:
            return .none
        }
    }

    mutating func send(
        _ request: Request, now: Int64, output: inout MirroredRing
    ) -> ControlAction {
        guard output.append(command: arguments(of: request)) else {
            return end(
                SourceError(
                    .refused,
                    "\(name(of: request)) does not fit the send buffer; use a shorter password"))
        }
        awaited = request
        lastSendTime = now
        return .none
    }

    /// Leaves the session, politely: flows first, the control connection last.
    mutating func end(_ error: SourceError?) -> ControlAction {
        guard phase != .leaving, phase != .closed else { return .none }
        failure = error
        awaited = nil
        guard flows.allSatisfy(\.isClosed) else {
            phase = .leaving
            return .leaveFlows
        }
        phase = .closed
        return .close(error)
    }

    /// The source said something that no Dragonfly says.
    func unexpected(_ what: String) -> SourceError {
        if phase == .handshake {
            return SourceError(
                .refused,
                "the source sent \(what); check that the address is that of a Dragonfly")
        }
        return SourceError(
            .restart, "the source sent \(what) on the control connection; beginning anew")
    }
}

public import Bytes

/// What the owner of a flow session does next. Commands and ACKs are not actions: they are in
/// `output`.
public enum FlowAction: Sendable, Equatable {
    case none
    /// `DFLY FLOW` was answered: tell the control session with `flowReady`. If `reader` is the
    /// journal already (protocol.md 8.2), its first record has LSN `journalStart`.
    case ready(SyncKind)
    /// Tell the control session with `flowEndedFullSync`.
    case endedFullSync
    /// The token was right, what follows is journal. `next` is the LSN of its first record, nil
    /// from a source older than v1.4.
    case journalBegins(next: UInt64?)
    /// Tell the control session with `flowFailed`; it will ask to leave all flows.
    case failed(SourceError)
    /// Shut down the writing side once `output` is flushed, and go on reading into `receive`.
    case shutDownWriting
    /// Close the connection and tell the control session with `flowClosed`.
    case close
}

/// One flow connection of a session, from connect to close (protocol.md 2.5, 2.10, 4.1): takes what
/// happened, writes commands and ACKs into `output`, returns what to do.
///
/// Before `DFLY FLOW` is answered one command at a time is written, after it nothing but
/// `REPLCONF ACK` (protocol.md 2.2); the value of an ACK only grows and is never above what was
/// reported as applied. Calls that make no sense in the present phase change nothing.
///
///     var flow = FlowSession(settings, now: now)
///     // Connected: perform(flow.connected(now: now, output: &sendRing))
///     // Readable:
///     reading: while true {
///         switch flow.reader {
///         case .session:
///             let (consumed, action) = flow.receive(
///                 receiveRing.readable, now: now, output: &sendRing)
///             receiveRing.consume(consumed)
///             perform(action)
///             if consumed == 0 { break reading }
///         case .snapshot:
///             // Decode; on FULLSYNC_END, JOURNAL_OFFSET and EOF perform(flow.fullSyncEnd()) ...
///         case .journal:
///             // Decode; on a PING record flow.pingSeen(next: record.lsn + 1)
///         }
///     }
///     // Records applied: flow.applied(upTo: next)
///     // Once per turn: perform(flow.tick(now: now, output: &sendRing)), then flush sendRing.
///     // Told by the control session: perform(flow.leave(now: now, output: &sendRing))
///
/// `receiveRing` holds `HandshakeReply.bytesLimit` or more, `sendRing` any ring used for this only.
/// `now` is in milliseconds of a monotonic clock. `tick`, `applied` and `pingSeen` do not allocate.
public struct FlowSession: ~Copyable {
    public enum Phase: Sendable {
        case connecting, authenticating, awaitingFlowReply
        /// The static part of the snapshot.
        case snapshot
        /// After FULLSYNC_END.
        case tail
        /// After JOURNAL_OFFSET.
        case offsetKnown
        /// After EOF: 40 bytes to come.
        case token
        /// The journal.
        case stable
        /// Out of step; waits for `leave`.
        case failed
        /// Our side is shut down; reads until the source's end.
        case leaving
        case closed
    }

    /// Who reads the bytes that come now.
    public enum Reader: Sendable {
        /// `receive` of this session.
        case session
        case snapshot
        case journal
    }

    public let settings: FlowSettings
    public private(set) var phase = Phase.connecting
    /// Nil before `DFLY FLOW` is answered.
    public private(set) var kind: SyncKind?
    /// LSN of the first journal record: the one asked for, or that of JOURNAL_OFFSET. Nil before it
    /// is known.
    public private(set) var journalStart: UInt64?

    private var token: [UInt8] = []
    /// When the present phase before the stream, or leaving, began waiting.
    private var waitingSince: Int64
    private var hasEnded = false
    private var acknowledgement = Acknowledgement()

    public init(_ settings: FlowSettings, now: Int64) {
        self.settings = settings
        waitingSince = now
    }

    public var reader: Reader {
        switch phase {
        case .snapshot, .tail, .offsetKnown: .snapshot
        case .stable: .journal
        default: .session
        }
    }

    /// The last value acknowledged, nil before the first.
    public var acknowledged: UInt64? { acknowledgement.sent }

    // MARK: Before the stream

    /// The connection is established, TLS included.
    public mutating func connected(now: Int64, output: inout MirroredRing) -> FlowAction {
        guard phase == .connecting else { return .none }
        guard let credentials = settings.credentials else {
            return requestFlow(now: now, output: &output)
        }
        phase = .authenticating
        return send(credentials.command, now: now, output: &output)
    }

    /// Bytes from the source while `reader` is `.session`, from the first not yet consumed one.
    public mutating func receive(
        _ input: ByteView, now: Int64, output: inout MirroredRing
    ) -> (consumed: Int, action: FlowAction) {
        switch phase {
        case .authenticating, .awaitingFlowReply:
            return receiveReply(input, now: now, output: &output)
        case .token:
            guard input.count >= token.count else { return (0, .none) }
            return (token.count, compareToken(input.slice(0, token.count)))
        case .failed, .leaving, .closed:
            return (input.count, .none)
        case .connecting, .snapshot, .tail, .offsetKnown, .stable:
            return (0, .none)
        }
    }

    private mutating func receiveReply(
        _ input: ByteView, now: Int64, output: inout MirroredRing
    ) -> (consumed: Int, action: FlowAction) {
        switch HandshakeReply.parse(input) {
        case .incomplete:
            return (0, .none)
        case .malformed:
            return (input.count, fail(.restart, "received bytes that are no reply"))
        case .reply(let reply, let size):
            if case .error(let text) = reply { return (size, failure(text)) }
            guard phase == .authenticating else { return (size, adopt(reply)) }
            guard case .simple(let text) = reply, text.equals(ByteView("OK")) else {
                return (size, fail(.restart, "AUTH was not answered with +OK"))
            }
            // More bytes would be an answer to what was not asked; `DFLY FLOW` must not follow.
            guard input.count == size else {
                return (size, fail(.restart, "received more than the answer to AUTH"))
            }
            return (size, requestFlow(now: now, output: &output))
        }
    }

    private mutating func requestFlow(now: Int64, output: inout MirroredRing) -> FlowAction {
        phase = .awaitingFlowReply
        let command = [
            "DFLY", "FLOW", settings.replicationID, settings.sessionID, "\(settings.index)",
        ]
        return send(
            command + (settings.resumeLSN.map { ["\($0)"] } ?? []), now: now, output: &output)
    }

    private mutating func send(
        _ command: [String], now: Int64, output: inout MirroredRing
    ) -> FlowAction {
        guard output.append(command: command) else {
            return fail(.refused, "\(command[0]) does not fit the send buffer")
        }
        waitingSince = now
        return .none
    }

    private mutating func failure(_ text: ByteView) -> FlowAction {
        let error = SourceError(
            reply: text, to: phase == .authenticating ? "AUTH" : "DFLY FLOW",
            credentials: settings.credentials)
        return fail(error.kind, error.message)
    }

    /// The answer to `DFLY FLOW`: `FULL` or `PARTIAL`, and the token.
    private mutating func adopt(_ reply: HandshakeReply) -> FlowAction {
        guard case .array(let elements) = reply, elements.count == 2,
            case .simple(let word) = elements[0], case .simple(let text) = elements[1],
            text.count == 40
        else {
            return fail(.restart, "DFLY FLOW was answered with \(reply.summary)")
        }
        token = text.array()
        if word.equals(ByteView("FULL")) {
            kind = .full
            phase = .snapshot
            return .ready(.full)
        }
        guard word.equals(ByteView("PARTIAL")), let start = settings.resumeLSN else {
            return fail(.restart, "DFLY FLOW was answered with \(word.printable())")
        }
        kind = .partial
        if settings.partialSync == .snapshotOfJournal {
            phase = .snapshot
        } else {
            phase = .stable
            journalStart = start
        }
        return .ready(.partial)
    }

    // MARK: The stream

    /// FULLSYNC_END was decoded.
    public mutating func fullSyncEnd() -> FlowAction {
        guard reader == .snapshot else { return .none }
        guard phase == .snapshot else { return fail(.restart, "FULLSYNC_END came twice") }
        phase = .tail
        return .endedFullSync
    }

    /// JOURNAL_OFFSET was decoded; `next` is the LSN of the first record after the snapshot.
    public mutating func journalOffset(_ next: UInt64) -> FlowAction {
        guard reader == .snapshot else { return .none }
        guard phase == .tail, next <= UInt64(Int64.max) else {
            return fail(.restart, "JOURNAL_OFFSET \(next) came out of place")
        }
        journalStart = next
        phase = .offsetKnown
        return .none
    }

    /// EOF was decoded: the token follows.
    public mutating func snapshotEnd() -> FlowAction {
        guard reader == .snapshot else { return .none }
        // Sources before v1.4 have no LSNs.
        guard phase == .offsetKnown || phase == .tail && !settings.acknowledges else {
            return fail(.restart, "the snapshot ended without FULLSYNC_END and JOURNAL_OFFSET")
        }
        phase = .token
        return .none
    }

    private mutating func compareToken(_ received: ByteView) -> FlowAction {
        guard token.withByteView({ $0.equals(received) }) else {
            return fail(.restart, "the token after the snapshot is not that of DFLY FLOW")
        }
        phase = .stable
        return .journalBegins(next: journalStart)
    }

    // MARK: Acknowledgement

    /// The control session's `enteredStable`: ACKs may be sent once this flow is stable, too.
    public mutating func sessionBecameStable() {
        acknowledgement.isAllowed = settings.acknowledges
    }

    /// Every record below LSN `next` is applied, and so is the snapshot. Nothing is acknowledged
    /// before the first such report, after PARTIAL neither; lower values than before are ignored.
    public mutating func applied(upTo next: UInt64) {
        acknowledgement.advance(to: next)
    }

    /// A PING record was read; `next` is the LSN after it.
    public mutating func pingSeen(next: UInt64) {
        acknowledgement.pingSeen(next: next)
    }

    /// Moves the flow's clock: writes an ACK if one is due (protocol.md 2.10), notices what takes
    /// too long. Call it once per turn, at least every second.
    public mutating func tick(now: Int64, output: inout MirroredRing) -> FlowAction {
        switch phase {
        case .stable:
            if acknowledgement.isDue(now: now) && output.isEmpty {
                acknowledgement.write(now: now, into: &output)
            }
            return .none
        case .connecting where now - waitingSince >= SessionTiming.answerLimit:
            return connectionEnded("no answer in \((now - waitingSince) / 1000) s")
        case .authenticating where now - waitingSince >= SessionTiming.answerLimit,
            .awaitingFlowReply where now - waitingSince >= SessionTiming.answerLimit:
            return fail(
                .restart,
                "\(phase == .authenticating ? "AUTH" : "DFLY FLOW") was not answered in "
                    + "\((now - waitingSince) / 1000) s")
        case .leaving where now - waitingSince >= SessionTiming.leaveLimit:
            phase = .closed
            return .close
        default:
            return .none
        }
    }

    // MARK: The end

    /// Leaves politely (protocol.md 9.1): a last ACK, then our end, then reading until the source's
    /// end or for two seconds. Bytes received before may still be decoded and applied.
    public mutating func leave(now: Int64, output: inout MirroredRing) -> FlowAction {
        switch phase {
        case .leaving, .closed:
            return .none
        case .connecting:
            phase = .closed
            return .close
        case .failed where hasEnded:
            phase = .closed
            return .close
        case .stable:
            if acknowledgement.isBehind && output.free >= Acknowledgement.bytesLimit {
                acknowledgement.write(now: now, into: &output)
            }
        default:
            break
        }
        phase = .leaving
        waitingSince = now
        return .shutDownWriting
    }

    /// Our side of the connection has ended: from now on the source has its time to end its own.
    public mutating func wroteEnd(now: Int64) {
        if phase == .leaving { waitingSince = now }
    }

    /// The connection could not be made, was lost, or reached the source's end.
    public mutating func connectionEnded(_ reason: String) -> FlowAction {
        hasEnded = true
        switch phase {
        case .leaving:
            phase = .closed
            return .close
        case .failed, .closed:
            return .none
        case .connecting:
            return fail(.unreachable, "cannot connect: \(reason)")
        default:
            return fail(.restart, "the connection was lost: \(reason)")
        }
    }

    private mutating func fail(_ kind: SourceError.Kind, _ message: String) -> FlowAction {
        phase = .failed
        return .failed(SourceError(kind, "flow \(settings.index): \(message)"))
    }
}

/// Something a replica must never do to a master (protocol.md 2.2), as the simulator saw it.
///
/// A test asserts that the list of breaches is empty; the bench prints it.
public enum Breach: Equatable, Sendable, CustomStringConvertible {
    /// Bytes arrived before the reply to `DFLY FLOW` was sent, or in one packet with the command, or
    /// commands had been pipelined on that connection before.
    case pipelinedFlow(flow: Int)
    /// Something other than `REPLCONF ACK <integer>` came on a running flow.
    case commandOnFlow(flow: Int, command: String)
    /// `DFLY STARTSTABLE` came before these flows had their full-sync end (C8) sent.
    case earlyStartStable(missingFlows: [Int])
    /// `REPLCONF CLIENT-VERSION` came while the connection had no session.
    case clientVersionWithoutSession
    /// `REPLCONF CLIENT-VERSION` came a second time for one session.
    case clientVersionTwice
    /// `DFLY SYNC` came although a flow had been answered PARTIAL.
    case syncAfterPartial
    /// An ACK named an LSN beyond the next one of that flow.
    case acknowledgedBeyond(flow: Int, value: UInt64, next: UInt64)
    /// An ACK named an LSN beyond what had been sent on that flow; `sent` is the LSN after the last
    /// entry sent.
    case acknowledgedUnsent(flow: Int, value: UInt64, sent: UInt64)
    /// An ACK was smaller than one before it.
    case acknowledgedBackwards(flow: Int, value: UInt64, previous: UInt64)
    /// An ACK was below the LSN with which the stable stream began (D3, or the one asked for).
    case acknowledgedBelowStart(flow: Int, value: UInt64, start: UInt64)
    /// An ACK came before the flow was stable.
    case acknowledgedBeforeStable(flow: Int, value: UInt64)
    /// A PING entry was not acknowledged in time (protocol.md 5.8); `next` is the LSN after it.
    case unansweredPing(flow: Int, next: UInt64)
    /// A connection ended with a reset (protocol.md 9.1); `flow` is nil if it was not a flow.
    case reset(flow: Int?)
    /// A control connection ended while these flows of its session were still open
    /// (protocol.md 9.1).
    case controlClosedFirst(openFlows: [Int])
    /// Not a replica's fault: the emulated master itself could not go on.
    case masterFailed(String)

    public var description: String {
        switch self {
        case .pipelinedFlow(let flow):
            "flow \(flow): DFLY FLOW was pipelined with other bytes"
        case .commandOnFlow(let flow, let command):
            "flow \(flow): '\(command)' on a running flow"
        case .earlyStartStable(let flows):
            "DFLY STARTSTABLE before the full-sync end of flows \(flows)"
        case .clientVersionWithoutSession:
            "REPLCONF CLIENT-VERSION without a session"
        case .clientVersionTwice:
            "REPLCONF CLIENT-VERSION twice in one session"
        case .syncAfterPartial:
            "DFLY SYNC after PARTIAL"
        case .acknowledgedBeyond(let flow, let value, let next):
            "flow \(flow): ACK \(value) but the next LSN is \(next)"
        case .acknowledgedUnsent(let flow, let value, let sent):
            "flow \(flow): ACK \(value) but the next LSN after all that was sent is \(sent)"
        case .acknowledgedBackwards(let flow, let value, let previous):
            "flow \(flow): ACK \(value) after \(previous)"
        case .acknowledgedBelowStart(let flow, let value, let start):
            "flow \(flow): ACK \(value) but the stable stream began with \(start)"
        case .acknowledgedBeforeStable(let flow, let value):
            "flow \(flow): ACK \(value) before the flow was stable"
        case .unansweredPing(let flow, let next):
            "flow \(flow): no ACK \(next) in time after a PING entry"
        case .reset(let flow):
            flow.map { "flow \($0) was reset" } ?? "a connection was reset"
        case .controlClosedFirst(let flows):
            "the control connection ended while flows \(flows) were open"
        case .masterFailed(let message):
            "the emulated master failed: \(message)"
        }
    }
}

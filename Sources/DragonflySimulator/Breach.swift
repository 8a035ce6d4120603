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
        }
    }
}

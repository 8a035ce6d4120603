import Bytes

/// How a flow begins: with a snapshot, or in the journal at an LSN.
enum FlowStart: Equatable, Sendable {
    case full
    case partial(nextLSN: UInt64)
}

/// Who a master says it is.
struct MasterIdentity: Sendable {
    /// 40 lowercase hex characters.
    let masterId: String
    /// As INFO prints it: "df-v1.40.0".
    let release: String
    let redisVersion: String
    /// The fourth element of the CAPA reply (protocol.md 1.1).
    let protocolVersion: Int
    /// Whether the CAPA reply has the lineage id as fifth element (v1.40 and later).
    let sendsLineage: Bool
    let flowCount: Int
    /// Keys per database, as far as it is known.
    let keyCounts: [Int]

    /// The release as a number that compares: 1.40 is 1040; 0 if it cannot be read.
    var releaseNumber: Int {
        guard let start = release.firstIndex(of: "v") else { return 0 }
        let parts = release[start...].dropFirst().split(separator: ".")
        guard parts.count >= 2, let major = Int(parts[0]), let minor = Int(parts[1]) else {
            return 0
        }
        return major * 1000 + minor
    }
}

/// What a simulated master sends. One object serves all sessions and flows, from several threads.
protocol FlowContent: Sendable {
    var identity: MasterIdentity { get }

    /// The end-of-stream token of a flow in session number `session`: 40 lowercase hex characters.
    func token(flow: Int, session: Int) -> String

    /// Whether flows that were answered PARTIAL still need a `DFLY SYNC` (protocol.md 8.1).
    var partialNeedsSync: Bool { get }

    /// How a flow that was requested with `lsn` (nil without one) begins; nil if it cannot be served.
    /// - Parameter lastMaster: the id by whose numbering `lsn` counts, if it is not this master's
    ///   (protocol.md 8.4).
    func start(flow: Int, lsn: UInt64?, lastMaster: String?) -> FlowStart?

    /// The LSN that the next journal entry of the flow will get (protocol.md 2.8). No honest ACK is
    /// beyond it.
    func nextLSN(flow: Int) -> UInt64

    /// Sends the whole flow, pausing where `sink` says so. Returns when everything is sent; throws
    /// when the session ended before.
    func play(
        flow: Int, session: Int, start: FlowStart, to sink: FlowSink
    ) throws(SystemError)
}

extension FlowContent {
    var partialNeedsSync: Bool { false }
}

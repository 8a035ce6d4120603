internal import Bytes

/// How to log in. Its text never holds the password.
public struct Credentials: Sendable, Equatable, CustomStringConvertible, CustomReflectable {
    /// ACL user; nil logs in as the default user.
    public var user: String?
    public var password: String

    public init(user: String? = nil, password: String) {
        self.user = user
        self.password = password
    }

    public var description: String { "user \(user ?? "default")" }
    public var customMirror: Mirror { Mirror(self, children: ["user": user ?? "default"]) }

    /// `AUTH` and its arguments.
    var command: [String] {
        ["AUTH"] + (user.map { [$0] } ?? []) + [password]
    }
}

/// What a flow was answered (protocol.md 2.5).
public enum SyncKind: Sendable {
    /// A snapshot comes first.
    case full
    /// The journal goes on at the LSN asked for.
    case partial
}

/// Where an earlier session ended (protocol.md 8.3).
public struct ResumePosition: Sendable, Equatable {
    /// The source process that the LSNs belong to.
    public var replicationID: String
    /// Per flow, the first LSN that we do not hold.
    public var lsns: [UInt64]

    public init(replicationID: String, lsns: [UInt64]) {
        self.replicationID = replicationID
        self.lsns = lsns
    }
}

/// Why a session that was given a position makes a full sync.
public enum ResumeObstacle: Sendable, Equatable, CustomStringConvertible {
    /// `INFO server` did not tell the release, so the procedure is unknown.
    case unknownRelease
    /// This release cannot resume (protocol.md 8.1).
    case unsupportedRelease
    /// Another source process than the position's.
    case otherSource
    /// The number of shards changed.
    case otherFlowCount
    /// An LSN of the position is 0 or too large to be one.
    case invalidPosition
    /// The journal no longer holds the LSN.
    case evicted

    public var description: String {
        switch self {
        case .unknownRelease:
            "the source did not tell its release (grant +info)"
        case .unsupportedRelease:
            "this release of the source cannot resume (v1.35 and later can)"
        case .otherSource:
            "the source was restarted or is another one"
        case .otherFlowCount:
            "the number of the source's shards changed"
        case .invalidPosition:
            "the stored position is not valid"
        case .evicted:
            "the source's journal no longer reaches back to the position; a larger "
                + "--shard_repl_backlog_len helps (after v1.40.1: --shard_repl_backlog_time_ms)"
        }
    }
}

/// What a control session needs to know.
public struct ControlSettings: Sendable {
    public var credentials: Credentials?
    /// Shown in `INFO replication` and `ROLE` of the source; nothing listens there.
    public var listeningPort: UInt16
    /// Our own address, shown there too; nil leaves it to the source.
    public var address: String?
    /// What `REPLCONF CLIENT-ID` says: the name of the run.
    public var clientID: String
    public var position: ResumePosition?

    public init(
        credentials: Credentials? = nil, listeningPort: UInt16, address: String? = nil,
        clientID: String, position: ResumePosition? = nil
    ) {
        self.credentials = credentials
        self.listeningPort = listeningPort
        self.address = address
        self.clientID = clientID
        self.position = position
    }
}

/// What one flow session needs to know; made by the control session, good for one session.
public struct FlowSettings: Sendable, Equatable {
    /// The source's shard, 0..<flow count.
    public let index: Int
    public let replicationID: String
    public let sessionID: String
    /// The LSN to ask for, nil for a full sync.
    public let resumeLSN: UInt64?
    public let partialSync: SourceRelease.PartialSync
    /// Whether the source knows LSNs and ACKs: v1.4 and later (protocol.md 2.3).
    public let acknowledges: Bool
    public let credentials: Credentials?

    public init(
        index: Int, replicationID: String, sessionID: String, resumeLSN: UInt64? = nil,
        partialSync: SourceRelease.PartialSync = .unsupported, acknowledges: Bool = true,
        credentials: Credentials? = nil
    ) {
        self.index = index
        self.replicationID = replicationID
        self.sessionID = sessionID
        self.resumeLSN = resumeLSN
        self.partialSync = partialSync
        self.acknowledges = acknowledges
        self.credentials = credentials
    }
}

/// Times of a session, milliseconds.
public enum SessionTiming {
    /// Between two PINGs on the control connection (idle flows are silent, protocol.md 5.8).
    public static let pingInterval: Int64 = 5_000
    /// Without connection or answer for this long, the source is lost.
    public static let answerLimit: Int64 = 15_000
    /// The same for `DFLY SYNC` and `DFLY STARTSTABLE`, which the source answers only after work on
    /// every flow: twice the time after which it gives up a flow itself (protocol.md 2.11).
    public static let transitionLimit: Int64 = 60_000
    /// Between two ACKs of a flow that moves (protocol.md 2.10).
    public static let acknowledgementInterval: Int64 = 1_000
    /// How long a flow that is being left is read for its end.
    public static let leaveLimit: Int64 = 2_000
}

extension MirroredRing {
    /// Appends a command as a RESP array, which is accepted everywhere and safe for any argument
    /// (protocol.md 2.1). False, with nothing appended, if it does not fit. Allocates.
    mutating func append(command arguments: [String]) -> Bool {
        var text = Array("*\(arguments.count)\r\n".utf8)
        for argument in arguments {
            text += Array("$\(argument.utf8.count)\r\n\(argument)\r\n".utf8)
        }
        guard text.count <= free else { return false }
        text.withByteView { append($0) }
        return true
    }
}

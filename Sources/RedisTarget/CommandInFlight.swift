internal import Bytes
public import Wire

/// What a command in flight was sent for.
public enum CommandKind: UInt8, Sendable, BitwiseCopyable {
    /// Log-in and questions at connect.
    case authenticate, setName, information, jsonQuestion
    /// SELECT before a command of another database.
    case select
    /// A command of a record that has more to come.
    case part
    /// The last (or only) command of a snapshot entry.
    case entry
    /// The same of an entry that must not replace a key: see `TargetReply.foundKey`.
    case guardedEntry
    /// EXISTS for an entry that cannot be written, and whose key may be somebody else's.
    case probe
    /// The last (or only) command of a journal record.
    case journal
    /// A command of a journal record of several keys that is carried out key by key, but for its last.
    case journalPart
    /// A flush that all flows waited for.
    case flush
    /// A script of the journal; not data, so a refusal is no failure.
    case script
    /// A script of the snapshot's AUX fields; no record.
    case auxiliaryScript
    /// Either of them for the other masters of a cluster; no record.
    case scriptCopy
    /// DISCARD of an entry given up half way; no record, and refused if MULTI was.
    case discard
    /// The true expiry of a key that was kept alive; no record.
    case expiry
    /// A command that builds the shadow of a big value, the one that asks for its size, and the one
    /// that makes entries pending. The low half of `nextLSN` is the value's number; of a claim the
    /// high half is the entries asked for.
    case shadow, shadowLength, shadowClaim
    /// EXISTS before the first part of a big value that must not replace a key: see
    /// `TargetReply.foundKey`. `nextLSN` is the value's number.
    case shadowGuard
    /// The removal of a shadow that was given up; no record.
    case shadowRemoval
    /// Looks for shadows that dead runs left; no record.
    case sweep
    /// The removal of an element whose expiry has come, `nextLSN` in Unix milliseconds; no record.
    case element
    /// The last (or only) command of a value that was read again; no record. `nextLSN` is its
    /// place in the repair list.
    case repair
    /// The question for the target's memory.
    case memory
    /// Questions to a node of a cluster: what it knows of the cluster, and of its replicas.
    case topology, replication
    /// ASKING, before a command of a slot that is on its way.
    case asking
}

extension CommandKind {
    /// Whether an error reply means that a record was not applied.
    var failsItsRecord: Bool {
        switch self {
        case .script, .auxiliaryScript, .scriptCopy, .discard, .shadowRemoval, .sweep: false
        default: true
        }
    }

    /// Whether it is about us or the connection, not about a key: it comes between any others.
    var isAside: Bool {
        switch self {
        case .memory, .topology, .replication, .asking: true
        default: false
        }
    }

    /// Whether anybody waits for what becomes of it.
    var isAwaited: Bool {
        switch self {
        case .script, .flush, .sweep: true
        default: settlesKeys
        }
    }

    /// Whether it is about a key of our own, under which a big value is built.
    var isOfShadow: Bool {
        switch self {
        case .shadow, .shadowLength, .shadowClaim, .shadowRemoval: true
        default: false
        }
    }

    /// Whether it is a command about a key that stands alone, or ends a transaction.
    var settlesKeys: Bool {
        switch self {
        case .entry, .guardedEntry, .probe, .journal, .journalPart, .expiry, .shadow,
            .shadowLength, .shadowClaim, .shadowGuard, .shadowRemoval, .element, .repair:
            true
        default: false
        }
    }
}

/// A command sent and not yet answered.
public struct CommandInFlight: BitwiseCopyable {
    /// Absolute positions of its bytes in the send ring.
    var start: Int
    var end: Int
    public var kind: CommandKind
    /// What its record is counted as.
    public var type: RecordType
    public var flow: Int16
    public var database: Int32
    /// The LSN after the record, 0 for snapshot entries.
    public var nextLSN: UInt64
}

/// One command's reply.
public struct TargetReply {
    public var command: CommandInFlight
    public var reply: RESPReply
    /// For the last command of a record: true if any command of the record was refused.
    public var recordFailed: Bool

    /// Of a guarded entry, or a probe: the target had a key of that name and keeps it as it is.
    public var foundKey: Bool {
        switch reply.kind {
        // SET NX
        case .null: true
        // RESTORE without REPLACE
        case .error: reply.content.starts(with: "BUSYKEY")
        // EXISTS, or the DEL behind RENAMENX: what was built is still there.
        case .integer, .array: !reply.hasError && reply.integer == 1
        default: false
        }
    }
}

internal import Bytes

/// What is known of keys that the target had before the full sync, where `conflict.policy` lets them
/// be.
///
/// A guarded baseline finds out by its reply whether the target has the key. Until then no record of
/// the key is sent: it would change somebody else's key, and nothing could be taken back. Keys go by the
/// source's names.
struct Conflicts: ~Copyable {
    private static let keptBuckets = 1 << 20
    private static let journaledBuckets = 1 << 18
    private static let unansweredSlots = 1 << 16

    let policy: ReplicationSettings.ConflictPolicy
    /// Keys that the target had and keeps.
    private(set) var kept: KeySet
    /// Keys that records of the snapshot stream have written: their baseline, which some releases send
    /// behind such a record (protocol.md 3.8), finds what we wrote ourselves.
    private var journaled: KeySet
    // How many guarded baselines of keys with that hash are unanswered. That two keys share a slot
    // makes one wait for the other, and no more.
    private var unanswered: [UInt16]
    private(set) var unansweredCount = 0

    init(
        policy: ReplicationSettings.ConflictPolicy, directory: String
    ) throws(SystemError) {
        // All first: a struct that owns memory cannot be left half made.
        let kept = try KeySet(directory: directory, buckets: Conflicts.keptBuckets)
        let journaled = try KeySet(directory: directory, buckets: Conflicts.journaledBuckets)
        self.kept = kept
        self.journaled = journaled
        self.policy = policy
        unanswered = [UInt16](
            repeating: 0, count: policy == .overwrite ? 0 : Conflicts.unansweredSlots)
    }

    var isGuarding: Bool { policy != .overwrite }

    /// Whether records have to be looked at.
    var concernRecords: Bool { unansweredCount > 0 || kept.count > 0 || failure != nil }

    /// Why nothing can be told of keys any more.
    var failure: SystemError? { kept.failure ?? journaled.failure }

    /// Whether the baseline of a key must not replace what the target has.
    mutating func guardsBaseline(database: Int, key: ByteView) -> Bool {
        isGuarding && !journaled.contains(database: database, key: key)
    }

    mutating func sentBaseline(database: Int, key: ByteView) {
        unanswered[Conflicts.slot(database, key)] += 1
        unansweredCount += 1
    }

    mutating func answeredBaseline(database: Int, key: ByteView) {
        let slot = Conflicts.slot(database, key)
        precondition(unanswered[slot] > 0, "each baseline is answered once")
        unanswered[slot] -= 1
        unansweredCount -= 1
    }

    /// Whether it is not known yet whether the key is kept.
    func isUnanswered(database: Int, key: ByteView) -> Bool {
        unansweredCount > 0 && unanswered[Conflicts.slot(database, key)] > 0
    }

    mutating func keep(database: Int, key: ByteView) {
        kept.insert(database: database, key: key)
    }

    mutating func isKept(database: Int, key: ByteView) -> Bool {
        kept.contains(database: database, key: key)
    }

    /// A record of the snapshot stream writes a key.
    mutating func noteJournaled(database: Int, key: ByteView) {
        journaled.insert(database: database, key: key)
    }

    private static func slot(_ database: Int, _ key: ByteView) -> Int {
        Int(truncatingIfNeeded: key.xxh64(seed: UInt64(bitPattern: Int64(database))))
            & (unansweredSlots - 1)
    }
}

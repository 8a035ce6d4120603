internal import Bytes

/// What is known of keys that the target had before the full sync, where `conflict.policy` lets them
/// be.
///
/// A guarded baseline finds out by its reply whether the target has the key. Until then no record of
/// the key is sent: it would change somebody else's key, and nothing could be taken back. Keys go by the
/// source's names.
struct Conflicts: ~Copyable {
    private static let keptBuckets = 1 << 20
    private static let writtenBuckets = 1 << 18
    private static let unansweredSlots = 1 << 16

    let policy: ReplicationSettings.ConflictPolicy
    /// Keys that the target had and keeps.
    private(set) var kept: KeySet
    /// Of these, keys that another core found and counts.
    private(set) var keptByOthers = 0
    /// Keys whose baseline may find what this core wrote itself (of what others wrote `DoubtfulCopy`
    /// tells): records of the snapshot stream have written them, and some releases send the baseline
    /// behind such a record (protocol.md 3.8); or it is not known yet which of their baselines is a
    /// ghost.
    private var written: KeySet
    // How many guarded baselines of keys with that hash are unanswered. That two keys share a slot
    // makes one wait for the other, and no more.
    private var unanswered: [UInt16]
    private(set) var unansweredCount = 0

    init(
        policy: ReplicationSettings.ConflictPolicy, directory: String
    ) throws(SystemError) {
        // All first: a struct that owns memory cannot be left half made.
        let kept = try KeySet(directory: directory, buckets: Conflicts.keptBuckets)
        let written = try KeySet(directory: directory, buckets: Conflicts.writtenBuckets)
        self.kept = kept
        self.written = written
        self.policy = policy
        unanswered = [UInt16](
            repeating: 0, count: policy == .overwrite ? 0 : Conflicts.unansweredSlots)
    }

    var isGuarding: Bool { policy != .overwrite }

    /// Whether records have to be looked at.
    var concernRecords: Bool { unansweredCount > 0 || kept.count > 0 || failure != nil }

    /// Why nothing can be told of keys any more.
    var failure: SystemError? { kept.failure ?? written.failure }

    /// Whether the baseline of a key must not replace what the target has.
    mutating func guardsBaseline(database: Int, key: ByteView) -> Bool {
        isGuarding && !written.contains(database: database, key: key)
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

    /// Another core has found that the target keeps it.
    mutating func keepToo(database: Int, key: ByteView) {
        guard !isKept(database: database, key: key) else { return }
        keep(database: database, key: key)
        keptByOthers += 1
    }

    mutating func isKept(database: Int, key: ByteView) -> Bool {
        kept.contains(database: database, key: key)
    }

    /// A later baseline of the key may find what we write now.
    mutating func noteWritten(database: Int, key: ByteView) {
        written.insert(database: database, key: key)
    }

    private static func slot(_ database: Int, _ key: ByteView) -> Int {
        Int(truncatingIfNeeded: key.xxh64(seed: UInt64(bitPattern: Int64(database))))
            & (unansweredSlots - 1)
    }
}

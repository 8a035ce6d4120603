import Bytes

/// One flow of a session with an emulated master: what of its shard is captured, what is on the way
/// to its socket, and what the replica owes. Used under the master's lock.
final class EmulatedFlow: SnapshotOutput {
    enum Phase {
        /// Nothing is sent before `DFLY SYNC` or, after PARTIAL, `DFLY STARTSTABLE`.
        case waiting
        /// Buckets are being captured.
        case snapshot
        /// The full-sync end (C8) is queued; journal entries still come as blobs.
        case tail
        case stable
        case ended
    }

    let session: Int
    let shard: Int
    let token: String
    let start: FlowStart
    /// The replica understands LSN markers.
    let sendsMarkers: Bool
    var phase = Phase.waiting
    var queue = FlowQueue()
    var stream: SnapshotStream?
    var buckets = SnapshotBuckets()
    /// Keys of before a flush that are still to be sent.
    var leftovers: [StoredKey] = []
    /// The position behind C8, once it is queued.
    var fullSyncEnd: Int?
    /// The position behind the token, once it is queued; 0 for a flow without one.
    var tailEnd: Int?
    /// The LSN with which the stable stream begins.
    var stableLSN: UInt64?
    /// Monotonic milliseconds of the last marker.
    private var markerTime: Int64?
    /// What answers the PINGs that were sent, and when they were (monotonic nanoseconds).
    private(set) var owedAnswers: [(lsn: UInt64, sent: Int64)] = []

    init(session: Int, shard: Int, token: String, start: FlowStart, sendsMarkers: Bool) {
        self.session = session
        self.shard = shard
        self.token = token
        self.start = start
        self.sendsMarkers = sendsMarkers
    }

    /// Takes what the snapshot stream has finished.
    func write(_ bytes: ByteView) throws(SystemError) {
        queue.append(bytes.array())
    }

    /// Queues an entry of the stable stream and, if it is time, a marker (protocol.md 5.4).
    func append(
        stable bytes: [UInt8], lsn: UInt64, isPing: Bool, markerInterval: Int, now: Int64
    ) {
        queue.append(bytes)
        queue.mark(lsn + 1)
        if isPing { queue.markPing(lsn + 1) }
        guard sendsMarkers else { return }
        if let markerTime, now - markerTime < Int64(markerInterval) { return }
        queue.append(JournalEntry.marker(lsn))
        queue.mark(lsn + 1)
        markerTime = now
    }

    /// The socket has taken the bytes before `position`, at `now` (monotonic nanoseconds).
    func taken(to position: Int, now: Int64) {
        for lsn in queue.taken(to: position) { owedAnswers.append((lsn, now)) }
    }

    /// An ACK came.
    func acknowledged(_ lsn: UInt64) {
        owedAnswers.removeAll { $0.lsn <= lsn }
    }

    /// The PINGs that have gone without an answer since before `limit`; they are forgotten.
    func overdueAnswers(sentBefore limit: Int64) -> [UInt64] {
        let overdue = owedAnswers.filter { $0.sent < limit }.map(\.lsn)
        if !overdue.isEmpty { owedAnswers.removeAll { $0.sent < limit } }
        return overdue
    }

    /// Nothing more will be sent.
    func end() {
        phase = .ended
        stream = nil
        buckets = SnapshotBuckets()
        leftovers = []
        owedAnswers = []
    }
}

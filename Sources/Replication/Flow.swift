internal import Bytes
internal import DragonflySource
internal import Reactor
internal import Wire

/// One flow of the source: its connection, its session, its decoders, and what is under way.
final class Flow {
    let index: Int
    let socket: Socket
    var session: FlowSession
    var snapshot: SnapshotDecoder
    var journal: JournalDecoder
    var progress = FlowProgress()

    /// The snapshot event or journal record being handled; kept while the pipeline has no room.
    var heldEvent: SnapshotEvent?
    var heldRecord: JournalRecord?
    /// The journal blob being read, and its record.
    var blob: JournalBlobReader?
    /// Whether the held item was counted as read, and as which type.
    var heldIsCounted = false
    var heldType = RecordType.generic
    /// Whether the held entry must not replace what the target has.
    var heldIsGuarded = false
    var isBlocked = false
    /// When everything that had come was handled, milliseconds.
    var readDryAt: Int64 = 0
    /// Has reached a flush and waits for the other flows.
    var waitsForFlush = false
    /// Records, and parts of records, that were sent and are not yet answered.
    var recordsPending = 0
    /// Of these, what the snapshot stream brought.
    private(set) var baselinesPending = 0
    /// Which ones, if they may be answered in another order; nil if there is only one connection.
    var window: AppliedWindow?
    /// Parts of the held record have gone out, and its last is counted as sent already.
    var isInParts = false
    /// The LSN after the last journal record that was handled, 0 before the journal.
    var routedLSN: UInt64 = 0
    /// Of `migrate`: follows the journal until nothing is left to repair.
    var follows = false
    /// Takes no more from the stream: it has what it came for, or the run ends.
    var isDone = false
    /// The last ACK is out, and our side is to be ended when all flows have come so far.
    var awaitsShutdown = false
    var isClosed = false

    init(
        index: Int, socket: Socket, session: consuming FlowSession, limits: DecoderLimits
    ) throws(SystemError) {
        self.index = index
        self.socket = socket
        self.session = session
        snapshot = try SnapshotDecoder(limits: limits)
        journal = try JournalDecoder(nextLSN: 0, limits: limits)
    }

    /// A record, or a part of one, goes out.
    func sent(nextLSN: UInt64) {
        recordsPending += 1
        if nextLSN > 0 { window?.add(nextLSN) } else { baselinesPending += 1 }
    }

    /// It is answered. `nextLSN` is the LSN after the record, 0 in the snapshot.
    func settle(nextLSN: UInt64) {
        recordsPending -= 1
        precondition(recordsPending >= 0)
        if nextLSN > 0 {
            progress.appliedLSN = max(
                progress.appliedLSN, window?.settle(nextLSN) ?? nextLSN)
        } else {
            baselinesPending -= 1
        }
        settleIdle()
    }

    /// The flush of all flows is answered to the one that sent it.
    func settleFlush() {
        recordsPending -= 1
        precondition(recordsPending >= 0)
        settleIdle()
    }

    /// With nothing in flight, everything handled is applied.
    func settleIdle() {
        if recordsPending == 0 && routedLSN > 0 { progress.appliedLSN = routedLSN }
    }

    /// Gives up what is held, unsent.
    func dropHeld() {
        if heldIsCounted {
            if heldRecord != nil {
                progress.journalByType[heldType].read -= 1
            } else {
                progress.snapshotByType[heldType].read -= 1
            }
        }
        heldEvent = nil
        heldRecord = nil
        blob = nil
        heldIsCounted = false
        isInParts = false
        waitsForFlush = false
        isBlocked = false
    }
}

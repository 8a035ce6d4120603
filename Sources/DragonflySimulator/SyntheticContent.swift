import Bytes
import CPlatform

/// A master with generated data.
///
/// Its traffic moves only while a replica listens. A flow that asks for an LSN gets it from the
/// journal, however old; a new full sync holds the baseline of everything written so far.
final class SyntheticContent: FlowContent {
    private let data: SyntheticData
    private let traffic: LiveTraffic
    private let options: SnapshotOptions
    private let placement: KeyPlacement
    /// The flow of each live key by kind and key number.
    private let livePlacement: [[UInt16]]
    /// The snapshots of the flows if they were prepared, else empty.
    private let prepared: [SnapshotMemory]
    /// Per flow, the next LSN.
    private let nextLSNs: Monitor<[UInt64]>
    let identity: MasterIdentity

    init(
        data: SyntheticData, traffic: LiveTraffic?, options: SnapshotOptions
    ) throws(SystemError) {
        precondition((1...1024).contains(data.flowCount) && data.databaseCount >= 1)
        let traffic = traffic ?? LiveTraffic(recordCount: 0)
        precondition(traffic.keysPerKind >= 1 && traffic.databaseCount >= 1)
        self.data = data
        self.traffic = traffic
        self.options = options
        let placement = try KeyPlacement(data)
        self.placement = placement
        livePlacement = try traffic.placement(flowCount: data.flowCount)
        nextLSNs = Monitor(Array(repeating: 1, count: data.flowCount))
        identity = MasterIdentity(
            masterId: HexDigits.forty(seed: data.seed ^ 0xd1d), release: "df-v1.40.0",
            redisVersion: "7.4.0", protocolVersion: 5, sendsLineage: true,
            flowCount: data.flowCount, keyCounts: data.keyCounts())
        var prepared: [SnapshotMemory] = []
        for flow in 0..<(options.isPrepared ? data.flowCount : 0) {
            let memory = try SnapshotMemory()
            var writer = try SnapshotWriter(data: data, options: options, output: memory)
            try placement.writeKeys(of: flow, with: &writer) { (_) throws(SystemError) in }
            try writer.flush()
            prepared.append(memory)
        }
        self.prepared = prepared
    }

    func token(flow: Int, session: Int) -> String {
        HexDigits.forty(seed: data.seed &+ UInt64(session) << 32 &+ UInt64(flow) &+ 0x706b)
    }

    func nextLSN(flow: Int) -> UInt64 {
        nextLSNs.read { $0[flow] }
    }

    func start(flow: Int, lsn: UInt64?, lastMaster: String?) -> FlowStart? {
        guard lastMaster == nil, let lsn, lsn >= 1, lsn <= nextLSN(flow: flow) else {
            return .full
        }
        return .partial(nextLSN: lsn)
    }

    func play(
        flow: Int, session: Int, start: FlowStart, to sink: FlowSink
    ) throws(SystemError) {
        var journal = try JournalWriter(traffic, placement: livePlacement, flow: flow)
        switch start {
        case .full:
            try playSnapshot(flow: flow, session: session, journal: &journal, to: sink)
        case .partial(let lsn):
            journal.skip(to: lsn)
            try sink.waitForStableStart()
        }
        try sink.markTailWritten()
        try playJournal(&journal, flow: flow, to: sink)
    }

    /// Notes that the flow's journal has grown, before a client can know it.
    private func advance(flow: Int, to next: UInt64) {
        nextLSNs.update { $0[flow] = max($0[flow], next) }
    }

    // ---- full sync (protocol.md 3.1)

    /// Blobs written after each flush of the snapshot, while there are any.
    private static let blobsPerFlush = 8
    /// Unix seconds that the snapshots say they were made at; the same whenever they are.
    private static let snapshotTime: Int64 = 1_700_000_000

    private func playSnapshot(
        flow: Int, session: Int, journal: inout JournalWriter, to sink: FlowSink
    ) throws(SystemError) {
        var writer = try SnapshotWriter(data: data, options: options, output: sink)
        var blob = try RegionBuffer()
        try writer.write(
            SnapshotHeader(
                release: identity.release, releaseNumber: identity.releaseNumber, flow: flow,
                flowCount: data.flowCount,
                time: Self.snapshotTime))
        var baseline = LiveState(traffic)
        journal.skip(to: nextLSN(flow: flow)) { baseline.apply($0) }
        for key in baseline.keys() {
            try writer.append(key)
            if writer.mustFlush { try writer.flush() }
        }
        if options.isPrepared {
            try writer.flush()
            try sink.write(prepared[flow].view)
        } else {
            try placement.writeKeys(of: flow, with: &writer) { (writer) throws(SystemError) in
                for _ in 0..<Self.blobsPerFlush {
                    guard try writeBlob(&journal, &blob, flow, to: &writer) else { return }
                }
            }
        }
        try writer.flush()
        try blob.fill { (buffer) throws(SystemError) in
            try buffer.append(byte: 0xc8)
            try buffer.append(little: UInt64(0))
        }
        try sink.writeFullSyncEnd(blob.view)
        while try writeBlob(&journal, &blob, flow, to: &writer) {
            if writer.mustFlush { try writer.flush() }
        }
        try writer.flush()
        try sink.waitForStableStart()
        try blob.fill { (buffer) throws(SystemError) in
            try buffer.append(byte: 0xd3)
            try buffer.append(little: journal.nextLSN)
            try buffer.append(byte: 0xff)
            try buffer.append(little: UInt64(0))
            let token = Array(self.token(flow: flow, session: session).utf8)
            try token.withByteView { (view) throws(SystemError) in try buffer.append(view) }
        }
        try sink.write(blob.view)
    }

    /// Writes the next record as a journal blob if it belongs to the full sync; false if none does.
    private func writeBlob(
        _ journal: inout JournalWriter, _ blob: inout RegionBuffer, _ flow: Int,
        to writer: inout SnapshotWriter
    ) throws(SystemError) -> Bool {
        let limit = min(traffic.recordsDuringFullSync, traffic.recordCount)
        guard let record = journal.peek(before: limit) else { return false }
        blob.clear()
        try journal.append(record, to: &blob)
        advance(flow: flow, to: journal.nextLSN)
        try writer.appendJournalBlob(blob.view)
        return true
    }

    // ---- stable sync (protocol.md 5)

    private static let batchBytes = 64 << 10
    /// A marker follows an entry when the last one is older than this (protocol.md 5.4).
    private static let markerSeconds: Int64 = 3
    /// The shortest rest of a paced journal, nanoseconds.
    private static let restNanoseconds: Int64 = 1_000_000

    private func playJournal(
        _ journal: inout JournalWriter, flow: Int, to sink: FlowSink
    ) throws(SystemError) {
        var batch = try RegionBuffer(capacity: Self.batchBytes + 4096)
        let start = cp_monotonic_nanoseconds()
        let startPosition = journal.position
        var now = start
        var markerSecond: Int64 = .min / 2
        while let record = journal.peek(before: traffic.recordCount) {
            if traffic.recordsPerSecond > 0 {
                let elapsed =
                    Double(record.number - startPosition)
                    / Double(traffic.recordsPerSecond)
                let due = start + Int64(elapsed * 1e9)
                if due > now { now = cp_monotonic_nanoseconds() }
                if due > now {
                    try send(&batch, journal, flow, to: sink)
                    try sink.sleep(until: max(due, now + Self.restNanoseconds))
                    now = cp_monotonic_nanoseconds()
                }
            }
            try journal.append(record, to: &batch)
            if now / 1_000_000_000 - markerSecond > Self.markerSeconds {
                try journal.appendMarker(to: &batch)
                markerSecond = now / 1_000_000_000
            }
            if batch.count >= Self.batchBytes {
                try send(&batch, journal, flow, to: sink)
                now = cp_monotonic_nanoseconds()
            }
        }
        try send(&batch, journal, flow, to: sink)
    }

    private func send(
        _ batch: inout RegionBuffer, _ journal: borrowing JournalWriter, _ flow: Int,
        to sink: FlowSink
    ) throws(SystemError) {
        advance(flow: flow, to: journal.nextLSN)
        try sink.write(batch.view)
        try sink.flush()
        batch.clear(keeping: 2 * Self.batchBytes)
    }
}

extension RegionBuffer {
    /// Replaces the content.
    fileprivate mutating func fill(
        _ body: (inout RegionBuffer) throws(SystemError) -> Void
    ) throws(SystemError) {
        clear()
        try body(&self)
    }
}

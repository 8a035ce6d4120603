import Bytes

/// Plays recordings: the stream of a master that is at the recording's end already, and at the end
/// of the continuation once a flow has resumed.
final class RecordedContent: FlowContent {
    private let recording: Recording
    private let continuation: Recording?
    private let hasResumed = Monitor(false)
    let identity: MasterIdentity

    init(_ recording: Recording, continuation: Recording?) {
        precondition(continuation?.continues(recording) ?? true)
        self.recording = recording
        self.continuation = continuation
        identity = MasterIdentity(
            masterId: recording.masterId, release: recording.release,
            redisVersion: recording.redisVersion, protocolVersion: recording.protocolVersion,
            sendsLineage: recording.sendsLineage, flowCount: recording.flows.count, keyCounts: [])
    }

    func token(flow: Int, session: Int) -> String {
        recording.flows[flow].token
    }

    func nextLSN(flow: Int) -> UInt64 {
        let last = hasResumed.read { $0 } ? continuation ?? recording : recording
        return last.flows[flow].nextLSN
    }

    /// PARTIAL where the recorded journal holds the LSN and the release resumes without a
    /// `DFLY SYNC` (v1.35 on, protocol.md 8.1).
    func start(flow: Int, lsn: UInt64?, lastMaster: String?) -> FlowStart? {
        if lastMaster == nil, let lsn, identity.releaseNumber >= 1035,
            pieces(flow: flow, from: lsn) != nil
        {
            return .partial(nextLSN: lsn)
        }
        return recording.flows[flow].isPartial ? nil : .full
    }

    /// Where in the recording, and where in the continuation, the journal from `lsn` on begins.
    private func pieces(flow: Int, from lsn: UInt64) -> (first: Int, second: Int)? {
        let flows = (recording.flows[flow], continuation?.flows[flow])
        if let first = flows.0.offset(ofLSN: lsn) {
            return (first, flows.1?.journal.start ?? 0)
        }
        if let second = flows.1?.offset(ofLSN: lsn) {
            return (flows.0.bytes.count, second)
        }
        return nil
    }

    func play(
        flow index: Int, session: Int, start: FlowStart, to sink: FlowSink
    ) throws(SystemError) {
        let flow = recording.flows[index]
        switch start {
        case .full:
            try playFull(flow, to: sink)
        case .partial(let lsn):
            guard let pieces = pieces(flow: index, from: lsn) else { return }
            hasResumed.update { $0 = true }
            try sink.waitForStableStart()
            // The master sent some of it before it answered; what that was is known only for the
            // recording's own start.
            let stable = pieces.first == flow.journal.start && flow.isPartial
            let answered = stable ? flow.bytesAtStable : pieces.first
            try sink.write(flow.bytes, from: pieces.first, to: answered)
            try sink.markTailWritten()
            try sink.write(flow.bytes, from: answered, to: flow.bytes.count)
            if let bytes = continuation?.flows[index].bytes {
                try sink.write(bytes, from: pieces.second, to: bytes.count)
            }
        }
        try sink.flush()
    }

    private func playFull(_ flow: Recording.Flow, to sink: FlowSink) throws(SystemError) {
        let before = flow.bytesBeforeStartStable
        let endMark = min(flow.fullSyncEndOffset + 9, before)
        try sink.write(flow.bytes, from: 0, to: flow.fullSyncEndOffset)
        try sink.flush()
        try flow.bytes.withByteView { (view) throws(SystemError) in
            let mark = view.slice(flow.fullSyncEndOffset, endMark - flow.fullSyncEndOffset)
            try sink.writeFullSyncEnd(mark)
        }
        try sink.write(flow.bytes, from: endMark, to: before)
        try sink.waitForStableStart()
        try sink.write(flow.bytes, from: before, to: flow.bytesAtStable)
        try sink.markTailWritten()
        try sink.write(flow.bytes, from: flow.bytesAtStable, to: flow.bytes.count)
    }
}

extension Recording.Flow {
    /// Where the journal from `lsn` on begins; nil if the recording does not hold that place.
    fileprivate func offset(ofLSN lsn: UInt64) -> Int? {
        guard lsn >= firstLSN, lsn <= nextLSN else { return nil }
        return journal.offset(afterEntries: Int(lsn - firstLSN))
    }
}

extension FlowSink {
    fileprivate func write(
        _ bytes: [UInt8], from start: Int, to end: Int
    ) throws(SystemError) {
        try bytes.withByteView { (view) throws(SystemError) in
            try write(view.slice(start, end - start))
        }
    }
}

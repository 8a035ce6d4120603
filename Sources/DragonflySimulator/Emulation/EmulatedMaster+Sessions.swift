import Bytes
import CPlatform

/// Flows from their opening to their end (protocol.md 4 and 8).
extension EmulatedMaster {
    /// How a flow begins that asks for `lsn`, by the numbering of `masterId`.
    func start(flow: Int, lsn: UInt64?, ofLastMaster lastId: String?, _ id: String) -> FlowStart {
        guard let lsn, lsn > 0, shards[flow].hasJournal, shards[flow].backlog.holds(lsn) else {
            return .full
        }
        if let lastId {
            // Of a failover, from 1.30 on; `id` names this master itself.
            guard release.number >= 1030, lastId == lastMasterId || lastId == id else {
                return .full
            }
        } else if !release.resumesSameMaster {
            return .full
        }
        return .partial(nextLSN: lsn)
    }

    /// A flow was opened: its shard has a journal from now on.
    func open(_ flow: EmulatedFlow) {
        shards[flow.shard].hasJournal = true
        shards[flow.shard].flows.append(flow)
    }

    func flow(session: Int, index: Int) -> EmulatedFlow? {
        guard index < shards.count else { return nil }
        return shards[index].flows.first { $0.session == session }
    }

    /// `DFLY SYNC`: all flows of the session begin their full sync.
    func beginFullSync(session: Int) throws(EmulationError) {
        let flows = shards.indices.compactMap { flow(session: session, index: $0) }
        var names = Array(repeating: [KeyName](), count: shards.count)
        for name in try keyspace.allKeys() { names[shard(of: name)].append(name) }
        for flow in flows {
            var stream = options.stream
            stream.seed = stream.seed &+ UInt64(flow.shard)
            do {
                let snapshot = try SnapshotStream(
                    release: release, options: stream, flow: flow.shard, flowCount: shards.count,
                    output: flow)
                try snapshot.writeHeader(scripts: flow.shard == 0 ? keyspace.scripts : [])
                flow.stream = snapshot
            } catch {
                throw EmulationError(description: "a snapshot cannot be begun: \(error)")
            }
            flow.phase = .snapshot
            if case .partial(let lsn) = flow.start {
                try queueBlobs(from: lsn, on: flow)
            } else {
                var random = nextRandom()
                flow.buckets = SnapshotBuckets(
                    names[flow.shard] + (keyspace.ghosts[flow.shard] ?? [:]).keys,
                    keysPerBucket: options.keysPerBucket, random: &random)
            }
        }
    }

    /// A resumed flow of 1.20: the journal since `lsn` as blobs instead of a snapshot.
    private func queueBlobs(from lsn: UInt64, on flow: EmulatedFlow) throws(EmulationError) {
        guard shards[flow.shard].backlog.holds(lsn) else {
            throw EmulationError(description: "the backlog of shard \(flow.shard) has moved on")
        }
        try streaming { () throws(SystemError) in
            try flow.stream?.flush()
        }
        shards[flow.shard].backlog.forEach(from: lsn) { bytes, _, _ in
            flow.queue.append(JournalBlob.encoded(bytes))
            counters.blobs += 1
        }
    }

    /// What the thread of a flow does next.
    enum Step {
        case send([UInt8])
        /// A bucket was captured, or something was finished: ask again.
        case again
        case rest
        case wait
    }

    /// The next step of a flow's thread: sends what is queued, captures while nothing is.
    func step(_ flow: EmulatedFlow) throws(EmulationError) -> Step {
        if !flow.queue.isEmpty { return .send(flow.queue.take()) }
        switch flow.phase {
        case .waiting, .ended, .stable:
            return .wait
        case .snapshot:
            if let bucket = flow.buckets.nextUncaptured() {
                try capture(bucket, on: flow)
                return options.bucketPauseMicroseconds > 0 ? .rest : .again
            }
            if !flow.leftovers.isEmpty {
                try write([flow.leftovers.removeFirst()], to: flow)
                return .again
            }
            try finishSnapshot(of: flow)
            return .again
        case .tail:
            try streaming { () throws(SystemError) in try flow.stream?.flush() }
            return flow.queue.isEmpty ? .wait : .again
        }
    }

    /// All buckets are captured: the full-sync end follows.
    private func finishSnapshot(of flow: EmulatedFlow) throws(EmulationError) {
        while let bucket = flow.buckets.nextUncaptured() { try capture(bucket, on: flow) }
        try write(flow.leftovers, to: flow)
        flow.leftovers = []
        try streaming { () throws(SystemError) in try flow.stream?.writeFullSyncEnd() }
        flow.fullSyncEnd = flow.queue.end
        flow.phase = .tail
    }

    /// `DFLY STARTSTABLE`: offset, end and token after a full sync; the missed part of the journal
    /// for a resumed flow. False if that is not in the backlog any more.
    func startStable(session: Int) throws(EmulationError) -> Bool {
        for shard in shards.indices {
            guard let flow = flow(session: session, index: shard) else { return false }
            let next = shards[shard].backlog.nextLSN
            if flow.phase == .waiting {
                guard case .partial(let lsn) = flow.start, shards[shard].backlog.holds(lsn) else {
                    return false
                }
                resume(flow, from: lsn)
            } else {
                if flow.phase == .snapshot { try finishSnapshot(of: flow) }
                try streaming { () throws(SystemError) in
                    try flow.stream?.writeTail(nextLSN: next, token: flow.token)
                }
                noteStream(of: flow)
                flow.stream = nil
                flow.queue.mark(next)
                flow.stableLSN = next
            }
            flow.tailEnd = flow.queue.end
            flow.phase = .stable
        }
        mustWake = true
        return true
    }

    /// Counts what a finished snapshot was made of.
    private func noteStream(of flow: EmulatedFlow) {
        guard let stream = flow.stream else { return }
        counters.chunks += stream.chunkCount
        counters.openChunkIds = max(counters.openChunkIds, stream.openEntriesHigh)
    }

    private func resume(_ flow: EmulatedFlow, from lsn: UInt64) {
        flow.queue.mark(lsn)
        flow.queue.handing(to: 0)
        flow.stableLSN = lsn
        let now = cp_monotonic_nanoseconds() / 1_000_000
        shards[flow.shard].backlog.forEach(from: lsn) { bytes, lsn, isPing in
            flow.append(
                stable: bytes, lsn: lsn, isPing: isPing,
                markerInterval: options.markerIntervalMilliseconds, now: now)
        }
    }

    /// A session is over.
    func end(session: Int) {
        for shard in shards.indices {
            for flow in shards[shard].flows where flow.session == session {
                noteStream(of: flow)
                flow.end()
            }
            shards[shard].flows.removeAll { $0.session == session }
        }
    }

    private func streaming(
        _ body: () throws(SystemError) -> Void
    ) throws(EmulationError) {
        do {
            try body()
        } catch {
            throw EmulationError(description: "a snapshot cannot be written: \(error)")
        }
    }
}

extension EmulatedRelease {
    /// Whether a flow can resume at the process it was connected to (protocol.md 8.1).
    var resumesSameMaster: Bool { number <= 1020 || number >= 1035 }

    /// Whether flows that were answered PARTIAL still need a `DFLY SYNC` (protocol.md 8.1).
    var partialNeedsSync: Bool { number < 1035 }
}

/// A journal blob of a snapshot (protocol.md 3.6).
enum JournalBlob {
    /// - Parameter entry: one entry in its journal form.
    static func encoded(_ entry: [UInt8]) -> [UInt8] {
        let count = entry.count
        let length: [UInt8] =
            switch count {
            case 0..<0x40: [UInt8(count)]
            case 0x40..<0x4000: [0x40 | UInt8(count >> 8), UInt8(count & 0xff)]
            default:
                [0x80] + (0..<4).reversed().map { UInt8(truncatingIfNeeded: count >> (8 * $0)) }
            }
        return [0xd2, 1] + length + entry
    }
}

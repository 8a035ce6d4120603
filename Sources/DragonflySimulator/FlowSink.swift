import Bytes
import CPlatform
import Glibc

/// How the bytes of a flow are cut into writes.
public enum Segmentation: Equatable, Sendable {
    /// As large as the sending buffer allows.
    case whole
    /// This many bytes each, at least 1.
    case fixed(Int)
    /// Random sizes of 1 to 4096 bytes, the same for the same seed.
    case random(seed: UInt64)
}

/// How fast a flow is sent.
public enum Pacing: Equatable, Sendable {
    case unlimited
    /// Each flow gets this many bytes per second, at least 1.
    case bytesPerSecond(Int)
    /// Each flow rests for `milliseconds` after every `bytes` bytes, at least 1.
    case pause(everyBytes: Int, milliseconds: Int)
}

/// The way of one flow's bytes to its socket: cut into segments, paced, counted, held where the
/// session is not far enough yet, and disturbed by faults. Used by one thread.
///
/// All functions throw `ECANCELED` or a socket error when the session has ended.
final class FlowSink {
    private static let ringCapacity = 512 << 10
    private static let writeSize = 256 << 10

    private let state: Monitor<MasterState>
    private let session: Int
    private let flow: Int
    private let connection: Int
    private let descriptor: Int32
    private let segmentation: Segmentation
    private var pacing: Pacing
    /// What is still to go wrong on this flow, by place.
    private var faults: [(byte: Int, fault: Fault)] = []
    private let perform: (Fault) -> Void
    /// The flow of an emulated master that these bytes belong to.
    var emulatedFlow: EmulatedFlow?
    private var ring: MirroredRing
    private var random: SplitMix
    private var bytesSent = 0
    private var bytesSincePause = 0
    private var startNanoseconds: Int64 = 0

    /// - Parameter perform: makes a fault of this flow happen.
    init(
        state: Monitor<MasterState>, flow opened: OpenedFlow, descriptor: Int32,
        options: SimulatorOptions, perform: @escaping (Fault) -> Void
    ) throws(SystemError) {
        self.state = state
        session = opened.session
        flow = opened.index
        connection = opened.connection
        self.descriptor = descriptor
        segmentation = options.segmentation
        pacing = options.pacing
        self.perform = perform
        for fault in options.faults where fault.session == opened.session {
            if case .flow(opened.index, let byte) = fault.place { faults.append((byte, fault)) }
        }
        faults.sort { $0.byte < $1.byte }
        ring = try MirroredRing(capacity: Self.ringCapacity)
        if case .random(let seed) = segmentation {
            random = SplitMix(seed: seed &+ UInt64(opened.index))
        } else {
            random = SplitMix(seed: 0)
        }
    }

    /// Sends `bytes`, or keeps the last of them for the next write: see `flush`.
    func write(_ bytes: ByteView) throws(SystemError) {
        var rest = bytes
        while !rest.isEmpty {
            performFaults()
            let room = bytesBeforeFault - ring.count
            let size = min(rest.count, nextSegmentSize(), ring.free, room)
            ring.append(rest.slice(0, size))
            rest = rest.dropFirst(size)
            let isFull = ring.count >= Self.writeSize || size == room
            if segmentation != .whole || pacing != .unlimited || isFull { try flush() }
        }
    }

    /// Sends everything kept.
    func flush() throws(SystemError) {
        let size = ring.count
        guard size > 0 else { return }
        if startNanoseconds == 0 { startNanoseconds = cp_monotonic_nanoseconds() }
        try handOver(size)
        let begin = cp_monotonic_nanoseconds()
        while !ring.isEmpty {
            switch ring.send(to: descriptor, from: ring.head) {
            case .moved(let count): ring.consume(count)
            case .wouldBlock: try judgeBlocking(since: begin)
            case .endOfStream: throw SystemError(code: EPIPE)
            case .failed(let error): throw error
            }
        }
        bytesSent += size
        bytesSincePause += size
        noteTaken(size)
        performFaults()
        try pace()
    }

    /// Notes that the socket is about to get `size` bytes, because the client may act on them
    /// before the call that sends them returns. Waits while the flow is stalled or frozen.
    private func handOver(_ size: Int) throws(SystemError) {
        let begin = cp_monotonic_nanoseconds()
        while true {
            let now = cp_monotonic_nanoseconds()
            let step: HandOver = state.update(wakingIf: { state in
                (handOver(size, now: now, &state), false)
            })
            switch step {
            case .done: return
            case .cancelled: throw SystemError(code: ECANCELED)
            case .stalled(let limit): waitForChange(ofStall: limit)
            case .frozen:
                try judgeBlocking(since: begin)
                try sleep(until: deadline(afterMilliseconds: 50))
            }
        }
    }

    /// Until the stall is over, or was changed, or the session has ended.
    private func waitForChange(ofStall limit: Int64) {
        _ = state.wait(until: limit) { state in
            guard let found = state.sessions[session], found.phase != .cancelled else {
                return true
            }
            return found.flows[flow]?.stalledUntil == limit ? nil : true
        }
    }

    private enum HandOver {
        case done
        case cancelled
        case stalled(until: Int64)
        case frozen
    }

    private func handOver(_ size: Int, now: Int64, _ state: inout MasterState) -> HandOver {
        guard let found = state.sessions[session], found.phase != .cancelled,
            !state.broken.contains(connection), var entry = found.flows[flow]
        else { return .cancelled }
        if state.frozen.contains(connection) { return .frozen }
        if entry.stalledUntil > now { return .stalled(until: entry.stalledUntil) }
        if let changed = state.pacing[flow] { pacing = changed }
        entry.bytesHanded += size
        if let emulatedFlow {
            emulatedFlow.queue.handing(to: entry.bytesHanded)
            if let end = emulatedFlow.fullSyncEnd, entry.bytesHanded >= end {
                entry.fullSyncEndSent = true
            }
        }
        state.sessions[session]?.flows[flow] = entry
        return .done
    }

    private func noteTaken(_ size: Int) {
        let now = cp_monotonic_nanoseconds()
        state.update(wakingIf: { state in
            state.flows[flow].bytesSent += size
            var wakes = state.byteWaiters > 0
            guard let emulatedFlow else { return ((), wakes) }
            emulatedFlow.taken(to: bytesSent, now: now)
            if let end = emulatedFlow.tailEnd, bytesSent >= end,
                state.sessions[session]?.flows[flow]?.tailWritten == false
            {
                state.sessions[session]?.flows[flow]?.tailWritten = true
                wakes = true
            }
            return ((), wakes)
        })
    }

    /// The socket has taken nothing for a while: in a full sync a single write may not block for
    /// longer than `replication_timeout` (protocol.md 2.11).
    private func judgeBlocking(since begin: Int64) throws(SystemError) {
        let elapsed = cp_monotonic_nanoseconds() - begin
        let isOver = state.update { state in
            guard let found = state.sessions[session], found.phase != .cancelled else {
                return true
            }
            guard found.phase == .fullSync, let emulated = state.emulated,
                elapsed > Int64(emulated.options.replicationTimeoutMilliseconds) * 1_000_000
            else { return false }
            emulated.counters.timeouts += 1
            return true
        }
        if isOver { throw SystemError(code: ECANCELED) }
    }

    private var bytesBeforeFault: Int {
        faults.first.map { $0.byte - bytesSent } ?? .max
    }

    private func performFaults() {
        while let next = faults.first, next.byte <= bytesSent {
            faults.removeFirst()
            perform(next.fault)
        }
    }

    /// Sends the full-sync end. The mark is set just before, because the client may act on these
    /// bytes before the call returns.
    func writeFullSyncEnd(_ bytes: ByteView) throws(SystemError) {
        try flush()
        markFlow { $0.fullSyncEndSent = true }
        try write(bytes)
        try flush()
    }

    /// Waits until `DFLY STARTSTABLE` came.
    func waitForStableStart() throws(SystemError) {
        try flush()
        let phase = state.wait { [session] state -> Session.Phase? in
            let phase = state.sessions[session]?.phase ?? .cancelled
            return phase == .stable || phase == .cancelled ? phase : nil
        }
        if phase != .stable { throw SystemError(code: ECANCELED) }
    }

    /// Everything before the journal is written: `DFLY STARTSTABLE` can be answered.
    func markTailWritten() throws(SystemError) {
        try flush()
        markFlow { $0.tailWritten = true }
    }

    /// Waits until `deadline` (monotonic nanoseconds) unless the session ends before.
    func sleep(until deadline: Int64) throws(SystemError) {
        let cancelled: Bool? = state.wait(until: deadline) { [session] state in
            state.sessions[session]?.phase == .cancelled ? true : nil
        }
        if cancelled != nil { throw SystemError(code: ECANCELED) }
    }

    private func markFlow(_ change: @Sendable (inout Session.Flow) -> Void) {
        state.update { [session, flow] state in
            guard var entry = state.sessions[session]?.flows[flow] else { return }
            change(&entry)
            state.sessions[session]?.flows[flow] = entry
        }
    }

    private func nextSegmentSize() -> Int {
        let size =
            switch segmentation {
            case .whole: Self.writeSize
            case .fixed(let size): max(size, 1)
            case .random: 1 + Int(random.next() % 4096)
            }
        return switch pacing {
        case .unlimited: size
        // A hundredth of a second at a time.
        case .bytesPerSecond(let rate): min(size, max(rate / 100, 1))
        case .pause(let every, _): min(size, max(every - bytesSincePause, 1))
        }
    }

    private func pace() throws(SystemError) {
        switch pacing {
        case .unlimited:
            return
        case .bytesPerSecond(let rate):
            let nanoseconds = Double(bytesSent) / Double(max(rate, 1)) * 1e9
            try sleep(until: startNanoseconds + Int64(nanoseconds))
        case .pause(let every, let milliseconds):
            guard bytesSincePause >= every else { return }
            bytesSincePause = 0
            try sleep(until: deadline(afterMilliseconds: milliseconds))
        }
    }
}

/// A small generator of well-mixed numbers (splitmix64), the same for the same seed everywhere.
struct SplitMix: Sendable {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        return Self.mix(state)
    }

    /// A one-to-one scrambling of 64 bits.
    static func mix(_ value: UInt64) -> UInt64 {
        var mixed = value
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

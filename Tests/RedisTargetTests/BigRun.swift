import Bytes
import TestSupport
import Testing
import Wire

@testable import RedisTarget

/// Sends values as a flow's snapshot through decoder and `ShadowWriter` into a server, in parts.
final class BigRun {
    struct Failure {
        var key: String
        var command: String
        var reason: String
        var mayPass: Bool
    }

    private final class Flow {
        var bytes: [UInt8]
        var fed = 0
        var ring: MirroredRing
        var decoder: SnapshotDecoder
        var held: SnapshotEvent?
        var isDone = false

        init(_ bytes: [UInt8], _ limits: DecoderLimits) throws {
            let ring = try MirroredRing(capacity: 4 * limits.windowBytes)
            let decoder = try SnapshotDecoder(limits: limits)
            self.ring = ring
            self.decoder = decoder
            self.bytes = bytes
        }
    }

    let pipeline: Pipeline
    private var writer: ShadowWriter
    private var flows: [Flow] = []
    private(set) var failures: [Failure] = []
    /// Values put in place, and those that came whole because they fit the window.
    private(set) var swaps = 0
    private(set) var wholeEntries = 0
    /// Values above the limit.
    private(set) var refusedValues = 0
    private(set) var damage: [DecodeError] = []
    private(set) var refusals = 0
    /// Values must not replace keys of the target.
    var isGuarded = false
    /// Values that the target had, as the reply told, before they were known to be refused.
    private(set) var leftValues = 0
    /// Called before the last step of each value is asked for the first time.
    var beforeEnd: () throws -> Void = {}
    /// Called for each part of a string that has been sent, with the bytes up to its end.
    var afterBytes: (_ flow: Int, _ size: Int) throws -> Void = { _, _ in }
    /// Called when a value has failed.
    var afterFailure: () throws -> Void = {}
    private var endsAnnounced: Set<UInt64> = []

    init(
        _ server: RedisServer, ringBytes: Int = 1 << 16, commandsInFlight: Int = 1 << 8,
        version: TargetVersion = TargetVersion(major: 7, minor: 0), task: String = "test",
        directory: String = "/tmp", lanePort: UInt16? = nil, timeoutSeconds: Int64 = 30
    ) throws {
        let pipeline = try Pipeline(
            port: server.port, lanePort: lanePort, outputBytes: ringBytes,
            commandsInFlight: commandsInFlight, timeoutSeconds: timeoutSeconds)
        let writer = try ShadowWriter(
            version: version, policy: TypePolicy(), task: task, directory: directory,
            lane: pipeline.lane)
        self.pipeline = pipeline
        self.writer = writer
        pipeline.onReply = { [unowned self] reply in
            switch reply.command.kind {
            case .shadow, .shadowClaim, .shadowLength, .shadowGuard:
                self.writer.settle(reply, self.pipeline.target)
            default: break
            }
        }
    }

    var pendingEntriesDropped: Int { writer.pendingEntriesDropped }
    var memberExpiriesDropped: Int { writer.memberExpiriesDropped }

    /// The bytes of a snapshot with these values.
    static func snapshot(_ entries: [StoredEntry]) -> [UInt8] {
        var bytes = Array("REDIS0009".utf8)
        for entry in entries.map(\.view) {
            bytes += [0xfe, UInt8(entry.database)]
            if entry.expiryMilliseconds != 0 {
                bytes.append(0xfc)
                withUnsafeBytes(of: entry.expiryMilliseconds.littleEndian) { bytes += $0 }
            }
            bytes += [entry.type.rawValue, UInt8(entry.key.count)] + entry.key.array()
            bytes += entry.value.array()
        }
        let zeros = [UInt8](repeating: 0, count: 8)
        return bytes + [0xc8] + zeros + [0xd3] + zeros + [0xff] + zeros
    }

    static let limits = DecoderLimits(windowBytes: 4096, bigValueBytes: 4096)

    /// Writes the snapshots of several flows, all of which are asked in every turn; then gives up
    /// what was begun and not ended.
    func write(_ snapshots: [[UInt8]], limits: DecoderLimits = BigRun.limits) throws {
        flows = try snapshots.map { try Flow($0, limits) }
        try pipeline.run([
            { target in
                for index in self.flows.indices { try self.advance(index, target) }
                return self.flows.allSatisfy(\.isDone)
            },
            { _ in try self.writer.giveUpAll(self.pipeline.nodes) },
        ])
    }

    func write(_ entries: [StoredEntry], flows: Int = 1) throws {
        var shares = [[StoredEntry]](repeating: [], count: flows)
        for (index, entry) in entries.enumerated() { shares[index % flows].append(entry) }
        try write(shares.map(BigRun.snapshot))
    }

    private func advance(_ index: Int, _ target: TargetConnection) throws {
        let flow = flows[index]
        while !flow.isDone {
            do throws(DecodeError) {
                let event: SnapshotEvent
                if let held = flow.held {
                    event = held
                } else {
                    event = try flow.decoder.next(flow.ring.readable)
                }
                flow.held = event
                let step = flow.decoder.bigValueStep
                if case .bigValue = event, case .end = step.kind,
                    endsAnnounced.insert(UInt64(index) << 32 | UInt64(step.number)).inserted
                {
                    try? beforeEnd()
                }
                guard try handle(event, index, target) else {
                    refusals += 1
                    return
                }
                flow.held = nil
                flow.ring.consume(flow.decoder.consumed)
                if case .end = event { flow.isDone = true }
                guard case .needMore = event else { continue }
                let size = min(flow.ring.free, flow.bytes.count - flow.fed)
                guard size > 0 else {
                    flow.isDone = true
                    return
                }
                flow.bytes.withByteView { flow.ring.append($0.slice(flow.fed, size)) }
                flow.fed += size
            } catch {
                damage.append(error)
                flow.isDone = true
            }
        }
    }

    private func handle(
        _ event: SnapshotEvent, _ flow: Int, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        switch event {
        case .entry: wholeEntries += 1
        case .bigValue:
            let step = flows[flow].decoder.bigValueStep
            switch step.kind {
            case .begin:
                return try writer.begin(
                    step.entry, isGuarded: isGuarded, flow: flow, number: step.number,
                    to: target)
                    != .blocked
            case .part(let part):
                let outcome = try writer.write(
                    part, step.entry, flow: flow, number: step.number,
                    unixMilliseconds: 1_700_000_000_000, to: target)
                if case .bytes(let offset, _) = part, outcome != .blocked {
                    do {
                        try afterBytes(flow, offset + step.entry.value.count)
                    } catch {
                        Issue.record(error)
                    }
                }
                return outcome != .blocked
            case .end where writer.awaitsGuard(flow: flow, number: step.number):
                return false
            case .end where writer.isLeft(flow: flow, number: step.number):
                guard try writer.giveUp(flow: flow, number: step.number, target) else {
                    return false
                }
                leftValues += 1
            case .end(.some):
                guard try writer.giveUp(flow: flow, number: step.number, target) else {
                    return false
                }
                refusedValues += 1
            case .end(nil):
                switch try writer.finish(
                    step.entry, as: isGuarded ? .guardedEntry : .entry, flow: flow,
                    number: step.number, unixMilliseconds: 1_700_000_000_000, to: target)
                {
                case .blocked: return false
                case .sent: swaps += 1
                case .leftOut: break
                case .failed(let failure):
                    failures.append(
                        Failure(
                            key: step.entry.key.printable(), command: failure.command,
                            reason: failure.reason, mayPass: failure.mayPass))
                    try? afterFailure()
                }
            }
        default: break
        }
        return true
    }

    /// Removes what dead runs left in a database.
    func sweep(database: Int) throws {
        var cursor: [UInt8]? = Array("0".utf8)
        var isDone = false
        pipeline.onReply = { reply in
            guard reply.command.kind == .sweep else { return }
            cursor = reply.reply.content.array()
            isDone = cursor == Array("0".utf8)
        }
        try pipeline.run({ target in
            guard !isDone, let place = cursor else { return isDone }
            let isSent = try place.withByteView { view throws(DecodeError) in
                try self.writer.sweep(database: database, cursor: view, to: target)
            }
            if isSent { cursor = nil }
            return false
        })
    }
}

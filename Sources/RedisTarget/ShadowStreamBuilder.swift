import Bytes
import Wire

/// Builds a stream that comes in parts: entries, then groups, whose pending entries are told before
/// the consumers that own them.
///
/// One flow is among the groups of one stream at a time, because they are never split
/// (protocol.md 3.7.1); what they need is kept per flow.
struct ShadowStreamBuilder: ~Copyable {
    /// What is known of the stream whose groups a flow is among.
    private final class Tail {
        var metadata = StreamMetadata()
        var group: RegionBuffer
        var consumer: RegionBuffer
        var pending: PendingTable

        init(directory: String) throws(SystemError) {
            // All first: a class that owns memory cannot be left half made.
            let group = try RegionBuffer()
            let consumer = try RegionBuffer()
            let pending = try PendingTable(directory: directory)
            self.group = group
            self.consumer = consumer
            self.pending = pending
        }
    }

    /// Ids in one XCLAIM: they share time and count.
    private static let claimLimit = 512

    private enum Stage {
        case first, second, third
    }

    private var reader: StreamPartReader
    private var commands: StreamCommands
    private let directory: String
    private var tails: [Tail?] = []
    // Of the part in hand.
    private var part = BigValuePart.opaque
    private var stage = Stage.first
    private var entryInHand: StreamEntry?
    private var recordInHand: StreamPending?
    private var claimed: RegionBuffer
    private var claim = StreamPending(id: StreamID())
    /// What the nodes have shown: taken from, and given back to, the table of shadows.
    var progress = StreamProgress()
    /// Why pending entries could not be kept, nil if they could.
    private(set) var spillError: SystemError?

    /// - Parameters:
    ///   - knowsEntriesRead: the target is Redis 7.0 or later.
    ///   - directory: for pending entries that do not fit the memory for them.
    init(knowsEntriesRead: Bool, directory: String) throws(SystemError) {
        let reader = try StreamPartReader()
        let commands = try StreamCommands(knowsEntriesRead: knowsEntriesRead)
        let claimed = try RegionBuffer(capacity: 16 << 10)
        self.claimed = claimed
        self.reader = reader
        self.commands = commands
        self.directory = directory
    }

    /// Begins with a part. Its bytes must stay in place.
    mutating func open(_ part: BigValuePart, _ bytes: ByteView, flow: Int) throws(DecodeError) {
        self.part = part
        stage = .first
        spillError = nil
        entryInHand = nil
        recordInHand = nil
        claimed.clear()
        while tails.count <= flow { tails.append(nil) }
        if tails[flow] == nil {
            do {
                tails[flow] = try Tail(directory: directory)
            } catch {
                throw DecodeError(.outOfMemory)
            }
        }
        switch part {
        case .streamNodes(let units), .streamPending(let units), .streamOwned(let units):
            reader.open(units: units, part: bytes)
        default: break
        }
    }

    /// The stream of a flow has ended, or is given up: gives back what its groups needed.
    mutating func release(flow: Int) {
        if flow < tails.count { tails[flow] = nil }
    }

    /// Goes on until all of the part is written (true) or the pipeline has no room (false).
    mutating func advance(
        _ entry: SnapshotEntry, _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        guard let tail = tails[place.flow] else { preconditionFailure("a part was opened") }
        switch part {
        case .streamNodes:
            return try add(entry, place, target)
        case .streamMetadata(let metadata, _):
            return try identify(metadata, tail, entry, place, target)
        case .streamGroup(let name, let lastID, let entriesRead):
            guard
                try commands.makeGroup(
                    name, lastID,
                    entriesRead: entriesRead ?? tail.metadata.entriesRead(upTo: lastID),
                    entry, place, target)
            else { return false }
            try StreamCommands.keep(name, in: &tail.group)
            tail.pending.removeAll()
            return true
        case .streamPending:
            return try keepPending(tail)
        case .streamConsumer(let name):
            guard try commands.makeConsumer(tail.group.view, name, entry, place, target) else {
                return false
            }
            try StreamCommands.keep(name, in: &tail.consumer)
            return true
        case .streamOwned:
            return try claimOwned(tail, entry, place, target)
        case .bytes, .elements, .opaque:
            preconditionFailure("no part of a stream")
        }
    }

    private mutating func add(
        _ entry: SnapshotEntry, _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        while true {
            if entryInHand == nil { entryInHand = try reader.nextEntry(&progress) }
            guard let message = entryInHand else { return true }
            let fields = reader.mark
            guard try commands.add(message, fieldsOf: &reader, entry, place, target) else {
                reader.rewind(to: fields)
                return false
            }
            entryInHand = nil
        }
    }

    private mutating func identify(
        _ metadata: StreamMetadata, _ tail: Tail, _ entry: SnapshotEntry, _ place: EntryPlace,
        _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let metadata = try progress.complete(metadata, type: entry.type)
        tail.metadata = metadata
        if metadata.length == 0 {
            if stage == .first {
                guard try commands.makeTemporaryGroup(entry, place, target) else { return false }
                stage = .second
            }
            if stage == .second {
                guard try commands.destroyTemporaryGroup(entry, place, target) else {
                    return false
                }
                stage = .third
            }
        }
        return try commands.identify(metadata, entry, place, target)
    }

    private mutating func keepPending(_ tail: Tail) throws(DecodeError) -> Bool {
        while let record = try reader.nextPending() {
            do throws(SystemError) {
                try tail.pending.append(record)
            } catch {
                spillError = error
                return true
            }
        }
        return true
    }

    // XCLAIM key group consumer 0 id ... TIME t RETRYCOUNT n FORCE JUSTID
    private mutating func claimOwned(
        _ tail: Tail, _ entry: SnapshotEntry, _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        while true {
            if recordInHand == nil, let id = try reader.nextOwned() {
                do throws(SystemError) {
                    recordInHand = try tail.pending.entry(id)
                } catch {
                    spillError = error
                    return true
                }
                guard recordInHand != nil else { throw DecodeError(.damagedContainer) }
            }
            if let record = recordInHand, joins(record) {
                do {
                    try claimed.append(little: record.id.milliseconds)
                    try claimed.append(little: record.id.sequence)
                } catch {
                    throw DecodeError(.outOfMemory)
                }
                claim = record
                recordInHand = nil
                continue
            }
            guard !claimed.isEmpty else { return true }
            guard try writeClaim(tail, entry, place, target) else { return false }
            claimed.clear()
        }
    }

    /// Whether a record can go into the command that is being collected.
    private func joins(_ record: StreamPending) -> Bool {
        if claimed.isEmpty { return true }
        return claimed.count < ShadowStreamBuilder.claimLimit * 16
            && record.deliveryTimeMilliseconds == claim.deliveryTimeMilliseconds
            && record.deliveryCount == claim.deliveryCount
    }

    private mutating func writeClaim(
        _ tail: Tail, _ entry: SnapshotEntry, _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let count = claimed.count / 16
        let bytes =
            entry.key.count + tail.group.count + tail.consumer.count
            + TargetConnection.argumentBytes(StreamID.textCapacity) * (11 + count)
        guard try commands.begin(entry, place, target, bytes) else { return false }
        target.header(arguments: 11 + count)
        target.argument("XCLAIM")
        target.argument(entry.key)
        target.argument(tail.group.view)
        target.argument(tail.consumer.view)
        target.argument("0")
        for index in 0..<count {
            let id = StreamID(
                milliseconds: claimed.view.little(index * 16, as: UInt64.self),
                sequence: claimed.view.little(index * 16 + 8, as: UInt64.self))
            try commands.argument(id, target)
        }
        target.argument("TIME")
        target.argument(decimal: claim.deliveryTimeMilliseconds)
        target.argument("RETRYCOUNT")
        target.argument(decimal: Int64(clamping: claim.deliveryCount))
        target.argument("FORCE")
        target.argument("JUSTID")
        target.end(
            .shadowClaim, flow: place.flow, database: entry.database,
            nextLSN: place.partNumber | UInt64(count) << 32)
        return true
    }
}

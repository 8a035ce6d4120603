import Bytes
import Wire

/// What reads the fields of a stream's entry, and can go back to them.
protocol StreamFieldReader: ~Copyable {
    associatedtype Mark

    var mark: Mark { get }
    mutating func nextField() throws(DecodeError) -> (name: ByteView, value: ByteView)?
    mutating func rewind(to mark: Mark) throws(DecodeError)
}

extension StreamReader: StreamFieldReader {}
extension StreamPartReader: StreamFieldReader {}

/// The commands that build a stream (protocol.md 3.9.7). Each writes one command; false if there is no
/// room for it.
struct StreamCommands: ~Copyable {
    private let knowsEntriesRead: Bool
    private var text: RegionBuffer

    /// - Parameter knowsEntriesRead: the target is Redis 7.0 or later.
    init(knowsEntriesRead: Bool) throws(SystemError) {
        text = try RegionBuffer(capacity: 4096)
        self.knowsEntriesRead = knowsEntriesRead
    }

    /// The reader is behind the head of the entry; without room it is left anywhere in its fields.
    // XADD key id field value ...
    mutating func add<Reader: StreamFieldReader & ~Copyable>(
        _ message: StreamEntry, fieldsOf reader: inout Reader, _ entry: SnapshotEntry,
        _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let fields = reader.mark
        var bytes = entry.key.count + TargetConnection.argumentBytes(StreamID.textCapacity) * 3
        while let field = try reader.nextField() {
            bytes += TargetConnection.argumentBytes(field.name.count)
            bytes += TargetConnection.argumentBytes(field.value.count)
        }
        try reader.rewind(to: fields)
        guard try begin(entry, place, target, bytes) else { return false }
        target.header(arguments: 3 + message.fieldCount * 2)
        target.argument("XADD")
        target.argument(entry.key)
        try argument(message.id, target)
        while let field = try reader.nextField() {
            target.argument(field.name)
            target.argument(field.value)
        }
        place.endPart(entry, target)
        return true
    }

    /// A stream without entries is made by a group that is taken away again.
    // XGROUP CREATE key group 0 MKSTREAM
    mutating func makeTemporaryGroup(
        _ entry: SnapshotEntry, _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let bytes = entry.key.count + TargetConnection.argumentBytes(8) * 6
        guard try begin(entry, place, target, bytes) else { return false }
        target.header(arguments: 6)
        target.argument("XGROUP")
        target.argument("CREATE")
        target.argument(entry.key)
        target.argument(StreamCommands.temporaryGroup)
        target.argument("0")
        target.argument("MKSTREAM")
        place.endPart(entry, target)
        return true
    }

    // XGROUP DESTROY key group
    mutating func destroyTemporaryGroup(
        _ entry: SnapshotEntry, _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let bytes = entry.key.count + TargetConnection.argumentBytes(8) * 4
        guard try begin(entry, place, target, bytes) else { return false }
        target.header(arguments: 4)
        target.argument("XGROUP")
        target.argument("DESTROY")
        target.argument(entry.key)
        target.argument(StreamCommands.temporaryGroup)
        place.endPart(entry, target)
        return true
    }

    private static var temporaryGroup: ByteView { "df2redis" }

    // XSETID key last [ENTRIESADDED n MAXDELETEDID id]
    mutating func identify(
        _ metadata: StreamMetadata, _ entry: SnapshotEntry, _ place: EntryPlace,
        _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let bytes = entry.key.count + TargetConnection.argumentBytes(StreamID.textCapacity) * 7
        guard try begin(entry, place, target, bytes) else { return false }
        target.header(arguments: knowsEntriesRead ? 7 : 3)
        target.argument("XSETID")
        target.argument(entry.key)
        try argument(metadata.lastID, target)
        if knowsEntriesRead {
            target.argument("ENTRIESADDED")
            target.argument(decimal: Int64(clamping: metadata.entriesAdded))
            target.argument("MAXDELETEDID")
            try argument(metadata.maxDeletedID, target)
        }
        place.endPart(entry, target)
        return true
    }

    // XGROUP CREATE key group last [ENTRIESREAD n]
    mutating func makeGroup(
        _ name: ByteView, _ lastID: StreamID, entriesRead: Int64, _ entry: SnapshotEntry,
        _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let bytes =
            entry.key.count + name.count + TargetConnection.argumentBytes(StreamID.textCapacity) * 7
        guard try begin(entry, place, target, bytes) else { return false }
        let tellsRead = knowsEntriesRead && entriesRead >= 0
        target.header(arguments: tellsRead ? 7 : 5)
        target.argument("XGROUP")
        target.argument("CREATE")
        target.argument(entry.key)
        target.argument(name)
        try argument(lastID, target)
        if tellsRead {
            target.argument("ENTRIESREAD")
            target.argument(decimal: entriesRead)
        }
        place.endPart(entry, target)
        return true
    }

    // XGROUP CREATECONSUMER key group consumer
    func makeConsumer(
        _ group: ByteView, _ name: ByteView, _ entry: SnapshotEntry, _ place: EntryPlace,
        _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let bytes =
            entry.key.count + group.count + name.count + TargetConnection.argumentBytes(16) * 5
        guard try begin(entry, place, target, bytes) else { return false }
        target.header(arguments: 5)
        target.argument("XGROUP")
        target.argument("CREATECONSUMER")
        target.argument(entry.key)
        target.argument(group)
        target.argument(name)
        place.endPart(entry, target)
        return true
    }

    func begin(
        _ entry: SnapshotEntry, _ place: EntryPlace, _ target: TargetConnection, _ bytes: Int
    ) throws(DecodeError) -> Bool {
        try target.begin(flow: place.flow, database: entry.database, bytes: bytes)
    }

    mutating func argument(
        _ id: StreamID, _ target: TargetConnection
    ) throws(DecodeError) {
        text.clear()
        do {
            try text.append(id)
        } catch {
            throw DecodeError(.outOfMemory)
        }
        target.argument(text.view)
    }

    /// Keeps a name over turns.
    static func keep(
        _ name: ByteView, in buffer: inout RegionBuffer
    ) throws(DecodeError) {
        buffer.clear()
        do {
            try buffer.append(name)
        } catch {
            throw DecodeError(.outOfMemory)
        }
    }
}

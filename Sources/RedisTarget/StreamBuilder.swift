import Bytes
import Wire

/// Builds a stream by native commands (protocol.md 3.9.7), in one transaction, over as many turns as
/// the pipeline needs.
///
/// What no command can make is counted: a pending entry whose message is deleted.
struct StreamBuilder: ~Copyable {
    private enum Stage {
        case open
        case delete
        case entries
        /// A stream without entries is made by a group that is taken away again.
        case temporaryGroup
        case withoutGroup
        case identity
        case groups
        case consumers
        case pending
        case expiry
        case close
    }

    private var reader: StreamReader
    private var commands: StreamCommands
    // Names of the group and the consumer in hand, kept over turns.
    private var group: RegionBuffer
    private var consumer: RegionBuffer
    private var stage = Stage.open
    private(set) var pendingEntriesDropped = 0

    init(knowsEntriesRead: Bool) throws(SystemError) {
        let reader = try StreamReader()
        let group = try RegionBuffer(capacity: 4096)
        let consumer = try RegionBuffer(capacity: 4096)
        let commands = try StreamCommands(knowsEntriesRead: knowsEntriesRead)
        self.reader = reader
        self.group = group
        self.consumer = consumer
        self.commands = commands
    }

    /// Begins with an entry whose structure was checked.
    mutating func open(_ entry: SnapshotEntry) throws(DecodeError) {
        try reader.open(type: entry.type, value: entry.value)
        stage = .open
    }

    /// Goes on until all but EXEC is written (true) or the pipeline has no room (false).
    mutating func advance(
        _ entry: SnapshotEntry, _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        while stage != .close {
            guard try step(entry, place, target) else { return false }
        }
        return true
    }

    /// What the commands of an entry may take of the target's memory. Afterwards it must be opened.
    mutating func demand(of entry: SnapshotEntry) throws(DecodeError) -> MemoryRoom.Demand {
        try reader.open(type: entry.type, value: entry.value)
        var arguments = 0
        var bytes = 0
        while try reader.nextEntry() != nil {
            arguments += 3
            bytes += entry.key.count
            while let field = try reader.nextField() {
                arguments += 2
                bytes += field.name.count + field.value.count
            }
        }
        while let group = try reader.nextGroup() {
            arguments += 7
            while let consumer = try reader.nextConsumer() {
                arguments += 5
                while try reader.nextPending() != nil {
                    arguments += 12
                    bytes += entry.key.count + group.name.count + consumer.name.count
                }
            }
        }
        return .transaction(arguments: arguments, bytes: bytes)
    }

    /// Writes the next command and moves on; false if there is no room.
    private mutating func step(
        _ entry: SnapshotEntry, _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        switch stage {
        case .open:
            guard try place.multi(entry, target) else { return false }
            stage = .delete
            return true
        case .delete:
            guard try place.delete(entry, target) else { return false }
            stage = .entries
            return true
        case .entries:
            return try add(entry, place, target)
        case .temporaryGroup:
            guard try commands.makeTemporaryGroup(entry, place, target) else { return false }
            stage = .withoutGroup
            return true
        case .withoutGroup:
            guard try commands.destroyTemporaryGroup(entry, place, target) else { return false }
            stage = .identity
            return true
        case .identity:
            guard try commands.identify(reader.metadata, entry, place, target) else {
                return false
            }
            stage = .groups
            return true
        case .groups:
            return try makeGroup(entry, place, target)
        case .consumers:
            return try makeConsumer(entry, place, target)
        case .pending:
            return try claim(entry, place, target)
        case .expiry:
            guard try place.expire(entry, target) else { return false }
            stage = .close
            return true
        case .close:
            return true
        }
    }

    private mutating func add(
        _ entry: SnapshotEntry, _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let start = reader.mark
        guard let message = try reader.nextEntry() else {
            stage = reader.metadata.length == 0 ? .temporaryGroup : .identity
            return true
        }
        guard try commands.add(message, fieldsOf: &reader, entry, place, target) else {
            try reader.rewind(to: start)
            return false
        }
        return true
    }

    private mutating func makeGroup(
        _ entry: SnapshotEntry, _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let start = reader.mark
        guard let next = try reader.nextGroup() else {
            stage = .expiry
            return true
        }
        guard
            try commands.makeGroup(
                next.name, next.lastID, entriesRead: next.entriesRead, entry, place, target)
        else {
            try reader.rewind(to: start)
            return false
        }
        try StreamCommands.keep(next.name, in: &group)
        stage = .consumers
        return true
    }

    private mutating func makeConsumer(
        _ entry: SnapshotEntry, _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let start = reader.mark
        guard let next = try reader.nextConsumer() else {
            stage = .groups
            return true
        }
        guard try commands.makeConsumer(group.view, next.name, entry, place, target) else {
            try reader.rewind(to: start)
            return false
        }
        try StreamCommands.keep(next.name, in: &consumer)
        stage = .pending
        return true
    }

    // XCLAIM key group consumer 0 id TIME t RETRYCOUNT n FORCE JUSTID
    private mutating func claim(
        _ entry: SnapshotEntry, _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let start = reader.mark
        guard let next = try reader.nextPending() else {
            stage = .consumers
            return true
        }
        guard !next.isDeleted else {
            pendingEntriesDropped += 1
            return true
        }
        let bytes =
            entry.key.count + group.count + consumer.count
            + TargetConnection.argumentBytes(StreamID.textCapacity) * 12
        guard try commands.begin(entry, place, target, bytes) else {
            try reader.rewind(to: start)
            return false
        }
        target.header(arguments: 12)
        target.argument("XCLAIM")
        target.argument(entry.key)
        target.argument(group.view)
        target.argument(consumer.view)
        target.argument("0")
        try commands.argument(next.id, target)
        target.argument("TIME")
        target.argument(decimal: next.deliveryTimeMilliseconds)
        target.argument("RETRYCOUNT")
        target.argument(decimal: Int64(clamping: next.deliveryCount))
        target.argument("FORCE")
        target.argument("JUSTID")
        place.endPart(entry, target)
        return true
    }
}

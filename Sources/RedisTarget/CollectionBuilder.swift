import Bytes
import Wire

/// Builds a list, set, sorted set, hash or JSON value by native commands, in one transaction and in
/// chunks, over as many turns as the pipeline needs.
struct CollectionBuilder: ~Copyable {
    private enum Stage {
        case open
        case delete
        case elements
        case elementExpiries
        case expiry
        case close
    }

    private var reader: ValueReader
    private var scratch: RegionBuffer
    private let fieldExpiry: ElementExpiry
    private let memberExpiry: ElementExpiry
    private var stage = Stage.open
    private(set) var unixMilliseconds: Int64 = 0
    private var start: ValueReader.Mark?
    // Elements with an expiry for which nothing was done yet.
    private var expiringElements = 0
    // What the key gets for its elements' expiries, 0 for nothing.
    private var keyExpiry: Int64 = 0
    private(set) var memberExpiriesDropped = 0
    /// A part of a big value: its elements are added, nothing else.
    private var isPart = false
    /// Elements of the value or part in hand that were written, those of them with an expiry, and the
    /// latest of these, Unix milliseconds.
    private(set) var written = 0
    private(set) var writtenExpiring = 0
    private(set) var latestExpiry: Int64 = 0
    /// No element was written yet; some may be past their own expiry.
    var isEmpty: Bool { written == 0 }

    init(fieldExpiry: ElementExpiry, memberExpiry: ElementExpiry) throws(SystemError) {
        let reader = try ValueReader()
        scratch = try RegionBuffer(capacity: 4096)
        self.reader = reader
        self.fieldExpiry = fieldExpiry
        self.memberExpiry = memberExpiry
    }

    /// Begins with an entry whose structure was checked.
    mutating func open(
        _ entry: SnapshotEntry, unixMilliseconds: Int64
    ) throws(DecodeError) {
        if entry.type == .json {
            _ = try CollectionBuilder.text(entry)
        } else {
            try reader.open(type: entry.type, value: entry.value)
            start = reader.mark
        }
        expiringElements = 0
        written = 0
        writtenExpiring = 0
        latestExpiry = 0
        keyExpiry = 0
        stage = .open
        isPart = false
        self.unixMilliseconds = unixMilliseconds
    }

    /// Begins with a part of a big value: `units` elements or nodes, to be added to a key.
    mutating func open(part entry: SnapshotEntry, units: Int, unixMilliseconds: Int64) {
        reader.open(type: entry.type, units: units, part: entry.value)
        start = reader.mark
        expiringElements = 0
        written = 0
        writtenExpiring = 0
        latestExpiry = 0
        stage = .elements
        isPart = true
        self.unixMilliseconds = unixMilliseconds
    }

    /// Whether an element that is still alive has an expiry. Not while a value is being built.
    mutating func hasExpiringElements(
        _ entry: SnapshotEntry, unixMilliseconds: Int64
    ) throws(DecodeError) -> Bool {
        try reader.open(type: entry.type, value: entry.value)
        while let element = try reader.next() {
            if element.expiryMilliseconds > unixMilliseconds { return true }
        }
        return false
    }

    /// What the commands of an entry may take of the target's memory. Afterwards it must be opened.
    mutating func demand(of entry: SnapshotEntry) throws(DecodeError) -> MemoryRoom.Demand {
        if entry.type == .json {
            return .transaction(
                arguments: 4, bytes: try CollectionBuilder.text(entry).decodedCount)
        }
        try reader.open(type: entry.type, value: entry.value)
        let perElement = entry.type.family == .hash || entry.type.family == .zset ? 2 : 1
        var arguments = 0
        var bytes = 0
        while let element = try reader.next() {
            arguments += perElement
            // HPEXPIREAT key ms FIELDS 1 field
            if element.expiryMilliseconds != 0 { arguments += 6 }
            bytes += element.member.count + element.value.count
        }
        return .transaction(arguments: arguments, bytes: bytes)
    }

    /// Goes on until all but EXEC is written (true) or the pipeline has no room (false).
    mutating func advance(
        _ entry: SnapshotEntry, _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        while true {
            switch stage {
            case .open:
                guard try place.multi(entry, target) else { return false }
                stage = .delete
            case .delete:
                guard try place.delete(entry, target) else { return false }
                stage = .elements
            case .elements where entry.type == .json:
                guard try writeText(entry, place, target) else { return false }
                stage = .expiry
            case .elements:
                guard let more = try writeChunk(entry, place, target) else { return false }
                if !more {
                    stage = .elementExpiries
                    if expiringElements > 0, let start { try reader.rewind(to: start) }
                }
            case .elementExpiries:
                guard try writeElementExpiries(entry, place, target) else { return false }
                if isPart { return true }
                stage = .expiry
            case .expiry:
                var entry = entry
                if keyExpiry > 0,
                    entry.expiryMilliseconds == 0 || keyExpiry < entry.expiryMilliseconds
                {
                    entry.expiryMilliseconds = keyExpiry
                }
                guard try place.expire(entry, target) else { return false }
                stage = .close
            case .close:
                return true
            }
        }
    }

    /// Writes one command; nil if there is no room, false if no elements were left.
    private mutating func writeChunk(
        _ entry: SnapshotEntry, _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> Bool? {
        let start = reader.mark
        let family = entry.type.family
        let (elements, bytes) = try measure(family)
        guard elements > 0 else { return false }
        try reader.rewind(to: start)
        let perElement = family == .hash || family == .zset ? 2 : 1
        guard
            try target.begin(
                flow: place.flow, database: entry.database,
                bytes: bytes + entry.key.count + TargetConnection.argumentBytes(8) * 2,
                demand: .transaction(
                    arguments: elements * perElement, bytes: bytes,
                    elementsBefore: place.elementsBefore))
        else { return nil }
        target.header(arguments: 2 + elements * perElement)
        target.argument(CollectionBuilder.command(family))
        target.argument(entry.key)
        var added = 0
        var addedExpiring = 0
        while added < elements {
            guard let element = try reader.next() else { break }
            guard isAlive(element) else { continue }
            added += 1
            if element.expiryMilliseconds != 0 {
                addedExpiring += 1
                latestExpiry = max(latestExpiry, element.expiryMilliseconds)
            }
            if family == .zset { target.argument(double: element.score, scratch: &scratch) }
            target.argument(element.member)
            if family == .hash { target.argument(element.value) }
        }
        precondition(added == elements, "a value reads the same twice")
        place.endPart(entry, target)
        written += added
        writtenExpiring += addedExpiring
        expiringElements += addedExpiring
        return true
    }

    /// Sets or counts the expiries of the elements written; false if there is no room.
    private mutating func writeElementExpiries(
        _ entry: SnapshotEntry, _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        switch entry.type.family == .hash ? fieldExpiry : memberExpiry {
        case .native: break
        // Whoever removes them reads them from the value.
        case .byUs: return true
        // The whole value tells.
        case .asKeyExpiry where isPart, .skip where isPart, .fail where isPart: return true
        case .asKeyExpiry where writtenExpiring > 0 && writtenExpiring == written:
            keyExpiry = latestExpiry
            return true
        case .drop, .asKeyExpiry, .skip, .fail:
            memberExpiriesDropped += expiringElements
            return true
        }
        while expiringElements > 0 {
            let here = reader.mark
            guard let element = try reader.next() else { break }
            guard element.expiryMilliseconds != 0, isAlive(element) else { continue }
            let bytes =
                entry.key.count + element.member.count + TargetConnection.argumentBytes(20) * 6
            guard
                try target.begin(flow: place.flow, database: entry.database, bytes: bytes)
            else {
                try reader.rewind(to: here)
                return false
            }
            target.header(arguments: 6)
            target.argument("HPEXPIREAT")
            target.argument(entry.key)
            target.argument(decimal: element.expiryMilliseconds)
            target.argument("FIELDS")
            target.argument("1")
            target.argument(element.member)
            place.endPart(entry, target)
            expiringElements -= 1
        }
        return true
    }

    private static func text(_ entry: SnapshotEntry) throws(DecodeError) -> WireString {
        var cursor = Cursor(entry.value)
        guard let text = try cursor.string(), cursor.remaining == 0 else {
            throw DecodeError(.badString)
        }
        return text
    }

    // JSON.SET k $ text
    private mutating func writeText(
        _ entry: SnapshotEntry, _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let text = try CollectionBuilder.text(entry)
        let bytes =
            entry.key.count + text.decodedCount + TargetConnection.argumentBytes(20) * 4
        guard try target.begin(flow: place.flow, database: entry.database, bytes: bytes) else {
            return false
        }
        target.header(arguments: 4)
        target.argument("JSON.SET")
        target.argument(entry.key)
        target.argument("$")
        guard target.argument(text) else {
            target.abandon()
            throw DecodeError(.damagedCompression)
        }
        written = 1
        place.endPart(entry, target)
        return true
    }

    /// Counts the living elements of the next chunk and the bytes they take as arguments.
    private mutating func measure(
        _ family: ValueFamily
    ) throws(DecodeError) -> (elements: Int, bytes: Int) {
        var elements = 0
        var bytes = 0
        while elements < EntryWriter.chunkElements, bytes < EntryWriter.chunkBytes {
            guard let element = try reader.next() else { break }
            guard isAlive(element) else { continue }
            elements += 1
            bytes += TargetConnection.argumentBytes(element.member.count)
            if family == .hash { bytes += TargetConnection.argumentBytes(element.value.count) }
            if family == .zset {
                bytes += TargetConnection.argumentBytes(DecimalText.doubleCapacity)
            }
        }
        return (elements, bytes)
    }

    /// An element past its own expiry is gone on the source, too.
    private func isAlive(_ element: ValueElement) -> Bool {
        element.expiryMilliseconds == 0 || element.expiryMilliseconds > unixMilliseconds
    }

    private static func command(_ family: ValueFamily) -> ByteView {
        switch family {
        case .list: "RPUSH"
        case .set: "SADD"
        case .zset: "ZADD"
        case .hash: "HSET"
        default: preconditionFailure("not a collection")
        }
    }
}

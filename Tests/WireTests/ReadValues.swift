import Bytes

@testable import Wire

/// An element with its bytes, for comparisons in tests.
struct ReadElement: Hashable {
    var member: [UInt8]
    var value: [UInt8] = []
    var score = 0.0
    var expiryMilliseconds: Int64 = 0

    init(
        _ member: [UInt8], _ value: [UInt8] = [], score: Double = 0, expiryMilliseconds: Int64 = 0
    ) {
        self.member = member
        self.value = value
        self.score = score
        self.expiryMilliseconds = expiryMilliseconds
    }

    init(_ member: String, _ value: String = "", score: Double = 0, expiryMilliseconds: Int64 = 0) {
        self.init(
            Array(member.utf8), Array(value.utf8), score: score,
            expiryMilliseconds: expiryMilliseconds)
    }

    init(_ element: ValueElement) {
        self.init(
            element.member.array(), element.value.array(), score: element.score,
            expiryMilliseconds: element.expiryMilliseconds)
    }
}

/// All elements of a value.
func readElements(_ type: ValueType, _ value: [UInt8]) throws -> [ReadElement] {
    var reader = try ValueReader()
    return try value.withByteView { view throws(DecodeError) in
        try reader.open(type: type, value: view)
        var elements: [ReadElement] = []
        while let element = try reader.next() { elements.append(ReadElement(element)) }
        return elements
    }
}

func checkValue(
    _ type: ValueType, _ value: [UInt8]
) throws -> ContainerCheck.Verdict {
    var check = try ContainerCheck()
    return try value.withByteView { view throws(DecodeError) in
        try check.check(type: type, value: view)
    }
}

func dumpPayload(_ type: ValueType, _ value: [UInt8]) throws -> [UInt8] {
    var payload = try RegionBuffer(capacity: DumpPayload.byteCount(valueCount: value.count))
    try value.withByteView { (view) throws(SystemError) in
        let footer = DumpPayload.footer(type: type, value: view)
        try payload.append(byte: type.rawValue)
        try payload.append(view)
        try payload.append(little: footer.version)
        try payload.append(little: footer.checksum)
    }
    return payload.view.array()
}

/// A whole stream as the reader shows it.
struct ReadStream: Equatable {
    struct Entry: Equatable {
        var id: StreamID
        var fields: [[UInt8]]
    }

    struct Consumer: Equatable {
        var name: [UInt8]
        var seen: Int64
        var active: Int64
        var pending: [StreamPending]
    }

    struct Group: Equatable {
        var name: [UInt8]
        var lastID: StreamID
        var entriesRead: Int64
        var pendingCount: Int
        var consumers: [Consumer]
    }

    var metadata = StreamMetadata()
    var entries: [Entry] = []
    var groups: [Group] = []

    init(_ type: ValueType, _ value: [UInt8]) throws {
        var reader = try StreamReader()
        self = try value.withByteView { view throws(DecodeError) in
            try ReadStream(&reader, type, view)
        }
    }

    init(
        _ reader: inout StreamReader, _ type: ValueType, _ value: ByteView
    ) throws(DecodeError) {
        try reader.open(type: type, value: value)
        metadata = reader.metadata
        while let entry = try reader.nextEntry() {
            var fields: [[UInt8]] = []
            while let field = try reader.nextField() {
                fields.append(field.name.array())
                fields.append(field.value.array())
            }
            entries.append(Entry(id: entry.id, fields: fields))
        }
        while let group = try reader.nextGroup() {
            var consumers: [Consumer] = []
            let name = group.name.array()
            while let consumer = try reader.nextConsumer() {
                var pending: [StreamPending] = []
                let name = consumer.name.array()
                while let entry = try reader.nextPending() { pending.append(entry) }
                consumers.append(
                    Consumer(
                        name: name, seen: consumer.seenTimeMilliseconds,
                        active: consumer.activeTimeMilliseconds, pending: pending))
            }
            groups.append(
                Group(
                    name: name, lastID: group.lastID, entriesRead: group.entriesRead,
                    pendingCount: group.pendingCount, consumers: consumers))
        }
    }
}

/// Splitmix64, so that a failure can be repeated from its seed.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var bits = state
        bits = (bits ^ (bits >> 30)) &* 0xbf58_476d_1ce4_e5b9
        bits = (bits ^ (bits >> 27)) &* 0x94d0_49bb_1331_11eb
        return bits ^ (bits >> 31)
    }
}

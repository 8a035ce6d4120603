import Bytes

/// What a generated key holds.
public enum SyntheticValue: Equatable, Sendable {
    case string([UInt8])
    case hash([SyntheticField])
    case list([[UInt8]])
    case set([[UInt8]])
    /// Ascending by score.
    case sortedSet([SyntheticMember])
    case stream(SyntheticStream)
}

public struct SyntheticField: Equatable, Sendable {
    public let field: [UInt8]
    public let value: [UInt8]
}

public struct SyntheticMember: Equatable, Sendable {
    public let member: [UInt8]
    public let score: Double
}

public struct SyntheticStream: Equatable, Sendable {
    public struct Entry: Equatable, Sendable {
        public let id: StreamID
        public let fields: [SyntheticField]
    }

    /// Nothing was ever deleted: the last entry's id is the stream's.
    public let entries: [Entry]
    public let group: Group?

    /// A consumer group with one consumer, to which all delivered entries are still pending.
    public struct Group: Equatable, Sendable {
        public let name: [UInt8]
        public let consumer: [UInt8]
        /// Delivered entries, counted from the first one.
        public let delivered: Int
        /// When, Unix milliseconds; each entry was delivered once.
        public let deliveryMilliseconds: Int64
    }
}

extension SyntheticData {
    /// What key number `index` of a kind holds.
    public func value(_ kind: Kind, _ index: Int) -> SyntheticValue {
        do {
            var buffer = try RegionBuffer()
            return try value(kind, index, &buffer)
        } catch {
            fatalError("no memory for a generated value")
        }
    }

    /// - Parameter buffer: scratch space, one for all pieces because making one maps memory.
    private func value(
        _ kind: Kind, _ index: Int, _ buffer: inout RegionBuffer
    ) throws(SystemError) -> SyntheticValue {
        let shape = shape(kind)
        let elements = 0..<max(shape.elements, 1)
        switch kind {
        case .string:
            buffer.clear()
            try texts.append(salt(kind, index), 0, shape.elementBytes, to: &buffer)
            return .string(buffer.view.array())
        case .hash:
            return .hash(
                try elements.map { (element) throws(SystemError) in
                    buffer.clear()
                    try appendField(kind, index, element, to: &buffer)
                    return SyntheticField(
                        field: buffer.view.array(),
                        value: try self.element(kind, index, element, &buffer))
                })
        case .list:
            return .list(
                try elements.map { (element) throws(SystemError) in
                    try self.element(kind, index, element, &buffer)
                })
        case .set:
            return .set(
                try elements.map { (element) throws(SystemError) in
                    try member(kind, index, element, &buffer)
                })
        case .sortedSet:
            return .sortedSet(
                try elements.map { (element) throws(SystemError) in
                    SyntheticMember(
                        member: try member(kind, index, element, &buffer),
                        score: score(index, element))
                })
        case .stream:
            return .stream(try stream(index, &buffer))
        }
    }

    private func stream(
        _ index: Int, _ buffer: inout RegionBuffer
    ) throws(SystemError) -> SyntheticStream {
        let count = max(streams.elements, 1)
        let entries = try (0..<count).map { (entry) throws(SystemError) in
            SyntheticStream.Entry(
                id: streamID(entry),
                fields: [
                    SyntheticField(
                        field: Array("value".utf8),
                        value: try element(.stream, index, entry, &buffer))
                ])
        }
        let delivered = deliveredCount(index)
        let group = SyntheticStream.Group(
            name: Array("workers".utf8), consumer: Array("worker-1".utf8), delivered: delivered,
            deliveryMilliseconds: Self.streamStartMilliseconds)
        return SyntheticStream(entries: entries, group: delivered > 0 ? group : nil)
    }

    private func element(
        _ kind: Kind, _ index: Int, _ element: Int, _ buffer: inout RegionBuffer
    ) throws(SystemError) -> [UInt8] {
        buffer.clear()
        try appendElement(kind, index, element, to: &buffer)
        return buffer.view.array()
    }

    private func member(
        _ kind: Kind, _ index: Int, _ element: Int, _ buffer: inout RegionBuffer
    ) throws(SystemError) -> [UInt8] {
        buffer.clear()
        try appendMember(kind, index, element, to: &buffer)
        return buffer.view.array()
    }
}

// The one definition of every piece, used by the encoder too.
extension SyntheticData {
    static let streamStartMilliseconds: Int64 = 1_700_000_000_000

    /// A hash field: "f:" and eight hexadecimal digits, different for each element.
    func appendField(
        _ kind: Kind, _ index: Int, _ element: Int, to buffer: inout RegionBuffer
    ) throws(SystemError) {
        try buffer.append(ByteView("f:"))
        try buffer.append(little: HexDigits.word(TextPool.identity(salt(kind, index), element)))
    }

    /// A hash value, list element or stream value; every fourth is an integer of 1 to 64 bits.
    func appendElement(
        _ kind: Kind, _ index: Int, _ element: Int, to buffer: inout RegionBuffer
    ) throws(SystemError) {
        let salt = salt(kind, index)
        guard element % 4 != 3 else {
            let mixed = SplitMix.mix(salt &+ UInt64(element))
            return try buffer.append(decimal: Int64(bitPattern: mixed) >> Int64(mixed & 63))
        }
        try texts.append(salt, element, shape(kind).elementBytes, to: &buffer)
    }

    /// A member of a set or sorted set, different for each element.
    func appendMember(
        _ kind: Kind, _ index: Int, _ element: Int, to buffer: inout RegionBuffer
    ) throws(SystemError) {
        if kind == .set, index % 2 == 1 {
            return try buffer.append(decimal: integerMember(index, element))
        }
        try texts.append(salt(kind, index), element, max(shape(kind).elementBytes, 8), to: &buffer)
    }

    /// Members of integer sets ascend and need 2, 4 or 8 bytes, depending on the key.
    func integerMember(_ index: Int, _ element: Int) -> Int64 {
        let step: Int64 =
            switch index / 2 % 3 {
            case 0: 1
            case 1: 1000
            default: 10_000_000_000
            }
        return (Int64(element) - Int64(sets.elements / 3)) &* step
    }

    /// Scores ascend with the element, some negative, some whole.
    func score(_ index: Int, _ element: Int) -> Double {
        let fraction = Double(SplitMix.mix(UInt64(index) &+ UInt64(element) << 32) % 8) / 8
        return Double(element - sortedSets.elements / 3) * 1.5 + fraction
    }

    func streamID(_ entry: Int) -> StreamID {
        StreamID(
            milliseconds: UInt64(Self.streamStartMilliseconds) + UInt64(entry / 2),
            sequence: UInt64(entry % 2))
    }

    /// How many entries of a stream its group has been given; 0 if it has no group.
    func deliveredCount(_ index: Int) -> Int {
        index % 2 == 1 || deliveredEntries > 2
            ? min(deliveredEntries, max(streams.elements, 1)) : 0
    }
}

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
    public struct ID: Equatable, Sendable {
        public let milliseconds: UInt64
        public let sequence: UInt64
    }

    public struct Entry: Equatable, Sendable {
        public let id: ID
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
        let shape = shape(kind)
        let elements = 0..<max(shape.elements, 1)
        switch kind {
        case .string:
            return .string(
                bytes { (buffer) throws(SystemError) in
                    try texts.append(salt(kind, index), 0, shape.elementBytes, to: &buffer)
                })
        case .hash:
            return .hash(
                elements.map { element in
                    SyntheticField(
                        field: bytes { (buffer) throws(SystemError) in
                            try appendField(kind, index, element, to: &buffer)
                        },
                        value: self.element(kind, index, element))
                })
        case .list:
            return .list(elements.map { element(kind, index, $0) })
        case .set:
            return .set(elements.map { member(kind, index, $0) })
        case .sortedSet:
            return .sortedSet(
                elements.map { element in
                    SyntheticMember(
                        member: member(kind, index, element), score: score(index, element))
                })
        case .stream:
            return .stream(stream(index))
        }
    }

    private func stream(_ index: Int) -> SyntheticStream {
        let count = max(streams.elements, 1)
        let entries = (0..<count).map { entry in
            let id = streamID(entry)
            return SyntheticStream.Entry(
                id: .init(milliseconds: id.milliseconds, sequence: id.sequence),
                fields: [
                    SyntheticField(
                        field: Array("value".utf8), value: element(.stream, index, entry))
                ])
        }
        let delivered = deliveredCount(index)
        let group = SyntheticStream.Group(
            name: Array("workers".utf8), consumer: Array("worker-1".utf8), delivered: delivered,
            deliveryMilliseconds: Self.streamStartMilliseconds)
        return SyntheticStream(entries: entries, group: delivered > 0 ? group : nil)
    }

    private func element(_ kind: Kind, _ index: Int, _ element: Int) -> [UInt8] {
        bytes { (buffer) throws(SystemError) in
            try appendElement(kind, index, element, to: &buffer)
        }
    }

    private func member(_ kind: Kind, _ index: Int, _ element: Int) -> [UInt8] {
        bytes { (buffer) throws(SystemError) in
            try appendMember(kind, index, element, to: &buffer)
        }
    }

    private func bytes(
        _ body: (inout RegionBuffer) throws(SystemError) -> Void
    ) -> [UInt8] {
        do {
            var buffer = try RegionBuffer()
            try body(&buffer)
            return buffer.view.array()
        } catch {
            fatalError("no memory for a generated value")
        }
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

    func streamID(_ entry: Int) -> (milliseconds: UInt64, sequence: UInt64) {
        (UInt64(Self.streamStartMilliseconds) + UInt64(entry / 2), UInt64(entry % 2))
    }

    /// How many entries of a stream its group has been given; 0 if it has no group.
    func deliveredCount(_ index: Int) -> Int {
        index % 2 == 1 ? min(2, max(streams.elements, 1)) : 0
    }
}

public import Bytes

/// The id of a stream entry: `ms-seq`.
public struct StreamID: Comparable, Hashable, Sendable {
    /// Unix milliseconds, by custom.
    public var milliseconds: UInt64
    public var sequence: UInt64

    public init(milliseconds: UInt64 = 0, sequence: UInt64 = 0) {
        self.milliseconds = milliseconds
        self.sequence = sequence
    }

    /// True for 0-0, which no entry can have.
    public var isZero: Bool { milliseconds == 0 && sequence == 0 }

    public static func < (left: StreamID, right: StreamID) -> Bool {
        left.milliseconds == right.milliseconds
            ? left.sequence < right.sequence : left.milliseconds < right.milliseconds
    }

    /// Room that the text of any id fits in.
    public static let textCapacity = 41

    /// Length of the text `ms-seq` in bytes.
    public var textCount: Int {
        StreamID.digitCount(milliseconds) + 1 + StreamID.digitCount(sequence)
    }

    private static func digitCount(_ value: UInt64) -> Int {
        value < 10 ? 1 : DecimalText.digitCount(Int64(value / 10)) + 1
    }
}

extension MirroredRing {
    /// Appends the text `ms-seq`; needs `StreamID.textCapacity` bytes of room.
    public mutating func append(_ id: StreamID) {
        append(unsigned: id.milliseconds)
        append(byte: UInt8(ascii: "-"))
        append(unsigned: id.sequence)
    }

    /// Appends the decimal text of an unsigned integer.
    mutating func append(unsigned value: UInt64) {
        if value >= 10 { append(decimal: Int64(value / 10)) }
        append(byte: UInt8(ascii: "0") + UInt8(truncatingIfNeeded: value % 10))
    }
}

extension RegionBuffer {
    /// Appends the text `ms-seq`.
    public mutating func append(_ id: StreamID) throws(SystemError) {
        try append(unsigned: id.milliseconds)
        try append(byte: UInt8(ascii: "-"))
        try append(unsigned: id.sequence)
    }

    /// Appends the decimal text of an unsigned integer.
    mutating func append(unsigned value: UInt64) throws(SystemError) {
        if value >= 10 { try append(decimal: Int64(value / 10)) }
        try append(byte: UInt8(ascii: "0") + UInt8(truncatingIfNeeded: value % 10))
    }
}

import Bytes

// Parts of values, one after another (protocol.md 3.9).
extension RegionBuffer {
    /// A copy of an array.
    mutating func append(_ bytes: [UInt8]) throws(SystemError) {
        try bytes.withByteView { (view) throws(SystemError) in try append(view) }
    }

    /// The prefix that says when the next key expires, Unix milliseconds (protocol.md 3.3).
    mutating func append(expiry milliseconds: Int64) throws(SystemError) {
        try append(byte: 0xfc)
        try append(little: milliseconds)
    }

    /// An id as two lengths.
    mutating func append(id: StreamID) throws(SystemError) {
        try append(length: id.milliseconds)
        try append(length: id.sequence)
    }

    /// An id as 16 bytes, big-endian.
    mutating func append(rawID id: StreamID) throws(SystemError) {
        try append(little: id.milliseconds.byteSwapped)
        try append(little: id.sequence.byteSwapped)
    }

    /// An intset of `count` ascending members from `low` to `high`, without its length: the
    /// narrowest width that holds the outermost two (protocol.md 3.10.2).
    mutating func append(
        intset count: Int, from low: Int64, to high: Int64, member: (Int) -> Int64
    ) throws(SystemError) {
        let width = Self.intsetWidth(from: low, to: high)
        try append(little: UInt32(width))
        try append(little: UInt32(count))
        for index in 0..<count {
            let value = member(index)
            switch width {
            case 2: try append(little: Int16(value))
            case 4: try append(little: Int32(value))
            default: try append(little: value)
            }
        }
    }

    /// Bytes of an intset beside its members.
    static var intsetOverhead: Int { 8 }

    /// Bytes of each member.
    static func intsetWidth(from low: Int64, to high: Int64) -> Int {
        if Int16(exactly: low) != nil, Int16(exactly: high) != nil { return 2 }
        return Int32(exactly: low) != nil && Int32(exactly: high) != nil ? 4 : 8
    }

    /// A string as LZF if it gains as much as Dragonfly demands in its mode 1 (protocol.md 3.4.2);
    /// false, with nothing appended, if not. `scratch` is overwritten.
    mutating func append(
        lzf bytes: ByteView, scratch: inout RegionBuffer
    ) throws(SystemError) -> Bool {
        guard bytes.count > 20 else { return false }
        scratch.clear(keeping: 1 << 20)
        guard try LZF.compress(bytes, into: &scratch), scratch.count < bytes.count - 8,
            scratch.count < Int(Double(bytes.count) * 0.85)
        else { return false }
        try append(lzfBlob: scratch.view, originalCount: bytes.count)
        return true
    }

    /// A string that is compressed already.
    mutating func append(
        lzfBlob packed: ByteView, originalCount: Int
    ) throws(SystemError) {
        try append(byte: 0xc3)
        try append(length: packed.count)
        try append(length: originalCount)
        try append(packed)
    }
}

import Bytes

// The encodings of protocol.md 3.4, 3.10 and 5.2.
extension RegionBuffer {
    /// A length in its shortest form; packed integers of the journal look the same.
    mutating func append(length: UInt64) throws(SystemError) {
        switch length {
        case 0..<0x40:
            try append(byte: UInt8(length))
        case 0x40..<0x4000:
            try append(little: (UInt16(length) | 0x4000).byteSwapped)
        case 0x4000...0xffff_ffff:
            try append(byte: 0x80)
            try append(little: UInt32(length).byteSwapped)
        default:
            try append(byte: 0x81)
            try append(little: length.byteSwapped)
        }
    }

    mutating func append(length: Int) throws(SystemError) {
        try append(length: UInt64(length))
    }

    /// A length and bytes.
    mutating func append(counted bytes: ByteView) throws(SystemError) {
        try append(length: bytes.count)
        try append(bytes)
    }

    /// A snapshot string: text of an integer of up to 32 bits in its short form, else as it is.
    mutating func append(string bytes: ByteView) throws(SystemError) {
        guard bytes.count <= 11, let value = bytes.parseInteger(), let short = Int32(exactly: value)
        else { return try append(counted: bytes) }
        if let byte = Int8(exactly: short) {
            try append(byte: 0xc0)
            try append(little: byte)
        } else if let word = Int16(exactly: short) {
            try append(byte: 0xc1)
            try append(little: word)
        } else {
            try append(byte: 0xc2)
            try append(little: short)
        }
    }

    /// One listpack element: text of an integer becomes an integer.
    mutating func append(listpackElement bytes: ByteView) throws(SystemError) {
        if let value = bytes.parseInteger() { return try append(listpackInteger: value) }
        let start = count
        switch bytes.count {
        case 0..<64:
            try append(byte: 0x80 | UInt8(bytes.count))
        case 64..<4096:
            try append(little: (UInt16(bytes.count) | 0xe000).byteSwapped)
        default:
            try append(byte: 0xf0)
            try append(little: UInt32(bytes.count))
        }
        try append(bytes)
        try append(backLength: count - start)
    }

    mutating func append(listpackInteger value: Int64) throws(SystemError) {
        let start = count
        switch value {
        case 0...127:
            try append(byte: UInt8(value))
        case -4096...4095:
            try append(little: (UInt16(truncatingIfNeeded: value) & 0x1fff | 0xc000).byteSwapped)
        case -0x8000...0x7fff:
            try append(byte: 0xf1)
            try append(little: Int16(value))
        case -0x80_0000...0x7f_ffff:
            try append(byte: 0xf2)
            try append(little: UInt16(truncatingIfNeeded: value))
            try append(byte: UInt8(truncatingIfNeeded: value >> 16))
        case -0x8000_0000...0x7fff_ffff:
            try append(byte: 0xf3)
            try append(little: Int32(value))
        default:
            try append(byte: 0xf4)
            try append(little: value)
        }
        try append(backLength: count - start)
    }

    /// The length of the element before, seven bits a byte, readable from its end.
    private mutating func append(backLength size: Int) throws(SystemError) {
        let bytes = Self.backLengthBytes(size)
        for position in (0..<bytes).reversed() {
            let part = UInt8(truncatingIfNeeded: size >> (7 * position)) & 0x7f
            try append(byte: position == bytes - 1 ? part : part | 0x80)
        }
    }

    private static func backLengthBytes(_ size: Int) -> Int {
        // The limits are listpack's own: the first is inclusive, the others are not.
        switch size {
        case ...127: 1
        case ..<16383: 2
        case ..<2_097_151: 3
        case ..<268_435_455: 4
        default: 5
        }
    }

    /// What `append(listpackElement:)` would append.
    static func listpackBytes(of bytes: ByteView) -> Int {
        let size =
            switch bytes.parseInteger() {
            case .some(0...127): 1
            case .some(-4096...4095): 2
            case .some(-0x8000...0x7fff): 3
            case .some(-0x80_0000...0x7f_ffff): 4
            case .some(-0x8000_0000...0x7fff_ffff): 5
            case .some: 9
            case .none: bytes.count + (bytes.count < 64 ? 1 : bytes.count < 4096 ? 2 : 5)
            }
        return size + backLengthBytes(size)
    }

    /// A whole listpack as a string: header, `elements` as they are, end mark.
    mutating func append(listpack elements: ByteView, count: Int) throws(SystemError) {
        try append(length: elements.count + Self.listpackOverhead)
        try append(listpackBody: elements, count: count)
    }

    /// The same without the length.
    mutating func append(listpackBody elements: ByteView, count: Int) throws(SystemError) {
        try append(little: UInt32(elements.count + Self.listpackOverhead))
        try append(little: UInt16(min(count, 65535)))
        try append(elements)
        try append(byte: 0xff)
    }

    /// Bytes of a listpack beside its elements.
    static var listpackOverhead: Int { 7 }
}

import Bytes

/// Builds a ziplist, the compact form of releases up to 1.30 (protocol.md 3.10.3), as redis builds
/// one from strings.
struct Ziplist: ~Copyable {
    private static let headerBytes = 10

    private var entries: RegionBuffer
    private var count = 0
    private var previousBytes = 0
    private var lastStart = 0

    init() throws(SystemError) {
        entries = try RegionBuffer()
    }

    /// Appends an element: text of an integer becomes an integer.
    mutating func append(_ element: [UInt8]) throws(SystemError) {
        lastStart = entries.count
        if previousBytes < 254 {
            try entries.append(byte: UInt8(previousBytes))
        } else {
            try entries.append(byte: 0xfe)
            try entries.append(little: UInt32(previousBytes))
        }
        if element.count < 32, let value = element.withByteView({ $0.parseInteger() }) {
            try append(integer: value)
        } else {
            try append(string: element)
        }
        previousBytes = entries.count - lastStart
        count += 1
    }

    private mutating func append(integer value: Int64) throws(SystemError) {
        switch value {
        case 0...12:
            try entries.append(byte: 0xf1 + UInt8(value))
        case -0x80...0x7f:
            try entries.append(byte: 0xfe)
            try entries.append(little: Int8(value))
        case -0x8000...0x7fff:
            try entries.append(byte: 0xc0)
            try entries.append(little: Int16(value))
        case -0x80_0000...0x7f_ffff:
            try entries.append(byte: 0xf0)
            try entries.append(little: UInt16(truncatingIfNeeded: value))
            try entries.append(byte: UInt8(truncatingIfNeeded: value >> 16))
        case -0x8000_0000...0x7fff_ffff:
            try entries.append(byte: 0xd0)
            try entries.append(little: Int32(value))
        default:
            try entries.append(byte: 0xe0)
            try entries.append(little: value)
        }
    }

    private mutating func append(string: [UInt8]) throws(SystemError) {
        switch string.count {
        case ..<64:
            try entries.append(byte: UInt8(string.count))
        case ..<16384:
            try entries.append(little: (UInt16(string.count) | 0x4000).byteSwapped)
        default:
            try entries.append(byte: 0x80)
            try entries.append(little: UInt32(string.count).byteSwapped)
        }
        try entries.append(string)
    }

    /// Appends the whole ziplist to `buffer`.
    borrowing func write(to buffer: inout RegionBuffer) throws(SystemError) {
        try buffer.append(little: UInt32(Self.headerBytes + entries.count + 1))
        try buffer.append(little: UInt32(Self.headerBytes + lastStart))
        try buffer.append(little: UInt16(min(count, 65535)))
        try buffer.append(entries.view)
        try buffer.append(byte: 0xff)
    }
}

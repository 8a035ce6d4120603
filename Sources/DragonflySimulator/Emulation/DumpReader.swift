import Bytes

/// Reads what a redis-server answers to DUMP, piece by piece (protocol.md 3.4).
struct DumpReader {
    private let bytes: ArraySlice<UInt8>
    private var position: Int

    init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        position = bytes.startIndex
    }

    init(_ bytes: [UInt8]) {
        self.init(bytes[...])
    }

    var isAtEnd: Bool { position == bytes.endIndex }

    func failure(_ text: String) -> EmulationError {
        EmulationError(
            description: "a DUMP reply of the keyspace cannot be read: \(text) at byte "
                + "\(position - bytes.startIndex); is it a redis-server 7.0?")
    }

    mutating func take(_ count: Int) throws(EmulationError) -> ArraySlice<UInt8> {
        guard count >= 0, bytes.endIndex - position >= count else { throw failure("it ends") }
        defer { position += count }
        return bytes[position..<position + count]
    }

    mutating func byte() throws(EmulationError) -> UInt8 {
        guard position < bytes.endIndex else { throw failure("it ends") }
        defer { position += 1 }
        return bytes[position]
    }

    /// An unsigned integer of `width` bytes.
    mutating func little(_ width: Int) throws(EmulationError) -> UInt64 {
        try take(width).reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    mutating func big(_ width: Int) throws(EmulationError) -> UInt64 {
        try take(width).reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// A signed integer of `width` bytes.
    mutating func signed(_ width: Int) throws(EmulationError) -> Int64 {
        let shift = 64 - 8 * width
        return Int64(bitPattern: try little(width) << UInt64(shift)) >> Int64(shift)
    }

    mutating func length() throws(EmulationError) -> UInt64 {
        let first = try byte()
        switch first {
        case ..<0x40: return UInt64(first)
        case ..<0x80: return UInt64(first & 0x3f) << 8 | UInt64(try byte())
        case 0x80: return try big(4)
        case 0x81: return try big(8)
        default: throw failure("length \(first)")
        }
    }

    mutating func count() throws(EmulationError) -> Int {
        guard let count = Int(exactly: try length()) else { throw failure("count") }
        return count
    }

    mutating func string() throws(EmulationError) -> [UInt8] {
        let start = position
        switch try byte() {
        case 0xc0: return Self.text(try signed(1))
        case 0xc1: return Self.text(try signed(2))
        case 0xc2: return Self.text(try signed(4))
        case 0xc3:
            let packedCount = try count()
            let plainCount = try count()
            return try expanded(try take(packedCount), plainCount)
        default:
            position = start
            return Array(try take(try count()))
        }
    }

    mutating func strings(_ count: Int) throws(EmulationError) -> [[UInt8]] {
        var strings: [[UInt8]] = []
        for _ in 0..<count { strings.append(try string()) }
        return strings
    }

    mutating func double() throws(EmulationError) -> Double {
        Double(bitPattern: try little(8))
    }

    /// An id of two lengths.
    mutating func id() throws(EmulationError) -> StreamID {
        .init(milliseconds: try length(), sequence: try length())
    }

    /// An id of 16 raw bytes.
    mutating func rawID() throws(EmulationError) -> StreamID {
        .init(milliseconds: try big(8), sequence: try big(8))
    }

    static func text(_ value: Int64) -> [UInt8] {
        Array(String(value).utf8)
    }

    /// LZF (protocol.md 3.4.3).
    private func expanded(
        _ packed: ArraySlice<UInt8>, _ plainCount: Int
    ) throws(EmulationError) -> [UInt8] {
        var reader = DumpReader(packed)
        var plain: [UInt8] = []
        plain.reserveCapacity(min(plainCount, 1 << 30))
        while !reader.isAtEnd {
            let control = Int(try reader.byte())
            if control < 32 {
                plain += try reader.take(control + 1)
                continue
            }
            var size = control >> 5
            if size == 7 { size += Int(try reader.byte()) }
            let distance = (control & 31) << 8 + Int(try reader.byte()) + 1
            guard distance <= plain.count else { throw failure("LZF distance") }
            for _ in 0..<size + 2 { plain.append(plain[plain.count - distance]) }
        }
        guard plain.count == plainCount else { throw failure("LZF size") }
        return plain
    }
}

extension DumpReader {
    /// The elements of a listpack as text (protocol.md 3.10.1).
    static func listpack(_ bytes: [UInt8]) throws(EmulationError) -> [[UInt8]] {
        var reader = DumpReader(bytes)
        _ = try reader.take(6)
        var elements: [[UInt8]] = []
        while true {
            let start = reader.position
            let lead = try reader.byte()
            if lead == 0xff { break }
            elements.append(try reader.listpackElement(lead))
            // A back-length follows; its own size follows from the element's.
            switch reader.position - start {
            case ...127: _ = try reader.take(1)
            case ..<16383: _ = try reader.take(2)
            case ..<2_097_151: _ = try reader.take(3)
            case ..<268_435_455: _ = try reader.take(4)
            default: _ = try reader.take(5)
            }
        }
        guard reader.isAtEnd else { throw reader.failure("listpack end") }
        return elements
    }

    private mutating func listpackElement(_ lead: UInt8) throws(EmulationError) -> [UInt8] {
        switch lead {
        case ..<0x80: return Self.text(Int64(lead))
        case ..<0xc0: return Array(try take(Int(lead & 0x3f)))
        case ..<0xe0:
            let value = Int64(lead & 0x1f) << 8 | Int64(try byte())
            return Self.text(value >= 4096 ? value - 8192 : value)
        case ..<0xf0: return Array(try take(Int(lead & 15) << 8 | Int(try byte())))
        case 0xf0: return Array(try take(Int(try little(4))))
        case 0xf1: return Self.text(try signed(2))
        case 0xf2: return Self.text(try signed(3))
        case 0xf3: return Self.text(try signed(4))
        case 0xf4: return Self.text(try signed(8))
        default: throw failure("listpack element \(lead)")
        }
    }
}

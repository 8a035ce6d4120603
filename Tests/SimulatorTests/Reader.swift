@testable import DragonflySimulator

/// Reads the primitives of protocol.md 3.4, slowly and plainly.
struct Reader {
    private let bytes: [UInt8]
    var position = 0

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    var isAtEnd: Bool { position == bytes.count }

    func failure(_ text: String) -> SnapshotDecoder.Failure {
        .init(text: text, position: position)
    }

    mutating func take(_ count: Int) throws -> [UInt8] {
        guard count >= 0, bytes.count - position >= count else { throw failure("end of bytes") }
        defer { position += count }
        return Array(bytes[position..<position + count])
    }

    /// What was read since `start`.
    func bytes(from start: Int) -> [UInt8] { Array(bytes[start..<position]) }

    mutating func byte() throws -> UInt8 {
        guard position < bytes.count else { throw failure("end of bytes") }
        defer { position += 1 }
        return bytes[position]
    }

    mutating func little(_ width: Int) throws -> UInt64 {
        try take(width).reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    mutating func signed(_ width: Int) throws -> Int64 {
        let shift = UInt64(64 - 8 * width)
        return Int64(bitPattern: try little(width) << shift) >> Int64(shift)
    }

    mutating func big(_ width: Int) throws -> UInt64 {
        try take(width).reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// A length that may use all of its 64 bits.
    mutating func wideLength() throws -> UInt64 {
        let first = try byte()
        switch first {
        case ..<0x40: return UInt64(first)
        case ..<0x80: return UInt64(first & 0x3f) << 8 | UInt64(try byte())
        case 0x80: return try big(4)
        case 0x81: return try big(8)
        default: throw failure("length")
        }
    }

    mutating func length() throws -> Int {
        guard let length = Int(exactly: try wideLength()) else { throw failure("length") }
        return length
    }

    mutating func string() throws -> [UInt8] {
        try countedString().bytes
    }

    /// A string, and whether it was LZF.
    mutating func countedString() throws -> (bytes: [UInt8], isPacked: Bool) {
        let start = position
        switch try byte() {
        case 0xc0: return (Array(String(try signed(1)).utf8), false)
        case 0xc1: return (Array(String(try signed(2)).utf8), false)
        case 0xc2: return (Array(String(try signed(4)).utf8), false)
        case 0xc3:
            let packed = try length()
            let plain = try length()
            return (try Self.expand(try take(packed), plain), true)
        default:
            position = start
            return (try take(try length()), false)
        }
    }

    mutating func strings(_ count: Int) throws -> [[UInt8]] {
        try (0..<count).map { _ in try string() }
    }

    mutating func double() throws -> Double {
        Double(bitPattern: try little(8))
    }

    mutating func id() throws -> StreamID {
        .init(milliseconds: try wideLength(), sequence: try wideLength())
    }

    mutating func rawId() throws -> StreamID {
        .init(milliseconds: try big(8), sequence: try big(8))
    }

    /// LZF (protocol.md 3.4.3).
    private static func expand(_ packed: [UInt8], _ size: Int) throws -> [UInt8] {
        var reader = Reader(packed)
        var plain: [UInt8] = []
        while !reader.isAtEnd {
            let control = Int(try reader.byte())
            if control < 32 {
                plain += try reader.take(control + 1)
                continue
            }
            var length = control / 32
            if length == 7 { length += Int(try reader.byte()) }
            let distance = control % 32 * 256 + Int(try reader.byte()) + 1
            guard distance <= plain.count else { throw reader.failure("LZF distance") }
            for _ in 0..<length + 2 { plain.append(plain[plain.count - distance]) }
        }
        guard plain.count == size else { throw reader.failure("LZF size") }
        return plain
    }

    /// The elements of a listpack as text; the header and every back-length are checked.
    static func listpack(_ bytes: [UInt8]) throws -> [[UInt8]] {
        var reader = Reader(bytes)
        guard try reader.little(4) == UInt64(bytes.count) else { throw reader.failure("total") }
        let count = Int(try reader.little(2))
        var elements: [[UInt8]] = []
        while true {
            let start = reader.position
            let lead = try reader.byte()
            if lead == 0xff { break }
            switch lead {
            case ..<0x80: elements.append(Array(String(lead).utf8))
            case ..<0xc0: elements.append(try reader.take(Int(lead & 0x3f)))
            case ..<0xe0:
                let value = Int(lead & 0x1f) << 8 | Int(try reader.byte())
                elements.append(Array(String(value >= 4096 ? value - 8192 : value).utf8))
            case ..<0xf0:
                elements.append(try reader.take(Int(lead & 15) << 8 | Int(try reader.byte())))
            case 0xf0: elements.append(try reader.take(Int(try reader.little(4))))
            default:
                let width = [0xf1: 2, 0xf2: 3, 0xf3: 4, 0xf4: 8][Int(lead)] ?? 0
                elements.append(Array(String(try reader.signed(width)).utf8))
            }
            // Read backwards, as the format wants it: low bits last, continuation in bit 7.
            let size = reader.position - start
            let width = size <= 127 ? 1 : size < 16383 ? 2 : size < 2_097_151 ? 3 : 4
            var back = 0
            for byte in try reader.take(width) { back = back << 7 | Int(byte & 0x7f) }
            guard back == size else { throw reader.failure("back length") }
        }
        guard reader.isAtEnd, count == min(elements.count, 65535) else {
            throw reader.failure("listpack count")
        }
        return elements
    }

    /// The elements of a ziplist as text (protocol.md 3.10.3); header and previous-lengths are
    /// checked.
    static func ziplist(_ bytes: [UInt8]) throws -> [[UInt8]] {
        var reader = Reader(bytes)
        guard try reader.little(4) == UInt64(bytes.count) else { throw reader.failure("total") }
        let tail = Int(try reader.little(4))
        let count = Int(try reader.little(2))
        var elements: [[UInt8]] = []
        var last = 10
        var previous = 0
        while true {
            let start = reader.position
            let lead = try reader.byte()
            if lead == 0xff { break }
            last = start
            let stated = lead == 0xfe ? Int(try reader.little(4)) : Int(lead)
            guard stated == previous else { throw reader.failure("previous length") }
            elements.append(try reader.ziplistElement())
            previous = reader.position - start
        }
        guard reader.isAtEnd, tail == last, count == min(elements.count, 65535) else {
            throw reader.failure("ziplist header")
        }
        return elements
    }

    private mutating func ziplistElement() throws -> [UInt8] {
        let lead = try byte()
        let value: Int64
        switch lead {
        case ..<0x40: return try take(Int(lead))
        case ..<0x80: return try take(Int(lead & 0x3f) << 8 | Int(try byte()))
        case 0x80: return try take(Int(try big(4)))
        case 0xc0: value = try signed(2)
        case 0xd0: value = try signed(4)
        case 0xe0: value = try signed(8)
        case 0xf0: value = try signed(3)
        case 0xfe: value = try signed(1)
        case 0xf1...0xfd: value = Int64(lead & 15) - 1
        default: throw failure("ziplist element")
        }
        return Array(String(value).utf8)
    }
}

public import Bytes

/// A position in a view, moved forward by reading primitives (protocol.md 3.4).
///
/// Every read returns nil when the view ends before the primitive does, and leaves the position where
/// it was: incomplete input is a value. Input that can never become valid throws.
public struct Cursor {
    public let bytes: ByteView
    public var position: Int

    public init(_ bytes: ByteView, at position: Int = 0) {
        self.bytes = bytes
        self.position = position
    }

    public var remaining: Int { bytes.count - position }

    public mutating func byte() -> UInt8? {
        guard remaining >= 1 else { return nil }
        defer { position += 1 }
        return bytes[position]
    }

    public mutating func raw(_ size: Int) -> ByteView? {
        guard size <= remaining else { return nil }
        defer { position += size }
        return bytes.slice(position, size)
    }

    public mutating func little<T: FixedWidthInteger>(as type: T.Type) -> T? {
        guard remaining >= MemoryLayout<T>.size else { return nil }
        defer { position += MemoryLayout<T>.size }
        return bytes.little(position, as: type)
    }

    /// A `len`: one of the four plain forms. A string encoding (11xxxxxx) throws `badLength`.
    public mutating func length() throws(DecodeError) -> UInt64? {
        guard remaining >= 1 else { return nil }
        let first = bytes[position]
        switch first >> 6 {
        case 0:
            position += 1
            return UInt64(first)
        case 1:
            guard remaining >= 2 else { return nil }
            defer { position += 2 }
            return UInt64(first & 0x3f) << 8 | UInt64(bytes[position + 1])
        default:
            if first == 0x80 {
                guard remaining >= 5 else { return nil }
                defer { position += 5 }
                return UInt64(bytes.big(position + 1, as: UInt32.self))
            }
            if first == 0x81 {
                guard remaining >= 9 else { return nil }
                defer { position += 9 }
                return bytes.big(position + 1, as: UInt64.self)
            }
            throw DecodeError(.badLength)
        }
    }

    /// A length that counts bytes or elements in memory: above `Cursor.countLimit` it throws.
    public mutating func count() throws(DecodeError) -> Int? {
        guard let value = try length() else { return nil }
        guard value <= UInt64(Cursor.countLimit) else { throw DecodeError(.lengthAboveLimit) }
        return Int(value)
    }

    /// No count or size on the wire can honestly be above this (1 TiB).
    public static let countLimit = 1 << 40

    /// The head of a `str`: what follows it, without its bytes.
    public mutating func stringHead() throws(DecodeError) -> StringHead? {
        guard remaining >= 1 else { return nil }
        let first = bytes[position]
        guard first >> 6 == 3 else {
            guard let size = try count() else { return nil }
            return .plain(size: size)
        }
        switch first {
        case 0xc0:
            position += 1
            return .integer(size: 1)
        case 0xc1:
            position += 1
            return .integer(size: 2)
        case 0xc2:
            position += 1
            return .integer(size: 4)
        case 0xc3:
            let start = position
            position += 1
            guard let compressed = try count(), let original = try count() else {
                position = start
                return nil
            }
            // LZF copies at most 264 bytes for 3 of input, so more than that is a lie.
            guard original <= compressed * 264 else { throw DecodeError(.damagedCompression) }
            return .lzf(compressedCount: compressed, originalCount: original)
        default:
            throw DecodeError(.badString)
        }
    }

    /// A whole `str`, undecoded; nil if its bytes are not all there.
    public mutating func string() throws(DecodeError) -> WireString? {
        let start = position
        guard let head = try stringHead() else { return nil }
        guard let body = raw(head.size) else {
            position = start
            return nil
        }
        switch head {
        case .plain:
            return .plain(body)
        case .integer(size: 1):
            return .integer(Int64(body.little(0, as: Int8.self)))
        case .integer(size: 2):
            return .integer(Int64(body.little(0, as: Int16.self)))
        case .integer:
            return .integer(Int64(body.little(0, as: Int32.self)))
        case .lzf(_, let originalCount):
            return .lzf(body, originalCount: originalCount)
        }
    }
}

/// What the first bytes of a `str` announce (protocol.md 3.4.2).
public enum StringHead: Equatable {
    case plain(size: Int)
    /// A little-endian integer of 1, 2 or 4 bytes whose decimal text is the string.
    case integer(size: Int)
    case lzf(compressedCount: Int, originalCount: Int)

    /// Bytes that follow the head.
    public var size: Int {
        switch self {
        case .plain(let size), .integer(let size): size
        case .lzf(let compressedCount, _): compressedCount
        }
    }
}

/// A string as it is on the wire: its bytes, an integer whose decimal text it is, or LZF.
public enum WireString {
    case plain(ByteView)
    case integer(Int64)
    case lzf(ByteView, originalCount: Int)

    /// Length of the decoded string in bytes.
    public var decodedCount: Int {
        switch self {
        case .plain(let bytes): bytes.count
        case .integer(let value): DecimalText.digitCount(value)
        case .lzf(_, let originalCount): originalCount
        }
    }

    /// The decoded bytes: the wire's own for a plain string, else written to `scratch`, which is
    /// cleared first.
    public func decoded(scratch: inout RegionBuffer) throws(DecodeError) -> ByteView {
        switch self {
        case .plain(let bytes):
            return bytes
        case .integer(let value):
            scratch.clear()
            do {
                try scratch.append(decimal: value)
            } catch {
                throw DecodeError(.outOfMemory)
            }
            return scratch.view
        case .lzf(let bytes, let originalCount):
            scratch.clear()
            let sound: Bool
            do {
                sound = try LZF.decompress(bytes, originalCount: originalCount, into: &scratch)
            } catch {
                throw DecodeError(.outOfMemory)
            }
            guard sound else { throw DecodeError(.damagedCompression) }
            return scratch.view
        }
    }
}

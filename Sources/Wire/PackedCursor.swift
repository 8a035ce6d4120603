import Bytes

/// A position in a listpack, ziplist or intset (protocol.md 3.10), moved forward element by
/// element.
///
/// Everything that a server would trust is checked on the way: sizes, back-lengths, terminator and
/// count. So the elements of a container are sound up to the point reached, and the container as a
/// whole once `next` has returned nil.
struct PackedCursor {
    enum Form: UInt8 {
        case listpack
        case ziplist
        case intset
    }

    let form: Form
    /// Bytes per element of an intset.
    private let width: Int
    /// Set anew when the container was decompressed again to another place.
    var bytes: ByteView
    /// Where the next element starts.
    var position: Int
    /// Where the elements end: at the terminator, or at the end of an intset.
    let end: Int
    /// Elements passed.
    private(set) var passed = 0
    /// An element was passed whose size is the limit of a back-length's size: servers disagree on
    /// which side that lies (Valkey 9.1 takes it as inclusive), and refuse the other form.
    private(set) var isDisputed = false
    /// Size of the element before, in bytes; ziplists repeat it.
    var previousSize = 0

    /// Checks the container's head.
    init(_ form: Form, _ bytes: ByteView) throws(DecodeError) {
        self.form = form
        self.bytes = bytes
        switch form {
        case .listpack:
            guard bytes.count >= PackedCursor.listpackHeadSize + 1,
                Int(bytes.little(0, as: UInt32.self)) == bytes.count,
                bytes[bytes.count - 1] == PackedCursor.terminator
            else { throw DecodeError(.damagedContainer) }
            width = 0
            position = PackedCursor.listpackHeadSize
            end = bytes.count - 1
        case .ziplist:
            guard bytes.count >= PackedCursor.ziplistHeadSize + 1,
                Int(bytes.little(0, as: UInt32.self)) == bytes.count,
                Int(bytes.little(4, as: UInt32.self)) < bytes.count,
                bytes[bytes.count - 1] == PackedCursor.terminator
            else { throw DecodeError(.damagedContainer) }
            width = 0
            position = PackedCursor.ziplistHeadSize
            end = bytes.count - 1
        case .intset:
            guard bytes.count >= PackedCursor.intsetHeadSize else {
                throw DecodeError(.damagedContainer)
            }
            width = Int(bytes.little(0, as: UInt32.self))
            position = PackedCursor.intsetHeadSize
            end = bytes.count
            guard width == 2 || width == 4 || width == 8,
                Int(bytes.little(4, as: UInt32.self)) * width == end - position
            else { throw DecodeError(.damagedContainer) }
        }
    }

    static let terminator: UInt8 = 0xff
    /// Total bytes and count.
    private static let listpackHeadSize = 6
    /// Total bytes, tail offset and count.
    private static let ziplistHeadSize = 10
    /// Width and count.
    private static let intsetHeadSize = 8

    /// True if an old list node is a ziplist and not a raw element (protocol.md 3.9.3).
    static func looksLikeZiplist(_ bytes: ByteView) -> Bool {
        bytes.count >= ziplistHeadSize + 1
            && Int(bytes.little(0, as: UInt32.self)) == bytes.count
            && bytes[bytes.count - 1] == terminator
    }

    /// The element count of the head, nil if it says "unknown" (65535).
    var announcedCount: Int? {
        let count: UInt16
        switch form {
        case .listpack: count = bytes.little(4, as: UInt16.self)
        case .ziplist: count = bytes.little(8, as: UInt16.self)
        case .intset: return (end - PackedCursor.intsetHeadSize) / width
        }
        return count == .max ? nil : Int(count)
    }

    /// The next element, nil at the end.
    @inline(__always)
    mutating func next() throws(DecodeError) -> PackedElement? {
        guard position < end else {
            try checkEnd()
            return nil
        }
        passed += 1
        switch form {
        case .listpack: return try nextOfListpack()
        case .ziplist: return try nextOfZiplist()
        case .intset: return try nextOfIntset()
        }
    }

    /// The next element where there must be one.
    @inline(__always)
    mutating func required() throws(DecodeError) -> PackedElement {
        guard let element = try next() else { throw DecodeError(.damagedContainer) }
        return element
    }

    /// The element that starts at `position`, which this cursor has passed.
    func element(at position: Int) throws(DecodeError) -> PackedElement {
        var other = self
        other.position = position
        if form == .ziplist { other.previousSize = other.ziplistPreviousLength(at: position).size }
        return try other.required()
    }

    private func checkEnd() throws(DecodeError) {
        if let count = announcedCount, count != passed { throw DecodeError(.damagedContainer) }
        if form == .ziplist, passed > 0, ziplistTail != position - previousSize {
            throw DecodeError(.damagedContainer)
        }
    }

    private mutating func nextOfListpack() throws(DecodeError) -> PackedElement {
        let start = position
        let first = bytes[start]
        let element: PackedElement
        let size: Int
        switch first {
        case 0..<0x80:
            size = 1
            element = .integer(Int64(first))
        case 0x80..<0xc0:
            size = 1 + Int(first & 0x3f)
            element = .string(try body(start + 1, size - 1))
        case 0xc0..<0xe0:
            size = 2
            let value = Int64(first & 0x1f) << 8 | Int64(try body(start + 1, 1)[0])
            element = .integer(value >= 4096 ? value - 8192 : value)
        case 0xe0..<0xf0:
            let length = Int(first & 0x0f) << 8 | Int(try body(start + 1, 1)[0])
            size = 2 + length
            element = .string(try body(start + 2, length))
        case 0xf0:
            let length = Int(try body(start + 1, 4).little(0, as: UInt32.self))
            size = 5 + length
            element = .string(try body(start + 5, length))
        case 0xf1:
            size = 3
            element = .integer(Int64(try body(start + 1, 2).little(0, as: Int16.self)))
        case 0xf2:
            size = 4
            element = .integer(try body(start + 1, 3).little24(0))
        case 0xf3:
            size = 5
            element = .integer(Int64(try body(start + 1, 4).little(0, as: Int32.self)))
        case 0xf4:
            size = 9
            element = .integer(try body(start + 1, 8).little(0, as: Int64.self))
        default:
            throw DecodeError(.damagedContainer)
        }
        if size <= 127 {
            guard start + size < end, Int(bytes[start + size]) == size else {
                throw DecodeError(.damagedContainer)
            }
            position = start + size + 1
        } else {
            position = try passBackLength(size, at: start + size)
        }
        return element
    }

    /// `size` bytes from `offset` on, which must end before the terminator.
    @inline(__always)
    func body(_ offset: Int, _ size: Int) throws(DecodeError) -> ByteView {
        guard size <= end - offset else { throw DecodeError(.damagedContainer) }
        return bytes.slice(offset, size)
    }

    /// Checks the back-length of an element of more than 127 bytes; returns where it ends. It is
    /// written from the most significant seven bits on, all but the first byte with bit 7 set, and
    /// the limits of its own sizes are strict (protocol.md 3.10.1).
    private mutating func passBackLength(
        _ size: Int, at offset: Int
    ) throws(DecodeError) -> Int {
        let count = size < 16383 ? 2 : size < 2_097_151 ? 3 : size < 268_435_455 ? 4 : 5
        if size == 16383 || size == 2_097_151 || size == 268_435_455 { isDisputed = true }
        let found = try body(offset, count)
        for index in 0..<count {
            let bits = UInt8(truncatingIfNeeded: size >> (7 * (count - 1 - index)))
            let expected = index == 0 ? bits : bits | 0x80
            guard found[index] == expected else { throw DecodeError(.damagedContainer) }
        }
        return offset + count
    }

    private mutating func nextOfIntset() throws(DecodeError) -> PackedElement {
        let value = intsetValue(at: position)
        if passed > 1, intsetValue(at: position - width) >= value {
            throw DecodeError(.damagedContainer)
        }
        position += width
        return .integer(value)
    }

    private func intsetValue(at offset: Int) -> Int64 {
        switch width {
        case 2: Int64(bytes.little(offset, as: Int16.self))
        case 4: Int64(bytes.little(offset, as: Int32.self))
        default: bytes.little(offset, as: Int64.self)
        }
    }
}

extension ByteView {
    /// A signed little-endian integer of three bytes.
    func little24(_ offset: Int) -> Int64 {
        let low = Int32(little(offset, as: UInt16.self))
        let high = Int32(little(offset + 2, as: Int8.self))
        return Int64(high << 16 | low)
    }
}

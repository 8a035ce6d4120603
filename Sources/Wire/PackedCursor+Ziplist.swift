import Bytes

/// Ziplists (protocol.md 3.10.3), which releases up to v1.30 wrote.
extension PackedCursor {
    /// Where the head says that the last element starts.
    var ziplistTail: Int { Int(bytes.little(4, as: UInt32.self)) }

    /// The size of the element before, and how many bytes say it. The long form may also hold a
    /// small size.
    func ziplistPreviousLength(at offset: Int) -> (size: Int, width: Int) {
        let first = bytes[offset]
        guard first == 0xfe else { return (Int(first), 1) }
        guard end - offset > 5 else { return (-1, 5) }
        return (Int(bytes.little(offset + 1, as: UInt32.self)), 5)
    }

    mutating func nextOfZiplist() throws(DecodeError) -> PackedElement {
        let start = position
        let (size, width) = ziplistPreviousLength(at: start)
        guard bytes[start] != PackedCursor.terminator, size == previousSize,
            start + width < end
        else { throw DecodeError(.damagedContainer) }

        let head = start + width
        let first = bytes[head]
        let element: PackedElement
        let stop: Int
        switch first >> 6 {
        case 0:
            stop = head + 1 + Int(first)
            element = .string(try body(head + 1, Int(first)))
        case 1:
            let length = Int(first & 0x3f) << 8 | Int(try body(head + 1, 1)[0])
            stop = head + 2 + length
            element = .string(try body(head + 2, length))
        case 2:
            let length = Int(try body(head + 1, 4).big(0, as: UInt32.self))
            stop = head + 5 + length
            element = .string(try body(head + 5, length))
        default:
            let (value, count) = try ziplistInteger(first, at: head + 1)
            stop = head + 1 + count
            element = .integer(value)
        }
        previousSize = stop - start
        position = stop
        return element
    }

    /// The integer announced by `first`, and how many bytes from `offset` on hold it.
    private func ziplistInteger(
        _ first: UInt8, at offset: Int
    ) throws(DecodeError) -> (value: Int64, count: Int) {
        switch first {
        case 0xc0: (Int64(try body(offset, 2).little(0, as: Int16.self)), 2)
        case 0xd0: (Int64(try body(offset, 4).little(0, as: Int32.self)), 4)
        case 0xe0: (try body(offset, 8).little(0, as: Int64.self), 8)
        case 0xf0: (try body(offset, 3).little24(0), 3)
        case 0xfe: (Int64(try body(offset, 1).little(0, as: Int8.self)), 1)
        case 0xf1...0xfd: (Int64(first & 0x0f) - 1, 0)
        default: throw DecodeError(.damagedContainer)
        }
    }
}

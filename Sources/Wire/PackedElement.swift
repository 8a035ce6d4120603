import Bytes

/// One element of a listpack, ziplist or intset: bytes, or an integer whose decimal text it is.
enum PackedElement {
    case string(ByteView)
    case integer(Int64)

    /// The integer that this element is or is the canonical text of, nil if it is none.
    var integer: Int64? {
        switch self {
        case .string(let bytes): bytes.parseInteger()
        case .integer(let value): value
        }
    }

    /// The number that this element stands for as a score, nil if it is none (NaN is none).
    var score: Double? {
        switch self {
        case .string(let bytes): bytes.parseDouble()
        case .integer(let value): Double(value)
        }
    }

    /// A hash that is equal for equal texts, however they are encoded.
    var textHash: UInt64 {
        switch self {
        case .string(let bytes):
            guard let value = bytes.parseInteger() else { return bytes.xxh64(seed: 0) }
            return PackedElement.integer(value).textHash
        case .integer(let value):
            // Multiplicative mixing; the high bits, folded down, select the slot.
            let product = UInt64(bitPattern: value) &* 0x9e37_79b9_7f4a_7c15
            return product ^ (product >> 32)
        }
    }

    /// True if both have the same text, however they are encoded.
    func hasSameText(as other: PackedElement) -> Bool {
        switch (self, other) {
        case (.string(let left), .string(let right)): left.equals(right)
        case (.integer(let left), .integer(let right)): left == right
        case (.string(let text), .integer(let value)), (.integer(let value), .string(let text)):
            text.parseInteger() == value
        }
    }
}

extension ByteView {
    /// Byte-wise order: true if this view sorts before `other`.
    func sortsBefore(_ other: ByteView) -> Bool {
        let shared = min(count, other.count)
        var index = 0
        while shared - index >= 8 {
            let left = big(index, as: UInt64.self)
            let right = other.big(index, as: UInt64.self)
            if left != right { return left < right }
            index += 8
        }
        while index < shared {
            if self[index] != other[index] { return self[index] < other[index] }
            index += 1
        }
        return count < other.count
    }
}

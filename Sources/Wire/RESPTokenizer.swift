public import Bytes

/// A piece of a RESP2 reply. Views are valid until the input is consumed.
public enum RESPToken {
    /// The input ends inside a piece. Not an error.
    case needMore
    /// An array begins; so many replies follow.
    case array(count: Int)
    case null
    case integer(Int64)
    case simple(ByteView)
    /// Without the `-`.
    case error(ByteView)
    /// A bulk string of so many bytes begins; they follow as `bytes`.
    case bulk(size: Int)
    /// Some of a bulk's bytes, maybe none; `isLast` with its end.
    case bytes(ByteView, isLast: Bool)
}

/// Cuts a stream of RESP2 replies into pieces, so that a reply of any size passes through a small
/// ring. Who needs a reply whole and only its outcome uses `RESPReplyScanner`.
public struct RESPTokenizer {
    /// Bytes of the bulk still to come; nil outside one.
    private var bulkRemaining: Int?

    public init() {}

    /// The piece at `position`, which moves behind it; unchanged with `needMore`.
    public mutating func next(
        _ input: ByteView, at position: inout Int
    ) throws(RESPError) -> RESPToken {
        if let remaining = bulkRemaining { return try body(input, &position, remaining) }
        guard let end = input.firstLineEnd(from: position) else {
            // The last byte may be the first of the line's end.
            guard input.count - position <= RESPReplyScanner.lineLimit + 1 else {
                throw RESPError()
            }
            return .needMore
        }
        guard end > position, end - position <= RESPReplyScanner.lineLimit else {
            throw RESPError()
        }
        let text = input.slice(position + 1, end - position - 1)
        let marker = input[position]
        position = end + 2
        switch marker {
        case UInt8(ascii: "+"): return .simple(text)
        case UInt8(ascii: "-"): return .error(text)
        case UInt8(ascii: ":"):
            guard let value = text.parseInteger() else { throw RESPError() }
            return .integer(value)
        case UInt8(ascii: "$"):
            guard let size = try count(text) else { return .null }
            bulkRemaining = size
            return .bulk(size: size)
        case UInt8(ascii: "*"):
            guard let count = try count(text) else { return .null }
            return .array(count: count)
        default:
            throw RESPError()
        }
    }

    private func count(_ text: ByteView) throws(RESPError) -> Int? {
        guard let value = text.parseInteger(), value >= -1, value <= Cursor.countLimit else {
            throw RESPError()
        }
        return value < 0 ? nil : Int(value)
    }

    private mutating func body(
        _ input: ByteView, _ position: inout Int, _ remaining: Int
    ) throws(RESPError) -> RESPToken {
        let available = input.count - position
        if available >= remaining + 2 {
            let end = position + remaining
            guard input[end] == 13, input[end + 1] == 10 else { throw RESPError() }
            let bytes = input.slice(position, remaining)
            position = end + 2
            bulkRemaining = nil
            return .bytes(bytes, isLast: true)
        }
        // What is there of the body is given out, so that a full ring always moves on.
        let size = min(available, remaining)
        guard size > 0 else { return .needMore }
        let bytes = input.slice(position, size)
        position += size
        bulkRemaining = remaining - size
        return .bytes(bytes, isLast: false)
    }
}

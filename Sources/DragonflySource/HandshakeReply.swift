public import Bytes

/// A reply of the handshake, RESP2 (protocol.md 2.1): a view into the receive ring, valid until it
/// is consumed. Only what the replication commands and `INFO` answer: no array inside an array.
public enum HandshakeReply {
    case simple(ByteView)
    /// Without the `-`.
    case error(ByteView)
    case integer(Int64)
    case bulk(ByteView)
    case null
    case array([HandshakeReply])

    public enum ParseResult {
        /// The input ends inside the reply.
        case incomplete
        /// `size` bytes of the input are the reply; what follows them is not part of it.
        case reply(HandshakeReply, size: Int)
        /// Not RESP2, or larger than `bytesLimit`. More input cannot make it valid.
        case malformed
    }

    /// The largest reply that is read. A receive ring must hold it.
    public static let bytesLimit = 16 << 10

    private static let elementLimit = 64

    /// Reads the first reply of `input`.
    public static func parse(_ input: ByteView) -> ParseResult {
        var parser = Parser(bytes: input.slice(0, min(input.count, bytesLimit)))
        if let reply = parser.reply(isElement: false) {
            return .reply(reply, size: parser.position)
        }
        return parser.isMalformed || input.count >= bytesLimit ? .malformed : .incomplete
    }

    /// Printable text for messages, without the bytes of arrays and bulk strings.
    var summary: String {
        switch self {
        case .simple(let text): "+" + text.printable()
        case .error(let text): "-" + text.printable()
        case .integer(let value): ":\(value)"
        case .bulk(let bytes): "a string of \(bytes.count) bytes"
        case .null: "null"
        case .array(let elements): "an array of \(elements.count)"
        }
    }

    private struct Parser {
        let bytes: ByteView
        var position = 0
        var isMalformed = false

        /// Nil if the input ends too early or, with `isMalformed` set, is wrong.
        mutating func reply(isElement: Bool) -> HandshakeReply? {
            guard position < bytes.count else { return nil }
            let kind = bytes[position]
            switch kind {
            case UInt8(ascii: "+"):
                return line().map { .simple($0) }
            case UInt8(ascii: "-"):
                return line().map { .error($0) }
            case UInt8(ascii: ":"):
                return number().map { .integer($0) }
            case UInt8(ascii: "$"):
                return number().flatMap { bulk($0) }
            case UInt8(ascii: "*") where !isElement:
                return number().flatMap { array($0) }
            default:
                isMalformed = true
                return nil
            }
        }

        /// The rest of the line after its first byte.
        private mutating func line() -> ByteView? {
            guard let end = bytes.firstLineEnd(from: position + 1) else { return nil }
            defer { position = end + 2 }
            return bytes.slice(position + 1, end - position - 1)
        }

        private mutating func number() -> Int64? {
            guard let text = line() else { return nil }
            guard let value = text.parseInteger() else {
                isMalformed = true
                return nil
            }
            return value
        }

        private mutating func bulk(_ announced: Int64) -> HandshakeReply? {
            if announced == -1 { return .null }
            guard announced >= 0, announced <= Int64(bytesLimit) else {
                isMalformed = true
                return nil
            }
            let size = Int(announced)
            guard bytes.count - position >= size + 2 else { return nil }
            let body = bytes.slice(position, size)
            guard bytes.slice(position + size, 2).equals(ByteView("\r\n")) else {
                isMalformed = true
                return nil
            }
            position += size + 2
            return .bulk(body)
        }

        private mutating func array(_ announced: Int64) -> HandshakeReply? {
            if announced == -1 { return .null }
            guard announced >= 0, announced <= Int64(elementLimit) else {
                isMalformed = true
                return nil
            }
            var elements: [HandshakeReply] = []
            for _ in 0..<announced {
                guard let element = reply(isElement: true) else { return nil }
                elements.append(element)
            }
            return .array(elements)
        }
    }
}

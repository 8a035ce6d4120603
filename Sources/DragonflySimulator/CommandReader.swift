import Bytes

/// What stands at the front of a client's bytes.
enum ParsedCommand: Equatable {
    case incomplete
    case malformed(String)
    /// `size` bytes make one command; an empty line has no words.
    case command(words: [String], size: Int)
}

/// The two request forms a master accepts: words on a line, and arrays of bulk strings
/// (protocol.md 2.1).
enum CommandReader {
    private static let maximumWords = 4096

    static func parse(_ view: ByteView) -> ParsedCommand {
        guard view.count > 0 else { return .incomplete }
        return view[0] == UInt8(ascii: "*") ? parseArray(view) : parseLine(view)
    }

    private static func parseLine(_ view: ByteView) -> ParsedCommand {
        var end = 0
        while end < view.count && view[end] != UInt8(ascii: "\n") { end += 1 }
        guard end < view.count else { return .incomplete }
        let bytes = view.slice(0, end).array()
        let words = bytes.split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\r") }
        return .command(words: words.map { String(decoding: $0, as: UTF8.self) }, size: end + 1)
    }

    private static func parseArray(_ view: ByteView) -> ParsedCommand {
        var position = 0
        switch parseHeader(view, &position, UInt8(ascii: "*")) {
        case .incomplete: return .incomplete
        case .malformed: return .malformed("invalid multibulk length")
        case .count(let count):
            guard count <= maximumWords else { return .malformed("invalid multibulk length") }
            return parseBulks(view, position, count)
        }
    }

    private static func parseBulks(
        _ view: ByteView, _ start: Int, _ count: Int
    ) -> ParsedCommand {
        var position = start
        var words: [String] = []
        for _ in 0..<count {
            switch parseHeader(view, &position, UInt8(ascii: "$")) {
            case .incomplete: return .incomplete
            case .malformed: return .malformed("invalid bulk length")
            case .count(let size):
                guard size <= 1 << 20 else { return .malformed("invalid bulk length") }
                guard view.count - position >= size + 2 else { return .incomplete }
                words.append(String(decoding: view.slice(position, size).array(), as: UTF8.self))
                position += size + 2
            }
        }
        return .command(words: words, size: position)
    }

    private enum Header {
        case incomplete
        case malformed
        case count(Int)
    }

    /// Reads `<mark><integer>\r\n` at `position` and moves behind it.
    private static func parseHeader(
        _ view: ByteView, _ position: inout Int, _ mark: UInt8
    ) -> Header {
        guard position < view.count else { return .incomplete }
        guard view[position] == mark else { return .malformed }
        guard let end = view.firstLineEnd(from: position) else {
            return view.count - position > 32 ? .malformed : .incomplete
        }
        let digits = view.slice(position + 1, end - position - 1)
        guard let value = digits.parseInteger(), value >= 0, value <= 1 << 30 else {
            return .malformed
        }
        position = end + 2
        return .count(Int(value))
    }
}

/// A RESP2 reply.
enum Reply {
    case simple(String)
    case error(String)
    case integer(Int64)
    case bulk(String)
    case array([Reply])

    static let ok = Reply.simple("OK")
    static let syntaxError = Reply.error("ERR syntax error")
    static let notInteger = Reply.error("ERR value is not an integer or out of range")
    static let invalidState = Reply.error("ERR invalid state")

    var encoded: String {
        switch self {
        case .simple(let text): "+\(text)\r\n"
        case .error(let text): "-\(text)\r\n"
        case .integer(let value): ":\(value)\r\n"
        case .bulk(let text): "$\(text.utf8.count)\r\n\(text)\r\n"
        case .array(let items):
            items.reduce("*\(items.count)\r\n") { $0 + $1.encoded }
        }
    }
}

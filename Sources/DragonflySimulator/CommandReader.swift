import Bytes

/// What stands at the front of a client's bytes.
enum ParsedCommand: Equatable {
    case incomplete
    case malformed(String)
    /// `size` bytes make one command; an empty line has no words.
    case command(words: [[UInt8]], size: Int)
}

/// The two request forms a master accepts: words on a line, and arrays of bulk strings
/// (protocol.md 2.1). Words may hold any bytes.
enum CommandReader {
    /// What a master accepts at most: `max_multi_bulk_len` and `max_bulk_len`.
    private static let wordsLimit = 1 << 16
    private static let wordBytesLimit = 512 << 20

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
        return .command(words: words.map { Array($0) }, size: end + 1)
    }

    private static func parseArray(_ view: ByteView) -> ParsedCommand {
        var position = 0
        switch parseHeader(view, &position, UInt8(ascii: "*")) {
        case .incomplete: return .incomplete
        case .malformed: return .malformed("invalid multibulk length")
        case .count(let count):
            guard count <= wordsLimit else { return .malformed("invalid multibulk length") }
            return parseBulks(view, position, count)
        }
    }

    /// Nothing is copied before all words are there: a large command is looked at many times.
    private static func parseBulks(
        _ view: ByteView, _ start: Int, _ count: Int
    ) -> ParsedCommand {
        var position = start
        var places: [(start: Int, size: Int)] = []
        for _ in 0..<count {
            switch parseHeader(view, &position, UInt8(ascii: "$")) {
            case .incomplete: return .incomplete
            case .malformed: return .malformed("invalid bulk length")
            case .count(let size):
                guard size <= wordBytesLimit else { return .malformed("invalid bulk length") }
                guard view.count - position >= size + 2 else { return .incomplete }
                places.append((position, size))
                position += size + 2
            }
        }
        let words = places.map { view.slice($0.start, $0.size).array() }
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

/// A reply in RESP2.
public enum RespValue: Sendable, Equatable {
    case simple(String)
    case error(String)
    case integer(Int64)
    case bulk([UInt8])
    case null
    case array([RespValue])

    /// The bytes of a bulk or simple string; nil for anything else.
    public var bytes: [UInt8]? {
        switch self {
        case .bulk(let bytes): bytes
        case .simple(let text): Array(text.utf8)
        default: nil
        }
    }

    /// The text of a bulk or simple string; nil for anything else.
    public var text: String? {
        bytes.map { String(decoding: $0, as: UTF8.self) }
    }

    public var integer: Int64? {
        if case .integer(let value) = self { value } else { nil }
    }

    public var elements: [RespValue]? {
        if case .array(let elements) = self { elements } else { nil }
    }

    /// The value behind a name in an array of alternating names and values.
    public subscript(name: String) -> RespValue? {
        guard let elements else { return nil }
        var index = 0
        while index + 1 < elements.count {
            if elements[index].text == name { return elements[index + 1] }
            index += 2
        }
        return nil
    }
}

/// Reads RESP2 replies out of bytes that arrive in pieces. Replies come from a trusted server.
struct RespParser {
    private var buffer: [UInt8] = []
    private var position = 0

    mutating func append(_ bytes: ArraySlice<UInt8>) {
        if position > 1 << 20 {
            buffer.removeFirst(position)
            position = 0
        }
        buffer.append(contentsOf: bytes)
    }

    /// The next whole reply; nil if it has not arrived entirely.
    mutating func next() throws -> RespValue? {
        let start = position
        let value = try parse()
        if value == nil { position = start }
        return value
    }

    private mutating func parse() throws -> RespValue? {
        guard let line = line(), let kind = line.first else { return nil }
        let rest = String(decoding: line.dropFirst(), as: UTF8.self)
        switch kind {
        case UInt8(ascii: "+"): return .simple(rest)
        case UInt8(ascii: "-"): return .error(rest)
        case UInt8(ascii: ":"): return .integer(try number(rest))
        case UInt8(ascii: "$"): return bulk(Int(try number(rest)))
        case UInt8(ascii: "*"): return try array(Int(try number(rest)))
        default: throw TestSupportError("not a RESP2 reply: \(rest)")
        }
    }

    private mutating func line() -> ArraySlice<UInt8>? {
        var end = position
        while end + 1 < buffer.count {
            if buffer[end] == 0x0d, buffer[end + 1] == 0x0a {
                defer { position = end + 2 }
                return buffer[position..<end]
            }
            end += 1
        }
        return nil
    }

    private mutating func bulk(_ count: Int) -> RespValue? {
        if count < 0 { return .null }
        guard position + count + 2 <= buffer.count else { return nil }
        defer { position += count + 2 }
        return .bulk(Array(buffer[position..<position + count]))
    }

    private mutating func array(_ count: Int) throws -> RespValue? {
        if count < 0 { return .null }
        var elements: [RespValue] = []
        elements.reserveCapacity(count)
        for _ in 0..<count {
            guard let element = try parse() else { return nil }
            elements.append(element)
        }
        return .array(elements)
    }

    private func number(_ text: String) throws -> Int64 {
        guard let value = Int64(text) else { throw TestSupportError("not a number: \(text)") }
        return value
    }
}

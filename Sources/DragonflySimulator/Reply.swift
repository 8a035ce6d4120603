/// A RESP2 reply of a simulated master.
enum Reply {
    case simple(String)
    case error(String)
    case integer(Int64)
    case bulk(String)
    case null
    case array([Reply])
    /// What a Redis server answered.
    case passed(TargetReply)

    static let ok = Reply.simple("OK")
    static let syntaxError = Reply.error("ERR syntax error")
    static let notInteger = Reply.error("ERR value is not an integer or out of range")
    static let invalidState = Reply.error("ERR invalid state")

    static func wrongArguments(_ name: String) -> Reply {
        .error("ERR wrong number of arguments for '\(name.lowercased())' command")
    }

    var encoded: [UInt8] {
        var bytes: [UInt8] = []
        append(to: &bytes)
        return bytes
    }

    func append(to bytes: inout [UInt8]) {
        switch self {
        case .simple(let text): bytes += "+\(text)\r\n".utf8
        case .error(let text): bytes += "-\(text)\r\n".utf8
        case .integer(let value): bytes += ":\(value)\r\n".utf8
        case .bulk(let text): bytes += "$\(text.utf8.count)\r\n\(text)\r\n".utf8
        case .null: bytes += "$-1\r\n".utf8
        case .array(let items):
            bytes += "*\(items.count)\r\n".utf8
            for item in items { item.append(to: &bytes) }
        case .passed(let reply): reply.append(to: &bytes)
        }
    }
}

extension TargetReply {
    /// Appends the reply as it stands on the wire (RESP2).
    func append(to bytes: inout [UInt8]) {
        switch self {
        case .simple(let text): Self.append("+", text, to: &bytes)
        case .error(let text): Self.append("-", text, to: &bytes)
        case .integer(let value): bytes += ":\(value)\r\n".utf8
        case .bulk(let text): Self.append("$\(text.count)\r\n", text, to: &bytes)
        case .null: bytes += "$-1\r\n".utf8
        case .array(let items):
            bytes += "*\(items.count)\r\n".utf8
            for item in items { item.append(to: &bytes) }
        }
    }

    private static func append(_ head: String, _ text: [UInt8], to bytes: inout [UInt8]) {
        bytes += head.utf8
        bytes += text
        bytes += "\r\n".utf8
    }
}

import Bytes
import CPlatform

/// One reply of a Redis server (RESP2), whole in memory.
enum TargetReply: Equatable {
    case simple([UInt8])
    case error([UInt8])
    case integer(Int64)
    case bulk([UInt8])
    case null
    case array([TargetReply])

    /// The bytes of a text of either form; nil for anything else.
    var bytes: [UInt8]? {
        switch self {
        case .simple(let bytes), .bulk(let bytes): bytes
        default: nil
        }
    }

    /// The elements of an array of texts; nil for anything else.
    var texts: [[UInt8]]? {
        guard case .array(let elements) = self else { return nil }
        let texts = elements.compactMap(\.bytes)
        return texts.count == elements.count ? texts : nil
    }

    /// The value behind a name in an array of alternating names and values.
    subscript(name: String) -> TargetReply? {
        guard case .array(let elements) = self else { return nil }
        let wanted = Array(name.utf8)
        for index in stride(from: 0, to: elements.count - 1, by: 2)
        where elements[index].bytes == wanted {
            return elements[index + 1]
        }
        return nil
    }

    /// For messages.
    var summary: String {
        switch self {
        case .simple(let bytes), .bulk(let bytes): quoted(bytes)
        case .error(let text): "the error \(quoted(text))"
        case .integer(let value): "\(value)"
        case .null: "nothing"
        case .array(let elements): "\(elements.count) elements"
        }
    }
}

/// Bytes in quotes, cut if they are long.
func quoted(_ bytes: [UInt8]) -> String {
    "\"" + bytes.withByteView { $0.printable(limit: 64) } + "\""
}

/// A connection to a Redis server whose calls wait. Commands are gathered and sent together, then
/// their replies are read one by one.
final class TargetClient {
    private static let timeoutMilliseconds: Int32 = 30_000
    /// What a comparison asks for nests seven deep.
    private static let depthLimit = 8

    private let descriptor: Int32
    private var input: MirroredRing
    private var output: MirroredRing

    init(host: String, port: UInt16) throws(VerificationError) {
        var address = cp_address()
        let code = cp_resolve(host, port, &address)
        guard code == 0 else {
            throw .unknownHost(String(cString: cp_resolve_message(code)))
        }
        do {
            input = try MirroredRing(capacity: 1 << 18)
            output = try MirroredRing(capacity: 1 << 16)
        } catch {
            throw .connection(error)
        }
        descriptor = cp_connect_start(&address, UInt32(Self.timeoutMilliseconds))
        guard descriptor >= 0 else { throw .connection(SystemError(result: descriptor)) }
        try waitUntilWritable()
        let failure = cp_socket_error(descriptor)
        guard failure == 0 else { throw .connection(SystemError(code: abs(failure))) }
    }

    deinit {
        if descriptor >= 0 { _ = cp_close(descriptor) }
    }

    /// Adds a command to those that `flush` sends. What does not fit the ring is sent at once.
    func append(_ words: [[UInt8]]) throws(VerificationError) {
        try append(UInt8(ascii: "*"), words.count)
        for word in words {
            try append(UInt8(ascii: "$"), word.count)
            try append(word)
            try append([13, 10])
        }
    }

    private func append(_ bytes: [UInt8]) throws(VerificationError) {
        var start = 0
        while start < bytes.count {
            // Redis reads on whatever replies are waiting, so sending first cannot block for good.
            if output.free == 0 { try flush() }
            let size = min(output.free, bytes.count - start)
            bytes.withByteView { output.append($0.slice(start, size)) }
            start += size
        }
    }

    func append(_ command: String, _ arguments: [UInt8]...) throws(VerificationError) {
        try append(command.split(separator: " ").map { Array($0.utf8) } + arguments)
    }

    private func append(_ marker: UInt8, _ count: Int) throws(VerificationError) {
        if output.free < 32 { try flush() }
        output.append(byte: marker)
        output.append(decimal: Int64(count))
        output.append("\r\n")
    }

    /// Sends all commands added so far.
    func flush() throws(VerificationError) {
        while !output.isEmpty {
            switch output.send(to: descriptor, from: output.head) {
            case .moved(let count): output.consume(count)
            case .wouldBlock: try waitUntilWritable()
            case .endOfStream: throw .closed
            case .failed(let error): throw .connection(error)
            }
        }
    }

    /// Sends one command and waits for its reply, which must not be an error.
    func call(_ command: String, _ arguments: [UInt8]...) throws(VerificationError) -> TargetReply {
        try append(command.split(separator: " ").map { Array($0.utf8) } + arguments)
        try flush()
        let reply = try reply()
        if case .error = reply { throw .unexpectedReply("\(command): \(reply.summary)") }
        return reply
    }

    /// Waits for the next reply.
    func reply() throws(VerificationError) -> TargetReply {
        try reply(depth: 0)
    }

    private func reply(depth: Int) throws(VerificationError) -> TargetReply {
        let line = try line()
        guard let marker = line.first else { throw .unexpectedReply("an empty line") }
        let text = Array(line.dropFirst())
        switch marker {
        case UInt8(ascii: "+"): return .simple(text)
        case UInt8(ascii: "-"): return .error(text)
        case UInt8(ascii: ":"): return .integer(try number(text))
        case UInt8(ascii: "$"):
            let size = try number(text)
            return size < 0 ? .null : .bulk(try bulk(size))
        case UInt8(ascii: "*") where depth < Self.depthLimit:
            let count = try number(text)
            guard count >= 0 else { return .null }
            var elements: [TargetReply] = []
            for _ in 0..<count { elements.append(try reply(depth: depth + 1)) }
            return .array(elements)
        default: throw .unexpectedReply(quoted(line))
        }
    }

    private func number(_ text: [UInt8]) throws(VerificationError) -> Int64 {
        guard let value = text.withByteView({ $0.parseInteger() }) else {
            throw .unexpectedReply("\(quoted(text)) for a number")
        }
        return value
    }

    private func line() throws(VerificationError) -> [UInt8] {
        while true {
            if let end = input.readable.firstLineEnd(from: 0) {
                let line = input.readable.slice(0, end).array()
                input.consume(end + 2)
                return line
            }
            guard input.free > 0 else { throw .unexpectedReply("a line without an end") }
            try receive()
        }
    }

    /// A text of `size` bytes, which may be more than the ring holds, and the line end after it.
    private func bulk(_ size: Int64) throws(VerificationError) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < size {
            if input.isEmpty { try receive() }
            let part = min(input.count, Int(size) - bytes.count)
            bytes += input.readable.slice(0, part).array()
            input.consume(part)
        }
        guard try line().isEmpty else { throw .unexpectedReply("a text longer than announced") }
        return bytes
    }

    private func receive() throws(VerificationError) {
        while true {
            switch input.receive(from: descriptor, limit: input.free) {
            case .moved: return
            case .endOfStream: throw .closed
            case .failed(let error): throw .connection(error)
            case .wouldBlock:
                guard cp_wait_two(descriptor, -1, Self.timeoutMilliseconds) != 0 else {
                    throw .connection(.timedOut)
                }
            }
        }
    }

    private func waitUntilWritable() throws(VerificationError) {
        guard cp_wait_writable(descriptor, Self.timeoutMilliseconds) != 0 else {
            throw .connection(.timedOut)
        }
    }
}

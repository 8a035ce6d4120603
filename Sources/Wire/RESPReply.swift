public import Bytes

/// One complete reply of a Redis server.
public struct RESPReply {
    public enum Kind: Sendable {
        case simple, error, integer, bulk, null, array
    }

    public var kind: Kind
    /// The line's text, or a bulk's bytes; empty for a null, an array, and a bulk above the scanner's
    /// `wholeBulkBytes` that arrived in pieces. Valid until the input is consumed.
    public var content: ByteView
    /// True if the reply is an error, or an array with an error inside.
    public var hasError: Bool
    /// Elements of an array, else 0.
    public var elementCount = 0
    /// The reply's number, or the last one inside an array; 0 if it has none.
    public var integer: Int64 = 0
}

/// Bytes that are no RESP2 reply: the connection is out of step and must be dropped.
public struct RESPError: Error {
    public init() {}
}

/// Finds the end of one reply after another in a stream of RESP2 replies.
///
/// It keeps a few integers between calls, so input may be cut anywhere and a large bulk is passed over
/// without being held. Nested arrays are counted, not kept; the first error inside one is remembered.
/// After an error it must not be used before `reset`.
public struct RESPReplyScanner: ~Copyable {
    /// A line longer than this is no reply of a Redis.
    public static let lineLimit = 64 << 10

    private let wholeBulkBytes: Int
    private var elementsRemaining = 0
    private var bulkBytesRemaining = 0
    private var insideArray = false
    private var elementCount = 0
    private var kind = RESPReply.Kind.simple
    private var hasError = false
    private var integer: Int64 = 0
    private var errorText: RegionBuffer

    /// - Parameter wholeBulkBytes: a reply that is a bulk of at most this size is given whole: until
    ///   it has arrived nothing of it is used, so the input must have room for it and its head.
    public init(wholeBulkBytes: Int = 0) throws(SystemError) {
        self.wholeBulkBytes = wholeBulkBytes
        errorText = try RegionBuffer(capacity: RESPReplyScanner.lineLimit)
    }

    /// Text of the (first) error of the last reply that had one.
    public var lastError: ByteView { errorText.view }

    /// Forgets a reply in progress; for a new connection.
    public mutating func reset() {
        elementsRemaining = 0
        bulkBytesRemaining = 0
        insideArray = false
    }

    /// Reads on in `input` from `position`, which moves past what was used. Nil if the input ends
    /// inside the reply; the next call continues with the bytes that follow.
    public mutating func next(
        _ input: ByteView, at position: inout Int
    ) throws(RESPError) -> RESPReply? {
        if elementsRemaining == 0 && bulkBytesRemaining == 0 {
            // Nearly every reply of a pipeline is this one.
            if input.count - position >= 5, input.little(position, as: UInt32.self) == 0x0d4b_4f2b,
                input[position + 4] == 10
            {
                let content = input.slice(position + 1, 2)
                position += 5
                return RESPReply(kind: .simple, content: content, hasError: false)
            }
            elementsRemaining = 1
            elementCount = 0
            hasError = false
            integer = 0
            kind = .array
        }
        let isTopLevel = elementsRemaining == 1 && !insideArray
        var content = ByteView()
        while elementsRemaining > 0 {
            if bulkBytesRemaining > 0 {
                let used = min(bulkBytesRemaining, input.count - position)
                position += used
                bulkBytesRemaining -= used
                guard bulkBytesRemaining == 0 else { return nil }
                guard input[position - 1] == UInt8(ascii: "\n") else { throw RESPError() }
                elementsRemaining -= 1
                continue
            }
            guard let end = input.firstLineEnd(from: position) else {
                guard input.count - position <= RESPReplyScanner.lineLimit else {
                    throw RESPError()
                }
                return nil
            }
            let start = position
            let line = input.slice(start, end - start)
            guard line.count >= 1, line.count <= RESPReplyScanner.lineLimit else {
                throw RESPError()
            }
            position = end + 2
            let text = line.dropFirst(1)
            if try !element(line[0], text) {
                // A bulk follows: give it whole if it is there, or small enough to wait for.
                guard isTopLevel, !insideArray else { continue }
                if input.count - position >= bulkBytesRemaining {
                    content = input.slice(position, bulkBytesRemaining - 2)
                } else if bulkBytesRemaining - 2 <= wholeBulkBytes {
                    reset()
                    position = start
                    return nil
                }
            } else if isTopLevel, !insideArray, kind != .null {
                content = text
            }
        }
        insideArray = false
        return RESPReply(
            kind: kind, content: content, hasError: hasError, elementCount: elementCount,
            integer: integer)
    }

    /// Takes one element's first line; false if a bulk's bytes follow.
    private mutating func element(_ marker: UInt8, _ text: ByteView) throws(RESPError) -> Bool {
        switch marker {
        case UInt8(ascii: "+"):
            complete(.simple)
        case UInt8(ascii: ":"):
            guard let number = text.parseInteger() else { throw RESPError() }
            integer = number
            complete(.integer)
        case UInt8(ascii: "-"):
            if !hasError {
                errorText.clear()
                // Room for a whole line was reserved at the start, so this cannot fail.
                guard (try? errorText.append(text)) != nil else { throw RESPError() }
            }
            hasError = true
            complete(.error)
        case UInt8(ascii: "$"):
            guard let size = text.parseInteger(), size >= -1, size <= Cursor.countLimit else {
                throw RESPError()
            }
            guard size >= 0 else {
                complete(.null)
                return true
            }
            if !insideArray { kind = .bulk }
            bulkBytesRemaining = Int(size) + 2
            return false
        case UInt8(ascii: "*"):
            guard let count = text.parseInteger(), count >= -1,
                count <= Cursor.countLimit - elementsRemaining
            else { throw RESPError() }
            if count < 0 {
                complete(.null)
            } else {
                if !insideArray { elementCount = Int(count) }
                insideArray = true
                elementsRemaining += Int(count) - 1
            }
        default:
            throw RESPError()
        }
        return true
    }

    private mutating func complete(_ elementKind: RESPReply.Kind) {
        if !insideArray { kind = elementKind }
        elementsRemaining -= 1
    }
}

/// The arguments of a command that was encoded as a RESP array of bulk strings, as our own encoder
/// writes it.
public struct RESPArguments {
    private var cursor: Cursor
    public private(set) var remaining: Int

    /// Nil if `command` does not start with an array header.
    public init?(_ command: ByteView) {
        cursor = Cursor(command)
        remaining = 0
        guard let count = RESPArguments.header(&cursor, UInt8(ascii: "*")) else { return nil }
        remaining = count
    }

    public mutating func next() -> ByteView? {
        guard remaining > 0, let size = RESPArguments.header(&cursor, UInt8(ascii: "$")),
            let bytes = cursor.raw(size), cursor.raw(2) != nil
        else { return nil }
        remaining -= 1
        return bytes
    }

    private static func header(_ cursor: inout Cursor, _ marker: UInt8) -> Int? {
        guard let end = cursor.bytes.firstLineEnd(from: cursor.position) else { return nil }
        let line = cursor.bytes.slice(cursor.position, end - cursor.position)
        guard line.count > 1, line[0] == marker,
            let value = line.dropFirst(1).parseInteger(), value >= 0
        else { return nil }
        cursor.position = end + 2
        return Int(value)
    }
}

internal import Bytes
internal import Wire

/// The commands of a key reader, and what their replies bring.
extension KeyReader {
    /// Stands for the key in a command's words; no command word has a zero byte.
    static let keyMark = "\0"
    private static let elementsPerPiece = 1000
    private static let bytesPerPiece = 1 << 20
    /// Replies that are not part of a value are short, scores among them.
    private static let smallBytes = 1 << 16
    /// No reply asked for has arrays deeper than two.
    private static let arraysLimit = 8
    /// A length in its nine-byte form, filled in when everything was read.
    private static let lengthBytes = 9

    func words(of question: Question) -> [String] {
        let key = KeyReader.keyMark
        return switch question {
        case .login: settings.credentials?.command ?? ["AUTH"]
        case .select: ["SELECT", "\(database)"]
        case .size: ["MEMORY", "USAGE", key]
        case .offsetBefore, .offsetAfter: ["DFLY", "REPLICAOFFSET"]
        case .dump: ["DUMP", key]
        case .expiryTime: ["PEXPIRETIME", key]
        case .clock: ["TIME"]
        case .timeToLive: ["PTTL", key]
        case .type: ["TYPE", key]
        case .piece:
            switch piecewise {
            case .string:
                ["GETRANGE", key, "\(position)", "\(position + KeyReader.bytesPerPiece - 1)"]
            case .list:
                ["LRANGE", key, "\(position)", "\(position + KeyReader.elementsPerPiece - 1)"]
            case .set: ["SSCAN", key, scanCursor, "COUNT", "\(KeyReader.elementsPerPiece)"]
            case .hash: ["HSCAN", key, scanCursor, "COUNT", "\(KeyReader.elementsPerPiece)"]
            case .sortedSet: ["ZSCAN", key, scanCursor, "COUNT", "\(KeyReader.elementsPerPiece)"]
            }
        }
    }

    /// Takes one piece of the reply to `question`; returns why the connection is of no more use.
    mutating func take(
        _ token: RESPToken, _ question: Question
    ) throws(SystemError) -> SourceError? {
        switch token {
        case .needMore:
            break
        case .array(let count):
            guard arrays.count < KeyReader.arraysLimit else {
                return SourceError(
                    .restart, "the source sent bytes that are no reply to a question")
            }
            if count > 0 { arrays.append(count) } else { endLeaf() }
        case .bulk(let size):
            isInsideBulk = true
            try openBulk(size, question)
        case .bytes(let bytes, let isLast):
            switch sink {
            case .small: try small.append(bytes)
            case .content: try content.append(bytes)
            case .nowhere: break
            }
            guard isLast else { break }
            isInsideBulk = false
            try closeBulk(question)
            endLeaf()
        case .null:
            endLeaf()
        case .integer(let value):
            take(integer: value, question)
            endLeaf()
        case .simple(let text):
            if question == .select, text.equals("OK") { selectedDatabase = database }
            if question == .type { try begin(type: text) }
            endLeaf()
        case .error(let text):
            let error = refused(text, question)
            endLeaf()
            return error
        }
        return nil
    }

    /// One element of the innermost array is complete, and so may be the arrays around it.
    private mutating func endLeaf() {
        leaf += 1
        while let last = arrays.indices.last {
            arrays[last] -= 1
            guard arrays[last] == 0 else { return }
            arrays.removeLast()
        }
    }

    private mutating func take(integer value: Int64, _ question: Question) {
        switch question {
        case .size: isLarge = value > Int64(settings.wholeBytes)
        case .offsetBefore where leaf == flow: reading.before = UInt64(max(0, value))
        case .offsetAfter where leaf == flow: reading.after = UInt64(max(0, value))
        case .expiryTime: reading.expiryMilliseconds = max(0, value)
        case .timeToLive:
            reading.expiryMilliseconds = value < 0 ? 0 : max(0, clockMilliseconds &+ value)
        default: break
        }
    }

    private mutating func refused(_ text: ByteView, _ question: Question) -> SourceError? {
        switch question {
        case .login:
            return SourceError(reply: text, to: "AUTH", credentials: settings.credentials)
        case .select:
            selectedDatabase = -1
            reading.outcome = .refused(text.printable())
        case .size:
            // Without MEMORY USAGE every value is taken for an ordinary one.
            isLarge = false
        case .expiryTime:
            if text.starts(with: ByteView("ERR unknown command")) {
                knowsExpiryTime = false
                mustAskAgain = true
            } else {
                reading.outcome = .refused(text.printable())
            }
        case .piece where text.starts(with: "WRONGTYPE"):
            // Another value has taken its place, as sound as the first.
            startOver()
        default:
            reading.outcome = .refused(text.printable())
        }
        return nil
    }

    // MARK: Values

    private mutating func openBulk(_ size: Int, _ question: Question) throws(SystemError) {
        sink = .small
        small.clear(keeping: KeyReader.smallBytes)
        switch question {
        case .dump:
            // Without an LSN from before it the value is of no use.
            if case .refused = reading.outcome {
                sink = .nowhere
                return
            }
            reading.outcome = .value(typeCode: 0)
            sink = .content
        case .piece:
            let isElement = piecewise == .string || piecewise == .list || arrays.count == 2
            // A score is text that is turned into eight bytes.
            guard isElement, piecewise != .sortedSet || elementCount % 2 == 0 else {
                if size > KeyReader.smallBytes { sink = .nowhere }
                return
            }
            if piecewise == .list { try content.append(byte: 1) }
            if piecewise != .string { try appendLength(size) }
            sink = .content
        default:
            if size > KeyReader.smallBytes { sink = .nowhere }
            return
        }
        if content.count + size > settings.limitBytes {
            reading.outcome = .tooLarge(content.count + size)
            sink = .nowhere
        }
    }

    private mutating func closeBulk(_ question: Question) throws(SystemError) {
        switch question {
        case .clock:
            let part = small.view.parseInteger() ?? 0
            clockMilliseconds =
                leaf == 0 ? part &* 1000 : clockMilliseconds &+ Int64(microseconds: small.view)
        case .piece:
            switch piecewise {
            case .string:
                elementCount = content.count - KeyReader.lengthBytes
            case .list:
                elementCount += 1
            case .set, .hash, .sortedSet:
                guard arrays.count == 2 else {
                    scanCursor = small.view.printable(limit: 20)
                    return
                }
                if piecewise == .sortedSet, elementCount % 2 == 1 {
                    guard let score = small.view.parseDouble() else {
                        reading.outcome = .refused("a score that is no number")
                        return
                    }
                    try content.append(little: score.bitPattern)
                }
                elementCount += 1
            }
        default:
            break
        }
    }

    private mutating func appendLength(_ size: Int) throws(SystemError) {
        try content.append(byte: 0x81)
        try content.append(little: UInt64(size).byteSwapped)
    }

    /// The reply to TYPE: how the value is read.
    private mutating func begin(type: ByteView) throws(SystemError) {
        let found: Piecewise? =
            if type.equals("string") {
                .string
            } else if type.equals("list") {
                .list
            } else if type.equals("set") {
                .set
            } else if type.equals("hash") {
                .hash
            } else if type.equals("zset") {
                .sortedSet
            } else {
                nil
            }
        guard let found else { return }
        piecewise = found
        stage = .pieces
        reading.isInPieces = true
        position = 0
        elementCount = 0
        scanCursor = "0"
        hasScanned = false
        content.clear(keeping: 1 << 20)
        try appendLength(0)
    }

    /// Back to the first question: what was read in pieces does not count.
    private mutating func startOver() {
        stage = .size
        reading.isInPieces = false
    }

    /// A piece has been answered.
    mutating func endPiece() {
        switch piecewise {
        case .string: position += KeyReader.bytesPerPiece
        case .list: position += KeyReader.elementsPerPiece
        case .set, .hash, .sortedSet: hasScanned = true
        }
    }

    /// Whether nothing is left to ask for: less came than was asked for, or the scan is through.
    var hasAllPieces: Bool {
        if case .tooLarge = reading.outcome { return true }
        return switch piecewise {
        case .string, .list: elementCount < position
        case .set, .hash, .sortedSet: hasScanned && scanCursor == "0"
        }
    }

    /// Whether not a byte or element came: then the key may be missing, or an empty string.
    var hasNoPieces: Bool {
        if case .tooLarge = reading.outcome { return false }
        return elementCount == 0
    }

    /// Completes a value that was read in pieces.
    mutating func endPieces() {
        if case .tooLarge = reading.outcome { return }
        let isPaired = piecewise == .hash || piecewise == .sortedSet
        content.patch(big: UInt64(isPaired ? elementCount / 2 : elementCount), at: 1)
        (valueStart, valueCount) = (0, content.count)
        let code: ValueType =
            switch piecewise {
            case .string: .string
            case .list: .listQuicklist2
            case .set: .set
            case .hash: .hash
            case .sortedSet: .zset2
            }
        reading.outcome = .value(typeCode: code.rawValue)
    }

    /// Looks at the payload that DUMP gave.
    mutating func endDump() {
        guard case .value = reading.outcome else { return }
        let payload = content.view
        do throws(DecodeError) {
            let (type, value) = try DumpPayload.parse(payload)
            (valueStart, valueCount) = (1, value.count)
            reading.outcome = .value(typeCode: type.rawValue)
        } catch {
            reading.outcome = .refused("DUMP answered bytes that are no value: \(error.reason)")
        }
    }
}

extension Int64 {
    fileprivate init(microseconds text: ByteView) {
        self = (text.parseInteger() ?? 0) / 1000
    }
}

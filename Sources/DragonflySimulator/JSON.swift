/// A JSON value, as recordings' manifests and the emulated master hold it. Numbers are integers.
enum JSONValue: Equatable {
    case null
    case boolean(Bool)
    case integer(Int64)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    subscript(key: String) -> JSONValue? {
        if case .object(let members) = self { members[key] } else { nil }
    }

    var string: String? {
        if case .string(let text) = self { text } else { nil }
    }

    var integer: Int? {
        if case .integer(let value) = self { Int(value) } else { nil }
    }

    var array: [JSONValue]? {
        if case .array(let items) = self { items } else { nil }
    }
}

/// Reads JSON text; what it cannot read is an error with the position.
struct JSONReader {
    struct Failure: Error, Equatable {
        let position: Int
    }

    private static let maximumDepth = 64
    private static let numberBytes = Array("-0123456789".utf8)
    private let text: [UInt8]
    private var position = 0

    static func read(_ text: [UInt8]) throws(Failure) -> JSONValue {
        var reader = JSONReader(text: text)
        let value = try reader.value(depth: 0)
        reader.skipSpace()
        guard reader.position == text.count else { throw reader.failure }
        return value
    }

    private init(text: [UInt8]) {
        self.text = text
    }

    private var failure: Failure { Failure(position: position) }

    private mutating func skipSpace() {
        while position < text.count, [0x20, 0x09, 0x0a, 0x0d].contains(text[position]) {
            position += 1
        }
    }

    /// Takes `byte` if it comes next.
    private mutating func take(_ byte: Character) -> Bool {
        skipSpace()
        guard position < text.count, text[position] == byte.asciiValue else { return false }
        position += 1
        return true
    }

    private mutating func take(word: String) -> Bool {
        let bytes = Array(word.utf8)
        guard text.dropFirst(position).starts(with: bytes) else { return false }
        position += bytes.count
        return true
    }

    private mutating func value(depth: Int) throws(Failure) -> JSONValue {
        guard depth < Self.maximumDepth else { throw failure }
        skipSpace()
        if take("{") { return try object(depth: depth) }
        if take("[") { return try array(depth: depth) }
        if take("\"") { return .string(try string()) }
        if take(word: "true") { return .boolean(true) }
        if take(word: "false") { return .boolean(false) }
        if take(word: "null") { return .null }
        let start = position
        while position < text.count, Self.numberBytes.contains(text[position]) { position += 1 }
        let digits = String(decoding: text[start..<position], as: UTF8.self)
        guard let number = Int64(digits) else { throw failure }
        return .integer(number)
    }

    private mutating func array(depth: Int) throws(Failure) -> JSONValue {
        var items: [JSONValue] = []
        if take("]") { return .array(items) }
        repeat { items.append(try value(depth: depth + 1)) } while take(",")
        guard take("]") else { throw failure }
        return .array(items)
    }

    private mutating func object(depth: Int) throws(Failure) -> JSONValue {
        var members: [String: JSONValue] = [:]
        if take("}") { return .object(members) }
        repeat {
            guard take("\"") else { throw failure }
            let key = try string()
            guard take(":") else { throw failure }
            members[key] = try value(depth: depth + 1)
        } while take(",")
        guard take("}") else { throw failure }
        return .object(members)
    }

    /// The rest of a string whose opening quote was taken.
    private mutating func string() throws(Failure) -> String {
        var bytes: [UInt8] = []
        while position < text.count {
            let byte = text[position]
            position += 1
            switch byte {
            case UInt8(ascii: "\""):
                return String(decoding: bytes, as: UTF8.self)
            case UInt8(ascii: "\\"):
                bytes.append(contentsOf: String(try escaped()).utf8)
            default:
                bytes.append(byte)
            }
        }
        throw failure
    }

    private mutating func escaped() throws(Failure) -> Unicode.Scalar {
        guard position < text.count else { throw failure }
        let byte = text[position]
        position += 1
        switch byte {
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
        case UInt8(ascii: "u"):
            let digits = String(decoding: text[position...].prefix(4), as: UTF8.self)
            // Surrogate pairs do not occur in manifests.
            guard digits.utf8.count == 4, let code = UInt32(digits, radix: 16),
                let scalar = Unicode.Scalar(code)
            else { throw failure }
            position += 4
            return scalar
        default: throw failure
        }
    }
}

/// Writing of JSON strings.
enum JSONText {
    static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}

/// What one line on the control socket asks for.
public enum ControlRequest: Equatable, Sendable {
    case status
    /// Limits that are nil stay as they are.
    case rate(operationsPerSecond: Int?, bytesPerSecond: Int?, maxLatencyMilliseconds: Int?)
    case pause
    case resume
    /// The key's value is read from the source again.
    case repair(database: Int, key: [UInt8])
    case stop

    /// Why a line is not carried out.
    public struct Refusal: Error, Equatable, Sendable {
        public let reason: String

        public init(_ reason: String) { self.reason = reason }
    }

    /// A limit above this is none, and would not fit the arithmetic.
    public static let rateLimit = 1_000_000_000_000
    public static let latencyLimitMilliseconds = 60_000
    static let names = ["status", "rate", "pause", "resume", "repair", "stop"]

    /// Its name on the socket.
    public var name: String {
        switch self {
        case .status: "status"
        case .rate: "rate"
        case .pause: "pause"
        case .resume: "resume"
        case .repair: "repair"
        case .stop: "stop"
        }
    }

    /// - Throws: `Refusal` that says what is wrong with the line.
    init(line: ArraySlice<UInt8>) throws(Refusal) {
        guard let request = JSONValue(reading: line), case .object(let members) = request,
            let name = request["command"]?.text
        else {
            throw Refusal(#"a request is one line like {"command":"status"}"#)
        }
        let allowed: [String]
        switch name {
        case "rate":
            allowed = ["operationsPerSecond", "bytesPerSecond", "maxLatencyMilliseconds"]
            self = .rate(
                operationsPerSecond: try ControlRequest.limit(
                    request, "operationsPerSecond", ControlRequest.rateLimit),
                bytesPerSecond: try ControlRequest.limit(
                    request, "bytesPerSecond", ControlRequest.rateLimit),
                maxLatencyMilliseconds: try ControlRequest.limit(
                    request, "maxLatencyMilliseconds", ControlRequest.latencyLimitMilliseconds))
        case "repair":
            allowed = ["database", "key"]
            guard let key = request["key"]?.text, !key.isEmpty else {
                throw Refusal("repair needs a key")
            }
            guard let bytes = ControlRequest.keyBytes(key) else {
                throw Refusal(#"in a key a backslash must be written \x5c, and other bytes \xNN"#)
            }
            let database = request["database"] ?? .integer(0)
            // As many as an entry of the source can name.
            guard let number = database.wholeNumber, (0...Int(Int32.max)).contains(number) else {
                throw Refusal("database must be a whole number from 0 on")
            }
            self = .repair(database: number, key: bytes)
        default:
            allowed = []
            switch name {
            case "status": self = .status
            case "pause": self = .pause
            case "resume": self = .resume
            case "stop": self = .stop
            default:
                throw Refusal(
                    "unknown command; known: \(ControlRequest.names.joined(separator: ", "))")
            }
        }
        for member in members where member.0 != "command" && !allowed.contains(member.0) {
            throw Refusal("\(name) takes no such member as it was given")
        }
    }

    private static func limit(
        _ request: JSONValue, _ name: String, _ largest: Int
    ) throws(Refusal) -> Int? {
        guard let value = request[name] else { return nil }
        guard let number = value.wholeNumber, (0...largest).contains(number) else {
            throw Refusal("\(name) must be a whole number from 0 (no limit) to \(largest)")
        }
        return number
    }

    /// The bytes of a key as reports and messages name it: `\xNN` for what is not printable ASCII.
    /// Other text stands for itself. Nil if a backslash begins something else.
    static func keyBytes(_ name: String) -> [UInt8]? {
        var bytes: [UInt8] = []
        var rest = Array(name.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "\\") else {
                bytes.append(byte)
                continue
            }
            let digits = rest.dropFirst().prefix(2)
            guard rest.first == UInt8(ascii: "x"), digits.count == 2,
                digits.allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }),
                let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
            else { return nil }
            bytes.append(value)
            rest = rest.dropFirst(3)
        }
        return bytes
    }
}

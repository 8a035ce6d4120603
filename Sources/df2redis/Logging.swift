import CPlatform
import Logging
import Operations
import Replication

/// How messages are written.
enum LogFormat: String, CaseIterable, Sendable {
    case text
    /// One JSON object a line.
    case json
}

/// Writes messages to the console, one line each.
struct ConsoleLogHandler: LogHandler {
    let console: Console
    let format: LogFormat
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]

    init(console: Console, format: LogFormat, logLevel: Logger.Level) {
        self.console = console
        self.format = format
        self.logLevel = logLevel
    }

    /// A logger that writes to a console.
    static func logger(
        console: Console, format: LogFormat, logLevel: Logger.Level = .info
    ) -> Logger {
        Logger(label: "df2redis") { _ in
            ConsoleLogHandler(console: console, format: format, logLevel: logLevel)
        }
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let members = metadata.merging(event.metadata ?? [:]) { $1 }.sorted { $0.key < $1.key }
        let message = "\(event.message)"
        switch format {
        case .json:
            let time = UTCTime.text(unixMilliseconds: cp_unix_milliseconds())
            let fixed: [(String, JSONValue)] = [
                ("time", .string(time)), ("level", .string(event.level.rawValue)),
                ("message", .string(message)),
            ]
            let object = JSONValue.object(fixed + members.map { ($0.key, Self.json($0.value)) })
            console.write(line: object.compactText)
        case .text:
            let tail = members.map { " \($0.key)=\($0.value)" }.joined()
            let text = PrintableText.escaped(message + tail)
            console.write(line: Self.prefix(event.level, console) + text)
        }
    }

    // People at a terminal see when a line appears; a file needs the time of each.
    private static func prefix(_ level: Logger.Level, _ console: Console) -> String {
        guard console.isTerminal else {
            let time = UTCTime.text(unixMilliseconds: cp_unix_milliseconds())
            return time + " " + PrintableText.padRight(level.rawValue, 8)
        }
        switch level {
        case .trace, .debug: return "debug: "
        case .info, .notice: return ""
        case .warning: return console.colored("warning: ", .yellow)
        case .error, .critical: return console.colored("error: ", .red)
        }
    }

    private static func json(_ value: Logger.MetadataValue) -> JSONValue {
        switch value {
        case .string(let text): return .string(text)
        case .stringConvertible(let value):
            switch value {
            case let number as Int: return .integer(number)
            case let number as UInt64: return .unsigned(number)
            case let number as Double: return .number(number)
            case let flag as Bool: return .boolean(flag)
            default: return .string(value.description)
            }
        case .array(let items): return .array(items.map(json))
        case .dictionary(let members):
            return .object(members.sorted { $0.key < $1.key }.map { ($0.key, json($0.value)) })
        }
    }
}

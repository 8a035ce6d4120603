internal import Bytes
internal import Wire

/// Flushes that take several steps, on disk: to the masters of a cluster, or slots page by page. Of one
/// that was begun and not done the target may hold keys that the source has deleted.
///
///     begun <database> <transaction id> <command in hex>
///     done
struct FlushLog: ~Copyable {
    static let fileName = "flushes.log"

    private var log: StateLog
    /// Commands that earlier runs have begun and not done, oldest first.
    private(set) var left: [String]
    private var isWholeBegun = false

    init(directory: String) throws(SystemError) {
        var content: [UInt8] = []
        let log = try StateLog(path: "\(directory)/\(FlushLog.fileName)", content: &content)
        self.log = log
        left = FlushLog.open(in: content)
    }

    private static func open(in content: [UInt8]) -> [String] {
        var open: [String] = []
        for parts in StateLog.words(of: content) {
            if parts.count == 4, parts[0] == "begun", let command = StateLog.decoded(hex: parts[3])
            {
                open.append(command.withByteView { $0.printable(limit: 64) })
            } else if parts == ["done"], let command = open.popLast() {
                if isWhole(command) { open = [] }
            }
        }
        return open
    }

    /// Whether it takes along whatever an earlier one has left.
    private static func isWhole(_ command: String) -> Bool {
        command.uppercased().hasPrefix("FLUSHALL")
    }

    /// On the device when it returns.
    mutating func begun(_ record: JournalRecord) throws(SystemError) {
        var command: [UInt8] = []
        var arguments = record.arguments
        while let argument = arguments.next() {
            if !command.isEmpty { command.append(UInt8(ascii: " ")) }
            command += argument.array()
        }
        isWholeBegun = FlushLog.isWhole(command.withByteView { $0.printable() })
        try log.append("begun \(record.database) \(record.transactionID) ")
        try log.append(hex: command)
        try log.append("\n")
        try log.write(mustReachDevice: true)
    }

    mutating func done() throws(SystemError) {
        if isWholeBegun { left = [] }
        // So that the file does not grow with each flush.
        guard !left.isEmpty else { return try log.erase() }
        try log.append("done\n")
        try log.write(mustReachDevice: false)
    }
}

internal import Bytes

/// The repair list on disk: one line for a key that must be read again, one when that is done. What
/// is open survives the process, so that no position is acknowledged that hides it.
///
///     + <database> <flow> <key in hex> <reason>
///     - <database> <key in hex>
struct RepairLog: ~Copyable {
    static let fileName = "repairs.log"

    private var log: StateLog
    private var mustSync = false
    private var left: [Open]

    /// A key that an earlier run left open.
    struct Open: Equatable {
        let database: Int
        let flow: Int
        let key: [UInt8]
        let reason: String
    }

    /// Takes over what the file says is open, for `takeOpen`.
    init(directory: String) throws(SystemError) {
        var content: [UInt8] = []
        let log = try StateLog(path: "\(directory)/\(RepairLog.fileName)", content: &content)
        self.log = log
        left = RepairLog.open(in: content)
    }

    /// What an earlier run left open, for who resumes to mark it again; its lines stay, so that it is
    /// open whenever this run ends. A full sync brings every key anew: then the file is emptied.
    mutating func takeOpen(resumes: Bool) throws(SystemError) -> [Open] {
        defer { left = [] }
        if resumes { return left }
        try log.erase()
        return []
    }

    private static func open(in content: [UInt8]) -> [Open] {
        var open: [String: Open] = [:]
        for parts in StateLog.words(of: content, limit: 5) {
            if parts.count == 5, parts[0] == "+", let database = Int(parts[1]),
                let flow = Int(parts[2]), let key = StateLog.decoded(hex: parts[3])
            {
                open[parts[1] + " " + parts[3]] = Open(
                    database: database, flow: flow, key: key, reason: parts[4])
            } else if parts.count == 3, parts[0] == "-" {
                open[parts[1] + " " + parts[2]] = nil
            }
        }
        return Array(open.values)
    }

    mutating func opened(
        database: Int, flow: Int, key: [UInt8], reason: String
    ) throws(SystemError) {
        try log.append("+ \(database) \(flow) ")
        try log.append(hex: key)
        try log.append(" \(reason)\n")
        mustSync = true
    }

    mutating func closed(database: Int, key: [UInt8]) throws(SystemError) {
        try log.append("- \(database) ")
        try log.append(hex: key)
        try log.append("\n")
    }

    /// Writes what was gathered, and waits for the device if a key was opened.
    mutating func sync() throws(SystemError) {
        try log.write(mustReachDevice: mustSync)
        mustSync = false
    }
}

internal import Bytes
internal import CPlatform

/// The repair list on disk: one line for a key that must be read again, one when that is done. What
/// is open survives the process, so that no position is acknowledged that hides it.
///
///     + <database> <flow> <key in hex> <reason>
///     - <database> <key in hex>
///
/// Lines are gathered and written by `sync`, once a turn.
struct RepairLog: ~Copyable {
    static let fileName = "repairs.log"

    private let descriptor: Int32
    private var lines: RegionBuffer
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
        // All first: a struct that owns memory cannot be left half made.
        let lines = try RegionBuffer()
        let (descriptor, left) = try RepairLog.open(directory)
        self.descriptor = descriptor
        self.left = left
        self.lines = lines
    }

    private static func open(_ directory: String) throws(SystemError) -> (Int32, [Open]) {
        let descriptor = "\(directory)/\(fileName)".withCString { cp_open_log($0) }
        guard descriptor >= 0 else { throw SystemError(result: descriptor) }
        do throws(SystemError) {
            return (descriptor, try open(in: descriptor))
        } catch {
            _ = cp_close(descriptor)
            throw error
        }
    }

    deinit {
        _ = cp_close(descriptor)
    }

    /// What an earlier run left open, for who resumes to mark it again; its lines stay, so that it is
    /// open whenever this run ends. A full sync brings every key anew: then the file is emptied.
    mutating func takeOpen(resumes: Bool) throws(SystemError) -> [Open] {
        defer { left = [] }
        if resumes { return left }
        let result = cp_cut_file(descriptor, 0)
        guard result == 0 else { throw SystemError(result: result) }
        return []
    }

    // A line that was cut off when its process died was not acknowledged yet: it counts for nothing,
    // and is removed so that the next one stands alone.
    private static func open(in descriptor: Int32) throws(SystemError) -> [Open] {
        var text = try RegionBuffer()
        try text.appendAll(from: descriptor)
        let bytes = text.view.array()
        let end = bytes.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
        if end < bytes.count {
            let result = cp_cut_file(descriptor, Int64(end))
            guard result == 0 else { throw SystemError(result: result) }
        }
        var open: [String: Open] = [:]
        for line in bytes[..<end].split(separator: UInt8(ascii: "\n")) {
            let parts = line.split(
                separator: UInt8(ascii: " "), maxSplits: 4, omittingEmptySubsequences: false
            ).map { String(decoding: $0, as: UTF8.self) }
            if parts.count == 5, parts[0] == "+", let database = Int(parts[1]),
                let flow = Int(parts[2]), let key = decoded(hex: parts[3])
            {
                open[parts[1] + " " + parts[3]] = Open(
                    database: database, flow: flow, key: key, reason: parts[4])
            } else if parts.count == 3, parts[0] == "-" {
                open[parts[1] + " " + parts[2]] = nil
            }
        }
        return Array(open.values)
    }

    private static func decoded(hex text: String) -> [UInt8]? {
        let digits = Array(text.utf8)
        guard digits.count % 2 == 0 else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: digits.count, by: 2) {
            let pair = String(decoding: digits[index...index + 1], as: UTF8.self)
            guard let byte = UInt8(pair, radix: 16) else { return nil }
            bytes.append(byte)
        }
        return bytes
    }

    mutating func opened(
        database: Int, flow: Int, key: [UInt8], reason: String
    ) throws(SystemError) {
        try append("+ \(database) \(flow) ")
        try append(hex: key)
        try append(" \(reason)\n")
        mustSync = true
    }

    mutating func closed(database: Int, key: [UInt8]) throws(SystemError) {
        try append("- \(database) ")
        try append(hex: key)
        try append("\n")
    }

    /// Writes what was gathered, and waits for the device if a key was opened.
    mutating func sync() throws(SystemError) {
        guard !lines.isEmpty else { return }
        try lines.writeAll(to: descriptor)
        lines.clear(keeping: 1 << 20)
        guard mustSync else { return }
        let result = cp_sync_data(descriptor)
        guard result == 0 else { throw SystemError(result: result) }
        mustSync = false
    }

    private mutating func append(_ text: String) throws(SystemError) {
        try Array(text.utf8).withByteView { (view) throws(SystemError) in try lines.append(view) }
    }

    private mutating func append(hex bytes: [UInt8]) throws(SystemError) {
        let digits = ByteView("0123456789abcdef")
        for byte in bytes {
            try lines.append(byte: digits[Int(byte >> 4)])
            try lines.append(byte: digits[Int(byte & 15)])
        }
    }
}

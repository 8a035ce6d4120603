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

    /// Begins an empty log: a full sync brings every key anew.
    init(directory: String) throws(SystemError) {
        let lines = try RegionBuffer()
        let descriptor = "\(directory)/\(RepairLog.fileName)".withCString { cp_create_file($0) }
        guard descriptor >= 0 else { throw SystemError(result: descriptor) }
        self.descriptor = descriptor
        self.lines = lines
    }

    deinit {
        _ = cp_close(descriptor)
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

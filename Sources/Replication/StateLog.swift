internal import Bytes
internal import CPlatform

/// A file of lines in the state directory. Lines are gathered and written by `write`, once a turn; one
/// that was cut off when its process died was not acknowledged, and counts for nothing.
struct StateLog: ~Copyable {
    private let descriptor: Int32
    private var lines: RegionBuffer
    private var unsyncedLines = false

    /// Opens or creates the file; `content` becomes what whole lines it has.
    init(path: String, content: inout [UInt8]) throws(SystemError) {
        // All first: a struct that owns memory cannot be left half made.
        let lines = try RegionBuffer()
        let descriptor = try StateLog.open(path, &content)
        self.descriptor = descriptor
        self.lines = lines
    }

    deinit {
        _ = cp_close(descriptor)
    }

    private static func open(_ path: String, _ content: inout [UInt8]) throws(SystemError) -> Int32
    {
        let descriptor = path.withCString { cp_open_log($0) }
        guard descriptor >= 0 else { throw SystemError(result: descriptor) }
        do throws(SystemError) {
            var text = try RegionBuffer()
            try text.appendAll(from: descriptor)
            content = text.view.array()
            let end = content.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
            if end < content.count {
                // So that the next line stands alone.
                let result = cp_cut_file(descriptor, Int64(end))
                guard result == 0 else { throw SystemError(result: result) }
                content.removeSubrange(end...)
            }
            return descriptor
        } catch {
            _ = cp_close(descriptor)
            throw error
        }
    }

    /// Makes the file empty.
    mutating func erase() throws(SystemError) {
        lines.clear(keeping: 1 << 20)
        let result = cp_cut_file(descriptor, 0)
        guard result == 0 else { throw SystemError(result: result) }
    }

    mutating func append(_ text: String) throws(SystemError) {
        try Array(text.utf8).withByteView { (view) throws(SystemError) in try lines.append(view) }
    }

    mutating func append(hex bytes: [UInt8]) throws(SystemError) {
        let digits = ByteView("0123456789abcdef")
        for byte in bytes {
            try lines.append(byte: digits[Int(byte >> 4)])
            try lines.append(byte: digits[Int(byte & 15)])
        }
    }

    /// Bytes gathered and not yet written.
    var bytesGathered: Int { lines.count }

    /// Writes what was gathered; `mustReachDevice` waits until that, and what was written before, is
    /// on the device.
    mutating func write(mustReachDevice: Bool) throws(SystemError) {
        if !lines.isEmpty {
            try lines.writeAll(to: descriptor)
            lines.clear(keeping: 1 << 20)
            unsyncedLines = true
        }
        guard mustReachDevice, unsyncedLines else { return }
        let result = cp_sync_data(descriptor)
        guard result == 0 else { throw SystemError(result: result) }
        unsyncedLines = false
    }

    /// The words of each line.
    static func words(of content: [UInt8], limit: Int = .max) -> [[String]] {
        content.split(separator: UInt8(ascii: "\n")).map { line in
            line.split(
                separator: UInt8(ascii: " "), maxSplits: limit - 1,
                omittingEmptySubsequences: false
            ).map { String(decoding: $0, as: UTF8.self) }
        }
    }

    /// Nil if the text is not hexadecimal.
    static func decoded(hex text: String) -> [UInt8]? {
        func digit(_ byte: UInt8) -> UInt8? {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
            default: nil
            }
        }
        let digits = Array(text.utf8)
        guard digits.count % 2 == 0 else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(digits.count / 2)
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let high = digit(digits[index]), let low = digit(digits[index + 1]) else {
                return nil
            }
            bytes.append(high << 4 | low)
        }
        return bytes
    }
}

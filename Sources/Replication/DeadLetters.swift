internal import Bytes
internal import CPlatform

/// What of the failed records is on disk.
public struct DeadLetterProgress: Sendable, Equatable {
    /// Lines written, one for each failed record and each key that may differ.
    public var lines = 0
    /// Those without a line: the file's limit is reached, or its disk refused.
    public var more = 0
    /// Why nothing more is written, nil while all is well.
    public var error: String?

    public init() {}
}

/// `failed.ndjson` in the state directory: one JSON object a line for each record or entry that was
/// not applied and each key that could not be repaired, never with a value. It is opened with the first one, so that a run without failures
/// leaves none; a later run appends.
///
///     {"time":"...","run":"migrate","task":"df2redis","source":"...","target":"..."}
///     {"time":"...","phase":"snapshot","flow":0,"lsn":null,"database":0,"key":"k","command":"ZADD",
///      "reply":"NOPERM ..."}
///     {"time":"...","more":12}
///
/// Lines are gathered and written by `flush`, once a turn. A disk that is full does not stop the run.
struct DeadLetters: ~Copyable {
    static let fileName = "failed.ndjson"
    /// What a line takes beside its key at least.
    private static let lineBytesAtLeast = 128
    private static let gatheredBytesLimit = 64 << 10

    enum Phase: String {
        case snapshot, journal, repair
    }

    /// A record that was not applied, or a key that could not be repaired.
    struct Letter {
        /// Of what: a snapshot entry, a journal record, or a key that was to be read again.
        var phase: Phase
        var flow: Int
        /// Of a journal record behind the snapshot, else 0.
        var lsn: UInt64 = 0
        var database: Int
        var key: ByteView
        var command: String
        var reply: String
    }

    private let directory: String?
    private let head: [(String, String)]
    private let bytesLimit: Int
    private var descriptor: Int32 = -1
    private var bytesWritten = 0
    // Where the file ends in whole lines.
    private var fileBytes: Int64 = 0
    private var gathered: RegionBuffer
    private var gatheredLines = 0
    private var line: RegionBuffer
    private(set) var progress = DeadLetterProgress()

    /// - Parameters:
    ///   - directory: nil writes nothing.
    ///   - head: what names the run in its first line.
    ///   - bytesLimit: of this run's lines all together, the last one apart.
    init(directory: String?, head: [(String, String)], bytesLimit: Int) throws(SystemError) {
        // All first: a struct that owns memory cannot be left half made.
        let gathered = try RegionBuffer()
        line = try RegionBuffer()
        self.gathered = gathered
        self.directory = directory
        self.head = head
        self.bytesLimit = bytesLimit
    }

    deinit {
        if descriptor >= 0 { _ = cp_close(descriptor) }
    }

    mutating func add(_ letter: Letter) {
        guard directory != nil else { return }
        let left = bytesLimit - bytesWritten - gathered.count
        guard progress.error == nil,
            left > letter.key.count + DeadLetters.lineBytesAtLeast
        else {
            progress.more += 1
            return
        }
        do throws(SystemError) {
            if descriptor < 0 { try open() }
            line.clear(keeping: 1 << 20)
            try write(letter)
            guard line.count <= bytesLimit - bytesWritten - gathered.count else {
                progress.more += 1
                return
            }
            try gathered.append(line.view)
            gatheredLines += 1
        } catch {
            progress.more += 1
            fail(error)
            return
        }
        if gathered.count > DeadLetters.gatheredBytesLimit { flush() }
    }

    /// Writes what was gathered.
    mutating func flush() {
        guard !gathered.isEmpty, progress.error == nil else { return }
        do throws(SystemError) {
            try gathered.writeAll(to: descriptor)
            bytesWritten += gathered.count
            fileBytes += Int64(gathered.count)
            progress.lines += gatheredLines
            gatheredLines = 0
            gathered.clear(keeping: 1 << 20)
        } catch {
            // No half a line.
            _ = cp_cut_file(descriptor, fileBytes)
            fail(error)
        }
    }

    /// The run ends: the last line says how many have none, and all goes to the device.
    mutating func finish() {
        flush()
        guard descriptor >= 0 else { return }
        if progress.error == nil, progress.more > 0 {
            line.clear(keeping: 1 << 20)
            do throws(SystemError) {
                try begin()
                try add("more", decimal: Int64(progress.more))
                try end()
                try line.writeAll(to: descriptor)
            } catch {
                _ = cp_cut_file(descriptor, fileBytes)
                fail(error)
            }
        }
        let result = cp_sync_data(descriptor)
        if result != 0, progress.error == nil { fail(SystemError(result: result)) }
        _ = cp_close(descriptor)
        descriptor = -1
    }

    private mutating func fail(_ error: SystemError) {
        progress.error = "\(error)"
        progress.more += gatheredLines
        gatheredLines = 0
        gathered.clear(keeping: 0)
    }

    private mutating func open() throws(SystemError) {
        guard let directory else { return }
        let path = "\(directory)/\(DeadLetters.fileName)"
        let opened = path.withCString { cp_open_log($0) }
        guard opened >= 0 else { throw SystemError(result: opened) }
        descriptor = opened
        let size = cp_file_size(opened)
        guard size >= 0 else { throw SystemError(result: size) }
        fileBytes = size
        if size > 0 {
            // An earlier run may have died inside a line.
            line.clear()
            try line.append(from: opened, at: size - 1, count: 1)
            if line.view[0] != UInt8(ascii: "\n") { try gathered.append(byte: UInt8(ascii: "\n")) }
        }
        line.clear()
        try begin()
        for (name, value) in head { try add(name, text: Array(value.utf8)) }
        try end()
        try gathered.append(line.view)
    }

    // MARK: JSON

    private mutating func write(_ letter: Letter) throws(SystemError) {
        try begin()
        try add("phase", text: Array(letter.phase.rawValue.utf8))
        try add("flow", decimal: Int64(letter.flow))
        if letter.lsn > 0 {
            try add("lsn", decimal: Int64(clamping: letter.lsn))
        } else {
            try line.append(",\"lsn\":null")
        }
        try add("database", decimal: Int64(letter.database))
        let key = letter.key.array()
        if String(validating: key, as: UTF8.self) != nil {
            try add("key", text: key)
        } else {
            try add("key", text: Array(letter.key.printable(limit: .max).utf8))
            try add("keyBase64", text: DeadLetters.base64(key))
        }
        try add("command", text: Array(letter.command.utf8))
        try add("reply", text: Array(letter.reply.utf8))
        try end()
    }

    private mutating func begin() throws(SystemError) {
        try line.append("{\"time\":\"")
        let time = UTCTime.text(unixMilliseconds: cp_unix_milliseconds())
        try append(Array(time.utf8))
        try line.append("\"")
    }

    private mutating func end() throws(SystemError) {
        try line.append("}\n")
    }

    private mutating func add(_ name: String, decimal value: Int64) throws(SystemError) {
        try append(Array(",\"\(name)\":".utf8))
        try line.append(decimal: value)
    }

    private mutating func add(_ name: String, text: [UInt8]) throws(SystemError) {
        try append(Array(",\"\(name)\":\"".utf8))
        for byte in text {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                try line.append(byte: UInt8(ascii: "\\"))
                try line.append(byte: byte)
            case 0..<0x20, 0x7F:
                try line.append("\\u00")
                try line.append(byte: DeadLetters.digits[Int(byte >> 4)])
                try line.append(byte: DeadLetters.digits[Int(byte & 15)])
            default:
                try line.append(byte: byte)
            }
        }
        try line.append("\"")
    }

    private mutating func append(_ bytes: [UInt8]) throws(SystemError) {
        try bytes.withByteView { (view) throws(SystemError) in try line.append(view) }
    }

    private static var digits: ByteView { "0123456789abcdef" }
    private static var alphabet: ByteView {
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    }

    private static func base64(_ bytes: [UInt8]) -> [UInt8] {
        var text: [UInt8] = []
        text.reserveCapacity((bytes.count + 2) / 3 * 4)
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let count = min(3, bytes.count - start)
            var group = 0
            for index in 0..<3 {
                group = group << 8 | (index < count ? Int(bytes[start + index]) : 0)
            }
            for index in 0..<4 {
                text.append(
                    index <= count ? alphabet[group >> (18 - 6 * index) & 63] : UInt8(ascii: "="))
            }
        }
        return text
    }
}

import Foundation

@testable import df2redis

/// A descriptor whose text a test can read back: a pseudo-terminal's, or a file's.
final class Recorder {
    let descriptor: Int32
    private let reader: Int32
    private let isTerminal: Bool

    /// A file.
    init() throws {
        let template = FileManager.default.temporaryDirectory.appendingPathComponent(
            "recorder-\(UUID().uuidString)")
        descriptor = open(template.path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        unlink(template.path)
        reader = descriptor
        isTerminal = false
        if descriptor < 0 { throw FileFailure("create", template.path, code: errno) }
    }

    /// A terminal of a size.
    init(columns: Int, rows: Int) throws {
        let path = "/dev/ptmx"
        reader = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC)
        isTerminal = true
        var number: UInt32 = 0
        var unlocked: Int32 = 0
        // TIOCSPTLCK and TIOCGPTN, as the kernel numbers them on every Linux of our platforms.
        guard reader >= 0, ioctl(reader, 0x4004_5431, &unlocked) == 0,
            ioctl(reader, 0x8004_5430, &number) == 0
        else { throw FileFailure("open", path, code: errno) }
        descriptor = open("/dev/pts/\(number)", O_RDWR | O_NOCTTY | O_CLOEXEC)
        guard descriptor >= 0 else { throw FileFailure("open", path, code: errno) }
        resize(columns: columns, rows: rows)
    }

    deinit {
        close(descriptor)
        if isTerminal { close(reader) }
    }

    func resize(columns: Int, rows: Int) {
        var size = winsize()
        size.ws_col = UInt16(columns)
        size.ws_row = UInt16(rows)
        _ = ioctl(descriptor, UInt(TIOCSWINSZ), &size)
    }

    /// What was written since the last call.
    func text() -> String {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        if !isTerminal { lseek(reader, 0, SEEK_SET) }
        while true {
            var wait = pollfd(fd: reader, events: Int16(POLLIN), revents: 0)
            guard poll(&wait, 1, 0) > 0 else { break }
            let count = read(reader, &chunk, chunk.count)
            guard count > 0 else { break }
            bytes += chunk[..<count]
        }
        if !isTerminal { ftruncate(descriptor, 0); lseek(descriptor, 0, SEEK_SET) }
        return String(decoding: bytes, as: UTF8.self).replacingOccurrences(of: "\r\n", with: "\n")
    }
}

/// A terminal's screen as far as our display needs one: text, line ends, cursor up, clear to end.
struct Screen {
    private(set) var lines: [String] = [""]
    private var row = 0
    private var column = 0

    /// Lines without the empty ones at the end.
    var text: [String] {
        var trimmed = lines
        while trimmed.last == "" { trimmed.removeLast() }
        return trimmed
    }

    mutating func feed(_ text: String) {
        var rest = Substring(text)
        while let character = rest.popFirst() {
            switch character {
            case "\n", "\r\n":
                row += 1
                column = 0
                if row == lines.count { lines.append("") }
            case "\r": column = 0
            case "\u{1B}":
                rest.removeFirst()
                let number = rest.prefix { $0.isNumber }
                rest.removeFirst(number.count)
                switch rest.popFirst() {
                case "A": row = max(0, row - (Int(number) ?? 1))
                case "J":
                    lines.removeSubrange((row + 1)...)
                    lines[row] = String(lines[row].prefix(column))
                default: break
                }
            default:
                lines[row] = String(lines[row].prefix(column)) + String(character)
                column += 1
            }
        }
    }
}

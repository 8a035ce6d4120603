import Glibc
import Synchronization

/// Where messages go: a terminal with a few lines redrawn in place below the messages, or a plain
/// stream of lines.
final class Console: Sendable {
    enum Color: String {
        case red = "31"
        case green = "32"
        case yellow = "33"
        case cyan = "36"
        case bold = "1"
        case dim = "2"
    }

    let descriptor: Int32
    /// True if lines can be redrawn in place.
    let isTerminal: Bool
    /// True if colours are wanted as well.
    let usesColor: Bool
    private let frame = Mutex<[String]>([])

    /// - Parameter environment: `TERM=dumb` means no redrawing, `NO_COLOR` no colours.
    init(descriptor: Int32, environment: [String: String]) {
        self.descriptor = descriptor
        isTerminal = isatty(descriptor) == 1 && environment["TERM"] != "dumb"
        usesColor = isTerminal && environment["NO_COLOR", default: ""].isEmpty
    }

    /// Columns and rows of the terminal; 80 by 24 if it does not say.
    var size: (columns: Int, rows: Int) {
        var size = winsize()
        guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0
        else { return (80, 24) }
        return (Int(size.ws_col), Int(size.ws_row))
    }

    /// Writes one line; a frame shown before stays below it.
    func write(line: String) {
        frame.withLock { lines in
            put(Self.erase(lines.count) + line + "\n" + Self.draw(lines))
        }
    }

    /// Shows lines in place of those of the last frame. Each must fit the width.
    func show(frame newLines: [String]) {
        guard isTerminal else { return }
        frame.withLock { lines in
            put(Self.erase(lines.count) + Self.draw(newLines))
            lines = newLines
        }
    }

    /// Takes the frame away.
    func clearFrame() {
        frame.withLock { lines in
            guard !lines.isEmpty else { return }
            put(Self.erase(lines.count))
            lines = []
        }
    }

    func colored(_ text: String, _ color: Color) -> String {
        usesColor ? "\u{1B}[\(color.rawValue)m\(text)\u{1B}[0m" : text
    }

    // One write for each change, so that nothing flickers. Nobody is left to tell if it fails.
    private func put(_ text: String) {
        _ = Files.writeAll(text.utf8, to: descriptor)
    }

    private static func erase(_ count: Int) -> String {
        count == 0 ? "" : "\r\u{1B}[\(count)A\u{1B}[J"
    }

    private static func draw(_ lines: [String]) -> String {
        lines.map { $0 + "\n" }.joined()
    }
}

public import Bytes

/// A Dragonfly release, from `dragonfly_version` of `INFO server` (protocol.md 1.1), for instance
/// `df-v1.40.0-87-gf8eca6d0b`.
public struct SourceRelease: Sendable, Equatable {
    public let major: Int
    public let minor: Int
    public let patch: Int
    /// False for a build between releases or a release candidate: there is text after the numbers.
    public let isExact: Bool

    /// How a session continues after every flow answered PARTIAL (protocol.md 8.1).
    public enum PartialSync: Sendable {
        /// Never ask for an LSN.
        case unsupported
        /// `DFLY SYNC` is needed, and the flow is a snapshot stream of journal blobs.
        case snapshotOfJournal
        /// `DFLY STARTSTABLE` at once; `DFLY SYNC` corrupts the stream.
        case straightToStable
    }

    public init(major: Int, minor: Int, patch: Int = 0, isExact: Bool = true) {
        self.major = major
        self.minor = minor
        self.patch = patch
        self.isExact = isExact
    }

    /// Nil if the text does not begin with `df-v` or `v` and at least two numbers.
    public init?(_ text: ByteView) {
        var position = text.starts(with: ByteView("df-")) ? 3 : 0
        guard position < text.count, text[position] == UInt8(ascii: "v") else { return nil }
        position += 1
        var numbers: [Int] = []
        while numbers.count < 3 {
            let start = position
            while position < text.count, text[position] &- UInt8(ascii: "0") <= 9 { position += 1 }
            // Four digits are plenty, and keep the arithmetic far from overflow.
            guard position - start <= 4,
                let number = text.slice(start, position - start).parseInteger()
            else { return nil }
            numbers.append(Int(number))
            guard position + 1 < text.count, text[position] == UInt8(ascii: "."),
                text[position + 1] &- UInt8(ascii: "0") <= 9
            else { break }
            position += 1
        }
        guard numbers.count >= 2 else { return nil }
        self.init(
            major: numbers[0], minor: numbers[1], patch: numbers.count > 2 ? numbers[2] : 0,
            isExact: position == text.count)
    }

    /// What this release does with a resume LSN. A build between two releases counts as unsupported
    /// wherever the releases around it differ: a full sync is slow, a wrong guess is corruption.
    public var partialSync: PartialSync {
        if major != 1 { return major > 1 ? .straightToStable : .unsupported }
        if minor > 35 || minor == 35 && isExact { return .straightToStable }
        guard isExact else { return .unsupported }
        switch minor {
        case 11...20, 31...34: return .snapshotOfJournal
        default: return .unsupported
        }
    }

    /// The value of `dragonfly_version` in the text of `INFO server`, nil if it has none.
    static func text(inInfo info: ByteView) -> ByteView? {
        let name = ByteView("dragonfly_version:")
        var start = 0
        while start < info.count {
            let end = info.firstLineEnd(from: start) ?? info.count
            let line = info.slice(start, end - start)
            if line.starts(with: name) { return line.dropFirst(name.count) }
            start = end + 2
        }
        return nil
    }
}

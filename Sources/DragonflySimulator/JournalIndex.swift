public import Bytes

/// Where each entry of a recorded journal begins (protocol.md 5.2).
public struct JournalIndex: Sendable {
    /// Where the journal begins.
    public let start: Int
    /// For each entry that counts as an LSN, where the bytes after it begin.
    private var ends: [Int] = []

    /// Entries that count as an LSN.
    public var entryCount: Int { ends.count }

    /// Walks the journal that begins at `start`, up to the last entry that is complete.
    public init(view: ByteView, from start: Int) {
        self.start = start
        var walker = Walker(view: view, position: start)
        while let counts = walker.skipEntry() {
            if counts { ends.append(walker.position) }
        }
    }

    /// Where the journal goes on after its first `count` entries; nil if it has fewer.
    public func offset(afterEntries count: Int) -> Int? {
        guard count >= 0, count <= ends.count else { return nil }
        return count == 0 ? start : ends[count - 1]
    }

    private struct Walker {
        let view: ByteView
        var position: Int

        /// Moves behind one item; says whether it counts as an LSN, nil at the end.
        mutating func skipEntry() -> Bool? {
            guard let operation = integer() else { return nil }
            switch operation {
            case 6, 15:
                return integer() == nil ? nil : false
            case 13:
                return true
            case 12:
                return integer() != nil && integer() != nil ? true : nil
            case 9, 10, 11:
                guard integer() != nil, integer() != nil, let count = integer(),
                    integer() != nil
                else { return nil }
                for _ in 0..<count {
                    guard let size = integer(), size <= view.count - position else { return nil }
                    position += size
                }
                return true
            default:
                return nil
            }
        }

        /// A packed integer; nil if it is incomplete, or larger than any length here.
        private mutating func integer() -> Int? {
            guard position < view.count else { return nil }
            let first = view[position]
            let size =
                switch first {
                case 0..<0x40: 1
                case 0x40..<0x80: 2
                case 0x80: 5
                case 0x81: 9
                default: 0
                }
            guard size > 0, view.count - position >= size else { return nil }
            defer { position += size }
            switch size {
            case 1: return Int(first)
            case 2: return Int(first & 0x3f) << 8 | Int(view[position + 1])
            case 5: return Int(view.big(position + 1, as: UInt32.self))
            default: return Int(exactly: view.big(position + 1, as: UInt64.self))
            }
        }
    }
}

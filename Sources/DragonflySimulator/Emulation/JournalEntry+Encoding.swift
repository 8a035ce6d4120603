extension JournalEntry {
    /// The entry as it stands in a journal: SELECT, then the entry itself (protocol.md 5.2 and 5.3).
    func encoded() -> [UInt8] {
        if operation == .ping { return [operation.rawValue] }
        var bytes: [UInt8] = [6]
        bytes.append(packed: UInt64(database))
        bytes.append(operation.rawValue)
        bytes.append(packed: transaction)
        bytes.append(packed: UInt64(shardCount))
        if operation == .exec { return bytes }
        bytes.append(packed: UInt64(words.count))
        bytes.append(packed: UInt64(words.reduce(0) { $0 + $1.count }))
        for word in words {
            bytes.append(packed: UInt64(word.count))
            bytes += word
        }
        return bytes
    }

    /// An LSN marker: the entry before it was number `lsn` (protocol.md 5.4).
    static func marker(_ lsn: UInt64) -> [UInt8] {
        var bytes: [UInt8] = [15]
        bytes.append(packed: lsn)
        return bytes
    }

    static let ping = JournalEntry(operation: .ping, database: 0, words: [])
}

extension [UInt8] {
    /// Appends a packed unsigned integer in its shortest form (protocol.md 3.4.1).
    fileprivate mutating func append(packed value: UInt64) {
        switch value {
        case 0..<0x40: append(UInt8(value))
        case 0x40..<0x4000: append(big: value | 0x4000, width: 2)
        case 0x4000...0xffff_ffff:
            append(0x80)
            append(big: value, width: 4)
        default:
            append(0x81)
            append(big: value, width: 8)
        }
    }

    private mutating func append(big value: UInt64, width: Int) {
        for position in (0..<width).reversed() {
            append(UInt8(truncatingIfNeeded: value >> (8 * UInt64(position))))
        }
    }
}

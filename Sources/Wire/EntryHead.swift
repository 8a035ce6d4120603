import Bytes

/// What precedes a value: prefixes in any order, type code, key (protocol.md 3.3).
struct EntryHead {
    var type: ValueType
    var key: WireString
    var expiryMilliseconds: Int64
    var mask: UInt32

    /// More prefixes than there are kinds of them, with some to spare.
    private static let prefixLimit = 8

    /// Reads a head; nil if the input ends inside it. Then the cursor's position means nothing.
    /// A key above `keyLimit` bytes, encoded or decoded, throws `lengthAboveLimit`.
    static func read(
        _ cursor: inout Cursor, keyLimit: Int
    ) throws(DecodeError) -> EntryHead? {
        var expiryMilliseconds: Int64 = 0
        var mask: UInt32 = 0
        var prefixes = 0
        while let code = cursor.byte() {
            if let type = ValueType(rawValue: code) {
                guard let key = try readKey(&cursor, limit: keyLimit) else { return nil }
                return EntryHead(
                    type: type, key: key, expiryMilliseconds: expiryMilliseconds, mask: mask)
            }
            prefixes += 1
            guard prefixes <= prefixLimit else { throw DecodeError(.outOfOrder) }
            let isWhole = try readPrefix(code, &cursor, &expiryMilliseconds, &mask)
            guard isWhole else { return nil }
        }
        return nil
    }

    private static func readPrefix(
        _ code: UInt8, _ cursor: inout Cursor, _ expiryMilliseconds: inout Int64,
        _ mask: inout UInt32
    ) throws(DecodeError) -> Bool {
        switch SnapshotOpcode(rawValue: code) {
        case .expiryMilliseconds:
            guard let value = cursor.little(as: Int64.self) else { return false }
            // 0 means none: a time at or before the epoch must still mean expired.
            expiryMilliseconds = max(value, 1)
        case .expirySeconds:
            guard let value = cursor.little(as: Int32.self) else { return false }
            expiryMilliseconds = max(Int64(value) * 1000, 1)
        case .mask:
            guard let value = cursor.little(as: UInt32.self) else { return false }
            if value & 2 != 0, cursor.little(as: UInt32.self) == nil { return false }
            mask = value
        case .idle:
            return try cursor.length() != nil
        case .frequency:
            return cursor.byte() != nil
        case nil:
            throw DecodeError(.unknownOpcode)
        default:
            // A prefix applies to the key right behind it.
            throw DecodeError(.outOfOrder)
        }
        return true
    }

    private static func readKey(
        _ cursor: inout Cursor, limit: Int
    ) throws(DecodeError) -> WireString? {
        if let key = try cursor.string() {
            guard key.decodedCount <= limit else { throw DecodeError(.lengthAboveLimit) }
            return key
        }
        // Refuse at once, not when that many bytes have come.
        if let head = try cursor.stringHead(), head.size > limit {
            throw DecodeError(.lengthAboveLimit)
        }
        return nil
    }
}

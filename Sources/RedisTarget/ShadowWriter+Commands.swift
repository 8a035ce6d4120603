public import Bytes
public import Wire

/// Where a shadow comes to its place, and what dead runs left.
extension ShadowWriter {
    /// The only place where a big value becomes visible: its key is replaced, or made if nobody is
    /// there, by one transaction. UNLINK first, because RENAME would free the old value at once,
    /// however large it is.
    mutating func swap(
        _ entry: SnapshotEntry, as kind: CommandKind, flow: Int, number: UInt32, isEmpty: Bool,
        unixMilliseconds: Int64, to target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let key = try makeName(entry.key.keySlot(), flow, number)
        let bytes =
            (entry.key.count + key.count) * 4 + TargetConnection.argumentBytes(20) * 14
        guard
            try target.begin(
                flow: flow, database: entry.database, bytes: bytes, commands: 7, demand: .nothing)
        else { return false }
        let place = EntryPlace(
            flow: flow, kind: kind, type: RecordType(entry.type.family), nextLSN: 0,
            unixMilliseconds: unixMilliseconds)
        guard !isEmpty else {
            // All its elements have expired, or it has: such a key does not exist.
            put(place.isGuarded ? "EXISTS" : "UNLINK", entry.key, to: target)
            place.end(entry, target)
            putRemoval(key, entry, flow, number, to: target)
            return true
        }
        // Names the key for the replies.
        if place.isGuarded {
            put("EXISTS", entry.key, to: target)
            place.endPart(entry, target)
        }
        target.header(arguments: 1)
        target.argument("MULTI")
        place.endPart(entry, target)
        if place.isGuarded {
            // Before the name is known to be free: another one's key must keep its expiry.
            if entry.expiryMilliseconds != 0 { putExpiry(key, entry, place, to: target) }
            putRename("RENAMENX", key, entry, place, to: target)
            // What it finds tells whether the key was taken.
            put("UNLINK", key, to: target)
            place.endPart(entry, target)
        } else {
            put("UNLINK", entry.key, to: target)
            place.endPart(entry, target)
            putRename("RENAME", key, entry, place, to: target)
            if entry.expiryMilliseconds != 0 { putExpiry(entry.key, entry, place, to: target) }
        }
        target.header(arguments: 1)
        target.argument("EXEC")
        place.end(entry, target)
        putRemoval(key, entry, flow, number, to: target)
        return true
    }

    /// A transaction that is refused leaves the shadow.
    private func putRemoval(
        _ key: ByteView, _ entry: SnapshotEntry, _ flow: Int, _ number: UInt32,
        to target: TargetConnection
    ) {
        put("UNLINK", key, to: target)
        target.end(
            .shadowRemoval, flow: flow, database: entry.database, nextLSN: UInt64(number))
    }

    private func putExpiry(
        _ key: ByteView, _ entry: SnapshotEntry, _ place: EntryPlace, to target: TargetConnection
    ) {
        target.header(arguments: 3)
        target.argument("PEXPIREAT")
        target.argument(key)
        target.argument(decimal: max(1, place.expiry(entry)))
        place.endPart(entry, target)
    }

    private func putRename(
        _ name: ByteView, _ key: ByteView, _ entry: SnapshotEntry, _ place: EntryPlace,
        to target: TargetConnection
    ) {
        target.header(arguments: 3)
        target.argument(name)
        target.argument(key)
        target.argument(entry.key)
        place.endPart(entry, target)
    }

    func put(_ name: ByteView, _ key: ByteView, to target: TargetConnection) {
        target.header(arguments: 2)
        target.argument(name)
        target.argument(key)
    }

    // MARK: Leftovers

    /// Removes a few of the shadows that dead runs of this name left in a database, and nothing
    /// else; false if there is no room. The reply is where to go on, `0` at the end.
    public mutating func sweep(
        database: Int, cursor: ByteView, to target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let pattern = names.shadowPattern()
        let script = ByteView(ShadowWriter.sweepScript)
        let bytes =
            script.count + pattern.count + cursor.count + TargetConnection.argumentBytes(8) * 5
        guard try target.begin(flow: 0, database: database, bytes: bytes, demand: .nothing)
        else { return false }
        target.header(arguments: 5)
        target.argument("EVAL")
        target.argument(script)
        target.argument("0")
        target.argument(cursor)
        pattern.withByteView { target.argument($0) }
        target.end(.sweep, flow: 0, database: database, nextLSN: 0)
        return true
    }

    /// A call looks at some thousand keys, which takes a target about a millisecond.
    private static let sweepScript: StaticString = """
        local page = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', 2000)
        for _, key in ipairs(page[2]) do redis.call('UNLINK', key) end
        return page[1]
        """
}

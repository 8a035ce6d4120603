public import Bytes

/// One complete key of the snapshot: a view, valid until the decoder's next call.
public struct SnapshotEntry {
    public var database: Int
    public var type: ValueType
    /// The key's bytes, decoded.
    public var key: ByteView
    /// Absolute expiry in Unix milliseconds, 0 for none.
    public var expiryMilliseconds: Int64
    /// DF_MASK bit 0: exempt from eviction on the source.
    public var isSticky: Bool
    /// DF_MASK bit 1: has memcached flags.
    public var hasMemcachedFlags: Bool
    /// The encoded value, from after the key to its end (protocol.md 3.9): what RESTORE takes
    /// between type byte and version.
    public var value: ByteView

    public init(
        database: Int, type: ValueType, key: ByteView, expiryMilliseconds: Int64 = 0,
        isSticky: Bool = false, hasMemcachedFlags: Bool = false, value: ByteView
    ) {
        self.database = database
        self.type = type
        self.key = key
        self.expiryMilliseconds = expiryMilliseconds
        self.isSticky = isSticky
        self.hasMemcachedFlags = hasMemcachedFlags
        self.value = value
    }

    /// Whether the value may be a HyperLogLog: a string that begins with `HYLL`, or a compressed one.
    public var mayBeHyperLogLog: Bool {
        guard type == .string, value.count > 6 else { return false }
        // None has more than 12,304 bytes, so its length takes one byte or two.
        let head = value[0]
        guard head < 0x80 else { return head == 0xc3 }
        return value.little(head < 0x40 ? 1 : 2, as: UInt32.self) == 0x4c4c_5948
    }
}

/// What the snapshot part of a flow holds, in stream order (protocol.md 3.1).
public enum SnapshotEvent {
    /// The input ends inside an item. Not an error.
    case needMore
    case entry(SnapshotEntry)
    /// A step of a value above `DecoderLimits.bigValueBytes`: the decoder's `bigValueStep`. In here it
    /// would make every event several times as large.
    case bigValue
    /// A key whose value is above `DecoderLimits.assemblyBytes`; it was passed over, `value` is
    /// empty, and `size` is its encoded size in bytes.
    case refused(SnapshotEntry, size: Int)
    /// Journal records inside the snapshot; read them with `JournalBlobReader`.
    case journalBlob(count: Int, body: ByteView)
    /// An AUX field, decoded. A value too large for the window is passed over and comes empty.
    case auxiliary(name: ByteView, value: ByteView)
    /// FULLSYNC_END: the static part of this flow is complete.
    case fullSyncEnd
    /// JOURNAL_OFFSET: the LSN of the first journal record after the snapshot.
    case journalOffset(UInt64)
    /// EOF; the next 40 bytes of the flow are its token.
    case end
}

/// One journal record: a view, valid until the decoder's next call.
public struct JournalRecord {
    public enum Operation: UInt8, Sendable {
        case expired = 9
        case command = 10
        case multiCommand = 11
        case exec = 12
        case ping = 13
    }

    public var operation: Operation
    public var database: Int
    /// 0 for commands that ran alone on one shard; not an identity then (protocol.md 5.5).
    public var transactionID: UInt64
    public var shardCount: UInt64
    /// The record's own LSN; 0 inside a journal blob, where records have none yet.
    public var lsn: UInt64
    /// Strings of the payload, the command name included; 0 for `exec` and `ping`.
    public var argumentCount: Int
    /// The encoded payload strings; read them with `arguments`.
    public var payload: ByteView

    public init(
        operation: Operation, database: Int, transactionID: UInt64 = 0, shardCount: UInt64 = 1,
        lsn: UInt64 = 0, argumentCount: Int = 0, payload: ByteView = ByteView()
    ) {
        self.operation = operation
        self.database = database
        self.transactionID = transactionID
        self.shardCount = shardCount
        self.lsn = lsn
        self.argumentCount = argumentCount
        self.payload = payload
    }

    /// The payload's strings in order, the command name first.
    public var arguments: JournalArguments {
        JournalArguments(payload: payload, count: argumentCount)
    }
}

/// Iterates over the strings of a record that the decoder has checked.
public struct JournalArguments {
    private var cursor: Cursor
    public private(set) var remaining: Int

    /// The next string, without moving on.
    public var first: ByteView? {
        var copy = self
        return copy.next()
    }

    init(payload: ByteView, count: Int) {
        cursor = Cursor(payload)
        remaining = count
    }

    public mutating func next() -> ByteView? {
        guard remaining > 0 else { return nil }
        remaining -= 1
        guard let size = try? cursor.count(), let bytes = cursor.raw(size) else {
            preconditionFailure("a checked record has all its strings")
        }
        return bytes
    }
}

/// What the journal part of a flow holds. SELECT and LSN markers are handled inside the decoder.
public enum JournalEvent {
    case needMore
    case record(JournalRecord)
    /// A record above `DecoderLimits.assemblyBytes`; it was passed over. `record` has its place and
    /// no payload; `size` is its size in bytes.
    case refused(JournalRecord, size: Int)
}

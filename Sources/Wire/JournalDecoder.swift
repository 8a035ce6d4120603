public import Bytes

/// Decodes the journal part of a flow: what follows the end-of-stream token, or the reply of a
/// partial resync (protocol.md 5).
///
/// The contract of `next` and `consumed` is that of `SnapshotDecoder`. Memory is fixed at creation,
/// except for the assembly buffer of a record that does not fit the window. After an error the
/// decoder must not be used any more.
public struct JournalDecoder: ~Copyable {
    /// Bytes at the start of the last input that are done with.
    public private(set) var consumed = 0
    /// The LSN that the next record will have (protocol.md 5.4).
    public private(set) var nextLSN: UInt64

    private let limits: DecoderLimits
    private var inputOffset: Int
    private var database = 0
    private var hasFailed = false
    // For errors: the item being decoded.
    private var itemOffset = 0
    private var opcode: UInt8 = 0

    private var walker = PayloadWalker(JournalHead(operation: .ping))
    /// Payload bytes of the record at the start of the input that `walker` has passed; nil if no
    /// record waits there.
    private var waitingCount: Int?

    /// The record that is moved to `assembly`, or passed over, because it does not fit the window.
    private var large: LargeRecord?
    private var assembly: RegionBuffer

    private struct LargeRecord {
        var head: JournalHead
        var size: Int
        var isRefused: Bool
    }

    /// - Parameters:
    ///   - nextLSN: the value of JOURNAL_OFFSET, or the LSN that was asked for and granted.
    ///   - flowOffset: position in the flow of the first input byte, for errors.
    public init(
        nextLSN: UInt64, limits: DecoderLimits = DecoderLimits(), flowOffset: Int = 0
    ) throws(SystemError) {
        self.nextLSN = nextLSN
        self.limits = limits
        inputOffset = flowOffset
        assembly = try RegionBuffer()
    }

    /// Position in the flow behind everything consumed.
    public var flowOffset: Int { inputOffset + consumed }

    /// Bytes in the assembly buffer: at most `DecoderLimits.assemblyBytes`.
    public var assembledBytes: Int { assembly.count }

    /// The next record of the flow. Must not be called after an error.
    public mutating func next(_ input: ByteView) throws(DecodeError) -> JournalEvent {
        precondition(!hasFailed)
        inputOffset += consumed
        consumed = 0
        if large == nil && assembly.capacity > 0 { assembly.clear(keeping: limits.windowBytes) }
        do {
            return try decode(input)
        } catch {
            hasFailed = true
            throw DecodeError(error.reason, offset: itemOffset, opcode: opcode)
        }
    }

    private mutating func decode(_ input: ByteView) throws(DecodeError) -> JournalEvent {
        if large != nil { return try assemble(input) }
        while true {
            let source = input.dropFirst(consumed)
            guard !source.isEmpty else { return .needMore }
            itemOffset = inputOffset + consumed
            opcode = source[0]
            var cursor = Cursor(source)
            guard let item = try JournalItem.read(&cursor) else { return .needMore }
            switch item {
            case .select(let number):
                database = number
                consumed += cursor.position
            case .marker(let lsn):
                guard lsn == nextLSN &- 1 else { throw DecodeError(.markerMismatch) }
                consumed += cursor.position
            case .record(let head):
                return try record(head, source, payloadStart: cursor.position, input)
            }
        }
    }

    private mutating func record(
        _ head: JournalHead, _ source: ByteView, payloadStart start: Int, _ input: ByteView
    ) throws(DecodeError) -> JournalEvent {
        if waitingCount == nil { walker = PayloadWalker(head) }
        var count = waitingCount ?? 0
        count += try walker.advance(source.dropFirst(start + count))
        if walker.isComplete {
            waitingCount = nil
            consumed += start + count
            return .record(makeRecord(head, payload: source.slice(start, count)))
        }
        guard source.count >= limits.windowBytes else {
            waitingCount = count
            return .needMore
        }
        waitingCount = nil
        // Every string takes a byte for its length at least.
        let isRefused = head.total + head.argumentCount > limits.assemblyBytes
        large = LargeRecord(head: head, size: start, isRefused: isRefused)
        consumed += start
        try keep(source.slice(start, count))
        return try assemble(input)
    }

    /// Moves what the input has of the large record into `assembly`.
    private mutating func assemble(_ input: ByteView) throws(DecodeError) -> JournalEvent {
        let source = input.dropFirst(consumed)
        let count = try walker.advance(source)
        try keep(source.slice(0, count))
        guard walker.isComplete, let record = large else { return .needMore }
        large = nil
        guard record.isRefused else {
            return .record(makeRecord(record.head, payload: assembly.view))
        }
        var head = record.head
        head.argumentCount = 0
        return .refused(makeRecord(head, payload: ByteView()), size: record.size)
    }

    /// Takes payload bytes of the large record from the input.
    private mutating func keep(_ bytes: ByteView) throws(DecodeError) {
        consumed += bytes.count
        guard var record = large else { preconditionFailure("a large record is in progress") }
        record.size += bytes.count
        if !record.isRefused && assembly.count + bytes.count > limits.assemblyBytes {
            record.isRefused = true
            assembly.clear(keeping: 0)
        }
        large = record
        guard !record.isRefused else { return }
        do {
            try assembly.append(bytes)
        } catch {
            throw DecodeError(.outOfMemory)
        }
    }

    private mutating func makeRecord(_ head: JournalHead, payload: ByteView) -> JournalRecord {
        let record = head.record(database: database, lsn: nextLSN, payload: payload)
        nextLSN &+= 1
        return record
    }
}

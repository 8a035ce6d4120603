public import Bytes

/// Reads the records of one journal blob of the snapshot (protocol.md 3.6). Their database starts
/// at 0, and they have no LSN.
public struct JournalBlobReader {
    private var cursor: Cursor
    private var remaining: Int
    private var database = 0

    /// - Parameters:
    ///   - count: records announced, SELECT not counted.
    ///   - body: the decoded body.
    public init(count: Int, body: ByteView) {
        cursor = Cursor(body)
        remaining = count
    }

    /// The next record, a view into the body; nil when exactly the announced number of them has
    /// filled it.
    ///
    /// Throws `badJournalTotal` if they do not fill it exactly, or what a damaged record throws.
    /// The error's offset counts from the start of the body.
    public mutating func next() throws(DecodeError) -> JournalRecord? {
        let start = cursor.position
        guard cursor.remaining > 0 else {
            guard remaining == 0 else { throw error(.badJournalTotal, start) }
            return nil
        }
        do {
            return try record()
        } catch let failure {
            throw error(failure.reason, start)
        }
    }

    private func error(_ reason: DecodeError.Reason, _ offset: Int) -> DecodeError {
        DecodeError(
            reason, offset: offset, opcode: offset < cursor.bytes.count ? cursor.bytes[offset] : 0)
    }

    private mutating func record() throws(DecodeError) -> JournalRecord {
        while let item = try JournalItem.read(&cursor) {
            switch item {
            case .select(let number):
                database = number
            case .marker:
                // Records of a blob have no LSN that a marker could confirm.
                throw DecodeError(.outOfOrder)
            case .record(let head):
                var walker = PayloadWalker(head)
                let start = cursor.position
                let count = try walker.advance(cursor.bytes.dropFirst(start))
                guard walker.isComplete, remaining > 0 else {
                    throw DecodeError(.badJournalTotal)
                }
                remaining -= 1
                cursor.position = start + count
                return head.record(
                    database: database, lsn: 0, payload: cursor.bytes.slice(start, count))
            }
        }
        throw DecodeError(.badJournalTotal)
    }
}

@testable import DragonflySimulator

/// The journal as protocol.md 5.2 and 5.4 lay it out, its LSN markers checked.
struct JournalDecoder {
    /// The LSN of the next entry.
    private(set) var next: UInt64
    private(set) var markers = 0
    private var database = 0

    init(next: UInt64) {
        self.next = next
    }

    mutating func decode(_ bytes: [UInt8]) throws -> [JournalEntry] {
        var reader = Reader(bytes)
        var entries: [JournalEntry] = []
        while !reader.isAtEnd {
            let opcode = try reader.length()
            switch opcode {
            case 6: database = try reader.length()
            case 13:
                entries.append(JournalEntry(operation: .ping, database: 0, words: []))
                next += 1
            case 15:
                markers += 1
                guard UInt64(try reader.length()) == next - 1 else { throw reader.failure("LSN") }
            case 9, 10, 11: entries.append(try command(opcode, &reader))
            default: throw reader.failure("journal opcode")
            }
        }
        return entries
    }

    private mutating func command(_ opcode: Int, _ reader: inout Reader) throws -> JournalEntry {
        guard let operation = JournalEntry.Operation(rawValue: UInt8(opcode)) else {
            throw reader.failure("journal opcode")
        }
        let transaction = try reader.wideLength()
        let shardCount = try reader.length()
        let count = try reader.length()
        let total = try reader.length()
        let words = try (0..<count).map { _ in try reader.take(try reader.length()) }
        guard words.reduce(0, { $0 + $1.count }) == total else { throw reader.failure("total") }
        next += 1
        return JournalEntry(
            operation: operation, database: database, transaction: transaction,
            shardCount: shardCount, words: words)
    }
}

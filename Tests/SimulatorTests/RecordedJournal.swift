import TestSupport

@testable import DragonflySimulator

/// The journal of a flow as a recording's `flow-N.journal.txt` has it, without SELECTs and LSN
/// markers.
struct RecordedJournal {
    /// One entry. Of words above some size the text has the length only.
    struct Entry {
        enum Word: Equatable {
            case bytes([UInt8])
            case size(Int)
        }

        var text: String
        var operation: JournalEntry.Operation
        var database: Int
        var transaction: UInt64
        var shardCount: Int
        var words: [Word]
    }

    var entries: [Entry] = []

    init(_ recording: TestSupport.Recording, flow: Int) throws {
        var database = 0
        for line in try recording.journalText(flow: flow).split(separator: "\n") {
            // "229 COMMAND tx=0 shards=1 'SET' 'gone:0' '1'"
            let fields = line.split(separator: " ", maxSplits: 4)
            switch fields[1] {
            case "SELECT": database = Int(fields[2]) ?? -1
            case "LSN": break
            case "COMMAND", "EXPIRED":
                guard fields.count == 5, let transaction = UInt64(fields[2].dropFirst(3)),
                    let shardCount = Int(fields[3].dropFirst(7))
                else { throw TestSupportError("unknown line: \(line)") }
                entries.append(
                    Entry(
                        text: String(fields[4]),
                        operation: fields[1] == "COMMAND" ? .command : .expired,
                        database: database, transaction: transaction, shardCount: shardCount,
                        words: try Self.words(fields[4])))
            default: throw TestSupportError("unknown line: \(line)")
            }
        }
    }

    private static func words(_ text: Substring) throws -> [Entry.Word] {
        var words: [Entry.Word] = []
        var rest = text.drop { $0 == " " }
        while !rest.isEmpty {
            if rest.first == "<" {
                guard let end = rest.firstIndex(of: ">"),
                    let size = Int(rest.dropFirst().prefix { $0 != " " })
                else { throw TestSupportError("unknown words: \(text)") }
                words.append(.size(size))
                rest = rest[rest.index(after: end)...]
            } else {
                // Up to the next quote that is not escaped.
                var end = rest.index(after: rest.startIndex)
                while rest[end] != "'" {
                    end = rest.index(end, offsetBy: rest[end] == "\\" ? 2 : 1)
                }
                let literal = PythonText.byteStrings("b" + rest[...end])
                guard literal.count == 1 else { throw TestSupportError("unknown words: \(text)") }
                words.append(.bytes(literal[0]))
                rest = rest[rest.index(after: end)...]
            }
            rest = rest.drop { $0 == " " }
        }
        return words
    }

    /// When the recording began, as far as its journal says: the time at which `SET a 2 EX 100000000`
    /// was executed.
    var startMilliseconds: Int64? {
        for entry in entries where entry.text.hasPrefix("'SET' 'a' '2' 'PXAT'") {
            guard case .bytes(let moment)? = entry.words.last else { return nil }
            return moment.integer.map { $0 - 100_000_000_000 }
        }
        return nil
    }
}

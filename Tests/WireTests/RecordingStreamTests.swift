import Bytes
import Foundation
import Testing
import Wire

/// Recordings of real servers decode completely, however they are cut.
@Suite struct RecordingStreamTests {
    /// Every byte of every recording is understood, and the records add up to what the master said
    /// its offset was.
    @Test(arguments: RecordedFlow.all)
    func decodesWhole(_ flow: RecordedFlow) throws {
        let run = try FlowRun(flow.bytes, partialLSN: flow.partialLSN, segment: { .max })
        #expect(run.failure == nil)
        #expect(run.flowOffset == flow.bytes.count)
        #expect(run.nextLSN == flow.offsetAtEnd)
        if flow.partialLSN == nil {
            #expect(run.events.contains(.token(Array(flow.token.utf8))))
            #expect(run.events.filter { $0 == .fullSyncEnd }.count == 1)
        }
        #expect(
            !run.events.contains { if case .refused = $0 { true } else { false } })
    }

    /// The window growing by one byte at a time gives the same events.
    @Test(arguments: RecordedFlow.all)
    func decodesByteByByte(_ flow: RecordedFlow) throws {
        let whole = try FlowRun(flow.bytes, partialLSN: flow.partialLSN, segment: { .max })
        let dripped = try FlowRun(flow.bytes, partialLSN: flow.partialLSN, segment: { 1 })
        #expect(dripped.failure == nil)
        // Compared outside the macro, which would print megabytes.
        let isSame = dripped.events == whole.events
        #expect(isSame)
        #expect(dripped.nextLSN == whole.nextLSN)
    }

    /// Random pieces give the same events, with windows so small that items are assembled too.
    @Test(arguments: RecordedFlow.all)
    func decodesInRandomPieces(_ flow: RecordedFlow) throws {
        let whole = try FlowRun(flow.bytes, partialLSN: flow.partialLSN, segment: { .max })
        // A key may have half a window.
        let smallest = max(4096, 2 * (whole.entries.map(\.key.count).max() ?? 0))
        for (seed, windowBytes) in [(1, smallest), (2, smallest), (3, 256 << 10)] {
            var generator = SeededGenerator(seed: UInt64(seed))
            let limits = DecoderLimits(windowBytes: windowBytes)
            let run = try FlowRun(flow.bytes, limits: limits, partialLSN: flow.partialLSN) {
                let ceiling = Bool.random(using: &generator) ? 50 : 30_000
                return Int.random(in: 1...ceiling, using: &generator)
            }
            #expect(run.failure == nil, "seed \(seed)")
            let isSame = run.events == whole.events
            #expect(isSame, "seed \(seed), window \(windowBytes)")
            #expect(run.nextLSN == flow.offsetAtEnd, "seed \(seed)")
        }
    }

    /// Chunked entries were recorded, so the tests above have met chunks. (No recording interleaves
    /// them; a synthetic test does.)
    @Test func recordingsHaveChunks() throws {
        for flow in RecordedFlow.all where flow.folder == "types-chunked" {
            let run = try FlowRun(flow.bytes, keepsEvents: false, segment: { 100 })
            #expect(run.openChunksMaximum >= 1)
        }
    }

    /// The keys of the snapshot are those that the server held, each once, in its database, with
    /// its expiry. (Field expiries and values are checked where values are read.)
    @Test(arguments: [
        "types-lz4", "types-zstd", "types-lzf-untagged", "types-plain", "v1.30-types",
    ])
    func keysAreComplete(_ folder: String) throws {
        struct Key: Hashable {
            var database: Int
            var name: [UInt8]
        }
        var expected: [Key: Int64] = [:]
        let file = RecordedFlow.root.appending(path: "\(folder)/expected.ndjson.gz")
        for line in try RecordedFlow.gunzip(file).split(separator: 10) {
            let object = try #require(
                try JSONSerialization.jsonObject(with: Data(line)) as? [String: Any])
            let name: [UInt8]
            if let text = object["key"] as? String {
                name = Array(text.utf8)
            } else {
                let wrapped = try #require(object["key"] as? [String: String])
                name = [UInt8](try #require(Data(base64Encoded: wrapped["b64"] ?? "")))
            }
            let key = Key(database: try #require(object["db"] as? Int), name: name)
            expected[key] = try #require(object["ttl"] as? Int64)
        }
        var found: [Key: Int64] = [:]
        for flow in RecordedFlow.all where flow.folder == folder {
            for entry in try FlowRun(flow.bytes).entries {
                let key = Key(database: entry.database, name: entry.key)
                #expect(found[key] == nil)
                found[key] = entry.expiryMilliseconds
            }
        }
        #expect(found == expected)
        #expect(expected.values.filter { $0 > 0 }.count > 0)
    }

    /// The catalogue's records are those that an independent decoder wrote down: operation,
    /// database, transaction, shards, arguments, and where each one ends.
    @Test(arguments: RecordedFlow.all.filter { $0.journalText != nil })
    func recordsMatchTheirText(_ flow: RecordedFlow) throws {
        let text = try #require(flow.journalText)
        let lines = text.split(separator: "\n").map { JournalLine($0) }
        var database = 0
        var expected: [(line: JournalLine, database: Int, end: Int)] = []
        for (index, line) in lines.enumerated() {
            if line.name == "SELECT" {
                database = line.number
            } else if line.name != "LSN" {
                let end = index + 1 < lines.count ? lines[index + 1].offset : flow.bytes.count
                expected.append((line, database, end))
            }
        }
        let run = try FlowRun(flow.bytes)
        var records: [(StreamEvent.Record, Int)] = []
        for case .record(let record, let end) in run.events { records.append((record, end)) }
        #expect(records.count == expected.count)
        #expect(records.count > 50)
        for (actual, wanted) in zip(records, expected) {
            let (record, end) = actual
            #expect("\(record.operation)".uppercased() == wanted.line.name)
            #expect(record.database == wanted.database)
            #expect(record.transactionID == wanted.line.transactionID)
            #expect(record.shardCount == wanted.line.shardCount)
            #expect(record.arguments.count == wanted.line.arguments.count)
            for (argument, pattern) in zip(record.arguments, wanted.line.arguments) {
                #expect(pattern.matches(argument))
            }
            #expect(end == wanted.end)
        }
    }
}

/// A line of a journal.txt: `251 COMMAND tx=3 shards=1 'MSET' 'gone:1' '1'`, strings quoted as
/// Python prints bytes, long ones as `<100000 bytes>`.
private struct JournalLine {
    var offset = 0
    var name = ""
    /// Of SELECT and LSN.
    var number = 0
    var transactionID: UInt64 = 0
    var shardCount: UInt64 = 0
    var arguments: [Argument] = []

    enum Argument {
        case bytes([UInt8])
        case count(Int)

        func matches(_ bytes: [UInt8]) -> Bool {
            switch self {
            case .bytes(let expected): bytes == expected
            case .count(let count): bytes.count == count
            }
        }
    }

    init(_ line: Substring) {
        let words = line.split(separator: " ", maxSplits: 4, omittingEmptySubsequences: false)
        offset = Int(words[0]) ?? -1
        name = String(words[1])
        guard words.count > 3 else {
            number = Int(words[2]) ?? -1
            return
        }
        transactionID = UInt64(words[2].dropFirst("tx=".count)) ?? .max
        shardCount = UInt64(words[3].dropFirst("shards=".count)) ?? .max
        if words.count > 4 { arguments = JournalLine.strings(Array(words[4].utf8)) }
    }

    private static func strings(_ text: [UInt8]) -> [Argument] {
        var result: [Argument] = []
        var position = 0
        while position < text.count {
            let isCount = text[position] == UInt8(ascii: "<")
            let quote = isCount ? UInt8(ascii: ">") : text[position]
            position += 1
            var string: [UInt8] = []
            while text[position] != quote {
                if !isCount && text[position] == UInt8(ascii: "\\") {
                    string += unescape(text, &position)
                } else {
                    string.append(text[position])
                    position += 1
                }
            }
            position += 2
            if isCount {
                let digits = String(decoding: string.prefix { $0 != 32 }, as: UTF8.self)
                result.append(.count(Int(digits) ?? -1))
            } else {
                result.append(.bytes(string))
            }
        }
        return result
    }

    private static func unescape(_ text: [UInt8], _ position: inout Int) -> [UInt8] {
        let code = text[position + 1]
        position += 2
        switch code {
        case UInt8(ascii: "x"):
            let digits = String(decoding: text[position...position + 1], as: UTF8.self)
            position += 2
            return [UInt8(digits, radix: 16) ?? 0]
        case UInt8(ascii: "n"): return [10]
        case UInt8(ascii: "r"): return [13]
        case UInt8(ascii: "t"): return [9]
        default: return [code]
        }
    }
}

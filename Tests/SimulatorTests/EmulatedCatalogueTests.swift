import TestSupport
import Testing

@testable import DragonflySimulator

/// The emulated master's journal for the commands of the catalogue is what the real master's was,
/// entry by entry.
@Suite struct EmulatedCatalogueTests {
    /// Entries whose members are in another order than the recorded ones: results of set operations
    /// come in the order of Dragonfly's hash table there, in that of their bytes or scores here.
    static let otherOrder: [String: [String]] = [
        "catalogue": ["'SADD' 'su'", "'ZADD' 'zu'"],
        "v1.30-catalogue": ["'SADD' 'sd'", "'SADD' 'su'"],
    ]

    @Test(arguments: [("catalogue", EmulatedRelease.newest), ("v1.30-catalogue", .v1_30)])
    func journalIsTheRecordedOne(_ name: String, _ release: EmulatedRelease) throws {
        let recording = try TestSupport.Recording(name)
        let recorded = try (0..<2).map { try RecordedJournal(recording, flow: $0) }
        let start = try #require(recorded[1].startMilliseconds)
        let run = try CatalogueRun(
            CommandScript(recording, .asIssued), release: release, startMilliseconds: start)
        try run.run()

        var different: [String] = []
        var inOtherOrder: [String] = []
        for flow in 0..<2 {
            let actual = run.entries.filter { $0.flow == flow }.map(\.entry)
            #expect(actual.count == recorded[flow].entries.count)
            for (entry, expected) in zip(actual, recorded[flow].entries) {
                guard let difference = expected.difference(from: entry) else { continue }
                let listed = Self.otherOrder[name]?.first { expected.text.hasPrefix($0) }
                if let listed, expected.hasSameMembers(as: entry) {
                    inOtherOrder.append(listed)
                } else {
                    different.append("flow \(flow) \(expected.text): \(difference)")
                }
            }
        }
        #expect(different == [])
        #expect(inOtherOrder.sorted() == Self.otherOrder[name])
        #expect(run.complaints == [])
    }
}

/// Plays a command script on an emulated master.
private final class CatalogueRun {
    var entries: [(flow: Int, entry: JournalEntry)] = []
    /// Commands whose reply is not of the recorded kind.
    var complaints: [String] = []

    private let script: CommandScript
    private let keyspace: Keyspace
    private let executor: CommandExecutor
    private var milliseconds: Int64
    private var database = 0
    private var block: [[[UInt8]]]?

    init(
        _ script: CommandScript, release: EmulatedRelease, startMilliseconds: Int64
    ) throws {
        self.script = script
        keyspace = try Keyspace()
        executor = CommandExecutor(keyspace: keyspace, release: release, flowCount: 2)
        milliseconds = startMilliseconds
        keyspace.clock = { [unowned self] in milliseconds }
    }

    func run() throws {
        for command in script.commands {
            milliseconds += 1
            if command.line == "GET short" { milliseconds += 10 }
            try execute(command)
            // Here the background task came by, 30 ms after `SET e 1 PX 30`.
            if command.line == "RPUSHX nol y" {
                milliseconds += 60
                entries += try executor.expire(limit: 10).entries
            }
        }
        milliseconds += 5000
        entries += try executor.expire(limit: 10).entries
    }

    private func execute(_ command: CommandScript.Command) throws {
        let words = command.arguments
        switch String(decoding: words[0], as: UTF8.self) {
        case "SELECT":
            database = words[1].integer.map(Int.init) ?? 0
        case "MULTI": block = []
        case "EXEC":
            let execution = try executor.execute(transaction: block ?? [], database: database)
            block = nil
            entries += execution.entries
        default:
            if block != nil {
                block?.append(words)
                return
            }
            let chosen = PythonText.byteStrings(command.reply)
            executor.chooseMembers = { _, _ in chosen }
            let execution = try executor.execute(words, database: database)
            entries += execution.entries
            let isRefused = command.reply.hasPrefix("'ERR")
            if execution.reply.isError != isRefused {
                complaints.append("\(command.line): \(execution.reply)")
            }
        }
    }
}

extension RecordedJournal.Entry {
    /// What another entry has other than this; nil if they are equal but for the transaction's
    /// number and the moment.
    func difference(from other: JournalEntry) -> String? {
        if operation != other.operation { return "operation \(other.operation)" }
        if database != other.database { return "database \(other.database)" }
        if (transaction == 0) != (other.transaction == 0) {
            return "transaction \(other.transaction)"
        }
        if shardCount != other.shardCount { return "\(other.shardCount) shards" }
        let shown = other.words.map { quoted($0) }.joined(separator: " ")
        guard words.count == other.words.count else { return shown }
        for (word, otherWord) in zip(words, other.words) {
            switch word {
            case .size(let size): if size != otherWord.count { return shown }
            case .bytes(let bytes): if !Self.areEqual(bytes, otherWord) { return shown }
            }
        }
        return nil
    }

    /// Whether another entry has the same words in another order.
    func hasSameMembers(as other: JournalEntry) -> Bool {
        let own = words.map { if case .bytes(let bytes) = $0 { quoted(bytes) } else { "" } }
        return own.sorted() == other.words.map { quoted($0) }.sorted()
    }

    /// Times may be some seconds apart, alone or in a stream's id.
    private static func areEqual(_ one: [UInt8], _ other: [UInt8]) -> Bool {
        if one == other { return true }
        let dash = UInt8(ascii: "-")
        let ones = one.split(separator: dash)
        let others = other.split(separator: dash)
        guard ones.count == others.count, let first = ones.first, let otherFirst = others.first,
            let moment = Array(first).integer, let otherMoment = Array(otherFirst).integer,
            moment > 1_700_000_000_000, abs(moment - otherMoment) < 5000
        else { return false }
        return ones.dropFirst().elementsEqual(others.dropFirst())
    }
}

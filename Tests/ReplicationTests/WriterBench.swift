import Bytes
import CPlatform
import Reactor
import RedisTarget
import TestSupport
import Testing
import Wire

@testable import Replication

/// A journal writer whose commands are read back from the pipeline's send ring: nothing is sent.
final class WriterBench {
    /// The moment at which all records are written, Unix milliseconds.
    static let now: Int64 = 1_800_000_000_000

    private var writer = JournalWriter()
    private let rules: KeyRules
    private var entries: EntryWriter
    private(set) var held: HeldExpiries
    private let target: TargetConnection
    private let nodes: TargetNodes
    private let mailbox: Mailbox
    private let peer: Int32
    private var position = 0
    var placement = ShardPlacement(flowCount: 1)

    init(
        version: TargetVersion = TargetVersion(major: 7, minor: 0),
        method: EntryWriter.Method = .automatic, types: TypePolicy = TypePolicy(),
        ringBytes: Int = 1 << 20, commandsInFlight: Int = 1 << 10,
        rules: KeyRuleSettings = KeyRuleSettings()
    ) throws {
        self.rules = try KeyRules(rules)
        mailbox = try Mailbox()
        let reactor = try Reactor(mailbox: mailbox, capacity: 1, timers: 1)
        var first: Int32 = -1
        var second: Int32 = -1
        guard cp_socket_pair(&first, &second) == 0 else { throw TestSupportError("no sockets") }
        peer = second
        let socket = try Socket(
            adopting: first, role: 0, inputBytes: 1 << 12, outputBytes: ringBytes,
            keepsSentOutput: true)
        target = try TargetConnection(
            socket: socket, reactor: reactor, commandsInFlight: commandsInFlight)
        nodes = try TargetNodes(target, reactor: reactor)
        entries = try EntryWriter(version: version, method: method, policy: types)
        held = try HeldExpiries()
    }

    deinit { _ = cp_close(peer) }

    /// Settings of the source that the writer is told.
    func told(
        memcachedIncrements: Bool = false, renamesKeepExpiry: Bool = false,
        jsonSetEndsExpiry: Bool = true
    ) {
        writer.jsonSetEndsExpiry = jsonSetEndsExpiry
        writer.memcachedIncrements = memcachedIncrements
        writer.renamesKeepExpiry = renamesKeepExpiry
    }

    func noteElementExpiries(_ key: String, database: Int = 0) {
        Array(key.utf8).withByteView {
            writer.elementExpiries.insert(database: database, key: $0)
        }
    }

    /// Elements are removed by df2redis; the file lies in `directory`.
    func keepTimers(_ directory: String) throws {
        writer.elementExpiries.timers = try ElementTimers(directory: directory, resumes: false)
    }

    /// What is to be removed, as "database key element".
    func timed(until time: Int64) -> [String] {
        var all: [String] = []
        while let due = writer.elementExpiries.timers?.nextDue(now: time) {
            writer.elementExpiries.timers?.isSent()
            let names = [due.key, due.element].map { String(decoding: $0, as: UTF8.self) }
            all.append("\(due.database) \(names[0]) \(names[1])")
        }
        return all.sorted()
    }

    func addTimer(_ key: String, _ element: String, isSet: Bool = false, expiry: Int64) {
        Array(key.utf8).withByteView {
            writer.elementExpiries.insert(database: 0, key: $0)
            writer.elementExpiries.timers?.add(
                database: 0, key: $0, flow: 0, isSet: isSet, element: Array(element.utf8),
                expiry: expiry)
        }
    }

    func mayExpireUnseen(_ key: String, database: Int = 0) -> Bool {
        Array(key.utf8).withByteView {
            writer.elementExpiries.contains(database: database, key: $0)
        }
    }

    /// The keys that the last record asked to be read again, as "database key".
    private(set) var repairKeys: [String] = []

    var memberExpiriesDropped: Int { writer.memberExpiriesDropped }
    var stickyFlagsDropped: Int { writer.stickyFlagsDropped }
    var memcachedFlagsDropped: Int { writer.memcachedFlagsDropped }
    var heldCount: Int { held.count }
    var commandsInFlight: Int { target.commandsInFlight }

    /// Hands a record to the writer.
    func write(
        _ words: [[UInt8]], transaction: UInt64 = 0, flow: Int = 0, database: Int = 0,
        isInSnapshot: Bool = false
    ) throws -> RecordOutcome {
        let payload = try TestRecord(words)
        let record = payload.record(database: database, transaction: transaction)
        let context = RecordContext(
            flow: flow, nextLSN: isInSnapshot ? 0 : 8, isInSnapshot: isInSnapshot,
            unixMilliseconds: WriterBench.now)
        let outcome = try writer.write(
            record, writer.match(record), context, placement: placement, rules: rules,
            entries: &entries, held: &held, to: nodes)
        // Views of the record, which ends here.
        repairKeys = writer.repairKeys.map { "\($0.database) \($0.key.printable())" }
        return outcome
    }

    func write(
        _ words: String..., transaction: UInt64 = 0, flow: Int = 0, database: Int = 0,
        isInSnapshot: Bool = false
    ) throws -> RecordOutcome {
        try write(
            words.map { Array($0.utf8) }, transaction: transaction, flow: flow,
            database: database, isInSnapshot: isInSnapshot)
    }

    func writeFlush(_ words: String..., database: Int = 0) throws -> RecordOutcome {
        let payload = try TestRecord(words.map { Array($0.utf8) })
        let context = RecordContext(
            flow: 0, nextLSN: 8, isInSnapshot: false, unixMilliseconds: WriterBench.now)
        let record = payload.record(database: database, transaction: 1)
        let outcome = try writer.writeFlush(record, context, rules: rules, to: target)
        if outcome == .sent { writer.forgetElements(of: record, rules: rules) }
        return outcome
    }

    /// The key that messages name for a record.
    func key(_ words: String...) throws -> String? {
        let payload = try TestRecord(words.map { Array($0.utf8) })
        let record = payload.record(database: 0, transaction: 0)
        return writer.key(of: record, writer.match(record))?.printable()
    }

    /// All keys that a record names.
    func allKeys(_ words: String...) throws -> [String] {
        let payload = try TestRecord(words.map { Array($0.utf8) })
        let record = payload.record(database: 0, transaction: 0)
        var keys: [String] = []
        writer.forEachKey(of: record, writer.match(record)) { _, key, _ in
            keys.append(key.printable())
        }
        return keys
    }

    /// The commands written since the last call, as words.
    func commands() throws -> [[String]] {
        try rawCommands().map { $0.map { $0.withByteView { $0.printable(limit: 400) } } }
    }

    func rawCommands() throws -> [[[UInt8]]] {
        let output = target.socket.output.view(
            at: position, target.socket.output.tail - position)
        position = target.socket.output.tail
        var commands: [[[UInt8]]] = []
        var start = 0
        while start < output.count {
            let rest = output.dropFirst(start)
            var arguments = try #require(RESPArguments(rest))
            var words: [[UInt8]] = []
            while let word = arguments.next() { words.append(word.array()) }
            #expect(arguments.remaining == 0)
            commands.append(words)
            start += words.reduce("*\(words.count)\r\n".utf8.count) {
                $0 + "$\($1.count)\r\n\r\n".utf8.count + $1.count
            }
        }
        return commands
    }
}

/// A record, what becomes of it, and the commands that are sent for it. Words are separated by spaces.
struct RecordRow {
    var record: String
    var outcome: RecordOutcome
    var commands: [String]

    init(_ record: String, _ outcome: RecordOutcome, _ commands: String...) {
        self.record = record
        self.outcome = outcome
        self.commands = commands
    }

    /// Sent as it came.
    static func same(_ record: String) -> RecordRow { RecordRow(record, .sent, record) }

    /// Not sent; its key is read again.
    static func repaired(_ record: String) -> RecordRow { RecordRow(record, .repair("")) }

    /// Writes the rows one after another and compares.
    static func expect(
        _ rows: [RecordRow], on bench: WriterBench, isInSnapshot: Bool = false,
        transaction: UInt64 = 0
    ) throws {
        for row in rows {
            let words = row.record.split(separator: " ").map { Array($0.utf8) }
            let outcome = try bench.write(
                words, transaction: transaction, isInSnapshot: isInSnapshot)
            #expect(outcome == row.outcome, "\(row.record)")
            let commands = try bench.commands().map { $0.joined(separator: " ") }
            #expect(commands == row.commands, "\(row.record)")
        }
    }
}

/// A journal record that owns its bytes, encoded as on the wire (protocol.md 5.2).
final class TestRecord {
    private var payload: RegionBuffer
    private let count: Int

    init(_ words: [[UInt8]]) throws {
        payload = try RegionBuffer(capacity: 1)
        count = words.count
        for word in words {
            switch word.count {
            case 0..<64:
                try payload.append(byte: UInt8(word.count))
            case 64..<16384:
                try payload.append(byte: 0x40 | UInt8(word.count >> 8))
                try payload.append(byte: UInt8(word.count & 0xff))
            default:
                try payload.append(byte: 0x80)
                try payload.append(little: UInt32(word.count).byteSwapped)
            }
            try word.withByteView { bytes throws(SystemError) in try payload.append(bytes) }
        }
    }

    convenience init(_ words: String...) throws {
        try self.init(words.map { Array($0.utf8) })
    }

    func record(
        database: Int = 0, transaction: UInt64 = 0, lsn: UInt64 = 7
    ) -> JournalRecord {
        JournalRecord(
            operation: .command, database: database, transactionID: transaction, lsn: lsn,
            argumentCount: count, payload: payload.view)
    }
}

import CPlatform

/// The data of an emulated master: a redis-server of its own, started here, and what a Redis does
/// not know of a Dragonfly's keys.
///
/// All expiries lie `expiryShift` later on the server than they are, so that the server never
/// expires a key by itself: as in a Dragonfly, an expired key stays until somebody deletes it.
/// `settle` puts the true expiries in place; then the server is the expected end state.
///
/// Not thread-safe: its owner calls it under its lock.
final class Keyspace {
    /// In milliseconds: longer than any run, and far from what a Redis refuses.
    static let expiryShift: Int64 = 1000 * 86_400_000
    /// As many as a Dragonfly has by default.
    static let databaseCount = 16

    /// A key of a type that a Redis cannot hold. Of JSON the server has the text as a string; of the
    /// others only the key's name and the type's are known.
    enum ForeignType: String {
        case json = "ReJSON-RL"
        case bloom = "MBbloom--"
        case cuckoo = "MBbloomCF"
        case countMinSketch = "CMSk-TYPE"
        case topK = "TopK-TYPE"
    }

    /// The redis-server's port.
    var port: UInt16 { process.port }
    /// The time in Unix milliseconds; a test may set its own.
    var clock: () -> Int64 = { cp_unix_milliseconds() }
    /// What is known of keys beside their values; no key that has nothing of it.
    private(set) var details: [KeyName: KeyDetails] = [:]
    private(set) var expiryQueue = ExpiryQueue()
    /// Bodies of the scripts that were loaded, in order.
    private(set) var scripts: [[UInt8]] = []
    /// Merged HyperLogLogs on shards that do not own their keys (protocol.md 6.7), by flow.
    private(set) var ghosts: [Int: [KeyName: StoredKey]] = [:]
    /// Keys whose values a Redis cannot hold.
    private(set) var foreignKeys: [KeyName: ForeignType] = [:]

    private let process: RedisProcess
    private let client: TargetClient
    private var selectedDatabase = 0

    /// Starts `redis-server` (found in PATH) without persistence on a free loopback port.
    init() throws(EmulationError) {
        process = try RedisProcess()
        do {
            client = try TargetClient(host: "127.0.0.1", port: process.port)
        } catch {
            throw EmulationError(description: "the keyspace's redis-server: \(error)")
        }
    }

    /// Ends the redis-server.
    func stop() { process.stop() }

    // MARK: - Commands

    /// Runs commands one after another, sent together; a reply for each, errors too.
    func call(_ commands: [[[UInt8]]], database: Int) throws(EmulationError) -> [TargetReply] {
        do throws(VerificationError) {
            var hasSelected = false
            if database != selectedDatabase {
                try client.append("SELECT", decimal(Int64(database)))
                selectedDatabase = database
                hasSelected = true
            }
            for command in commands { try client.append(command) }
            try client.flush()
            if hasSelected { _ = try client.reply() }
            var replies: [TargetReply] = []
            replies.reserveCapacity(commands.count)
            for _ in commands { replies.append(try client.reply()) }
            return replies
        } catch {
            throw EmulationError(description: "the keyspace's redis-server: \(error)")
        }
    }

    /// Runs one command; its reply may be an error.
    func call(_ words: [[UInt8]], database: Int) throws(EmulationError) -> TargetReply {
        try call([words], database: database)[0]
    }

    /// Runs a command that cannot fail.
    func require(_ words: [[UInt8]], database: Int) throws(EmulationError) -> TargetReply {
        let reply = try call(words, database: database)
        if case .error = reply {
            let name = words.first.map { String(decoding: $0, as: UTF8.self) } ?? ""
            throw EmulationError(description: "the keyspace's \(name): \(reply.summary)")
        }
        return reply
    }

    // MARK: - Keys

    /// The key with everything that is known of it; nil if it does not exist.
    func stored(_ name: KeyName) throws(EmulationError) -> StoredKey? {
        try stored([name]).first
    }

    /// Those of the keys that exist, in their order, each with everything that is known of it.
    func stored(_ names: [KeyName]) throws(EmulationError) -> [StoredKey] {
        var keys: [StoredKey] = []
        var start = 0
        while start < names.count {
            var end = start + 1
            while end < names.count, names[end].database == names[start].database,
                end - start < 512
            { end += 1 }
            let batch = names[start..<end]
            let dumps = try call(
                batch.map { [text("DUMP"), $0.key] }, database: names[start].database)
            for (name, dump) in zip(batch, dumps) {
                if let bytes = dump.bytes { keys.append(storedKey(name, dump: bytes)) }
            }
            start = end
        }
        return keys
    }

    private func storedKey(_ name: KeyName, dump: [UInt8]) -> StoredKey {
        let details = details[name] ?? KeyDetails()
        return StoredKey(
            name: name, expiryMilliseconds: details.expiryMilliseconds,
            isSticky: details.isSticky, memcachedFlags: details.memcachedFlags,
            elementExpiries: details.elementExpiries, isJSON: foreignKeys[name] == .json, dump: dump
        )
    }

    /// All keys of all databases, but ghosts and those of which only the name is known.
    func allKeys() throws(EmulationError) -> [KeyName] {
        var names: Set<KeyName> = []
        for database in 0..<Self.databaseCount {
            var cursor = text("0")
            repeat {
                let reply = try require(
                    [text("SCAN"), cursor, text("COUNT"), text("1000")], database: database)
                guard case .array(let parts) = reply, parts.count == 2, let next = parts[0].bytes,
                    let keys = parts[1].texts
                else { throw EmulationError(description: "SCAN answered \(reply.summary)") }
                for key in keys { names.insert(KeyName(database: database, key: key)) }
                cursor = next
            } while cursor != text("0")
        }
        return names.sorted {
            $0.database != $1.database
                ? $0.database < $1.database : $0.key.lexicographicallyPrecedes($1.key)
        }
    }

    /// Runs a reading command; times in its reply are the server's. Clients' commands go to
    /// `CommandExecutor`, which answers the true ones.
    func read(_ words: [[UInt8]], database: Int) throws(EmulationError) -> TargetReply {
        try call(words, database: database)
    }

    // MARK: - What a Redis does not know

    /// Sets what is known of a key beside its value. On the server nothing changes.
    func setDetails(_ name: KeyName, _ new: KeyDetails) {
        if new.isEmpty {
            details[name] = nil
            return
        }
        if new.expiryMilliseconds != 0,
            details[name]?.expiryMilliseconds != new.expiryMilliseconds
        {
            expiryQueue.insert(name, new.expiryMilliseconds)
        }
        details[name] = new
        if expiryQueue.count > 2 * details.count + 1024 { dropOutdatedExpiries() }
    }

    private func dropOutdatedExpiries() {
        expiryQueue.removeAll()
        for (name, known) in details where known.expiryMilliseconds != 0 {
            expiryQueue.insert(name, known.expiryMilliseconds)
        }
    }

    /// Changes what is known of a key beside its value.
    func changeDetails(_ name: KeyName, _ change: (inout KeyDetails) -> Void) {
        var new = details[name] ?? KeyDetails()
        change(&new)
        setDetails(name, new)
    }

    /// The key is gone, or has nothing of it any more.
    func forgetDetails(_ name: KeyName) { details[name] = nil }

    /// Takes the earliest entry out of `expiryQueue`.
    func takeFirstExpiry() { expiryQueue.removeFirst() }

    /// Keeps the body of a script, once.
    func addScript(_ body: [UInt8]) {
        if !scripts.contains(body) { scripts.append(body) }
    }

    /// A flow got the copy of a key that it does not own.
    func setGhost(_ key: StoredKey, flow: Int) { ghosts[flow, default: [:]][key.name] = key }

    /// Whether the server has nothing of a key that exists.
    func isNameOnly(_ name: KeyName) -> Bool {
        foreignKeys[name].map { $0 != .json } ?? false
    }

    /// A key has got a value of a foreign type, or (nil) has it no more.
    func setForeign(_ name: KeyName, _ type: ForeignType?) { foreignKeys[name] = type }

    /// Forgets everything about the keys of a database, or of all (nil).
    func forgetAll(database: Int?) {
        guard let database else {
            details.removeAll()
            ghosts.removeAll()
            foreignKeys.removeAll()
            expiryQueue.removeAll()
            return
        }
        details = details.filter { $0.key.database != database }
        foreignKeys = foreignKeys.filter { $0.key.database != database }
        for flow in ghosts.keys {
            ghosts[flow] = ghosts[flow]?.filter { $0.key.database != database }
        }
    }
}

/// Why an emulated master cannot go on; a message for the operator.
public struct EmulationError: Error, Equatable, CustomStringConvertible {
    public let description: String

    /// Not a failure: a command came too late.
    static let shuttingDown = EmulationError(description: "the master is shutting down")
}

/// The bytes of a text.
func text(_ text: String) -> [UInt8] { Array(text.utf8) }

/// A number as decimal text.
func decimal(_ number: some BinaryInteger) -> [UInt8] { Array("\(number)".utf8) }

import Bytes
import TestSupport
import Testing
import Wire

@testable import RedisTarget

/// A snapshot entry that owns its bytes, as a flow's ring does while the entry is written.
final class StoredEntry {
    let database: Int
    let type: ValueType
    let expiryMilliseconds: Int64
    private var key: RegionBuffer
    private var value: RegionBuffer

    init(
        _ type: ValueType, key: [UInt8], value: [UInt8], database: Int = 0,
        expiryMilliseconds: Int64 = 0
    ) throws {
        self.type = type
        self.database = database
        self.expiryMilliseconds = expiryMilliseconds
        self.key = try RegionBuffer(capacity: 1)
        self.value = try RegionBuffer(capacity: 1)
        for byte in key { try self.key.append(byte: byte) }
        try value.withByteView { bytes throws(SystemError) in try self.value.append(bytes) }
    }

    convenience init(
        _ type: ValueType, _ key: String, _ value: [UInt8], database: Int = 0,
        expiryMilliseconds: Int64 = 0
    ) throws {
        try self.init(
            type, key: Array(key.utf8), value: value, database: database,
            expiryMilliseconds: expiryMilliseconds)
    }

    /// A key of a server, as DUMP gives it.
    init(_ name: StateKey, of client: RespClient, expiryMilliseconds: Int64) throws {
        guard let payload = try client.command([Array("DUMP".utf8), name.name]).bytes else {
            throw TestSupportError("\(name) is not there")
        }
        let (type, bytes) = try payload.withByteView { view throws(DecodeError) in
            let (type, value) = try DumpPayload.parse(view)
            return (type, value.array())
        }
        self.type = type
        database = name.database
        self.expiryMilliseconds = expiryMilliseconds
        key = try RegionBuffer(capacity: 1)
        value = try RegionBuffer(capacity: 1)
        try name.name.withByteView { bytes throws(SystemError) in try key.append(bytes) }
        try bytes.withByteView { bytes throws(SystemError) in try value.append(bytes) }
    }

    var view: SnapshotEntry {
        SnapshotEntry(
            database: database, type: type, key: key.view, expiryMilliseconds: expiryMilliseconds,
            value: value.view)
    }

    /// Everything a server holds.
    static func all(of server: RedisServer) throws -> [StoredEntry] {
        let client = try server.client()
        let state = try StateReader(client).read()
        return try state.sorted { $0.key < $1.key }.map { key, entry in
            try client.call("SELECT", "\(key.database)")
            return try StoredEntry(key, of: client, expiryMilliseconds: entry.expiryMilliseconds)
        }
    }
}

/// Writes entries through a pipeline of a given size, the flows in turn.
final class EntryRun {
    private var writer: EntryWriter
    let pipeline: Pipeline
    private(set) var outcomes: [EntryOutcome] = []
    private(set) var errors: [DecodeError] = []
    private(set) var refusals = 0
    private let unixMilliseconds: Int64

    init(
        _ server: RedisServer, _ method: EntryWriter.Method, ringBytes: Int = 1 << 14,
        version: TargetVersion = TargetVersion(major: 7, minor: 0), commandsInFlight: Int = 1 << 8,
        unixMilliseconds: Int64 = 1_700_000_000_000, types: TypePolicy = TypePolicy()
    ) throws {
        writer = try EntryWriter(version: version, method: method, policy: types)
        pipeline = try Pipeline(
            port: server.port, outputBytes: ringBytes, commandsInFlight: commandsInFlight)
        self.unixMilliseconds = unixMilliseconds
    }

    var memberExpiriesDropped: Int { writer.memberExpiriesDropped }
    var pendingEntriesDropped: Int { writer.pendingEntriesDropped }
    var jsonTextsWritten: Int { writer.jsonTextsWritten }

    /// Writes all entries; each of `flows` flows writes its share in order, and all are asked in every
    /// turn.
    func write(
        _ entries: [StoredEntry], flows: Int = 1, as kind: CommandKind = .entry
    ) throws {
        var shares = [[StoredEntry]](repeating: [], count: flows)
        for (index, entry) in entries.enumerated() { shares[index % flows].append(entry) }
        for flow in 0..<flows { shares[flow].reverse() }
        try pipeline.run({ target in
            for flow in 0..<flows {
                while let entry = shares[flow].last {
                    guard try self.write(entry, flow, kind, target) else { break }
                    shares[flow].removeLast()
                }
            }
            return shares.allSatisfy(\.isEmpty)
        })
    }

    private func write(
        _ entry: StoredEntry, _ flow: Int, _ kind: CommandKind, _ target: TargetConnection
    ) throws -> Bool {
        do {
            let outcome = try writer.write(
                entry.view, flow: flow, as: kind, nextLSN: 0,
                unixMilliseconds: unixMilliseconds, to: target)
            guard outcome != .blocked else {
                refusals += 1
                return false
            }
            outcomes.append(outcome)
        } catch {
            errors.append(error)
        }
        return true
    }
}

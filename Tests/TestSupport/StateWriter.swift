/// Writes a state into an empty redis-server by plain commands, so that it can be had without
/// df2redis.
public struct StateWriter {
    private let client: RespClient

    public init(client: RespClient) {
        self.client = client
    }

    /// Leaves out what Redis cannot hold.
    public func write(_ state: ServerState) throws {
        var database = -1
        for (key, entry) in state.sorted(by: { $0.key < $1.key }) {
            if key.database != database {
                try client.call("SELECT", "\(key.database)")
                database = key.database
            }
            var commands = Self.commands(key.name, entry.value)
            if commands.isEmpty { continue }
            if entry.expiryMilliseconds != 0 {
                commands.append(words("PEXPIREAT", key.name, "\(entry.expiryMilliseconds)"))
            }
            for (command, reply) in zip(commands, try client.pipeline(commands)) {
                if case .error(let message) = reply {
                    throw TestSupportError("\(key): \(printable(command[0])): \(message)")
                }
            }
        }
        try client.call("SELECT", "0")
    }

    private static func commands(_ key: [UInt8], _ value: StateValue) -> [[[UInt8]]] {
        switch value {
        case .string(let bytes), .json(let bytes): [words("SET", key) + [bytes]]
        case .list(let elements): chunks(elements).map { words("RPUSH", key) + $0 }
        case .set(let members): chunks(members).map { words("SADD", key) + $0 }
        case .hash(let fields):
            chunks(fields.flatMap { [$0.field, $0.value] }).map { words("HSET", key) + $0 }
        case .zset(let members):
            chunks(members.flatMap { [Array("\($0.score)".utf8), $0.member] })
                .map { words("ZADD", key) + $0 }
        case .stream(let stream): self.stream(key, stream)
        case .foreign: []
        }
    }

    private static func stream(_ key: [UInt8], _ stream: StreamState) -> [[[UInt8]]] {
        var commands = stream.entries.map { words("XADD", key, $0.id) + $0.fields }
        if stream.entries.isEmpty {
            commands.append(words("XGROUP", "CREATE", key, "-", "0", "MKSTREAM"))
            commands.append(words("XGROUP", "DESTROY", key, "-"))
        }
        commands.append(
            words(
                "XSETID", key, stream.lastID, "ENTRIESADDED", "\(stream.entriesAdded)",
                "MAXDELETEDID", stream.maxDeletedID))
        for group in stream.groups {
            var create = words("XGROUP", "CREATE", key, group.name, group.lastID)
            if let read = group.entriesRead { create += words("ENTRIESREAD", "\(read)") }
            commands.append(create)
            commands += group.consumers.map {
                words("XGROUP", "CREATECONSUMER", key, group.name, $0)
            }
            commands += group.pending.map {
                words(
                    "XCLAIM", key, group.name, $0.consumer, "0", $0.id, "RETRYCOUNT",
                    "\($0.deliveryCount)", "FORCE", "JUSTID")
            }
        }
        return commands
    }

    private static func chunks(_ elements: [[UInt8]]) -> [[[UInt8]]] {
        stride(from: 0, to: elements.count, by: 1000)
            .map { Array(elements[$0..<min($0 + 1000, elements.count)]) }
    }
}

/// An argument of a command: text or bytes.
public protocol CommandWord {
    var wordBytes: [UInt8] { get }
}

extension String: CommandWord {
    public var wordBytes: [UInt8] { Array(utf8) }
}

extension [UInt8]: CommandWord {
    public var wordBytes: [UInt8] { self }
}

/// A command from texts and bytes.
public func words(_ arguments: any CommandWord...) -> [[UInt8]] {
    arguments.map(\.wordBytes)
}

/// Reads everything a redis-server holds, while nobody writes.
public struct StateReader {
    private let client: RespClient

    public init(_ client: RespClient) {
        self.client = client
    }

    /// All keys of all databases. A key that expires while it is read is left out.
    public func read() throws -> ServerState {
        let databases = Int(try client.call("CONFIG", "GET", "databases")["databases"]?.text ?? "")
        return try read(databases: 0..<(databases ?? 16))
    }

    /// All keys of some databases.
    public func read(databases: Range<Int>) throws -> ServerState {
        var state: ServerState = [:]
        for database in databases {
            try client.call("SELECT", "\(database)")
            var cursor = "0"
            repeat {
                let reply = try client.call("SCAN", cursor, "COUNT", "2000")
                guard let parts = reply.elements, let next = parts[0].text,
                    let names = parts[1].elements?.compactMap(\.bytes)
                else { throw TestSupportError("unknown reply to SCAN") }
                try read(names, database: database, into: &state)
                cursor = next
            } while cursor != "0"
        }
        try client.call("SELECT", "0")
        return state
    }

    private func read(
        _ names: [[UInt8]], database: Int, into state: inout ServerState
    ) throws {
        let types = try client.pipeline(names.map { [Array("TYPE".utf8), $0] }).map(\.text)
        let expiries = try self.expiries(names)
        let values = try client.pipeline(
            zip(names, types).map { Self.command(type: $1 ?? "", name: $0) })
        for (index, name) in names.enumerated() {
            guard let type = types[index] else { throw TestSupportError("unknown reply to TYPE") }
            let expiry = expiries[index]
            if type == "none" || expiry == -2 { continue }
            let key = StateKey(database: database, name: name)
            guard let value = Self.value(type: type, reply: values[index]) else {
                throw TestSupportError("\(key): unknown reply for \(type)")
            }
            state[key] = StateEntry(
                type: type, expiryMilliseconds: max(expiry, 0), value: value)
        }
    }

    /// Absolute expiries, -1 for none, -2 for no key.
    private func expiries(_ names: [[UInt8]]) throws -> [Int64] {
        let replies = try client.pipeline(names.map { words("PEXPIRETIME", $0) })
        let known = replies.compactMap(\.integer)
        return known.count == names.count ? known : try names.map(expiry)
    }

    /// For a Redis before 7.0, which tells only the time that is left: between two looks at its
    /// clock that show the same millisecond.
    private func expiry(_ name: [UInt8]) throws -> Int64 {
        while true {
            let replies = try client.pipeline([words("TIME"), words("PTTL", name), words("TIME")])
            let times = replies.compactMap { reply -> Int64? in
                guard let parts = reply.elements?.compactMap(\.text).compactMap({ Int64($0) }),
                    parts.count == 2
                else { return nil }
                return parts[0] * 1000 + parts[1] / 1000
            }
            guard times.count == 2, let left = replies[1].integer else {
                throw TestSupportError("unknown reply to TIME or PTTL")
            }
            if left < 0 { return left }
            if times[0] == times[1] { return times[0] + left }
        }
    }

    private static func command(type: String, name: [UInt8]) -> [[UInt8]] {
        func words(_ before: String..., after: String...) -> [[UInt8]] {
            before.map { Array($0.utf8) } + [name] + after.map { Array($0.utf8) }
        }
        return switch type {
        case "string": words("GET")
        case "list": words("LRANGE", after: "0", "-1")
        case "set": words("SMEMBERS")
        case "hash": words("HGETALL")
        case "zset": words("ZRANGE", after: "0", "-1", "WITHSCORES")
        case "stream": words("XINFO", "STREAM", after: "FULL", "COUNT", "0")
        default: words("TYPE")
        }
    }

    private static func value(type: String, reply: RespValue) -> StateValue? {
        if type == "string" { return reply.bytes.map(StateValue.string) }
        if type == "stream" { return stream(reply).map(StateValue.stream) }
        guard let parts = reply.elements?.compactMap(\.bytes) else {
            return reply.text == nil ? nil : .foreign
        }
        switch type {
        case "list": return .list(parts)
        case "set": return .set(parts.sorted { $0.lexicographicallyPrecedes($1) })
        case "hash":
            return .hash(
                stride(from: 0, to: parts.count - 1, by: 2)
                    .map { FieldValue(field: parts[$0], value: parts[$0 + 1]) }
                    .sorted { $0.field.lexicographicallyPrecedes($1.field) })
        case "zset":
            var members: [ScoredMember] = []
            for index in stride(from: 0, to: parts.count - 1, by: 2) {
                let text = String(decoding: parts[index + 1], as: UTF8.self)
                guard let score = Double(text) else { return nil }
                members.append(ScoredMember(member: parts[index], score: score))
            }
            return .zset(members)
        default: return nil
        }
    }

    private static func stream(_ reply: RespValue) -> StreamState? {
        // A Redis before 7.0 has no such counters.
        let isOld = reply["entries-added"] == nil
        guard let lastID = reply["last-generated-id"]?.text,
            let maxDeletedID = isOld ? "0-0" : reply["max-deleted-entry-id"]?.text,
            let added = isOld ? 0 : reply["entries-added"]?.integer,
            let entries = all(reply["entries"], entry), let groups = all(reply["groups"], group)
        else { return nil }
        return StreamState(
            entries: entries, lastID: lastID, maxDeletedID: maxDeletedID, entriesAdded: added,
            groups: groups.sorted { $0.name.lexicographicallyPrecedes($1.name) })
    }

    private static func entry(_ reply: RespValue) -> StreamState.Entry? {
        guard let parts = reply.elements, parts.count == 2, let id = parts[0].text,
            let fields = all(parts[1], \.bytes)
        else { return nil }
        return StreamState.Entry(id: id, fields: fields)
    }

    private static func group(_ reply: RespValue) -> StreamState.Group? {
        guard let name = reply["name"]?.bytes, let lastID = reply["last-delivered-id"]?.text,
            let pending = all(reply["pending"], pending),
            let consumers = all(reply["consumers"], { $0["name"]?.bytes })
        else { return nil }
        return StreamState.Group(
            name: name, lastID: lastID, entriesRead: reply["entries-read"]?.integer,
            pending: pending,
            consumers: consumers.sorted { $0.lexicographicallyPrecedes($1) })
    }

    private static func pending(_ reply: RespValue) -> StreamState.Pending? {
        guard let parts = reply.elements, parts.count == 4, let id = parts[0].text,
            let consumer = parts[1].bytes, let count = parts[3].integer
        else { return nil }
        return StreamState.Pending(id: id, consumer: consumer, deliveryCount: count)
    }

    /// Every element read; nil if one of them has an unknown form.
    private static func all<Element>(
        _ reply: RespValue?, _ read: (RespValue) -> Element?
    ) -> [Element]? {
        guard let elements = reply?.elements else { return nil }
        let known = elements.compactMap(read)
        return known.count == elements.count ? known : nil
    }
}

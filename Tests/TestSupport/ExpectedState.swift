import Foundation

/// Reads a server's content as the recordings store it: gzip, one JSON object a line
/// (Tests/Recordings/README.md).
enum ExpectedState {
    static func read(_ path: String) throws -> ServerState {
        var state: ServerState = [:]
        let text = try decompress(path)
        for line in text.split(separator: UInt8(ascii: "\n")) {
            guard let object = try JSONSerialization.jsonObject(with: Data(line)) as? [String: Any],
                let database = object["db"] as? Int, let type = object["type"] as? String,
                let expiry = object["ttl"] as? NSNumber, let value = object["value"]
            else { throw TestSupportError("\(path): unknown line") }
            let key = StateKey(database: database, name: try bytes(object["key"]))
            state[key] = StateEntry(
                type: type, expiryMilliseconds: expiry.int64Value,
                value: try parse(value, type: type))
        }
        return state
    }

    /// The content of a gzip file.
    static func decompress(_ path: String) throws -> [UInt8] {
        let gzip = try ChildProcess(systemProgram("gzip", package: "gzip"), ["-dc", path])
        let outcome = try gzip.waitForEnd(timeoutSeconds: 60)
        guard outcome.exitCode == 0 else {
            throw TestSupportError("gzip -dc \(path): \(outcome.standardError)")
        }
        return gzip.standardOutputBytes
    }

    private static func parse(_ value: Any, type: String) throws -> StateValue {
        switch type {
        case "string": .string(try bytes(value))
        case "list": .list(try array(value).map(bytes))
        case "set":
            .set(try array(value).map(bytes).sorted { $0.lexicographicallyPrecedes($1) })
        case "hash":
            .hash(
                try array(value).map(array)
                    .map { FieldValue(field: try bytes($0[0]), value: try bytes($0[1])) }
                    .sorted { $0.field.lexicographicallyPrecedes($1.field) })
        case "zset":
            .zset(
                try array(value).map(array)
                    .map { ScoredMember(member: try bytes($0[0]), score: try score($0[1])) })
        case "stream": .stream(try stream(value))
        case "json": .json(try jsonText(value))
        default: .foreign
        }
    }

    /// A JSON value as text with sorted members and without spaces.
    static func jsonText(_ value: Any) throws -> [UInt8] {
        Array(
            try JSONSerialization.data(
                withJSONObject: value, options: [.sortedKeys, .fragmentsAllowed]))
    }

    /// The same of a text, nil if it is no JSON.
    static func jsonText(of text: [UInt8]) -> [UInt8]? {
        let value = try? JSONSerialization.jsonObject(
            with: Data(text), options: [.fragmentsAllowed])
        return value.flatMap { try? jsonText($0) }
    }

    private static func stream(_ value: Any) throws -> StreamState {
        guard let object = value as? [String: Any], let lastID = object["last-id"] as? String,
            let maxDeletedID = object["max-deleted"] as? String,
            let added = object["entries-added"] as? NSNumber,
            let groups = object["groups"] as? [[String: Any]]
        else { throw TestSupportError("unknown form of a stream") }
        let entries = try array(object["entries"]).map(array).map {
            StreamState.Entry(
                id: String(decoding: try bytes($0[0]), as: UTF8.self),
                fields: try array($0[1]).map(bytes))
        }
        return StreamState(
            entries: entries, lastID: lastID, maxDeletedID: maxDeletedID,
            entriesAdded: added.int64Value,
            groups: try groups.map(group)
                .sorted { $0.name.lexicographicallyPrecedes($1.name) })
    }

    private static func group(_ object: [String: Any]) throws -> StreamState.Group {
        guard let lastID = object["last"] as? String else {
            throw TestSupportError("unknown form of a group")
        }
        let pending = try array(object["pending"]).map(array).map {
            StreamState.Pending(
                id: String(decoding: try bytes($0[0]), as: UTF8.self), consumer: try bytes($0[1]),
                deliveryCount: ($0[2] as? NSNumber)?.int64Value ?? -1)
        }
        return StreamState.Group(
            name: try bytes(object["name"]), lastID: lastID,
            entriesRead: (object["entries-read"] as? NSNumber)?.int64Value, pending: pending,
            consumers: try array(object["consumers"]).map(bytes)
                .sorted { $0.lexicographicallyPrecedes($1) })
    }

    private static func array(_ value: Any?) throws -> [Any] {
        guard let array = value as? [Any] else { throw TestSupportError("not an array") }
        return array
    }

    private static func bytes(_ value: Any?) throws -> [UInt8] {
        if let text = value as? String { return Array(text.utf8) }
        if let object = value as? [String: Any], let text = object["b64"] as? String,
            let data = Data(base64Encoded: text)
        {
            return Array(data)
        }
        throw TestSupportError("neither a string nor {\"b64\": …}")
    }

    private static func score(_ value: Any) throws -> Double {
        guard let text = value as? String, let score = Double(text) else {
            throw TestSupportError("not a score")
        }
        return score
    }
}

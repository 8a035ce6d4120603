import Bytes

// What a Redis server says about a key, held against what the key must be.
extension SyntheticValue {
    /// What `TYPE` answers.
    var typeName: String {
        switch self {
        case .string: "string"
        case .hash: "hash"
        case .list: "list"
        case .set: "set"
        case .sortedSet: "zset"
        case .stream: "stream"
        }
    }

    /// The command whose reply holds the whole value.
    func readingCommand(_ key: [UInt8]) -> [[UInt8]] {
        func words(_ name: String, _ rest: String = "") -> [[UInt8]] {
            name.split(separator: " ").map { Array($0.utf8) } + [key]
                + rest.split(separator: " ").map { Array($0.utf8) }
        }
        return switch self {
        case .string: words("GET")
        case .hash: words("HGETALL")
        case .list: words("LRANGE", "0 -1")
        case .set: words("SMEMBERS")
        case .sortedSet: words("ZRANGE", "0 -1 WITHSCORES")
        case .stream: words("XINFO STREAM", "FULL COUNT 0")
        }
    }

    /// The first difference between this value and the reply to `readingCommand`; nil if there is
    /// none.
    func difference(from reply: TargetReply) -> String? {
        if case .stream(let stream) = self { return stream.difference(from: reply) }
        if case .string(let value) = self {
            return reply == .bulk(value) ? nil : "is \(reply.summary), expected \(quoted(value))"
        }
        guard let texts = reply.texts else { return "reading it gave \(reply.summary)" }
        return switch self {
        case .hash(let fields): Self.difference(fields, texts)
        case .list(let elements): Self.difference(elements, texts)
        case .set(let members): Self.difference(Set(members), Set(texts))
        case .sortedSet(let members): Self.difference(members, texts)
        case .string, .stream: nil
        }
    }

    private static func difference(_ fields: [SyntheticField], _ texts: [[UInt8]]) -> String? {
        guard texts.count == 2 * fields.count else {
            return "has \(texts.count / 2) fields, expected \(fields.count)"
        }
        // Fields are unique on both sides, so equal numbers and no difference here mean equality.
        var values: [[UInt8]: [UInt8]] = [:]
        for index in stride(from: 0, to: texts.count, by: 2) {
            values[texts[index]] = texts[index + 1]
        }
        for field in fields where values[field.field] != field.value {
            let value = values[field.field].map(quoted) ?? "missing"
            return "field \(quoted(field.field)) is \(value), expected \(quoted(field.value))"
        }
        return nil
    }

    private static func difference(_ elements: [[UInt8]], _ texts: [[UInt8]]) -> String? {
        guard texts.count == elements.count else {
            return "has \(texts.count) elements, expected \(elements.count)"
        }
        for (index, (element, text)) in zip(elements, texts).enumerated() where element != text {
            return "element \(index) is \(quoted(text)), expected \(quoted(element))"
        }
        return nil
    }

    private static func difference(_ members: Set<[UInt8]>, _ texts: Set<[UInt8]>) -> String? {
        if let missing = members.subtracting(texts).first {
            return "member \(quoted(missing)) is missing"
        }
        return texts.subtracting(members).first.map { "member \(quoted($0)) is too many" }
    }

    private static func difference(_ members: [SyntheticMember], _ texts: [[UInt8]]) -> String? {
        guard texts.count == 2 * members.count else {
            return "has \(texts.count / 2) members, expected \(members.count)"
        }
        for (index, expected) in members.enumerated() {
            let member = texts[2 * index]
            let text = texts[2 * index + 1]
            guard member == expected.member else {
                return "member \(index) is \(quoted(member)), expected \(quoted(expected.member))"
            }
            let score = text.withByteView { $0.parseDouble() }
            guard score?.bitPattern == expected.score.bitPattern else {
                return "score of \(quoted(member)) is \(quoted(text)), expected \(expected.score)"
            }
        }
        return nil
    }
}

extension SyntheticStream {
    fileprivate func difference(from reply: TargetReply) -> String? {
        let ids = entries.map { TargetReply.bulk($0.id.text) }
        let contents = zip(ids, entries).map { id, entry in
            let fields = entry.fields.flatMap { [TargetReply.bulk($0.field), .bulk($0.value)] }
            return TargetReply.array([id, .array(fields)])
        }
        let count = TargetReply.integer(Int64(entries.count))
        let nowhere = TargetReply.bulk(Array("0-0".utf8))
        let difference = firstDifference(
            in: reply,
            [
                ("length", count), ("last-generated-id", ids.last ?? nowhere),
                ("entries", .array(contents)), ("entries-added", count),
                ("max-deleted-entry-id", nowhere),
                ("recorded-first-entry-id", ids.first ?? nowhere),
            ])
        if let difference { return difference }
        guard case .array(let groups) = reply["groups"], groups.count == (group == nil ? 0 : 1)
        else { return "has \(reply["groups"]?.summary ?? "no list") of groups" }
        return group?.difference(from: groups[0], ids: ids)
    }
}

extension SyntheticStream.Group {
    fileprivate func difference(from reply: TargetReply, ids: [TargetReply]) -> String? {
        let pending = ids.prefix(delivered)
        let count = TargetReply.integer(Int64(pending.count))
        let time = TargetReply.integer(deliveryMilliseconds)
        let once = TargetReply.integer(1)
        let difference = firstDifference(
            in: reply,
            [
                ("name", .bulk(name)),
                ("last-delivered-id", pending.last ?? .bulk(Array("0-0".utf8))),
                ("entries-read", count), ("pel-count", count),
                ("pending", .array(pending.map { .array([$0, .bulk(consumer), time, once]) })),
            ])
        if let difference { return "group \(quoted(name)): \(difference)" }
        guard case .array(let consumers) = reply["consumers"], consumers.count == 1 else {
            return "has \(reply["consumers"]?.summary ?? "no list") of consumers, expected one"
        }
        return firstDifference(
            in: consumers[0],
            [
                ("name", .bulk(consumer)), ("pel-count", count),
                ("pending", .array(pending.map { .array([$0, time, once]) })),
            ]
        ).map { "consumer \(quoted(consumer)): \($0)" }
    }
}

extension StreamID {
    fileprivate var text: [UInt8] { Array("\(milliseconds)-\(sequence)".utf8) }
}

/// Compares named parts of a reply.
private func firstDifference(
    in reply: TargetReply, _ expected: [(name: String, value: TargetReply)]
) -> String? {
    for (name, value) in expected where reply[name] != value {
        let actual = reply[name]
        if case .array(let wanted) = value, case .array(let found) = actual,
            wanted.count == found.count
        {
            let index = zip(wanted, found).prefix { $0 == $1 }.count
            return "number \(index) of its \(name) differs"
        }
        return "\(name) is \(actual?.summary ?? "missing"), expected \(value.summary)"
    }
    return nil
}

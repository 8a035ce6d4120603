@testable import DragonflySimulator

// What is said by two encodings of one value, whatever their form.
extension StoredValue {
    /// The value as far as `release` writes it.
    func plain(_ release: EmulatedRelease) -> PlainValue {
        switch self {
        case .string(let bytes): .string(bytes)
        case .list(let nodes): .list([.init(elements: nodes.flatMap { $0 }, isPlain: false)])
        case .set(let members, _): .set(sorted(members))
        case .hash(let fields, _):
            .hash(sorted(fields.map { .init(field: $0.field, value: $0.value) }))
        case .sortedSet(let members, _):
            .sortedSet(
                members.map { .init(member: $0.member, score: $0.score) })
        case .stream(let stream): stream.plain.map { .stream($0.known(to: release)) } ?? .foreign
        }
    }
}

extension PlainValue {
    /// The same without order where there is none, and without nodes.
    func plain(_ release: EmulatedRelease) -> PlainValue {
        switch self {
        case .list(let nodes): .list([.init(elements: nodes.flatMap(\.elements), isPlain: false)])
        case .set(let members): .set(sorted(members))
        case .hash(let fields): .hash(sorted(fields))
        case .sortedSet(let members):
            .sortedSet(
                members.sorted {
                    $0.score != $1.score
                        ? $0.score < $1.score : $0.member.lexicographicallyPrecedes($1.member)
                })
        case .stream(let stream): .stream(stream.known(to: release))
        default: self
        }
    }
}

private func sorted(_ items: [[UInt8]]) -> [[UInt8]] {
    items.sorted { $0.lexicographicallyPrecedes($1) }
}

private func sorted(_ fields: [SyntheticField]) -> [SyntheticField] {
    fields.sorted { $0.field.lexicographicallyPrecedes($1.field) }
}

extension StoredStream {
    /// Nil if a node cannot be read.
    fileprivate var plain: PlainStream? {
        var plain = PlainStream()
        for node in nodes {
            let ids = [node.id.milliseconds, node.id.sequence]
            let raw = ids.flatMap { id in
                (0..<8).map { UInt8(truncatingIfNeeded: id >> (56 - 8 * $0)) }
            }
            guard let entries = try? PlainStream.node(raw, node.listpack) else { return nil }
            plain.nodes.append(entries)
        }
        plain.length = Int(length)
        plain.last = last
        plain.first = first
        plain.maxDeleted = maxDeleted
        plain.added = Int(entriesAdded)
        plain.groups = groups.map { group in
            PlainStream.Group(
                name: group.name, last: group.last, entriesRead: group.entriesRead,
                pending: group.pending.map {
                    .init(id: $0.id, time: $0.deliveryTime, count: Int($0.deliveryCount))
                },
                consumers: group.consumers.map {
                    .init(
                        name: $0.name, seen: $0.seenTime,
                        active: $0.pending.isEmpty ? -1 : $0.seenTime, pending: $0.pending)
                })
        }
        return plain
    }
}

extension PlainStream {
    /// Without what the old layout lacks: it has the stream's last id for each group, and no
    /// counters (protocol.md 3.9.7).
    fileprivate func known(to release: EmulatedRelease) -> PlainStream {
        guard release.writesOldStreams else { return self }
        var known = self
        known.first = nil
        known.maxDeleted = nil
        known.added = nil
        for group in groups.indices {
            known.groups[group].last = last
            known.groups[group].entriesRead = nil
            for consumer in groups[group].consumers.indices {
                known.groups[group].consumers[consumer].active = nil
            }
        }
        return known
    }
}

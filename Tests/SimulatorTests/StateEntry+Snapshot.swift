import TestSupport

@testable import DragonflySimulator

extension StateEntry {
    /// Whether a snapshot's entry says the same as this state of a server; the old layout of streams
    /// lacks some of it.
    func agrees(with entry: SnapshotDecoder.Entry) -> Bool {
        guard (entry.expiry ?? 0) == expiryMilliseconds else { return false }
        switch (value, entry.value) {
        case (.string(let left), .string(let right)): return left == right
        case (.list(let left), .list(let nodes)): return left == nodes.flatMap(\.elements)
        case (.set(let left), .set(let right)): return left == Self.sorted(right)
        case (.set(let left), .expiringSet(let right)):
            return left == Self.sorted(right.map { $0[0] })
        case (.hash(let left), .hash(let right)):
            return left == Self.sorted(right.map { .init(field: $0.field, value: $0.value) })
        case (.hash(let left), .expiringHash(let right)):
            return left == Self.sorted(right.map { .init(field: $0[0], value: $0[1]) })
        case (.zset(let left), .sortedSet(let right)):
            let members = right.map { ScoredMember(member: $0.member, score: $0.score) }
            return left == members || entry.type == 5 && left == members.reversed()
        case (.stream(let left), .stream(let right)):
            return Self.agree(left, right, isOld: entry.type == 15)
        default: return false
        }
    }

    private static func sorted(_ items: [[UInt8]]) -> [[UInt8]] {
        items.sorted { $0.lexicographicallyPrecedes($1) }
    }

    private static func sorted(_ items: [FieldValue]) -> [FieldValue] {
        items.sorted { $0.field.lexicographicallyPrecedes($1.field) }
    }

    private static func text(_ id: StreamID?) -> String? {
        id.map { "\($0.milliseconds)-\($0.sequence)" }
    }

    private static func agree(_ left: StreamState, _ right: PlainStream, isOld: Bool) -> Bool {
        let entries = right.entries.map {
            StreamState.Entry(id: text($0.id) ?? "", fields: $0.fields)
        }
        guard left.entries == entries, right.length == entries.count,
            left.lastID == text(right.last),
            left.groups.count == right.groups.count
        else { return false }
        if !isOld {
            guard left.maxDeletedID == text(right.maxDeleted),
                right.added == Int(left.entriesAdded),
                text(right.first) == left.entries.first?.id ?? "0-0"
            else { return false }
        }
        return zip(left.groups, right.groups).allSatisfy {
            agree($0, $1, left.lastID, isOld: isOld)
        }
    }

    private static func agree(
        _ left: StreamState.Group, _ right: PlainStream.Group, _ streamLast: String, isOld: Bool
    ) -> Bool {
        let pending = left.pending.map { "\($0.id) \($0.deliveryCount)" }
        guard left.name == right.name, text(right.last) == (isOld ? streamLast : left.lastID),
            isOld || right.entriesRead == left.entriesRead.map({ UInt64($0) }) ?? .max,
            pending == right.pending.map({ "\(text($0.id) ?? "") \($0.count)" }),
            left.consumers == right.consumers.map(\.name)
        else { return false }
        return right.consumers.allSatisfy { consumer in
            let owned = left.pending.filter { $0.consumer == consumer.name }.map(\.id)
            return consumer.pending.map { text($0) ?? "" } == owned
        }
    }
}

@testable import DragonflySimulator

extension PlainValue {
    /// The value as one that the generator makes; nil if it makes none like it.
    var synthetic: SyntheticValue? {
        switch self {
        case .string(let bytes): .string(bytes)
        case .list(let nodes): .list(nodes.flatMap(\.elements))
        case .set(let members): .set(members)
        case .hash(let fields): .hash(fields)
        case .sortedSet(let members): .sortedSet(members)
        case .stream(let stream): stream.synthetic.map { .stream($0) }
        case .expiringSet, .expiringHash, .foreign: nil
        }
    }
}

extension PlainStream {
    /// Nothing deleted, and at most one group, whose only consumer has everything delivered pending.
    fileprivate var synthetic: SyntheticStream? {
        let plain = entries
        let none = StreamID(milliseconds: 0, sequence: 0)
        guard nodes.joined().allSatisfy({ !$0.isDeleted }), length == plain.count, added == length,
            last == plain.last?.id, first == plain.first?.id, maxDeleted == none,
            plain.allSatisfy({ $0.fields.count == 2 })
        else { return nil }
        let entries = plain.map {
            SyntheticStream.Entry(
                id: $0.id, fields: [.init(field: $0.fields[0], value: $0.fields[1])])
        }
        guard let group = groups.first else { return .init(entries: entries, group: nil) }
        guard groups.count == 1, group.consumers.count == 1 else { return nil }
        let consumer = group.consumers[0]
        let delivered = group.pending.map(\.id)
        guard delivered == consumer.pending, delivered == entries.prefix(delivered.count).map(\.id),
            delivered.last == group.last, group.entriesRead == UInt64(delivered.count),
            consumer.active == consumer.seen,
            group.pending.allSatisfy({ $0.time == consumer.seen && $0.count == 1 })
        else { return nil }
        return .init(
            entries: entries,
            group: .init(
                name: group.name, consumer: consumer.name, delivered: delivered.count,
                deliveryMilliseconds: consumer.seen))
    }
}

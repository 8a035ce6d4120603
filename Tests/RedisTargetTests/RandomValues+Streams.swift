import Bytes
import TestSupport

@testable import DragonflySimulator

typealias SourceStreamID = DragonflySimulator.StreamID

extension RandomValues {
    /// A stream with deleted entries, groups, consumers and what is pending of them.
    mutating func stream(_ key: StoredKey) -> Case {
        let messages = messages()
        let live = messages.filter { !$0.isDeleted }
        let last = messages.last?.id ?? SourceStreamID(milliseconds: 5, sequence: 0)
        let deleted = messages.last { $0.isDeleted }?.id
        let groups = (0..<pick(0...2)).map { group("g\($0)", messages) }
        let stream = StoredStream(
            nodes: nodes(messages), length: UInt64(live.count), last: last,
            first: live.first?.id ?? SourceStreamID(milliseconds: 0, sequence: 0),
            maxDeleted: deleted ?? SourceStreamID(milliseconds: 0, sequence: 0),
            entriesAdded: UInt64(messages.count + pick(0...3)), groups: groups)

        let liveIDs = Set(live.map(\.id.text))
        func expected(byCommands: Bool) -> StateEntry {
            StateEntry(
                type: "stream", expiryMilliseconds: key.expiryMilliseconds,
                value: .stream(
                    StreamState(
                        entries: live.map { .init(id: $0.id.text, fields: $0.fields) },
                        lastID: last.text, maxDeletedID: (deleted?.text ?? "0-0"),
                        entriesAdded: Int64(stream.entriesAdded),
                        groups: groups.map {
                            $0.expected { !byCommands || liveIDs.contains($0) }
                        })))
        }
        return Case(
            key: key, value: .stream(stream), expected: expected(byCommands: false),
            expectedOfCommands: expected(byCommands: true))
    }

    struct Message {
        var id: SourceStreamID
        var fields: [[UInt8]]
        var isDeleted: Bool
    }

    private mutating func messages() -> [Message] {
        let count = [0, 1, 2, 5, 20, 99, 100, 101, 130][pick(0...8)]
        var milliseconds = UInt64(pick(1...2_000_000_000_000))
        var sequence: UInt64 = 0
        let names = [element(), element()]
        return (0..<count).map { _ in
            if pick(0...1) == 0 {
                milliseconds += UInt64(pick(1...70_000))
                sequence = UInt64(pick(0...3))
            } else {
                sequence += UInt64(pick(1...300))
            }
            let fields =
                pick(0...1) == 0
                ? names.flatMap { [$0, element()] } : (0..<pick(1...3) * 2).map { _ in element() }
            return Message(
                id: SourceStreamID(milliseconds: milliseconds, sequence: sequence),
                fields: fields, isDeleted: pick(0...9) == 0)
        }
    }

    /// At most 100 messages a node, whose first one names the fields.
    private func nodes(_ messages: [Message]) -> [StoredStream.Node] {
        stride(from: 0, to: messages.count, by: CollectionLimits.streamNodeEntries).compactMap {
            start in
            let part = messages[
                start..<min(start + CollectionLimits.streamNodeEntries, messages.count)]
            // A node all of whose messages are deleted is gone.
            guard part.contains(where: { !$0.isDeleted }) else { return nil }
            return StoredStream.Node(id: part[start].id, listpack: listpack(Array(part)))
        }
    }

    private func listpack(_ messages: [Message]) -> [UInt8] {
        func text(_ number: Int64) -> [UInt8] { Array(String(number).utf8) }
        let master = messages[0]
        let names = stride(from: 0, to: master.fields.count, by: 2).map { master.fields[$0] }
        let deleted = messages.count { $0.isDeleted }
        var items = [
            text(Int64(messages.count - deleted)), text(Int64(deleted)), text(Int64(names.count)),
        ]
        items += names + [text(0)]
        for message in messages {
            let own = stride(from: 0, to: message.fields.count, by: 2).map { message.fields[$0] }
            let isSame = own == names
            items.append(text((message.isDeleted ? 1 : 0) | (isSame ? 2 : 0)))
            items.append(
                text(Int64(bitPattern: message.id.milliseconds &- master.id.milliseconds)))
            items.append(text(Int64(bitPattern: message.id.sequence &- master.id.sequence)))
            if isSame {
                items += stride(from: 1, to: message.fields.count, by: 2).map { message.fields[$0] }
                items.append(text(Int64(names.count + 3)))
            } else {
                items.append(text(Int64(own.count)))
                items += message.fields
                items.append(text(Int64(message.fields.count + 4)))
            }
        }
        return Self.listpack(items)
    }

    private static func listpack(_ items: [[UInt8]]) -> [UInt8] {
        do {
            var elements = try RegionBuffer()
            for item in items {
                try item.withByteView { (view) throws(SystemError) in
                    try elements.append(listpackElement: view)
                }
            }
            var whole = try RegionBuffer()
            try whole.append(listpackBody: elements.view, count: items.count)
            return whole.view.array()
        } catch {
            preconditionFailure("no memory for a test's value: \(error)")
        }
    }

    private mutating func group(_ name: String, _ messages: [Message]) -> StoredStream.Group {
        let delivered = messages.prefix(pick(0...30))
        // Some were acknowledged.
        let pending = delivered.filter { _ in pick(0...3) != 0 }.map { message in
            StoredStream.Pending(
                id: message.id, deliveryTime: 1_690_000_000_000 + Int64(pick(0...1_000_000)),
                deliveryCount: UInt64(pick(1...300)))
        }
        var consumers = ["c1", "c2", "idle"].map {
            StoredStream.Consumer(
                name: Array($0.utf8), seenTime: 1_690_000_000_000 + Int64(pick(0...1_000_000)),
                pending: [])
        }
        for entry in pending { consumers[pick(0...1)].pending.append(entry.id) }
        return StoredStream.Group(
            name: Array(name.utf8),
            last: delivered.last?.id ?? SourceStreamID(milliseconds: 0, sequence: 0),
            entriesRead: pick(0...1) == 0 ? .max : UInt64(delivered.count), pending: pending,
            consumers: consumers)
    }
}

extension StoredStream.Group {
    fileprivate func expected(_ isKept: (String) -> Bool) -> StreamState.Group {
        var owners: [String: [UInt8]] = [:]
        for consumer in consumers {
            for id in consumer.pending { owners[id.text] = consumer.name }
        }
        return StreamState.Group(
            name: name, lastID: last.text,
            entriesRead: entriesRead == .max ? nil : Int64(entriesRead),
            pending: pending.filter { isKept($0.id.text) }.map {
                StreamState.Pending(
                    id: $0.id.text, consumer: owners[$0.id.text] ?? [],
                    deliveryCount: Int64($0.deliveryCount))
            },
            consumers: consumers.map(\.name).sorted { $0.lexicographicallyPrecedes($1) })
    }
}

extension SourceStreamID {
    var text: String { "\(milliseconds)-\(sequence)" }
}

import Bytes
import Testing

@testable import Wire

/// Promise: a stream arrives with its entries, ids, counters, groups and pending entries, and a
/// stream whose parts contradict each other is not sent on.
struct StreamReaderTests {
    private let damaged = DecodeError(.damagedContainer)

    /// protocol.md 11.4, with the times of the recording.
    private let captured = ValueBytes.hex(
        """
        01 10 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 01 40 52
        52 00 00 00 1F 00 03 01 01 01 02 01 81 66 02 81 67 02 00 01
        02 01 00 01 00 01 81 76 02 0C 01 05 01
        03 01 00 01 01 01 82 76 32 03 0D 01 05 01
        00 01 01 01 DF FF 02 01 01 85 6F 74 68 65 72 06 01 01 06 01
        02 01 02 01 DF FF 02 81 7A 02 00 01 05 01
        FF
        03 03 00 01 01 01 02 04
        01 02 67 31 02 00 81 FF FF FF FF FF FF FF FF
        02 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 01 4B 7D 25 04 A2 01 00 00 01
        00 00 00 00 00 00 00 02 00 00 00 00 00 00 00 00 4B 7D 25 04 A2 01 00 00 01
        02 02 63 31 4B 7D 25 04 A2 01 00 00 4B 7D 25 04 A2 01 00 00
        02 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 01
        00 00 00 00 00 00 00 02 00 00 00 00 00 00 00 00
        02 63 32 4B 7D 25 04 A2 01 00 00 FF FF FF FF FF FF FF FF 00
        """)

    private func texts(_ fields: [[UInt8]]) -> [String] {
        fields.map { String(decoding: $0, as: UTF8.self) }
    }

    @Test func streamCapturedFromDragonfly() throws {
        let stream = try ReadStream(.streamListpacks3, captured)
        #expect(
            stream.metadata
                == StreamMetadata(
                    length: 3, lastID: StreamID(3, 0), firstID: StreamID(1, 1),
                    maxDeletedID: StreamID(1, 2), entriesAdded: 4))
        #expect(stream.entries.map(\.id.text) == ["1-1", "2-0", "3-0"])
        #expect(
            stream.entries.map { texts($0.fields) } == [
                ["f", "v", "g", "12"], ["other", "1"], ["f", "z", "g", "0"],
            ])
        let time: Int64 = 0x01a2_0425_7d4b
        let group = try #require(stream.groups.first)
        #expect(stream.groups.count == 1)
        #expect(group.name == Array("g1".utf8))
        #expect(group.lastID == StreamID(2, 0) && group.entriesRead == -1)
        #expect(group.consumers.map { texts([$0.name])[0] } == ["c1", "c2"])
        #expect(
            group.consumers[0].pending == [
                StreamPending(
                    id: StreamID(1, 1), deliveryTimeMilliseconds: time, deliveryCount: 1,
                    isDeleted: false),
                StreamPending(
                    id: StreamID(2, 0), deliveryTimeMilliseconds: time, deliveryCount: 1,
                    isDeleted: false),
            ])
        #expect(group.consumers.map(\.active) == [time, -1])
        #expect(
            try checkValue(.streamListpacks3, captured) == ContainerCheck.Verdict(elementCount: 3))
    }

    @Test(arguments: [ValueType.streamListpacks, .streamListpacks2, .streamListpacks3])
    func allLayouts(_ type: ValueType) throws {
        let stream = try ReadStream(type, SampleValues.stream(type).value)
        #expect(stream.entries.map(\.id.text) == ["1-5", "2-0", "9-1", "1099511627776-2"])
        #expect(
            stream.entries.map { texts($0.fields) } == [
                ["f", "value-0", "g", "0"], ["f", "value-2", "g", "2"],
                ["f", "value-0", "g", "0"], ["own", "value-1"],
            ])
        #expect(stream.metadata.length == 4 && stream.metadata.lastID == StreamID(1 << 40, 3))
        #expect(stream.metadata.firstID == StreamID(1, 5))
        let isOldest = type == .streamListpacks
        #expect(stream.metadata.maxDeletedID == (isOldest ? StreamID() : StreamID(3, 0)))
        #expect(stream.metadata.entriesAdded == (isOldest ? 4 : 8))
        #expect(stream.groups.map(\.entriesRead) == (isOldest ? [-1, 4] : [5, -1]))
        #expect(stream.groups.map(\.pendingCount) == [4, 0])

        let consumers = stream.groups[0].consumers
        #expect(consumers.map { texts([$0.name])[0] } == ["alice", "bob", "idle"])
        #expect(consumers[0].pending.map(\.id.text) == ["1-6", "9-1"])
        #expect(consumers[0].pending.map(\.isDeleted) == [true, false])
        #expect(consumers[0].pending.map(\.deliveryCount) == [70, 3])
        #expect(consumers[1].pending.map(\.id.text) == ["1-5", "2-0"])
        #expect(consumers[1].pending.map(\.isDeleted) == [false, false])
        let knowsActivity = type == .streamListpacks3
        #expect(consumers[1].active == (knowsActivity ? -1 : 1_700_000_000_006))
    }

    /// Differences between ids are taken modulo 2^64.
    @Test func greatIDs() throws {
        let ids = [StreamID(0, 1), StreamID(0, .max), StreamID(1, 0), StreamID(.max, .max)]
        var stream = ValueBytes.Stream()
        stream.nodes = [ValueBytes.node(ids[0], ids.map { ($0, false) })]
        stream.metadata.length = 4
        stream.metadata.lastID = ids[3]
        #expect(try ReadStream(.streamListpacks2, stream.value).entries.map(\.id) == ids)
        #expect(try checkValue(.streamListpacks2, stream.value).elementCount == 4)
    }

    /// An empty stream is a stream: its groups and counters are its content.
    @Test func emptyStreams() throws {
        var stream = ValueBytes.Stream()
        stream.metadata.lastID = StreamID(9, 9)
        stream.metadata.entriesAdded = 1
        stream.groups = [ValueBytes.Stream.Group(name: "g", lastID: StreamID())]
        for type in [ValueType.streamListpacks, .streamListpacks2, .streamListpacks3] {
            stream.type = type
            let verdict = try checkValue(type, stream.value)
            #expect(verdict == ContainerCheck.Verdict())
            let read = try ReadStream(type, stream.value)
            #expect(read.entries.isEmpty && read.metadata.firstID == StreamID())
            #expect(read.groups.count == 1 && read.groups[0].entriesRead == 0)
        }
    }

    /// The reader finds records and entries whatever their number, with compressed nodes too.
    @Test func manyPendingEntries() throws {
        var stream = ValueBytes.Stream()
        var compressed = ValueBytes.length(40)
        var all: [StreamID] = []
        var deleted: Set<StreamID> = []
        for number in 0..<40 {
            let ids = (0..<50).map { StreamID(UInt64(number * 1000 + $0 * 3), 7) }
            let entries = ids.enumerated().map { (id: $1, isDeleted: $0 % 5 == 3) }
            deleted.formUnion(entries.filter(\.isDeleted).map(\.id))
            all += ids
            let node = ValueBytes.node(ids[0], entries, text: "node \(number + 10)")
            stream.nodes.append(node)
            compressed += [16] + ValueBytes.raw(node.id)
            compressed +=
                try number % 3 == 0
                ? ValueBytes.lzf(node.listpack) : ValueBytes.string(node.listpack)
        }
        let gone = (0..<10).map { StreamID(UInt64($0 * 4000 + 500), 0) }
        stream.metadata.length = UInt64(all.count - deleted.count)
        stream.metadata.lastID = StreamID(1 << 30, 0)
        let pending = (all + gone + [StreamID(0, 1)]).sorted()
        stream.groups = [
            ValueBytes.Stream.Group(
                name: "g", lastID: stream.metadata.lastID,
                pending: pending.enumerated().map { ($1, Int64($0), $0 % 100) },
                consumers: (0..<7).map { consumer in
                    let own = pending.enumerated().filter { $0.offset % 7 == consumer }
                    return ("c\(consumer)", 1, 1, own.map(\.element))
                })
        ]
        let plain = stream.value
        let tail = stream.value.count
        stream.nodes = []
        let value = compressed + stream.value.dropFirst()
        #expect(plain.count > tail / 2 && value.count < plain.count)

        for bytes in [plain, value] {
            #expect(
                try checkValue(.streamListpacks2, bytes).elementCount == all.count - deleted.count)
            let read = try ReadStream(.streamListpacks2, bytes)
            #expect(read.entries.map(\.id) == all.filter { !deleted.contains($0) })
            let missing = deleted.union(gone).union([StreamID(0, 1)])
            for (consumer, content) in read.groups[0].consumers.enumerated() {
                for (index, entry) in content.pending.enumerated() {
                    let place = index * 7 + consumer
                    #expect(entry.id == pending[place])
                    #expect(entry.deliveryTimeMilliseconds == Int64(place))
                    #expect(entry.deliveryCount == UInt64(place % 100))
                    #expect(entry.isDeleted == missing.contains(entry.id))
                }
            }
            try rewindEverywhere(bytes)
        }
    }

    /// Reads everything left from where the reader is, as text.
    private func rest(_ reader: inout StreamReader) throws(DecodeError) -> [String] {
        var lines: [String] = []
        while let field = try reader.nextField() { lines.append(field.name.printable()) }
        while let entry = try reader.nextEntry() {
            lines.append(entry.id.text)
            while let field = try reader.nextField() { lines.append(field.value.printable()) }
        }
        while let entry = try reader.nextPending() { lines.append("pending \(entry.id.text)") }
        repeat {
            while let consumer = try reader.nextConsumer() {
                lines.append("consumer \(consumer.name.printable()) \(consumer.pendingCount)")
                while let entry = try reader.nextPending() {
                    lines.append("pending \(entry.id.text) \(entry.isDeleted)")
                }
            }
            guard let group = try reader.nextGroup() else { break }
            lines.append("group \(group.name.printable()) \(group.pendingCount)")
        } while true
        return lines
    }

    /// From every mark, in either order, the rest reads the same twice.
    private func rewindEverywhere(_ value: [UInt8]) throws {
        var reader = try StreamReader()
        try value.withByteView { view throws(DecodeError) in
            try reader.open(type: .streamListpacks2, value: view)
            var marks = [reader.mark]
            var step = 0
            while try reader.nextEntry() != nil {
                step += 1
                if step % 97 == 0 {
                    _ = try reader.nextField()
                    marks.append(reader.mark)
                }
            }
            while try reader.nextGroup() != nil {
                marks.append(reader.mark)
                while try reader.nextConsumer() != nil {
                    marks.append(reader.mark)
                    for _ in 0..<3 { _ = try reader.nextPending() }
                    marks.append(reader.mark)
                }
            }
            marks.append(reader.mark)
            var rests: [[String]] = []
            for mark in marks {
                try reader.rewind(to: mark)
                rests.append(try rest(&reader))
            }
            for (mark, expected) in zip(marks, rests).reversed() {
                try reader.rewind(to: mark)
                #expect(try rest(&reader) == expected)
            }
            // From one node, group or consumer straight into another.
            for (index, (mark, expected)) in zip(marks, rests).enumerated() {
                try reader.rewind(to: marks[(index * 5 + 1) % marks.count])
                _ = try reader.nextEntry()
                _ = try reader.nextPending()
                try reader.rewind(to: mark)
                #expect(try rest(&reader) == expected)
            }
            #expect(rests.last == [] && Set(rests.map(\.count)).count > marks.count / 2)
        }
    }

    @Test func rewindingSmallStreams() throws {
        try rewindEverywhere(SampleValues.stream(.streamListpacks2).value)
    }

    /// A value that does not open leaves nothing of the one before.
    @Test func nothingStaysAfterAFailedOpen() throws {
        var reader = try StreamReader()
        let sound = SampleValues.stream(.streamListpacks2).value
        for broken in [[], [1], [0, 0], Array(sound.prefix(60))] as [[UInt8]] {
            try sound.withByteView { view throws(DecodeError) in
                try reader.open(type: .streamListpacks2, value: view)
                _ = try reader.nextEntry()
                _ = try reader.nextGroup()
            }
            broken.withByteView { view in
                #expect(throws: DecodeError.self) {
                    try reader.open(type: .streamListpacks2, value: view)
                }
                #expect((try? reader.nextField()) == nil && reader.groupCount == 0)
                #expect((try? reader.nextConsumer())?.name == nil)
                #expect((try? reader.nextPending()) == nil)
                #expect((try? reader.nextGroup())?.name == nil)
            }
        }
    }

    // MARK: - What a server would trust

    private func expectDamage(
        _ comment: Comment, sourceLocation: SourceLocation = #_sourceLocation,
        _ change: (inout ValueBytes.Stream) -> Void
    ) {
        for type in [ValueType.streamListpacks, .streamListpacks2, .streamListpacks3] {
            var stream = SampleValues.stream(type)
            change(&stream)
            #expect(throws: damaged, comment, sourceLocation: sourceLocation) {
                try checkValue(type, stream.value)
            }
        }
    }

    @Test func contradictionsBetweenParts() {
        expectDamage("length") { $0.metadata.length = 5 }
        expectDamage("last id before the last entry") { $0.metadata.lastID = StreamID(9, 1) }
        expectDamage("nodes in another order") { $0.nodes.swapAt(0, 1) }
        expectDamage("the same node twice") { $0.nodes[1] = $0.nodes[0] }
        expectDamage("an entry without owner") { $0.groups[0].consumers[1].ids.removeLast() }
        expectDamage("an entry with two owners") {
            $0.groups[0].consumers[2].ids = [StreamID(1, 5)]
        }
        expectDamage("one without and one with two") {
            $0.groups[0].consumers[1].ids = [StreamID(1, 6), StreamID(2, 0)]
        }
        expectDamage("an owned entry that is not pending") {
            $0.groups[0].consumers[1].ids = [StreamID(1, 5), StreamID(2, 1)]
        }
        expectDamage("pending out of order") { $0.groups[0].pending.swapAt(0, 1) }
        expectDamage("pending twice") { $0.groups[0].pending[1] = $0.groups[0].pending[0] }
        expectDamage("owned out of order") { $0.groups[0].consumers[0].ids.reverse() }
    }

    @Test func damagedNodes() {
        typealias Element = ValueBytes.Element
        func node(_ elements: [Element]) -> (inout ValueBytes.Stream) -> Void {
            { stream in
                stream.groups = []
                stream.metadata.length = 1
                stream.nodes = [(StreamID(1, 1), ValueBytes.listpack(elements))]
            }
        }
        let head: [Element] = [
            .integer(1), .integer(0), .integer(1), .string("f"), .integer(0),
        ]
        let entry: [Element] = [
            .integer(2), .integer(0), .integer(0), .string("v"), .integer(4),
        ]
        // The sound one first, so that the others fail for the reason given.
        var sound = SampleValues.stream(.streamListpacks2)
        node(head + entry)(&sound)
        #expect(throws: Never.self) { try checkValue(.streamListpacks2, sound.value) }

        func changed(_ index: Int, _ element: Element) -> [Element] {
            var elements = head + entry
            elements[index] = element
            return elements
        }
        expectDamage("no entry", node(head))
        expectDamage("empty listpack", node([]))
        expectDamage("more entries", node(head + entry + entry))
        expectDamage("live count", node(changed(0, .integer(2))))
        expectDamage("live count negative", node(changed(0, .integer(-1))))
        expectDamage("live count of no use", node(changed(0, .string("many"))))
        expectDamage("deleted count", node(changed(1, .integer(1))))
        expectDamage("counts exchanged", node([.integer(0), .integer(1)] + head[2...] + entry))
        expectDamage("field count", node(changed(2, .integer(2))))
        expectDamage("field count huge", node(changed(2, .integer(.max))))
        expectDamage("end of the names", node(changed(4, .integer(1))))
        expectDamage("unknown flag", node(changed(5, .integer(6))))
        expectDamage("flag deleted", node(changed(5, .integer(3))))
        expectDamage("flag own names", node(changed(5, .integer(0))))
        expectDamage("id of text", node(changed(6, .string("x"))))
        expectDamage("id before the node's", node(changed(7, .integer(-1))))
        expectDamage("length of the entry", node(changed(9, .integer(5))))
        expectDamage(
            "no field",
            node(
                [.integer(1), .integer(0), .integer(0), .integer(0)]
                    + [.integer(2), .integer(0), .integer(0), .integer(3)]))
        expectDamage("descending") {
            $0.nodes[0] = ValueBytes.node(
                StreamID(1, 5),
                [
                    (StreamID(1, 5), false), (StreamID(2, 0), false), (StreamID(1, 7), true),
                    (StreamID(1, 9), false),
                ])
            $0.metadata.length = 5
        }
        expectDamage("the same id twice") {
            $0.nodes[0] = ValueBytes.node(
                StreamID(1, 5), [(StreamID(1, 5), false), (StreamID(1, 5), false)])
        }
    }

    /// Ids of deleted entries may be anything: a server forgets them.
    @Test func deletedEntriesOutOfOrder() throws {
        var stream = SampleValues.stream(.streamListpacks2)
        stream.nodes[0] = ValueBytes.node(
            StreamID(1, 5),
            [(StreamID(1, 5), false), (StreamID(8, 0), true), (StreamID(2, 0), false)])
        #expect(try checkValue(.streamListpacks2, stream.value).elementCount == 4)
    }

    @Test func textOfIDs() throws {
        var ring = try MirroredRing(capacity: 4096)
        var buffer = try RegionBuffer()
        for value in [0, 9, 10, 1_700_000_000_000, UInt64(Int64.max), 1 << 63, .max] as [UInt64] {
            for id in [StreamID(value, 0), StreamID(0, value), StreamID(value, value)] {
                ring.clear()
                buffer.clear()
                ring.append(id)
                try buffer.append(id)
                #expect(ring.readable.array() == Array(id.text.utf8))
                #expect(buffer.view.array() == Array(id.text.utf8))
                #expect(id.textCount == id.text.utf8.count)
                #expect(id.textCount <= StreamID.textCapacity)
            }
        }
        #expect(StreamID(1, 9) < StreamID(2, 0) && StreamID(2, 0) < StreamID(2, 1))
    }
}

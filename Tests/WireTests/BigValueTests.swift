import Bytes
import Testing

@testable import Wire

/// P6: a value above `bigValueBytes` goes out in parts that together are the value, however the
/// stream is cut, and memory stays at a few windows. Damage in it is met.
@Suite struct BigValueTests {
    /// Of one value in parts, put together again.
    private struct Assembled: Equatable {
        var entry: StreamEvent.Entry
        /// Decoded bytes of a string; encoded elements or nodes; each other part with what it says.
        var content: [UInt8] = []
        var units = 0
        var tail: [String] = []
        var isEnded = false
        var refusedSize: Int?
        var parts = 0
        var largestPart = 0
    }

    private static let limits = DecoderLimits(
        windowBytes: 4096, assemblyBytes: 1 << 20, bigValueBytes: 4096)

    /// A value of each type that can be big, some 20 to 60 KiB encoded, and how many bytes at its
    /// start say how many elements it has.
    private static func values() throws -> [(type: ValueType, value: [UInt8], head: Int)] {
        let count = 700
        let head = ValueBytes.length(count)
        let words: [[UInt8]] = (0..<count).map { Array("member \($0) of seven hundred".utf8) }
        var strings: [UInt8] = []
        var pairs: [UInt8] = []
        var scored: [UInt8] = []
        var expiring: [UInt8] = []
        var expiringPairs: [UInt8] = []
        for (index, word) in words.enumerated() {
            let member = ValueBytes.string(word)
            strings += member
            pairs += member
            pairs += ValueBytes.string("v")
            scored += member
            scored += ValueBytes.little((Double(index) / 7).bitPattern, 8)
            expiring += member
            expiring += [0xc2, 0x87, 0xf7, 0xbc, 10]
            expiringPairs += member
            expiringPairs += ValueBytes.string("v")
            expiringPairs += [0xc0, 0xff]
        }
        let few: [ValueBytes.Element] = words.prefix(40).map { ValueBytes.Element.text($0) }
        let listpack = ValueBytes.listpack(few)
        let packed = try ValueBytes.lzf(listpack)
        var list = ValueBytes.length(60)
        for node in 0..<60 {
            switch node % 3 {
            case 0: list += [1] + ValueBytes.string("raw \(node)")
            case 1: list += [2] + ValueBytes.string(listpack)
            default: list += [2] + packed
            }
        }
        let ziplist = ValueBytes.string(ValueBytes.ziplist(few))
        var oldList = ValueBytes.length(40)
        for _ in 0..<40 { oldList += ziplist }
        // One element is larger than the window.
        let large = [UInt8](repeating: 0x41, count: 9000)
        let uneven =
            ValueBytes.length(3) + ValueBytes.string("small") + ValueBytes.string(large)
            + ValueBytes.string("last")
        var result: [(type: ValueType, value: [UInt8], head: Int)] = [
            (.set, head + strings, head.count), (.hash, head + pairs, head.count),
            (.zset2, head + scored, head.count), (.setWithExpiry, head + expiring, head.count),
            (.hashWithExpiry, head + expiringPairs, head.count), (.listQuicklist2, list, 1),
            (.listQuicklist, oldList, 1), (.set, uneven, 1),
        ]
        for type in [
            ValueType.streamListpacks, .streamListpacks2, .streamListpacks3,
        ] {
            result.append((type, stream(type).value, 0))
        }
        return result
    }

    /// A hundred nodes, two groups, of which one has many pending entries of three consumers.
    static func stream(_ type: ValueType, nodes: UInt64 = 100) -> ValueBytes.Stream {
        var stream = ValueBytes.Stream()
        stream.type = type
        var ids: [StreamID] = []
        for node in 1...nodes {
            let live = (0..<5).map { StreamID(node * 10 + $0, 3) }
            stream.nodes.append(
                ValueBytes.node(live[0], live.map { ($0, false) }, text: "some text or other"))
            ids += live
        }
        var pending: [(id: StreamID, time: Int64, count: Int)] = []
        var consumers: [(name: String, seen: Int64, active: Int64, ids: [StreamID])] = []
        for number in 0..<3 {
            consumers.append(("consumer \(number)", 1_700_000_000_000, 1_700_000_000_001, []))
        }
        for (index, id) in ids.enumerated() {
            pending.append((id, 1_700_000_000_000 + Int64(index), 1 + index % 90))
            consumers[index % 3].ids.append(id)
        }
        let isOld = type == .streamListpacks
        stream.metadata = StreamMetadata(
            length: UInt64(ids.count), lastID: StreamID(1 << 40, 3),
            firstID: isOld ? StreamID() : ids[0],
            entriesAdded: isOld ? 0 : UInt64(ids.count + 3))
        stream.groups = [
            ValueBytes.Stream.Group(
                name: "busy", lastID: ids.last!, entriesRead: UInt64(ids.count),
                pending: pending, consumers: consumers),
            ValueBytes.Stream.Group(name: "idle", lastID: StreamID(11, 3), entriesRead: .max),
        ]
        return stream
    }

    private static func bytes(
        _ values: [(type: ValueType, value: [UInt8], head: Int)]
    ) -> [UInt8] {
        StreamBytes.make {
            $0.header()
            for (index, value) in values.enumerated() {
                $0.raw(StreamBytes(hex: "FE 03 FC 0500000000000000 DC 01000000"))
                $0.byte(value.type.rawValue)
                $0.string("key \(index)")
                $0.raw(value.value)
                $0.raw(StreamBytes(hex: "00 01 6B 01 76"))
            }
            $0.ending()
        }.bytes
    }

    private static func assembled(_ events: [StreamEvent]) -> [Assembled] {
        var order: [UInt32] = []
        var values: [UInt32: Assembled] = [:]
        for case .bigValue(let step) in events {
            if step.kind == .begin {
                #expect(values[step.number] == nil)
                order.append(step.number)
                values[step.number] = Assembled(entry: step.entry)
                continue
            }
            guard var value = values[step.number], !value.isEnded else {
                Issue.record("a step of a value that is not open")
                return []
            }
            value.parts += 1
            value.largestPart = max(value.largestPart, step.entry.value.count)
            switch step.kind {
            case .begin: break
            case .bytes(let offset):
                #expect(offset == value.content.count)
                value.content += step.entry.value
            case .elements(let count), .nodes(let count):
                value.content += step.entry.value
                value.units += count
            case .pending(let count), .owned(let count):
                for unit in step.entry.value { value.tail.append("\(unit)") }
                value.units += count
            case .end(let size):
                value.isEnded = true
                value.refusedSize = size
            default: value.tail.append("\(step.kind)")
            }
            values[step.number] = value
        }
        return order.compactMap { values[$0] }
    }

    /// Parts differ with the cuts, their sum does not.
    private static func sums(_ events: [StreamEvent]) -> [Assembled] {
        assembled(events).map {
            var value = $0
            value.parts = 0
            value.largestPart = 0
            return value
        }
    }

    @Test func partsAreTheValueHoweverTheStreamIsCut() throws {
        let values = try Self.values()
        let bytes = Self.bytes(values)
        let whole = try FlowRun(bytes, limits: Self.limits)
        #expect(whole.failure == nil)
        let sums = Self.sums(whole.events)
        #expect(sums.count == values.count)
        #expect(whole.entries.count == values.count)
        for (index, (value, sum)) in zip(values, sums).enumerated() {
            #expect(sum.isEnded && sum.refusedSize == nil)
            #expect(sum.entry.key == Array("key \(index)".utf8) && sum.entry.type == value.type)
            #expect(sum.entry.database == 3 && sum.entry.isSticky)
            #expect(sum.entry.expiryMilliseconds == 5 && sum.entry.value.isEmpty)
            if value.type.family != .stream {
                let isSame = sum.content == Array(value.value.dropFirst(value.head))
                #expect(isSame, "\(value.type)")
            }
        }
        for (value, found) in zip(values, Self.assembled(whole.events)) {
            #expect(found.parts > 2, "\(value.type)")
            #expect(found.largestPart <= 9100, "\(value.type)")
        }
        let seed: UInt64 = 81
        var generator = SeededGenerator(seed: seed)
        for segment in [1, 7, 1000, 0, 0, 0] {
            let run = try FlowRun(bytes, limits: Self.limits) {
                segment > 0 ? segment : Int.random(in: 1...6000, using: &generator)
            }
            #expect(run.failure == nil)
            let isSame = Self.sums(run.events) == sums
            #expect(isSame, "segment \(segment), seed \(seed)")
            #expect(run.assembledBytesMaximum <= 6 * 4096)
        }
    }

    /// What a stream's parts say is what `StreamReader` says of the whole.
    @Test(arguments: [ValueType.streamListpacks, .streamListpacks2, .streamListpacks3])
    func streamPartsSayWhatTheReaderSays(_ type: ValueType) throws {
        let stream = Self.stream(type)
        let run = try FlowRun(
            Self.bytes([(type, stream.value, 0)]), limits: Self.limits, segment: { 500 })
        #expect(run.failure == nil)
        var pending: [StreamPending] = []
        var owned: [String: [StreamID]] = [:]
        var consumer = ""
        var groups: [String] = []
        var progress = StreamProgress()
        var entries: [String] = []
        var reader = try StreamPartReader()
        for case .bigValue(let step) in run.events {
            try step.entry.value.withByteView { part throws(DecodeError) in
                switch step.kind {
                case .nodes(let units):
                    reader.open(units: units, part: part)
                    while let entry = try reader.nextEntry(&progress) {
                        var text = entry.id.text
                        let mark = reader.mark
                        for pass in 0..<2 {
                            var fields = 0
                            while let field = try reader.nextField() {
                                fields += 1
                                if pass == 1 {
                                    text += " \(field.name.printable())=\(field.value.printable())"
                                }
                            }
                            #expect(fields == entry.fieldCount)
                            if pass == 0 { reader.rewind(to: mark) }
                        }
                        entries.append(text)
                    }
                case .metadata(let metadata, let count):
                    #expect(metadata == stream.metadata && count == 2)
                    let complete = try progress.complete(metadata, type: type)
                    #expect(complete.firstID == StreamID(10, 3))
                case .group(let name, let lastID, let read):
                    groups.append(
                        "\(String(decoding: name, as: UTF8.self)) \(lastID.text) \(read ?? -2)")
                case .pending(let units):
                    reader.open(units: units, part: part)
                    while let entry = try reader.nextPending() { pending.append(entry) }
                case .consumer(let name):
                    consumer = String(decoding: name, as: UTF8.self)
                case .owned(let units):
                    reader.open(units: units, part: part)
                    while let id = try reader.nextOwned() {
                        owned[consumer, default: []].append(id)
                    }
                default: break
                }
            }
        }
        let old = type == .streamListpacks
        #expect(groups == ["busy 1004-3 \(old ? -2 : 500)", "idle 11-3 \(old ? -2 : -1)"])
        #expect(pending.map(\.id) == stream.groups[0].pending.map(\.id))
        #expect(
            pending.map(\.deliveryTimeMilliseconds) == stream.groups[0].pending.map(\.time))
        #expect(pending.map { Int($0.deliveryCount) } == stream.groups[0].pending.map(\.count))
        for consumer in stream.groups[0].consumers { #expect(owned[consumer.name] == consumer.ids) }
        var wanted: [String] = []
        var whole = try StreamReader()
        try stream.value.withByteView { value throws(DecodeError) in
            try whole.open(type: type, value: value)
            while let entry = try whole.nextEntry() {
                var text = entry.id.text
                while let field = try whole.nextField() {
                    text += " \(field.name.printable())=\(field.value.printable())"
                }
                wanted.append(text)
            }
        }
        #expect(entries == wanted && entries.count == 500)
    }

    // MARK: Strings

    /// Plain and LZF, small on the wire or not, and inside blobs: the bytes come in order.
    @Test func stringsComeInPieces() throws {
        var generator = SeededGenerator(seed: 82)
        let random = (0..<30_000).map { _ in UInt8.random(in: 0...255, using: &generator) }
        // LZF reaches back as far as it can, and has runs of every length.
        var text: [UInt8] = []
        while text.count < 300_000 {
            let start =
                text.count > 9000 ? text.count - Int.random(in: 1...8191, using: &generator) : 0
            let size = Int.random(in: 1...400, using: &generator)
            text += text.isEmpty ? [7] : Array(text[start..<min(start + size, text.count)])
            text.append(UInt8.random(in: 0...255, using: &generator))
        }
        let zeros = [UInt8](repeating: 0, count: 200_000)
        let bytes = try StreamBytes.make {
            $0.header()
            for value in [random, text] {
                $0.raw(StreamBytes(hex: "00 01 70"))
                $0.string(value)
            }
            for value in [text, zeros] {
                $0.raw(StreamBytes(hex: "00 01 6C"))
                try $0.lzf(value)
                $0.chunk(
                    9,
                    try .make {
                        $0.raw(StreamBytes(hex: "1E 01 6A"))
                        try $0.lzf(value)
                    })
            }
            for format in [FrameDecompressor.Format.lz4, .zstd] {
                try $0.blob(
                    format,
                    try .make {
                        $0.raw(StreamBytes(hex: "00 01 62"))
                        $0.string(text)
                        $0.raw(StreamBytes(hex: "00 01 6C"))
                        try $0.lzf(zeros)
                        $0.raw(StreamBytes(hex: "00 01 6B 01 76"))
                    })
            }
            $0.ending()
        }.bytes
        let wanted = [random, text, text, text, zeros, zeros, text, zeros, text, zeros]
        for segment in [Int.max, 1, 3000] {
            let run = try FlowRun(bytes, limits: Self.limits, segment: { segment })
            #expect(run.failure == nil)
            let found = Self.assembled(run.events)
            let isSame = found.map(\.content) == wanted
            #expect(isSame, "segment \(segment)")
            #expect(found.allSatisfy { $0.isEnded && $0.largestPart <= 4096 })
            #expect(found.map(\.entry.type.rawValue) == [0, 0, 0, 30, 0, 30, 0, 0, 0, 0])
            #expect(run.entries.count == 2)
            #expect(run.assembledBytesMaximum <= 2 * 4096)
        }
    }

    @Test func damagedStringsAreMet() throws {
        let text = [UInt8]("abcdefgh".utf8)
        let source = Array(repeatElement(text, count: 4000).joined())
        let sound = try ValueBytes.lzf(source)
        func run(_ value: [UInt8]) throws -> FlowRun {
            try FlowRun(
                StreamBytes.make {
                    $0.header()
                    $0.raw(StreamBytes(hex: "00 01 73"))
                    $0.raw(value)
                    $0.ending()
                }.bytes, limits: Self.limits)
        }
        #expect(try run(sound).failure == nil)
        // It says one byte less or more than it is; a match before the start; a cut token.
        for shift in [-1, 1] {
            var buffer = sound
            let size = ValueBytes.length(source.count + shift)
            let place = sound[1] < 64 ? 2 : 3
            buffer.replaceSubrange(place..<place + size.count, with: size)
            #expect(try run(buffer).failure?.reason == .damagedCompression, "\(shift)")
        }
        // A match that reaches back before the start.
        let far = [0xc3, 20] + ValueBytes.length(5000) + [0, 0x61, 0xff, 0xff, 0xff]
        let failure = try run(far + [UInt8](repeating: 0, count: 15)).failure
        #expect(failure?.reason == .damagedCompression)
        #expect(failure?.offset == 9 && failure?.opcode == 0)
    }

    // MARK: Chunks

    /// Several values in chunks at once, journal blobs and keys between: each is whole for itself.
    @Test func chunksOfSeveralValuesInterleave() throws {
        let seed: UInt64 = 83
        var generator = SeededGenerator(seed: seed)
        let members: [[String]] = (0..<8).map { id in (0..<400).map { "set \(id) member \($0)" } }
        let stream = Self.stream(.streamListpacks3)
        let streamHead = ValueBytes.length(stream.nodes.count)
        var open = Array(0..<8)
        var next = [Int](repeating: 0, count: 8)
        let bytes = StreamBytes.make {
            $0.header()
            $0.raw(StreamBytes(hex: "FE 05"))
            $0.chunk(
                99,
                .make {
                    $0.raw(StreamBytes(hex: "15 01 78"))
                    $0.raw(streamHead)
                })
            for node in stream.nodes.indices {
                $0.chunk(
                    99,
                    .make {
                        $0.raw([16] + ValueBytes.raw(stream.nodes[node].id))
                        $0.string(stream.nodes[node].listpack)
                    })
                guard let id = open.randomElement(using: &generator) else { continue }
                let start = next[id]
                let end = min(start + Int.random(in: 1...90, using: &generator), 400)
                $0.chunk(
                    UInt32(id + 1),
                    .make {
                        if start == 0 {
                            $0.raw(StreamBytes(hex: "02"))
                            $0.string("set \(id)")
                            $0.length(400)
                        }
                        for member in members[id][start..<end] { $0.string(member) }
                    })
                next[id] = end
                if end == 400 { open.removeAll { $0 == id } }
                $0.raw(StreamBytes(hex: "FE 00 D2 01 09 06 00 0A 00 01 01 01 01 61 00 01 6B 01 76"))
            }
            for id in open {
                $0.chunk(
                    UInt32(id + 1),
                    .make {
                        if next[id] == 0 {
                            $0.raw(StreamBytes(hex: "02"))
                            $0.string("set \(id)")
                            $0.length(400)
                        }
                        for member in members[id][next[id]...] { $0.string(member) }
                    })
            }
            var nodesCount = streamHead.count
            for node in stream.nodes { nodesCount += 17 + ValueBytes.string(node.listpack).count }
            let tail = stream.value.dropFirst(nodesCount)
            $0.chunk(99, .make { $0.raw(Array(tail)) })
            $0.ending()
        }.bytes
        for segment in [Int.max, 1, 5000] {
            let run = try FlowRun(bytes, limits: Self.limits, segment: { segment })
            #expect(run.failure == nil, "seed \(seed)")
            let found = Self.assembled(run.events)
            #expect(found.count == 9 && found.allSatisfy(\.isEnded), "seed \(seed)")
            for value in found where value.entry.type == .set {
                let id = Int(value.entry.key.last! - UInt8(ascii: "0"))
                var wanted: [UInt8] = []
                for member in members[id] { wanted += ValueBytes.string(member) }
                let isSame = value.content == wanted && value.units == 400
                #expect(isSame, "set \(id), segment \(segment), seed \(seed)")
                #expect(value.entry.database == 5 || value.entry.database == 0)
            }
            // Each id that is not big yet takes a window at most.
            #expect(run.assembledBytesMaximum <= 9 * 4 * 4096)
            let blobs = run.events.count { if case .journalBlob = $0 { true } else { false } }
            #expect(blobs > 20)
        }
    }

    /// The groups of a stream, and strings, are never split.
    @Test func chunksEndWhereTheyMay() throws {
        let stream = Self.stream(.streamListpacks3, nodes: 200).value
        func run(_ cut: Int) throws -> FlowRun {
            try FlowRun(
                StreamBytes.make {
                    $0.header()
                    $0.chunk(
                        1,
                        .make {
                            $0.raw(StreamBytes(hex: "15 01 78"))
                            $0.raw(Array(stream[..<cut]))
                        })
                    $0.chunk(1, .make { $0.raw(Array(stream[cut...])) })
                    $0.ending()
                }.bytes, limits: Self.limits)
        }
        #expect(try run(stream.count - 100).failure?.reason == .straddlesBoundary)
        #expect(try run(2 + 17).failure == nil)
    }

    // MARK: Limits and damage

    /// Above the limit a value is named with its size, its rest is passed over, and others go on.
    @Test func valuesAboveTheLimitAreRefused() throws {
        let values = try Self.values()
        let bytes = Self.bytes(values)
        var limits = Self.limits
        limits.valueBytes = 12_000
        for segment in [Int.max, 1] {
            let run = try FlowRun(bytes, limits: limits, segment: { segment })
            #expect(run.failure == nil)
            let found = Self.assembled(run.events)
            #expect(found.count == values.count && found.allSatisfy(\.isEnded))
            for (value, sum) in zip(values, found) {
                let isAbove = value.value.count > 12_000
                #expect(sum.refusedSize == (isAbove ? value.value.count : nil), "\(value.type)")
            }
            #expect(run.entries.count == values.count)
        }
    }

    /// An element that there is no room to hold is passed over with its value.
    @Test func elementsAboveTheLimitAreRefused() throws {
        let large = [UInt8](repeating: 0x41, count: 90_000)
        let set =
            ValueBytes.length(3) + ValueBytes.string("a") + ValueBytes.string(large)
            + ValueBytes.string("b")
        let bytes = Self.bytes([(.set, set, 1)])
        var limits = Self.limits
        limits.assemblyBytes = 64 << 10
        for segment in [Int.max, 1] {
            let run = try FlowRun(bytes, limits: limits, segment: { segment })
            #expect(run.failure == nil)
            #expect(Self.assembled(run.events).map(\.refusedSize) == [set.count])
            #expect(run.entries.count == 1)
            #expect(run.assembledBytesMaximum <= limits.assemblyBytes)
        }
    }

    /// Streams whose groups do not add up, whatever else is sound.
    @Test func damagedGroupsAreMet() throws {
        var twice = Self.stream(.streamListpacks3)
        twice.groups[0].consumers[1].ids[3] = twice.groups[0].consumers[0].ids[3]
        var missing = Self.stream(.streamListpacks3)
        missing.groups[0].consumers[2].ids.removeLast()
        var unordered = Self.stream(.streamListpacks3)
        unordered.groups[0].pending.swapAt(4, 5)
        for stream in [twice, missing, unordered] {
            let run = try FlowRun(
                Self.bytes([(.streamListpacks3, stream.value, 0)]), limits: Self.limits)
            #expect(run.failure?.reason == .damagedContainer)
            #expect(run.failure?.opcode == 21 && run.failure?.offset == 9 + 2)
        }
    }

    /// Any damage anywhere: an error or other values, never a crash, a hang or unbounded memory.
    @Test func randomDamageIsSurvived() throws {
        let sound = try Self.bytes(Self.values())
        let seed: UInt64 = 84
        var generator = SeededGenerator(seed: seed)
        var failures = 0
        for _ in 0..<300 {
            var bytes = sound
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                let index = Int.random(in: 9..<bytes.count, using: &generator)
                bytes[index] = UInt8.random(in: 0...255, using: &generator)
            }
            let run = try FlowRun(bytes, limits: Self.limits, keepsEvents: false) {
                Int.random(in: 1...8000, using: &generator)
            }
            if run.failure != nil { failures += 1 }
            #expect(run.assembledBytesMaximum <= Self.limits.assemblyBytes, "seed \(seed)")
        }
        #expect(failures > 20, "seed \(seed)")
    }
}

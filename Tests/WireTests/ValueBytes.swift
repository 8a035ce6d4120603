import Bytes

@testable import Wire

/// Encoders of values, written from the format and not from the decoder, for tests.
enum ValueBytes {
    enum Element {
        case text([UInt8])
        /// In the narrowest integer form, or in the one with this first byte.
        case integer(Int64, form: UInt8? = nil)

        static func string(_ text: String) -> Element { .text(Array(text.utf8)) }
    }

    static func little(_ value: some FixedWidthInteger, _ size: Int) -> [UInt8] {
        (0..<size).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
    }

    static func big(_ value: UInt64, _ size: Int) -> [UInt8] {
        little(value, size).reversed()
    }

    static func length(_ value: Int) -> [UInt8] {
        if value < 64 { return [UInt8(value)] }
        if value < 16384 { return [0x40 | UInt8(value >> 8), UInt8(value & 255)] }
        return [0x80] + big(UInt64(value), 4)
    }

    static func string(_ bytes: [UInt8]) -> [UInt8] { length(bytes.count) + bytes }

    static func string(_ text: String) -> [UInt8] { string(Array(text.utf8)) }

    /// A string in its LZF form; it must compress.
    static func lzf(_ bytes: [UInt8]) throws -> [UInt8] {
        var buffer = try RegionBuffer()
        let isSmaller = try bytes.withByteView { view throws(SystemError) in
            try LZF.compress(view, into: &buffer)
        }
        precondition(isSmaller)
        return [0xc3] + length(buffer.count) + length(bytes.count) + buffer.view.array()
    }

    // MARK: - Listpack

    static func listpackElement(_ element: Element) -> [UInt8] {
        let body = listpackBody(element)
        return body + backLength(body.count)
    }

    private static func listpackBody(_ element: Element) -> [UInt8] {
        switch element {
        case .text(let text):
            if text.count < 64 { return [0x80 | UInt8(text.count)] + text }
            if text.count < 4096 {
                return [0xe0 | UInt8(text.count >> 8), UInt8(text.count & 255)] + text
            }
            return [0xf0] + little(text.count, 4) + text
        case .integer(let value, let form):
            let chosen: UInt8 =
                switch value {
                case _ where form != nil: form ?? 0
                case 0...127: 0
                case -4096...4095: 0xc0
                case Int64(Int16.min)...Int64(Int16.max): 0xf1
                case -8_388_608...8_388_607: 0xf2
                case Int64(Int32.min)...Int64(Int32.max): 0xf3
                default: 0xf4
                }
            switch chosen {
            case 0: return [UInt8(value)]
            case 0xc0:
                return [0xc0 | UInt8(value >> 8 & 0x1f), UInt8(truncatingIfNeeded: value)]
            case 0xf1: return [0xf1] + little(value, 2)
            case 0xf2: return [0xf2] + little(value, 3)
            case 0xf3: return [0xf3] + little(value, 4)
            default: return [0xf4] + little(value, 8)
            }
        }
    }

    static func backLength(_ size: Int) -> [UInt8] {
        var count = 5
        for (limit, bytes) in [(127, 1), (16382, 2), (2_097_150, 3), (268_435_454, 4)]
        where size <= limit {
            count = bytes
            break
        }
        return (0..<count).map { index in
            let bits = UInt8(size >> (7 * (count - 1 - index)) & 0x7f)
            return index == 0 ? bits : bits | 0x80
        }
    }

    static func listpack(_ elements: [Element], count: Int? = nil) -> [UInt8] {
        let body = elements.flatMap(listpackElement)
        return little(body.count + 7, 4) + little(count ?? min(elements.count, 65535), 2) + body
            + [0xff]
    }

    // MARK: - Ziplist and intset

    static func ziplist(_ elements: [Element], count: Int? = nil) -> [UInt8] {
        var body: [UInt8] = []
        var previous = 0
        var tail = 10
        for element in elements {
            tail = 10 + body.count
            var entry = previous < 254 ? [UInt8(previous)] : [0xfe] + little(previous, 4)
            entry += ziplistBody(element)
            previous = entry.count
            body += entry
        }
        return little(body.count + 11, 4) + little(tail, 4)
            + little(count ?? min(elements.count, 65535), 2) + body + [0xff]
    }

    private static func ziplistBody(_ element: Element) -> [UInt8] {
        switch element {
        case .text(let text):
            if text.count < 64 { return [UInt8(text.count)] + text }
            if text.count < 16384 {
                return [0x40 | UInt8(text.count >> 8), UInt8(text.count & 255)] + text
            }
            return [0x80] + big(UInt64(text.count), 4) + text
        case .integer(let value, _):
            switch value {
            case 0...12: return [0xf1 + UInt8(value)]
            case -128...127: return [0xfe] + little(value, 1)
            case Int64(Int16.min)...Int64(Int16.max): return [0xc0] + little(value, 2)
            case -8_388_608...8_388_607: return [0xf0] + little(value, 3)
            case Int64(Int32.min)...Int64(Int32.max): return [0xd0] + little(value, 4)
            default: return [0xe0] + little(value, 8)
            }
        }
    }

    static func intset(_ values: [Int64], width: Int) -> [UInt8] {
        little(width, 4) + little(values.count, 4) + values.flatMap { little($0, width) }
    }

    // MARK: - Streams

    struct Stream {
        var type = ValueType.streamListpacks2
        var nodes: [(id: StreamID, listpack: [UInt8])] = []
        var metadata = StreamMetadata()
        var groups: [Group] = []

        struct Group {
            var name: String
            var lastID: StreamID
            var entriesRead: UInt64 = 0
            var pending: [(id: StreamID, time: Int64, count: Int)] = []
            var consumers: [(name: String, seen: Int64, active: Int64, ids: [StreamID])] = []
        }

        var value: [UInt8] {
            var bytes = ValueBytes.length(nodes.count)
            for node in nodes {
                bytes += [16] + ValueBytes.raw(node.id) + ValueBytes.string(node.listpack)
            }
            bytes += ValueBytes.long(metadata.length) + ValueBytes.pair(metadata.lastID)
            if type != .streamListpacks {
                bytes += ValueBytes.pair(metadata.firstID) + ValueBytes.pair(metadata.maxDeletedID)
                bytes += ValueBytes.long(metadata.entriesAdded)
            }
            bytes += ValueBytes.length(groups.count)
            for group in groups {
                bytes += ValueBytes.string(group.name) + ValueBytes.pair(group.lastID)
                if type != .streamListpacks { bytes += ValueBytes.long(group.entriesRead) }
                bytes += ValueBytes.length(group.pending.count)
                for entry in group.pending {
                    bytes += ValueBytes.raw(entry.id) + ValueBytes.little(entry.time, 8)
                    bytes += ValueBytes.length(entry.count)
                }
                bytes += ValueBytes.length(group.consumers.count)
                for consumer in group.consumers {
                    bytes += ValueBytes.string(consumer.name) + ValueBytes.little(consumer.seen, 8)
                    if type == .streamListpacks3 { bytes += ValueBytes.little(consumer.active, 8) }
                    bytes += ValueBytes.length(consumer.ids.count)
                    bytes += consumer.ids.flatMap(ValueBytes.raw)
                }
            }
            return bytes
        }
    }

    static func long(_ value: UInt64) -> [UInt8] {
        value < 1 << 32 ? length(Int(value)) : [0x81] + big(value, 8)
    }

    static func pair(_ id: StreamID) -> [UInt8] { long(id.milliseconds) + long(id.sequence) }

    static func raw(_ id: StreamID) -> [UInt8] { big(id.milliseconds, 8) + big(id.sequence, 8) }

    /// A node whose entries share the fields `f` and `g`, but for those at odd places, which name
    /// their own.
    static func node(
        _ id: StreamID, _ entries: [(id: StreamID, isDeleted: Bool)], text: String = "value"
    ) -> (id: StreamID, listpack: [UInt8]) {
        let deleted = entries.count { $0.isDeleted }
        var elements: [Element] = [
            .integer(Int64(entries.count - deleted)), .integer(Int64(deleted)), .integer(2),
            .string("f"), .string("g"), .integer(0),
        ]
        for (index, entry) in entries.enumerated() {
            let ownNames = index % 2 == 1
            let milliseconds = Int64(bitPattern: entry.id.milliseconds &- id.milliseconds)
            let sequence = Int64(bitPattern: entry.id.sequence &- id.sequence)
            elements += [
                .integer((entry.isDeleted ? 1 : 0) | (ownNames ? 0 : 2)), .integer(milliseconds),
                .integer(sequence),
            ]
            let value = Element.string("\(text)-\(index)")
            elements +=
                ownNames
                ? [.integer(1), .string("own"), value, .integer(6)]
                : [value, .integer(Int64(index)), .integer(5)]
        }
        return (id, listpack(elements))
    }

    // MARK: - Hexadecimal

    /// The bytes of a dump such as `0A FF`; other characters are passed over.
    static func hex(_ text: String) -> [UInt8] {
        let digits = text.compactMap(\.hexDigitValue)
        return stride(from: 0, to: digits.count - 1, by: 2)
            .map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }
}

extension StreamID {
    /// Short for tests.
    init(_ milliseconds: UInt64, _ sequence: UInt64) {
        self.init(milliseconds: milliseconds, sequence: sequence)
    }

    var text: String { "\(milliseconds)-\(sequence)" }
}

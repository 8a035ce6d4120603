@testable import DragonflySimulator

/// A value as it stands in a snapshot, in the order in which it stands there.
enum PlainValue: Equatable {
    case string([UInt8])
    case list([Node])
    case set([[UInt8]])
    case hash([SyntheticField])
    case sortedSet([SyntheticMember])
    case stream(PlainStream)
    /// Members, or fields and values, each with its time (protocol.md 3.9.6).
    case expiringSet([[[UInt8]]])
    case expiringHash([[[UInt8]]])
    /// JSON and the probabilistic types: only passed over.
    case foreign

    /// A list's node: one element as it is, or several.
    struct Node: Equatable {
        var elements: [[UInt8]]
        var isPlain: Bool
    }
}

/// A stream with everything that is said of it.
struct PlainStream: Equatable {
    struct Entry: Equatable {
        var id: StreamID
        var isDeleted: Bool
        /// Fields and values in turn.
        var fields: [[UInt8]]
    }

    struct Pending: Equatable {
        var id: StreamID
        var time: Int64
        var count: Int
    }

    struct Consumer: Equatable {
        var name: [UInt8]
        var seen: Int64
        /// Nil in layouts that do not have it.
        var active: Int64?
        var pending: [StreamID]
    }

    struct Group: Equatable {
        var name: [UInt8]
        var last: StreamID
        /// Nil in layouts that do not have it.
        var entriesRead: UInt64?
        var pending: [Pending]
        var consumers: [Consumer]
    }

    /// Entries by node, deleted ones too.
    var nodes: [[Entry]] = []
    var length = 0
    var last = StreamID(milliseconds: 0, sequence: 0)
    /// Nil in the oldest layout, as the next two.
    var first: StreamID?
    var maxDeleted: StreamID?
    var added: Int?
    var groups: [Group] = []

    var entries: [Entry] { nodes.flatMap { $0 }.filter { !$0.isDeleted } }
}

extension PlainStream {
    /// The entries of a node (protocol.md 3.9.7).
    static func node(_ id: [UInt8], _ listpack: [UInt8]) throws -> [Entry] {
        var idReader = Reader(id)
        let base = try idReader.rawId()
        let items = try Reader.listpack(listpack)
        var position = 0
        func failure(_ text: String) -> SnapshotDecoder.Failure {
            .init(text: text, position: position)
        }
        func next() throws -> [UInt8] {
            guard position < items.count else { throw failure("stream node ends") }
            defer { position += 1 }
            return items[position]
        }
        func integer() throws -> Int {
            guard let value = Int(String(decoding: try next(), as: UTF8.self)) else {
                throw failure("stream integer")
            }
            return value
        }
        let live = try integer()
        let count = live + (try integer())
        let names = try (0..<(try integer())).map { _ in try next() }
        guard try integer() == 0 else { throw failure("master entry") }
        var entries: [Entry] = []
        for _ in 0..<count {
            let start = position
            let flags = try integer()
            let id = StreamID(
                milliseconds: base.milliseconds &+ UInt64(bitPattern: Int64(try integer())),
                sequence: base.sequence &+ UInt64(bitPattern: Int64(try integer())))
            let fields =
                flags & 2 != 0
                ? try names.flatMap { [$0, try next()] }
                : try (0..<2 * (try integer())).map { _ in try next() }
            let written = position - start
            guard try integer() == written else { throw failure("stream back count") }
            entries.append(Entry(id: id, isDeleted: flags & 1 != 0, fields: fields))
        }
        guard position == items.count, entries.filter({ !$0.isDeleted }).count == live else {
            throw failure("stream node")
        }
        return entries
    }

    /// What follows the nodes, in type 15, 19 or 21.
    mutating func readMetadata(_ type: UInt8, _ reader: inout Reader) throws {
        length = try reader.length()
        last = try reader.id()
        if type != 15 {
            first = try reader.id()
            maxDeleted = try reader.id()
            added = try reader.length()
        }
        groups = try (0..<(try reader.length())).map { _ in
            Group(
                name: try reader.string(), last: try reader.id(),
                entriesRead: type == 15 ? nil : try reader.wideLength(),
                pending: try (0..<(try reader.length())).map { _ in
                    Pending(
                        id: try reader.rawId(), time: try reader.signed(8),
                        count: try reader.length())
                },
                consumers: try (0..<(try reader.length())).map { _ in
                    Consumer(
                        name: try reader.string(), seen: try reader.signed(8),
                        active: type == 21 ? try reader.signed(8) : nil,
                        pending: try (0..<(try reader.length())).map { _ in try reader.rawId() })
                })
        }
    }
}

@testable import DragonflySimulator

/// Decodes one entry of a snapshot, whole or chunk by chunk; a chunk must end between two units
/// (protocol.md 3.7.1).
struct EntryAssembly {
    var database: Int
    private(set) var expiry: Int64?
    private(set) var mask: UInt32 = 0
    private(set) var memcachedFlags: UInt32?
    private(set) var type: UInt8 = 0
    private(set) var key: [UInt8] = []
    private(set) var chunks = 0
    /// Strings that came as LZF.
    private(set) var packedStrings = 0
    private var remaining = 0
    private var isBegun = false
    private var items: [[UInt8]] = []
    private var members: [SyntheticMember] = []
    private var nodes: [PlainValue.Node] = []
    private var stream = PlainStream()
    /// Of a value that is never cut.
    private var whole: PlainValue?

    init(database: Int) {
        self.database = database
    }

    /// Reads an entry that lies there whole.
    mutating func readWhole(_ reader: inout Reader) throws {
        try begin(&reader)
        while remaining > 0 { try unit(&reader) }
        try end(&reader)
    }

    /// Reads a chunk; returns whether it was the last.
    mutating func readChunk(_ payload: [UInt8]) throws -> Bool {
        var reader = Reader(payload)
        guard !payload.isEmpty else { throw reader.failure("empty chunk") }
        chunks += 1
        if !isBegun {
            try begin(&reader)
            guard whole == nil, remaining > 0 else { throw reader.failure("type \(type) is cut") }
        }
        while !reader.isAtEnd, remaining > 0 { try unit(&reader) }
        guard remaining == 0 else { return false }
        try end(&reader)
        guard reader.isAtEnd else { throw reader.failure("surplus in a chunk") }
        return true
    }

    var value: PlainValue {
        switch type {
        case 2: .set(items)
        case 4: .hash(Self.pairs(items))
        case 5: .sortedSet(members)
        case 14, 18: .list(nodes)
        case 15, 19, 21: .stream(stream)
        case 31:
            .expiringHash(
                stride(from: 0, to: items.count, by: 3).map { Array(items[$0..<$0 + 3]) })
        case 32:
            .expiringSet(
                stride(from: 0, to: items.count, by: 2).map { Array(items[$0..<$0 + 2]) })
        default: whole ?? .foreign
        }
    }

    // ---- parts

    private mutating func begin(_ reader: inout Reader) throws {
        isBegun = true
        type = try reader.byte()
        if type == 0xfc {
            expiry = Int64(bitPattern: try reader.little(8))
            type = try reader.byte()
        }
        if type == 0xdc {
            mask = UInt32(try reader.little(4))
            if mask & 2 != 0 { memcachedFlags = UInt32(try reader.little(4)) }
            type = try reader.byte()
        }
        key = try string(&reader)
        switch type {
        case 2, 4, 5, 14, 15, 18, 19, 21, 31, 32: remaining = try reader.length()
        default: whole = try wholeValue(&reader)
        }
    }

    private mutating func string(_ reader: inout Reader) throws -> [UInt8] {
        let (bytes, isPacked) = try reader.countedString()
        if isPacked { packedStrings += 1 }
        return bytes
    }

    private mutating func wholeValue(_ reader: inout Reader) throws -> PlainValue {
        switch type {
        case 0, 30: return .string(try string(&reader))
        case 11: return .set(try Self.intset(try string(&reader)))
        case 12: return try sortedSet(try Reader.ziplist(try string(&reader)), reader)
        case 13: return .hash(Self.pairs(try Reader.ziplist(try string(&reader))))
        case 16: return .hash(Self.pairs(try Reader.listpack(try string(&reader))))
        case 17: return try sortedSet(try Reader.listpack(try string(&reader)), reader)
        case 33...37:
            try ForeignValue.pass(type, &reader)
            return .foreign
        default: throw reader.failure("type \(type)")
        }
    }

    private mutating func unit(_ reader: inout Reader) throws {
        switch type {
        case 2: items.append(try string(&reader))
        case 4, 32: for _ in 0..<2 { items.append(try string(&reader)) }
        case 31: for _ in 0..<3 { items.append(try string(&reader)) }
        case 5:
            members.append(.init(member: try string(&reader), score: try reader.double()))
        case 14:
            nodes.append(.init(elements: try Reader.ziplist(try string(&reader)), isPlain: false))
        case 18:
            let container = try reader.length()
            let node = try string(&reader)
            guard container == 1 || container == 2 else { throw reader.failure("container") }
            nodes.append(
                .init(
                    elements: container == 1 ? [node] : try Reader.listpack(node),
                    isPlain: container == 1))
        default: stream.nodes.append(try PlainStream.node(try reader.string(), string(&reader)))
        }
        remaining -= 1
    }

    private mutating func end(_ reader: inout Reader) throws {
        switch type {
        case 15, 19, 21: try stream.readMetadata(type, &reader)
        default: return
        }
    }

    private static func intset(_ bytes: [UInt8]) throws -> [[UInt8]] {
        var intset = Reader(bytes)
        let width = Int(try intset.little(4))
        let members = try (0..<Int(try intset.little(4))).map { _ in try intset.signed(width) }
        guard intset.isAtEnd, zip(members, members.dropFirst()).allSatisfy({ $0 < $1 }) else {
            throw intset.failure("intset")
        }
        return members.map { Array(String($0).utf8) }
    }

    private func sortedSet(_ items: [[UInt8]], _ reader: Reader) throws -> PlainValue {
        .sortedSet(
            try Self.pairs(items).map {
                guard let score = Double(String(decoding: $0.value, as: UTF8.self)) else {
                    throw reader.failure("score")
                }
                return SyntheticMember(member: $0.field, score: score)
            })
    }

    private static func pairs(_ items: [[UInt8]]) -> [SyntheticField] {
        stride(from: 0, to: items.count - 1, by: 2).map {
            SyntheticField(field: items[$0], value: items[$0 + 1])
        }
    }
}

/// Values that a Redis cannot hold (protocol.md 3.9.8 to 3.9.11).
private enum ForeignValue {
    static func pass(_ type: UInt8, _ reader: inout Reader) throws {
        switch type {
        case 30: _ = try reader.string()
        case 33, 34:
            _ = try reader.length()
            _ = try reader.take(16)
            for _ in 0..<3 { _ = try reader.length() }
            for _ in 0..<(try reader.length()) {
                _ = try reader.length()
                if type == 33 { _ = try reader.string() } else { try pieces(&reader) }
            }
        case 35:
            let count = try reader.length() * (try reader.length())
            _ = try reader.length()
            _ = try reader.take(8 * count)
        case 36:
            for _ in 0..<4 { _ = try reader.length() }
            _ = try reader.take(8)
            for _ in 0..<(try reader.length()) {
                _ = try reader.string()
                _ = try reader.length()
            }
            _ = try reader.take(try reader.length())
        default:
            for _ in 0..<6 { _ = try reader.length() }
            for _ in 0..<(try reader.length()) { try pieces(&reader) }
        }
    }

    private static func pieces(_ reader: inout Reader) throws {
        var left = try reader.length()
        while left > 0 {
            let size = try reader.length()
            _ = try reader.take(size)
            left -= size
        }
    }
}

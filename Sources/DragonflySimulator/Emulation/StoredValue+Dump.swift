extension StoredValue {
    /// Reads what a redis-server 7.0 answers to DUMP: type byte, value, version, checksum.
    init(dump: [UInt8]) throws(EmulationError) {
        let footerBytes = 10
        var reader = DumpReader(dump.dropLast(footerBytes))
        let type = try reader.byte()
        switch type {
        case 0: self = .string(try reader.string())
        case 2, 11: self = try Self.set(type, &reader)
        case 4, 16: self = try Self.hash(type, &reader)
        case 5, 17: self = try Self.sortedSet(type, &reader)
        case 18: self = try Self.list(&reader)
        case 19: self = .stream(try StoredStream(&reader))
        default: throw reader.failure("type \(type)")
        }
        guard reader.isAtEnd else { throw reader.failure("surplus") }
    }

    private static func list(_ reader: inout DumpReader) throws(EmulationError) -> StoredValue {
        var nodes: [[[UInt8]]] = []
        for _ in 0..<(try reader.count()) {
            let container = try reader.length()
            let node = try reader.string()
            nodes.append(container == 1 ? [node] : try DumpReader.listpack(node))
        }
        return .list(nodes)
    }

    private static func set(
        _ type: UInt8, _ reader: inout DumpReader
    ) throws(EmulationError) -> StoredValue {
        if type == 2 {
            return .set(members: try reader.strings(try reader.count()), isIntset: false)
        }
        var intset = DumpReader(try reader.string())
        let width = Int(try intset.little(4))
        var members: [[UInt8]] = []
        for _ in 0..<(try intset.little(4)) {
            members.append(DumpReader.text(try intset.signed(width)))
        }
        return .set(members: members, isIntset: true)
    }

    private static func hash(
        _ type: UInt8, _ reader: inout DumpReader
    ) throws(EmulationError) -> StoredValue {
        let items =
            type == 16
            ? try DumpReader.listpack(try reader.string())
            : try reader.strings(2 * (try reader.count()))
        let fields = stride(from: 0, to: items.count - 1, by: 2).map {
            Field(field: items[$0], value: items[$0 + 1])
        }
        return .hash(fields: fields, isCompact: type == 16)
    }

    private static func sortedSet(
        _ type: UInt8, _ reader: inout DumpReader
    ) throws(EmulationError) -> StoredValue {
        var members: [Member] = []
        if type == 17 {
            let items = try DumpReader.listpack(try reader.string())
            for index in stride(from: 0, to: items.count - 1, by: 2) {
                let text = String(decoding: items[index + 1], as: UTF8.self)
                guard let score = Double(text) else { throw reader.failure("score \(text)") }
                members.append(Member(member: items[index], score: score))
            }
            return .sortedSet(members: members, isCompact: true)
        }
        for _ in 0..<(try reader.count()) {
            members.append(Member(member: try reader.string(), score: try reader.double()))
        }
        // Redis dumps the greatest score first.
        return .sortedSet(members: members.reversed(), isCompact: false)
    }
}

extension StoredStream {
    /// Type 19: nodes, metadata, groups.
    fileprivate init(_ reader: inout DumpReader) throws(EmulationError) {
        nodes = []
        for _ in 0..<(try reader.count()) {
            var id = DumpReader(try reader.string())
            nodes.append(Node(id: try id.rawID(), listpack: try reader.string()))
        }
        length = try reader.length()
        last = try reader.id()
        first = try reader.id()
        maxDeleted = try reader.id()
        entriesAdded = try reader.length()
        groups = []
        for _ in 0..<(try reader.count()) { groups.append(try Self.group(&reader)) }
    }

    private static func group(_ reader: inout DumpReader) throws(EmulationError) -> Group {
        var group = Group(
            name: try reader.string(), last: try reader.id(), entriesRead: try reader.length(),
            pending: [], consumers: [])
        for _ in 0..<(try reader.count()) {
            group.pending.append(
                Pending(
                    id: try reader.rawID(), deliveryTime: try reader.signed(8),
                    deliveryCount: try reader.length()))
        }
        for _ in 0..<(try reader.count()) {
            var consumer = Consumer(
                name: try reader.string(), seenTime: try reader.signed(8), pending: [])
            for _ in 0..<(try reader.count()) { consumer.pending.append(try reader.rawID()) }
            group.consumers.append(consumer)
        }
        return group
    }
}

import Bytes

// Values as protocol.md 3.9 lays them out.
extension EntryEncoder {
    /// Seconds of 2023-02-01 00:00:00 UTC, with which the time of element expiries begins (3.9.6).
    private static let elementExpiryBase: Int64 = 1_675_209_600

    func append(
        _ value: StoredValue, _ type: UInt8, _ expiries: [[UInt8]: Int64],
        to builder: inout EntryBuilder
    ) throws(SystemError) {
        switch value {
        case .string(let bytes): try builder.append(string: bytes)
        case .list(let nodes) where type == 14: try append(oldList: nodes, to: &builder)
        case .list(let nodes): try append(list: nodes, to: &builder)
        case .set(let members, _) where type == 11:
            try builder.append(
                intset: members.compactMap { $0.withByteView { $0.parseInteger() } })
        case .set(let members, _):
            try append(set: members, type == 32 ? expiries : nil, to: &builder)
        case .hash(let fields, _) where type == 4 || type == 31:
            try append(hash: fields, type == 31 ? expiries : nil, to: &builder)
        case .hash(let fields, _):
            try append(compact: fields.flatMap { [$0.field, $0.value] }, to: &builder)
        case .sortedSet(let members, _) where type == 5:
            try append(sortedSet: members, to: &builder)
        case .sortedSet(let members, _):
            try append(
                compact: members.flatMap { [$0.member, ScoreText.bytes($0.score)] }, to: &builder)
        case .stream(let stream): try append(stream, to: &builder)
        }
    }

    private func append(
        compact items: [[UInt8]], to builder: inout EntryBuilder
    ) throws(SystemError) {
        if release.writesZiplists {
            try builder.append(ziplist: items)
        } else {
            try builder.append(listpack: items)
        }
    }

    private func append(
        set members: [[UInt8]], _ expiries: [[UInt8]: Int64]?, to builder: inout EntryBuilder
    ) throws(SystemError) {
        try builder.append(count: members.count)
        for (index, member) in members.enumerated() {
            if index > 0 { builder.split() }
            try builder.append(string: member)
            if let expiries { try append(expiry: expiries[member], to: &builder) }
        }
    }

    private func append(
        hash fields: [StoredValue.Field], _ expiries: [[UInt8]: Int64]?,
        to builder: inout EntryBuilder
    ) throws(SystemError) {
        try builder.append(count: fields.count)
        for (index, field) in fields.enumerated() {
            if index > 0 { builder.split() }
            try builder.append(string: field.field)
            try builder.append(string: field.value)
            if let expiries { try append(expiry: expiries[field.field], to: &builder) }
        }
    }

    /// -1 for none (3.9.6).
    private func append(
        expiry seconds: Int64?, to builder: inout EntryBuilder
    ) throws(SystemError) {
        let time = seconds.map { max($0 - Self.elementExpiryBase, 0) } ?? -1
        try builder.append(string: Array(String(time).utf8))
    }

    private func append(
        sortedSet members: [StoredValue.Member], to builder: inout EntryBuilder
    ) throws(SystemError) {
        try builder.append(count: members.count)
        let ordered = release.writesSortedSetsDescending ? members.reversed() : members
        for (index, member) in ordered.enumerated() {
            if index > 0 { builder.split() }
            try builder.append(string: member.member)
            try builder.append(little: member.score.bitPattern)
        }
    }

    // ---- lists

    private func append(
        oldList nodes: [[[UInt8]]], to builder: inout EntryBuilder
    ) throws(SystemError) {
        try builder.append(count: nodes.count)
        for (index, node) in nodes.enumerated() {
            if index > 0 { builder.split() }
            try builder.append(ziplist: node)
        }
    }

    private func append(
        list keyspaceNodes: [[[UInt8]]], to builder: inout EntryBuilder
    ) throws(SystemError) {
        let nodes = Self.nodes(keyspaceNodes)
        try builder.append(count: nodes.count)
        let depth = options.listCompressDepth
        for (index, node) in nodes.enumerated() {
            let isDeep = depth > 0 && index >= depth && index < nodes.count - depth
            let isCompressed = try builder.append(
                node: node.items, isPlain: node.isPlain, isCompressed: isDeep)
            if !isCompressed, index < nodes.count - 1 { builder.split() }
        }
    }

    /// The keyspace's nodes with each long element in a node of its own.
    private static func nodes(
        _ keyspaceNodes: [[[UInt8]]]
    ) -> [(items: [[UInt8]], isPlain: Bool)] {
        var nodes: [(items: [[UInt8]], isPlain: Bool)] = []
        for node in keyspaceNodes {
            var isOpen = false
            for element in node {
                let isPlain = element.count > CollectionLimits.listNodeBytes
                if isPlain || !isOpen {
                    nodes.append(([element], isPlain))
                } else {
                    nodes[nodes.count - 1].items.append(element)
                }
                isOpen = !isPlain
            }
        }
        return nodes
    }

    // ---- streams (3.9.7)

    private func append(
        _ stream: StoredStream, to builder: inout EntryBuilder
    ) throws(SystemError) {
        let isOld = release.writesOldStreams
        try builder.append(count: stream.nodes.count)
        for (index, node) in stream.nodes.enumerated() {
            try builder.append(byte: 16)
            try builder.append(rawID: node.id)
            try builder.append(string: node.listpack)
            if index < stream.nodes.count - 1 || release.splitsBehindLastNode { builder.split() }
        }
        try builder.append(length: stream.length)
        try builder.append(id: stream.last)
        if !isOld {
            try builder.append(id: stream.first)
            try builder.append(id: stream.maxDeleted)
            try builder.append(length: stream.entriesAdded)
        }
        try builder.append(count: stream.groups.count)
        for group in stream.groups {
            try builder.append(string: group.name)
            // Releases with the old layout write the stream's last id for each group.
            try builder.append(id: isOld ? stream.last : group.last)
            if !isOld { try builder.append(length: group.entriesRead) }
            try append(group, to: &builder)
        }
    }

    private func append(
        _ group: StoredStream.Group, to builder: inout EntryBuilder
    ) throws(SystemError) {
        try builder.append(count: group.pending.count)
        for entry in group.pending {
            try builder.append(rawID: entry.id)
            try builder.append(little: entry.deliveryTime)
            try builder.append(length: entry.deliveryCount)
        }
        try builder.append(count: group.consumers.count)
        for consumer in group.consumers {
            try builder.append(string: consumer.name)
            try builder.append(little: consumer.seenTime)
            if !release.writesOldStreams {
                // Redis 7.0 does not know when a consumer last got something.
                let isActive = !consumer.pending.isEmpty
                try builder.append(little: isActive ? consumer.seenTime : -1)
            }
            try builder.append(count: consumer.pending.count)
            for id in consumer.pending { try builder.append(rawID: id) }
        }
    }
}

import Bytes

// The generated collections, each in the encoding Dragonfly 1.40 gives it (protocol.md 3.9).
extension SnapshotWriter {
    /// Key number `index` of any kind.
    mutating func append(_ kind: SyntheticData.Kind, _ index: Int) throws(SystemError) {
        switch kind {
        case .string: try appendString(index)
        case .hash: try appendHash(index)
        case .list: try appendList(index)
        case .set: try appendSet(index)
        case .sortedSet: try appendSortedSet(index)
        case .stream: try appendStream(index)
        }
    }

    private mutating func begin(
        _ kind: SyntheticData.Kind, _ index: Int, type: UInt8
    ) throws(SystemError) {
        first.clear()
        try first.append(ByteView(kind.prefix))
        try first.append(little: HexDigits.word(UInt32(truncatingIfNeeded: index)))
        try beginEntry(type: type, key: first.view, expiry: data.expiry(kind, index))
    }

    private mutating func endListpack(
        _ kind: SyntheticData.Kind, _ index: Int, type: UInt8, count: Int
    ) throws(SystemError) {
        try begin(kind, index, type: type)
        try entry.append(listpack: elements.view, count: count)
        try endEntry(database: data.database(index))
    }

    private mutating func makeElement(
        _ kind: SyntheticData.Kind, _ index: Int, _ element: Int
    ) throws(SystemError) {
        second.clear(keeping: 1 << 20)
        try data.appendElement(kind, index, element, to: &second)
    }

    private mutating func makeMember(
        _ kind: SyntheticData.Kind, _ index: Int, _ element: Int
    ) throws(SystemError) {
        second.clear(keeping: 1 << 20)
        try data.appendMember(kind, index, element, to: &second)
    }

    private mutating func appendHash(_ index: Int) throws(SystemError) {
        let count = max(data.hashes.elements, 1)
        elements.clear(keeping: 1 << 20)
        var fits = true
        for element in 0..<count where fits {
            first.clear()
            try data.appendField(.hash, index, element, to: &first)
            try makeElement(.hash, index, element)
            let size = elements.count + RegionBuffer.listpackOverhead + first.count + second.count
            // The first pair of a hash may have any size.
            fits =
                element == 0
                || (size < CollectionLimits.hashListpackBytes
                    && second.count <= CollectionLimits.hashElementBytes)
            guard fits else { break }
            try elements.append(listpackElement: first.view)
            try elements.append(listpackElement: second.view)
        }
        if fits { return try endListpack(.hash, index, type: 16, count: 2 * count) }
        try begin(.hash, index, type: 4)
        try entry.append(length: count)
        for element in 0..<count {
            first.clear()
            try data.appendField(.hash, index, element, to: &first)
            try makeElement(.hash, index, element)
            try entry.append(string: first.view)
            try entry.append(string: second.view)
            if element < count - 1 { try splitIfLarge(database: data.database(index)) }
        }
        try endEntry(database: data.database(index))
    }

    private mutating func appendSet(_ index: Int) throws(SystemError) {
        let count = max(data.sets.elements, 1)
        if index % 2 == 1, count <= CollectionLimits.intsetMembers {
            return try appendIntset(index, count)
        }
        try begin(.set, index, type: 2)
        try entry.append(length: count)
        for element in 0..<count {
            try makeMember(.set, index, element)
            try entry.append(string: second.view)
            if element < count - 1 { try splitIfLarge(database: data.database(index)) }
        }
        try endEntry(database: data.database(index))
    }

    private mutating func appendIntset(_ index: Int, _ count: Int) throws(SystemError) {
        let low = data.integerMember(index, 0)
        let high = data.integerMember(index, count - 1)
        try begin(.set, index, type: 11)
        let width = RegionBuffer.intsetWidth(from: low, to: high)
        try entry.append(length: RegionBuffer.intsetOverhead + count * width)
        try entry.append(intset: count, from: low, to: high) { data.integerMember(index, $0) }
        try endEntry(database: data.database(index))
    }

    private mutating func appendSortedSet(_ index: Int) throws(SystemError) {
        let count = max(data.sortedSets.elements, 1)
        let memberBytes = max(data.sortedSets.elementBytes, 8)
        if count <= CollectionLimits.sortedSetListpackMembers,
            memberBytes <= CollectionLimits.sortedSetMemberBytes
        {
            elements.clear(keeping: 1 << 20)
            for element in 0..<count {
                try makeMember(.sortedSet, index, element)
                try elements.append(listpackElement: second.view)
                first.clear()
                try first.append(double: data.score(index, element))
                try elements.append(listpackElement: first.view)
            }
            return try endListpack(.sortedSet, index, type: 17, count: 2 * count)
        }
        try begin(.sortedSet, index, type: 5)
        try entry.append(length: count)
        for element in 0..<count {
            try makeMember(.sortedSet, index, element)
            try entry.append(string: second.view)
            try entry.append(little: data.score(index, element).bitPattern)
            if element < count - 1 { try splitIfLarge(database: data.database(index)) }
        }
        try endEntry(database: data.database(index))
    }

    private mutating func appendList(_ index: Int) throws(SystemError) {
        let count = max(data.lists.elements, 1)
        try begin(.list, index, type: 18)
        try entry.append(length: try listNodeCount(index, count))
        var inNode = 0
        elements.clear(keeping: 1 << 20)
        for element in 0..<count {
            try makeElement(.list, index, element)
            if inNode > 0, startsNode(second.count, after: elements.count) {
                try endListNode(inNode)
                inNode = 0
                try splitIfLarge(database: data.database(index))
            }
            if second.count >= CollectionLimits.listNodeBytes {
                try entry.append(length: 1)
                try entry.append(string: second.view)
                if element < count - 1 { try splitIfLarge(database: data.database(index)) }
            } else {
                try elements.append(listpackElement: second.view)
                inNode += 1
            }
        }
        if inNode > 0 { try endListNode(inNode) }
        try endEntry(database: data.database(index))
    }

    /// Whether an element of `size` bytes begins a new node behind `bytes` bytes of elements.
    private func startsNode(_ size: Int, after bytes: Int) -> Bool {
        size >= CollectionLimits.listNodeBytes || bytes + size + 16 > CollectionLimits.listNodeBytes
    }

    private mutating func endListNode(_ count: Int) throws(SystemError) {
        try entry.append(length: 2)
        try entry.append(listpack: elements.view, count: count)
        elements.clear(keeping: 1 << 20)
    }

    /// The number of nodes comes before the first one, so they are counted in a pass of their own.
    private mutating func listNodeCount(_ index: Int, _ count: Int) throws(SystemError) -> Int {
        var nodes = 0
        var inNode = 0
        elements.clear(keeping: 1 << 20)
        for element in 0..<count {
            try makeElement(.list, index, element)
            if inNode > 0, startsNode(second.count, after: elements.count) {
                elements.clear(keeping: 1 << 20)
                inNode = 0
            }
            if inNode == 0 { nodes += 1 }
            if second.count < CollectionLimits.listNodeBytes {
                try elements.append(listpackElement: second.view)
                inNode += 1
            }
        }
        return nodes
    }

    /// A key of the live traffic: a string, or a list of elements of one size.
    mutating func append(_ key: LiveTraffic.Key) throws(SystemError) {
        first.clear()
        try key.name.withByteView { (view) throws(SystemError) in try first.append(view) }
        switch key.value {
        case .string(let value):
            try beginEntry(type: 0, key: first.view, expiry: nil)
            try value.withByteView { (view) throws(SystemError) in
                try entry.append(string: view)
            }
        case .list(let values):
            try beginEntry(type: 18, key: first.view, expiry: nil)
            try appendNodes(values, database: key.database)
        case .hash, .set, .sortedSet, .stream:
            preconditionFailure("live traffic writes strings and lists")
        }
        try endEntry(database: key.database)
    }

    private mutating func appendNodes(
        _ values: [[UInt8]], database: Int
    ) throws(SystemError) {
        let size = values.first?.count ?? 0
        let isPlain = size >= CollectionLimits.listNodeBytes
        let perNode = isPlain ? 1 : max(CollectionLimits.listNodeBytes / (size + 16), 1)
        try entry.append(length: (values.count + perNode - 1) / perNode)
        for start in stride(from: 0, to: values.count, by: perNode) {
            if start > 0 { try splitIfLarge(database: database) }
            let node = values[start..<min(start + perNode, values.count)]
            elements.clear(keeping: 1 << 20)
            for value in node {
                try value.withByteView { (view) throws(SystemError) in
                    if isPlain {
                        try elements.append(string: view)
                    } else {
                        try elements.append(listpackElement: view)
                    }
                }
            }
            if isPlain {
                try entry.append(length: 1)
                try entry.append(elements.view)
            } else {
                try endListNode(node.count)
            }
        }
    }

    // ---- streams

    private mutating func appendStream(_ index: Int) throws(SystemError) {
        let count = max(data.streams.elements, 1)
        // An entry holds flags, two deltas and a count beside its value.
        let entryBytes = max(data.streams.elementBytes, 8) + 16
        let perNode = min(
            max(CollectionLimits.streamNodeBytes / entryBytes, 1),
            CollectionLimits.streamNodeEntries)
        try begin(.stream, index, type: 21)
        try entry.append(length: (count + perNode - 1) / perNode)
        for start in stride(from: 0, to: count, by: perNode) {
            try appendStreamNode(index, start..<min(start + perNode, count))
            try splitIfLarge(database: data.database(index))
        }
        let last = data.streamID(count - 1)
        let first = data.streamID(0)
        try entry.append(length: count)
        try entry.append(id: last)
        try entry.append(id: first)
        try entry.append(id: StreamID(milliseconds: 0, sequence: 0))
        try entry.append(length: count)
        try appendStreamGroup(data.deliveredCount(index))
        try endEntry(database: data.database(index))
    }

    private mutating func appendStreamNode(
        _ index: Int, _ range: Range<Int>
    ) throws(SystemError) {
        let node = data.streamID(range.lowerBound)
        elements.clear(keeping: 1 << 20)
        // The master entry: count, deleted, one field, its name, terminator.
        try elements.append(listpackInteger: Int64(range.count))
        try elements.append(listpackInteger: 0)
        try elements.append(listpackInteger: 1)
        try elements.append(listpackElement: ByteView("value"))
        try elements.append(listpackInteger: 0)
        for number in range {
            let id = data.streamID(number)
            try makeElement(.stream, index, number)
            // Flags 2: the fields are the master entry's.
            try elements.append(listpackInteger: 2)
            try elements.append(listpackInteger: Int64(id.milliseconds - node.milliseconds))
            try elements.append(
                listpackInteger: Int64(id.sequence) - Int64(node.sequence))
            try elements.append(listpackElement: second.view)
            try elements.append(listpackInteger: 4)
        }
        try entry.append(length: 16)
        try entry.append(rawID: node)
        try entry.append(listpack: elements.view, count: 5 + 5 * range.count)
    }

    private mutating func appendStreamGroup(_ delivered: Int) throws(SystemError) {
        guard delivered > 0 else { return try entry.append(length: 0) }
        let time = SyntheticData.streamStartMilliseconds
        try entry.append(length: 1)
        try entry.append(string: ByteView("workers"))
        try entry.append(id: data.streamID(delivered - 1))
        try entry.append(length: delivered)
        try entry.append(length: delivered)
        for number in 0..<delivered {
            try entry.append(rawID: data.streamID(number))
            try entry.append(little: time)
            try entry.append(length: 1)
        }
        try entry.append(length: 1)
        try entry.append(string: ByteView("worker-1"))
        try entry.append(little: time)
        try entry.append(little: time)
        try entry.append(length: delivered)
        for number in 0..<delivered { try entry.append(rawID: data.streamID(number)) }
    }
}

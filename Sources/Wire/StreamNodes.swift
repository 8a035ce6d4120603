import Bytes

/// The nodes of one stream: where each is in the value.
struct StreamNodes: ~Copyable {
    private var value = ByteView()
    /// For each node the position of its 16 id bytes, which its listpack follows.
    private var positions: RegionBuffer
    private(set) var count = 0
    private let keptBytes: Int

    init(keptBytes: Int) throws(SystemError) {
        positions = try RegionBuffer()
        self.keptBytes = keptBytes
    }

    /// Reads where the nodes are; moves the cursor behind them. Their ids must ascend.
    mutating func open(_ cursor: inout WholeCursor) throws(DecodeError) {
        value = cursor.bytes
        positions.clear(keeping: keptBytes)
        count = 0
        let announced = try cursor.count()
        var last: StreamID?
        for _ in 0..<announced {
            let id = try cursor.streamNodeID()
            if let last, last >= id { throw DecodeError(.damagedContainer) }
            last = id
            do {
                try positions.append(little: UInt64(cursor.position - StreamID.rawSize))
            } catch {
                throw DecodeError(.outOfMemory)
            }
            _ = try cursor.string()
            count += 1
        }
    }

    private func position(_ number: Int) -> Int {
        Int(positions.view.little(number * 8, as: UInt64.self))
    }

    private func id(_ number: Int) -> StreamID {
        value.streamID(position(number))
    }

    /// The listpack of a node, in the value or in `scratch`.
    func listpack(_ number: Int, scratch: inout Scratch) throws(DecodeError) -> ByteView {
        var cursor = WholeCursor(value, at: position(number) + StreamID.rawSize)
        return try scratch.decode(cursor.string())
    }

    /// A cursor before the first entry of a node.
    func cursor(
        _ number: Int, scratch: inout Scratch
    ) throws(DecodeError) -> StreamNodeCursor {
        try StreamNodeCursor(id: id(number), listpack: listpack(number, scratch: &scratch))
    }

    /// The node that would hold an id: the last one whose id is not greater.
    func lastNode(notAfter id: StreamID) -> Int? {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if self.id(middle) <= id { low = middle + 1 } else { high = middle }
        }
        return low > 0 ? low - 1 : nil
    }
}

/// Tells whether a stream still has an entry. Cheap for ids that ascend from call to call.
struct StreamEntryFinder: ~Copyable {
    /// The node of the last search, nil for none, and its number.
    private var node: StreamNodeCursor?
    private var nodeNumber = 0
    /// The id searched for, and the first live entry of the node that is not before it.
    private var lastID = StreamID()
    private var entryID: StreamID?
    private var scratch: Scratch

    init(_ limits: DecoderLimits) throws(SystemError) {
        scratch = try Scratch(limits)
    }

    /// To be called when another stream is opened.
    mutating func reset() {
        scratch.reset()
        node = nil
    }

    /// True if there is a live entry with this id.
    mutating func find(
        _ id: StreamID, in nodes: borrowing StreamNodes
    ) throws(DecodeError) -> Bool {
        guard let number = nodes.lastNode(notAfter: id) else { return false }
        if node == nil || number != nodeNumber || id < lastID {
            node = nil
            node = try nodes.cursor(number, scratch: &scratch)
            nodeNumber = number
            entryID = try nextLiveID()
        }
        lastID = id
        while let candidate = entryID, candidate < id { entryID = try nextLiveID() }
        return entryID == id
    }

    private mutating func nextLiveID() throws(DecodeError) -> StreamID? {
        while let entry = try node?.nextEntry() {
            if !entry.isDeleted { return entry.id }
        }
        return nil
    }
}

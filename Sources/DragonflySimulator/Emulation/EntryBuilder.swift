import Bytes

/// Builds the bytes of one entry or DUMP reply, and notes where they may be cut.
struct EntryBuilder: ~Copyable {
    /// Smallest list node that is compressed, and what it must gain (`MIN_COMPRESS_BYTES` and
    /// `MIN_COMPRESS_IMPROVE` of redis' quicklist).
    private static let compressedNodeBytes = 48
    private static let compressedNodeGain = 8

    /// What was written so far.
    private(set) var bytes: RegionBuffer
    /// Offsets in `bytes` between two elements.
    private(set) var splits: [Int] = []
    private let usesLZF: Bool
    private var elements: RegionBuffer
    private var container: RegionBuffer
    private var scratch: RegionBuffer

    init(usesLZF: Bool) throws(SystemError) {
        let bytes = try RegionBuffer()
        let elements = try RegionBuffer()
        let container = try RegionBuffer()
        let scratch = try RegionBuffer()
        self.bytes = bytes
        self.elements = elements
        self.container = container
        self.scratch = scratch
        self.usesLZF = usesLZF
    }

    /// Here the entry may be cut.
    mutating func split() {
        splits.append(bytes.count)
    }

    mutating func append(byte: UInt8) throws(SystemError) {
        try bytes.append(byte: byte)
    }

    mutating func append(length: UInt64) throws(SystemError) {
        try bytes.append(length: length)
    }

    mutating func append(count: Int) throws(SystemError) {
        try bytes.append(length: count)
    }

    mutating func append(little value: some FixedWidthInteger) throws(SystemError) {
        try bytes.append(little: value)
    }

    mutating func append(expiry milliseconds: Int64) throws(SystemError) {
        try bytes.append(expiry: milliseconds)
    }

    mutating func append(id: StreamID) throws(SystemError) {
        try bytes.append(id: id)
    }

    mutating func append(rawID id: StreamID) throws(SystemError) {
        try bytes.append(rawID: id)
    }

    /// A string: an integer in its short form, LZF in the mode that has it and if it gains.
    mutating func append(string: [UInt8]) throws(SystemError) {
        try string.withByteView { (view) throws(SystemError) in try append(string: view) }
    }

    private mutating func append(string: ByteView) throws(SystemError) {
        if usesLZF, try bytes.append(lzf: string, scratch: &scratch) { return }
        try bytes.append(string: string)
    }

    mutating func append(listpack items: [[UInt8]]) throws(SystemError) {
        try makeListpack(items)
        try append(string: container.view)
    }

    mutating func append(ziplist items: [[UInt8]]) throws(SystemError) {
        var ziplist = try Ziplist()
        for item in items { try ziplist.append(item) }
        container.clear(keeping: 1 << 20)
        try ziplist.write(to: &container)
        try append(string: container.view)
    }

    /// Ascending members, not empty.
    mutating func append(intset members: [Int64]) throws(SystemError) {
        container.clear(keeping: 1 << 20)
        try container.append(
            intset: members.count, from: members.first ?? 0, to: members.last ?? 0
        ) { members[$0] }
        try append(string: container.view)
    }

    /// A list node of type 18; `isCompressed` if it lies deep enough in a list whose inner nodes are
    /// kept compressed. Returns whether it is written so: then the list is not cut behind it.
    mutating func append(
        node items: [[UInt8]], isPlain: Bool, isCompressed: Bool
    ) throws(SystemError) -> Bool {
        try append(count: isPlain ? 1 : 2)
        if isPlain {
            container.clear(keeping: 1 << 20)
            for item in items { try container.append(item) }
        } else {
            try makeListpack(items)
        }
        if isCompressed, container.count >= Self.compressedNodeBytes {
            scratch.clear(keeping: 1 << 20)
            if try LZF.compress(container.view, into: &scratch),
                scratch.count + Self.compressedNodeGain < container.count
            {
                try bytes.append(lzfBlob: scratch.view, originalCount: container.count)
                return true
            }
        }
        try append(string: container.view)
        return false
    }

    private mutating func makeListpack(_ items: [[UInt8]]) throws(SystemError) {
        elements.clear(keeping: 1 << 20)
        for item in items {
            try item.withByteView { (view) throws(SystemError) in
                try elements.append(listpackElement: view)
            }
        }
        container.clear(keeping: 1 << 20)
        try container.append(listpackBody: elements.view, count: items.count)
    }
}

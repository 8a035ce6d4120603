public import Bytes

/// Walks the structure of a complete encoded value before it is sent on as it came.
///
/// A DUMP payload carries a fresh checksum, so the target cannot see that the bytes under it are
/// damaged, and a server with default settings does not look: it trusts sizes, counts, terminators
/// and uniqueness, and crashes on them later. Everything it would trust is checked here.
///
/// Not checked, because every server does and answers with an error: duplicates in plain sets,
/// sorted sets and large plain hashes, and duplicate names of groups and consumers. (Plain hashes
/// that fit a server's packed form are not looked through by it, so they are here.)
///
/// The scratch space for compressed strings grows to the largest one met, within the limit given.
public struct ContainerCheck: ~Copyable {
    /// What a sound value is.
    public struct Verdict: Equatable, Sendable {
        /// Elements, field-value pairs or live entries.
        public var elementCount = 0
        /// True for a container with nothing in it, which no server keeps: write it as a DEL.
        /// A stream may be empty.
        public var isEmpty = false
        /// False if these bytes cannot be loaded as they are, though what they hold can be written
        /// with commands: an old list with raw nodes, a list with an empty node, an unsorted packed
        /// sorted set, a packed container of more fields than are looked through for duplicates, or
        /// a type that no server knows. Which types a given server knows is not considered.
        public var isVerbatimLoadable = true
    }

    /// Of the value in hand, filled while walking.
    var verdict = Verdict()
    /// Holds the container in hand, if it came compressed.
    var containerScratch: Scratch
    var leftScratch: Scratch
    var rightScratch: Scratch
    var duplicates = DuplicateFinder()

    /// - Parameter limits: `assemblyBytes` bounds what one compressed string may decompress to, and
    ///   scratch space above `windowBytes` is given back with the next value.
    public init(limits: DecoderLimits = DecoderLimits()) throws(SystemError) {
        // All first: a struct that owns memory cannot be left half made.
        let container = try Scratch(limits)
        let left = try Scratch(limits)
        let right = try Scratch(limits)
        containerScratch = container
        leftScratch = left
        rightScratch = right
    }

    /// Checks the value of a key: the bytes after the key, to their end.
    /// Throws `damagedContainer`, `damagedCompression`, `badLength`, `badString`,
    /// `lengthAboveLimit` or `outOfMemory`, without offset: the caller knows the key.
    public mutating func check(
        type: ValueType, value: ByteView
    ) throws(DecodeError) -> Verdict {
        verdict = Verdict()
        containerScratch.reset()
        leftScratch.reset()
        rightScratch.reset()
        var cursor = WholeCursor(value)
        switch type {
        case .string:
            try passString(&cursor)
            verdict.elementCount = 1
        case .json:
            try passString(&cursor)
            verdict.elementCount = 1
            verdict.isVerbatimLoadable = false
        case .bloom, .bloomChunked, .countMin, .topK, .cuckoo:
            // Nothing can load them; where they end was the decoder's business.
            return Verdict(elementCount: 1, isVerbatimLoadable: false)
        case .set: try checkStrings(&cursor)
        case .hash: try checkHash(&cursor)
        case .zset2: try checkScoredStrings(&cursor)
        case .hashWithExpiry: try checkExpiringStrings(&cursor, perElement: 2)
        case .setWithExpiry: try checkExpiringStrings(&cursor, perElement: 1)
        case .setIntset: try checkIntset(&cursor)
        case .setListpack: try checkPackedSet(&cursor)
        case .zsetListpack: try checkPackedZset(&cursor, .listpack)
        case .zsetZiplist: try checkPackedZset(&cursor, .ziplist)
        case .hashListpack: try checkPackedHash(&cursor, .listpack)
        case .hashZiplist: try checkPackedHash(&cursor, .ziplist)
        case .listQuicklist, .listQuicklist2: try checkList(&cursor, type)
        case .streamListpacks, .streamListpacks2, .streamListpacks3:
            try checkStream(&cursor, type)
        }
        try cursor.expectEnd()
        verdict.isEmpty = verdict.elementCount == 0 && type.family != .stream
        return verdict
    }

    // MARK: - Values of separate strings

    /// Passes a string whose text does not matter; a compressed one must decompress.
    private mutating func passString(_ cursor: inout WholeCursor) throws(DecodeError) {
        let string = try cursor.string()
        if case .lzf = string {
            _ = try containerScratch.decode(string)
        }
    }

    private mutating func checkStrings(_ cursor: inout WholeCursor) throws(DecodeError) {
        verdict.elementCount = try cursor.count()
        for _ in 0..<verdict.elementCount { try passString(&cursor) }
    }

    private mutating func checkScoredStrings(_ cursor: inout WholeCursor) throws(DecodeError) {
        verdict.elementCount = try cursor.count()
        for _ in 0..<verdict.elementCount {
            try passString(&cursor)
            guard !Double(bitPattern: try cursor.little(as: UInt64.self)).isNaN else {
                throw DecodeError(.damagedContainer)
            }
        }
    }

    private mutating func checkExpiringStrings(
        _ cursor: inout WholeCursor, perElement: Int
    ) throws(DecodeError) {
        verdict.isVerbatimLoadable = false
        verdict.elementCount = try cursor.count()
        for _ in 0..<verdict.elementCount {
            for _ in 0..<perElement { try passString(&cursor) }
            _ = try cursor.elementExpiry()
        }
    }

    /// A server packs a small plain hash without a look for duplicates, and asserts that there are
    /// none when it unpacks it later. One above `DuplicateFinder.limit` is nowhere small.
    private mutating func checkHash(_ cursor: inout WholeCursor) throws(DecodeError) {
        verdict.elementCount = try cursor.count()
        let looksForDuplicates = verdict.elementCount <= DuplicateFinder.limit
        if looksForDuplicates { duplicates.start(count: verdict.elementCount) }
        for _ in 0..<verdict.elementCount {
            let start = cursor.position
            if looksForDuplicates {
                let field = try leftScratch.element(cursor.string())
                duplicates.search(field.textHash)
                while let position = duplicates.nextCandidate() {
                    var earlier = WholeCursor(cursor.bytes, at: position)
                    let other = try rightScratch.element(earlier.string())
                    if other.hasSameText(as: field) { throw DecodeError(.damagedContainer) }
                }
                duplicates.insert(position: start)
            } else {
                try passString(&cursor)
            }
            try passString(&cursor)
        }
    }
}

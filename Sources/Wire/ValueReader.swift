public import Bytes

/// One element of a collection: a view, valid until the reader's next call.
public struct ValueElement {
    /// List element, set member, hash field or sorted-set member.
    public var member: ByteView
    /// Value of a hash field, else empty.
    public var value: ByteView
    /// Score of a sorted-set member, else 0. Never NaN.
    public var score: Double
    /// Expiry of a hash field or set member in Unix milliseconds, 0 for none (protocol.md 3.9.6).
    public var expiryMilliseconds: Int64

    init(
        member: ByteView, value: ByteView = ByteView(), score: Double = 0,
        expiryMilliseconds: Int64 = 0
    ) {
        self.member = member
        self.value = value
        self.score = score
        self.expiryMilliseconds = expiryMilliseconds
    }
}

/// Iterates over the elements of a list, set, sorted set or hash in any encoding (protocol.md 3.9.2
/// to 3.9.6), in the order of the value.
///
/// Open a value, then call `next` until it returns nil. To pass over some elements twice, take a
/// `mark` before and `rewind` to it after. The value's bytes must stay valid and in place from
/// `open` on. Damage throws where it is met, and nothing is promised about the reader then but that
/// it can open another value.
///
/// Nothing is allocated per element. Compressed strings are decompressed into scratch space that
/// grows to the largest one met, within the limit given.
public struct ValueReader: ~Copyable {
    /// How the elements lie in the value.
    private enum Shape {
        case nothing
        case members
        case pairs
        case scoredMembers
        case expiringMembers
        case expiringPairs
        /// In one packed container, or in the packed containers and raw nodes of a list.
        case packedMembers
        case packedPairs
        case packedScoredMembers
        case listNodes
    }

    /// A place between two elements of the value that is open.
    public struct Mark {
        fileprivate var position: Int
        fileprivate var unitsLeft: Int
        fileprivate var nodeStart: Int
        fileprivate var container: PackedCursor?
    }

    private var shape = Shape.nothing
    private var type = ValueType.string
    private var outer = WholeCursor(ByteView())
    /// Elements, or nodes of a list, not yet begun.
    private var unitsLeft = 0
    /// The container in hand and where its string starts in the value.
    private var container: PackedCursor?
    private var nodeStart = -1

    private var containerScratch: Scratch
    private var memberScratch: Scratch
    private var valueScratch: Scratch

    /// - Parameter limits: `assemblyBytes` bounds what one compressed string may decompress to, and
    ///   scratch space above `windowBytes` is given back with the next value.
    public init(limits: DecoderLimits = DecoderLimits()) throws(SystemError) {
        // All first: a struct that owns memory cannot be left half made.
        let container = try Scratch(limits)
        let member = try Scratch(limits)
        let value = try Scratch(limits)
        containerScratch = container
        memberScratch = member
        valueScratch = value
    }

    /// Starts with the value of a key: the bytes after the key, to their end. The type must be one
    /// of the families list, set, sorted set and hash.
    /// Throws as `next` does.
    public mutating func open(type: ValueType, value: ByteView) throws(DecodeError) {
        start(type, value)
        switch type {
        case .setIntset: container = try openContainer(.intset)
        case .setListpack, .hashListpack, .zsetListpack: container = try openContainer(.listpack)
        case .hashZiplist, .zsetZiplist: container = try openContainer(.ziplist)
        default: unitsLeft = try outer.count()
        }
    }

    /// Starts with a part of a big value: `units` elements, or nodes of a list.
    public mutating func open(type: ValueType, units: Int, part: ByteView) {
        start(type, part)
        unitsLeft = units
    }

    private mutating func start(_ type: ValueType, _ value: ByteView) {
        containerScratch.reset()
        memberScratch.reset()
        valueScratch.reset()
        self.type = type
        outer = WholeCursor(value)
        container = nil
        nodeStart = -1
        unitsLeft = 0
        switch type {
        case .set: shape = .members
        case .hash: shape = .pairs
        case .zset2: shape = .scoredMembers
        case .setWithExpiry: shape = .expiringMembers
        case .hashWithExpiry: shape = .expiringPairs
        case .listQuicklist, .listQuicklist2: shape = .listNodes
        case .setIntset, .setListpack: shape = .packedMembers
        case .hashListpack, .hashZiplist: shape = .packedPairs
        case .zsetListpack, .zsetZiplist: shape = .packedScoredMembers
        default: preconditionFailure("not a collection")
        }
    }

    /// The next element, nil after the last.
    /// Throws `damagedContainer`, `damagedCompression`, `badLength`, `badString`,
    /// `lengthAboveLimit` or `outOfMemory`, without offset: the caller knows the key.
    public mutating func next() throws(DecodeError) -> ValueElement? {
        switch shape {
        case .packedMembers:
            guard let member = try container?.next() else { return nil }
            return ValueElement(member: try memberScratch.text(member))
        case .packedPairs:
            guard let field = try container?.next(), let value = try container?.required() else {
                return nil
            }
            return ValueElement(
                member: try memberScratch.text(field),
                value: try valueScratch.text(value))
        case .packedScoredMembers:
            guard let member = try container?.next(), let score = try container?.required() else {
                return nil
            }
            guard let score = score.score else { throw DecodeError(.damagedContainer) }
            return ValueElement(
                member: try memberScratch.text(member), score: score)
        case .listNodes:
            return try nextOfList()
        default:
            return try nextOfStrings()
        }
    }

    /// The place before the element that `next` would return.
    public var mark: Mark {
        Mark(
            position: outer.position, unitsLeft: unitsLeft, nodeStart: nodeStart,
            container: container)
    }

    /// Goes back, or forward, to a place in the value that is open. Throws `outOfMemory` if a
    /// compressed node cannot be decompressed again.
    public mutating func rewind(to mark: Mark) throws(DecodeError) {
        var restored = mark.container
        if restored != nil {
            if nodeStart != mark.nodeStart {
                outer.position = mark.nodeStart
                container = nil
                restored?.bytes = try containerScratch.decode(outer.string())
            } else if let container {
                restored?.bytes = container.bytes
            }
        }
        container = restored
        nodeStart = mark.nodeStart
        outer.position = mark.position
        unitsLeft = mark.unitsLeft
    }

    /// The only string of the value, as a container.
    private mutating func openContainer(
        _ form: PackedCursor.Form
    ) throws(DecodeError) -> PackedCursor {
        nodeStart = outer.position
        let string = try outer.string()
        try outer.expectEnd()
        return try PackedCursor(form, containerScratch.decode(string))
    }

    private mutating func nextOfList() throws(DecodeError) -> ValueElement? {
        while true {
            if let element = try container?.next() {
                return ValueElement(member: try memberScratch.text(element))
            }
            guard unitsLeft > 0 else {
                try outer.expectEnd()
                return nil
            }
            unitsLeft -= 1
            // Until the container is open nothing in hand is valid.
            container = nil
            nodeStart = -1
            let kind = type == .listQuicklist ? nil : try outer.length()
            let start = outer.position
            let bytes = try containerScratch.decode(outer.string())
            switch ListNode(kind: kind, bytes) {
            case .raw:
                return ValueElement(member: bytes)
            case .packed(let form):
                container = try PackedCursor(form, bytes)
                nodeStart = start
            case nil:
                throw DecodeError(.damagedContainer)
            }
        }
    }

    private mutating func nextOfStrings() throws(DecodeError) -> ValueElement? {
        guard unitsLeft > 0 else {
            try outer.expectEnd()
            return nil
        }
        unitsLeft -= 1
        var element = ValueElement(member: try memberScratch.decode(outer.string()))
        if shape == .pairs || shape == .expiringPairs {
            element.value = try valueScratch.decode(outer.string())
        }
        switch shape {
        case .scoredMembers:
            element.score = Double(bitPattern: try outer.little(as: UInt64.self))
            guard !element.score.isNaN else { throw DecodeError(.damagedContainer) }
        case .expiringMembers, .expiringPairs:
            element.expiryMilliseconds = try outer.elementExpiry()
        default:
            break
        }
        return element
    }
}

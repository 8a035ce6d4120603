import Bytes
import CPlatform

/// What a generated keyspace holds: a pure function of its parameters, so that a test can compute
/// what every key must be.
public struct SyntheticData: Sendable {
    public enum Kind: Int, CaseIterable, Sendable {
        case string
        case hash
        case list
        case set
        case sortedSet
        case stream

        /// What the names of this kind's keys begin with.
        public var prefix: StaticString {
            switch self {
            case .string: "string:"
            case .hash: "hash:"
            case .list: "list:"
            case .set: "set:"
            case .sortedSet: "zset:"
            case .stream: "stream:"
            }
        }
    }

    /// How many keys of a kind there are, and how large each is.
    public struct Shape: Sendable, Equatable {
        /// Keys; at most 2^32.
        public var count: Int
        /// Elements per key (pairs, members, entries), at least 1; strings have none.
        public var elements: Int
        /// Bytes of a string, a hash value, a list element, a member or a stream value. Members have
        /// at least 8.
        public var elementBytes: Int

        public init(count: Int = 0, elements: Int = 10, elementBytes: Int = 16) {
            self.count = count
            self.elements = elements
            self.elementBytes = elementBytes
        }
    }

    public let seed: UInt64
    /// Flows, 1 to 1024: keys are spread over them as Dragonfly spreads them over shards.
    public var flowCount = 1
    /// Key number i of each kind is in database i mod `databaseCount`.
    public var databaseCount = 1
    public var strings = Shape(elements: 0, elementBytes: 64)
    public var hashes = Shape()
    /// Every fourth element is an integer.
    public var lists = Shape()
    /// Sets with an odd number hold integers.
    public var sets = Shape()
    public var sortedSets = Shape()
    /// Streams with an odd number have a consumer group with pending entries.
    public var streams = Shape()
    /// So many entries of a group are pending; above two, every stream has a group.
    public var deliveredEntries = 2
    /// How many keys in a hundred expire.
    public var expiringPercent = 0
    /// The earliest expiry, Unix milliseconds; the others follow within 180 days. Unless set, 90 days
    /// after this value was made.
    public var firstExpiryMilliseconds: Int64
    let texts: TextPool

    public init(seed: UInt64 = 1) {
        self.seed = seed
        texts = TextPool(seed: seed)
        firstExpiryMilliseconds = cp_unix_milliseconds() + 90 * 86_400_000
    }

    public func shape(_ kind: Kind) -> Shape {
        switch kind {
        case .string: strings
        case .hash: hashes
        case .list: lists
        case .set: sets
        case .sortedSet: sortedSets
        case .stream: streams
        }
    }

    public var keyCount: Int { Kind.allCases.reduce(0) { $0 + shape($1).count } }

    /// The name of key number `index` of a kind: the prefix and eight hexadecimal digits.
    public func key(_ kind: Kind, _ index: Int) -> [UInt8] {
        ByteView(kind.prefix).array() + HexDigits.array(UInt32(truncatingIfNeeded: index))
    }

    public func database(_ index: Int) -> Int { index % databaseCount }

    /// The flow that carries a key (protocol.md 7.1).
    public func flow(_ kind: Kind, _ index: Int) -> Int {
        shard(of: key(kind, index), flowCount: flowCount)
    }

    /// When a key expires, Unix milliseconds; nil for never.
    public func expiry(_ kind: Kind, _ index: Int) -> Int64? {
        guard expiringPercent > 0 else { return nil }
        let mixed = SplitMix.mix(salt(kind, index) ^ 0xe791)
        guard mixed % 100 < UInt64(expiringPercent) else { return nil }
        return firstExpiryMilliseconds + Int64((mixed >> 16) % (180 * 86_400_000))
    }

    /// A number that differs for every key.
    func salt(_ kind: Kind, _ index: Int) -> UInt64 {
        SplitMix.mix(seed &+ UInt64(kind.rawValue) << 56 &+ UInt64(index))
    }
}

/// The shard of a key in Dragonfly's default mode, which hashes the whole key (protocol.md 7.1).
///
/// - Parameter flowCount: the number of shards.
public func shard(of key: [UInt8], flowCount: Int) -> Int {
    key.withByteView { $0.shard(flowCount: flowCount) }
}

extension ByteView {
    func shard(flowCount: Int) -> Int {
        flowCount == 1 ? 0 : Int(xxh64(seed: 120_577_240_643) % UInt64(flowCount))
    }
}

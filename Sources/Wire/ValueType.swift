/// Type codes of values in the snapshot (protocol.md 3.9).
public enum ValueType: UInt8, Sendable, CaseIterable {
    case string = 0
    case set = 2
    case hash = 4
    case zset2 = 5
    case setIntset = 11
    case zsetZiplist = 12
    case hashZiplist = 13
    case listQuicklist = 14
    case streamListpacks = 15
    case hashListpack = 16
    case zsetListpack = 17
    case listQuicklist2 = 18
    case streamListpacks2 = 19
    case setListpack = 20
    case streamListpacks3 = 21
    case json = 30
    case hashWithExpiry = 31
    case setWithExpiry = 32
    case bloom = 33
    case bloomChunked = 34
    case countMin = 35
    case topK = 36
    case cuckoo = 37

    /// Whether fields or members may have an expiry of their own.
    public var hasElementExpiries: Bool { self == .hashWithExpiry || self == .setWithExpiry }

    /// What the value is, whatever its encoding.
    public var family: ValueFamily {
        switch self {
        case .string: .string
        case .listQuicklist, .listQuicklist2: .list
        case .set, .setIntset, .setListpack, .setWithExpiry: .set
        case .hash, .hashZiplist, .hashListpack, .hashWithExpiry: .hash
        case .zset2, .zsetZiplist, .zsetListpack: .zset
        case .streamListpacks, .streamListpacks2, .streamListpacks3: .stream
        case .json: .json
        case .bloom, .bloomChunked: .bloom
        case .countMin: .countMin
        case .topK: .topK
        case .cuckoo: .cuckoo
        }
    }
}

/// The kinds of value that are counted apart. The first six exist in every Redis.
public enum ValueFamily: UInt8, Sendable, BitwiseCopyable, CaseIterable {
    case string, list, set, zset, hash, stream, json, bloom, cuckoo, countMin, topK

    /// False for what a Redis without modules cannot hold.
    public var isCore: Bool { rawValue <= ValueFamily.stream.rawValue }

    public var name: String {
        switch self {
        case .string: "string"
        case .list: "list"
        case .set: "set"
        case .zset: "zset"
        case .hash: "hash"
        case .stream: "stream"
        case .json: "json"
        case .bloom: "bloom"
        case .cuckoo: "cuckoo"
        case .countMin: "count-min"
        case .topK: "top-k"
        }
    }
}

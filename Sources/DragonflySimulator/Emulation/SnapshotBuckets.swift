import Bytes

/// The keys of one shard by bucket, as a full sync found them, and which buckets are captured
/// (protocol.md 3.8): a bucket is captured as a whole, before the first change of one of its keys.
struct SnapshotBuckets {
    private static let hashSeed: UInt64 = 0x6275_636b_6574

    private var keys: [[KeyName]] = []
    private var isCaptured: [Bool] = []
    /// All buckets in the order in which an undisturbed flow captures them.
    private var order: [Int] = []
    private var position = 0

    init() {}

    init(_ names: [KeyName], keysPerBucket: Int, random: inout SplitMix) {
        let count = max(1, names.count / max(keysPerBucket, 1))
        keys = Array(repeating: [], count: count)
        isCaptured = Array(repeating: false, count: count)
        order = Array(0..<count)
        for index in order.indices.reversed() {
            order.swapAt(index, Int(random.next() % UInt64(index + 1)))
        }
        for name in names { add(name) }
    }

    /// The bucket of a key that is not captured yet; nil if its bucket is.
    func uncaptured(_ name: KeyName) -> Int? {
        guard !keys.isEmpty else { return nil }
        let bucket = bucket(name)
        return isCaptured[bucket] ? nil : bucket
    }

    /// The next bucket in order that is not captured.
    mutating func nextUncaptured() -> Int? {
        while position < order.count {
            if !isCaptured[order[position]] { return order[position] }
            position += 1
        }
        return nil
    }

    /// A key that came into being in a bucket that is not captured.
    mutating func add(_ name: KeyName) {
        keys[bucket(name)].append(name)
    }

    /// Marks a bucket as captured and returns its keys, each once.
    mutating func capture(_ bucket: Int) -> [KeyName] {
        isCaptured[bucket] = true
        var seen: Set<KeyName> = []
        let names = keys[bucket].filter { seen.insert($0).inserted }
        keys[bucket] = []
        return names
    }

    private func bucket(_ name: KeyName) -> Int {
        let seed = Self.hashSeed &+ UInt64(name.database)
        let hash = name.key.withByteView { $0.xxh64(seed: seed) }
        return Int(hash % UInt64(keys.count))
    }
}

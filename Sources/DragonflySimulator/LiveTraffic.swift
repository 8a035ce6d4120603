import Bytes

/// Writes that a generated master executes while it is replicated: SET, INCR and LPUSH in turn, on
/// keys of their own, a pure function of the parameters.
public struct LiveTraffic: Sendable {
    /// One key that the traffic has written to.
    public struct Key: Equatable, Sendable {
        public let name: [UInt8]
        public let database: Int
        public let value: SyntheticValue
    }

    enum Kind: Int, CaseIterable {
        case set
        case increment
        case push

        var prefix: StaticString {
            switch self {
            case .set: "live:set:"
            case .increment: "live:counter:"
            case .push: "live:list:"
            }
        }
    }

    /// One record, before it is spelled out.
    struct Record {
        let number: Int
        let kind: Kind
        let keyIndex: Int
    }

    public let seed: UInt64
    /// Records in all, over all flows.
    public var recordCount: Int
    /// Of these, how many come as journal blobs during full sync.
    public var recordsDuringFullSync = 0
    /// Records per second over all flows; 0 for as fast as possible.
    public var recordsPerSecond = 0
    /// Keys of each of the three kinds; 1 to 2^32.
    public var keysPerKind = 1000
    /// Bytes of a SET value or list element.
    public var valueBytes = 32
    /// Key number i is in database i mod `databaseCount`.
    public var databaseCount = 1
    let texts: TextPool

    public init(recordCount: Int, seed: UInt64 = 1) {
        self.recordCount = recordCount
        self.seed = seed
        texts = TextPool(seed: seed)
    }

    /// What the keys hold after all records, or after the first `count` of them.
    public func keys(afterRecords count: Int? = nil) -> [Key] {
        var state = LiveState(self)
        for number in 0..<min(count ?? recordCount, recordCount) { state.apply(record(number)) }
        return state.keys()
    }

    func record(_ number: Int) -> Record {
        let mixed = SplitMix.mix(seed &+ UInt64(number) &* 0x9e37_79b9)
        return Record(
            number: number, kind: [.set, .increment, .push][number % 3],
            keyIndex: Int(mixed % UInt64(keysPerKind)))
    }

    func appendKey(
        _ kind: Kind, _ index: Int, to buffer: inout RegionBuffer
    ) throws(SystemError) {
        try buffer.append(ByteView(kind.prefix))
        try buffer.append(little: HexDigits.word(UInt32(truncatingIfNeeded: index)))
    }

    /// The value or element that a record brings; INCR brings none.
    func appendValue(_ number: Int, to buffer: inout RegionBuffer) throws(SystemError) {
        try texts.append(SplitMix.mix(seed ^ UInt64(number)), number, valueBytes, to: &buffer)
    }

    /// The flow of each key, by kind and key number.
    func placement(flowCount: Int) throws(SystemError) -> [[UInt16]] {
        var buffer = try RegionBuffer()
        var placement: [[UInt16]] = []
        for kind in Kind.allCases {
            var flows = [UInt16](repeating: 0, count: keysPerKind)
            for index in flows.indices {
                buffer.clear()
                try appendKey(kind, index, to: &buffer)
                flows[index] = UInt16(buffer.view.shard(flowCount: flowCount))
            }
            placement.append(flows)
        }
        return placement
    }
}

/// The keyspace that the traffic builds, folded record by record.
struct LiveState {
    private let traffic: LiveTraffic
    /// By key number: the record of the last SET, the count of INCRs, the records pushed.
    private var lastSet: [Int: Int] = [:]
    private var counts: [Int: Int] = [:]
    private var pushes: [Int: [Int]] = [:]

    init(_ traffic: LiveTraffic) {
        self.traffic = traffic
    }

    mutating func apply(_ record: LiveTraffic.Record) {
        switch record.kind {
        case .set: lastSet[record.keyIndex] = record.number
        case .increment: counts[record.keyIndex, default: 0] += 1
        case .push: pushes[record.keyIndex, default: []].append(record.number)
        }
    }

    func keys() -> [LiveTraffic.Key] {
        lastSet.sorted { $0.key < $1.key }.map { key(.set, $0.key, .string(value($0.value))) }
            + counts.sorted { $0.key < $1.key }.map {
                key(.increment, $0.key, .string(Array(String($0.value).utf8)))
            }
            + pushes.sorted { $0.key < $1.key }.map {
                // LPUSH: the last one stands first.
                key(.push, $0.key, .list($0.value.reversed().map(value)))
            }
    }

    private func key(
        _ kind: LiveTraffic.Kind, _ index: Int, _ value: SyntheticValue
    ) -> LiveTraffic.Key {
        let digits = HexDigits.array(UInt32(truncatingIfNeeded: index))
        let name = ByteView(kind.prefix).array() + digits
        return LiveTraffic.Key(
            name: name, database: index % traffic.databaseCount, value: value)
    }

    private func value(_ number: Int) -> [UInt8] {
        do {
            var buffer = try RegionBuffer()
            try traffic.appendValue(number, to: &buffer)
            return buffer.view.array()
        } catch {
            fatalError("no memory for a generated value")
        }
    }
}

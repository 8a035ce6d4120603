import Bytes
import TestSupport

@testable import DragonflySimulator

/// Random values as a Dragonfly holds them, sizes mostly around the limits where encodings change.
/// The same for the same seed.
struct RandomValues {
    private var random: SeededGenerator

    init(seed: UInt64) {
        random = SeededGenerator(seed: seed)
    }

    /// A key with a value, and what a target without expiries of elements must hold of it.
    struct Case {
        var key: StoredKey
        var value: StoredValue
        /// Nil if nothing is left of it at `RandomValues.now`.
        var expected: StateEntry?
        /// The same if it was written by commands, which cannot make a pending entry of a deleted
        /// message.
        var expectedOfCommands: StateEntry?
    }

    /// The time at which elements have expired or not, Unix seconds.
    static let now: Int64 = 1_700_000_000

    mutating func next(_ index: Int) -> Case {
        var name = Array("k\(index)".utf8)
        if chance(50) { name += random.bytes(size([0, 1, 30, 63, 64, 200])) }
        var key = StoredKey(name: KeyName(database: 0, key: name), dump: [])
        if chance(4) {
            key.expiryMilliseconds = Int64.random(
                in: 4_000_000_000_000...9_000_000_000_000, using: &random)
        }
        key.isSticky = chance(30)
        if chance(30) { key.memcachedFlags = UInt32.random(in: 0...UInt32.max, using: &random) }
        switch Int.random(in: 0..<12, using: &random) {
        case 0, 1: return string(key)
        case 2, 3: return list(key)
        case 4, 5: return set(key)
        case 6, 7: return hash(key)
        case 8, 9, 10: return sortedSet(key)
        default: return stream(key)
        }
    }

    // MARK: Parts

    mutating func pick(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &random) }

    /// A field or a value of a stream.
    mutating func element() -> [UInt8] { text(few: chance(50)) }

    private mutating func chance(_ one: Int) -> Bool {
        Int.random(in: 0..<one, using: &random) == 0
    }

    /// One of these, or one more or less.
    private mutating func size(_ limits: [Int]) -> Int {
        let limit = limits[Int.random(in: 0..<limits.count, using: &random)]
        return max(0, limit + Int.random(in: -1...1, using: &random))
    }

    /// Mostly few; sometimes where a compact form, an intset, a chunk of commands or a count of two
    /// bytes ends.
    private mutating func count() -> Int {
        switch Int.random(in: 0..<200, using: &random) {
        case 0..<160: Int.random(in: 1...12, using: &random)
        case 160..<185: Int.random(in: 13...64, using: &random)
        case 185..<199: size([63, 127, 128, 255, 256, 511, 512, 513])
        default: size([1024, 1500])
        }
    }

    /// `few`: the value has few elements, so that they may be long.
    private mutating func text(few: Bool) -> [UInt8] {
        switch Int.random(in: 0..<40, using: &random) {
        case 0..<14: integer()
        case 14..<30: random.bytes(Int.random(in: 0...18, using: &random))
        case 30..<32:
            Array("+5 -0 007 1.0 00 9223372036854775808".utf8.prefix(size([3, 7, 20, 35])))
        case 32..<36: random.bytes(size([11, 20, 32, 63, 64, 126, 127]), kinds: kinds())
        case 36..<39 where few: random.bytes(size([128, 255, 4095, 4096]), kinds: kinds())
        case 39 where few && chance(3): random.bytes(size([8191, 8192, 16383, 16384]), kinds: 3)
        default: random.bytes(Int.random(in: 0...64, using: &random), kinds: kinds())
        }
    }

    private mutating func kinds() -> Int { chance(2) ? 256 : 2 }

    /// Near a power of two of either sign, where the widths of integers change.
    private mutating func integer() -> [UInt8] {
        if chance(20) { return Array(String(chance(2) ? Int64.min : Int64.max).utf8) }
        if chance(3) { return Array(String(Int.random(in: -130...130, using: &random)).utf8) }
        let power = Int64(1) << Int64.random(in: 0...62, using: &random)
        let value = power + Int64.random(in: -2...1, using: &random)
        return Array(String(chance(2) ? value : -value).utf8)
    }

    private mutating func texts(distinct: Bool) -> [[UInt8]] {
        let count = self.count()
        let texts = (0..<count).map { _ in text(few: count < 13) }
        guard distinct else { return texts }
        var seen: Set<[UInt8]> = []
        return texts.filter { seen.insert($0).inserted }
    }

    private func entry(_ key: StoredKey, _ type: String, _ value: StateValue) -> StateEntry {
        StateEntry(type: type, expiryMilliseconds: key.expiryMilliseconds, value: value)
    }

    private func result(
        _ key: StoredKey, _ value: StoredValue, _ expected: StateEntry?
    ) -> Case {
        Case(key: key, value: value, expected: expected, expectedOfCommands: expected)
    }

    // MARK: Types

    private mutating func string(_ key: StoredKey) -> Case {
        let bytes =
            chance(40)
            ? random.bytes(size([16383, 16384, 65535, 65536]), kinds: kinds()) : text(few: true)
        return result(key, .string(bytes), entry(key, "string", .string(bytes)))
    }

    private mutating func list(_ key: StoredKey) -> Case {
        let elements = texts(distinct: false)
        // Nodes as Dragonfly fills them: below 8 KiB.
        var nodes: [[[UInt8]]] = []
        var room = 0
        for element in elements {
            let bytes = element.withByteView { RegionBuffer.listpackBytes(of: $0) }
            if bytes >= room || chance(500) {
                nodes.append([])
                room = CollectionLimits.listNodeBytes - RegionBuffer.listpackOverhead
            }
            nodes[nodes.count - 1].append(element)
            room -= bytes
        }
        return result(key, .list(nodes), entry(key, "list", .list(elements)))
    }

    /// Expiries for some of the elements, some of them past; most values have none.
    private mutating func expiries(_ elements: [[UInt8]]) -> [[UInt8]: Int64] {
        guard chance(8) else { return [:] }
        var expiries: [[UInt8]: Int64] = [:]
        let isPast = chance(6)
        for element in elements where isPast || chance(2) {
            expiries[element] =
                isPast || chance(4)
                ? Int64.random(in: 1_676_000_000..<Self.now, using: &random)
                : Int64.random(in: 1_900_000_000...2_100_000_000, using: &random)
        }
        return expiries
    }

    private mutating func set(_ key: StoredKey) -> Case {
        var key = key
        var members = texts(distinct: true)
        let numbers = Set(
            members.compactMap { member in member.withByteView { $0.parseInteger() } })
        let isIntset = !numbers.isEmpty && chance(2)
        if isIntset { members = numbers.sorted().map { Array(String($0).utf8) } }
        key.elementExpiries = expiries(members)
        let left = members.filter { (key.elementExpiries[$0] ?? .max) > Self.now }
            .sorted { $0.lexicographicallyPrecedes($1) }
        return result(
            key, .set(members: members, isIntset: isIntset),
            left.isEmpty ? nil : entry(key, "set", .set(left)))
    }

    private mutating func hash(_ key: StoredKey) -> Case {
        var key = key
        let names = texts(distinct: true)
        let fields = names.map {
            StoredValue.Field(field: $0, value: text(few: names.count < 13))
        }
        key.elementExpiries = expiries(names)
        let left = fields.filter { (key.elementExpiries[$0.field] ?? .max) > Self.now }
            .map { FieldValue(field: $0.field, value: $0.value) }
            .sorted { $0.field.lexicographicallyPrecedes($1.field) }
        return result(
            key, .hash(fields: fields, isCompact: chance(2)),
            left.isEmpty ? nil : entry(key, "hash", .hash(left)))
    }

    private mutating func sortedSet(_ key: StoredKey) -> Case {
        let names = texts(distinct: true)
        // Redis keeps a small sorted set in a listpack, which has no zero with a sign.
        let isSmall = names.count <= 128 && names.allSatisfy { $0.count <= 64 }
        let members = names.map { member in
            let score = score()
            return StoredValue.Member(member: member, score: isSmall && score == 0 ? 0 : score)
        }
        .sorted {
            $0.score != $1.score
                ? $0.score < $1.score : $0.member.lexicographicallyPrecedes($1.member)
        }
        let expected = members.map { ScoredMember(member: $0.member, score: $0.score) }
        return result(
            key, .sortedSet(members: members, isCompact: chance(2)),
            entry(key, "zset", .zset(expected)))
    }

    private mutating func score() -> Double {
        switch Int.random(in: 0..<16, using: &random) {
        case 0..<5: return Double(Int.random(in: -200...200, using: &random))
        case 5: return Double(Int64.random(in: .min ... .max, using: &random))
        case 6: return chance(2) ? .infinity : -.infinity
        case 7: return chance(2) ? -0.0 : 0
        case 8:
            // 2^53, where whole numbers stop being exact, and 2^62, where integers end.
            let limit = chance(2) ? 9_007_199_254_740_992 : 4_611_686_018_427_387_904
            let near = Double(limit + Int.random(in: -1024...1024, using: &random))
            return chance(2) ? near : -near
        case 9: return Double(bitPattern: UInt64.random(in: 1...0xf_ffff_ffff_ffff, using: &random))
        case 10: return chance(2) ? .leastNonzeroMagnitude : -.greatestFiniteMagnitude
        case 11, 12: return Double(Int.random(in: -9999...9999, using: &random)) / 100
        default:
            let any = Double(bitPattern: random.next())
            return any.isFinite ? any : 0.1 + 0.2
        }
    }
}

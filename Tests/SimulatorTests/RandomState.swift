import TestSupport

/// Random contents of a server, the same for the same seed.
struct RandomState {
    private var random: SeededGenerator

    init(seed: UInt64) {
        random = SeededGenerator(seed: seed)
    }

    /// `count` keys of all types, some of them expiring.
    mutating func keys(_ count: Int) -> ServerState {
        var state: ServerState = [:]
        for index in 0..<count {
            let key = StateKey(Int.random(in: 0...3, using: &random), "key:\(index)")
            let types = ["string", "list", "set", "hash", "zset", "stream"]
            let type = types[Int.random(in: 0..<types.count, using: &random)]
            let expires = Int.random(in: 0..<4, using: &random) == 0
            state[key] = StateEntry(
                type: type,
                expiryMilliseconds: expires
                    ? Int64.random(in: 4_000_000_000_000...5_000_000_000_000, using: &random) : 0,
                value: value(type))
        }
        return state
    }

    private mutating func value(_ type: String) -> StateValue {
        switch type {
        case "string": return .string(text(10_000))
        case "list": return .list(texts(distinct: false))
        case "set": return .set(texts(distinct: true))
        case "hash":
            return .hash(texts(distinct: true).map { FieldValue(field: $0, value: text(100)) })
        case "zset":
            let members = texts(distinct: true).map { ScoredMember(member: $0, score: score()) }
            return .zset(
                members.sorted {
                    $0.score != $1.score
                        ? $0.score < $1.score : $0.member.lexicographicallyPrecedes($1.member)
                })
        default: return .stream(stream())
        }
    }

    /// Up to 300 elements, mostly few; distinct ones in byte order.
    private mutating func texts(distinct: Bool) -> [[UInt8]] {
        let count = 1 + Int.random(in: 0..<(Bool.random(using: &random) ? 10 : 300), using: &random)
        let onlyIntegers = Bool.random(using: &random)
        let texts = (0..<count).map { _ in onlyIntegers ? integer() : text(80) }
        return distinct
            ? Set(texts).sorted { $0.lexicographicallyPrecedes($1) } : texts
    }

    private mutating func text(_ limit: Int) -> [UInt8] {
        switch Int.random(in: 0..<8, using: &random) {
        case 0, 1, 2: integer()
        case 3: random.bytes(Int.random(in: 0...limit, using: &random), kinds: 2)
        case 4: random.bytes(Int.random(in: 60...68, using: &random))
        case 5: Array("007 +5 -0 1.0".utf8.prefix(Int.random(in: 0...13, using: &random)))
        case 6: random.bytes(Int.random(in: 0...4, using: &random))
        default: random.bytes(Int.random(in: 0...limit, using: &random))
        }
    }

    /// Near a power of two of either sign, where the widths of encodings change.
    private mutating func integer() -> [UInt8] {
        let power = Int64(1) << Int64.random(in: 0...62, using: &random)
        let value = power + Int64.random(in: -2...1, using: &random)
        return Array(String(Bool.random(using: &random) ? value : -value).utf8)
    }

    private mutating func score() -> Double {
        switch Int.random(in: 0..<6, using: &random) {
        case 0: return Double(Int.random(in: -200...200, using: &random))
        case 1: return Double(Int64.random(in: .min ... .max, using: &random))
        case 2: return Bool.random(using: &random) ? .infinity : -.infinity
        case 3: return Double(Int.random(in: 1...9999, using: &random)) / 100
        default:
            let any = Double(bitPattern: random.next())
            return any.isFinite && any != 0 ? any : 1.5
        }
    }

    private mutating func stream() -> StreamState {
        let count = Int.random(in: 0...150, using: &random)
        var milliseconds = Int.random(in: 1...2_000_000_000_000, using: &random)
        let names = [text(20), text(20)]
        var entries: [StreamState.Entry] = []
        for sequence in 0..<count {
            if Bool.random(using: &random) {
                milliseconds += Int.random(in: 0...70_000, using: &random)
            }
            let fields =
                Bool.random(using: &random)
                ? names.flatMap { [$0, text(30)] } : [text(20), text(100)]
            entries.append(.init(id: "\(milliseconds)-\(sequence)", fields: fields))
        }
        let last = "\(milliseconds + 5)-0"
        let groups = (0..<Int.random(in: 0...2, using: &random)).map { number in
            group("g\(number)", entries)
        }
        return StreamState(
            entries: entries, lastID: last,
            maxDeletedID: Bool.random(using: &random) ? "0-0" : "1-0",
            entriesAdded: Int64(count + Int.random(in: 0...3, using: &random)), groups: groups)
    }

    private mutating func group(_ name: String, _ entries: [StreamState.Entry]) -> StreamState.Group
    {
        let consumers = ["c1", "c2", "c3"].map { Array($0.utf8) }
        let delivered = entries.prefix(Int.random(in: 0...20, using: &random))
        return StreamState.Group(
            name: Array(name.utf8), lastID: delivered.last?.id ?? "0-0",
            entriesRead: Bool.random(using: &random) ? Int64(delivered.count) : nil,
            pending: delivered.map {
                .init(
                    id: $0.id, consumer: consumers[Int.random(in: 0..<2, using: &random)],
                    deliveryCount: Int64.random(in: 1...300, using: &random))
            },
            consumers: consumers)
    }
}

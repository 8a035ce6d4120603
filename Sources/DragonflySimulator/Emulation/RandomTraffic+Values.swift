import Bytes

/// What a key of the random traffic is for; its name begins with the raw value.
enum RandomKeyKind: String, CaseIterable {
    case string = "s"
    case integer = "n"
    case float = "f"
    case log = "p"
    case list = "l"
    /// A list of integers, which SORT takes.
    case integerList = "li"
    case set = "t"
    case sortedSet = "z"
    case geo = "g"
    case hash = "h"
    case stream = "x"
    /// Of any type, now this and now that.
    case any = "any"
    /// With elements that expire long after the end of a run.
    case expiringHash = "hx"
    case expiringSet = "sx"
    /// With elements that expire during a run.
    case briefHash = "hq"
    case briefSet = "sq"
    /// Of types that a Redis does not have.
    case foreign = "j"
    case throttle = "th"
}

/// Keys, values and numbers, most of them where encodings change (protocol.md 3.10, 11.5).
extension RandomTraffic {
    // MARK: Chance

    mutating func below(_ limit: Int) -> Int {
        Int(truncatingIfNeeded: random.next() % UInt64(limit))
    }

    mutating func chance(_ cases: Int, in all: Int) -> Bool { below(all) < cases }

    mutating func pick<Element>(_ elements: [Element]) -> Element {
        elements[below(elements.count)]
    }

    func text(_ text: String) -> [UInt8] { Array(text.utf8) }

    /// Words separated by spaces.
    func words(_ text: String) -> [[UInt8]] { text.split(separator: " ").map { Array($0.utf8) } }

    /// One of several phrases, as words. The empty one is none.
    mutating func phrase(_ phrases: String...) -> [[UInt8]] { words(pick(phrases)) }

    // MARK: Keys

    mutating func database() -> Int { min(below(options.databases), below(options.databases)) }

    /// A key of a kind, or rarely of another one.
    mutating func key(_ kind: RandomKeyKind) -> [UInt8] {
        if chance(1, in: 100) { return RandomTraffic.name(pick(RandomTraffic.mixable), index()) }
        return RandomTraffic.name(kind, index())
    }

    func keysOfKind(_ kind: RandomKeyKind) -> [[UInt8]] {
        (0..<options.keysPerKind).map { RandomTraffic.name(kind, $0) }
    }

    mutating func keys(_ kind: RandomKeyKind, _ count: Int) -> [[UInt8]] {
        (0..<count).map { _ in key(kind) }
    }

    // Few keys are used much.
    private mutating func index() -> Int {
        min(below(options.keysPerKind), below(options.keysPerKind))
    }

    /// Kinds that commands of other kinds may hit: the rest is compared in ways of its own.
    private static let mixable: [RandomKeyKind] = [
        .string, .integer, .float, .list, .integerList, .set, .sortedSet, .hash, .stream, .any,
    ]

    /// Some names are binary, long, or have a hash tag; one string's name is empty.
    static func name(_ kind: RandomKeyKind, _ index: Int) -> [UInt8] {
        let prefix = Array(kind.rawValue.utf8)
        switch index % 16 {
        case 2 where kind == .string && index == 2: return []
        case 3:
            return prefix + [0x3a, 0x00, 0xff, 0x0d, 0x0a, 0x7b, UInt8(truncatingIfNeeded: index)]
        case 7: return prefix + [UInt8](repeating: 0x6b, count: 300) + Array("\(index)".utf8)
        case 11: return prefix + Array(":{tag}\(index)".utf8)
        default: return prefix + Array(":\(index)".utf8)
        }
    }

    // MARK: Numbers

    /// The decimal text of an integer at the edge of an encoding: every width of a listpack and an
    /// intset, both signs.
    mutating func integer() -> [UInt8] {
        if chance(1, in: 2) { return text("\(below(200) - 100)") }
        let width = pick([3, 6, 7, 8, 11, 12, 12, 13, 14, 15, 16, 22, 23, 24, 31, 32, 33, 53, 62])
        let edge = (Int64(1) << Int64(width)) + Int64(below(3)) - 1
        if chance(1, in: 20) { return text("\(pick([Int64.max, Int64.min, Int64.max - 1]))") }
        return text("\(chance(1, in: 2) ? edge : -edge)")
    }

    mutating func smallInteger() -> [UInt8] { text("\(below(20) - 10)") }

    /// What INCRBYFLOAT takes.
    mutating func float() -> [UInt8] {
        text(
            pick([
                "0.1", "0.2", "-0.3", "1e10", "3.0e3", "1e-7", "-2.5", "1234567.891", "1e17",
                "-1e17",
                "0", "5e-5", "0.30000000000000004", "100000000000000000000", "1", "-0.1",
            ]))
    }

    mutating func score() -> [UInt8] {
        switch below(4) {
        case 0:
            text(
                pick([
                    "inf", "-inf", "+inf", "0", "-0", "0.1", "3.0000000000000004", "1e-7", "5e-324",
                    "1.7976931348623157e308", "9007199254740993", "-1.5", "1e21",
                    "0.30000000000000004",
                ]))
        case 1: text("\(Double(Int64(truncatingIfNeeded: random.next()) >> 20) / 1024)")
        default: text("\(below(40))")
        }
    }

    /// An expiry of a command with relative times, ms. Some are over at once, some during the run,
    /// most long after it.
    mutating func lifetime() -> Int64 {
        switch below(10) {
        case 0: Int64(1 + below(30))
        case 1, 2: Int64(50 + below(3000))
        case 3: Int64(60_000 + below(600_000))
        // 2^28 - 1 s is the longest that a Dragonfly takes.
        default: 100_000_000_000 + Int64(below(100_000_000)) * 1000 + Int64(below(1000))
        }
    }

    /// An absolute time, Unix ms.
    mutating func moment() -> Int64 {
        chance(1, in: 30) ? now - Int64(below(5000)) : now + lifetime()
    }

    // MARK: Values

    /// Sizes around which a string, a listpack entry, its back length or a node is encoded
    /// otherwise.
    private static let edges = [
        0, 1, 2, 11, 12, 20, 21, 43, 44, 45, 62, 63, 64, 65, 125, 126, 127, 128, 129, 254, 255, 256,
        4093, 4094, 4095, 4096, 4097, 8190, 8192, 16_381, 16_382, 16_383, 16_384,
    ]

    /// A string, a list element, or a hash field's value.
    mutating func value() -> [UInt8] {
        switch below(100) {
        case 0..<35: return text("value:\(below(1000))")
        case 35..<60: return integer()
        case 60..<78: return content(RandomTraffic.edges[below(24)])
        case 78..<81: return content(pick(RandomTraffic.edges))
        case 81..<83:
            return text(pick(["007", "+5", "-0", "1.0", " 1", "1e3", "9223372036854775808"]))
        case 83..<99: return content(below(40))
        default: return content(chance(1, in: 10) ? 66_000 + below(20_000) : 9000 + below(5000))
        }
    }

    mutating func values(_ count: Int) -> [[UInt8]] { (0..<count).map { _ in value() } }

    /// Bytes of which some compress well.
    private mutating func content(_ count: Int) -> [UInt8] {
        if chance(1, in: 3) { return [UInt8](repeating: UInt8(97 + below(26)), count: count) }
        let isText = chance(1, in: 2)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 8)
        while bytes.count < count {
            let chunk = random.next()
            for shift in stride(from: UInt64(0), to: 64, by: 8) {
                let byte = UInt8(truncatingIfNeeded: chunk >> shift)
                bytes.append(isText ? 97 + byte % 16 : byte)
            }
        }
        return Array(bytes[..<count])
    }

    /// A member of a set or sorted set, from a range that makes members meet again.
    mutating func member() -> [UInt8] {
        switch below(10) {
        case 0: integer()
        case 1: value()
        case 2, 3, 4: text("\(below(60))")
        default: text("member:\(below(60))")
        }
    }

    mutating func members(_ count: Int) -> [[UInt8]] { (0..<count).map { _ in member() } }

    mutating func field() -> [UInt8] {
        switch below(12) {
        case 0: []
        case 1: value()
        case 2: integer()
        default: text("field:\(below(30))")
        }
    }

    /// A number of elements: mostly few, sometimes around where a container is encoded otherwise.
    mutating func count() -> Int {
        switch below(60) {
        case 0: pick([126, 127, 128, 129, 130])
        case 1: chance(1, in: 4) ? pick([510, 511, 512, 513, 600]) : 40
        case 2..<10: 5 + below(20)
        default: 1 + below(4)
        }
    }
}

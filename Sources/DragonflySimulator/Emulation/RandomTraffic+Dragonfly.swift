/// Commands that a Redis does not have (protocol.md 6.3 to 6.6, 6.10).
extension RandomTraffic {
    mutating func dragonfly() -> [[UInt8]] {
        let name = key(.string)
        switch below(16) {
        case 0..<5: return words("PREPEND") + [name, value()]
        case 5: return words("DELEX") + [name]
        case 6, 7: return words("DELEX") + [name] + phrase("IFEQ", "ifne", "IFNE") + [value()]
        case 8:
            return words("DELEX") + [name] + phrase("IFDEQ", "IFDNE") + words("6d1a0d2c00000000")
        case 9: return words("STICK") + keys(.any, 1 + below(3))
        case 10: return words("SET") + [name, value()] + words("STICK")
        case 11: return words("SHRINK") + [key(.hash)]
        case 12, 13: return words("CL.THROTTLE") + [key(.throttle)] + words("15 30 60")
        case 14: return words("CL.THROTTLE") + [key(.throttle)] + words("1 1 1 2")
        default: return words("STICK") + [key(.list)]
        }
    }

    /// Elements with an expiry of their own, and what else is done to their keys.
    mutating func elements(isBrief: Bool) -> [[UInt8]] {
        let hash = RandomTraffic.name(isBrief ? .briefHash : .expiringHash, below(10))
        let set = RandomTraffic.name(isBrief ? .briefSet : .expiringSet, below(10))
        // Older releases take less than 2^26 s.
        let seconds = text("\(isBrief ? 1 + below(2) : 1_000_000 + below(1_000_000))")
        let fields = (0...below(3)).map { _ in text("field:\(below(12))") }
        let pairs = fields.flatMap { [$0, text("\(below(100))")] }
        let counted = [text("\(fields.count)")] + fields
        switch below(28) {
        case 0, 1: return words("SADDEX") + [set, seconds] + members(1 + below(3))
        case 2: return words("SADDEX") + [set] + words("KEEPTTL") + [seconds] + members(2)
        case 3, 4, 5: return words("HSETEX") + [hash, seconds] + pairs
        case 6:
            return words("HSETEX") + [hash] + phrase("NX", "KEEPTTL", "nx keepttl") + [seconds]
                + pairs
        case 7, 8:
            return words("HSETEX") + [hash] + phrase("", "FNX", "fxx") + words("EX") + [seconds]
                + words("FIELDS \(fields.count)") + pairs
        case 9:
            return words("HSETEX") + [hash] + phrase("", "KEEPTTL")
                + words("FIELDS \(fields.count)")
                + pairs
        case 10: return words("FIELDEXPIRE") + [hash, seconds] + fields
        case 11: return words("FIELDEXPIRE") + [set, seconds] + members(2)
        case 12, 13:
            return words("HEXPIRE") + [hash, seconds] + phrase("", "NX", "XX", "GT", "lt")
                + words("FIELDS") + counted
        case 14, 15:
            return words("HGETEX") + [hash, text("EX"), seconds] + words("FIELDS") + counted
        case 16: return words("HGETEX") + [hash] + phrase("", "PERSIST") + words("FIELDS") + counted
        case 17, 18: return words("HSET") + [hash] + pairs
        case 19, 20: return words("HINCRBY") + [hash, fields[0], smallInteger()]
        case 21: return words("HINCRBYFLOAT") + [hash, fields[0], float()]
        case 22: return words("HSETNX") + [hash, fields[0], text("\(below(100))")]
        case 23, 24: return words("HDEL") + [hash] + fields
        case 25: return words("SADD") + [set] + members(3)
        case 26: return words("SREM") + [set] + members(2)
        default: return words("DEL") + [chance(1, in: 2) ? hash : set]
        }
    }

    /// Types that a Redis without modules cannot hold. Each has keys of its own.
    mutating func foreign() -> [[UInt8]] {
        func name(_ type: String, _ number: Int) -> [UInt8] { text("j:\(type):\(number)") }
        let number = below(6)
        switch below(16) {
        case 0, 1, 2:
            return words("JSON.SET") + [name("json", number)]
                + words("$ {\"a\":\(number),\"b\":[1]}")
        case 3: return words("JSON.NUMINCRBY") + [name("json", number)] + words("$.a 2")
        case 4: return words("JSON.ARRAPPEND") + [name("json", number)] + words("$.b 3")
        case 5: return words("JSON.DEL") + [name("json", number)]
        case 6:
            return words("JSON.MSET") + [name("json", number)] + words("$ 1") + [name("json", 7)]
                + words("$ 2")
        case 7: return words("JSON.MERGE") + [name("json", number)] + words("$ {\"z\":1}")
        case 8: return words("BF.ADD") + [name("bloom", number), member()]
        case 9: return words("BF.MADD") + [name("bloom", number)] + members(3)
        case 10: return words("CF.ADD") + [name("cuckoo", number), member()]
        case 11: return words("CMS.INITBYDIM") + [name("sketch", number)] + words("100 4")
        case 12: return words("CMS.INCRBY") + [name("sketch", number), member()] + words("3")
        case 13:
            return words("CMS.MERGE") + [name("sketch", 7)] + words("2")
                + [name("sketch", 0), name("sketch", 1)]
        case 14: return words("TOPK.RESERVE") + [name("top", number)] + words("3")
        default: return words("TOPK.ADD") + [name("top", number)] + members(2)
        }
    }
}

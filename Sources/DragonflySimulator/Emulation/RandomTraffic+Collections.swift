/// Lists, sets, sorted sets, hashes, and SORT (protocol.md 6.5, 6.6).
extension RandomTraffic {
    // Blocking commands find something or give up at once.
    private static let shortestWait = "0.001"

    mutating func list() -> [[UInt8]] {
        let name = key(.list)
        let side = phrase("LEFT", "RIGHT")
        let other = phrase("LEFT", "RIGHT", "right")
        switch below(32) {
        case 0..<4: return words("RPUSH") + [name] + values(count())
        case 4..<7: return words("LPUSH") + [name] + values(1 + below(5))
        case 7: return words(pick(["LPUSHX", "RPUSHX"])) + [name] + values(1 + below(3))
        case 8: return words("RPUSH") + [key(.integerList)] + (0..<count()).map { _ in integer() }
        case 9, 10: return words(pick(["LPOP", "RPOP"])) + [name]
        case 11, 12: return words(pick(["LPOP", "RPOP"])) + [name, text("\(below(8))")]
        case 13, 14:
            return words("LINSERT") + [name] + phrase("BEFORE", "after") + [value(), value()]
        case 15, 16: return words("LSET") + [name, text("\(below(8) - 4)"), value()]
        case 17: return words("LTRIM") + [name, text("\(below(6) - 1)"), text("\(below(60) - 3)")]
        case 18: return words("LREM") + [name, text("\(below(5) - 2)"), value()]
        case 19, 20, 21: return words("LMOVE") + [name, key(.list)] + side + other
        case 22: return words("RPOPLPUSH") + [name, key(.list)]
        // From a list into itself.
        case 23: return words("LMOVE") + [name, name] + side + other
        case 24:
            return words("BLMOVE") + [name, key(.list)] + side + other + words(Self.shortestWait)
        case 25: return words("BRPOPLPUSH") + [name, key(.list)] + words(Self.shortestWait)
        case 26, 27:
            return words(pick(["BLPOP", "BRPOP"])) + keys(.list, 1 + below(3))
                + words(Self.shortestWait)
        case 28:
            return words("BLMPOP \(Self.shortestWait)") + popped(.list, phrase("LEFT", "right"))
        default: return words("LMPOP") + popped(.list, side)
        }
    }

    // numkeys key... side [COUNT n]
    private mutating func popped(_ kind: RandomKeyKind, _ side: [[UInt8]]) -> [[UInt8]] {
        let count = 1 + below(3)
        return [text("\(count)")] + keys(kind, count) + side
            + (chance(1, in: 2) ? words("COUNT \(1 + below(6))") : [])
    }

    mutating func set() -> [[UInt8]] {
        let name = key(.set)
        switch below(24) {
        case 0..<8: return words("SADD") + [name] + members(count())
        case 8: return words("SADD") + [name] + (0..<count()).map { _ in integer() }
        case 9..<13: return words("SREM") + [name] + members(1 + below(5))
        case 13, 14: return words("SPOP") + [name]
        case 15: return words("SPOP") + [name, text("\(below(12))")]
        case 16, 17: return words("SMOVE") + [name, key(.set), member()]
        case 18: return words("SADD") + [name] + (0..<600).map { _ in text("\(below(100_000))") }
        default:
            return words(pick(["SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"])) + [key(.set)]
                + keys(.set, 1 + below(4))
        }
    }

    mutating func sortedSet() -> [[UInt8]] {
        let name = key(.sortedSet)
        switch below(32) {
        case 0..<7: return words("ZADD") + [name] + zaddOptions() + scored(count())
        case 7: return words("ZADD") + [name] + phrase("INCR", "XX INCR", "nx incr") + scored(1)
        case 8, 9, 10: return words("ZINCRBY") + [name, score(), member()]
        case 11, 12: return words("ZREM") + [name] + members(1 + below(4))
        case 13, 14: return words(pick(["ZPOPMIN", "ZPOPMAX"])) + [name]
        case 15: return words(pick(["ZPOPMIN", "ZPOPMAX"])) + [name, text("\(below(6))")]
        case 16:
            return words("ZREMRANGEBYRANK") + [name, text("\(below(4))"), text("\(below(8) - 2)")]
        case 17:
            return words("ZREMRANGEBYSCORE") + [name] + phrase("(1 3", "10 12", "-inf (0", "5 +inf")
        case 18: return words("ZREMRANGEBYLEX") + [name] + phrase("[a [b", "- (member:1", "[x +")
        case 19, 20, 21: return words("ZUNIONSTORE") + aggregated(hasWeights: true)
        case 22, 23: return words("ZINTERSTORE") + aggregated(hasWeights: true)
        case 24: return words("ZDIFFSTORE") + aggregated(hasWeights: false)
        case 25, 26:
            return words("ZRANGESTORE") + [key(.sortedSet), name]
                + phrase("0 -1", "1 3 REV", "(1 +inf BYSCORE", "- + BYLEX LIMIT 0 2", "50 60")
        case 27: return words("ZMPOP") + popped(.sortedSet, phrase("MIN", "max"))
        case 28:
            return words("BZMPOP \(Self.shortestWait)") + popped(.sortedSet, phrase("MIN", "MAX"))
        case 29, 30:
            return words(pick(["BZPOPMIN", "BZPOPMAX"])) + keys(.sortedSet, 1 + below(3))
                + words(Self.shortestWait)
        default: return words("ZADD") + [name] + scored(600)
        }
    }

    private mutating func zaddOptions() -> [[UInt8]] {
        phrase("", "", "", "NX", "XX", "GT", "LT CH", "XX GT", "CH", "nx ch")
    }

    private mutating func scored(_ count: Int) -> [[UInt8]] {
        (0..<count).flatMap { _ in [score(), member()] }
    }

    // destination numkeys key... [WEIGHTS ...] [AGGREGATE ...]
    private mutating func aggregated(hasWeights: Bool) -> [[UInt8]] {
        let count = 1 + below(3)
        var command = [key(.sortedSet), text("\(count)")]
        command += (0..<count).map { _ in key(chance(1, in: 6) ? .set : .sortedSet) }
        guard hasWeights else { return command }
        if chance(1, in: 3) { command += words("WEIGHTS") + (0..<count).map { _ in float() } }
        return command + phrase("", "", "AGGREGATE MAX", "aggregate min", "AGGREGATE SUM")
    }

    mutating func geo() -> [[UInt8]] {
        let name = key(.geo)
        let store = phrase("STORE", "STOREDIST", "store") + [key(.sortedSet)]
        switch below(6) {
        case 0:
            return words("GEORADIUS") + [name] + words("15 37 \(50 + below(3000)) km") + store
        case 1:
            return words("GEORADIUSBYMEMBER") + [name] + words("place:0 \(50 + below(3000)) km")
                + store
        default:
            var command = words("GEOADD") + [name] + phrase("", "", "CH", "NX", "XX CH")
            for _ in 0...below(4) {
                let place = (Double(below(36_000)) / 100 - 180, Double(below(17_000)) / 100 - 85)
                command += words("\(place.0) \(place.1) place:\(below(20))")
            }
            return command
        }
    }

    mutating func hash() -> [[UInt8]] {
        let name = key(.hash)
        switch below(20) {
        case 0..<6: return words("HSET") + [name] + fields(count())
        case 6: return words("HMSET") + [name] + fields(1 + below(4))
        case 7, 8: return words("HSETNX") + [name, field(), value()]
        case 9, 10:
            return words("HINCRBY") + [
                name, text("n:\(below(6))"), chance(1, in: 9) ? integer() : smallInteger(),
            ]
        case 11, 12: return words("HINCRBYFLOAT") + [name, text("f:\(below(6))"), float()]
        case 13..<17: return words("HDEL") + [name] + (0...below(4)).map { _ in field() }
        case 17: return words("HDEL") + [name] + (0..<30).map { text("field:\($0)") }
        default: return words("HSET") + [name] + fields(chance(1, in: 4) ? 600 : 2)
        }
    }

    private mutating func fields(_ count: Int) -> [[UInt8]] {
        // More fields than names recur.
        if count > 30 { return (0..<count).flatMap { [text("wide:\($0)"), value()] } }
        return (0..<count).flatMap { _ in [field(), value()] }
    }

    mutating func sort() -> [[UInt8]] {
        let order = phrase("", "", "ASC", "desc")
        let limit = phrase("", "LIMIT 0 5", "limit 1 100")
        switch below(6) {
        case 0: return words("SORT") + [key(.integerList)] + limit + order
        case 1: return words("SORT") + [key(.list)] + words("ALPHA")
        case 2:
            return words("SORT") + [key(.integerList)] + limit + order + words("STORE") + [
                key(.list)
            ]
        case 3:
            return words("SORT") + [key(.set)] + words("ALPHA") + limit + order + words("STORE")
                + [key(.list)]
        case 4:
            return words("SORT") + [key(.sortedSet)] + words("BY nosort") + limit + words("STORE")
                + [key(.list)]
        default:
            return words("SORT") + [key(.list)] + words("ALPHA") + order + words("store")
                + [key(.integerList)]
        }
    }
}

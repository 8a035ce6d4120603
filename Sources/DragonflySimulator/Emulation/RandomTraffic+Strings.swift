import Bytes

/// Strings, keys of any type, and their expiry (protocol.md 6.3, 6.4, 6.7).
extension RandomTraffic {
    // MARK: Strings

    mutating func string() -> [[UInt8]] {
        let name = key(chance(1, in: 8) ? .any : .string)
        switch below(24) {
        case 0..<8: return words("SET") + [name, value()] + setOptions()
        case 8: return words("SETEX") + [name, text("\(max(1, lifetime() / 1000))"), value()]
        case 9: return words("PSETEX") + [name, text("\(lifetime())"), value()]
        case 10: return words("SETNX") + [name, value()]
        case 11: return words("GETSET") + [name, value()]
        case 12: return words("GETDEL") + [name]
        case 13, 14, 15: return words("APPEND") + [key(.string), chance(1, in: 9) ? [] : value()]
        case 16, 17: return words("SETRANGE") + [key(.string), text("\(below(300))"), value()]
        case 18: return words("GETEX") + [name] + getexOptions()
        case 19, 20: return words("MSET") + pairs(1 + below(6))
        case 21: return words("MSETNX") + pairs(1 + below(3))
        default: return words("GETEX") + [name] + getexOptions()
        }
    }

    private mutating func pairs(_ count: Int) -> [[UInt8]] {
        (0..<count).flatMap { _ in [key(.string), value()] }
    }

    private mutating func setOptions() -> [[UInt8]] {
        var words: [[UInt8]] = []
        switch below(12) {
        case 0: words += [text("EX"), text("\(max(1, lifetime() / 1000))")]
        case 1, 2: words += [text("PX"), text("\(lifetime())")]
        case 3: words += [text("EXAT"), text("\(moment() / 1000)")]
        case 4: words += [text("PXAT"), text("\(moment())")]
        case 5: words.append(text("KEEPTTL"))
        default: break
        }
        words += phrase("", "", "", "", "NX", "XX", "GET", "get xx")
        return words
    }

    private mutating func getexOptions() -> [[UInt8]] {
        switch below(6) {
        case 0: []
        case 1: words("PERSIST")
        case 2: [text("EX"), text("\(max(1, lifetime() / 1000))")]
        case 3: [text("PX"), text("\(lifetime())")]
        case 4: [text("EXAT"), text("\(max(1, moment() / 1000))")]
        default: [text("pxat"), text("\(moment())")]
        }
    }

    mutating func number() -> [[UInt8]] {
        switch below(9) {
        case 0: words("INCR") + [key(.integer)]
        case 1: words("DECR") + [key(.integer)]
        case 2, 3: words("INCRBY") + [key(.integer), chance(1, in: 6) ? integer() : smallInteger()]
        case 4: words("DECRBY") + [key(.integer), smallInteger()]
        case 5: words("SET") + [key(.integer), integer()]
        case 6: words("SET") + [key(.float), float()]
        default: words("INCRBYFLOAT") + [key(.float), float()]
        }
    }

    mutating func bits() -> [[UInt8]] {
        let name = key(.string)
        switch below(8) {
        case 0, 1:
            let offset = chance(1, in: 30) ? below(1 << 18) : below(600)
            return words("SETBIT") + [name, text("\(offset)")] + phrase("0", "1", "1")
        case 2:
            return words("BITFIELD") + [name] + phrase("SET u8 0 255 INCRBY u4 8 3", "GET u16 0")
        case 3:
            return words("BITFIELD") + [name] + words("INCRBY i5 #\(below(20)) \(below(40) - 20)")
        case 4:
            return words("BITFIELD") + [name]
                + phrase("OVERFLOW SAT", "OVERFLOW FAIL", "overflow wrap")
                + words("INCRBY u2 \(below(100)) 1 SET i63 #1 -\(below(1 << 30))")
        case 5: return words("BITOP NOT") + [key(.string), key(.string)]
        default:
            return words("BITOP") + phrase("AND", "OR", "XOR", "or") + [key(.string)]
                + keys(.string, 1 + below(4))
        }
    }

    /// HyperLogLogs.
    mutating func log() -> [[UInt8]] {
        switch below(6) {
        case 0: words("PFMERGE") + keys(.log, 1 + below(4))
        case 1: words("PFADD") + [key(.log)] + (0..<200).map { _ in text("\(random.next())") }
        case 2: words("PFADD") + [key(.log)]
        default: words("PFADD") + [key(.log)] + members(1 + below(10))
        }
    }

    // MARK: Keys

    private mutating func anyKind() -> RandomKeyKind {
        pick([
            .string, .integer, .float, .log, .list, .integerList, .set, .sortedSet, .geo, .hash,
            .stream,
            .any, .any,
        ])
    }

    mutating func generic() -> [[UInt8]] {
        let kind = anyKind()
        // To a key of its own kind, or to one that may be anything.
        let other = chance(1, in: 4) ? RandomKeyKind.any : kind
        switch below(16) {
        case 0..<4: return words("DEL") + keys(kind, chance(1, in: 2) ? 1 : 1 + below(5))
        case 4: return words("UNLINK") + keys(kind, 1 + below(5))
        case 5, 6: return words("RENAME") + [key(kind), key(other)]
        case 7: return words("RENAMENX") + [key(kind), key(other)]
        case 8, 9, 10: return words("COPY") + [key(kind), key(other)] + copyOptions()
        case 11, 12: return words("MOVE") + [key(kind), text("\(below(options.databases))")]
        default: return restore()
        }
    }

    private mutating func copyOptions() -> [[UInt8]] {
        var words = phrase("", "REPLACE", "replace")
        if chance(1, in: 3) { words += [text("DB"), text("\(below(options.databases))")] }
        return words
    }

    private mutating func restore() -> [[UInt8]] {
        let (kind, payload) = dump()
        let isAbsolute = chance(1, in: 2)
        let ttl = chance(1, in: 3) ? 0 : isAbsolute ? max(1, moment()) : lifetime()
        return words("RESTORE") + [key(kind), text("\(ttl)"), payload]
            + phrase("REPLACE", "replace", "") + (isAbsolute ? words("ABSTTL") : [])
            + phrase("", "", "IDLETIME 10", "FREQ 5")
    }

    /// What DUMP answers for a small value: type byte, value, version 9, checksum (protocol.md
    /// 3.11).
    private mutating func dump() -> (RandomKeyKind, [UInt8]) {
        func string(_ bytes: [UInt8]) -> [UInt8] {
            bytes.count < 64
                ? [UInt8(bytes.count)] + bytes
                : [0x80] + (0..<4).map { UInt8(bytes.count >> (24 - 8 * $0) & 255) } + bytes
        }
        let count = 1 + below(5)
        let kind = pick([RandomKeyKind.string, .set, .sortedSet, .hash])
        var body: [UInt8]
        switch kind {
        case .set:
            body = [2, UInt8(count)]
            for index in 0..<count { body += string(text("member:\(index)")) }
        case .sortedSet:
            body = [5, UInt8(count)]
            for index in 0..<count {
                let bits = (Double(below(1000)) / 8).bitPattern
                body += string(text("member:\(index)"))
                body += (0..<8).map { UInt8(truncatingIfNeeded: bits >> UInt64(8 * $0)) }
            }
        case .hash:
            body = [4, UInt8(count)]
            for index in 0..<count { body += string(text("field:\(index)")) + string(value()) }
        default:
            body = [0] + string(value())
        }
        body += [9, 0]
        let checksum = body.withByteView { $0.crc64() }
        return (kind, body + (0..<8).map { UInt8(truncatingIfNeeded: checksum >> UInt64(8 * $0)) })
    }

    mutating func expiry() -> [[UInt8]] {
        let name = key(anyKind())
        let condition = phrase("", "", "", "", "NX", "XX", "GT", "lt")
        switch below(8) {
        case 0: return words("PERSIST") + [name]
        case 1: return words("EXPIRE") + [name, text("\(lifetime() / 1000)")] + condition
        case 2: return words("EXPIREAT") + [name, text("\(moment() / 1000)")] + condition
        case 3: return words("PEXPIREAT") + [name, text("\(moment())")] + condition
        case 4: return words("EXPIRE") + [name] + phrase("-1", "0", "100", "2")
        default: return words("PEXPIRE") + [name, text("\(lifetime())")] + condition
        }
    }

    /// What a reader does changes nothing, but for keys that have expired.
    mutating func reading() -> [[UInt8]] {
        words(pick(["EXISTS", "TYPE", "TTL"])) + [key(anyKind())]
    }

    /// Many keys at once.
    mutating func wide() -> [[UInt8]] {
        let kind = anyKind()
        switch below(4) {
        case 0:
            return words("MSET") + keysOfKind(.string).flatMap { [$0, value()] }
        case 1: return words("DEL") + keysOfKind(kind)
        case 2: return words("UNLINK") + keysOfKind(kind) + keysOfKind(.any)
        default:
            // Of thousands of keys, all gone again with the next.
            let names = (0..<2000).map { text("w:\($0)") }
            return chance(1, in: 3)
                ? words("MSET") + names.flatMap { [$0, text("v")] } : words("DEL") + names
        }
    }
}

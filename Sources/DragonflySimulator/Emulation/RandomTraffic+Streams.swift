/// Streams and their groups (protocol.md 6.6).
extension RandomTraffic {
    mutating func stream() -> [[UInt8]] {
        let name = key(.stream)
        switch below(32) {
        case 0..<12: return words("XADD") + [name] + xaddOptions() + [newID()] + entry()
        case 12: return words("XTRIM") + [name] + trimming()
        case 13, 14: return words("XDEL") + [name] + knownIDs()
        case 15: return words("XSETID") + [name, givenID()]
        case 16..<20: return words("XGROUP CREATE") + [name, group(), position()] + creation()
        case 20: return words("XGROUP SETID") + [name, group(), position()] + entriesRead()
        case 21: return words("XGROUP CREATECONSUMER") + [name, group(), consumer()]
        case 22: return words("XGROUP DELCONSUMER") + [name, group(), consumer()]
        case 23 where chance(1, in: 2): return words("XGROUP DESTROY") + [name, group()]
        case 23..<28: return readGroup(name)
        case 28, 29: return words("XACK") + [name, group()] + knownIDs()
        case 30:
            return words("XCLAIM") + [name, group(), consumer()] + idleTime() + knownIDs()
                + claiming()
        default:
            return words("XAUTOCLAIM") + [name, group(), consumer()] + idleTime()
                + [chance(1, in: 2) ? text("0") : knownID()]
                + phrase("", "COUNT 3", "JUSTID", "count 1 justid")
        }
    }

    // MARK: Ids

    // Given ones lie far ahead of the clock and grow, so that `*` goes on from them.
    private mutating func newID() -> [UInt8] {
        switch below(8) {
        case 0, 1, 2: return text("*")
        case 3: return text("\(lastStreamTime)-*")
        default: return givenID()
        }
    }

    private mutating func givenID() -> [UInt8] {
        lastStreamTime += UInt64(below(3))
        if chance(1, in: 500) { lastStreamTime += 1 << 33 }
        let id = "\(lastStreamTime)-\(1 + below(1000))"
        if streamIDs.count < 64 {
            streamIDs.append(id)
        } else {
            streamIDs[below(64)] = id
        }
        return text(id)
    }

    private mutating func knownID() -> [UInt8] { text(pick(streamIDs)) }

    private mutating func knownIDs() -> [[UInt8]] { (0...below(6)).map { _ in knownID() } }

    private mutating func position() -> [UInt8] {
        chance(1, in: 3) ? text("$") : chance(1, in: 2) ? text("0") : knownID()
    }

    // MARK: Options

    private mutating func xaddOptions() -> [[UInt8]] {
        var options = phrase("", "", "", "", "NOMKSTREAM")
        if chance(1, in: 3) { options += trimming() }
        return options
    }

    private mutating func trimming() -> [[UInt8]] {
        switch below(8) {
        case 0: words("MAXLEN \(below(3))")
        case 1: words("maxlen = \(below(40))")
        case 2, 3: words("MAXLEN ~ \(below(60))")
        case 4: words("MAXLEN ~ \(below(60)) LIMIT \(below(100))")
        case 5: words("MINID ~") + [knownID()]
        default: words("MINID") + phrase("", "=") + [knownID()]
        }
    }

    private mutating func entry() -> [[UInt8]] {
        // The same fields as the entry before, mostly: these are packed.
        if chance(2, in: 3) { return words("f") + [value()] + words("g") + [integer()] }
        return (0...below(4)).flatMap { _ in [field(), value()] }
    }

    // MARK: Groups

    private mutating func group() -> [UInt8] {
        chance(1, in: 9) ? [0, 0xff] : text("g\(below(3))")
    }

    private mutating func consumer() -> [UInt8] { chance(1, in: 9) ? [] : text("c\(below(4))") }

    private mutating func creation() -> [[UInt8]] {
        phrase("", "MKSTREAM", "mkstream") + entriesRead()
    }

    private mutating func entriesRead() -> [[UInt8]] {
        chance(1, in: 6) ? words("ENTRIESREAD \(below(20))") : []
    }

    private mutating func readGroup(_ name: [UInt8]) -> [[UInt8]] {
        var command = words("XREADGROUP GROUP") + [group(), consumer()]
        command += phrase("", "COUNT 1", "COUNT 3", "count 20") + phrase("", "", "", "NOACK")
        let other = key(.stream)
        // A stream given twice would be read twice by the server and once by a Dragonfly.
        if other != name, chance(1, in: 6) {
            return command + words("STREAMS") + [name, other] + words("> >")
        }
        return command + words("STREAMS") + [name] + phrase(">", ">", ">", "0")
    }

    private mutating func idleTime() -> [[UInt8]] { phrase("0", "0", "0", "1", "3600000") }

    private mutating func claiming() -> [[UInt8]] {
        var options = phrase("", "IDLE 500", "TIME \(now - 1000)", "")
        options += phrase("", "RETRYCOUNT 7", "")
        options += phrase("", "FORCE", "force")
        options += phrase("", "JUSTID")
        if chance(1, in: 5) { options += words("LASTID") + [knownID()] }
        return options
    }
}

/// Commands of clients as a fuzzer would send them: every write command of protocol.md 6.3 to 6.6
/// and 6.13 in all its forms, on a bounded universe of keys. The same seed and the same times give
/// the same commands.
///
/// Most keys have a kind that their name begins with (`RandomKeyKind`), so that most commands find
/// what they are made for; some do not, and are refused by whoever executes them.
public struct RandomTraffic: Sendable {
    /// What a client does next.
    public enum Step: Equatable, Sendable {
        case command([[UInt8]], database: Int)
        /// A MULTI block.
        case transaction([[[UInt8]]], database: Int)
        /// No server accepts it.
        case malformed([[UInt8]], database: Int)
        /// Of a memcached client: `incr k n`, `decr k n`, `append k v`, `prepend k v`,
        /// `touch k ms`, `set k flags ms v`, with absolute times in ms, 0 for none.
        case memcached([[UInt8]])
    }

    /// What the traffic is made of.
    public struct Options: Sendable {
        public var seed: UInt64
        /// Keys of each kind in each database.
        public var keysPerKind = 40
        /// Commands go to databases 0 ..< this.
        public var databases = 3
        /// Commands that a Redis does not know (PREPEND, DELEX, STICK, CL.THROTTLE ...).
        public var usesDragonflyCommands = true
        /// JSON and probabilistic types.
        public var usesForeignTypes = true
        /// Elements with an expiry of their own, far enough away to be there at the end of a run.
        public var usesElementExpiries = true
        /// The same with expiries of one or two seconds, on keys of kinds `briefHash` and
        /// `briefSet`.
        public var usesBriefElements = false
        public var usesMemcached = false

        public init(seed: UInt64) { self.seed = seed }
    }

    public let options: Options
    /// Now and then everything is flushed; only while no full sync goes on.
    public var allowsFlushes = false
    var random: SplitMix
    /// Unix milliseconds.
    var now: Int64 = 0
    /// The last stream id's first part that was given, later than any clock.
    var lastStreamTime: UInt64 = 9_000_000_000_000
    /// Ids that were given lately, for commands that name entries.
    var streamIDs: [String] = ["0-1"]

    public init(_ options: Options) {
        self.options = options
        random = SplitMix(seed: options.seed)
    }

    /// The next step of a client at a time in Unix milliseconds.
    public mutating func next(at now: Int64) -> Step {
        self.now = now
        if allowsFlushes, chance(1, in: 5000) {
            return .command(flush(), database: database())
        }
        if options.usesMemcached, chance(1, in: 12) { return .memcached(memcached()) }
        switch below(1000) {
        case 0..<6: return .malformed(malformed(), database: database())
        case 6..<66:
            let count = 1 + below(chance(1, in: 8) ? 30 : 5)
            let commands = (0..<count).map { _ in withoutPopCount(command()) }
            return .transaction(commands, database: database())
        case 66..<90: return .command(script(), database: database())
        default: return .command(inRandomCase(command()), database: database())
        }
    }

    // An LMPOP of several elements in a MULTI block: on one shard it is recorded like any LPOP, and
    // with a push beside it like LMOVE (protocol.md 6.8). No reader of the journal can know it.
    private func withoutPopCount(_ words: [[UInt8]]) -> [[UInt8]] {
        let name = String(decoding: words[0], as: UTF8.self).uppercased()
        guard name == "LMPOP" || name == "BLMPOP",
            let count = words.lastIndex(where: {
                String(decoding: $0, as: UTF8.self).uppercased() == "COUNT"
            }), count == words.count - 2
        else { return words }
        return Array(words.dropLast(2))
    }

    private typealias Maker = @Sendable (inout RandomTraffic) -> [[UInt8]]

    // Of 1000 commands, how many are of which family.
    private static let families: [(Int, Maker)] = [
        (110, { $0.string() }), (80, { $0.number() }), (40, { $0.bits() }), (35, { $0.log() }),
        (100, { $0.generic() }), (90, { $0.expiry() }), (90, { $0.list() }), (80, { $0.set() }),
        (95, { $0.sortedSet() }), (35, { $0.geo() }), (90, { $0.hash() }), (105, { $0.stream() }),
        (20, { $0.sort() }), (12, { $0.wide() }), (18, { $0.reading() }),
    ]

    /// One command on its own.
    mutating func command() -> [[UInt8]] {
        let isForeign = options.usesForeignTypes && chance(1, in: 60)
        if isForeign { return foreign() }
        if options.usesDragonflyCommands, chance(1, in: 25) { return dragonfly() }
        if options.usesElementExpiries, chance(1, in: 25) { return elements(isBrief: false) }
        if options.usesBriefElements, chance(1, in: 25) { return elements(isBrief: true) }
        var rest = below(1000)
        for (weight, make) in RandomTraffic.families {
            if rest < weight { return make(&self) }
            rest -= weight
        }
        return string()
    }

    /// A script of some commands, as keys and arguments (protocol.md 5.6).
    private mutating func script() -> [[UInt8]] {
        if chance(1, in: 10) { return words("SCRIPT LOAD") + [text("return \(below(1000))")] }
        var body = ""
        var keys: [[UInt8]] = []
        var arguments: [[UInt8]] = []
        for _ in 0...below(3) {
            let (command, keyCount) = scripted()
            body += "redis.call('" + String(decoding: command[0], as: UTF8.self) + "'"
            for (index, word) in command.dropFirst().enumerated() {
                if index < keyCount {
                    keys.append(word)
                    body += ",KEYS[\(keys.count)]"
                } else {
                    arguments.append(word)
                    body += ",ARGV[\(arguments.count)]"
                }
            }
            body += ");"
        }
        body += " return 1"
        return words("EVAL") + [text(body), text("\(keys.count)")] + keys + arguments
    }

    // A command whose first arguments are its keys, and how many these are.
    private mutating func scripted() -> ([[UInt8]], Int) {
        switch below(8) {
        case 0: (words("SET") + [key(.string), value()], 1)
        case 1: (words("INCRBY") + [key(.integer), integer()], 1)
        case 2: (words("RPUSH") + [key(.list)] + values(below(4) + 1), 1)
        case 3: (words("SADD") + [key(.set)] + members(below(4) + 1), 1)
        case 4: (words("HSET") + [key(.hash), field(), value()], 1)
        case 5: (words("RENAME") + [key(.any), key(.any)], 2)
        case 6: (words("LMOVE") + [key(.list), key(.list)] + words("LEFT RIGHT"), 2)
        default: (words("DEL") + [key(.any), key(.string), key(.set)], 3)
        }
    }

    private mutating func flush() -> [[UInt8]] {
        words(
            pick(["FLUSHALL", "FLUSHDB", "FLUSHDB", "FLUSHDB ASYNC", "FLUSHALL SYNC", "flushdb"]))
    }

    private mutating func memcached() -> [[UInt8]] {
        let delta = text("\(pick([1, 1, 2, 7, 100, 4_000_000_000]))")
        let time = text("\(chance(1, in: 3) ? 0 : moment())")
        return switch below(6) {
        case 0, 1: words("incr") + [key(.integer), delta]
        case 2: words("decr") + [key(.integer), delta]
        case 3: words("\(pick(["append", "prepend"]))") + [key(.string), value()]
        case 4: words("touch") + [key(.string), time]
        default: words("set") + [key(.integer), text("\(below(3))"), time, text("\(below(1000))")]
        }
    }

    private mutating func malformed() -> [[UInt8]] {
        let (string, list) = (key(.string), key(.list))
        switch below(14) {
        case 0: return words("SET") + [string]
        case 1: return words("SET") + [string] + words("v XY")
        case 2: return words("SET") + [string] + words("v EX 0")
        case 3: return words("INCRBY") + [key(.integer)] + words("x")
        case 4: return words("EXPIRE") + [string] + words("soon")
        case 5: return words("LPOP") + [list] + words("-1")
        case 6: return words("ZADD") + [key(.sortedSet)] + words("much m")
        case 7: return words("ZADD") + [key(.sortedSet)] + words("1 m 2")
        case 8: return words("HSET") + [key(.hash)] + words("f")
        case 9: return words("XADD") + [key(.stream)] + words("0-0 f v")
        case 10: return words("XADD") + [key(.stream)] + words("* f")
        case 11: return words("BITOP NOT") + [string, string, string]
        case 12: return words("MSET") + [string] + words("v") + [list]
        default: return words("LINSERT") + [list] + words("BESIDE a b")
        }
    }

    // Clients write names as they like.
    private mutating func inRandomCase(_ command: [[UInt8]]) -> [[UInt8]] {
        guard chance(1, in: 20) else { return command }
        var command = command
        command[0] = command[0].map { (65...90).contains($0) ? $0 | 0x20 : $0 }
        return command
    }
}

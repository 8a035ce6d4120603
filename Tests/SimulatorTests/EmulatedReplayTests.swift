import TestSupport
import Testing

@testable import DragonflySimulator

/// The journal says what happened: a redis-server that executes nothing but its entries ends where
/// the emulated master's data is. Commands whose entries lose something are left out.
@Suite struct EmulatedReplayTests {
    @Test(arguments: EmulatedRelease.allCases, [1, 3])
    func journalLeadsToTheSameState(_ release: EmulatedRelease, _ flows: Int) throws {
        let seed: UInt64 = 20 + UInt64(flows)
        print("seed \(seed), \(release), \(flows) flows")
        var traffic = ReplayTraffic(release: release, seed: seed)
        let run = try EmulatedRun(release, flows: flows)
        // The target deletes what is past by the real clock: the master's is ahead of it
        // throughout.
        run.clock.milliseconds = run.realMilliseconds + 60_000
        let target = try RedisServer()
        let client = try target.client()
        var database = -1
        var entryCount = 0
        var refused: [String] = []
        for _ in 0..<4000 {
            run.clock.milliseconds += Int64.random(in: 0...20, using: &traffic.generator)
            let execution = try traffic.next(on: run.executor)
            for (flow, entry) in execution.entries where entry.operation != .exec {
                entryCount += 1
                let name = String(decoding: entry.words[0], as: UTF8.self)
                // Ghosts of PFMERGE are not the key, and a flush runs once.
                if name == "SET", flow != run.executor.flow(of: entry.words[1]) { continue }
                if name == "FLUSHDB", flow != 0 { continue }
                if entry.database != database {
                    database = entry.database
                    try client.call("SELECT", "\(database)")
                }
                if case .error(let message) = try client.command(entry.words) {
                    refused.append("\(entry.words.map { quoted($0) }): \(message)")
                }
            }
        }
        #expect(refused.prefix(5) == [])
        #expect(entryCount > 2500)
        #expect(traffic.expiredCount > 20)
        try run.keyspace.checkExpiries()
        try compare(run, client)
    }

    /// Compares values, and the target's expiries with the true ones.
    private func compare(_ run: EmulatedRun, _ client: RespClient) throws {
        let actual = try StateReader(client).read()
        var expected = try StateReader(RespClient(port: run.keyspace.port)).read()
        #expect(expected.count > 40)
        var expiring = 0
        for key in expected.keys {
            let name = KeyName(database: key.database, key: key.name)
            let moment = run.keyspace.details[name]?.expiryMilliseconds ?? 0
            expected[key]?.expiryMilliseconds = moment
            if moment != 0 { expiring += 1 }
        }
        #expect(expiring > 3)
        let rules = StateComparison.Rules()
        let comparison = StateComparison(expected: expected, actual: actual, rules: rules)
        #expect(comparison.differences == [])
    }
}

/// Seeded commands on few keys, so that they meet, with expiries that come due.
private struct ReplayTraffic {
    let release: EmulatedRelease
    var generator: SeededGenerator
    var expiredCount = 0

    init(release: EmulatedRelease, seed: UInt64) {
        self.release = release
        generator = SeededGenerator(seed: seed)
    }

    mutating func next(on executor: CommandExecutor) throws -> Execution {
        let database = number(10) == 0 ? 1 : 0
        switch number(40) {
        case 0:
            let execution = try executor.expire(limit: 5)
            expiredCount += execution.entries.count
            return execution
        case 1:
            let commands = (0..<number(5) + 1).map { _ in EmulatedRun.words(command()) }
            return try executor.execute(transaction: commands, database: database)
        case 2 where number(20) == 0:
            return try executor.execute([text("FLUSHDB")], database: 1)
        default: return try executor.execute(EmulatedRun.words(command()), database: database)
        }
    }

    private mutating func number(_ limit: Int) -> Int {
        Int.random(in: 0..<limit, using: &generator)
    }

    private mutating func pick(_ texts: String...) -> String { texts[number(texts.count)] }

    /// A key of a kind; now and then one of another, for errors of type.
    private mutating func key(_ kind: String) -> String {
        let kind = number(40) == 0 ? pick("s", "l", "e", "h", "z", "x") : kind
        return "\(kind)\(number(12))"
    }

    private mutating func command() -> String {
        switch number(7) {
        case 0: stringCommand()
        case 1: listCommand()
        case 2: setCommand()
        case 3: hashCommand()
        case 4: sortedSetCommand()
        case 5: streamCommand()
        default: keyCommand()
        }
    }

    private mutating func stringCommand() -> String {
        let value = number(100)
        switch number(12) {
        case 0: return "SET \(key("s")) \(value)"
        case 1:
            return "SET \(key("s")) \(value) PX \(number(3000) + 1) \(pick("", "NX", "XX", "GET"))"
        case 2: return "SET \(key("s")) \(value) KEEPTTL"
        case 3: return "INCRBY \(key("s")) \(value)"
        case 4: return "APPEND \(key("s")) \(value)"
        case 5: return "\(pick("MSET", "MSETNX")) \(key("s")) 1 \(key("s")) 2 \(key("s")) 3"
        case 6: return "\(pick("GETSET", "SETNX")) \(key("s")) \(value)"
        case 7: return "\(pick("GETDEL", "GET")) \(key("s"))"
        case 8: return "GETEX \(key("s")) \(pick("PERSIST", "EX 3", "EX 1000", "PXAT 5"))"
        case 9: return "SETRANGE \(key("s")) \(number(20)) ab"
        case 10: return "BITOP \(pick("AND", "OR", "XOR")) \(key("s")) \(key("s")) \(key("s"))"
        default: return "\(pick("SETEX", "PSETEX")) \(key("s")) \(number(2000) + 1) \(value)"
        }
    }

    private mutating func listCommand() -> String {
        switch number(9) {
        case 0, 1: return "\(pick("LPUSH", "RPUSH")) \(key("l")) \(number(9)) \(number(9))"
        case 2: return "\(pick("LPOP", "RPOP", "BLPOP", "BRPOP")) \(key("l")) 1"
        case 3: return "\(pick("LPUSHX", "RPUSHX")) \(key("l")) \(number(9))"
        case 4: return "LINSERT \(key("l")) BEFORE \(number(9)) x"
        case 5: return "LTRIM \(key("l")) \(number(2)) \(number(6))"
        case 6: return "LREM \(key("l")) \(number(3)) \(number(9))"
        case 7:
            return "LMOVE \(key("l")) \(key("l")) \(pick("LEFT", "RIGHT")) \(pick("LEFT", "RIGHT"))"
        default: return "RPOPLPUSH \(key("l")) \(key("l"))"
        }
    }

    private mutating func setCommand() -> String {
        switch number(7) {
        case 0, 1: return "SADD \(key("e")) \(number(20)) \(number(20)) m\(number(9))"
        case 2: return "SREM \(key("e")) \(number(20)) m\(number(9))"
        case 3: return "SPOP \(key("e")) \(number(4))"
        case 4: return "SMOVE \(key("e")) \(key("e")) \(number(20))"
        case 5: return "SPOP \(key("e"))"
        default:
            return "\(pick("SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE")) \(key("e")) \(key("e")) "
                + key("e")
        }
    }

    private mutating func hashCommand() -> String {
        switch number(5) {
        case 0, 1: return "\(pick("HSET", "HMSET")) \(key("h")) f\(number(6)) \(number(99))"
        case 2: return "HDEL \(key("h")) f\(number(6)) f\(number(6))"
        case 3: return "HINCRBY \(key("h")) f\(number(6)) \(number(9))"
        default: return "HSETNX \(key("h")) f\(number(6)) \(number(99))"
        }
    }

    private mutating func sortedSetCommand() -> String {
        switch number(7) {
        case 0, 1:
            return "ZADD \(key("z")) \(pick("", "NX", "XX", "GT")) \(number(9)).1 m\(number(9))"
        case 2: return "ZINCRBY \(key("z")) 0.1 m\(number(9))"
        case 3: return "\(pick("ZPOPMIN", "ZPOPMAX")) \(key("z")) \(number(2) + 1)"
        case 4: return "ZREM \(key("z")) m\(number(9))"
        case 5: return "ZREMRANGEBYRANK \(key("z")) 0 \(number(2))"
        // Cut per shard up to v1.33, hence lost.
        default:
            if release.number <= 1033 { return "ZCARD \(key("z"))" }
            return pick(
                "ZUNIONSTORE \(key("z")) 2 \(key("z")) \(key("z")) WEIGHTS 2 0.3",
                "ZRANGESTORE \(key("z")) \(key("z")) 0 3",
                "ZDIFFSTORE \(key("z")) 2 \(key("z")) \(key("z"))")
        }
    }

    private mutating func streamCommand() -> String {
        let key = "x\(number(12))"
        // Ids and trimming are recorded as issued up to v1.26, group reads not at all up to v1.36.
        let id = release.number <= 1026 ? "\(9_000_000_000_000 + number(1_000_000))-1" : "*"
        switch number(8) {
        case 0, 1: return "XADD \(key) \(id) f \(number(9))"
        case 2: return "XADD \(key) MAXLEN \(number(5)) \(id) f \(number(9))"
        case 3: return "XTRIM \(key) MAXLEN \(number(8))"
        case 4: return "XGROUP CREATE \(key) g \(pick("0", "$")) MKSTREAM"
        case 5: return "XGROUP \(pick("CREATECONSUMER", "DELCONSUMER")) \(key) g c\(number(3))"
        case 6 where release.number >= 1037:
            return "XREADGROUP GROUP g c\(number(3)) COUNT 2 \(pick("", "NOACK")) STREAMS \(key) >"
        default: return "XGROUP \(pick("DESTROY \(key) g", "SETID \(key) g 0"))"
        }
    }

    private mutating func keyCommand() -> String {
        let kind = pick("s", "l", "e", "h", "z", "x")
        switch number(10) {
        case 0: return "\(pick("DEL", "UNLINK")) \(key(kind)) \(key(kind))"
        case 1, 2: return "PEXPIRE \(key(kind)) \(number(4000))"
        case 3: return "EXPIRE \(key(kind)) \(number(100_000)) \(pick("NX", "XX", "GT", "LT"))"
        case 4: return "PERSIST \(key(kind))"
        case 5, 6:
            // Payloads of streams are of a type that the target does not load (protocol.md 3.11).
            let kind = pick("s", "l", "e", "h", "z")
            let names = "\(kind)\(number(12)) \(kind)\(number(12))"
            return pick(
                "RENAME \(names)", "RENAMENX \(names)", "COPY \(names)", "COPY \(names) REPLACE")
        case 7: return "MOVE \(key(kind)) 1"
        case 8: return "\(pick("TTL", "TYPE", "EXISTS")) \(key(kind))"
        default: return "PFMERGE \(key("p")) \(key("p")) \(key("p"))"
        }
    }
}

import Bytes
import TestSupport
import Testing

@testable import DragonflySimulator

/// The random traffic is reproducible, covers all commands, and is what a server takes.
@Suite struct RandomTrafficTests {
    private static let now: Int64 = 1_800_000_000_000

    private func traffic(_ seed: UInt64, isForRedis: Bool = false) -> RandomTraffic {
        var options = RandomTraffic.Options(seed: seed)
        if isForRedis {
            options.usesDragonflyCommands = false
            options.usesForeignTypes = false
            options.usesElementExpiries = false
        } else {
            options.usesBriefElements = true
            options.usesMemcached = true
        }
        var traffic = RandomTraffic(options)
        traffic.allowsFlushes = true
        return traffic
    }

    private func name(_ words: [[UInt8]]) -> String {
        String(decoding: words[0], as: UTF8.self).uppercased()
    }

    @Test func theSameSeedGivesTheSameSteps() {
        var (one, same, other) = (traffic(1), traffic(1), traffic(2))
        var differences = 0
        for step in 0..<10_000 {
            let first = one.next(at: Self.now + Int64(step))
            #expect(same.next(at: Self.now + Int64(step)) == first)
            if other.next(at: Self.now + Int64(step)) != first { differences += 1 }
        }
        #expect(differences > 9_500)
    }

    /// Every write command of protocol.md 6.3 to 6.6 that a client can send, and those of 6.10 in
    /// part.
    private static let commands = """
        APPEND BITFIELD BITOP BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN
        CL.THROTTLE COPY DECR DECRBY DEL DELEX EVAL EXPIRE EXPIREAT FIELDEXPIRE FLUSHALL FLUSHDB
        GEOADD GEORADIUS GEORADIUSBYMEMBER GETDEL GETEX GETSET HDEL HEXPIRE HGETEX HINCRBY
        HINCRBYFLOAT HMSET HSET HSETEX HSETNX INCR INCRBY INCRBYFLOAT LINSERT LMOVE LMPOP LPOP
        LPUSH LPUSHX LREM LSET LTRIM MOVE MSET MSETNX PERSIST PEXPIRE PEXPIREAT PFADD PFMERGE
        PREPEND PSETEX RENAME RENAMENX RESTORE RPOP RPOPLPUSH RPUSH RPUSHX SADD SADDEX SCRIPT
        SDIFFSTORE SET SETBIT SETEX SETNX SETRANGE SHRINK SINTERSTORE SMOVE SORT SPOP SREM STICK
        SUNIONSTORE UNLINK XACK XADD XAUTOCLAIM XCLAIM XDEL XGROUP XREADGROUP XSETID XTRIM ZADD
        ZDIFFSTORE ZINCRBY ZINTERSTORE ZMPOP ZPOPMAX ZPOPMIN ZRANGESTORE ZREM ZREMRANGEBYLEX
        ZREMRANGEBYRANK ZREMRANGEBYSCORE ZUNIONSTORE
        JSON.SET JSON.DEL JSON.MSET BF.ADD CF.ADD CMS.MERGE TOPK.ADD
        """.split(whereSeparator: \.isWhitespace).map(String.init)

    @Test func allCommandsAppear() {
        var traffic = traffic(3)
        var names: Set<String> = []
        var databases: Set<Int> = []
        var memcached = 0
        for _ in 0..<40_000 {
            switch traffic.next(at: Self.now) {
            case .command(let words, let database):
                names.insert(name(words))
                databases.insert(database)
            case .transaction(let commands, _): names.formUnion(commands.map(name))
            case .malformed: break
            case .memcached: memcached += 1
            }
        }
        #expect(Set(Self.commands).subtracting(names) == [])
        #expect(databases == [0, 1, 2])
        #expect(memcached > 1000)
    }

    /// Refusals that follow from what the keyspace holds, not from how the command is written.
    private static let stateErrors = [
        "WRONGTYPE", "BUSYGROUP", "NOGROUP", "BUSYKEY", "ERR no such key", "ERR index out of range",
        "ERR value is not an integer", "ERR hash value is not", "ERR value is not a valid float",
        "ERR increment or decrement would overflow", "ERR decrement would overflow",
        "ERR The ID specified in XADD is equal or smaller",
        "ERR The ID specified in XSETID is smaller",
        "ERR resulting score is not a number",
        "ERR The XGROUP subcommand requires the key to exist",
        "ERR invalid expire time", "ERR could not decode requested zset member", "INVALIDOBJ",
        "ERR One or more scores can't be converted", "ERR increment would produce NaN",
        "ERR hash value is not a float", "ERR source and destination objects are the same",
    ]

    private struct Counts {
        var succeeded: [String: Int] = [:]
        var refused: [String: Int] = [:]
        var malformed = 0
    }

    /// Whatever is sent to a plain redis-server is taken, or refused because of the data there;
    /// what is meant to fail does.
    @Test func aRedisTakesEveryCommand() throws {
        let seed: UInt64 = 11
        print("seed \(seed)")
        let server = try RedisServer()
        let client = try server.client()
        var traffic = traffic(seed, isForRedis: true)
        var counts = Counts()
        var encodings: Set<String> = []
        for step in 0..<30_000 {
            let now = try step % 100 == 0 ? clock(client) : traffic.now
            let next = traffic.next(at: now)
            switch next {
            case .command(let words, let database):
                // In a block, commands that wait for an element do not.
                if name(words).first == "B" {
                    try execute([words], database, client, &counts)
                } else {
                    try client.call("SELECT", "\(database)")
                    note(try client.command(words), words, &counts)
                }
            case .transaction(let commands, let database):
                try execute(commands, database, client, &counts)
            case .malformed(let words, let database):
                try client.call("SELECT", "\(database)")
                let reply = try client.command(words)
                counts.malformed += 1
                if case .error = reply { continue }
                Issue.record("\(words.map(shown)) was taken: \(reply)")
            case .memcached: Issue.record("not asked for")
            }
            if step % 2000 == 1999 { encodings.formUnion(try self.encodings(client)) }
        }
        let onlyDragonfly: Set = [
            "CL.THROTTLE", "DELEX", "FIELDEXPIRE", "HEXPIRE", "HGETEX", "HSETEX", "PREPEND",
            "SADDEX",
            "SHRINK", "STICK", "JSON.SET", "JSON.DEL", "JSON.MSET", "BF.ADD", "CF.ADD", "CMS.MERGE",
            "TOPK.ADD",
        ]
        let never = Self.commands.filter {
            !onlyDragonfly.contains($0) && counts.succeeded[$0, default: 0] == 0
        }
        #expect(never == [])
        let (taken, refused) = (
            counts.succeeded.values.reduce(0, +), counts.refused.values.reduce(0, +)
        )
        print("taken \(taken), refused for the data \(refused), malformed \(counts.malformed)")
        #expect(refused * 5 < taken)
        #expect(counts.malformed > 100)
        #expect(
            encodings.isSuperset(of: [
                "int", "embstr", "raw", "listpack", "hashtable", "intset", "skiplist", "quicklist",
                "stream",
            ]), "\(encodings)")
    }

    private func execute(
        _ commands: [[[UInt8]]], _ database: Int, _ client: RespClient, _ counts: inout Counts
    ) throws {
        try client.call("SELECT", "\(database)")
        try client.call("MULTI")
        for words in commands {
            #expect(try client.command(words) == .simple("QUEUED"), "\(words.map(shown))")
        }
        let replies = try client.call("EXEC").elements ?? []
        for (reply, words) in zip(replies, commands) { note(reply, words, &counts) }
        #expect(replies.count == commands.count)
    }

    private func note(_ reply: RespValue, _ words: [[UInt8]], _ counts: inout Counts) {
        guard case .error(let message) = reply else {
            counts.succeeded[name(words), default: 0] += 1
            return
        }
        counts.refused[name(words), default: 0] += 1
        // A script names its command's error.
        let isKnown = Self.stateErrors.contains { message.contains($0) }
        #expect(isKnown, "\(words.map(shown)): \(message)")
    }

    private func clock(_ client: RespClient) throws -> Int64 {
        let time = try client.call("TIME").elements?.compactMap { $0.text.flatMap { Int64($0) } }
        return (try #require(time?.first)) * 1000 + (try #require(time?.last)) / 1000
    }

    private func encodings(_ client: RespClient) throws -> Set<String> {
        try client.call("SELECT", "0")
        var encodings: Set<String> = []
        for key in try client.call("KEYS", "*").elements ?? [] {
            let reply = try client.command(
                [Array("OBJECT".utf8), Array("ENCODING".utf8), key.bytes ?? []])
            if let text = reply.text { encodings.insert(text) }
        }
        return encodings
    }

    private func shown(_ word: [UInt8]) -> String {
        word.withByteView { $0.printable(limit: 40) }
    }
}

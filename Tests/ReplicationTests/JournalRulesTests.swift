import Bytes
import TestSupport
import Testing
import Wire

@testable import Replication

/// No command of the source goes by without a decision.
@Suite struct JournalRulesTests {
    private let rules = JournalRules()

    private func match(_ name: String) -> JournalRules.Match {
        Array(name.utf8).withByteView { rules.match($0) }
    }

    /// Each command is counted as one of the type that it is for, in any letter case.
    @Test(arguments: [
        ("SET", RecordType.string), ("pfmerge", .string), ("BITFIELD", .string), ("LMOVE", .list),
        ("sadd", .set), ("ZRANGESTORE", .zset), ("GEORADIUSBYMEMBER", .zset), ("HSETEX", .hash),
        ("XAUTOCLAIM", .stream), ("JSON.SET", .json), ("BF.ADD", .bloom), ("CF.COMPACT", .cuckoo),
        ("CMS.MERGE", .countMin), ("TOPK.ADD", .topK), ("DEL", .generic), ("FIELDEXPIRE", .generic),
        ("FLUSHALL", .generic), ("SORT", .generic), ("NOVELTY", .generic),
    ])
    func commandsHaveAType(name: String, type: RecordType) {
        #expect(match(name).type == type)
    }

    /// Every command that protocol.md 6.3 to 6.6 and 6.10 list as journaled.
    static let commands: [JournalRule: [String]] = [
        .pass: [
            "SETNX", "APPEND", "SETRANGE", "INCRBY", "DECRBY", "MSET", "SETBIT", "BITFIELD",
            "PFADD", "LINSERT", "LSET", "LTRIM", "LREM", "LMOVE", "RPOPLPUSH", "ZADD", "ZINCRBY",
            "ZREM", "ZREMRANGEBYRANK", "ZREMRANGEBYSCORE",
            "ZPOPMIN", "ZPOPMAX", "GEOADD", "XDEL", "XACK",
        ],
        .increment: ["INCR", "DECR"],
        .prepend: ["PREPEND"],
        .setFields: ["HSET", "HMSET"], .removeElements: ["HDEL", "SREM"], .addMembers: ["SADD"],
        .readsElement: ["HINCRBY", "HSETNX"],
        .setMove: ["SMOVE"],
        .push: ["LPUSH", "RPUSH", "LPUSHX", "RPUSHX"],
        .pop: ["LPOP", "RPOP"],
        .floatIncrement: ["INCRBYFLOAT", "HINCRBYFLOAT"],
        .set: ["SET"],
        .setWithoutReply: ["GETSET"],
        .deleteWithoutReply: ["GETDEL"],
        .deleteConditionally: ["DELEX"],
        .delete: ["DEL", "UNLINK"],
        .persist: ["PERSIST"],
        .expireAt: ["PEXPIREAT"],
        .rename: ["RENAME", "RENAMENX"],
        .restore: ["RESTORE"],
        .move: ["MOVE"],
        .addWithExpiry: ["SADDEX"],
        .hashSetWithExpiry: ["HSETEX"],
        .hashExpiry: ["HEXPIRE"],
        .elementExpiry: ["FIELDEXPIRE"],
        .hashGetWithExpiry: ["HGETEX"],
        .streamAdd: ["XADD"],
        .streamTrim: ["XTRIM"],
        .streamGroup: ["XGROUP"],
        .streamSetID: ["XSETID"],
        .streamClaim: ["XCLAIM", "XAUTOCLAIM"],
        .multiPop: ["LMPOP", "ZMPOP"],
        .sort: ["SORT"],
        .aggregateStore: ["ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE"],
        .rangeStore: ["ZRANGESTORE"], .lexicalRange: ["ZREMRANGEBYLEX"],
        .flushAll: ["FLUSHALL"],
        .flushDatabase: ["FLUSHDB"],
        .flushSlots: ["DFLYCLUSTER"],
        .script: ["SCRIPT"],
        .skip: ["STICK", "SHRINK", "PING"],
        .json: [
            "JSON.SET", "JSON.MSET", "JSON.MERGE", "JSON.DEL", "JSON.FORGET", "JSON.CLEAR",
            "JSON.TOGGLE", "JSON.NUMINCRBY", "JSON.NUMMULTBY", "JSON.STRAPPEND", "JSON.ARRAPPEND",
            "JSON.ARRINSERT", "JSON.ARRPOP", "JSON.ARRTRIM",
        ],
        .probabilistic: [
            "BF.ADD", "BF.MADD", "BF.RESERVE",
            "BF.LOADCHUNK", "CF.ADD", "CF.ADDNX", "CF.INSERT", "CF.INSERTNX", "CF.DEL",
            "CF.RESERVE", "CF.COMPACT", "CMS.INITBYDIM", "CMS.INITBYPROB", "CMS.INCRBY",
            "CMS.MERGE", "TOPK.RESERVE", "TOPK.ADD", "TOPK.INCRBY",
        ],
        .search: ["FT.CREATE", "FT.DROPINDEX", "FT.ALTER", "FT.SYNUPDATE"],
        .repair: ["CL.THROTTLE"],
    ]

    /// What the source never records (protocol.md 6.11): should a release do so after all, it is not
    /// done again with another clock, other dice or other keys.
    private static let ownForms = [
        "SPOP", "EXPIRE", "PEXPIRE", "EXPIREAT", "SETEX", "PSETEX", "GETEX", "COPY", "BITOP",
        "PFMERGE", "SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE", "GEOSEARCHSTORE", "BLPOP", "BRPOP",
        "BLMOVE", "BRPOPLPUSH", "BZPOPMIN", "BZPOPMAX",
    ]

    /// They would stop the target, change what it is, take over the connection, or never answer.
    private static let dangerous = [
        "SHUTDOWN", "CONFIG", "DEBUG", "REPLICAOF", "SLAVEOF", "CLUSTER", "ACL", "MODULE",
        "FAILOVER", "BGREWRITEAOF", "SAVE", "BGSAVE", "CLIENT", "SWAPDB", "MIGRATE", "FUNCTION",
        "MONITOR", "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "EVAL", "EVALSHA", "FCALL", "EVAL_RO",
        "EVALSHA_RO", "FCALL_RO", "MULTI", "EXEC", "DISCARD", "WATCH", "AUTH", "HELLO", "RESET",
        "QUIT", "SELECT", "SYNC", "PSYNC", "REPLCONF", "WAIT", "BLMPOP", "BZMPOP", "XREAD",
        "XREADGROUP",
    ]

    @Test func everyCommandHasItsRule() {
        for (rule, names) in Self.commands {
            for name in names { #expect(match(name).rule == rule, "\(name)") }
        }
    }

    @Test func letterCaseIsNoMatter() {
        for (rule, names) in Self.commands {
            for name in names {
                #expect(match(name.lowercased()).rule == rule, "\(name)")
                let mixed = String(
                    name.enumerated().map { $0.offset % 2 == 0 ? $0.element : lower($0.element) })
                #expect(match(mixed).rule == rule, "\(mixed)")
            }
        }
    }

    private func lower(_ character: Character) -> Character {
        Character(character.lowercased())
    }

    @Test func ownFormsAreRepaired() {
        for name in Self.ownForms { #expect(match(name).rule == .repair, "\(name)") }
        for name in ["GEORADIUS", "GEORADIUSBYMEMBER", "georadiusbymember"] {
            #expect(match(name).rule == .geoStore)
        }
    }

    @Test func dangerousCommandsAreNeverPassed() {
        for name in Self.dangerous + Self.dangerous.map({ $0.lowercased() }) {
            #expect(match(name).rule == .administrative, "\(name)")
            #expect(match(name).keyPosition == 0)
        }
    }

    /// FT.* is about indexes, whatever it is.
    @Test func searchCommandsAreKnownByTheirPrefix() {
        #expect(match("FT.ALIASADD").rule == .search)
        #expect(match("ft.search").rule == .search)
        #expect(match("FT.").rule == .unknown && match("FTX").rule == .unknown)
    }

    @Test func unknownCommandsAreUnknown() {
        let known = Set(Self.commands.values.joined())
        for name in [
            "NOSUCH", "HPEXPIRE", "X", "", "SE", "SETS", "SET ", "SET\u{0}", "ZREMRANGEBYSCOREX",
            "ZREMRANGEBYSCOR", "HINCRBYFLOATHINCRBYFLOAT", "\u{0}", "JSON.SETX",
        ] {
            #expect(!known.contains(name))
            #expect(match(name).rule == .unknown, "\(name)")
            #expect(match(name).keyPosition == 1)
        }
    }

    /// protocol.md 6.13.
    @Test func keysAreFound() {
        for name in ["XGROUP", "LMPOP", "ZMPOP", "COPY", "BITOP"] {
            #expect(match(name).keyPosition == 2, "\(name)")
        }
        for name in ["FLUSHALL", "FLUSHDB", "DFLYCLUSTER", "SCRIPT", "PING"] {
            #expect(match(name).keyPosition == 0, "\(name)")
        }
        for name in ["SET", "SORT", "HSETEX", "XADD", "RENAME", "CMS.MERGE"] {
            #expect(match(name).keyPosition == 1, "\(name)")
        }
    }

    /// Whatever real servers have journaled is known.
    @Test(arguments: ["catalogue", "v1.30-catalogue"])
    func recordedCommandsAreKnown(_ name: String) throws {
        let recording = try Recording(name)
        var names: Set<String> = []
        for flow in recording.flows.indices {
            for line in try recording.journalText(flow: flow).split(separator: "\n") {
                let words = line.split(separator: " ")
                guard words.count > 4, words[1] != "SELECT", words[1] != "LSN" else { continue }
                names.insert(String(words[4].dropFirst().dropLast()))
            }
        }
        #expect(names.count > 50)
        let repaired = names.filter { [.repair, .unknown].contains(match($0).rule) }
        #expect(repaired.isSubset(of: ["CL.THROTTLE"]), "\(repaired)")
    }
}

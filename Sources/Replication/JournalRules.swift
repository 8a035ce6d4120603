internal import Bytes
internal import Wire

/// What happens to a journal record on its way to Redis (protocol.md section 6).
enum JournalRule: UInt8, Equatable {
    /// Sent as it came.
    case pass
    /// LPUSH, RPUSH and their X forms: passed; they explain a pop of the same transaction.
    case push
    /// INCR, DECR: passed, unless the source also serves memcached (6.8).
    case increment
    /// INCRBYFLOAT, HINCRBYFLOAT: computed on the target as Dragonfly does.
    case floatIncrement
    /// PREPEND: done by a script.
    case prepend
    /// HSET and HMSET end the expiry of fields, HDEL and SREM remove elements, SADD leaves members
    /// their expiry: passed, unless the key has such and the policy says otherwise.
    case setFields
    case removeElements
    case addMembers
    /// HINCRBY, HSETNX: passed, unless elements of the key may have expired unseen (5.10).
    case readsElement
    /// SMOVE: the same of its first key.
    case setMove
    /// SET without STICK and _MCFLAGS; a PFMERGE ghost is dropped.
    case set
    /// GETSET: SET, so that the old value does not come back as a reply.
    case setWithoutReply
    /// GETDEL: DEL, for the same reason.
    case deleteWithoutReply
    /// PEXPIREAT: a near expiry is held (see HeldExpiries).
    case expireAt
    /// DEL, UNLINK and PERSIST: passed; nothing is held for their keys any more.
    case delete
    case persist
    /// RENAME, RENAMENX: passed; what is held goes with the key.
    case rename
    /// RESTORE: written like a snapshot entry, in the form the target can load.
    case restore
    /// DELEX: DEL, or a script that compares first.
    case deleteConditionally
    /// SADDEX: SADD; the members' expiry is dropped and counted.
    case addWithExpiry
    /// HSETEX in Dragonfly's and in Redis 8's form: HSET or HSETNX, with the fields' expiry where the
    /// target has such.
    case hashSetWithExpiry
    /// HEXPIRE: HPEXPIREAT, or the expiry is dropped and counted.
    case hashExpiry
    /// FIELDEXPIRE, of a hash or a set: dropped and counted, or repaired.
    case elementExpiry
    /// HGETEX: nothing, HPEXPIREAT or HPERSIST.
    case hashGetWithExpiry
    /// XADD, XTRIM: passed if their result is settled.
    case streamAdd
    case streamTrim
    /// XGROUP, XSETID: passed; older targets know fewer options.
    case streamGroup
    case streamSetID
    /// XCLAIM, XAUTOCLAIM: passed with a minimum idle time of 0.
    case streamClaim
    /// LPOP, RPOP: passed; without a count and inside a transaction it may stand for more (6.8).
    case pop
    /// LMPOP, ZMPOP with all arguments: passed.
    case multiPop
    /// SORT: skipped without STORE, passed with it, a cut-off one repaired.
    case sort
    /// GEORADIUS and relatives: skipped without STORE, their destination repaired with it.
    case geoStore
    /// ZUNIONSTORE and relatives: passed if whole; older releases cut it per shard (6.8).
    case aggregateStore
    /// ZRANGESTORE: the same, without a key count.
    case rangeStore
    /// ZREMRANGEBYLEX: done by a script, if all scores are equal.
    case lexicalRange
    /// MOVE: recorded even if nothing moved, so exact only once both databases are complete.
    case move
    /// FLUSHALL, FLUSHDB: once, when all flows have reached it.
    case flushAll
    case flushDatabase
    /// DFLYCLUSTER FLUSHSLOTS: `KeyRuleSettings.FlushSlots` says what of it.
    case flushSlots
    /// SCRIPT: LOAD is passed, the rest skipped.
    case script
    /// Nothing for a Redis to do.
    case skip
    /// FT.*: search indexes are no data; named once.
    case search
    /// JSON.*: by policy; read from the source, or passed where the target's module does the same.
    case json
    /// Bloom, cuckoo, count-min, Top-K: left out.
    case probabilistic
    /// What a target must not be told by a source: skipped and named.
    case administrative
    /// Cannot be carried over exactly: its key is repaired.
    case repair
    /// In no row of the table: passed as it came, for the target may know it.
    case unknown
}

/// Looks up a command's rule without allocating.
struct JournalRules {
    private struct Slot: BitwiseCopyable {
        var low: UInt64
        var high: UInt64
        var rule: JournalRule
        var keyPosition: UInt8
        var type: RecordType
    }

    struct Match {
        var rule: JournalRule
        /// Where the (first) key is among the arguments; 1 is the first after the command name,
        /// 0 means there is none.
        var keyPosition: Int
        /// What the command is counted as.
        var type: RecordType

        /// The type that all its keys are of when it is recorded; nil if they may be of any.
        var family: ValueFamily? {
            switch rule {
            case .deleteConditionally, .geoStore, .aggregateStore, .rangeStore, .repair: nil
            default: ValueFamily(rawValue: type.rawValue)
            }
        }
    }

    // Open addressing; four times as many slots as commands, so that probes are short.
    private var slots: [Slot]
    private static let slotCount = 1024

    init() {
        let empty = Slot(low: 0, high: 0, rule: .repair, keyPosition: 0, type: .generic)
        slots = [Slot](repeating: empty, count: JournalRules.slotCount)
        for (rule, names) in JournalRules.table {
            for name in names { insert(name, rule, key: 1) }
        }
        for name in ["XGROUP", "LMPOP", "ZMPOP", "COPY", "BITOP"] { insert(name, nil, key: 2) }
        for name in ["FLUSHALL", "FLUSHDB", "DFLYCLUSTER", "SCRIPT", "PING"] {
            insert(name, nil, key: 0)
        }
        for name in JournalRules.administrative { insert(name, .administrative, key: 0) }
        for (type, names) in JournalRules.types {
            for name in names { setType(name, type) }
        }
    }

    /// One row per rule. A command that is in no row is unknown.
    private static let table: [(JournalRule, [String])] = [
        (
            .pass,
            [
                "SETNX", "APPEND", "SETRANGE", "INCRBY", "DECRBY", "MSET", "SETBIT", "BITFIELD",
                "PFADD", "LINSERT", "LSET", "LTRIM", "LREM", "LMOVE", "RPOPLPUSH", "ZADD",
                "ZINCRBY", "ZREM", "ZREMRANGEBYRANK", "ZREMRANGEBYSCORE",
                "ZPOPMIN", "ZPOPMAX", "GEOADD", "XDEL",
                "XACK",
            ]
        ),
        (.push, ["LPUSH", "RPUSH", "LPUSHX", "RPUSHX"]),
        (.increment, ["INCR", "DECR"]),
        (.floatIncrement, ["INCRBYFLOAT", "HINCRBYFLOAT"]),
        (.prepend, ["PREPEND"]),
        (.setFields, ["HSET", "HMSET"]),
        (.removeElements, ["HDEL", "SREM"]),
        (.addMembers, ["SADD"]),
        (.readsElement, ["HINCRBY", "HSETNX"]),
        (.setMove, ["SMOVE"]),
        (.expireAt, ["PEXPIREAT"]),
        (.delete, ["DEL", "UNLINK"]),
        (.persist, ["PERSIST"]),
        (.rename, ["RENAME", "RENAMENX"]),
        (.set, ["SET"]),
        (.setWithoutReply, ["GETSET"]),
        (.deleteWithoutReply, ["GETDEL"]),
        (.restore, ["RESTORE"]),
        (.deleteConditionally, ["DELEX"]),
        (.addWithExpiry, ["SADDEX"]),
        (.hashSetWithExpiry, ["HSETEX"]),
        (.hashExpiry, ["HEXPIRE"]),
        (.elementExpiry, ["FIELDEXPIRE"]),
        (.hashGetWithExpiry, ["HGETEX"]),
        (.streamAdd, ["XADD"]),
        (.streamTrim, ["XTRIM"]),
        (.streamGroup, ["XGROUP"]),
        (.streamSetID, ["XSETID"]),
        (.streamClaim, ["XCLAIM", "XAUTOCLAIM"]),
        (.pop, ["LPOP", "RPOP"]),
        (.multiPop, ["LMPOP", "ZMPOP"]),
        (.sort, ["SORT"]),
        (.geoStore, ["GEORADIUS"]),
        (.aggregateStore, ["ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE"]),
        (.rangeStore, ["ZRANGESTORE"]),
        (.lexicalRange, ["ZREMRANGEBYLEX"]),
        (.move, ["MOVE"]),
        (.flushAll, ["FLUSHALL"]),
        (.flushDatabase, ["FLUSHDB"]),
        (.flushSlots, ["DFLYCLUSTER"]),
        (.script, ["SCRIPT"]),
        (.skip, ["STICK", "SHRINK", "PING"]),
        (
            .json,
            [
                "JSON.SET", "JSON.MSET", "JSON.MERGE", "JSON.DEL", "JSON.FORGET", "JSON.CLEAR",
                "JSON.TOGGLE", "JSON.NUMINCRBY", "JSON.NUMMULTBY", "JSON.STRAPPEND",
                "JSON.ARRAPPEND", "JSON.ARRINSERT", "JSON.ARRPOP", "JSON.ARRTRIM",
            ]
        ),
        (
            .probabilistic,
            [
                "BF.ADD",
                "BF.MADD", "BF.RESERVE", "BF.LOADCHUNK", "CF.ADD", "CF.ADDNX", "CF.INSERT",
                "CF.INSERTNX", "CF.DEL", "CF.RESERVE", "CF.COMPACT", "CMS.INITBYDIM",
                "CMS.INITBYPROB", "CMS.INCRBY", "CMS.MERGE", "TOPK.RESERVE", "TOPK.ADD",
                "TOPK.INCRBY",
            ]
        ),
        (.search, ["FT.CREATE", "FT.DROPINDEX", "FT.ALTER", "FT.SYNUPDATE"]),
        // The source records what came of most of these, never the commands: should one appear, it
        // depends on other keys, on chance or on the clock, or would wait.
        (
            .repair,
            [
                "CL.THROTTLE", "COPY", "BITOP", "PFMERGE", "SINTERSTORE", "SUNIONSTORE",
                "SDIFFSTORE", "GEOSEARCHSTORE", "SPOP", "EXPIRE", "PEXPIRE", "EXPIREAT", "SETEX",
                "PSETEX", "GETEX", "BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BZPOPMIN",
                "BZPOPMAX", "RESTORE-ASKING",
            ]
        ),
    ]

    /// What commands are counted as; those in no row are generic.
    private static let types: [(RecordType, [String])] = [
        (
            .string,
            [
                "SET", "SETNX", "APPEND", "PREPEND", "SETRANGE", "INCR", "DECR", "INCRBY", "DECRBY",
                "INCRBYFLOAT", "MSET", "SETBIT", "BITFIELD", "BITOP", "PFADD", "PFMERGE", "GETSET",
                "GETDEL", "GETEX", "SETEX", "PSETEX", "DELEX", "CL.THROTTLE",
            ]
        ),
        (
            .list,
            [
                "LPUSH", "RPUSH", "LPUSHX", "RPUSHX", "LPOP", "RPOP", "LMPOP", "LINSERT", "LSET",
                "LTRIM", "LREM", "LMOVE", "RPOPLPUSH", "BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH",
            ]
        ),
        (
            .set,
            [
                "SADD", "SREM", "SMOVE", "SPOP", "SADDEX", "SINTERSTORE", "SUNIONSTORE",
                "SDIFFSTORE",
            ]
        ),
        (
            .zset,
            [
                "ZADD", "ZINCRBY", "ZREM", "ZREMRANGEBYRANK", "ZREMRANGEBYSCORE",
                "ZREMRANGEBYLEX", "ZPOPMIN", "ZPOPMAX", "ZMPOP", "BZPOPMIN", "BZPOPMAX",
                "ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE", "ZRANGESTORE", "GEOADD", "GEORADIUS",
                "GEOSEARCHSTORE",
            ]
        ),
        (
            .hash,
            [
                "HSET", "HMSET", "HSETNX", "HDEL", "HINCRBY", "HINCRBYFLOAT", "HSETEX", "HEXPIRE",
                "HGETEX",
            ]
        ),
        (
            .stream,
            ["XADD", "XTRIM", "XDEL", "XACK", "XGROUP", "XSETID", "XCLAIM", "XAUTOCLAIM"]
        ),
        (
            .json,
            [
                "JSON.SET", "JSON.MSET", "JSON.MERGE", "JSON.DEL", "JSON.FORGET", "JSON.CLEAR",
                "JSON.TOGGLE", "JSON.NUMINCRBY", "JSON.NUMMULTBY", "JSON.STRAPPEND",
                "JSON.ARRAPPEND", "JSON.ARRINSERT", "JSON.ARRPOP", "JSON.ARRTRIM",
            ]
        ),
        (.bloom, ["BF.ADD", "BF.MADD", "BF.RESERVE", "BF.LOADCHUNK"]),
        (
            .cuckoo,
            [
                "CF.ADD", "CF.ADDNX", "CF.INSERT", "CF.INSERTNX", "CF.DEL", "CF.RESERVE",
                "CF.COMPACT",
            ]
        ),
        (.countMin, ["CMS.INITBYDIM", "CMS.INITBYPROB", "CMS.INCRBY", "CMS.MERGE"]),
        (.topK, ["TOPK.RESERVE", "TOPK.ADD", "TOPK.INCRBY"]),
    ]

    /// Would change the target itself or the state of the connection, wait, or run other commands.
    private static let administrative = [
        "SHUTDOWN", "CONFIG", "DEBUG", "REPLICAOF", "SLAVEOF", "CLUSTER", "ACL", "MODULE",
        "FAILOVER", "BGREWRITEAOF", "SAVE", "BGSAVE", "CLIENT", "SWAPDB", "MIGRATE", "FUNCTION",
        "MONITOR", "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE",
        "SUNSUBSCRIBE", "PUBLISH", "SPUBLISH", "EVAL", "EVAL_RO", "EVALSHA", "EVALSHA_RO", "FCALL",
        "FCALL_RO", "MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH", "AUTH", "HELLO", "RESET",
        "QUIT", "SELECT", "SYNC", "PSYNC", "REPLCONF", "DFLY", "REPLTAKEOVER", "ASKING",
        "READONLY", "READWRITE", "WAIT", "WAITAOF", "BLMPOP", "BZMPOP", "XREAD", "XREADGROUP",
        "KEYS", "SCAN", "COMMAND", "INFO", "ROLE", "LATENCY", "SLOWLOG", "MEMORY", "LOLWUT",
        "PFDEBUG", "PFSELFTEST",
    ]

    /// The rule for a command name in any letter case.
    func match(_ name: ByteView) -> Match {
        guard let (low, high) = JournalRules.pack(name) else { return unlisted(name) }
        var index = JournalRules.start(low, high)
        while true {
            let slot = slots[index]
            if slot.low == low && slot.high == high {
                return Match(
                    rule: slot.rule, keyPosition: Int(slot.keyPosition), type: slot.type)
            }
            if slot.low == 0 { return unlisted(name) }
            index = (index + 1) & (JournalRules.slotCount - 1)
        }
    }

    private func unlisted(_ name: ByteView) -> Match {
        var rule = JournalRule.unknown
        var type = RecordType.generic
        if name.count > 3, name.slice(0, 3).equalsIgnoringCase("FT.") { rule = .search }
        // Too long for the table.
        if name.equalsIgnoringCase("GEORADIUSBYMEMBER") {
            rule = .geoStore
            type = .zset
        }
        return Match(rule: rule, keyPosition: 1, type: type)
    }

    // Adds a command, or sets the key position of one that is there.
    private mutating func insert(_ name: String, _ rule: JournalRule?, key: UInt8) {
        let index = place(of: name)
        let (low, high) = JournalRules.packed(name)
        let kept = rule ?? slots[index].rule
        slots[index] = Slot(
            low: low, high: high, rule: kept, keyPosition: key, type: .generic)
    }

    private mutating func setType(_ name: String, _ type: RecordType) {
        let index = place(of: name)
        precondition(slots[index].low != 0, "\(name) has a rule")
        slots[index].type = type
    }

    // Where a command is, or would be.
    private func place(of name: String) -> Int {
        let (low, high) = JournalRules.packed(name)
        var index = JournalRules.start(low, high)
        while slots[index].low != 0 && (slots[index].low != low || slots[index].high != high) {
            index = (index + 1) & (JournalRules.slotCount - 1)
        }
        return index
    }

    private static func packed(_ name: String) -> (UInt64, UInt64) {
        guard let words = Array(name.utf8).withByteView({ pack($0) }) else {
            preconditionFailure("a command name of the table is too long")
        }
        return words
    }

    // Up to 16 bytes as two words, upper case; the longest name in the table has 16.
    private static func pack(_ name: ByteView) -> (UInt64, UInt64)? {
        guard name.count > 0, name.count <= 16 else { return nil }
        var low: UInt64 = 0
        var high: UInt64 = 0
        for index in 0..<name.count {
            let byte = UInt64(asciiUppercased(name[index]))
            // The words end with zeros, so a name may have none.
            guard byte != 0 else { return nil }
            if index < 8 {
                low |= byte << UInt64(index * 8)
            } else {
                high |= byte << UInt64(index * 8 - 64)
            }
        }
        return (low, high)
    }

    private static func start(_ low: UInt64, _ high: UInt64) -> Int {
        let mixed = (low ^ high &* 0x9E37_79B9_7F4A_7C15) &* 0xD6E8_FEB8_6659_FD93
        return Int(mixed >> 54) & (slotCount - 1)
    }
}

internal import Bytes

/// What happens to a journal record on its way to Redis (protocol.md section 6).
enum JournalRule: UInt8, Equatable {
    /// Sent as it came.
    case pass
    /// LPUSH, RPUSH and their X forms: passed; they explain a pop of the same transaction.
    case push
    /// INCRBYFLOAT, HINCRBYFLOAT: computed on the target as Dragonfly does.
    case floatIncrement
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
    /// DELEX: DEL if it has no condition.
    case deleteConditionally
    /// SADDEX: SADD; the members' expiry is dropped and counted.
    case addWithExpiry
    /// HSETEX in Dragonfly's and in Redis 8's form: HSET or HSETNX; the expiry is dropped and counted.
    case hashSetWithExpiry
    /// FIELDEXPIRE, HEXPIRE: the element expiry is dropped and counted.
    case elementExpiry
    /// HGETEX: nothing, or an element expiry that is dropped and counted.
    case hashGetWithExpiry
    /// XADD: passed if its id is final.
    case streamAdd
    /// XCLAIM: passed; exact only with a minimum idle time of 0.
    case streamClaim
    /// XAUTOCLAIM: the same, its arguments in other places.
    case streamAutoClaim
    /// LPOP, RPOP: passed; without a count and inside a transaction it may stand for more (6.8).
    case pop
    /// LMPOP, ZMPOP with all arguments: passed.
    case multiPop
    /// SORT: skipped without STORE, passed with it, a cut-off one repaired.
    case sort
    /// ZUNIONSTORE and relatives: passed if whole; older releases cut it per shard (6.8).
    case aggregateStore
    /// ZRANGESTORE: the same, without a key count.
    case rangeStore
    /// MOVE: recorded even if nothing moved, so exact only once both databases are complete.
    case move
    /// FLUSHALL, FLUSHDB: once, when all flows have reached it.
    case flushAll
    case flushDatabase
    /// DFLYCLUSTER FLUSHSLOTS: its keys cannot be told here.
    case flushSlots
    /// SCRIPT: LOAD is passed, the rest skipped.
    case script
    /// Nothing for a Redis to do.
    case skip
    /// The target has no such type.
    case unsupported
    /// Cannot be carried over exactly: its key is named.
    case repair
}

/// Looks up a command's rule without allocating.
struct JournalRules {
    private struct Slot: BitwiseCopyable {
        var low: UInt64
        var high: UInt64
        var rule: JournalRule
        var keyPosition: UInt8
    }

    struct Match {
        var rule: JournalRule
        /// Where the (first) key is among the arguments; 1 is the first after the command name,
        /// 0 means there is none.
        var keyPosition: Int
    }

    // Open addressing; four times as many slots as commands, so that probes are short.
    private var slots: [Slot]
    private static let slotCount = 1024

    init() {
        let empty = Slot(low: 0, high: 0, rule: .repair, keyPosition: 0)
        slots = [Slot](repeating: empty, count: JournalRules.slotCount)
        for (rule, names) in JournalRules.table {
            for name in names { insert(name, rule, key: 1) }
        }
        for name in ["XGROUP", "LMPOP", "ZMPOP"] { insert(name, nil, key: 2) }
        for name in ["FLUSHALL", "FLUSHDB", "DFLYCLUSTER", "SCRIPT", "PING"] {
            insert(name, nil, key: 0)
        }
    }

    /// One row per rule. A command that is in no row is unknown: it is repaired by name.
    private static let table: [(JournalRule, [String])] = [
        (
            .pass,
            [
                "SETNX", "APPEND", "SETRANGE", "INCR", "DECR", "INCRBY", "DECRBY",
                "MSET", "SETBIT", "BITFIELD", "PFADD", "LINSERT", "LSET",
                "LTRIM", "LREM", "LMOVE", "RPOPLPUSH", "SADD", "SREM", "SMOVE", "ZADD", "ZINCRBY",
                "ZREM", "ZREMRANGEBYRANK", "ZREMRANGEBYSCORE", "ZREMRANGEBYLEX", "ZPOPMIN",
                "ZPOPMAX", "GEOADD", "HSET", "HMSET", "HSETNX", "HINCRBY", "HDEL",
                "XTRIM", "XDEL", "XACK", "XSETID", "XGROUP",
            ]
        ),
        (.push, ["LPUSH", "RPUSH", "LPUSHX", "RPUSHX"]),
        (.floatIncrement, ["INCRBYFLOAT", "HINCRBYFLOAT"]),
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
        (.elementExpiry, ["FIELDEXPIRE", "HEXPIRE"]),
        (.hashGetWithExpiry, ["HGETEX"]),
        (.streamAdd, ["XADD"]),
        (.streamClaim, ["XCLAIM"]),
        (.streamAutoClaim, ["XAUTOCLAIM"]),
        (.pop, ["LPOP", "RPOP"]),
        (.multiPop, ["LMPOP", "ZMPOP"]),
        (.sort, ["SORT"]),
        (.aggregateStore, ["ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE"]),
        (.rangeStore, ["ZRANGESTORE"]),
        (.move, ["MOVE"]),
        (.flushAll, ["FLUSHALL"]),
        (.flushDatabase, ["FLUSHDB"]),
        (.flushSlots, ["DFLYCLUSTER"]),
        (.script, ["SCRIPT"]),
        (.skip, ["STICK", "SHRINK", "PING"]),
        (
            .unsupported,
            [
                "JSON.SET", "JSON.MSET", "JSON.MERGE", "JSON.DEL", "JSON.FORGET", "JSON.CLEAR",
                "JSON.TOGGLE", "JSON.NUMINCRBY", "JSON.NUMMULTBY", "JSON.STRAPPEND",
                "JSON.ARRAPPEND", "JSON.ARRINSERT", "JSON.ARRPOP", "JSON.ARRTRIM", "BF.ADD",
                "BF.MADD", "BF.RESERVE", "BF.LOADCHUNK", "CF.ADD", "CF.ADDNX", "CF.INSERT",
                "CF.INSERTNX", "CF.DEL", "CF.RESERVE", "CF.COMPACT", "CMS.INITBYDIM",
                "CMS.INITBYPROB", "CMS.INCRBY", "CMS.MERGE", "TOPK.RESERVE", "TOPK.ADD",
                "TOPK.INCRBY", "FT.CREATE", "FT.DROPINDEX", "FT.ALTER", "FT.SYNUPDATE",
            ]
        ),
        (.repair, ["PREPEND", "CL.THROTTLE"]),
    ]

    /// The rule for a command name in any letter case.
    func match(_ name: ByteView) -> Match {
        guard let (low, high) = JournalRules.pack(name) else {
            return Match(rule: .repair, keyPosition: 1)
        }
        var index = JournalRules.start(low, high)
        while true {
            let slot = slots[index]
            if slot.low == low && slot.high == high {
                return Match(rule: slot.rule, keyPosition: Int(slot.keyPosition))
            }
            if slot.low == 0 { return Match(rule: .repair, keyPosition: 1) }
            index = (index + 1) & (JournalRules.slotCount - 1)
        }
    }

    // Adds a command, or sets the key position of one that is there.
    private mutating func insert(_ name: String, _ rule: JournalRule?, key: UInt8) {
        guard let (low, high) = Array(name.utf8).withByteView({ JournalRules.pack($0) }) else {
            preconditionFailure("a command name of the table is too long")
        }
        var index = JournalRules.start(low, high)
        while slots[index].low != 0 && (slots[index].low != low || slots[index].high != high) {
            index = (index + 1) & (JournalRules.slotCount - 1)
        }
        let kept = rule ?? slots[index].rule
        slots[index] = Slot(low: low, high: high, rule: kept, keyPosition: key)
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

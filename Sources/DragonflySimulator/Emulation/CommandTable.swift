extension CommandRule {
    /// All commands, by upper-case name.
    static let table: [[UInt8]: CommandRule] = {
        var table: [[UInt8]: CommandRule] = [:]
        for row in reading + strings + generic + collections + streams + foreign {
            for name in row.names.split(separator: " ") {
                table[text(String(name))] = CommandRule(
                    name: text(String(name)), keys: row.keys, behaviour: row.behaviour,
                    minimumWords: row.minimumWords, since: row.since)
            }
        }
        return table
    }()

    private struct Row {
        let names: String
        let keys: KeyPositions
        let behaviour: CommandBehaviour
        let minimumWords: Int
        let since: Int

        init(
            _ names: String, _ keys: KeyPositions, _ behaviour: CommandBehaviour,
            _ minimumWords: Int, since: Int = 0
        ) {
            self.names = names
            self.keys = keys
            self.behaviour = behaviour
            self.minimumWords = minimumWords
            self.since = since
        }
    }

    private static let reading: [Row] = [
        Row("GET STRLEN LLEN SCARD SMEMBERS HGETALL HKEYS HVALS HLEN ZCARD XLEN", .first, .read, 2),
        Row("BITCOUNT SRANDMEMBER HRANDFIELD ZRANDMEMBER SORT_RO BITFIELD_RO", .first, .read, 2),
        Row("GETBIT BITPOS LINDEX SISMEMBER SMISMEMBER HGET HEXISTS HSTRLEN", .first, .read, 3),
        Row("HMGET SSCAN HSCAN ZSCAN LPOS ZSCORE ZMSCORE ZRANK ZREVRANK", .first, .read, 3),
        Row("GEOHASH GEOPOS XPENDING", .first, .read, 3),
        Row("GETRANGE SUBSTR LRANGE ZCOUNT ZLEXCOUNT ZRANGE ZREVRANGE", .first, .read, 4),
        Row("ZRANGEBYSCORE ZREVRANGEBYSCORE ZRANGEBYLEX ZREVRANGEBYLEX", .first, .read, 4),
        Row("GEODIST GEOSEARCH GEORADIUS_RO GEORADIUSBYMEMBER_RO", .first, .read, 4),
        Row("XRANGE XREVRANGE", .first, .read, 4),
        Row("MGET SINTER SUNION SDIFF TOUCH", .every(1), .read, 2),
        Row("SINTERCARD ZINTER ZUNION ZDIFF ZINTERCARD", .counted(1), .read, 3),
        Row("OBJECT XINFO", .second, .read, 3),
        Row("XREAD", .streams, .read, 4),
        Row("KEYS", .none, .read, 2),
        Row("SCAN", .none, .read, 2),
        Row("DBSIZE RANDOMKEY PING", .none, .read, 1),
        Row("ECHO", .none, .read, 2),
        Row("TTL PTTL", .first, .readTime, 2),
        Row("EXPIRETIME PEXPIRETIME", .first, .readTime, 2, since: 1021),
        Row("PFCOUNT", .every(1), .readHyperLogLog, 2),
        Row("DUMP", .first, .dump, 2),
        Row("TYPE", .first, .type, 2),
        Row("EXISTS", .every(1), .exists, 2),
        Row("FIELDTTL", .first, .fieldTimeToLive, 3),
    ]

    private static let strings: [Row] = [
        Row("INCR DECR", .first, .journaled, 2),
        Row("INCRBY DECRBY APPEND", .first, .journaled, 3),
        Row("SETRANGE SETBIT", .first, .journaled, 4),
        Row("BITFIELD PFADD", .first, .journaled, 2),
        Row("SETNX", .first, .journaledIfEffective, 3),
        Row("GETDEL", .first, .journaledIfEffective, 2),
        Row("GETSET", .first, .getSet, 3),
        Row("SET", .first, .set, 3),
        Row("SETEX PSETEX", .first, .setWithExpiry, 4),
        Row("GETEX", .first, .getExpire, 2),
        Row("MSET", .every(2), .multipleSet, 3),
        Row("MSETNX", .every(2), .multipleSetIfAbsent, 3),
        Row("INCRBYFLOAT", .first, .incrementFloat, 3),
        Row("PREPEND", .first, .prepend, 3),
        Row("BITOP", .fromSecond, .bitOperation, 4),
        Row("PFMERGE", .every(1), .mergeHyperLogLogs, 2),
        Row("CL.THROTTLE", .first, .throttle, 5),
    ]

    private static let generic: [Row] = [
        Row("DEL UNLINK", .every(1), .delete, 2),
        Row("DELEX", .first, .deleteConditionally, 2, since: 1041),
        Row("EXPIRE PEXPIRE EXPIREAT PEXPIREAT", .first, .expire, 3),
        Row("PERSIST", .first, .persist, 2),
        Row("RENAME RENAMENX", .firstTwo, .rename, 3),
        Row("COPY", .firstTwo, .copy, 3, since: 1030),
        Row("MOVE", .first, .move, 3),
        Row("RESTORE", .first, .restore, 4),
        Row("STICK", .every(1), .stick, 2),
        Row("SHRINK", .first, .shrink, 2, since: 1036),
        Row("SORT", .sort, .sort, 2),
        Row("FLUSHALL FLUSHDB", .none, .flush, 1),
        Row("DFLYCLUSTER", .none, .flushSlots, 4),
        Row("EVAL EVALSHA", .counted(2), .evaluate, 3),
        Row("SCRIPT", .none, .script, 2),
    ]

    private static let collections: [Row] = [
        Row("LPUSH RPUSH LPUSHX RPUSHX", .first, .journaled, 3),
        Row("LPOP RPOP", .first, .journaledIfPresent, 2),
        Row("LINSERT", .first, .journaledIfPresent, 5),
        Row("LSET", .first, .journaled, 4),
        Row("LTRIM LREM", .first, .journaledIfPresent, 4),
        Row("LMOVE", .firstTwo, .moveElement, 5),
        Row("BLMOVE", .firstTwo, .moveElement, 6),
        Row("RPOPLPUSH", .firstTwo, .moveElement, 3),
        Row("BRPOPLPUSH", .firstTwo, .moveElement, 4),
        Row("LMPOP ZMPOP", .counted(1), .popMany, 4),
        Row("BLMPOP BZMPOP", .counted(2), .popMany, 5),
        Row("BLPOP BRPOP BZPOPMIN BZPOPMAX", .allButLast, .popBlocking, 3),
        Row("SADD", .first, .journaled, 3),
        Row("SREM", .first, .journaledRemoval, 3),
        Row("SPOP", .first, .popRandom, 2),
        Row("SMOVE", .firstTwo, .moveMember, 4),
        Row("SINTERSTORE SUNIONSTORE SDIFFSTORE", .every(1), .storeSet, 3),
        Row("SADDEX", .first, .addMembersWithExpiry, 4),
        Row("ZADD", .first, .journaled, 4),
        Row("ZINCRBY", .first, .journaled, 4),
        Row("ZREM", .first, .journaledIfPresent, 3),
        Row("ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREMRANGEBYLEX", .first, .journaledIfPresent, 4),
        Row("ZPOPMIN ZPOPMAX", .first, .journaledIfPresent, 2),
        Row("ZUNIONSTORE ZINTERSTORE ZDIFFSTORE", .storeCounted, .storeSortedSet, 4),
        Row("ZRANGESTORE", .firstTwo, .storeSortedSet, 5),
        Row("GEOADD", .first, .journaled, 5),
        Row("GEORADIUS", .geoStore, .geoRadius, 6, since: 1035),
        Row("GEORADIUSBYMEMBER", .geoStore, .geoRadius, 5),
        Row("HSET HMSET", .first, .setFields, 4),
        Row("HSETNX HINCRBY", .first, .journaled, 4),
        Row("HINCRBYFLOAT", .first, .incrementFieldFloat, 4),
        Row("HDEL", .first, .journaledRemoval, 3),
        Row("HSETEX", .first, .setFieldsWithExpiry, 5),
        Row("FIELDEXPIRE", .first, .expireElements, 4),
        Row("HEXPIRE", .first, .expireFields, 6),
        Row("HGETEX", .first, .getFieldsWithExpiry, 5, since: 1040),
    ]

    private static let streams: [Row] = [
        Row("XADD", .first, .addEntry, 5),
        Row("XTRIM", .first, .trimStream, 4),
        Row("XDEL", .first, .journaledIfPresent, 3),
        Row("XSETID", .first, .journaled, 3),
        Row("XACK", .first, .acknowledge, 4),
        Row("XCLAIM XAUTOCLAIM", .first, .journaled, 6),
        Row("XGROUP", .second, .group, 4),
        Row("XREADGROUP", .streams, .readGroup, 7),
    ]

    private static let foreign: [Row] = [
        Row("JSON.SET JSON.MERGE JSON.NUMINCRBY JSON.NUMMULTBY", .first, .foreign(.json), 4),
        Row("JSON.STRAPPEND JSON.ARRAPPEND JSON.ARRINSERT", .first, .foreign(.json), 3),
        Row("JSON.ARRTRIM JSON.ARRPOP JSON.TOGGLE", .first, .foreign(.json), 2),
        Row("JSON.DEL JSON.FORGET JSON.CLEAR", .first, .foreign(.json), 2),
        Row("JSON.MSET", .every(3), .foreign(.json), 4),
        Row("BF.ADD BF.MADD", .first, .foreign(.bloom), 3),
        Row("BF.RESERVE", .first, .foreign(.bloom), 4),
        Row("CF.ADD CF.ADDNX CF.DEL CF.RESERVE", .first, .foreign(.cuckoo), 3, since: 1040),
        Row("CF.INSERT CF.INSERTNX", .first, .foreign(.cuckoo), 4, since: 1040),
        Row("CMS.INITBYDIM CMS.INITBYPROB", .first, .foreign(.countMinSketch), 4, since: 1038),
        Row("CMS.INCRBY", .first, .foreign(.countMinSketch), 4, since: 1038),
        Row("CMS.MERGE", .storeCounted, .foreign(.countMinSketch), 4, since: 1038),
        Row("TOPK.RESERVE TOPK.ADD TOPK.INCRBY", .first, .foreign(.topK), 3, since: 1038),
    ]
}

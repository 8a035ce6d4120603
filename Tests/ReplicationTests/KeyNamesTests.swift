import Bytes
import Testing
import Wire

@testable import Replication

/// Each key that a record names is known, and what the record does with it: a key that is missed is
/// not read again, or its value is written over a record that it does not hold.
@Suite struct KeyNamesTests {
    /// "database key use" of a record's keys.
    private func keys(_ record: String, database: Int = 0) throws -> [String] {
        let payload = try TestRecord(record.split(separator: " ").map { Array($0.utf8) })
        let record = payload.record(database: database)
        let writer = JournalWriter()
        var found: [String] = []
        writer.forEachKey(of: record, writer.match(record)) { database, key, use in
            found.append("\(database) \(key.printable()) \(use)")
        }
        return found
    }

    private func expect(_ rows: [(String, [String])]) throws {
        for (record, expected) in rows {
            #expect(try keys(record) == expected.map { "0 \($0)" }, "\(record)")
        }
    }

    @Test func oneKey() throws {
        for record in [
            "SET k v", "INCR k", "INCRBYFLOAT k 1", "PEXPIREAT k 1", "PERSIST k", "RESTORE k 0 x",
            "LPOP k", "RPUSH k a b", "SADD k m", "HSET k f v", "ZADD k 1 m", "XADD k 1-1 f v",
            "XTRIM k MAXLEN 0", "GETDEL k", "SADDEX k 1 m", "PREPEND k v", "CL.THROTTLE k 1 1 1",
            "NOSUCH k a b", "A.NAME.THAT.IS.TOO.LONG.FOR.THE.TABLE k", "set k v",
        ] {
            #expect(try keys(record) == ["0 k changed"], "\(record)")
        }
        #expect(try keys("SET k v", database: 7) == ["7 k changed"])
    }

    @Test func theKeyIsNotTheFirstArgument() throws {
        try expect([
            ("XGROUP CREATE k g $ MKSTREAM", ["k changed"]),
            ("xgroup setid k g 0", ["k changed"]), ("XGROUP", []), ("XGROUP CREATE", []),
            ("LMPOP 1 k LEFT COUNT 5", ["k changed"]), ("ZMPOP 1 k MIN", ["k changed"]),
            ("LMPOP 2 a b RIGHT", ["a changed", "b changed"]),
        ])
    }

    @Test func manyKeys() throws {
        try expect([
            ("DEL a", ["a replaced"]), ("DEL a b c", ["a replaced", "b replaced", "c replaced"]),
            ("UNLINK a b", ["a replaced", "b replaced"]),
            ("MSET a 1", ["a replaced"]), ("mset a b c d", ["a replaced", "c replaced"]),
            ("MSET a 1 b", ["a replaced", "b replaced"]),
            ("RENAME a b", ["a changed", "b replaced"]),
            ("RENAMENX a b", ["a changed", "b replaced"]), ("RENAME a", ["a changed"]),
            ("LMOVE a b LEFT RIGHT", ["a changed", "b changed"]),
            ("RPOPLPUSH a b", ["a changed", "b changed"]),
            ("rpoplpush a a", ["a changed", "a changed"]),
            ("SMOVE a b m", ["a changed", "b changed"]), ("LMOVE a", ["a changed"]),
        ])
    }

    @Test func otherDatabases() throws {
        #expect(try keys("MOVE k 3", database: 1) == ["1 k changed", "3 k changed"])
        for record in ["MOVE k", "MOVE k x", "MOVE k -1"] {
            #expect(try keys(record) == ["0 k changed"], "\(record)")
        }
    }

    @Test func keysThatAreOnlyRead() throws {
        try expect([
            ("SORT a", ["a read"]), ("SORT a LIMIT 0 5 DESC", ["a read"]),
            ("SORT a STORE d", ["a read", "d replaced"]),
            ("sort a by STORE alpha store d", ["a read", "d replaced"]),
            ("SORT a STORE", ["a read"]),
            ("ZUNIONSTORE d 2 a b", ["d replaced", "a read", "b read"]),
            ("ZINTERSTORE d 1 a WEIGHTS 2", ["d replaced", "a read"]),
            ("ZDIFFSTORE d 3 a b c", ["d replaced", "a read", "b read", "c read"]),
            ("ZRANGESTORE d s 0 -1", ["d replaced", "s read"]),
            ("GEORADIUS k 1 2 3 km STORE d", ["k read", "d replaced"]),
        ])
    }

    /// Cut off per shard by older releases (protocol.md 6.8): every word that may be a key is one.
    @Test func recordsThatWereCutOff() throws {
        try expect([
            ("ZUNIONSTORE d", ["d replaced"]), ("ZUNIONSTORE d 2 a", ["d replaced", "a read"]),
            ("ZUNIONSTORE d 9223372036854775807 a", ["d replaced", "a read"]),
            ("ZUNIONSTORE d -1 a", ["d replaced"]), ("ZINTERSTORE d x", ["d replaced"]),
            ("ZRANGESTORE d", ["d replaced"]), ("ZRANGESTORE d s", ["d replaced", "s read"]),
            ("LMPOP a", ["a changed"]), ("ZMPOP a b", ["a changed", "b changed"]),
            ("LMPOP 1", ["1 changed"]), ("LMPOP 1 k", ["1 changed", "k changed"]),
        ])
    }

    @Test func noKeys() throws {
        for record in [
            "FLUSHALL", "FLUSHDB", "FLUSHALL SYNC", "DFLYCLUSTER FLUSHSLOTS 1 2", "SCRIPT LOAD x",
            "PING", "PING x", "SHUTDOWN NOSAVE", "CONFIG SET dir /", "SET", "DEL", "MSET", "RENAME",
            "MOVE", "SORT", "ZUNIONSTORE", "ZRANGESTORE", "LMOVE", "LMPOP", "NOSUCH",
        ] {
            #expect(try keys(record) == [], "\(record)")
        }
        let writer = JournalWriter()
        let empty = JournalRecord(operation: .exec, database: 0)
        writer.forEachKey(of: empty, writer.match(empty)) { _, key, _ in
            Issue.record("\(key.printable())")
        }
    }
}

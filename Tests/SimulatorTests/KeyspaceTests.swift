import Glibc
import TestSupport
import Testing

@testable import DragonflySimulator

@Suite struct KeyspaceTests {
    @Test func valuesOfAnySizePass() throws {
        let run = try EmulatedRun()
        let value = [UInt8](repeating: UInt8(ascii: "v"), count: 3_000_000)
        let execution = try run.executor.execute(
            [text("SET"), text("big"), value], database: 0)
        #expect(execution.entries.first?.entry.words[2] == value)
        #expect(
            try run.executor.execute([text("GET"), text("big")], database: 0).reply == .bulk(value))
    }

    @Test func serverIsGoneAfterStop() throws {
        let keyspace = try Keyspace()
        let port = keyspace.port
        #expect(throws: Never.self) { try TargetClient(host: "127.0.0.1", port: port) }
        keyspace.stop()
        #expect(throws: VerificationError.self) {
            try TargetClient(host: "127.0.0.1", port: port)
        }
    }

    @Test func expiredKeysStayUntilTouched() throws {
        for (release, operation) in [
            (EmulatedRelease.v1_35, JournalEntry.Operation.expired), (.newest, .command),
        ] {
            let run = try EmulatedRun(release)
            try run.prepare("SET a 1 PX 100", "SET b 1 PX 100", "SET c 1 PX 500")
            run.clock.milliseconds += 100
            #expect(try run.keyspace.allKeys().count == 3)
            let stored = try #require(
                try run.keyspace.stored(KeyName(database: 0, key: text("a"))))
            #expect(stored.expiryMilliseconds == run.clock.milliseconds)

            let touched = try run.run("GET a")
            #expect(touched.reply == .null)
            #expect(touched.entries.map(\.entry.operation) == [operation])
            #expect(touched.entries.map(\.entry.transaction) == [0])
            #expect(touched.entries.map(\.entry.words) == [[text("DEL"), text("a")]])
            #expect(try run.keyspace.allKeys().count == 2)

            let expired = try run.executor.expire(limit: 10)
            #expect(expired.reply == .integer(1))
            #expect(expired.entries.map(\.entry.words) == [[text("DEL"), text("b")]])
            #expect(expired.entries.map(\.entry.operation) == [operation])
            #expect(try run.executor.expire(limit: 10).entries.isEmpty)
        }
    }

    @Test func expiryTakesNoMoreThanItsLimit() throws {
        let run = try EmulatedRun()
        for number in 0..<10 { try run.prepare("SET k\(number) 1 PX \(100 + number)") }
        // This one has another expiry than the one that is due.
        try run.prepare("PEXPIRE k0 5000")
        run.clock.milliseconds += 200
        #expect(try run.executor.expire(limit: 4).lines.count == 4)
        #expect(try run.executor.expire(limit: 100).lines.count == 5)
        #expect(try run.reply("PTTL k0") == "4800")
    }

    @Test func timesInRepliesAreTheTrueOnes() throws {
        let run = try EmulatedRun()
        try run.prepare("SET a 1 PX 90600", "SET b 1")
        #expect(try run.reply("TTL a") == "91")
        #expect(try run.reply("PTTL a") == "90600")
        #expect(try run.reply("EXPIRETIME a") == "2000000091")
        #expect(try run.reply("PEXPIRETIME a") == "2000000090600")
        #expect(try run.reply("TTL b") == "-1")
        #expect(try run.reply("PTTL c") == "-2")
    }

    @Test func settledServerHoldsTheTrueExpiries() throws {
        let run = try EmulatedRun()
        // The server deletes by its own clock what is past, so this test goes by that, too.
        run.clock.milliseconds = run.realMilliseconds
        try run.prepare(
            "SET gone 1 PX 100", "SET kept 1 PX 500000", "SET plain 1",
            "HSETEX h 10 f 1", "HSET h g 2", "SADDEX s 10 m", "LPUSH l a", "PEXPIRE l 600000")
        try #require(try run.run("SET other 1 PX 700000", database: 3).reply == .ok)
        let start = run.clock.milliseconds
        run.clock.milliseconds += 20_000
        try run.keyspace.settle()
        let client = try RespClient(port: run.keyspace.port)
        let state = try StateReader(client).read()
        #expect(
            Set(state.keys) == [
                StateKey(0, "kept"), StateKey(0, "plain"), StateKey(0, "h"), StateKey(0, "l"),
                StateKey(3, "other"),
            ])
        #expect(state[StateKey(0, "kept")]?.expiryMilliseconds == start + 500_000)
        #expect(state[StateKey(0, "plain")]?.expiryMilliseconds == 0)
        #expect(state[StateKey(0, "l")]?.expiryMilliseconds == start + 600_000)
        #expect(state[StateKey(3, "other")]?.expiryMilliseconds == start + 700_000)
        guard case .hash(let fields)? = state[StateKey(0, "h")]?.value else {
            throw TestSupportError("h is no hash")
        }
        #expect(fields == [FieldValue(field: text("g"), value: text("2"))])
    }

    @Test func settlingFindsAWrongExpiry() throws {
        let run = try EmulatedRun()
        try run.prepare("SET a 1 PX 100000")
        _ = try run.keyspace.call([text("PERSIST"), text("a")], database: 0)
        #expect(throws: EmulationError.self) { try run.keyspace.settle() }
    }

    @Test func stickinessAndFlagsStayWithTheKey() throws {
        let run = try EmulatedRun(flows: 1)
        func stored(_ key: String) throws -> StoredKey? {
            try run.keyspace.stored(KeyName(database: 0, key: text(key)))
        }
        try run.prepare("SET a 1 STICK", "SET b 1 _MCFLAGS 7")
        #expect(try stored("a")?.isSticky == true)
        #expect(try stored("b")?.memcachedFlags == 7)
        try run.prepare("SET a 2", "SET b 2", "RENAME a c")
        #expect(try stored("c")?.isSticky == true)
        #expect(try stored("b")?.memcachedFlags == nil)
        #expect(try run.reply("STICK c b") == "1")
        try run.prepare("DEL c", "SET c 1")
        #expect(try stored("c")?.isSticky == false)
    }

    @Test func detailsOfEmptiedKeysAreForgotten() throws {
        let run = try EmulatedRun()
        try run.prepare(
            "RPUSH l a", "PEXPIRE l 1000", "LPOP l", "RPUSH l b", "SADD s a", "STICK s", "SREM s a",
            "ZADD z 1 a", "PEXPIRE z 1000", "ZPOPMIN z", "HSETEX h 10 f v", "HDEL h f", "HSET h f w"
        )
        #expect(run.keyspace.details.isEmpty)
        run.clock.milliseconds += 20_000
        #expect(try run.executor.expire(limit: 10).entries.isEmpty)
        #expect(try run.reply("HGET h f") == "w")
    }

    @Test func expiryQueueForgetsOutdatedEntries() throws {
        let run = try EmulatedRun()
        try run.prepare("SET a 1")
        for time in 1...5000 { try run.prepare("PEXPIRE a \(time * 1000)") }
        #expect(run.keyspace.expiryQueue.count < 2000)
        run.clock.milliseconds += 5_000_000
        #expect(try run.executor.expire(limit: 10).lines.count == 1)
    }

    @Test func keysThatChangeAreAnnouncedBefore() throws {
        let run = try EmulatedRun()
        let (first, second) = (run.key("a", on: 0), run.key("b", on: 1))
        try run.prepare("SET \(first) old", "SET \(second) old PX 100", "SADDEX s 1 m", "SADD s n")
        var seen: [String] = []
        run.executor.willChange = { (names) throws(EmulationError) in
            for name in names {
                let key = String(decoding: name.key, as: UTF8.self)
                let type = try run.keyspace.call([text("TYPE"), name.key], database: 0)
                seen.append("\(key) \(type.plain)")
            }
        }
        try run.prepare("RENAME \(first) n")
        #expect(seen == ["\(first) string", "n none"])
        seen = []
        run.clock.milliseconds += 2000
        try run.prepare("GET \(second)", "SCARD s")
        #expect(seen == ["\(second) string", "s set"])
        seen = []
        try run.prepare("GET n", "TTL n")
        #expect(seen == [])
        var flushed: [Int?] = []
        run.executor.willFlush = { (database) throws(EmulationError) in flushed.append(database) }
        try run.prepare("FLUSHDB", "FLUSHALL")
        #expect(flushed == [0, nil])
    }
}

extension EmulatedRun {
    var realMilliseconds: Int64 { Int64(time(nil)) * 1000 }
}

import Bytes
import Foundation
import TestSupport
import Testing
import Wire

@testable import RedisTarget

/// A key written to the target equals the key that was read: bytes, order, scores, expiry, groups.
@Suite struct EntryWriterTests {
    static let methods: [EntryWriter.Method] = [.automatic, .restore, .commands]
    /// In the year 2100.
    private static let expiry = "4102444800123"

    // MARK: Equality

    /// Fills a server with every core type in every encoding that it has.
    private func fill(_ server: RedisServer) throws {
        let client = try server.client()
        var generator = SeededGenerator(seed: 71)
        func put(_ words: [[UInt8]]) throws {
            if case .error(let message) = try client.command(words) {
                throw TestSupportError(message)
            }
        }
        func put(_ words: String...) throws { try put(words.map { Array($0.utf8) }) }
        func text(_ text: String) -> [UInt8] { Array(text.utf8) }

        for number in ["0", "-5", "127", "-129", "32768", "-2147483648", "4294967296", "007", ""] {
            try put("SET", "s:\(number)", number)
        }
        try put("SET", "s:packed", String(repeating: "abc", count: 4000))
        try put([text("SET"), text("s:random"), generator.bytes(70_000)])
        try put([text("SET"), [0, 13, 10, 255], [0, 13, 10, 255]])
        try put([text("SET"), [], text("of the empty key")])
        try put("SET", "s:expiring", "v", "PXAT", Self.expiry)

        try put("RPUSH", "l:small", "a", "12", "bb", "-70000", "")
        try put("PEXPIREAT", "l:small", Self.expiry)
        try put([text("RPUSH"), text("l:raw"), generator.bytes(9000), text("x")])
        try put("SADD", "i:16", "1", "2", "-3")
        try put("SADD", "i:32", "1", "70000")
        try put("SADD", "i:64", "1", "5000000000")
        try put("SADD", "set:small", "a", "bc", "12")
        try put("HSET", "h:small", "f", "v", "n", "12", "", "")
        try put("PEXPIREAT", "h:small", Self.expiry)
        try put("ZADD", "z:small", "1", "a", "2.5", "b", "-inf", "c", "inf", "d", "-0", "e")
        try put("ZADD", "z:close", "0.30000000000000004", "a", "0.3", "b", "5e-324", "c")
        for index in 0..<3000 {
            let name = "\(index):" + String(repeating: "x", count: index % 90)
            try put("RPUSH", "l:large", name)
            try put("SADD", "set:large", name)
            try put("HSET", "h:large", name, "\(index)")
            try put("ZADD", "z:large", "\(Double(index) / 7)", name)
        }
        try put("PEXPIREAT", "z:large", Self.expiry)

        for index in 1...300 { try put("XADD", "x", "\(index)-1", "f", "\(index)", "g", "") }
        try put("XDEL", "x", "7-1", "300-1")
        try put("XGROUP", "CREATE", "x", "g1", "0")
        try put("XREADGROUP", "GROUP", "g1", "c1", "COUNT", "20", "STREAMS", "x", ">")
        try put("XREADGROUP", "GROUP", "g1", "c2", "COUNT", "5", "STREAMS", "x", ">")
        try put("XACK", "x", "g1", "3-1")
        try put("XGROUP", "CREATECONSUMER", "x", "g1", "idle")
        try put("XGROUP", "CREATE", "x", "g2", "$")
        try put("PEXPIREAT", "x", Self.expiry)
        try put("XADD", "x:gone", "5-5", "f", "v")
        try put("XGROUP", "CREATE", "x:gone", "g", "0")
        try put("XDEL", "x:gone", "5-5")
        try put("SELECT", "5")
        try put("SET", "s", "in database 5")
        try put("RPUSH", "l", "in", "database", "5")
    }

    private func expectEqual(_ source: RedisServer, _ target: RedisServer, _ note: String) throws {
        let comparison = StateComparison(
            expected: try StateReader(source.client()).read(),
            actual: try StateReader(target.client()).read())
        #expect(comparison.differences == [], "\(note)")
        #expect(comparison.keysCompared > 0)
    }

    @Test(arguments: methods, [1 << 14, 1 << 20])
    func everyTypeArrivesEqual(_ method: EntryWriter.Method, _ ringBytes: Int) throws {
        let source = try RedisServer()
        try fill(source)
        let target = try RedisServer()
        // A baseline replaces whatever is there.
        for name in ["l:small", "set:large", "x"] { try target.client().call("SET", name, "old") }
        try target.client().call("RPUSH", "s:0", "old")
        let entries = try StoredEntry.all(of: source)
        let run = try EntryRun(target, method, ringBytes: ringBytes)
        try run.write(entries)
        #expect(run.errors.isEmpty)
        #expect(run.outcomes.count == entries.count && run.outcomes.allSatisfy { $0 == .sent })
        #expect(run.pipeline.records.count == entries.count)
        #expect(run.pipeline.answers.allSatisfy { $0.error == nil })
        #expect(run.refusals > 0 || ringBytes > 1 << 14)
        #expect(run.memberExpiriesDropped == 0 && run.pendingEntriesDropped == 0)
        try expectEqual(source, target, "\(method)")
        let calls = try target.callsByCommand()
        switch method {
        case .commands: #expect(calls["restore"] == nil)
        case .restore: #expect(calls["restore"] == entries.count && calls["rpush"] == 1)
        case .automatic: #expect(calls["restore"] != nil && calls["hset"] == nil)
        }
    }

    /// Collections of several flows are built one after the other, never mixed up.
    @Test func flowsShareThePipeline() throws {
        let source = try RedisServer()
        try fill(source)
        let target = try RedisServer()
        let entries = try StoredEntry.all(of: source)
        let run = try EntryRun(target, .commands, commandsInFlight: 16)
        try run.write(entries, flows: 4)
        #expect(run.pipeline.answers.allSatisfy { $0.error == nil })
        #expect(run.outcomes.count == entries.count)
        // Between MULTI and EXEC there is one flow only.
        var open: Int?
        for answer in run.pipeline.answers where answer.kind != .select {
            if let open { #expect(answer.flow == open) }
            open = answer.kind == .part ? answer.flow : nil
        }
        try expectEqual(source, target, "4 flows")
    }

    /// Elements and values larger than the ring.
    @Test func largeElementsPassASmallRing() throws {
        let source = try RedisServer()
        let client = try source.client()
        var generator = SeededGenerator(seed: 72)
        for size in [3000, 5000, 100_000, 1 << 20] {
            let big = generator.bytes(size)
            for words in [
                ["RPUSH", "l"], ["SADD", "s"], ["HSET", "h", "small"], ["ZADD", "z", "1"],
            ] {
                try client.command(words.map { Array($0.utf8) } + [big])
            }
            try client.command(["HSET", "h"].map { Array($0.utf8) } + [big, big])
            try client.command(["XADD", "x", "*", "f"].map { Array($0.utf8) } + [big])
        }
        for method in Self.methods {
            let target = try RedisServer()
            let run = try EntryRun(target, method, ringBytes: 1 << 12)
            try run.write(try StoredEntry.all(of: source))
            #expect(run.pipeline.answers.allSatisfy { $0.error == nil })
            try expectEqual(source, target, "\(method)")
        }
    }

    /// A key may be as long as a value.
    @Test func longKeysPassASmallRing() throws {
        let source = try RedisServer()
        let client = try source.client()
        let commands = [
            ["SET", "", "v"], ["RPUSH", "", "v"], ["SADD", "", "v"], ["HSET", "", "f", "v"],
            ["ZADD", "", "1", "v"], ["XADD", "", "1-1", "f", "v"],
            ["XGROUP", "CREATE", "", "g", "0", "MKSTREAM"],
        ]
        for (index, words) in commands.enumerated() {
            let key = [UInt8](repeating: UInt8(65 + index), count: 5000 + index)
            try client.command(words.map { $0.isEmpty ? key : Array($0.utf8) })
            try client.command([Array("PEXPIREAT".utf8), key, Array(Self.expiry.utf8)])
        }
        for method in Self.methods {
            let target = try RedisServer()
            let run = try EntryRun(target, method, ringBytes: 1 << 12)
            try run.write(try StoredEntry.all(of: source))
            #expect(run.pipeline.answers.allSatisfy { $0.error == nil })
            try expectEqual(source, target, "\(method)")
        }
    }

    // MARK: Strings

    @Test(arguments: methods)
    func stringEncodings(_ method: EntryWriter.Method) throws {
        let target = try RedisServer()
        let cases: [([UInt8], String)] = [
            ([0x00], ""), ([0x01, 0x76], "v"), ([0xc0, 0xfb], "-5"), ([0xc1, 0xe8, 0x03], "1000"),
            ([0xc2, 0xa0, 0x86, 0x01, 0x00], "100000"), ([0x03, 0x30, 0x30, 0x37], "007"),
            // LZF: "a" and 264 bytes from one back, twice.
            (
                [0xc3, 0x05, 0x41, 0x09, 0x00, 0x61, 0xe0, 0xff, 0x00],
                String(repeating: "a", count: 265)
            ),
        ]
        let entries = try cases.enumerated().map { try StoredEntry(.string, "\($0)", $1.0) }
        let run = try EntryRun(target, method)
        try run.write(entries)
        #expect(run.pipeline.answers.allSatisfy { $0.error == nil })
        for (index, (_, text)) in cases.enumerated() {
            #expect(try target.client().call("GET", "\(index)").text == text, "\(index)")
        }
    }

    /// A past expiry removes the key, as it has on the source; 1970 and before is no special case.
    @Test(arguments: methods)
    func pastExpiries(_ method: EntryWriter.Method) throws {
        let target = try RedisServer()
        try target.client().call("SET", "string", "old")
        var entries: [StoredEntry] = []
        for expiry: Int64 in [1, 1_000_000_000_000, -5] {
            entries.append(
                try StoredEntry(.string, "string", [1, 0x76], expiryMilliseconds: expiry))
            entries.append(
                try StoredEntry(.set, "set\(expiry)", [1, 1, 0x76], expiryMilliseconds: expiry))
        }
        let run = try EntryRun(target, method)
        try run.write(entries)
        #expect(run.pipeline.answers.allSatisfy { $0.error == nil })
        #expect(try StateReader(target.client()).read().isEmpty)
    }

    /// A guarded entry whose expiry has passed is no failure: it may come to its place before it goes.
    @Test(arguments: methods)
    func pastExpiriesOfGuardedEntries(_ method: EntryWriter.Method) throws {
        let target = try RedisServer()
        let now = Int64(Date().timeIntervalSince1970 * 1000)
        let entries = try [
            StoredEntry(.string, "string", [1, 0x76], expiryMilliseconds: now - 1000),
            StoredEntry(.set, "set", [1, 1, 0x76], expiryMilliseconds: now - 1000),
        ]
        let run = try EntryRun(target, method, unixMilliseconds: now)
        try run.write(entries, as: .guardedEntry)
        let answers = run.pipeline.answers.filter { $0.kind == .guardedEntry }
        #expect(answers.count == 2 && answers.allSatisfy { !$0.recordFailed }, "\(answers)")
        for key in ["string", "set"] {
            #expect(try target.client().call("PTTL", key).integer ?? 0 <= 1000)
        }
    }

    // MARK: What is empty, foreign or old

    @Test(arguments: methods)
    func emptyContainersBecomeDEL(_ method: EntryWriter.Method) throws {
        let target = try RedisServer()
        let emptyListpack: [UInt8] = [7, 7, 0, 0, 0, 0, 0, 0xff]
        let empty: [(ValueType, [UInt8])] = [
            (.set, [0]), (.hash, [0]), (.zset2, [0]), (.listQuicklist, [0]),
            (.listQuicklist2, [0]), (.setIntset, [8, 2, 0, 0, 0, 0, 0, 0, 0]),
            (.hashListpack, emptyListpack), (.zsetListpack, emptyListpack),
            (.setListpack, emptyListpack), (.hashWithExpiry, [0]), (.setWithExpiry, [0]),
        ]
        for (type, _) in empty { try target.client().call("SET", "\(type)", "old") }
        let run = try EntryRun(target, method)
        try run.write(try empty.map { try StoredEntry($0, "\($0)", $1) })
        #expect(run.errors.isEmpty && run.outcomes.allSatisfy { $0 == .sent })
        #expect(run.pipeline.answers.allSatisfy { $0.error == nil && $0.kind == .entry })
        #expect(try target.client().call("DBSIZE").integer == 0)
        #expect(try target.callsByCommand()["del"] == empty.count)
    }

    /// protocol.md 11.2: elements arrive, their expiry does not, and that is counted.
    @Test(arguments: methods)
    func elementsWithExpiry(_ method: EntryWriter.Method) throws {
        let hash: [UInt8] = [
            0x02, 0x01, 0x66, 0x01, 0x76, 0xc2, 0x87, 0xf7, 0xbc, 0x0a, 0x01, 0x67, 0x01, 0x77,
            0xc0, 0xff,
        ]
        let set: [UInt8] = [0x02, 0x01, 0x61, 0xc2, 0x87, 0xf7, 0xbc, 0x0a, 0x01, 0x62, 0xc0, 0xff]
        let target = try RedisServer()
        let entries = try [
            StoredEntry(.hashWithExpiry, "h", hash), StoredEntry(.setWithExpiry, "s", set),
        ]
        let run = try EntryRun(target, method)
        try run.write(entries)
        #expect(run.memberExpiriesDropped == 2)
        let client = try target.client()
        #expect(try client.call("HGETALL", "h").elements?.count == 4)
        #expect(try client.call("HGET", "h", "f").text == "v")
        #expect(try client.call("SMEMBERS", "s").elements?.count == 2)

        // Long after that moment the elements are gone on the source, too.
        let later = try EntryRun(target, method, unixMilliseconds: 9_000_000_000_000)
        try later.write(entries)
        #expect(later.memberExpiriesDropped == 0)
        #expect(try client.call("HGETALL", "h").elements?.compactMap(\.text) == ["g", "w"])
        #expect(try client.call("SMEMBERS", "s").elements?.compactMap(\.text) == ["b"])
    }

    /// protocol.md 11.4: type 21 on a Redis 7.0, rewritten or by commands.
    @Test(arguments: methods)
    func streamOfType21(_ method: EntryWriter.Method) throws {
        let target = try RedisServer()
        let run = try EntryRun(target, method)
        try run.write([try StoredEntry(.streamListpacks3, "x", Self.stream21)])
        #expect(run.pipeline.answers.allSatisfy { $0.error == nil })
        let state = try StateReader(target.client()).read()
        guard case .stream(let stream)? = state[StateKey(0, "x")]?.value else {
            Issue.record("no stream")
            return
        }
        #expect(stream.entries.map(\.id) == ["1-1", "2-0", "3-0"])
        #expect(stream.entries[1].fields == [Array("other".utf8), Array("1".utf8)])
        #expect(stream.lastID == "3-0" && stream.maxDeletedID == "1-2")
        #expect(stream.entriesAdded == 4)
        let group = try #require(stream.groups.first)
        #expect(stream.groups.count == 1 && group.lastID == "2-0")
        #expect(group.entriesRead == nil)
        #expect(group.pending.map(\.id) == ["1-1", "2-0"])
        #expect(group.consumers == [Array("c1".utf8), Array("c2".utf8)])
    }

    static let stream21: [UInt8] = [
        0x01,
        0x10, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1,
        0x40, 0x52, 0x52, 0x00, 0x00, 0x00, 0x1f, 0x00,
        0x03, 0x01, 0x01, 0x01,
        0x02, 0x01, 0x81, 0x66, 0x02, 0x81, 0x67, 0x02, 0x00, 0x01,
        0x02, 0x01, 0x00, 0x01, 0x00, 0x01, 0x81, 0x76, 0x02, 0x0c, 0x01, 0x05, 0x01,
        0x03, 0x01, 0x00, 0x01, 0x01, 0x01, 0x82, 0x76, 0x32, 0x03, 0x0d, 0x01, 0x05, 0x01,
        0x00, 0x01, 0x01, 0x01, 0xdf, 0xff, 0x02, 0x01, 0x01, 0x85, 0x6f, 0x74, 0x68, 0x65, 0x72,
        0x06, 0x01, 0x01, 0x06, 0x01,
        0x02, 0x01, 0x02, 0x01, 0xdf, 0xff, 0x02, 0x81, 0x7a, 0x02, 0x00, 0x01, 0x05, 0x01,
        0xff,
        0x03, 0x03, 0x00, 0x01, 0x01, 0x01, 0x02, 0x04,
        0x01, 0x02, 0x67, 0x31, 0x02, 0x00, 0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0x02,
        0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1,
        0x4b, 0x7d, 0x25, 0x04, 0xa2, 0x01, 0, 0, 0x01,
        0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0,
        0x4b, 0x7d, 0x25, 0x04, 0xa2, 0x01, 0, 0, 0x01,
        0x02,
        0x02, 0x63, 0x31, 0x4b, 0x7d, 0x25, 0x04, 0xa2, 0x01, 0, 0, 0x4b, 0x7d, 0x25, 0x04, 0xa2,
        0x01, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2,
        0, 0, 0, 0, 0, 0, 0, 0,
        0x02, 0x63, 0x32, 0x4b, 0x7d, 0x25, 0x04, 0xa2, 0x01, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0x00,
    ]

    /// What no command can make is kept by RESTORE, and counted where it is lost.
    @Test func pendingEntriesOfDeletedMessages() throws {
        let source = try RedisServer()
        let client = try source.client()
        for id in ["1-1", "2-1", "3-1"] { try client.call("XADD", "x", id, "f", "v") }
        try client.call("XGROUP", "CREATE", "x", "g", "0")
        try client.call("XREADGROUP", "GROUP", "g", "c", "STREAMS", "x", ">")
        try client.call("XDEL", "x", "2-1")
        let entries = try StoredEntry.all(of: source)
        for (method, dropped) in [(EntryWriter.Method.automatic, 0), (.commands, 1)] {
            let target = try RedisServer()
            let run = try EntryRun(target, method)
            try run.write(entries)
            #expect(run.pendingEntriesDropped == dropped)
            let pending = try target.client().call("XPENDING", "x", "g").elements?.first?.integer
            #expect(pending == Int64(3 - dropped))
        }
    }

    /// A ziplist hash of older releases (protocol.md 3.11).
    @Test(arguments: methods)
    func ziplistHash(_ method: EntryWriter.Method) throws {
        let ziplist: [UInt8] = [
            17, 17, 0, 0, 0, 13, 0, 0, 0, 2, 0, 0, 1, 0x66, 3, 1, 0x76, 0xff,
        ]
        let target = try RedisServer()
        let run = try EntryRun(target, method)
        try run.write([try StoredEntry(.hashZiplist, "h", ziplist)])
        #expect(run.pipeline.answers.allSatisfy { $0.error == nil })
        #expect(
            try target.client().call("HGETALL", "h").elements?.compactMap(\.text) == ["f", "v"])
    }
}

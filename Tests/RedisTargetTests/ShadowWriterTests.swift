import Bytes
import Foundation
import TestSupport
import Testing
import Wire

@testable import RedisTarget

/// A big value is built beside its key and takes its place whole: equal to the source's, or not at
/// all.
@Suite struct ShadowWriterTests {
    private static func shadow(of key: String) -> String {
        let slot = Array(key.utf8).withByteView { $0.keySlot() }
        return "df2redis:{\(SlotTags.tag(of: slot).printable())}:test:shadow:0:1"
    }
    /// In the year 2100.
    private static let expiry = "4102444800123"

    /// Values of every core type above a window of 4 KiB, with all that they may have.
    private static func fill(_ server: RedisServer) throws {
        let client = try server.client()
        var generator = SeededGenerator(seed: 91)
        func text(_ text: String) -> [UInt8] { Array(text.utf8) }
        try client.command([text("SET"), text("s:random"), generator.bytes(70_000)])
        try client.call("SET", "s:packed", String(repeating: "abcdefgh", count: 60_000))
        try client.call("PEXPIREAT", "s:packed", expiry)
        for index in 0..<3000 {
            let name = "\(index):" + String(repeating: "x", count: index % 90)
            try client.call("RPUSH", "l", name, "\(index)")
            try client.call("SADD", "set", name)
            try client.call("HSET", "h", name, "\(index)")
            try client.call("ZADD", "z", "\(Double(index - 1000) / 7)", name)
        }
        try client.call("ZADD", "z", "inf", "top", "-inf", "bottom")
        try client.command([text("RPUSH"), text("l"), generator.bytes(9000)])
        try client.command([text("HSET"), text("h"), text("large"), generator.bytes(30_000)])
        try client.call("SADD", "set", String(repeating: "packed ", count: 5000))
        try client.call("PEXPIREAT", "z", expiry)
        for index in 1...2000 {
            try client.call("XADD", "x", "\(index)-1", "f", "\(index)", "g", "")
        }
        try client.call("XDEL", "x", "7-1", "2000-1")
        try client.call("XGROUP", "CREATE", "x", "g1", "0")
        for consumer in ["c1", "c2", "c1"] {
            try client.call(
                "XREADGROUP", "GROUP", "g1", consumer, "COUNT", "500", "STREAMS", "x", ">")
        }
        try client.call("XACK", "x", "g1", "3-1")
        try client.call("XCLAIM", "x", "g1", "c3", "0", "5-1", "900-1")
        try client.call("XGROUP", "CREATECONSUMER", "x", "g1", "idle")
        try client.call("XGROUP", "CREATE", "x", "g2", "$")
        try client.call("PEXPIREAT", "x", expiry)
        try client.call("SELECT", "5")
        for _ in 0..<300 { try client.command([text("RPUSH"), text("l"), generator.bytes(30)]) }
    }

    private static func keys(_ server: RedisServer, _ pattern: String = "*") throws -> Set<String> {
        Set(try server.client().call("KEYS", pattern).elements?.compactMap(\.text) ?? [])
    }

    @Test(arguments: [1, 3], [1 << 14, 1 << 20])
    func everyTypeArrivesEqual(_ flows: Int, _ ringBytes: Int) throws {
        try everyTypeArrivesEqual(flows, ringBytes, hasLane: true)
        try everyTypeArrivesEqual(flows, ringBytes, hasLane: false)
    }

    private func everyTypeArrivesEqual(_ flows: Int, _ ringBytes: Int, hasLane: Bool) throws {
        let source = try RedisServer()
        try Self.fill(source)
        let target = try RedisServer()
        // Other types, and an expiry, are replaced.
        try target.client().call("SET", "l", "old", "PX", "1000000")
        try target.client().call("RPUSH", "s:random", "old")
        let entries = try StoredEntry.all(of: source)
        let run = try BigRun(
            target, ringBytes: ringBytes, commandsInFlight: 64, lanePort: hasLane ? nil : 1)
        try run.write(entries, flows: flows)
        #expect(run.failures.isEmpty && run.damage.isEmpty && run.wholeEntries == 0)
        #expect(run.swaps == entries.count && run.refusals > 0)
        #expect(run.pipeline.answers.allSatisfy { $0.error == nil })
        #expect(run.pipeline.records.count == entries.count)
        #expect(run.pendingEntriesDropped == 0)
        let comparison = StateComparison(
            expected: try StateReader(source.client()).read(),
            actual: try StateReader(target.client()).read())
        #expect(comparison.differences == [])
        #expect(comparison.keysCompared == entries.count)
        // Nothing that builds a value is one huge command, and none is freed at once.
        let calls = try target.callsByCommand()
        #expect(calls["restore"] == nil && calls["del"] == nil)
        #expect(calls["xclaim"]! > 2)
        if hasLane { #expect(calls["set"]! > 1) } else { #expect(calls["append"]! > 100) }
    }

    /// The old value stays until the new one is whole, and the new one has its expiry from the
    /// first moment on.
    @Test func readersSeeTheOldValueOrTheNewOne() throws {
        let source = try RedisServer()
        try Self.fill(source)
        let target = try RedisServer()
        let client = try target.client()
        try client.call("SET", "z", "old")
        let run = try BigRun(target)
        var seen: [String] = []
        run.beforeEnd = {
            seen.append(try client.call("TYPE", "z").text ?? "")
            seen.append("\(try client.call("PTTL", Self.shadow(of: "z")).integer ?? 0)")
        }
        try run.write(try StoredEntry.all(of: source).filter { $0.view.key.equals("z") })
        #expect(seen == ["string", "-1"])
        #expect(try client.call("PEXPIRETIME", "z").integer == Int64(Self.expiry))
        let names = run.pipeline.answers.map(\.command)
        #expect(names.suffix(6) == ["MULTI", "UNLINK", "RENAME", "PEXPIREAT", "EXEC", "UNLINK"])
        #expect(names.filter { $0 == "EXEC" }.count == 1)
        #expect(run.pipeline.records.map(\.key) == ["z"])
        #expect(try Self.keys(target) == ["z"])
    }

    /// What the target refuses of a value fails the value, and only it; the old one stays.
    @Test func aRefusedPartFailsItsValueOnly() throws {
        let source = try RedisServer(arguments: ["--rdbcompression", "no"])
        let client = try source.client()
        for index in 0..<40_000 { try client.call("SADD", "large", "member \(index)") }
        for index in 0..<2000 { try client.call("RPUSH", "small", "element \(index)") }
        let target = try RedisServer(arguments: ["--maxmemory", "3mb"])
        try target.client().call("SET", "large", "old")
        let entries = try StoredEntry.all(of: source)
        let run = try BigRun(target)
        try run.write([BigRun.snapshot([entries[1]]), BigRun.snapshot([entries[0]])])
        #expect(run.failures.map(\.key) == ["large"])
        #expect(run.failures.first?.command == "SADD")
        #expect(run.failures.first?.reason.hasPrefix("OOM") ?? false)
        #expect(run.swaps == 1)
        #expect(run.pipeline.records.map(\.recordFailed) == [false])
        #expect(try target.client().call("GET", "large").text == "old")
        #expect(try target.client().call("LLEN", "small").integer == 2000)
        #expect(try Self.keys(target) == ["large", "small"])
    }

    /// A copy that lost something to somebody else does not replace the key.
    @Test func aShadowThatOthersChangedIsGivenUp() throws {
        let source = try RedisServer()
        try Self.fill(source)
        for key in ["s:random", "l", "set", "h", "z", "x"] {
            let target = try RedisServer()
            let other = try target.client()
            try other.call("SET", key, "old")
            // By its lane a string comes whole at the end.
            let run = try BigRun(target, lanePort: 1)
            run.beforeEnd = { try other.call("UNLINK", Self.shadow(of: key)) }
            let entry = try StoredEntry.all(of: source).first {
                $0.database == 0 && String(decoding: $0.view.key.array(), as: UTF8.self) == key
            }
            try run.write([try #require(entry)])
            #expect(run.swaps == 0 && run.failures.map(\.key) == [key])
            let reason = run.failures.first?.reason ?? ""
            // A stream has lost its groups with it, or loses them to come: how much of it was made
            // by then is chance.
            let isRefused =
                reason.contains("NOGROUP") || reason.contains("requires the key to exist")
            #expect(reason.contains("taskName") || key == "x" && isRefused, "\(reason)")
            #expect(try Self.keys(target) == [key])
            #expect(try other.call("GET", key).text == "old")
        }
    }

    /// Whether the target has a key is known before its value ends, however it ends: here one that is
    /// above the limit, one that could be written, and one whose question the target refuses.
    @Test func theGuardIsAnsweredBeforeTheEnd() throws {
        let target = try RedisServer()
        let client = try target.client()
        try client.call("SET", "kept", "theirs")
        let kept = try StoredEntry(.set, "kept", Self.set(2000))
        var limits = BigRun.limits
        limits.valueBytes = 5000
        for limits in [BigRun.limits, limits] {
            let run = try BigRun(target)
            run.isGuarded = true
            try run.write([BigRun.snapshot([kept])], limits: limits)
            #expect(run.leftValues == 1 && run.refusedValues == 0 && run.swaps == 0)
        }
        try client.call("ACL", "SETUSER", "default", "-exists")
        let run = try BigRun(target)
        run.isGuarded = true
        try run.write([kept])
        #expect(run.failures.map(\.command) == ["EXISTS"] && run.swaps == 0)
        #expect(try client.call("GET", "kept").text == "theirs")
    }

    /// The bytes of a set.
    private static func set(_ count: Int) -> [UInt8] {
        var bytes = [0x40 | UInt8(count >> 8), UInt8(truncatingIfNeeded: count)]
        for number in 0..<count { bytes += [4] + Array("\(1000 + number)".utf8) }
        return bytes
    }

    /// A swap that the target refuses fails its value, and leaves neither a shadow nor a changed key.
    @Test func aRefusedSwapLeavesNothing() throws {
        let source = try RedisServer()
        try Self.fill(source)
        let target = try RedisServer()
        let client = try target.client()
        try client.call("SET", "l", "old")
        try client.call("ACL", "SETUSER", "default", "-rename")
        let entry = try StoredEntry.all(of: source).first {
            $0.database == 0 && $0.view.key.equals("l")
        }
        let run = try BigRun(target)
        try run.write([try #require(entry)])
        #expect(run.pipeline.records.map(\.recordFailed) == [true])
        #expect(try client.call("GET", "l").text == "old")
        #expect(try Self.keys(target) == ["l"])
    }

    /// A value whose expiry has passed meanwhile is no failure: there is no such key.
    @Test(arguments: [false, true])
    func aPastExpiryIsNoFailure(isGuarded: Bool) throws {
        let target = try RedisServer()
        let client = try target.client()
        if !isGuarded { try client.call("SET", "past", "old") }
        let run = try BigRun(target)
        run.isGuarded = isGuarded
        let past: Int64 = 1_600_000_000_000
        try run.write([
            try StoredEntry(.set, "past", Self.set(2000), expiryMilliseconds: past)
        ])
        #expect(run.swaps == 1 && run.failures.isEmpty)
        #expect(run.pipeline.answers.allSatisfy { !$0.recordFailed && $0.error == nil })
        #expect(try client.call("DBSIZE").integer == 0)
    }

    /// What a stream's groups needed is given back with it: pending entries lie in a file.
    @Test func aStreamLeavesNoFileOpen() throws {
        let source = try RedisServer()
        let client = try source.client()
        let fill = "for i = 1, 40000 do redis.call('XADD', 'x', i .. '-1', 'f', 'v') end"
        try client.call("EVAL", fill, "0")
        try client.call("XGROUP", "CREATE", "x", "g", "0")
        try client.call("XREADGROUP", "GROUP", "g", "c", "COUNT", "40000", "STREAMS", "x", ">")
        let directory = try TemporaryDirectory()
        let name = String(directory.path.split(separator: "/").last ?? "")
        func files() throws -> [String] {
            try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").compactMap {
                try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)")
            }.filter { $0.contains(name) }
        }
        let target = try RedisServer()
        // So many pending entries take a debug build long.
        let run = try BigRun(target, directory: directory.path, timeoutSeconds: 240)
        var filesAtEnd = 0
        run.beforeEnd = { filesAtEnd = try files().count }
        try run.write(try StoredEntry.all(of: source))
        let filesLeft = try files()
        #expect(run.swaps == 1 && run.failures.isEmpty)
        #expect(filesAtEnd == 1 && filesLeft == [])
    }

    /// Pending entries whose message is deleted cannot be made, and are counted.
    @Test func pendingEntriesOfDeletedMessagesAreCounted() throws {
        let source = try RedisServer()
        let client = try source.client()
        for index in 1...2000 { try client.call("XADD", "x", "\(index)-1", "f", "v") }
        try client.call("XGROUP", "CREATE", "x", "g", "0")
        try client.call("XREADGROUP", "GROUP", "g", "c", "COUNT", "1000", "STREAMS", "x", ">")
        for index in 100..<150 { try client.call("XDEL", "x", "\(index)-1") }
        let target = try RedisServer()
        let run = try BigRun(target)
        try run.write(try StoredEntry.all(of: source))
        #expect(run.swaps == 1 && run.pendingEntriesDropped == 50)
        let pending = try target.client().call("XPENDING", "x", "g").elements
        #expect(pending?.first?.integer == 950)
    }

    /// A stream may be large without entries: all that it has is what is pending.
    @Test func aStreamWithoutEntriesIsMade() throws {
        let source = try RedisServer()
        let client = try source.client()
        for index in 1...500 { try client.call("XADD", "x", "\(index)-1", "f", "v") }
        try client.call("XGROUP", "CREATE", "x", "g", "0")
        try client.call("XREADGROUP", "GROUP", "g", "c", "STREAMS", "x", ">")
        try client.call("XTRIM", "x", "MAXLEN", "0")
        let target = try RedisServer()
        let run = try BigRun(target)
        try run.write(try StoredEntry.all(of: source))
        #expect(run.swaps == 1 && run.failures.isEmpty && run.pendingEntriesDropped == 500)
        let info = try target.client().call("XINFO", "STREAM", "x").elements?.compactMap(\.text)
        #expect(info?.contains("500-1") ?? false)
        #expect(try target.client().call("XLEN", "x").integer == 0)
    }

    /// Members that have expired on the source are left out; if none is left there is no key.
    @Test func expiredElementsAreLeftOut() throws {
        func set(_ seconds: (Int) -> Int32) throws -> StoredEntry {
            var value: [UInt8] = [0x43, 0xe8]
            for index in 0..<1000 {
                let member = Array("member \(index)".utf8)
                value += [UInt8(member.count)] + member + [0xc2]
                withUnsafeBytes(of: seconds(index).littleEndian) { value += $0 }
            }
            return try StoredEntry(.setWithExpiry, "set", value)
        }
        let target = try RedisServer()
        let client = try target.client()
        try client.call("SET", "set", "old")
        let half = try BigRun(target)
        try half.write([try set { $0 % 2 == 0 ? 1000 : 2_000_000_000 }])
        #expect(half.failures.isEmpty && half.damage.isEmpty, "\(half.failures) \(half.damage)")
        #expect(half.swaps == 1 && half.memberExpiriesDropped == 500)
        #expect(try client.call("SCARD", "set").integer == 500)
        let none = try BigRun(target)
        try none.write([try set { _ in 1000 }])
        #expect(none.swaps == 1 && none.failures.isEmpty)
        #expect(try Self.keys(target) == [])
    }

    /// Damage anywhere in a value: an error, no shadow left, and the old value stays.
    @Test func damageLeavesNothing() throws {
        let source = try RedisServer()
        try Self.fill(source)
        let entries = try StoredEntry.all(of: source).filter { $0.database == 0 }
        let seed: UInt64 = 92
        var generator = SeededGenerator(seed: seed)
        let target = try RedisServer()
        let client = try target.client()
        var damaged = 0
        for round in 0..<60 {
            let entry = entries[round % entries.count]
            try client.call("FLUSHALL")
            try client.command([Array("SET".utf8), entry.view.key.array(), Array("old".utf8)])
            var bytes = BigRun.snapshot([entry])
            for _ in 0...(round % 3) {
                let index = Int.random(in: 40..<bytes.count - 30, using: &generator)
                bytes[index] ^= UInt8.random(in: 1...255, using: &generator)
            }
            let run = try BigRun(target)
            try run.write([bytes])
            #expect(run.pipeline.loss == nil, "seed \(seed), round \(round)")
            #expect(try Self.keys(target, "df2redis:*") == [], "seed \(seed), round \(round)")
            guard run.swaps == 0 else { continue }
            damaged += 1
            #expect(try client.call("DBSIZE").integer == 1, "seed \(seed), round \(round)")
        }
        #expect(damaged > 15, "seed \(seed)")
    }

    /// What dead runs left is removed, and nothing else, whatever the task is called.
    @Test(arguments: ["test", "a*?[b]\\c", "x:y"])
    func leftoversAreSwept(_ task: String) throws {
        let target = try RedisServer()
        let client = try target.client()
        let kept = [
            "df2redis:{0}:\(task):position", "df2redis:{0}:\(task)x:shadow:0:1",
            "df2redis:{0}:x\(task):shadow:0:1", "\(task):shadow:0:1",
            "df2redis:{0}:other:shadow:0:1", "df2redis:{0}:aXX[b]\\c:shadow:0:1",
        ]
        for database in ["0", "3"] {
            try client.call("SELECT", database)
            for index in 0..<5000 { try client.call("SET", "key \(index)", "v") }
            for key in kept { try client.call("SET", key, "v") }
            for index in 0..<50 {
                try client.call(
                    "SET", "df2redis:{a\(index)}:\(task):shadow:\(index % 3):\(index)", "v")
            }
        }
        let run = try BigRun(target, task: task)
        try run.sweep(database: 3)
        #expect(run.pipeline.answers.allSatisfy { $0.error == nil })
        #expect(try client.call("DBSIZE").integer == Int64(5000 + kept.count))
        for key in kept { #expect(try client.call("EXISTS", key).integer == 1, "\(key)") }
        try client.call("SELECT", "0")
        #expect(try client.call("DBSIZE").integer == Int64(5050 + kept.count))
    }
}

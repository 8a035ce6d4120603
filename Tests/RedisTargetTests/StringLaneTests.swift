import Bytes
import TestSupport
import Testing
import Wire

@testable import RedisTarget

/// A big string is one SET on a connection of its own, and whatever becomes of that connection, the
/// key has its old value or the whole new one.
@Suite struct StringLaneTests {
    private static func random(_ key: String, _ size: Int, seed: UInt64) throws -> StoredEntry {
        var generator = SeededGenerator(seed: seed)
        let length = withUnsafeBytes(of: UInt32(size).bigEndian) { Array($0) }
        return try StoredEntry(.string, key, [0x80] + length + generator.bytes(size))
    }

    private static func content(_ entry: StoredEntry) -> [UInt8] {
        entry.view.value.dropFirst(5).array()
    }

    private static func stored(_ key: String, _ client: RespClient) throws -> [UInt8]? {
        try client.call("GET", key).bytes
    }

    /// The id of the only client with a name.
    private static func clientID(_ name: String, _ client: RespClient) throws -> String {
        let line = try client.call("CLIENT", "LIST").text?.split(separator: "\n")
            .first { $0.contains(" name=\(name) ") }
        return String(try #require(line?.split(separator: " ").first?.dropFirst(3)))
    }

    /// Plain or LZF, in any database: one SET each, one after the other.
    @Test func aStringIsOneSet() throws {
        let source = try RedisServer()
        let client = try source.client()
        for database in ["0", "3", "0"] {
            try client.call("SELECT", database)
            var generator = SeededGenerator(seed: 71)
            for index in 0..<3 {
                try client.command([
                    Array("SET".utf8), Array("random \(index)".utf8), generator.bytes(700_000),
                ])
                try client.call(
                    "SET", "packed \(index)", String(repeating: "abc\(index)", count: 200_000))
            }
        }
        let target = try RedisServer()
        let run = try BigRun(target)
        try run.write(try StoredEntry.all(of: source))
        #expect(run.swaps == 12 && run.failures.isEmpty && run.damage.isEmpty)
        let comparison = StateComparison(
            expected: try StateReader(source.client()).read(),
            actual: try StateReader(target.client()).read())
        #expect(comparison.differences == [] && comparison.keysCompared == 12)
        let calls = try target.callsByCommand()
        #expect(calls["set"] == 12 && calls["append"] == nil)
        // Only the lane has a name here.
        #expect(calls["client|setname"] == 12)
    }

    /// Of two strings at once one has the lane; the other does not wait for it.
    @Test func theOtherOneIsAppended() throws {
        let target = try RedisServer()
        let first = try Self.random("first", 900_000, seed: 72)
        let second = try Self.random("second", 900_000, seed: 73)
        let run = try BigRun(target)
        var furthest = [0, 0]
        var overlap = 0
        run.afterBytes = { flow, size in
            furthest[flow] = size
            overlap = max(overlap, furthest.min()!)
        }
        try run.write([first, second], flows: 2)
        #expect(run.swaps == 2 && run.failures.isEmpty && overlap > 100_000)
        let client = try target.client()
        #expect(try Self.stored("first", client) == Self.content(first))
        #expect(try Self.stored("second", client) == Self.content(second))
        let calls = try target.callsByCommand()
        #expect(calls["set"] == 1 && calls["append"]! > 200)
    }

    /// A value that ends half way: above the limit, and at the end of the run.
    @Test func whatIsGivenUpHalfWayLeavesNothing() throws {
        let target = try RedisServer()
        let client = try target.client()
        for key in ["refused", "cut"] { try client.call("SET", key, "old") }
        let refused = try Self.random("refused", 5_000_000, seed: 74)
        let sound = try Self.random("sound", 900_000, seed: 75)
        let cut = try Self.random("cut", 900_000, seed: 76)
        var limits = BigRun.limits
        limits.valueBytes = 4_000_000
        let run = try BigRun(target)
        let bytes = BigRun.snapshot([refused, sound, cut])
        try run.write([Array(bytes.dropLast(100_000))], limits: limits)
        #expect(run.swaps == 1 && run.refusedValues == 1 && run.failures.isEmpty)
        #expect(try Self.stored("sound", client) == Self.content(sound))
        #expect(try client.call("GET", "refused").text == "old")
        #expect(try client.call("GET", "cut").text == "old")
        #expect(try client.call("DBSIZE").integer == 3)
        let calls = try target.callsByCommand()
        #expect(calls["set"] == 3 && calls["append"] == nil && calls["client|setname"] == 3)
        #expect(run.pipeline.lane.refusal == nil && !run.pipeline.lane.isTaken)
    }

    /// A connection that breaks within a value fails it by name. It may break again for the same
    /// reason, so the next values go without it.
    @Test func aBrokenLaneFailsItsValueOnly() throws {
        let target = try RedisServer()
        let client = try target.client()
        for key in ["lost", "next"] { try client.call("SET", key, "old") }
        let lost = try Self.random("lost", 20_000_000, seed: 77)
        let next = try Self.random("next", 900_000, seed: 78)
        let run = try BigRun(target)
        var isKilled = false
        run.afterBytes = { _, size in
            guard size > 10_000_000, !isKilled else { return }
            isKilled = true
            try client.call("CLIENT", "KILL", "ID", try Self.clientID("lane", client))
        }
        try run.write([lost, next])
        #expect(run.failures.map(\.key) == ["lost"] && run.failures.first?.command == "SET")
        #expect(run.failures.first?.reason.contains("was lost") ?? false, "\(run.failures)")
        #expect(run.failures.first?.mayPass == true)
        #expect(run.swaps == 1 && run.pipeline.lane.refusal != nil)
        #expect(try client.call("GET", "lost").text == "old")
        #expect(try Self.stored("next", client) == Self.content(next))
        #expect(try client.call("DBSIZE").integer == 2)
        #expect(try target.callsByCommand()["append"]! > 200)
    }

    /// Refused for its size before it has come, or for memory when it is there: named with what the
    /// target said, and the next one has a lane again.
    @Test(arguments: [
        ("proto-max-bulk-len", "1mb", "ERR Protocol error: invalid bulk length"),
        ("maxmemory", "4mb", "OOM"),
    ])
    func aRefusedStringIsNamed(_ name: String, _ value: String, _ reason: String) throws {
        let target = try RedisServer()
        let client = try target.client()
        try client.call("SET", "large", "old")
        let isEarly = name == "proto-max-bulk-len"
        if isEarly { try client.call("CONFIG", "SET", name, value) }
        let large = try Self.random("large", 20_000_000, seed: 80)
        let small = try Self.random("small", 200_000, seed: 81)
        let run = try BigRun(target)
        run.beforeEnd = {
            guard run.failures.isEmpty else { return }
            // At the greeting it was not known.
            if !isEarly { try client.call("CONFIG", "SET", name, value) }
        }
        run.afterFailure = { if !isEarly { try client.call("CONFIG", "SET", name, "0") } }
        try run.write([large, small])
        #expect(run.failures.map(\.key) == ["large"] && run.failures.first?.command == "SET")
        #expect(run.failures.first?.reason.hasPrefix(reason) ?? false, "\(run.failures)")
        #expect(run.swaps == 1 && run.pipeline.lane.refusal == nil)
        #expect(try client.call("GET", "large").text == "old")
        #expect(try Self.stored("small", client) == Self.content(small))
        #expect(try client.call("DBSIZE").integer == 2)
        #expect(try target.callsByCommand()["append"] == nil)
    }

    /// One argument takes twice its size of a redis for a moment, and goes to an append-only file in
    /// one go. Where that is too much, strings go by APPEND; where it is not, all have a lane, for
    /// nothing is kept for a next argument.
    @Test(arguments: [
        (["--maxmemory", "64mb"], false), (["--maxmemory", "200mb"], true),
        (["--appendonly", "yes"], false),
    ])
    func someTargetsGetPartsOnly(_ arguments: [String], _ hasLane: Bool) throws {
        let target = try RedisServer(arguments: arguments)
        let entries = try (0..<3).map { try Self.random("key \($0)", 18_000_000, seed: 84) }
        let run = try BigRun(target)
        try run.write(entries)
        #expect(run.swaps == 3 && run.failures.isEmpty, "\(run.failures)")
        #expect(run.pipeline.lane.refusal == nil)
        let calls = try target.callsByCommand()
        #expect(calls["set"] == (hasLane ? 3 : nil))
        #expect((calls["append"] == nil) == hasLane)
    }

    /// A target that lets no second connection in gets the string by APPEND.
    @Test func withoutALaneStringsAreAppended() throws {
        let target = try RedisServer()
        let client = try target.client()
        try client.call("CONFIG", "SET", "maxclients", "2")
        let entry = try Self.random("key", 900_000, seed: 82)
        let run = try BigRun(target)
        try run.write([entry])
        #expect(run.swaps == 1 && run.failures.isEmpty)
        let refusal = try #require(run.pipeline.lane.refusal)
        #expect(refusal.contains("max number of clients reached"), "\(refusal)")
        #expect(try Self.stored("key", client) == Self.content(entry))
        try client.call("CONFIG", "SET", "maxclients", "100")
        #expect(try target.callsByCommand()["append"]! > 200)
    }

    /// What the target has whole it will execute: until it has answered, the removal must wait.
    @Test func aWholeStringIsAwaited() throws {
        let target = try RedisServer()
        let client = try target.client()
        let pipeline = try Pipeline(port: target.port)
        let lane = pipeline.lane
        var waits = 0
        try pipeline.run(
            { target in
                try lane.take(
                    7, key: "key", size: 5, flow: 0, database: 0, beside: target) == .taken
            },
            { _ in
                try client.call("CLIENT", "PAUSE", "300", "WRITE")
                #expect(lane.value == 7 && lane.pass("value") && lane.finish() == nil)
                return true
            },
            { _ in
                if lane.giveUp() { return true }
                waits += 1
                return false
            })
        #expect(waits > 0 && !lane.isTaken)
        #expect(try client.call("GET", "key").text == "value")
    }
}

import Bytes
import RedisTarget
import TestSupport
import Testing
import Wire

@testable import Replication

/// Expiries of hash fields on a target that has such (Redis 7.4, Valkey 9).
@Suite struct FieldExpiryTests {
    private static let now = WriterBench.now

    private func bench() throws -> WriterBench {
        try WriterBench(version: TargetVersion(major: 8, minor: 0))
    }

    /// Relative times run from the record's arrival; the source counted from another moment, so the key
    /// is read again as well.
    @Test func fieldsGetAbsoluteExpiries() throws {
        let soon = "\(Self.now + 10_000)"
        let rows: [(String, RecordOutcome, [String])] = [
            ("HEXPIRE k 10 FIELDS 2 f g", .sentRepair(""), ["HPEXPIREAT k \(soon) FIELDS 2 f g"]),
            ("HEXPIRE k 10 NX FIELDS 1 f", .sentRepair(""), ["HPEXPIREAT k \(soon) NX FIELDS 1 f"]),
            ("HGETEX k EX 10 FIELDS 1 f", .sentRepair(""), ["HPEXPIREAT k \(soon) FIELDS 1 f"]),
            (
                "HGETEX k PXAT 4102444800123 FIELDS 1 f", .sentRepair(""),
                ["HPEXPIREAT k 4102444800123 FIELDS 1 f"]
            ),
            ("HGETEX k PERSIST FIELDS 1 f", .sentRepair(""), ["HPERSIST k FIELDS 1 f"]),
            ("HGETEX k FIELDS 1 f", .skipped, []),
            ("HSETEX k FIELDS 1 f v", .sent, ["HSET k f v"]),
            ("SADDEX k 10 a", .sent, ["SADD k a"]),
            // HSET would end an expiry that is to be kept, and what is absent is the source's to say.
            ("HSETEX k KEEPTTL FIELDS 1 f v", .repair(""), []),
            ("HSETEX k KEEPTTL 10 f v", .repair(""), []), ("HSETEX k NX 10 f v", .repair(""), []),
            // Of a hash or a set: nobody knows.
            ("FIELDEXPIRE k 10 f", .repair(""), []),
            ("HEXPIRE k 10", .repair(""), []), ("HEXPIRE k 0 FIELDS 1 f", .repair(""), []),
        ]
        for (record, outcome, commands) in rows {
            let bench = try bench()
            let words = record.split(separator: " ").map { Array($0.utf8) }
            #expect(try bench.write(words) == outcome, "\(record)")
            #expect(try bench.commands().map { $0.joined(separator: " ") } == commands)
            #expect(bench.memberExpiriesDropped == (record.hasPrefix("SADDEX") ? 1 : 0))
        }
    }

    @Test func hsetexSetsAndExpires() throws {
        let bench = try bench()
        #expect(try bench.write("HSETEX", "k", "10", "f", "v", "g", "w") == .sentRepair(""))
        #expect(
            try bench.write("HSETEX", "k", "EX", "10", "FIELDS", "1", "f", "v") == .sentRepair(""))
        let commands = try bench.commands()
        #expect(commands.map { $0[0] } == ["EVAL", "EVAL"])
        #expect(
            commands.map { Array($0[2...]) } == [
                ["1", "k", "\(Self.now + 10_000)", "f", "v", "g", "w"],
                ["1", "k", "\(Self.now + 10_000)", "f", "v"],
            ])
        #expect(bench.memberExpiriesDropped == 0)
    }

    @Test(arguments: TargetServer.withFieldExpiry)
    func aRealServerTakesThem(_ kind: TargetServer) throws {
        let server = try RedisServer(kind)
        let client = try server.client()
        let bench = try bench()
        let time = try client.call("TIME").elements?.first?.text.flatMap { Int64($0) }
        let lead = Self.now / 1000 - (try #require(time))
        #expect(lead > 0, "records are written in the future")
        for record in [
            "HSET h f 1 g 1 p 1 plain 1", "HSETEX h 100 f 2 new 3", "HEXPIRE h 200 FIELDS 1 g",
            "HSETEX h 100 p 1", "HGETEX h PERSIST FIELDS 1 p",
        ] {
            _ = try bench.write(record.split(separator: " ").map { Array($0.utf8) })
        }
        for command in try bench.rawCommands() {
            if case .error(let message) = try client.command(command) { Issue.record("\(message)") }
        }
        let reply = try client.call(
            "HPEXPIRETIME", "h", "FIELDS", "5", "f", "new", "g", "p", "plain")
        #expect(
            reply.elements?.map(\.integer) == [
                Self.now + 100_000, Self.now + 100_000, Self.now + 200_000, -1, -1,
            ])
        #expect(try client.call("HGET", "h", "f").text == "2")
        #expect(try client.call("HLEN", "h").integer == 5)
    }
}

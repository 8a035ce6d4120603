import Bytes
import RedisTarget
import TestSupport
import Testing
import Wire

@testable import Replication

/// RESTORE of the journal is written in a form that the target can load (protocol.md 6.4, 3.11).
@Suite struct JournalRestoreTests {
    private func payload(_ type: ValueType, _ value: [UInt8]) -> [UInt8] {
        let body = [type.rawValue] + value + [9, 0]
        let checksum = body.withByteView { $0.crc64() }
        return body + (0..<8).map { UInt8(truncatingIfNeeded: checksum >> UInt64(8 * $0)) }
    }

    private func restore(
        _ payload: [UInt8], ttl: String = "0", _ options: String..., on bench: WriterBench
    ) throws -> (RecordOutcome, [[[UInt8]]]) {
        let words =
            ["RESTORE", "k", ttl].map { Array($0.utf8) } + [payload]
            + options.map { Array($0.utf8) }
        let outcome = try bench.write(words)
        return (outcome, try bench.rawCommands())
    }

    private func words(_ words: String...) -> [[UInt8]] { words.map { Array($0.utf8) } }

    private static let list: [UInt8] = [
        0x01, 0x02, 0x10, 0x10, 0x00, 0x00, 0x00, 0x03, 0x00, 0x81, 0x61, 0x02, 0x0c, 0x01, 0x82,
        0x62, 0x62, 0x03, 0xff,
    ]
    private static let hashWithExpiry: [UInt8] = [
        0x02, 0x01, 0x66, 0x01, 0x76, 0xc2, 0x87, 0xf7, 0xbc, 0x0a, 0x01, 0x67, 0x01, 0x77, 0xc0,
        0xff,
    ]
    /// An empty stream of type 21 with a group "g" and one consumer.
    private static let stream: [UInt8] = [
        0x00, 0x00, 0x05, 0x05, 0x00, 0x00, 0x05, 0x05, 0x01, 0x01, 0x01, 0x67, 0x00, 0x00, 0x00,
        0x00, 0x01, 0x01, 0x63, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0x00,
    ]

    @Test func stringsAreSet() throws {
        let bench = try WriterBench()
        let (outcome, commands) = try restore(
            payload(.string, [1, 0x76]), "REPLACE", "ABSTTL", on: bench)
        #expect(outcome == .sent)
        #expect(commands == [words("SET", "k", "v")])
    }

    @Test func collectionsKeepTheirBytes() throws {
        let bench = try WriterBench()
        let dump = payload(.listQuicklist2, Self.list)
        let (outcome, commands) = try restore(dump, "REPLACE", "STICK", on: bench)
        #expect(outcome == .sent)
        #expect(commands == [words("RESTORE", "k", "0") + [dump] + words("REPLACE")])
        #expect(bench.stickyFlagsDropped == 1)
    }

    @Test func expiryIsAbsolute() throws {
        let bench = try WriterBench()
        let dump = payload(.listQuicklist2, Self.list)
        let far = WriterBench.now + 10_000_000
        for (ttl, options, written, expected) in [
            ("\(far)", ["ABSTTL", "REPLACE"], far, RecordOutcome.sent),
            ("\(far)", ["IDLETIME", "10", "ABSTTL", "FREQ", "5"], far, .sent),
            // Without REPLACE: the source had no such key, or it would have refused.
            ("\(far)", ["ABSTTL"], far, .sent),
            // Relative ones count from when the source ran it, which nobody knows.
            ("10000000", ["REPLACE"], far, .sentRepair("")),
            ("10000000", ["IDLETIME", "10", "FREQ", "5"], far, .sentRepair("")),
            // Near ones are held.
            ("1000", [], WriterBench.now + 86_400_000, .sentRepair("")),
            ("\(WriterBench.now + 5)", ["ABSTTL"], WriterBench.now + 86_400_000, .sent),
            // The source stores nothing whose time has passed, if it had when it ran it.
            ("\(WriterBench.now)", ["ABSTTL"], WriterBench.now + 86_400_000, .sentRepair("")),
        ] {
            let words = ["RESTORE", "k", ttl].map { Array($0.utf8) } + [dump]
            let outcome = try bench.write(words + options.map { Array($0.utf8) })
            #expect(outcome == expected, "\(ttl) \(options)")
            #expect(bench.repairKeys == (expected == .sent ? [] : ["0 k"]))
            #expect(
                try bench.rawCommands() == [
                    self.words("RESTORE", "k", "\(written)") + [dump]
                        + self.words("REPLACE", "ABSTTL")
                ], "\(ttl) \(options)")
        }
        #expect(bench.heldCount == 1)
        _ = try restore(dump, on: bench)
        #expect(bench.heldCount == 0)
    }

    @Test func unreadableTimesAreRepaired() throws {
        let bench = try WriterBench()
        let dump = payload(.string, [1, 0x76])
        for ttl in ["-1", "soon", "", "9223372036854775808"] {
            let (outcome, commands) = try restore(dump, ttl: ttl, on: bench)
            #expect(outcome == .repair("") && commands == [], "\(ttl)")
        }
        #expect(try bench.write("RESTORE", "k") == .repair(""))
        #expect(try bench.write("RESTORE", "k", "0") == .repair(""))
        // A time beyond all clocks overflows nothing.
        let (outcome, commands) = try restore(dump, ttl: "9223372036854775807", on: bench)
        #expect(outcome == .sentRepair(""))
        #expect(commands == [words("SET", "k", "v", "PXAT", "9223372036854775807")])
    }

    /// Streams of type 21 on Redis 7.0, 6.2 and 7.2.
    @Test func streamsAreRewritten() throws {
        let dump = payload(.streamListpacks3, Self.stream)
        for (version, type) in [
            (TargetVersion(major: 7, minor: 2), ValueType.streamListpacks3),
            (TargetVersion(major: 7, minor: 0), .streamListpacks2),
            (TargetVersion(major: 6, minor: 2), .streamListpacks),
        ] {
            let bench = try WriterBench(version: version)
            let (outcome, commands) = try restore(dump, on: bench)
            #expect(outcome == .sent)
            let written = try #require(commands.first?[3])
            #expect(commands.first?[0] == Array("RESTORE".utf8))
            #expect(written.first == type.rawValue, "\(version)")
            #expect((try? written.withByteView { try DumpPayload.parse($0).type }) == type)
            if type == .streamListpacks3 { #expect(written == dump) }
        }
    }

    @Test func elementsWithExpiryAreBuilt() throws {
        let bench = try WriterBench()
        let (outcome, commands) = try restore(
            payload(.hashWithExpiry, Self.hashWithExpiry), ttl: "\(WriterBench.now + 100_000)",
            "ABSTTL", on: bench)
        #expect(outcome == .sent)
        #expect(
            commands == [
                words("MULTI"), words("DEL", "k"), words("HSET", "k", "f", "v", "g", "w"),
                words("PEXPIREAT", "k", "\(WriterBench.now + 100_000)"), words("EXEC"),
            ])
    }

    /// Where the target has expiries of fields, they are set.
    @Test func elementsKeepTheirExpiryWhereTheyCan() throws {
        let bench = try WriterBench(version: TargetVersion(major: 7, minor: 4))
        let (outcome, commands) = try restore(
            payload(.hashWithExpiry, Self.hashWithExpiry), on: bench)
        #expect(outcome == .sent)
        #expect(
            commands == [
                words("MULTI"), words("DEL", "k"), words("HSET", "k", "f", "v", "g", "w"),
                words(
                    "HPEXPIREAT", "k", "\((0x0abc_f787 + 1_675_209_600) * 1000)", "FIELDS", "1", "f"
                ),
                words("EXEC"),
            ])
    }

    /// The writer remembers which keys have elements that expire unseen, whole restored ones too.
    @Test func elementExpiriesAreNoted() throws {
        let bench = try WriterBench()
        _ = try restore(payload(.hashWithExpiry, Self.hashWithExpiry), on: bench)
        #expect(bench.mayExpireUnseen("k"))
        _ = try restore(payload(.listQuicklist2, Self.list), on: bench)
        #expect(!bench.mayExpireUnseen("k"))
    }

    /// A restored JSON value is written as a string, or as policy has it.
    @Test func jsonFollowsPolicy() throws {
        let json = payload(.json, [2, 0x7b, 0x7d])
        let asString = try restore(json, on: WriterBench())
        #expect(asString.0 == .sent && asString.1 == [["SET", "k", "{}"].map { Array($0.utf8) }])
        var types = TypePolicy()
        for (policy, expected) in [
            (TypePolicy.JSON.skip, RecordOutcome.unsupported("")), (.fail, .refused("")),
        ] {
            types.json = policy
            let (outcome, commands) = try restore(json, on: WriterBench(types: types))
            #expect(outcome == expected && commands == [])
        }
    }

    /// A damaged payload is named, and leaves nothing behind that the next record would meet.
    @Test(arguments: [EntryWriter.Method.automatic, .commands, .restore])
    func damageIsRepaired(_ method: EntryWriter.Method) throws {
        let bench = try WriterBench(method: method)
        let sound = payload(.listQuicklist2, Self.list)
        for index in sound.indices {
            var damaged = sound
            damaged[index] ^= 0x11
            let (outcome, commands) = try restore(damaged, on: bench)
            #expect(outcome == .repair("") && commands == [], "byte \(index)")
        }
        for count in 0..<sound.count {
            let (outcome, _) = try restore(Array(sound[..<count]), on: bench)
            #expect(outcome == .repair(""))
        }
        // The same with a sound checksum over damaged bytes.
        var noticed = 0
        for index in Self.list.indices {
            var damaged = Self.list
            damaged[index] ^= 0x80
            let (outcome, commands) = try restore(payload(.listQuicklist2, damaged), on: bench)
            if outcome == .repair("") {
                noticed += 1
                #expect(commands == [])
            }
        }
        #expect(noticed > 10)
        #expect(try bench.write("INCR", "n") == .sent)
        #expect(try bench.commands() == [["INCR", "n"]])
        let (outcome, _) = try restore(sound, on: bench)
        #expect(outcome == .sent)
    }

    @Test func unknownTypesAreRepaired() throws {
        let bench = try WriterBench()
        let body: [UInt8] = [99, 1, 0x76, 9, 0]
        let checksum = body.withByteView { $0.crc64() }
        let dump = body + (0..<8).map { UInt8(truncatingIfNeeded: checksum >> UInt64(8 * $0)) }
        let (outcome, commands) = try restore(dump, on: bench)
        #expect(outcome == .repair("") && commands == [])
    }
}

import Bytes
import Testing
import Wire

/// The journal part of a flow (protocol.md 5).
@Suite struct JournalDecoderTests {
    private func run(
        _ bytes: [UInt8], lsn: UInt64 = 1, limits: DecoderLimits = DecoderLimits(),
        segment: Int = .max
    ) throws -> FlowRun {
        try FlowRun(bytes, limits: limits, partialLSN: lsn, segment: { segment })
    }

    /// The captured stream of protocol.md 5.2.
    @Test func capturedStream() throws {
        let bytes = StreamBytes(
            hex: "06 00 0A 00 01 03 05 03 534554 01 61 01 62 0F 01"
                + "06 00 0A 00 01 05 08 04 4D534554 01 61 01 31 01 62 01 32"
        ).bytes
        for segment in [Int.max, 1, 3] {
            let run = try run(bytes, segment: segment)
            #expect(run.failure == nil)
            #expect(
                run.records.map(\.texts) == [["SET", "a", "b"], ["MSET", "a", "1", "b", "2"]])
            #expect(run.records.map(\.lsn) == [1, 2])
            #expect(run.nextLSN == 3)
            #expect(run.flowOffset == bytes.count)
        }
    }

    /// Every operation counts as one LSN but SELECT and markers; the database is that of the last
    /// SELECT.
    @Test func everyOperation() throws {
        let bytes = StreamBytes.make {
            $0.raw(StreamBytes(hex: "06 02"))
            $0.command(["DEL", "k"], opcode: 9)
            $0.command(["SET", "a", ""], opcode: 11, transactionID: 114, shardCount: 2)
            $0.raw(StreamBytes(hex: "0C 40 72 02"))
            $0.raw(StreamBytes(hex: "0D 06 03 0F 0D"))
            $0.command(["APPEND", "", "x"], transactionID: 1 << 40)
        }.bytes
        let run = try run(bytes, lsn: 10)
        #expect(run.failure == nil)
        let records = run.records
        #expect(records.map(\.operation) == [.expired, .multiCommand, .exec, .ping, .command])
        #expect(records.map(\.lsn) == [10, 11, 12, 13, 14])
        #expect(records.map(\.database) == [2, 2, 2, 2, 3])
        #expect(records.map(\.transactionID) == [0, 114, 114, 0, 1 << 40])
        #expect(records.map(\.shardCount) == [1, 2, 2, 1, 1])
        #expect(records[1].texts == ["SET", "a", ""])
        #expect(records[2].arguments.isEmpty)
        #expect(records[3].arguments.isEmpty)
        #expect(records[4].texts == ["APPEND", "", "x"])
        #expect(run.nextLSN == 15)
    }

    /// Packed integers of every width, and lengths that are not in their shortest form.
    @Test func packedIntegersOfEveryWidth() throws {
        let bytes = StreamBytes(
            hex: "80 00 00 00 0A 81 00 00 00 01 00 00 00 02 40 01 80 00 00 00 02 40 04"
                + "80 00 00 00 03 474554 81 00 00 00 00 00 00 00 01 6B"
        ).bytes
        for segment in [Int.max, 1] {
            let run = try run(bytes, segment: segment)
            #expect(run.failure == nil)
            #expect(run.records.map(\.transactionID) == [1 << 32 | 2])
            #expect(run.records.map(\.texts) == [["GET", "k"]])
        }
    }

    /// A marker must be the LSN of the record before it: anything else means lost or doubled
    /// records.
    @Test(arguments: [("0F 04", true), ("0F 03", false), ("0F 05", false), ("0F 00", false)])
    func markers(_ hex: String, _ isRight: Bool) throws {
        let run = try run(StreamBytes(hex: hex).bytes, lsn: 5)
        #expect(
            run.failure == (isRight ? nil : DecodeError(.markerMismatch, offset: 0, opcode: 15)))
    }

    /// NOOP, FIN and everything else that is no operation of this stream ends the session, with the
    /// place named.
    @Test(arguments: [0, 1, 5, 7, 8, 14, 16, 63] as [UInt8])
    func unknownOpcodes(_ opcode: UInt8) throws {
        let run = try run([0x06, 0x00, 0x0D, opcode, 0, 0, 0])
        #expect(run.records.count == 1)
        #expect(run.failure == DecodeError(.unknownOpcode, offset: 3, opcode: opcode))
    }

    @Test(arguments: [
        // Less than the strings have, more than they have, no strings at all, an integer string.
        ("0A 00 01 02 03 03 534554 01 61", DecodeError.Reason.badJournalTotal),
        ("0A 00 01 02 05 03 534554 01 61", .badJournalTotal),
        ("0A 00 01 00 00", .badJournalTotal),
        ("0A 00 01 02 05 03 534554 C0 01", .badLength),
        ("0A 00 01 81 FF FF FF FF FF FF FF FF 05", .lengthAboveLimit),
        ("C0", .badLength),
    ])
    func damagedRecords(_ hex: String, _ reason: DecodeError.Reason) throws {
        let bytes = StreamBytes(hex: hex).bytes
        let run = try run([0x0D] + bytes)
        #expect(run.failure == DecodeError(reason, offset: 1, opcode: bytes[0]))
        #expect(run.records.count == 1)
    }

    /// A truncated stream only waits, and counts nothing that is not whole.
    @Test func everyTruncationWaits() throws {
        let bytes = StreamBytes.make {
            $0.raw(StreamBytes(hex: "06 01"))
            $0.command(["SET", "key", String(repeating: "v", count: 100)], transactionID: 70)
        }.bytes
        for count in 1..<bytes.count {
            let run = try run(Array(bytes[..<count]))
            #expect(run.failure == nil)
            #expect(run.records.isEmpty)
            #expect(run.nextLSN == 1)
        }
    }

    /// Records larger than the window arrive whole, in any pieces.
    @Test func recordsLargerThanTheWindow() throws {
        var generator = SeededGenerator(seed: 7)
        let limits = DecoderLimits(windowBytes: 4096)
        var arguments: [[String]] = []
        let bytes = StreamBytes.make {
            for size in [10, 4090, 4096, 5000, 70_000, 3, 300_000] {
                let value = String(repeating: "x", count: size)
                // Many strings, some empty, beside a long one.
                let strings =
                    ["RPUSH", "k", value] + (0..<size / 20).map { $0 % 3 == 0 ? "" : "\($0)" }
                arguments.append(strings)
                $0.raw(StreamBytes(hex: "06 04"))
                $0.command(strings, transactionID: UInt64(size))
            }
        }.bytes
        for segment in [Int.max, 1, 1000] {
            let run = try run(bytes, lsn: 100, limits: limits, segment: segment)
            #expect(run.failure == nil)
            let isSame = run.records.map(\.texts) == arguments
            #expect(isSame)
            #expect(run.records.map(\.lsn) == Array(100..<107))
            #expect(run.nextLSN == 107)
            #expect(run.records.allSatisfy { $0.database == 4 })
        }
        let random = try FlowRun(bytes, limits: limits, partialLSN: 100) {
            Int.random(in: 1...3000, using: &generator)
        }
        #expect(random.records.count == 7)
    }

    /// A record above the limit is passed over, keeps its LSN and its place, and takes no memory.
    @Test func recordsAboveTheLimitAreRefused() throws {
        let limits = DecoderLimits(windowBytes: 4096, assemblyBytes: 20_000)
        let large = String(repeating: "x", count: 50_000)
        // Its total is below the limit; its strings with their lengths are not.
        let many = ["DEL"] + (0..<9990).map { _ in "k" }
        let bytes = StreamBytes.make {
            $0.command(["SET", "a", "1"])
            $0.command(["SET", "b", large], transactionID: 9)
            $0.command(many, transactionID: 10)
            $0.command(["SET", "c", String(repeating: "y", count: 15_000)])
            $0.raw(StreamBytes(hex: "0F 04"))
        }.bytes
        for segment in [Int.max, 100] {
            let run = try run(bytes, limits: limits, segment: segment)
            #expect(run.failure == nil)
            #expect(run.nextLSN == 5)
            #expect(run.assembledBytesMaximum <= limits.assemblyBytes)
            #expect(run.events.count == 4)
            guard case .refusedRecord(let record, let size) = run.events[1] else {
                Issue.record("not refused: \(run.events[1])")
                continue
            }
            #expect(record.lsn == 2)
            #expect(record.transactionID == 9)
            #expect(record.arguments.isEmpty)
            #expect(
                size
                    == StreamBytes.make { $0.command(["SET", "b", large], transactionID: 9) }
                    .bytes.count)
            #expect(run.records.map(\.lsn) == [1, 3, 4])
        }
        let tight = DecoderLimits(windowBytes: 4096, assemblyBytes: 16_000)
        let run = try run(bytes, limits: tight)
        #expect(run.records.map(\.lsn) == [1, 4])
        #expect(run.nextLSN == 5)
        #expect(run.assembledBytesMaximum <= 16_000)
    }
}

/// Journal records inside the snapshot (protocol.md 3.6).
@Suite struct JournalBlobReaderTests {
    private func read(_ count: Int, _ hex: String) throws -> [StreamEvent.Record] {
        var records: [StreamEvent.Record] = []
        try StreamBytes(hex: hex).bytes.withByteView { view throws(DecodeError) in
            var reader = JournalBlobReader(count: count, body: view)
            while let record = try reader.next() { records.append(StreamEvent.Record(record)) }
        }
        return records
    }

    private static let set = "0A 00 01 03 05 03 534554 01 61 01 62"

    @Test func databaseStartsAtZero() throws {
        let records = try read(3, Self.set + "0D" + "06 05" + Self.set)
        #expect(records.map(\.database) == [0, 0, 5])
        #expect(records.map(\.operation) == [.command, .ping, .command])
        #expect(records.map(\.lsn) == [0, 0, 0])
        #expect(records.last?.texts == ["SET", "a", "b"])
        #expect(try read(0, "").isEmpty)
    }

    @Test(arguments: [
        (0, set, DecodeError.Reason.badJournalTotal, 0, 10),
        (2, set, .badJournalTotal, 13, 0),
        (1, set + "0D", .badJournalTotal, 13, 13),
        (1, set + "06 00", .badJournalTotal, 13, 6),
        (1, "06 00", .badJournalTotal, 0, 6),
        (1, "0A 00 01 03 05 03 534554 01 61 01", .badJournalTotal, 0, 10),
        (1, "0A 00", .badJournalTotal, 0, 10),
        (1, "", .badJournalTotal, 0, 0),
        (2, set + "0F 01", .outOfOrder, 13, 15),
        (1, "0E", .unknownOpcode, 0, 14),
    ])
    func countMustMatch(
        _ count: Int, _ hex: String, _ reason: DecodeError.Reason, _ offset: Int, _ opcode: UInt8
    ) {
        #expect(throws: DecodeError(reason, offset: offset, opcode: opcode)) {
            try read(count, hex)
        }
    }
}

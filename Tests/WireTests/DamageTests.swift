import Bytes
import Foundation
import Testing
import Wire

/// Damaged bytes never crash a decoder, keep it busy for ever, or make it take memory above its
/// limits; they are events, waiting, or an error that names its place.
@Suite struct DamageTests {
    /// A part of a recording that a decoder starts with.
    private struct Sample {
        var bytes: [UInt8]
        var partialLSN: UInt64?
    }

    private static let sampleBytes = 24 << 10

    /// Snapshot and journal beginnings of all recordings, and the flow with one of everything.
    private static func samples() throws -> [Sample] {
        let all = try SnapshotDecoderSplitTests.sample()
        var samples = [Sample](repeating: Sample(bytes: all), count: 8)
        for flow in RecordedFlow.all {
            samples.append(
                Sample(
                    bytes: Array(flow.bytes.prefix(sampleBytes)), partialLSN: flow.partialLSN))
            let run = try FlowRun(flow.bytes, partialLSN: flow.partialLSN, segment: { .max })
            // From the first record on, with the LSN that it has.
            for case .record(let record, let end) in run.events.prefix(20_000) {
                samples.append(
                    Sample(
                        bytes: Array(flow.bytes.dropFirst(end).prefix(sampleBytes)),
                        partialLSN: record.lsn + 1))
                break
            }
        }
        return samples
    }

    private static var caseCount: Int {
        let text = ProcessInfo.processInfo.environment["DF2REDIS_DAMAGE_CASES"]
        #if DEBUG
            return text.flatMap { Int($0) } ?? 3000
        #else
            return text.flatMap { Int($0) } ?? 100_000
        #endif
    }

    private static func damage(_ bytes: inout [UInt8], _ generator: inout SeededGenerator) {
        for _ in 0..<Int.random(in: 1...4, using: &generator) where !bytes.isEmpty {
            let place = Int.random(in: 0..<bytes.count, using: &generator)
            switch Int.random(in: 0...9, using: &generator) {
            case 0: bytes.remove(at: place)
            case 1: bytes.insert(UInt8.random(in: 0...255, using: &generator), at: place)
            case 2: bytes.removeLast(min(bytes.count, place))
            case 3: bytes[place] = 0xff
            case 4: bytes[place] = 0x81
            case 5...7: bytes[place] = UInt8.random(in: 0...255, using: &generator)
            default: bytes[place] ^= 1 << UInt8.random(in: 0...7, using: &generator)
            }
        }
    }

    @Test(arguments: [UInt64(20_260_801)])
    func damagedFlows(_ seed: UInt64) throws {
        let samples = try Self.samples()
        var generator = SeededGenerator(seed: seed)
        var failures: [String: Int] = [:]
        var whole = 0
        for index in 0..<Self.caseCount {
            let sample = samples[Int.random(in: 0..<samples.count, using: &generator)]
            var bytes = sample.bytes
            Self.damage(&bytes, &generator)
            let limits = DecoderLimits(
                windowBytes: Int.random(in: 0...3, using: &generator) == 0 ? 4096 : 160 << 10,
                assemblyBytes: 48 << 10,
                bigValueBytes: Int.random(in: 0...1, using: &generator) == 0 ? 4096 : .max)
            let piece = Int.random(in: 0...1, using: &generator) == 0 ? Int.max : 1 + index % 3000
            let run = try FlowRun(
                bytes, limits: limits, partialLSN: sample.partialLSN, keepsEvents: false,
                segment: { piece })
            let isWithinLimit = run.assembledBytesMaximum <= limits.assemblyBytes
            #expect(isWithinLimit, "seed \(seed), case \(index)")
            let isWithinInput = run.flowOffset <= bytes.count
            #expect(isWithinInput, "seed \(seed), case \(index)")
            guard let failure = run.failure else {
                whole += 1
                continue
            }
            failures["\(failure.reason)", default: 0] += 1
            let isPlaced = failure.offset >= 0 && failure.offset <= bytes.count
            #expect(isPlaced, "seed \(seed), case \(index): \(failure)")
        }
        // The damage was neither harmless nor always the same.
        #expect(failures.count >= 8, "\(failures)")
        #expect(whole > 0)
        #expect(failures.values.reduce(0, +) > Self.caseCount / 4)
    }

    /// Random bytes behind a valid header: nothing of a stream at all.
    @Test func noise() throws {
        var generator = SeededGenerator(seed: 99)
        for index in 0..<Self.caseCount / 10 {
            let limits = DecoderLimits(
                windowBytes: 4096, assemblyBytes: 32 << 10,
                bigValueBytes: index % 2 == 0 ? 4096 : .max)
            let size = Int.random(in: 1...3000, using: &generator)
            let noise = (0..<size).map { _ in UInt8.random(in: 0...255, using: &generator) }
            for partialLSN in [nil, 7] as [UInt64?] {
                let bytes = StreamBytes.make {
                    if partialLSN == nil { $0.header() }
                    $0.raw(noise)
                }.bytes
                let run = try FlowRun(
                    bytes, limits: limits, partialLSN: partialLSN, keepsEvents: false,
                    segment: { 500 })
                #expect(run.assembledBytesMaximum <= limits.assemblyBytes)
            }
        }
    }

    /// A journal blob whose body was damaged is refused by its reader, without a crash.
    @Test func damagedJournalBlobs() throws {
        let body = StreamBytes.make {
            $0.raw(StreamBytes(hex: "06 03"))
            $0.command(["HSET", "key", "field", String(repeating: "v", count: 80)])
            $0.command(["DEL", "a", "b", ""], opcode: 9, transactionID: 1 << 33)
            $0.raw(StreamBytes(hex: "0C 05 02 0D"))
        }.bytes
        var generator = SeededGenerator(seed: 5)
        var refused = 0
        for _ in 0..<Self.caseCount {
            var bytes = body
            Self.damage(&bytes, &generator)
            do throws(DecodeError) {
                try bytes.withByteView { view throws(DecodeError) in
                    var reader = JournalBlobReader(count: 4, body: view)
                    while let record = try reader.next() {
                        var strings = record.arguments
                        while strings.next() != nil {}
                    }
                }
            } catch {
                refused += 1
                #expect(error.offset <= bytes.count)
            }
        }
        #expect(refused > Self.caseCount / 2)
    }
}

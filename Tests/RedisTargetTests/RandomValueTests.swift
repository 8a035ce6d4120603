import Bytes
import Foundation
import RedisTarget
import TestSupport
import Testing
import Wire

@testable import DragonflySimulator

/// What a Dragonfly holds is what the target holds: random values of every type, encoded as each
/// release encodes them, decoded, written by RESTORE and by commands into a real server, and read
/// back.
@Suite struct RandomValueTests {
    #if DEBUG
        private static let cases = 1000
    #else
        private static let cases = 20_000
    #endif
    private static let batch = 1000

    /// Fixed, so that a failure comes again; another one by the environment.
    private static let seed =
        ProcessInfo.processInfo.environment["DF2REDIS_VALUE_SEED"].flatMap { UInt64($0) } ?? 1

    /// 100,000 values, over the releases.
    @Test(arguments: EmulatedRelease.allCases)
    func valuesArriveEqual(_ release: EmulatedRelease) throws {
        try run(release, .system, cases: Self.cases, seed: Self.seed)
    }

    /// Fewer for the other targets.
    @Test(arguments: TargetServer.available.filter { $0 != .system })
    func valuesArriveEqual(on kind: TargetServer) throws {
        for (index, release) in EmulatedRelease.allCases.enumerated() {
            try run(release, kind, cases: Self.batch, seed: Self.seed + 100 + UInt64(index))
        }
    }

    private func run(
        _ release: EmulatedRelease, _ kind: TargetServer, cases: Int, seed: UInt64
    ) throws {
        let server = try RedisServer(kind)
        let info = try server.information()
        let version = try #require(info.withByteView { TargetVersion(info: $0) })
        print("random values: \(release.text) to \(version), \(cases) cases, seed \(seed)")
        var values = RandomValues(seed: seed &* 1000 &+ UInt64(release.text.utf8.count))
        var written = 0
        while written < cases {
            let batch = (0..<Self.batch).map { values.next(written + $0) }
            let options = Self.options(written / Self.batch)
            let entries = try Self.decoded(batch, release, options)
            #expect(entries.count == batch.count)
            var rules = StateComparison.Rules()
            rules.hasOldStreams = release.writesOldStreams
            rules.lacksStreamCounters = !version.knowsEntriesRead
            for method in [EntryWriter.Method.restore, .commands] {
                try server.client().call("FLUSHALL")
                let run = try EntryRun(
                    server, method, ringBytes: 1 << 18, version: version,
                    commandsInFlight: 1 << 12, unixMilliseconds: RandomValues.now * 1000)
                try run.write(entries)
                #expect(run.errors.isEmpty && run.outcomes.allSatisfy { $0 == .sent })
                let refused = run.pipeline.answers.filter { $0.error != nil }
                #expect(refused.isEmpty, "\(refused.prefix(3))")
                rules.zeroHasNoSign = method == .commands
                var expected: ServerState = [:]
                for value in batch {
                    let entry =
                        method == .commands ? value.expectedOfCommands : value.expected
                    expected[StateKey(database: 0, name: value.key.name.key)] = entry
                }
                let comparison = StateComparison(
                    expected: expected, actual: try StateReader(server.client()).read(),
                    rules: rules)
                guard comparison.isEqual else {
                    Issue.record(
                        """
                        \(release.text) to \(version), \(method), seed \(seed), cases \
                        \(written)..<\(written + batch.count), \(options): \
                        \(comparison.differences.prefix(5))
                        """)
                    return
                }
                #expect(comparison.keysCompared == expected.count)
            }
            written += batch.count
        }
    }

    /// Compression, chunks and compressed list nodes in turn.
    private static func options(_ number: Int) -> StreamOptions {
        var options = StreamOptions()
        options.compression = StreamOptions.Compression.allCases[number % 4]
        options.chunkBytes = [65536, 0, 100, 3000][number / 2 % 4]
        options.listCompressDepth = number % 3
        options.seed = UInt64(number + 1)
        return options
    }

    /// The way through a flow: packed as the release does, decoded, copied out of the ring.
    private static func decoded(
        _ batch: [RandomValues.Case], _ release: EmulatedRelease, _ options: StreamOptions
    ) throws -> [StoredEntry] {
        let encoder = EntryEncoder(release: release, options: options)
        let memory = try SnapshotMemory()
        let stream = try SnapshotStream(
            release: release, options: options, flow: 0, flowCount: 1, output: memory)
        try stream.writeHeader(scripts: [])
        for value in batch { try stream.add(encoder.encode(value.key, value.value)) }
        try stream.writeFullSyncEnd()
        try stream.writeTail(nextLSN: 1, token: HexDigits.forty(seed: 1))

        var decoder = try Wire.SnapshotDecoder()
        var entries: [StoredEntry] = []
        var input = memory.view
        while true {
            let event = try decoder.next(input)
            switch event {
            case .entry(let entry):
                entries.append(
                    try StoredEntry(
                        entry.type, key: entry.key.array(), value: entry.value.array(),
                        database: entry.database, expiryMilliseconds: entry.expiryMilliseconds))
            case .end:
                return entries
            case .needMore where decoder.consumed == 0:
                throw TestSupportError("the snapshot ends inside an item")
            case .refused:
                throw TestSupportError("a value is too large")
            default:
                break
            }
            input = input.dropFirst(decoder.consumed)
        }
    }
}

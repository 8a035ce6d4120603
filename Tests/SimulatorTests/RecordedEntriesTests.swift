import TestSupport
import Testing

@testable import DragonflySimulator

/// A recording whose snapshot an emulated master must write, too.
struct RecordedSnapshot: Sendable, CustomTestStringConvertible {
    var name: String
    var release: EmulatedRelease
    var options = StreamOptions()
    /// Keys whose entries differ, each with the reason.
    var differences: [String: String] = [:]

    var testDescription: String { name }

    init(
        _ name: String, _ release: EmulatedRelease, differences: [String: String] = [:],
        _ change: (inout StreamOptions) -> Void = { _ in }
    ) {
        self.name = name
        self.release = release
        self.differences = differences
        change(&options)
    }

    static let all = [
        RecordedSnapshot("types-lz4", .newest),
        RecordedSnapshot("types-zstd", .newest) { $0.compression = .zstd },
        RecordedSnapshot("types-lzf-untagged", .newest) {
            $0.compression = .lzf
            $0.usesTaggedChunks = false
            $0.listCompressDepth = 1
        },
        RecordedSnapshot("types-plain", .newest) {
            $0.compression = .none
            $0.chunkBytes = 0
        },
        RecordedSnapshot("types-chunked", .newest) {
            $0.compression = .none
            $0.chunkBytes = 512
        },
        RecordedSnapshot("v1.30-types", .v1_30),
        RecordedSnapshot("v1.20-types", .v1_20),
    ]
}

/// What a release wrote for its keys, held against what the emulation writes for the same keys in a
/// redis-server.
@Suite struct RecordedEntriesTests {
    /// A recording, its entries, and those of the emulated master with the same data.
    private struct Pair {
        let recording: TestSupport.Recording
        var recorded: [KeyName: SnapshotDecoder.Entry] = [:]
        var recordedFlows: [SnapshotDecoder] = []
        var emulated: [KeyName: SnapshotDecoder.Entry] = [:]
        var emulatedFlows: [SnapshotDecoder] = []
        var state: ServerState

        init(_ snapshot: RecordedSnapshot) throws {
            recording = try Recording(snapshot.name)
            state = try recording.before().filter {
                switch $0.value.value {
                case .foreign, .json: false
                default: true
                }
            }
            for flow in recording.flows.indices {
                var decoder = SnapshotDecoder()
                _ = try decoder.decode(try recording.bytes(flow: flow))
                for entry in decoder.entries { recorded[entry.name] = entry }
                recordedFlows.append(decoder)
            }
            let server = try RedisServer()
            let client = try server.client()
            try StateWriter(client: client).write(state)
            let encoder = EntryEncoder(release: snapshot.release, options: snapshot.options)
            var flows: [[EncodedEntry]] = Array(repeating: [], count: recording.flows.count)
            for key in state.keys.sorted() {
                let name = KeyName(database: key.database, key: key.name)
                var stored = try EmulatedSnapshot.stored(name, client)
                addUnstated(&stored)
                flows[shard(of: name.key, flowCount: flows.count)].append(
                    try encoder.encode(stored))
            }
            for (flow, entries) in flows.enumerated() {
                let decoder = try EmulatedSnapshot.decoded(
                    entries, snapshot.release, snapshot.options, flow: flow,
                    flowCount: flows.count, scripts: recordedFlows[flow].scripts)
                for entry in decoder.entries { emulated[entry.name] = entry }
                emulatedFlows.append(decoder)
            }
        }

        /// What the state of a recording does not say: stickiness, and when elements expire.
        private func addUnstated(_ key: inout StoredKey) {
            guard let entry = recorded[key.name] else { return }
            key.isSticky = entry.mask & 1 != 0
            key.memcachedFlags = entry.memcachedFlags
            let elements: [[[UInt8]]] =
                switch entry.value {
                case .expiringSet(let elements), .expiringHash(let elements): elements
                default: []
                }
            for element in elements {
                guard let text = element.last.map({ String(decoding: $0, as: UTF8.self) }),
                    let time = Int64(text), time >= 0
                else { continue }
                key.elementExpiries[element[0]] = 1_675_209_600 + time
            }
        }
    }

    /// Every key has the recorded type code, prefixes and value; keys that differ are those listed,
    /// and no others.
    @Test(arguments: RecordedSnapshot.all)
    func entriesAreThoseOfTheRelease(_ snapshot: RecordedSnapshot) throws {
        let pair = try Pair(snapshot)
        var differences: [String: String] = [:]
        for key in pair.state.keys.sorted() {
            let name = KeyName(database: key.database, key: key.name)
            let text = String(decoding: key.name, as: UTF8.self)
            guard let recorded = pair.recorded[name], let emulated = pair.emulated[name] else {
                differences[text] = "missing"
                continue
            }
            if let difference = EntryComparison.difference(
                recorded, emulated,
                expiryTolerance: pair.recording.hasOldStreams ? 10 : 0)
            {
                differences[text] = difference
            }
        }
        for (key, difference) in differences where snapshot.differences[key] == nil {
            Issue.record("\(key): \(difference)")
        }
        for (key, reason) in snapshot.differences where differences[key] == nil {
            Issue.record("\(key) does not differ (\(reason))")
        }
        #expect(pair.state.count > 600)
        #expect(pair.emulated.count == pair.state.count)
        expectSameFraming(pair)
    }

    /// Both have compressed blobs of the same kind, or none; and the same keys come in chunks. Of two
    /// fields, one large, the order decides, which a recording does not hold.
    private func expectSameFraming(_ pair: Pair) {
        func opcodes(_ flows: [SnapshotDecoder]) -> Set<UInt8> {
            Set(flows.flatMap(\.compressedBlobs.keys))
        }
        #expect(opcodes(pair.emulatedFlows) == opcodes(pair.recordedFlows))
        let names = pair.emulated.keys.filter { $0.key != Array("hash:bigvalue".utf8) }
        func cut(_ entries: [KeyName: SnapshotDecoder.Entry]) -> Set<KeyName> {
            Set(names.filter { entries[$0].map { $0.chunks > 0 } ?? false })
        }
        #expect(cut(pair.emulated) == cut(pair.recorded))
    }

    /// The AUX fields are the recorded ones, in their order.
    @Test(arguments: RecordedSnapshot.all)
    func headersAreThoseOfTheRelease(_ snapshot: RecordedSnapshot) throws {
        let recording = try Recording(snapshot.name)
        let measured: Set = ["ctime", "used-mem", "table-mem"]
        for flow in recording.flows.indices {
            var recorded = SnapshotDecoder()
            _ = try recorded.decode(try recording.bytes(flow: flow))
            let emulated = try EmulatedSnapshot.decoded(
                [], snapshot.release, snapshot.options, flow: flow,
                flowCount: recording.flows.count, scripts: recorded.scripts)
            #expect(emulated.auxiliaryNames == recorded.auxiliaryNames)
            #expect(emulated.scripts == recorded.scripts)
            for (name, value) in recorded.auxiliary where !measured.contains(name) {
                #expect(emulated.auxiliary[name] == value, "\(name)")
            }
        }
    }
}

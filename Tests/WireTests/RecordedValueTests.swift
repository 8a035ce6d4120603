import Bytes
import Foundation
import Testing

@testable import Wire

/// Promise: what real servers of several releases sent passes the check and reads as the state that
/// these servers reported.
struct RecordedValueTests {
    private static let recordings = [
        "types-lzf-untagged", "types-plain", "v1.30-types", "v1.20-types",
    ]

    @Test(arguments: recordings)
    func recordedValuesReadAsReported(_ recording: String) throws {
        let expected = try RecordedValues.expected(recording)
        var compared = 0
        var types: Set<UInt8> = []
        for recorded in try RecordedValues.all(recording) {
            let name = Comment(rawValue: String(decoding: recorded.key, as: UTF8.self))
            let verdict = try checkValue(recorded.type, recorded.value)
            let isLoadable = recorded.type.family.isCore && recorded.type.rawValue < 30
            #expect(!verdict.isEmpty && verdict.isVerbatimLoadable == isLoadable, name)
            types.insert(recorded.type.rawValue)
            let key = RecordedValues.ExpectedKey(database: recorded.database, key: recorded.key)
            // A key whose time passed while the recording was made is not in the reported state.
            guard let object = expected[key], let value = object["value"] else { continue }
            switch recorded.type.family {
            case .list, .set, .hash, .zset:
                let read = try readElements(recorded.type, recorded.value)
                #expect(
                    try inOrder(read, recorded.type)
                        == inOrder(elements(value, recorded.type.family), recorded.type), name)
                #expect(verdict.elementCount == read.count, name)
            case .stream:
                try compareStream(recorded, value, name)
            default: continue
            }
            compared += 1
        }
        #expect(compared >= 35, "\(recording): \(compared)")
        #expect(types == Set(Self.types[recording] ?? []))
    }

    /// Each recording has its types, so that none is compared in name only.
    private static let types: [String: [UInt8]] = [
        "types-lzf-untagged": [0, 2, 4, 5, 11, 16, 17, 18, 21, 30, 31, 32, 34, 35, 36, 37],
        "types-plain": [0, 2, 4, 5, 11, 16, 17, 18, 21, 30, 31, 32, 34, 35, 36, 37],
        "v1.30-types": [0, 2, 4, 5, 11, 12, 13, 18, 21, 30, 33],
        "v1.20-types": [0, 2, 4, 5, 11, 12, 13, 14, 15, 30, 33],
    ]

    private func inOrder(_ elements: [ReadElement], _ type: ValueType) -> [ReadElement] {
        type.family == .list
            ? elements
            : elements.map { element in
                var element = element
                element.expiryMilliseconds = 0
                return element
            }.sorted()
    }

    private func elements(_ value: Any, _ family: ValueFamily) throws -> [ReadElement] {
        guard let items = value as? [Any] else { throw RecordedValues.Failure(text: "\(value)") }
        return try items.map { item in
            guard family == .hash || family == .zset else {
                return ReadElement(try RecordedValues.bytes(item))
            }
            guard let pair = item as? [Any], pair.count == 2 else {
                throw RecordedValues.Failure(text: "\(item)")
            }
            let member = try RecordedValues.bytes(pair[0])
            if family == .hash { return ReadElement(member, try RecordedValues.bytes(pair[1])) }
            guard let text = pair[1] as? String, let score = Double(text) else {
                throw RecordedValues.Failure(text: "\(pair)")
            }
            return ReadElement(member, score: score)
        }
    }

    private func compareStream(
        _ recorded: RecordedValues.Recorded, _ value: Any, _ name: Comment
    ) throws {
        let stream = try ReadStream(recorded.type, recorded.value)
        guard let value = value as? [String: Any], let entries = value["entries"] as? [[Any]],
            let groups = value["groups"] as? [[String: Any]]
        else { throw RecordedValues.Failure(text: "\(value)") }
        #expect(stream.entries.map(\.id.text) == entries.map { $0[0] as? String }, name)
        for (entry, expected) in zip(stream.entries, entries) {
            let fields = try (expected[1] as? [Any] ?? []).map(RecordedValues.bytes)
            #expect(entry.fields == fields, name)
        }
        #expect(stream.metadata.lastID.text == value["last-id"] as? String, name)
        if recorded.type == .streamListpacks3 {
            #expect(stream.metadata.maxDeletedID.text == value["max-deleted"] as? String, name)
            #expect(stream.metadata.entriesAdded == value["entries-added"] as? UInt64, name)
        }
        #expect(stream.groups.count == groups.count, name)
        for group in stream.groups {
            let groupName = String(decoding: group.name, as: UTF8.self)
            let expected = try #require(groups.first { $0["name"] as? String == groupName })
            // v1.20 wrote the stream's last id for every group's.
            let lastID =
                recorded.type == .streamListpacks
                ? value["last-id"] as? String : expected["last"] as? String
            #expect(group.lastID.text == lastID, name)
            let pending = group.consumers.flatMap { consumer in
                consumer.pending.map {
                    ($0.id, String(decoding: consumer.name, as: UTF8.self), $0.deliveryCount)
                }
            }.sorted { $0.0 < $1.0 }
            let expectedPending = expected["pending"] as? [[Any]] ?? []
            #expect(pending.map(\.0.text) == expectedPending.map { $0[0] as? String }, name)
            #expect(pending.map(\.1) == expectedPending.map { $0[1] as? String }, name)
            #expect(pending.map(\.2) == expectedPending.map { $0[2] as? UInt64 }, name)
        }
    }

    /// Real values of these servers load into a redis-server, verbatim or in an older layout.
    @Test(arguments: recordings)
    func recordedValuesLoad(_ recording: String) throws {
        let redis = try RedisJudge("--sanitize-dump-payload", "yes")
        var loaded = 0
        for recorded in try RecordedValues.all(recording) {
            var type = recorded.type
            var value = recorded.value
            guard type.family.isCore, type.rawValue < 30 else { continue }
            if type == .streamListpacks3 {
                var buffer = try RegionBuffer()
                try value.withByteView { view throws(DecodeError) in
                    try StreamRewriter.rewrite(
                        view, from: type, to: .streamListpacks2, into: &buffer)
                }
                type = .streamListpacks2
                value = buffer.view.array()
            }
            #expect(try redis.restore("k", dumpPayload(type, value)) == .text("OK"))
            loaded += 1
        }
        #expect(loaded > 600)
    }

    /// Flips in real values: an element or an error, never a trap.
    @Test func damagedRecordedValues() throws {
        let seed: UInt64 = 7
        var random = SeededRandom(seed: seed)
        var check = try ContainerCheck()
        var reader = try ValueReader()
        var streams = try StreamReader()
        var caught = 0
        var passed = 0
        for recorded in try Self.recordings.flatMap(RecordedValues.all)
        where recorded.value.count < 20000 && recorded.type.family != .string {
            for _ in 0..<30 {
                var bytes = recorded.value
                let index = Int.random(in: bytes.indices, using: &random)
                bytes[index] ^= 1 << UInt8.random(in: 0...7, using: &random)
                bytes.withByteView { view in
                    if (try? check.check(type: recorded.type, value: view)) == nil {
                        caught += 1
                    } else {
                        passed += 1
                    }
                    switch recorded.type.family {
                    case .list, .set, .hash, .zset:
                        try? reader.open(type: recorded.type, value: view)
                        while let element = try? reader.next() { _ = element }
                    case .stream:
                        _ = try? ReadStream(&streams, recorded.type, view)
                    default: break
                    }
                }
            }
        }
        #expect(caught > 500 && passed > 500, "seed \(seed): \(caught) caught, \(passed) passed")
    }
}

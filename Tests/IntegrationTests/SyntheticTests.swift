import DragonflySimulator
import TestSupport
import Testing

/// Generated data of every type and size, with traffic during the full sync and after it: what
/// arrives is what the generator says it made.
@Suite struct SyntheticTests {
    @Test(arguments: WriteMethod.allCases)
    func generatedDataArrivesWithItsTraffic(_ method: WriteMethod) throws {
        var data = SyntheticData(seed: 11)
        data.flowCount = 3
        data.databaseCount = 2
        data.expiringPercent = 20
        data.strings.count = 3000
        for shape in [\SyntheticData.hashes, \.lists, \.sets, \.sortedSets, \.streams] {
            data[keyPath: shape] = SyntheticData.Shape(count: 200, elements: 30, elementBytes: 24)
        }
        var traffic = LiveTraffic(recordCount: 6000, seed: 11)
        traffic.recordsDuringFullSync = 2000
        traffic.databaseCount = 2

        let run = try RecordedRun(
            "replicate", source: .synthetic(data, traffic: traffic),
            segmentation: .random(seed: 3), arguments: ["--write-method", method.rawValue])
        try run.waitUntilApplied()
        run.interrupt()
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 143, "\(outcome)")

        let comparison = StateComparison(
            expected: data.state().merging(traffic.state()) { _, live in live },
            actual: try run.targetState())
        print(comparison.summary("generated, \(method.rawValue)"))
        #expect(comparison.differences == [])
        #expect(comparison.expiringKeysCompared > 500)
        let report = try run.report()
        #expect(report.journal.applied == traffic.recordCount)
        #expect(run.complaints == [])
    }

    /// Values of more elements than a ring or a chunk holds, and larger than the send buffer.
    @Test(arguments: WriteMethod.allCases)
    func largeValuesArrive(_ method: WriteMethod) throws {
        var data = SyntheticData(seed: 12)
        data.strings = SyntheticData.Shape(count: 3, elementBytes: 6 << 20)
        for shape in [\SyntheticData.hashes, \.lists, \.sets, \.sortedSets, \.streams] {
            data[keyPath: shape] = SyntheticData.Shape(
                count: 2, elements: 60_000, elementBytes: 40)
        }
        let run = try RecordedRun(
            "migrate", source: .synthetic(data), arguments: ["--write-method", method.rawValue])
        let outcome = try run.waitForEnd(timeoutSeconds: 120)
        #expect(outcome.exitCode == 0, "\(outcome)")
        let comparison = StateComparison(
            expected: data.state(), actual: try run.targetState())
        print(comparison.summary("large values, \(method.rawValue)"))
        #expect(comparison.differences == [])
        #expect(comparison.keysCompared == 13)
        #expect(run.complaints == [])
    }
}

extension SyntheticData {
    /// Everything that is generated.
    func state() -> ServerState {
        var state: ServerState = [:]
        for kind in Kind.allCases {
            for index in 0..<shape(kind).count {
                state[StateKey(database: database(index), name: key(kind, index))] =
                    value(kind, index).entry(expiryMilliseconds: expiry(kind, index) ?? 0)
            }
        }
        return state
    }
}

extension LiveTraffic {
    /// What the traffic leaves behind.
    func state() -> ServerState {
        var state: ServerState = [:]
        for key in keys() {
            state[StateKey(database: key.database, name: key.name)] =
                key.value.entry(expiryMilliseconds: 0)
        }
        return state
    }
}

extension SyntheticValue {
    fileprivate func entry(expiryMilliseconds: Int64) -> StateEntry {
        let (type, value) = canonical
        return StateEntry(type: type, expiryMilliseconds: expiryMilliseconds, value: value)
    }

    private var canonical: (String, StateValue) {
        switch self {
        case .string(let bytes): ("string", .string(bytes))
        case .list(let elements): ("list", .list(elements))
        case .set(let members):
            ("set", .set(members.sorted { $0.lexicographicallyPrecedes($1) }))
        case .hash(let fields):
            (
                "hash",
                .hash(
                    fields.map { FieldValue(field: $0.field, value: $0.value) }
                        .sorted { $0.field.lexicographicallyPrecedes($1.field) })
            )
        case .sortedSet(let members):
            (
                "zset",
                .zset(
                    members.map { ScoredMember(member: $0.member, score: $0.score) }
                        .sorted {
                            $0.score != $1.score
                                ? $0.score < $1.score
                                : $0.member.lexicographicallyPrecedes($1.member)
                        })
            )
        case .stream(let stream): ("stream", .stream(stream.canonical))
        }
    }
}

extension SyntheticStream {
    fileprivate var canonical: StreamState {
        let ids = entries.map { "\($0.id.milliseconds)-\($0.id.sequence)" }
        let group = group.map { group in
            StreamState.Group(
                name: group.name, lastID: ids[group.delivered - 1],
                entriesRead: Int64(group.delivered),
                pending: ids[..<group.delivered].map {
                    StreamState.Pending(id: $0, consumer: group.consumer, deliveryCount: 1)
                },
                consumers: [group.consumer])
        }
        return StreamState(
            entries: zip(ids, entries).map { id, entry in
                StreamState.Entry(id: id, fields: entry.fields.flatMap { [$0.field, $0.value] })
            },
            lastID: ids.last ?? "0-0", maxDeletedID: "0-0", entriesAdded: Int64(entries.count),
            groups: group.map { [$0] } ?? [])
    }
}

import Testing
import Wire

@testable import Replication

/// Lists for the operator are bounded, counts complete.
@Suite struct FindingsTests {
    private func finding(_ kind: Finding.Kind, _ key: String, database: Int = 0) -> Finding {
        Finding(kind: kind, database: database, key: key, command: "SET", reason: "because")
    }

    @Test func eachKindIsBounded() {
        var findings = Findings()
        for index in 0..<(Findings.namesPerKind + 500) {
            findings.add(finding(.failed, "\(index)"))
            findings.add(finding(.repair, "\(index)"))
        }
        findings.add(finding(.skipped, "one"))
        let counts = Dictionary(grouping: findings.list, by: \.kind).mapValues(\.count)
        #expect(
            counts == [.failed: Findings.namesPerKind, .repair: Findings.namesPerKind, .skipped: 1])
        #expect(findings.keysToRepair == Findings.namesPerKind + 500)
        #expect(findings.list.first == finding(.failed, "0"))
    }

    @Test func aKeyIsRepairedOnce() {
        var findings = Findings()
        for _ in 0..<100 {
            findings.add(finding(.repair, "k"))
            findings.add(finding(.repair, "k", database: 1))
            findings.add(finding(.failed, "k"))
        }
        #expect(findings.keysToRepair == 2)
        #expect(findings.list.count { $0.kind == .repair } == 2)
        #expect(findings.list.count { $0.kind == .failed } == 100)
    }

    /// Database 1 with key "0 k" is not database 10 with key " k".
    @Test func databaseAndKeyDoNotRunTogether() {
        var findings = Findings()
        findings.add(finding(.repair, " k", database: 1))
        findings.add(finding(.repair, "k", database: 1))
        findings.add(finding(.repair, "1 k", database: 1))
        findings.add(finding(.repair, "k", database: 11))
        #expect(findings.keysToRepair == 4)
    }

    /// read = applied + filtered + skipped + failed, once nothing is in flight.
    @Test func countsAddUp() {
        var counts = RecordCounts()
        counts.read = 10
        counts.applied = 4
        counts.filtered = 1
        counts.skipped = 2
        counts.failed = 2
        #expect(counts.pending == 1)
        var progress = Progress()
        var flow = FlowProgress()
        flow.snapshotByType[.hash] = counts
        flow.journalByType[.list].read = 2
        flow.journalByType[.generic].read = 3
        flow.journalByType[.list].applied = 2
        flow.journalByType[.generic].applied = 3
        progress.flows = [flow, flow]
        #expect(progress.snapshot.read == 20 && progress.snapshot.pending == 2)
        #expect(progress.snapshot.filtered == 2 && progress.snapshot.failed == 4)
        #expect(progress.journal.applied == 10 && progress.journal.pending == 0)
        #expect(progress.snapshotByType[.hash].read == 20)
        #expect(progress.journalByType[.list].applied == 4)
    }
}

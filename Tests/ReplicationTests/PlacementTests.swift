import Bytes
import TestSupport
import Testing

@testable import Replication

/// Ghost copies are recognised by where a key belongs; nothing is dropped on a mere guess.
@Suite struct PlacementTests {
    private static let seed: UInt64 = 120_577_240_643

    private func home(_ key: String, _ way: ShardPlacement.Way, _ flows: Int) -> Int {
        Array(key.utf8).withByteView { key in
            switch way {
            case .wholeKey: Int(key.xxh64(seed: Self.seed) % UInt64(flows))
            case .hashTag: Int(key.hashTag().xxh64(seed: Self.seed) % UInt64(flows))
            case .slot: key.keySlot() % flows
            }
        }
    }

    private func vote(_ placement: inout ShardPlacement, _ key: String, _ flow: Int) {
        Array(key.utf8).withByteView { placement.vote($0, flow: flow) }
    }

    private func verdict(
        _ placement: ShardPlacement, _ key: String, _ flow: Int
    ) -> ShardPlacement.Verdict {
        Array(key.utf8).withByteView { placement.verdict($0, flow: flow) }
    }

    /// Half of the keys with a tag.
    private func key(_ index: Int) -> String {
        index % 2 == 0 ? "key:\(index)" : "{tag\(index % 50)}:\(index)"
    }

    @Test(arguments: ShardPlacement.Way.allCases, [2, 3, 16])
    func theWayIsFound(_ way: ShardPlacement.Way, _ flows: Int) {
        var placement = ShardPlacement(flowCount: flows)
        #expect(placement.wantsVotes)
        #expect(verdict(placement, "any", 0) == .unknown)
        for index in 0..<200 { vote(&placement, key(index), home(key(index), way, flows)) }
        #expect(ShardPlacement.Way.allCases.filter { placement.isBelieved($0) } == [way])
        for index in 1000..<1200 {
            for flow in 0..<flows {
                let isHome = home(key(index), way, flows) == flow
                #expect(verdict(placement, key(index), flow) == (isHome ? .home : .elsewhere))
            }
        }
    }

    @Test func nothingIsBelievedTooEarly() {
        var placement = ShardPlacement(flowCount: 4)
        for index in 0..<15 { vote(&placement, key(index), home(key(index), .wholeKey, 4)) }
        #expect(!placement.isBelieved(.wholeKey))
        vote(&placement, key(15), home(key(15), .wholeKey, 4))
        #expect(placement.isBelieved(.wholeKey))
    }

    /// A few ghosts among the voters do not change the result.
    @Test func ghostsDoNotMislead() {
        var placement = ShardPlacement(flowCount: 4)
        for index in 0..<500 {
            let own = home(key(index), .hashTag, 4)
            vote(&placement, key(index), index % 20 == 7 ? (own + 1) % 4 : own)
        }
        #expect(placement.isBelieved(.hashTag))
    }

    /// With --shard_round_robin_prefix keys lie anywhere: then nobody is a ghost.
    @Test func roundRobinIsBelievedNothing() {
        for flows in [2, 3, 8] {
            var placement = ShardPlacement(flowCount: flows)
            for index in 0..<1000 { vote(&placement, key(index), index % flows) }
            for flow in 0..<flows { #expect(verdict(placement, "any", flow) == .unknown) }
        }
    }

    @Test func votingEnds() {
        var placement = ShardPlacement(flowCount: 2)
        var votes = 0
        while placement.wantsVotes {
            vote(&placement, "key", 1)
            votes += 1
        }
        #expect(votes == 1024)
        #expect(!ShardPlacement(flowCount: 1).wantsVotes)
    }

    @Test func oneFlowIsHomeForAll() {
        #expect(verdict(ShardPlacement(flowCount: 1), "any", 0) == .home)
    }

    /// While no voter had a tag, whole keys and tags explain everything alike: a key with a tag may be
    /// at home by either.
    @Test(arguments: [ShardPlacement.Way.wholeKey, .hashTag])
    func openQuestionsDropNothing(_ way: ShardPlacement.Way) {
        var placement = ShardPlacement(flowCount: 4)
        for index in 0..<1024 {
            let key = "key:\(index)"
            vote(&placement, key, home(key, way, 4))
        }
        for index in 0..<200 {
            let key = "{user}:\(index)"
            #expect(verdict(placement, key, home(key, way, 4)) == .home, "\(key)")
            for flow in 0..<4
            where home(key, .wholeKey, 4) != flow && home(key, .hashTag, 4) != flow {
                #expect(verdict(placement, key, flow) == .elsewhere)
            }
        }
    }
}

/// A pop that may stand for more is reported, unless its push turns up (protocol.md 6.8).
@Suite struct PopWatchTests {
    private final class Reports {
        var keys: [String] = []
        func add(_ finding: Finding) {
            #expect(finding.kind == .repair)
            keys.append("\(finding.database) \(finding.key)")
        }
    }

    private func pop(
        _ watch: inout PopWatch, _ transaction: UInt64, _ key: String, now: Int64 = 0,
        _ reports: Reports
    ) {
        Array(key.utf8).withByteView {
            watch.popped(transaction, database: 2, key: $0, now: now, report: reports.add)
        }
    }

    @Test func aMoveIsNoLoss() {
        var watch = PopWatch()
        let reports = Reports()
        // On one flow the pop comes first, between two either may.
        pop(&watch, 5, "src", reports)
        watch.pushed(5)
        watch.pushed(6)
        pop(&watch, 6, "src", reports)
        watch.tick(1_000_000, report: reports.add)
        watch.finish(report: reports.add)
        #expect(reports.keys == [])
    }

    @Test func aPopAloneIsReportedInTime() {
        var watch = PopWatch()
        let reports = Reports()
        pop(&watch, 5, "list", now: 1000, reports)
        pop(&watch, 6, "later", now: 2500, reports)
        watch.tick(3000, report: reports.add)
        #expect(reports.keys == [])
        watch.tick(3001, report: reports.add)
        #expect(reports.keys == ["2 list"])
        watch.finish(report: reports.add)
        watch.finish(report: reports.add)
        #expect(reports.keys == ["2 list", "2 later"])
    }

    @Test func otherTransactionsExplainNothing() {
        var watch = PopWatch()
        let reports = Reports()
        pop(&watch, 5, "list", reports)
        watch.pushed(4)
        watch.pushed(6)
        watch.finish(report: reports.add)
        #expect(reports.keys == ["2 list"])
    }

    /// However many wait, memory is fixed and none is forgotten.
    @Test func manyAreAllReported() {
        var watch = PopWatch()
        let reports = Reports()
        for index in 1...1000 { pop(&watch, UInt64(index), "list:\(index)", reports) }
        watch.finish(report: reports.add)
        #expect(reports.keys == (1...1000).map { "2 list:\($0)" })
    }
}

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
        flow.snapshot = counts
        flow.journal.read = 5
        flow.journal.applied = 5
        progress.flows = [flow, flow]
        #expect(progress.snapshot.read == 20 && progress.snapshot.pending == 2)
        #expect(progress.snapshot.filtered == 2 && progress.snapshot.failed == 4)
        #expect(progress.journal.applied == 10 && progress.journal.pending == 0)
    }
}

import Bytes
import Testing

@testable import Replication

/// A pop that may stand for more is reported, unless its push turns up (protocol.md 6.8).
@Suite struct PopWatchTests {
    private final class Reports {
        var keys: [String] = []
        func add(_ suspect: PopWatch.Suspect) {
            #expect(suspect.flow == 3)
            keys.append("\(suspect.database) \(String(decoding: suspect.key, as: UTF8.self))")
        }
    }

    private func pop(
        _ watch: inout PopWatch, _ transaction: UInt64, _ key: String, now: Int64 = 0,
        _ reports: Reports
    ) {
        Array(key.utf8).withByteView {
            watch.popped(
                transaction, database: 2, key: $0, flow: 3, now: now, report: reports.add)
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

    /// Flows are handled a turn at a time, so thousands of pops may come before their pushes, or after.
    @Test func flowsMayBeATurnApart() {
        var watch = PopWatch()
        let reports = Reports()
        for index in 1...20_000 { pop(&watch, UInt64(index), "src", reports) }
        for index in 1...20_000 { watch.pushed(UInt64(index)) }
        for index in 20_001...40_000 { watch.pushed(UInt64(index)) }
        for index in 20_001...40_000 { pop(&watch, UInt64(index), "src", reports) }
        watch.finish(report: reports.add)
        #expect(reports.keys == [])
    }

    /// However many wait, memory is bounded and none is forgotten.
    @Test func manyAreAllReported() {
        var watch = PopWatch()
        let reports = Reports()
        for index in 1...50_000 {
            pop(&watch, UInt64((index + 1) / 2), "list:\(index)", now: Int64(index), reports)
        }
        #expect(!reports.keys.isEmpty)
        watch.finish(report: reports.add)
        #expect(reports.keys.count == 50_000)
        #expect(Set(reports.keys).count == 50_000)
    }
}

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

    @Test func aMoveIsNoLoss() throws {
        var watch = try PopWatch()
        let reports = Reports()
        // On one flow the pop comes first, between two either may.
        pop(&watch, 5, "src", reports)
        watch.passed(5, isPush: true)
        watch.passed(6, isPush: true)
        pop(&watch, 6, "src", reports)
        watch.tick(1_000_000, report: reports.add)
        watch.finish(report: reports.add)
        #expect(reports.keys == [])
    }

    @Test func aPopAloneIsReportedInTime() throws {
        var watch = try PopWatch()
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

    @Test func otherTransactionsExplainNothing() throws {
        var watch = try PopWatch()
        let reports = Reports()
        pop(&watch, 5, "list", reports)
        watch.passed(4, isPush: true)
        watch.passed(6, isPush: true)
        watch.finish(report: reports.add)
        #expect(reports.keys == ["2 list"])
    }

    /// Within a larger transaction a push may be another command's.
    @Test func morePopsPushesOrOthersExplainNothing() throws {
        var watch = try PopWatch()
        let reports = Reports()
        pop(&watch, 5, "two pushes", reports)
        watch.passed(5, isPush: true)
        watch.passed(5, isPush: true)
        watch.passed(6, isPush: false)
        pop(&watch, 6, "and another", reports)
        watch.passed(6, isPush: true)
        pop(&watch, 7, "one", reports)
        pop(&watch, 7, "two", reports)
        watch.passed(7, isPush: true)
        watch.finish(report: reports.add)
        #expect(reports.keys == ["2 two pushes", "2 and another", "2 one", "2 two"])
    }

    /// Flows are handled a turn at a time, so thousands of pops may come before their pushes, or after.
    @Test func flowsMayBeATurnApart() throws {
        var watch = try PopWatch()
        let reports = Reports()
        for index in 1...20_000 { pop(&watch, UInt64(index), "src", reports) }
        for index in 1...20_000 { watch.passed(UInt64(index), isPush: true) }
        for index in 20_001...40_000 { watch.passed(UInt64(index), isPush: true) }
        for index in 20_001...40_000 { pop(&watch, UInt64(index), "src", reports) }
        watch.finish(report: reports.add)
        #expect(reports.keys == [])
    }

    /// Until it is judged, what is made of the list may lack something, or have too much.
    @Test func theKeyIsInDoubtUntilItIsJudged() throws {
        var watch = try PopWatch()
        let reports = Reports()
        func isInDoubt(_ watch: borrowing PopWatch, _ key: String, _ database: Int = 2) -> Bool {
            Array(key.utf8).withByteView { watch.isWaiting(for: $0, database: database) }
        }
        pop(&watch, 5, "list", now: 1000, reports)
        pop(&watch, 6, "list", now: 2000, reports)
        let doubts = [isInDoubt(watch, "list"), isInDoubt(watch, "list", 1), isInDoubt(watch, "x")]
        #expect(doubts == [true, false, false])
        watch.tick(3001, report: reports.add)
        let oneIsLeft = isInDoubt(watch, "list")
        #expect(oneIsLeft)
        watch.passed(6, isPush: true)
        watch.tick(4001, report: reports.add)
        let noneIsLeft = !isInDoubt(watch, "list")
        #expect(noneIsLeft)
        #expect(reports.keys == ["2 list"])
    }

    /// However many wait, memory is bounded and none is forgotten.
    @Test func manyAreAllReported() throws {
        var watch = try PopWatch()
        let reports = Reports()
        for index in 1...300_000 {
            pop(&watch, UInt64((index + 1) / 2), "list:\(index)", now: Int64(index), reports)
        }
        #expect(!reports.keys.isEmpty)
        watch.finish(report: reports.add)
        #expect(reports.keys.count == 300_000)
        #expect(Set(reports.keys).count == 300_000)
    }
}

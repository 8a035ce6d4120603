import RedisTarget
import Testing

@testable import Replication

/// Stream commands whose result is settled pass, others lead to a repair (protocol.md 6.6).
@Suite struct JournalStreamTests {
    private func expect(_ rows: [RecordRow]) throws {
        try RecordRow.expect(rows, on: WriterBench())
    }

    @Test func xaddNeedsAFinalID() throws {
        try expect([
            .same("XADD k 1-1 f v"), .same("XADD k MINID 3-0 NOMKSTREAM 1-1 f v"),
            .same("XADD k NOMKSTREAM MINID 3-0 1-1 f v"), .same("XADD k MAXLEN 0 1-1 f v"),
            .same("XADD k maxlen = 5 7 f *"), .same("XADD k 1-1 * *"),
            RecordRow("XADD k * f v", .repair("")), RecordRow("XADD k 5-* f v", .repair("")),
            .repaired("XADD k MAXLEN ~ 100 LIMIT 10 * f v"), .repaired("XADD k MAXLEN ~ 9 1-1 f v"),
            .repaired("XADD k MINID ~ 5 1-1 f v"), .same("XADD k MAXLEN = 9 1-1 f v"),
            .same("XADD k MAXLEN 9 1-1 f v"), .same("XADD k 1-1 ~ LIMIT"),
            RecordRow("XADD k NOMKSTREAM * f v", .repair("")), RecordRow("XADD k", .repair("")),
            RecordRow("XADD k MAXLEN", .repair("")), RecordRow("XADD", .repair("")),
        ])
    }

    /// Where approximate trimming ends depends on the source's nodes.
    @Test func roughTrimmingIsRepaired() throws {
        try expect([
            .same("XTRIM k MINID 3"), .same("XTRIM k MAXLEN 0"), .same("XTRIM k MAXLEN = 5"),
            .repaired("XTRIM k MAXLEN ~ 5"), .repaired("XTRIM k MINID ~ 5 LIMIT 10"),
            .repaired("XTRIM k MAXLEN"),
        ])
    }

    @Test func claimsByIdleTimeAreRepaired() throws {
        try expect([
            .same("XCLAIM k g c 0 1-1 TIME 5 RETRYCOUNT 1 FORCE JUSTID LASTID 1-1"),
            .same("XAUTOCLAIM k g c 0 0-0"), .same("XCLAIM k g c 0 1-1"),
            .repaired("XCLAIM k g c 5000 1-1"), .repaired("XAUTOCLAIM k g c 5000 0-0 COUNT 10"),
            .repaired("XCLAIM k g c soon 1-1"), .repaired("XCLAIM k g"),
        ])
    }

    /// Redis 6 has no counts of entries; what Dragonfly says of them is left out there.
    @Test func entriesReadIsForThoseWhoKnowIt() throws {
        let rows = [
            ("XGROUP CREATE k g $ MKSTREAM", "XGROUP CREATE k g $ MKSTREAM"),
            ("XGROUP SETID k g 5-0 ENTRIESREAD 7", "XGROUP SETID k g 5-0"),
            ("XGROUP CREATE k g 0 entriesread 7 MKSTREAM", "XGROUP CREATE k g 0 MKSTREAM"),
            ("XGROUP CREATE k ENTRIESREAD 0", "XGROUP CREATE k ENTRIESREAD 0"),
            ("XGROUP DESTROY k g", "XGROUP DESTROY k g"),
            ("XSETID k 9-9 ENTRIESADDED 5 MAXDELETEDID 1-1", "XSETID k 9-9"),
            ("XSETID k 9-9", "XSETID k 9-9"),
        ]
        try expect(rows.map { .same($0.0) })
        try RecordRow.expect(
            rows.map { RecordRow($0.0, .sent, $0.1) },
            on: WriterBench(version: TargetVersion(major: 6, minor: 2)))
    }
}

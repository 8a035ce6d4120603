import Foundation
import Operations
import Replication
import Testing

@testable import df2redis

/// The end of a run tells everything that happened, by name where a name is needed.
struct SummaryTests {
    @Test func migrateDone() {
        let text = Summary.text(SampleReports.outcome(SampleReports.finished(skipped: 7)))
        #expect(
            text == """
                df2redis migrate: done, nothing failed

                source  127.0.0.1:6379  df-v1.40.0  id 0123abcd
                target  [::1]:6380  redis 7.0.15
                time    1:15, read 0 B, sent 0 B

                records                    read      applied     filtered      skipped     repaired\
                       failed
                snapshot                  2,000        1,993            0            7            0\
                            0
                journal                     200          200            0            0            0\
                            0

                snapshot by type           read      applied     filtered      skipped     repaired\
                       failed
                string                    1,500        1,500            0            0            0\
                            0
                json                        500          493            0            7            0\
                            0

                journal by type            read      applied     filtered      skipped     repaired\
                       failed
                generic                     200          200            0            0            0\
                            0

                LSN by flow (the next record's)
                  0: 101  1: 102
                Writes made on the source after these positions are NOT included.

                skipped: 7
                  their names were not kept

                """)
    }

    @Test func replicateDoesNotSpeakOfLaterWrites() {
        let text = Summary.text(SampleReports.outcome(SampleReports.finished(), mode: .replicate))
        #expect(!text.contains("NOT included"))
    }

    /// Failures are listed by database, key, command and reply, and cannot move the cursor.
    @Test func findings() {
        let progress = SampleReports.finished(failed: 25, repair: 3)
        let text = Summary.text(SampleReports.outcome(progress, stateDirectory: "/var/state"))
        #expect(text.contains("not applied: 25\n"))
        #expect(text.contains(#"  db 3  key\x1b[2J\n0  SET  -OOM command not allowed"#))
        #expect(text.components(separatedBy: "  db 3  ").count - 1 == Summary.namesLimit)
        #expect(text.contains("  and 5 more; 25 are named in /var/state/report.json\n"))
        #expect(text.contains("keys to repair, they may differ: 3\n"))
        #expect(text.contains("  db 0  list:2  LMPOP  the record lost its COUNT\n"))
        #expect(text.hasSuffix("\nreport: /var/state/report.json\n"))
        #expect(!text.contains("\u{1B}"))
        let plain = Summary.text(SampleReports.outcome(progress))
        #expect(plain.contains("  and 5 more; --state-dir DIR keeps a list\n"))
    }

    /// A report that could not be written is not referred to, and the run did not succeed.
    @Test func reportNotWritten() {
        var outcome = SampleReports.outcome(
            SampleReports.finished(failed: 25), stateDirectory: "/var/state")
        outcome.canWriteReport = false
        #expect(!Summary.text(outcome).contains("report.json"))
        outcome.report.progress = SampleReports.finished()
        #expect(outcome.exitStatus == 1)
    }

    @Test func losses() {
        var progress = SampleReports.finished()
        progress.ghostKeys = 3
        progress.memberExpiriesDropped = 4
        progress.elementsRemoved = 5
        progress.elementsOpen = 6
        progress.jsonTextsWritten = 7
        progress.memcachedFlagsDropped = 8
        let text = Summary.text(SampleReports.outcome(progress))
        #expect(text.contains("3  ghost keys dropped"))
        #expect(text.contains("4  expiries of single fields or members dropped"))
        #expect(text.contains("5  fields or members removed when they expired"))
        #expect(text.contains("6  fields or members still to be removed when they expire"))
        #expect(text.contains("7  JSON values written as strings"))
        #expect(text.contains("8  memcached flags dropped"))
        #expect(!text.contains("sticky"))
    }

    /// A run that never began has nothing to count.
    @Test func neverStarted() {
        let error = RunError(.unreachable, "cannot connect to 127.0.0.1:6379")
        let text = Summary.text(SampleReports.outcome(Progress(), error: error))
        #expect(text.hasPrefix("df2redis migrate: ended early: cannot connect"))
        #expect(!text.contains("records"))
    }

    /// The report is JSON that any reader takes, whole, versioned and without secrets.
    @Test func report() throws {
        let progress = SampleReports.finished(failed: 25, repair: 1, skipped: 2)
        let outcome = SampleReports.outcome(progress, stopped: false)
        for text in [outcome.json.compactText, outcome.json.indentedText] {
            #expect(!text.contains("hunter2"))
            let object = try #require(
                JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
            #expect(object["version"] as? Int == 2)
            #expect(object["exitCode"] as? Int == 1)
            #expect(object["laterWritesIncluded"] as? Bool == false)
            #expect(object["lsn"] as? [Int] == [101, 102])
            let snapshot = try #require(object["snapshot"] as? [String: Int])
            #expect(
                snapshot == [
                    "read": 2000, "applied": 1973, "filtered": 0, "skipped": 2, "repaired": 0,
                    "failed": 25, "pending": 0,
                ])
            let findings = try #require(object["findings"] as? [[String: Any]])
            #expect(findings.count == 26)
            #expect(findings[0]["key"] as? String == "key\u{1B}[2J\n0")
            let types = try #require(object["types"] as? [[String: Any]])
            #expect(types.map { $0["type"] as? String } == ["string", "json", "generic"])
            let strings = try #require(types[0]["snapshot"] as? [String: Int])
            #expect(strings["read"] == 1500 && strings["failed"] == 25)
            #expect((object["flows"] as? [Any])?.count == 2)
        }
        #expect(!outcome.json.compactText.contains("\n"))
    }

    @Test func jsonText() throws {
        let value = JSONValue.object([
            (
                "a\"\\\n\t\u{1}\u{7F}\u{2028}ä\u{1F600}",
                .array([.null, .boolean(true), .array([])])
            ),
            ("n", .array([.integer(-1), .unsigned(.max), .number(1.5), .number(.infinity)])),
            ("o", .object([])),
        ])
        #expect(
            value.compactText
                == #"{"a\"\\\n\t\u0001\u007f\u2028ä"# + "\u{1F600}"
                + #"":[null,true,[]],"n":[-1,18446744073709551615,1.5,null],"o":{}}"#)
        let read = try JSONSerialization.jsonObject(with: Data(value.indentedText.utf8))
        #expect((read as? [String: Any])?.keys.contains("n") == true)
    }
}

import Bytes
import Foundation
import TestSupport
import Testing

@testable import DragonflySource

/// What is known to be wrong with a release is told for that release, and for no other.
@Suite struct KnownReleasesTests {
    private func names(_ text: String, _ settings: [String: String] = [:]) -> Set<String> {
        let release = Array(text.utf8).withByteView { SourceRelease($0) }
        return Set(KnownReleases.problems(of: release, settings: settings).map(\.name))
    }

    /// Each row at both ends of its range: a release before it, its first, its last, and one after;
    /// empty where there is none.
    @Test(arguments: [
        ("too-old", "", "df-v1.0.0", "df-v1.19.2", "df-v1.20.0"),
        ("not-point-in-time", "df-v1.31.2", "df-v1.32.0", "df-v1.37.2", "df-v1.38.0"),
        ("omitted-writes", "df-v1.38.2", "df-v1.39.0", "df-v1.40.1", ""),
        ("double-apply", "df-v1.20.1", "df-v1.21.0", "df-v1.38.1", "df-v1.38.2"),
        ("past-expiry", "", "df-v1.0.0", "df-v1.40.1", "df-v1.40.2"),
        ("unjournaled-fields", "", "df-v1.0.0", "df-v1.39.0", "df-v1.40.0"),
        ("cancel-deadlock", "", "df-v1.0.0", "df-v1.22.2", "df-v1.23.0"),
        ("short-patience", "", "df-v1.0.0", "df-v1.21.2", "df-v1.22.0"),
        ("cache-mode-race", "", "df-v1.0.0", "df-v1.31.2", "df-v1.32.0"),
        ("abrupt-end", "", "df-v1.0.0", "df-v1.36.0", "df-v1.37.0"),
        ("xread-crash", "df-v1.36.0", "df-v1.37.0", "df-v1.37.2", "df-v1.38.0"),
        ("unsettled-xadd", "", "df-v1.0.0", "df-v1.26.4", "df-v1.27.0"),
        ("unjournaled-groups", "", "df-v1.0.0", "df-v1.36.0", "df-v1.37.0"),
    ])
    func rowHoldsInItsRange(
        _ name: String, _ before: String, _ first: String, _ last: String, _ after: String
    ) {
        // So that conditions hold.
        let settings = ["point_in_time_snapshot": "false", "cache_mode": "cache"]
        #expect(names(first, settings).contains(name))
        #expect(names(last, settings).contains(name))
        for release in [before, after] where !release.isEmpty {
            #expect(!names(release, settings).contains(name), "\(release)")
        }
        if after.isEmpty { #expect(names("df-v2.0.0", settings).contains(name)) }
    }

    /// The rows above are all there are.
    @Test func everyRowIsTested() throws {
        #expect(KnownReleases.table.count == 13)
        #expect(Set(KnownReleases.table.map(\.name)).count == KnownReleases.table.count)
    }

    @Test func settingsDecide() {
        let omitted = "journal_omit_redundant_writes"
        #expect(names("df-v1.40.0").contains("omitted-writes"))
        #expect(names("df-v1.40.0", [omitted: "true"]).contains("omitted-writes"))
        #expect(!names("df-v1.40.0", [omitted: "false"]).contains("omitted-writes"))
        let exact = "point_in_time_snapshot"
        #expect(!names("df-v1.35.1").contains("not-point-in-time"))
        #expect(!names("df-v1.35.1", [exact: "true"]).contains("not-point-in-time"))
        #expect(names("df-v1.35.1", [exact: "false"]).contains("not-point-in-time"))
        #expect(!names("df-v1.30.3").contains("cache-mode-race"))
        #expect(!names("df-v1.30.3", ["cache_mode": "store"]).contains("cache-mode-race"))
    }

    @Test func unknownReleaseIsSaid() {
        #expect(names("") == ["unknown-release"])
        #expect(names("v2") == ["unknown-release"])
    }

    /// A build after a release counts as that release: what it has of the next one cannot be known.
    @Test func buildsCountAsTheirRelease() {
        #expect(names("df-v1.38.1-20-g1234567").contains("double-apply"))
        #expect(names("df-v1.40.0-87-gf8eca6d0b").contains("past-expiry"))
    }

    @Test func weightiestComeFirst() {
        let problems = KnownReleases.problems(
            of: SourceRelease(major: 1, minor: 10), settings: [:])
        let order = problems.map { KnownProblem.Weight.allCases.firstIndex(of: $0.weight) ?? -1 }
        #expect(order == order.sorted() && problems.first?.weight == .refused)
    }

    /// The operator reads the guide; it has the same rows.
    @Test func guideHasTheTable() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let path = root.appendingPathComponent("docs/guides/source-releases.md")
        let guide = try String(contentsOf: path, encoding: .utf8)
        for row in KnownReleases.table + [KnownReleases.unknownRelease] {
            let range = row.name == "unknown-release" ? "unknown" : row.range
            let setting = row.condition.map { " (`\($0.setting)` is `\($0.value)`)" } ?? ""
            let line =
                "| `\(row.name)` | \(row.weight.rawValue) | \(range)\(setting)"
                + " | \(row.problem) | \(row.advice) |"
            #expect(guide.contains(line), "wanted: \(line)")
        }
    }
}

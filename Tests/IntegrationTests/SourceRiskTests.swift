import DragonflySimulator
import Foundation
import TestSupport
import Testing

/// What is known to be wrong with a release is said before the run and stands in its report; where
/// the target would very likely differ, nothing is written unless the operator accepts that.
@Suite struct SourceRiskTests {
    private func run(_ options: EmulationOptions, _ arguments: [String] = []) throws -> RecordedRun
    {
        try RecordedRun("migrate", source: .emulated(options), arguments: arguments) {
            try $0.execute("SET k v", database: 0)
        }
    }

    @Test(arguments: [
        (
            EmulatedRelease.v1_20,
            [
                "past-expiry", "unjournaled-fields", "cancel-deadlock",
                "short-patience", "abrupt-end", "unsettled-xadd", "unjournaled-groups",
            ]
        ),
        (
            .v1_30,
            [
                "double-apply", "past-expiry", "unjournaled-fields", "abrupt-end",
                "unjournaled-groups",
            ]
        ),
        (
            .v1_35,
            [
                "double-apply", "past-expiry", "unjournaled-fields", "abrupt-end",
                "unjournaled-groups",
            ]
        ),
        (.v1_40, ["omitted-writes", "past-expiry"]),
        (.newest, ["omitted-writes", "past-expiry"]),
    ])
    func eachReleaseHasItsRisks(_ release: EmulatedRelease, _ names: [String]) throws {
        let run = try run(EmulationOptions(release: release))
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 0, "\(outcome)")
        let risks = try run.report().sourceRisks
        #expect(risks.map(\.name) == names)
        for risk in risks {
            #expect(outcome.standardError.contains(risk.problem), "\(risk)")
            #expect(outcome.standardError.contains(risk.advice), "\(risk)")
            #expect(outcome.standardOutput.contains(risk.problem) == (risk.weight == "loss"))
        }
        #expect(run.complaints == [])
    }

    @Test func certainLossIsRefusedUnlessAccepted() throws {
        var options = EmulationOptions(release: .v1_35)
        options.isPointInTime = false
        let refused = try run(options)
        let outcome = try refused.waitForEnd()
        #expect(outcome.exitCode == 4, "\(outcome)")
        #expect(outcome.standardError.contains("CONFIG SET point_in_time_snapshot true"))
        #expect(outcome.standardError.contains("--accept-source-risk"))
        #expect(try refused.targetState().isEmpty)
        #expect(refused.source.sessionCount == 0 && refused.complaints == [])

        let accepted = try run(options, ["--accept-source-risk"])
        let end = try accepted.waitForEnd()
        #expect(end.exitCode == 0, "\(end)")
        #expect(try accepted.report().sourceRisks.first?.name == "not-point-in-time")
        #expect(end.standardOutput.contains("not-point-in-time"))
        #expect(try accepted.targetState().count == 1)
    }

    /// Before v1.20, and in the last release whose JSON has another type code.
    @Test func oldReleasesAreRefused() throws {
        for release in ["df-v1.14.1", "df-v1.19.2"] {
            let source = try MadeSource([], release: release)
            let refused = try RecordedRun("migrate", source: source.source)
            let outcome = try refused.waitForEnd()
            #expect(outcome.exitCode == 4 && outcome.standardError.contains("v1.20"), "\(outcome)")
            let accepted = try RecordedRun(
                "migrate", source: source.source, arguments: ["--accept-source-risk"])
            #expect(try accepted.waitForEnd().exitCode == 0)
            #expect(try accepted.report().sourceRisks.first?.name == "too-old")
        }
    }

    /// A rehearsal says and refuses the same.
    @Test func rehearsalTellsThem() throws {
        var options = EmulationOptions(release: .v1_35)
        for (isPointInTime, exitCode) in [(true, 0), (false, 4)] as [(Bool, Int32)] {
            options.isPointInTime = isPointInTime
            let run = try run(options, ["--dry-run"])
            let outcome = try run.waitForEnd()
            #expect(outcome.exitCode == exitCode, "\(outcome)")
            let text = outcome.standardOutput + outcome.standardError
            #expect(text.contains(isPointInTime ? "can arrive twice" : "point_in_time_snapshot"))
        }
    }
}

import DragonflySimulator
import Foundation
import Operations
import TestSupport
import Testing

/// The commands that ask a run do what they say, and never harm it.
@Suite(.serialized) struct ControlTests {
    private static func emulated() -> SimulatorSource {
        .emulated(EmulationOptions(release: .newest, flowCount: 3))
    }

    private static func fill(_ source: SimulatorServer, _ keys: Range<Int>) throws {
        for number in keys { try source.execute("SET k:\(number) v\(number)") }
    }

    private static func isStable(_ status: JSONValue) -> Bool {
        status["phase"]?.text == "stable sync"
    }

    private func compare(_ run: RecordedRun) throws {
        let comparison = StateComparison(
            expected: try StateReader(RespClient(port: run.source.redisPort)).read(),
            actual: try run.targetState())
        #expect(comparison.differences == [])
        #expect(comparison.keysCompared > 0)
        #expect(run.complaints == [])
    }

    /// Paused, nothing is written and the source is not lost; resumed, everything comes.
    @Test func pauseAndResume() throws {
        let run = try RecordedRun(
            "replicate", source: Self.emulated(), beforeStart: { try Self.fill($0, 0..<100) })
        try run.waitForStatus("stable sync", Self.isStable)
        try run.waitUntilAcknowledged()
        let pause = try run.command("pause")
        #expect(pause.exitCode == 0 && pause.standardOutput.contains("resume"), "\(pause)")
        try run.waitForStatus("pause") { $0["paused"]?.flag == true }
        try Self.fill(run.source, 100..<3000)
        // Longer than one PING takes to be answered.
        sleep(6)
        let status = try run.ask("status")
        #expect(Self.isStable(status) && status["waitsFor"]?.text == "paused")
        #expect(try run.target.client().call("DBSIZE") == .integer(100))
        #expect(try run.command("resume").exitCode == 0)
        try run.waitUntilAcknowledged()
        // Its end, by command, is a good one.
        let stop = try run.command("stop")
        #expect(stop.exitCode == 0, "\(stop)")
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 0, "\(outcome)")
        #expect(outcome.standardOutput.contains("stopped by command, nothing failed"))
        try compare(run)
    }

    /// A paused run can be stopped; it does not wait for `resume`.
    @Test func pausedRunStops() throws {
        let run = try RecordedRun(
            "replicate", source: Self.emulated(), beforeStart: { try Self.fill($0, 0..<2000) })
        try run.waitForStatus("any") { _ in true }
        try run.ask("pause")
        try run.ask("stop")
        _ = try run.waitForEnd(timeoutSeconds: 20)
        #expect(run.complaints == [])
    }

    /// A key that somebody broke on the target is written again.
    @Test func repair() throws {
        let run = try RecordedRun(
            "replicate", source: Self.emulated(), beforeStart: { try Self.fill($0, 0..<500) })
        try run.source.execute([Array("SET".utf8), [0xFF, 0x20], Array("v".utf8)])
        try run.waitForStatus("stable sync", Self.isStable)
        try run.waitUntilAcknowledged()
        let client = try run.target.client()
        try client.call("SET", "k:7", "broken")
        try client.call("DEL", "k:8")
        try client.call("SET", "k:9000", "not on the source")
        try client.command([Array("DEL".utf8), [0xFF, 0x20]])
        for key in ["k:7", "k:8", "k:9000", #"\xff\x20"#] {
            let outcome = try run.command("repair", key)
            #expect(outcome.exitCode == 0, "\(outcome)")
        }
        try run.waitForStatus("repairs") { $0["keysRepaired"]?.wholeNumber == 4 }
        let wrong = try run.command("repair", #"a\b"#)
        #expect(wrong.exitCode == 4 && wrong.standardError.contains("backslash"), "\(wrong)")
        run.interrupt()
        #expect(try run.waitForEnd().exitCode == 143)
        try compare(run)
    }

    /// A key that is not carried over, or that the target keeps, is named instead.
    @Test func repairOfWhatIsLeftAlone() throws {
        let folder = try TemporaryDirectory()
        let configuration = folder.file("configuration.yaml")
        try "filter: {exclude: {prefixes: [\"other:\"]}}\n".write(
            toFile: configuration, atomically: true, encoding: .utf8)
        let run = try RecordedRun(
            "replicate", source: Self.emulated(),
            arguments: ["--config", configuration, "--conflict", "skip"],
            beforeStart: { try Self.fill($0, 0..<500) },
            prepare: { _, target, _ in try target.client().call("SET", "k:7", "theirs") })
        try run.waitForStatus("stable sync", Self.isStable)
        for key in ["k:7", "other:1"] {
            let outcome = try run.command("repair", key)
            #expect(outcome.exitCode == 0, "\(outcome)")
        }
        try run.ask("status")
        run.interrupt()
        #expect(try run.waitForEnd().exitCode == 143)
        let named = try run.report().findings.filter { $0.command == "repair" }
        #expect(Set(named.map(\.key)) == ["k:7", "other:1"])
        #expect(named.allSatisfy { $0.kind == "skipped" })
        #expect(try run.target.client().call("GET", "k:7").text == "theirs")
        #expect(run.complaints == [])
    }

    @Test func statusForPeopleAndPrograms() throws {
        let run = try RecordedRun(
            "replicate", source: Self.emulated(), beforeStart: { try Self.fill($0, 0..<500) })
        try run.waitForStatus("stable sync", Self.isStable)
        try run.waitUntilAcknowledged()
        let text = try run.command("status")
        #expect(text.exitCode == 0, "\(text)")
        for part in [
            "stable sync", "all       snapshot read 500, applied 500\n",
            "string    snapshot read 500, applied 500\n", "flow 2    stable, LSN ",
        ] {
            #expect(text.standardOutput.contains(part), "\(text)")
        }
        let json = try run.command("status", "--json")
        let object =
            try JSONSerialization.jsonObject(with: Data(json.standardOutput.utf8))
            as? [String: Any]
        #expect(object?["version"] as? Int == 1)
        let flows = object?["flows"] as? [[String: Any]]
        #expect(flows?.count == 3)
        let sums = try #require(flows).map { flow in
            let types = flow["types"] as? [[String: Any]]
            return (types?.first?["snapshot"] as? [String: Any])?["applied"] as? Int ?? 0
        }
        #expect(sums.reduce(0, +) == 500 && !sums.contains(0), "\(sums)")
        #expect(object?["command"] as? String == "replicate")
        // Nothing that was asked is an error to the run.
        run.interrupt()
        #expect(try run.waitForEnd().exitCode == 143)
    }

    /// A second run with the same state directory is refused and does the first one no harm; a dead
    /// one's socket is replaced.
    @Test func oneRunForAStateDirectory() throws {
        let run = try RecordedRun(
            "replicate", source: Self.emulated(), beforeStart: { try Self.fill($0, 0..<100) })
        try run.waitForStatus("stable sync", Self.isStable)
        let second = try BuiltProgram.df2redis.run([
            "replicate", "--source", "127.0.0.1:\(run.source.port)",
            "--target", "127.0.0.1:\(run.target.port)", "--state-dir", run.stateDirectoryPath,
        ])
        #expect(second.exitCode == 2, "\(second)")
        #expect(second.standardError.contains("another df2redis runs"), "\(second)")
        #expect(run.source.sessionCount == 1)
        try run.waitForStatus("stable sync", Self.isStable)
        run.interrupt(with: SIGKILL)
        _ = try run.waitForEnd()
        let dead = try run.command("status")
        #expect(dead.exitCode == 3 && dead.standardError.contains("has died"), "\(dead)")
        let third = try BuiltProgram.df2redis.run([
            "migrate", "--source", "127.0.0.1:\(run.source.port)",
            "--target", "127.0.0.1:\(run.target.port)", "--state-dir", run.stateDirectoryPath,
        ])
        #expect(third.exitCode == 0, "\(third)")
        let gone = try run.command("status")
        #expect(gone.exitCode == 3 && gone.standardError.contains("no run has"), "\(gone)")
    }

    @Test func nobodyIsAsked() throws {
        let directory = try TemporaryDirectory()
        for command in ["status", "rate", "pause", "resume", "stop"] {
            let outcome = try BuiltProgram.df2redis.run([command, "--state-dir", directory.path])
            #expect(outcome.exitCode == 3, "\(outcome)")
            #expect(outcome.standardError.contains(directory.path), "\(outcome)")
            let nowhere = try BuiltProgram.df2redis.run([command])
            #expect(nowhere.exitCode == 2, "\(nowhere)")
            #expect(nowhere.standardError.contains("--state-dir"), "\(nowhere)")
        }
    }
}

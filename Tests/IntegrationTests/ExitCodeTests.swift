import DragonflySimulator
import Foundation
import TestSupport
import Testing

/// What a script that calls df2redis relies on: each kind of end has its exit code, and a failure
/// names what failed.
@Suite struct ExitCodeTests {
    private static var recording: SimulatorSource {
        get throws {
            .recording(
                try DragonflySimulator.Recording(folder: TestSupport.Recording("types-lz4").path))
        }
    }

    @Test func wrongPasswordOfTheSourceIsThree() throws {
        var options = SimulatorOptions()
        options.password = "right"
        let source = try SimulatorServer(source: Self.recording, options: options)
        try source.start()
        defer { source.stop() }
        let target = try RedisServer()
        for login in ["", ":wrong@", "user:right@"] {
            let outcome = try BuiltProgram.df2redis.run([
                "migrate", "--source", "redis://\(login)127.0.0.1:\(source.port)",
                "--target", "127.0.0.1:\(target.port)",
            ])
            #expect(outcome.exitCode == 3, "\(login) \(outcome)")
            #expect(outcome.standardError.contains("127.0.0.1:\(source.port)"), "\(outcome)")
            #expect(!outcome.standardError.contains("wrong@"))
        }
        #expect(source.breaches == [])
        #expect(source.resetCount == 0)
    }

    @Test func rightPasswordOfTheSourceSucceeds() throws {
        let run = try RecordedRun("migrate", source: Self.recording, password: "right")
        #expect(try run.waitForEnd().exitCode == 0)
        #expect(run.complaints == [])
    }

    @Test func wrongPasswordOfTheTargetIsThree() throws {
        let run = try RecordedRun(
            "migrate", source: Self.recording, targetArguments: ["--requirepass", "secret"])
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 3, "\(outcome)")
        #expect(outcome.standardError.contains("127.0.0.1:\(run.target.port)"), "\(outcome)")
        #expect(run.complaints == [])
    }

    @Test func nobodyListeningIsThree() throws {
        let target = try RedisServer()
        let free = try RedisServer.freePort()
        let noSource = try BuiltProgram.df2redis.run([
            "replicate", "--source", "127.0.0.1:\(free)", "--target", "127.0.0.1:\(target.port)",
        ])
        #expect(noSource.exitCode == 3, "\(noSource)")
        #expect(noSource.standardError.contains("127.0.0.1:\(free)"), "\(noSource)")

        let run = try SimulatorServer(source: Self.recording)
        try run.start()
        defer { run.stop() }
        let noTarget = try BuiltProgram.df2redis.run([
            "replicate", "--source", "127.0.0.1:\(run.port)", "--target", "127.0.0.1:\(free)",
        ])
        #expect(noTarget.exitCode == 3, "\(noTarget)")
        #expect(noTarget.standardError.contains("127.0.0.1:\(free)"), "\(noTarget)")
    }

    @Test func redisAsSourceIsFour() throws {
        let source = try RedisServer()
        let target = try RedisServer()
        let outcome = try BuiltProgram.df2redis.run([
            "migrate", "--source", "127.0.0.1:\(source.port)",
            "--target", "127.0.0.1:\(target.port)",
        ])
        #expect(outcome.exitCode == 4, "\(outcome)")
        #expect(outcome.standardError.contains("Dragonfly"), "\(outcome)")
    }

    /// A target that takes some writes and refuses others: every refused one is named, and the
    /// others arrive.
    @Test func refusedWritesAreOneAndNamed() throws {
        let run = try RecordedRun(
            "migrate", source: Self.recording,
            arguments: ["--write-method", "commands"],
            targetArguments: [
                "--user", "default", "on", "nopass", "~*", "&*", "+@all", "-zadd",
            ])
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 1, "\(outcome)")
        let report = try run.report()
        let failed = report.findings.filter { $0.kind == "failed" }
        let expected = try TestSupport.Recording("types-lz4").expected()
        let zsets = expected.filter { $0.value.type == "zset" }
        #expect(Set(failed.map { StateKey($0.database, $0.key) }) == Set(zsets.keys))
        #expect(Set(failed.map(\.command)) == ["ZADD"])
        #expect(failed.filter { !$0.reason.contains("NOPERM") }.map(\.reason) == [])
        #expect(report.snapshot.failed == zsets.count)
        let failedByType = report.types.filter { $0.snapshot.failed > 0 }
        #expect(failedByType.map(\.type) == ["zset"])
        #expect(failedByType.first?.snapshot.failed == zsets.count)
        let letters = try run.deadLetters()
        #expect(report.deadLetters.lines == zsets.count && report.deadLetters.more == 0)
        #expect(letters.count == zsets.count)
        #expect(Set(letters.map { StateKey($0.database, $0.key) }) == Set(zsets.keys))
        #expect(letters.allSatisfy { $0.phase == "snapshot" && $0.command == "ZADD" })
        #expect(letters.allSatisfy { $0.reply.contains("NOPERM") })
        for finding in failed { #expect(outcome.standardOutput.contains(finding.key)) }
        #expect(
            outcome.standardOutput.contains("ZADD") && outcome.standardOutput.contains("NOPERM"))

        let comparison = StateComparison(
            expected: expected.filter { $0.value.type != "zset" }, actual: try run.targetState())
        #expect(comparison.differences == [])
        #expect(run.complaints == [])
    }

    /// A disk that takes no line of `failed.ndjson` is told, and the run goes on.
    @Test func fullDiskForFailedRecordsIsTold() throws {
        let run = try RecordedRun(
            "migrate", source: Self.recording, arguments: ["--write-method", "commands"],
            targetArguments: [
                "--user", "default", "on", "nopass", "~*", "&*", "+@all", "-zadd",
            ],
            prepare: { _, _, directory in
                try FileManager.default.createSymbolicLink(
                    atPath: directory.file("failed.ndjson"), withDestinationPath: "/dev/full")
            })
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 1, "\(outcome)")
        #expect(outcome.standardError.contains("cannot write failed.ndjson"), "\(outcome)")
        #expect(outcome.standardOutput.contains("cannot write failed.ndjson"), "\(outcome)")
        let report = try run.report()
        #expect(report.snapshot.failed > 0 && report.snapshot.applied > 0)
        #expect(report.deadLetters.more == report.snapshot.failed)
        #expect(report.deadLetters.lines == 0 && report.deadLetters.error != nil)
    }

    @Test func lostSourceIsOne() throws {
        let run = try RecordedRun("replicate", source: Self.recording)
        try run.waitUntilApplied()
        run.source.dropConnections()
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 1, "\(outcome)")
        #expect(outcome.standardError.contains("127.0.0.1:\(run.source.port)"), "\(outcome)")
    }

    @Test func lostTargetIsOne() throws {
        let run = try RecordedRun("replicate", source: Self.recording)
        try run.waitUntilApplied()
        run.target.stop()
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 1, "\(outcome)")
        #expect(outcome.standardError.contains("127.0.0.1:\(run.target.port)"), "\(outcome)")
        #expect(run.complaints == [])
    }

    /// A signal in the middle of the full sync ends the run in order, too.
    @Test(arguments: [(SIGINT, Int32(130)), (SIGTERM, Int32(143))])
    func signalDuringFullSyncEndsInOrder(_ signal: Int32, _ exitCode: Int32) throws {
        let run = try RecordedRun(
            "replicate", source: Self.recording, pacing: .bytesPerSecond(50_000))
        #expect(run.waitUntilRead(bytes: 60_000))
        run.interrupt(with: signal)
        let outcome = try run.waitForEnd(timeoutSeconds: 20)
        #expect(outcome.exitCode == exitCode, "\(outcome)")
        #expect(run.complaints == [])
    }

    @Test func usageErrorsAreTwo() throws {
        let directory = try TemporaryDirectory()
        try "source: {adr: localhost}\n".write(
            toFile: directory.file("config.yaml"), atomically: true, encoding: .utf8)
        let servers = ["--source", "127.0.0.1:1", "--target", "127.0.0.1:1"]
        let wrong: [[String]] = [
            ["migrate"], ["migrate", "--no-such-flag"], ["no-such-command"],
            ["migrate", "--write-method", "magic"] + servers,
            ["migrate", "--cores", "none"] + servers,
            ["migrate", "--config", directory.file("config.yaml")],
            ["migrate", "--config", directory.file("absent.yaml")],
        ]
        for arguments in wrong {
            let outcome = try BuiltProgram.df2redis.run(arguments)
            #expect(outcome.exitCode == 2, "\(arguments) \(outcome)")
            #expect(!outcome.standardError.isEmpty, "\(arguments)")
        }
        let config = try BuiltProgram.df2redis.run(wrong[5])
        #expect(config.standardError.contains("adr") && config.standardError.contains("addr"))
    }

    @Test func helpAndVersionAreZero() throws {
        for arguments in [["--help"], ["migrate", "--help"], ["--version"]] {
            let outcome = try BuiltProgram.df2redis.run(arguments)
            #expect(outcome.exitCode == 0)
            #expect(!outcome.standardOutput.isEmpty)
        }
    }

    /// `--dry-run` asks both servers and writes nothing.
    @Test func dryRunWritesNothing() throws {
        let run = try RecordedRun("migrate", source: Self.recording, arguments: ["--dry-run"])
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 0, "\(outcome)")
        #expect(outcome.standardOutput.contains("nothing was written"))
        #expect(try run.targetState().isEmpty)
        #expect(run.source.sessionCount == 0)
        #expect(run.complaints == [])
    }
}

import Foundation
import TestSupport
import Testing

/// `df2redis-simulator emulate`, as an operator tries df2redis with it: a live master in a process of
/// its own, whose clients and whose own traffic write while df2redis follows it.
@Suite struct EmulateCommandTests {
    /// A running `emulate`.
    private final class Emulated {
        let program: ChildProcess
        let port: UInt16

        init(_ arguments: [String]) throws {
            program = try BuiltProgram.simulator.start(["emulate"] + arguments)
            let deadline = Date(timeIntervalSinceNow: 60)
            var found: UInt16?
            while found == nil {
                guard program.isRunning, Date() < deadline else {
                    program.kill()
                    throw TestSupportError(
                        "emulate: \(program.standardOutput)\(program.standardError)")
                }
                usleep(5_000)
                let text = program.standardOutput
                guard let line = text.split(separator: "\n").first, text.contains("\n"),
                    let colon = line.lastIndex(of: ":")
                else { continue }
                found = UInt16(line[line.index(after: colon)...])
            }
            port = found ?? 0
        }

        deinit { program.kill() }

        func client() throws -> RespClient { try RespClient(port: port) }

        /// Ends it; the report that it prints last.
        func stop() throws -> String {
            program.signal(SIGTERM)
            let outcome = try program.waitForEnd(timeoutSeconds: 30)
            #expect(outcome.exitCode == 0, "\(outcome)")
            return String(outcome.standardOutput.split(separator: "\n").last ?? "")
        }
    }

    /// LSNs of the shards, and whether the one replica has acknowledged all of it.
    private static func progress(_ client: RespClient) throws -> (lsns: [Int], isApplied: Bool) {
        let lsns = try client.call("DFLY", "REPLICAOFFSET").elements ?? []
        let info = try client.call("INFO", "replication").text ?? ""
        return (
            lsns.map { if case .integer(let value) = $0 { Int(value) } else { 0 } },
            info.contains("state=online") && info.contains("lag=0")
        )
    }

    /// v1.20 is left out: it has no PEXPIRETIME to read the expected state with.
    @Test(arguments: ["1.30", "1.35", "1.40", "newest"])
    func whatItsTrafficAndItsClientsWriteArrives(_ release: String) throws {
        let source = try Emulated([
            "--release", release, "--flows", "3", "--seed", "7", "--commands-before", "500",
            "--rate", "2000", "--commands", "1500",
        ])
        let client = try source.client()
        try client.call("SET", "ours", "before")
        let target = try RedisServer()
        let program = try BuiltProgram.df2redis.start([
            "replicate", "--source", "127.0.0.1:\(source.port)",
            "--target", "127.0.0.1:\(target.port)",
        ])
        defer { program.kill() }
        for _ in 0..<20 {
            usleep(20_000)
            try client.call("APPEND", "ours", ".")
        }
        // All is written when the LSNs rest.
        var last: (lsns: [Int], isApplied: Bool) = ([], false)
        var rested = 0
        let deadline = Date(timeIntervalSinceNow: 60)
        while rested < 5 {
            guard program.isRunning, Date() < deadline else {
                throw TestSupportError("\(last): \(program.standardOutput)\(program.standardError)")
            }
            usleep(100_000)
            let now = try Self.progress(client)
            rested = now == last && now.isApplied ? rested + 1 : 0
            last = now
        }
        #expect(try client.call("GET", "ours").text?.hasPrefix("before.") == true)
        program.signal(SIGTERM)
        let outcome = try program.waitForEnd(timeoutSeconds: 60)
        #expect(outcome.exitCode == 143, "\(outcome)")

        var rules = StateComparison.Rules()
        rules.nearExpiryMilliseconds = Int64(Date().timeIntervalSince1970 * 1000) + 60_000
        let comparison = StateComparison(
            expected: try TrafficRun.state(ofPort: source.port),
            actual: try TrafficRun.state(ofPort: target.port), rules: rules)
        print(comparison.summary("emulate, \(release)"))
        #expect(comparison.differences == [])
        #expect(comparison.keysCompared > 100)
        let report = try source.stop()
        #expect(report.contains("\"breaches\":[]"), "\(report)")
    }

    @Test func optionsThatMakeNoSenseAreRefused() throws {
        for arguments in [
            ["--flows", "0"], ["--keys", "0"], ["--rate", "-1"], ["--commands", "-5"],
            ["--release", "1.99"], ["--compression", "gzip"],
        ] {
            let outcome = try BuiltProgram.simulator.run(["emulate"] + arguments)
            #expect(outcome.exitCode != 0, "\(arguments)")
            #expect(outcome.standardError.contains(arguments[0]), "\(outcome)")
        }
    }

    @Test func withoutRedisServerItSaysWhatIsMissing() throws {
        let outcome = try BuiltProgram.simulator.run(
            ["emulate"], environment: ["PATH": "/nonexistent"])
        #expect(outcome.exitCode == 1, "\(outcome)")
        #expect(outcome.standardError.contains("redis-server"), "\(outcome)")
    }

    /// A master whose data are gone must not go on as if nothing had happened.
    @Test func itEndsWhenItsTrafficFails() throws {
        let source = try Emulated(["--commands-before", "10", "--rate", "100"])
        try source.client().call("SET", "k", "v")
        // The redis-server behind is its only child.
        let children =
            "/proc/\(source.program.processIdentifier)/task/\(source.program.processIdentifier)/children"
        let text = try String(contentsOfFile: children, encoding: .utf8)
        let child = try #require(text.split(separator: " ").first.flatMap { Int32(String($0)) })
        kill(child, SIGKILL)
        let outcome = try source.program.waitForEnd(timeoutSeconds: 30)
        #expect(outcome.exitCode == 1, "\(outcome)")
        #expect(outcome.standardError.contains("redis-server"), "\(outcome)")
    }
}

import DragonflySimulator
import Foundation
import TestSupport
import Testing

/// `df2redis-simulator emulate`, the program: what it writes by itself and what clients write reaches
/// a target, and it never goes on when it cannot.
@Suite(.serialized) struct EmulateCommandTests {
    /// Traffic of its own and writes of a client, before, during and after the full sync.
    @Test(arguments: EmulatedRelease.allCases)
    func liveWritesReachTheTarget(_ release: EmulatedRelease) throws {
        let seed = (EmulatedRelease.allCases.firstIndex(of: release) ?? 0) + 1
        let source = try EmulatedProcess([
            "--release", release.rawValue, "--flows", "3", "--seed", "\(seed)",
            "--commands-before", "400", "--rate", "1000", "--commands", "1500",
            "--bucket-pause", "1000",
        ])
        var client = try SourceClient(port: source.port)
        for _ in 0..<50 { try client.write() }
        let run = try ProgramRun(of: source)
        try run.wait("the full sync") {
            try client.write()
            return try source.isFollowed
        }
        for _ in 0..<200 { try client.write() }
        try source.waitForLine("wrote 1500 commands")
        try run.waitUntilApplied(of: source)

        let ended = try run.end()
        #expect(ended.exitCode == 143, "\(ended)")
        let report = try run.report()
        #expect(report.journal.failed == 0 && report.journal.pending == 0, "\(ended)")
        #expect(report.findings.filter { $0.kind != "skipped" } == [], "\(ended)")

        var rules = StateComparison.Rules()
        // As in the random traffic; expiries of a v1.20 are computed on both sides.
        rules.hasOldStreams = release == .v1_20
        rules.expiryToleranceMilliseconds = release == .v1_20 ? 200 : 0
        var expected = try TrafficRun.state(ofPort: source.port)
        rules.nearExpiryMilliseconds = Int64(Date().timeIntervalSince1970 * 1000) + 20_000
        var actual = try TrafficRun.state(ofPort: run.target.port)
        // JSON values, whose text the source does not tell here, are strings on the target.
        let texts = expected.filter { $0.value.type == "ReJSON-RL" }.keys
        for key in texts {
            expected[key] = nil
            #expect(actual.removeValue(forKey: key)?.type == "string", "\(key)")
        }
        #expect(!texts.isEmpty)
        let comparison = StateComparison(expected: expected, actual: actual, rules: rules)
        print(comparison.summary("emulate, \(release.rawValue)"))
        #expect(comparison.differences == [])
        #expect(comparison.keysCompared > 300)

        let outcome = try source.end()
        #expect(outcome.exitCode == 0, "\(outcome)")
        let judgement = try source.report()
        #expect(judgement.breaches == [] && judgement.resets == 0)
        #expect(judgement.sessions == 1 && judgement.flows.count == 3)
        #expect(judgement.records > 1000 && judgement.baselines > 100)
        #expect(source.leftovers == [])
    }

    /// Without a rate nothing is written but what clients write; keys expire all the same.
    @Test func noRateWritesNothing() throws {
        let source = try EmulatedProcess(["--rate", "0", "--commands-before", "0", "--flows", "2"])
        let run = try ProgramRun(of: source)
        let client = try RespClient(port: source.port)
        try run.wait("the full sync") { try source.isFollowed }
        #expect(try source.offsets() == [1, 1])
        for index in 0..<20 { try client.call("SET", "key:\(index)", "v") }
        try client.call("SET", "brief", "v", "PX", "30")
        // Nobody has asked for the key.
        try run.wait("its deletion") { try source.offsets().reduce(0, +) == 24 }
        try run.waitUntilApplied(of: source)
        #expect(try client.call("DBSIZE") == .integer(20))
        #expect(try run.target.client().call("DBSIZE") == .integer(20))
        #expect(try run.end().exitCode == 143)
        #expect(try source.end().exitCode == 0)
        #expect(try source.report().records == 22)
    }

    /// A paused master ends when it is asked to, and that is no failure of it.
    @Test func endsWhilePaused() throws {
        let source = try EmulatedProcess(["--rate", "1000", "--commands-before", "0"])
        let client = try RespClient(port: source.port)
        try client.call("CLIENT", "PAUSE", "600000", "WRITE")
        try client.send(Array("SET a b\r\n".utf8))
        let outcome = try source.end()
        #expect(outcome.exitCode == 0, "\(outcome)")
        #expect(try source.report().breaches == [])
        #expect(source.leftovers == [])
    }

    /// Another master takes over: the process is done.
    @Test func endsWhenTakenOver() throws {
        let source = try EmulatedProcess(["--rate", "200", "--commands-before", "100"])
        let run = try ProgramRun(of: source)
        try run.wait("the full sync") { try source.isFollowed }
        let client = try RespClient(port: source.port)
        #expect(try client.call("DFLY", "TAKEOVER", "20", "SYNC1") == .simple("OK"))
        let outcome = try source.waitForEnd()
        #expect(outcome.exitCode == 0, "\(outcome)")
        #expect(try source.report().breaches == [])
    }

    /// It can be stopped before it listens.
    @Test func endsDuringTheFirstCommands() throws {
        let source = try EmulatedProcess(
            ["--commands-before", "1000000000"], waitsUntilListening: false)
        while try source.redisServer() == nil { try source.checkRunning() }
        let outcome = try source.end()
        #expect(outcome.exitCode == 0, "\(outcome)")
        #expect(outcome.standardOutput == "")
        #expect(source.leftovers == [])
    }

    /// The redis-server behind dies: whoever meets that first, the process says so and ends.
    @Test(arguments: [100, 0]) func endsWithItsServer(_ rate: Int) throws {
        let source = try EmulatedProcess(["--rate", "\(rate)", "--commands-before", "10"])
        let client = try RespClient(port: source.port)
        try client.call("SET", "a", "b")
        let server = try #require(try source.redisServer())
        #expect(kill(server, SIGKILL) == 0)
        // With traffic the process may be gone before this client.
        if rate == 0 { #expect(throws: TestSupportError.self) { try client.call("GET", "a") } }
        let outcome = try source.waitForEnd()
        #expect(outcome.exitCode == 1, "\(outcome)")
        #expect(outcome.standardError.contains("redis-server"), "\(outcome)")
        let breaches = try source.report().breaches
        #expect(breaches.contains { $0.contains("the emulated master failed") }, "\(outcome)")
        #expect(source.leftovers == [])
    }

    @Test func needsARedisServer() throws {
        let source = try EmulatedProcess(
            [], environment: ["PATH": "/nonexistent"], waitsUntilListening: false)
        let outcome = try source.waitForEnd()
        #expect(outcome.exitCode == 1, "\(outcome)")
        #expect(outcome.standardError.contains("redis-server did not start"), "\(outcome)")
        #expect(outcome.standardOutput == "")
        #expect(source.leftovers == [])
    }

    @Test func namesAPortThatIsTaken() throws {
        let other = try RedisServer()
        let source = try EmulatedProcess(["--port", "\(other.port)"], waitsUntilListening: false)
        let outcome = try source.waitForEnd()
        #expect(outcome.exitCode == 1, "\(outcome)")
        #expect(outcome.standardError.contains("port \(other.port)"), "\(outcome)")
        #expect(outcome.standardOutput == "")
        #expect(source.leftovers == [])
    }

    /// Wrong options end it before anything is started, and are named.
    @Test(arguments: [
        ["--release", "1.25"], ["--flows", "0"], ["--flows", "1025"], ["--keys", "0"],
        ["--rate", "-1"], ["--rate", "fast"], ["--commands", "0"],
        ["--commands", "5", "--rate", "0"], ["--commands-before", "-1"],
        ["--compression", "gzip"], ["--chunk-bytes", "-1"],
        ["--bucket-pause", "9223372036854775807"], ["--marker-interval", "-1"],
        ["--segment", "0"], ["--bytes-per-second", "0"], ["--port", "65536"],
    ])
    func wrongOptionsAreNamed(_ arguments: [String]) throws {
        let outcome = try BuiltProgram.simulator.run(
            ["emulate"] + arguments.prefix(1).map { "\($0)=\(arguments[1])" }
                + arguments.dropFirst(2))
        #expect(outcome.exitCode == 64, "\(outcome)")
        #expect(outcome.standardError.contains(arguments[0]), "\(outcome)")
        #expect(outcome.standardOutput == "")
    }
}

/// A running `df2redis-simulator emulate`.
private final class EmulatedProcess {
    /// What it prints last.
    struct Report: Decodable {
        struct Flow: Decodable {
            var nextLSN: UInt64
        }
        var sessions: Int
        var flows: [Flow]
        var records: Int
        var baselines: Int
        var breaches: [String]
        var resets: Int
    }

    private(set) var port: UInt16 = 0
    private let program: ChildProcess
    private let directory: TemporaryDirectory

    /// - Parameter waitsUntilListening: false leaves `port` 0.
    init(
        _ arguments: [String], environment: [String: String] = [:],
        waitsUntilListening: Bool = true
    ) throws {
        directory = try TemporaryDirectory()
        program = try BuiltProgram.simulator.start(
            ["emulate"] + arguments,
            environment: environment.merging(["TMPDIR": directory.path]) { own, _ in own })
        guard waitsUntilListening else { return }
        let line = try waitForLine("listening on 127.0.0.1:")
        guard let number = line.split(separator: ":").last.flatMap({ UInt16($0) }) else {
            throw TestSupportError("no port: \(line)")
        }
        port = number
    }

    func checkRunning() throws {
        guard program.isRunning else {
            throw TestSupportError("the emulated master has ended: \(try waitForEnd())")
        }
    }

    /// Waits until it has printed a line that begins so.
    @discardableResult
    func waitForLine(_ beginning: String) throws -> String {
        let deadline = Date(timeIntervalSinceNow: 60)
        while true {
            let lines = program.standardOutput.split(separator: "\n")
            if let line = lines.first(where: { $0.hasPrefix(beginning) }) { return String(line) }
            try checkRunning()
            guard Date() < deadline else { throw TestSupportError("no line \"\(beginning)\"") }
            usleep(5000)
        }
    }

    /// `INFO replication`, as an operator sees it.
    func information() throws -> String {
        try RespClient(port: port).call("INFO", "replication").text ?? ""
    }

    /// Whether a replica has its full sync behind it.
    var isFollowed: Bool {
        get throws {
            let text = try information()
            return text.contains("state=online") || text.contains("state=stable_sync")
        }
    }

    /// The LSN of each shard's next record.
    func offsets() throws -> [Int64] {
        let reply = try RespClient(port: port).call("DFLY", "REPLICAOFFSET")
        return reply.elements?.compactMap(\.integer) ?? []
    }

    /// The process of the redis-server behind; nil while there is none.
    func redisServer() throws -> Int32? {
        for name in try FileManager.default.contentsOfDirectory(atPath: "/proc") {
            // "PID (NAME) STATE PARENT ..."; a process may go meanwhile.
            guard let identifier = Int32(name),
                let text = try? String(contentsOfFile: "/proc/\(name)/stat", encoding: .utf8),
                text.contains("(redis-server)"),
                let parent = text.split(separator: ")").last?.split(separator: " ").dropFirst()
                    .first,
                Int32(parent) == program.processIdentifier
            else { continue }
            return identifier
        }
        return nil
    }

    /// Asks it to end.
    func end() throws -> ChildProcess.Outcome {
        program.signal(SIGTERM)
        return try waitForEnd()
    }

    func waitForEnd() throws -> ChildProcess.Outcome {
        try program.waitForEnd(timeoutSeconds: 30)
    }

    /// The last line, once it has ended.
    func report() throws -> Report {
        let line = program.standardOutput.split(separator: "\n").last ?? ""
        return try JSONDecoder().decode(Report.self, from: Data(line.utf8))
    }

    /// Files that it has not removed.
    var leftovers: [String] {
        (try? FileManager.default.contentsOfDirectory(atPath: directory.path)) ?? ["unreadable"]
    }
}

/// `df2redis replicate` from such a master into a redis-server.
private final class ProgramRun {
    let target: RedisServer
    private let stateDirectory: TemporaryDirectory
    private let program: ChildProcess

    init(of source: EmulatedProcess) throws {
        target = try RedisServer()
        stateDirectory = try TemporaryDirectory()
        program = try BuiltProgram.df2redis.start([
            "replicate", "--source", "127.0.0.1:\(source.port)",
            "--target", "127.0.0.1:\(target.port)", "--state-dir", stateDirectory.path,
        ])
    }

    /// Asks until something has come.
    /// - Throws: `TestSupportError` if df2redis ends before, or after a minute.
    func wait(_ event: String, until hasCome: () throws -> Bool) throws {
        let deadline = Date(timeIntervalSinceNow: 60)
        while try !hasCome() {
            guard program.isRunning, Date() < deadline else {
                throw TestSupportError(
                    "\(event) has not come: \(program.standardOutput)\(program.standardError)")
            }
            usleep(2000)
        }
    }

    /// Waits until the replica has acknowledged all that the source has written.
    func waitUntilApplied(of source: EmulatedProcess) throws {
        try wait("the last acknowledgement") {
            let before = try source.offsets()
            let isLevel = try source.isFollowed && source.information().contains("lag=0")
            // A key may expire at any time.
            return try isLevel && source.offsets() == before
        }
    }

    func end() throws -> ChildProcess.Outcome {
        program.signal(SIGTERM)
        return try program.waitForEnd(timeoutSeconds: 60)
    }

    func report() throws -> Report {
        let path = stateDirectory.file("report.json")
        return try JSONDecoder().decode(
            Report.self, from: Data(contentsOf: URL(fileURLWithPath: path)))
    }
}

/// A client that writes to the source and reads back what it wrote.
private struct SourceClient {
    private let connection: RespClient
    private var round: Int64 = 0

    init(port: UInt16) throws {
        connection = try RespClient(port: port)
    }

    mutating func write() throws {
        round += 1
        let database = round % 2 == 0 ? "0" : "1"
        let own = "client:\(round)"
        #expect(try connection.call("SELECT", database) == .simple("OK"))
        let expiry = "\(Int64(Date().timeIntervalSince1970 + 86_400 + Double(round)) * 1000)"
        #expect(try connection.call("SET", own, "v\(round)", "PXAT", expiry) == .simple("OK"))
        #expect(try connection.call("GET", own).text == "v\(round)")
        let count = try connection.call("INCR", "client:n").integer
        #expect(count == (round + 1) / 2)
        try connection.call("RPUSH", "client:l", own, "and")
        #expect(try connection.call("LRANGE", "client:l", "-2", "-1").elements?.first?.text == own)
        try connection.call("HSET", "client:h", "f\(round % 50)", own)
        try connection.call("ZADD", "client:z", "\(Double(round) / 3)", own)
        try connection.call("XADD", "client:x", "*", "round", own)
        #expect(try connection.call("MULTI") == .simple("OK"))
        try connection.call("SADD", "client:s", own)
        try connection.call("DEL", "client:\(round - 20)")
        let replies = try connection.call("EXEC").elements
        #expect(replies == [.integer(1), .integer(round > 20 ? 1 : 0)])
        #expect(try connection.call("EXISTS", "client:\(round - 20)") == .integer(0))
    }
}

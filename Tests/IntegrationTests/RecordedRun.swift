import DragonflySimulator
import Foundation
import Operations
import TestSupport
import Testing

/// df2redis between a simulated Dragonfly and a real redis-server.
final class RecordedRun {
    let source: SimulatorServer
    /// Of several, the first.
    let target: RedisServer
    private let movingTarget: (any MovingTarget)?
    private let stateDirectory: TemporaryDirectory
    private let program: ChildProcess

    /// The program's proportional set size now, 0 if it has ended.
    var pssMiB: Double {
        let path = "/proc/\(program.processIdentifier)/smaps_rollup"
        guard let text = try? String(contentsOfFile: path, encoding: .utf8),
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix("Pss:") }),
            let kibibytes = line.split(separator: " ").dropFirst().first.flatMap({ Double($0) })
        else { return 0 }
        return kibibytes / 1024
    }

    /// Waits for the end, and looks at the memory all the time; returns its maximum, too.
    func waitForEndWatchingMemory(
        timeoutSeconds: Double
    ) throws -> (outcome: ChildProcess.Outcome, pssMiB: Double) {
        let deadline = Date(timeIntervalSinceNow: timeoutSeconds)
        var maximum = 0.0
        while program.isRunning, Date() < deadline {
            maximum = max(maximum, pssMiB)
            usleep(10_000)
        }
        return (try program.waitForEnd(timeoutSeconds: 1), maximum)
    }

    /// Starts everything.
    /// - Parameters:
    ///   - command: `migrate` or `replicate`.
    ///   - password: of the source's default user.
    ///   - busyReads: how many readings of a key the source refuses first.
    ///   - faults: what goes wrong on the source's side.
    ///   - readDelayMilliseconds: how long the source takes to read an ACK.
    ///   - server: the target's kind.
    ///   - target: a server of an earlier run, nil for a new one.
    ///   - movingTarget: the target, instead of a server.
    ///   - targetAddress: how the program is told of it, nil for the usual form.
    ///   - targetArguments: further options of redis-server.
    ///   - beforeStart: what happens to the source before df2redis comes.
    ///   - prepare: the same of both servers, and the state directory.
    init(
        _ command: String, source content: SimulatorSource,
        segmentation: Segmentation = .whole, pacing: Pacing = .unlimited, password: String? = nil,
        busyReads: Int = 0, faults: [Fault] = [], readDelayMilliseconds: Int = 0,
        arguments: [String] = [], on server: TargetServer = .system,
        target existing: RedisServer? = nil, movingTarget: (any MovingTarget)? = nil,
        targetAddress: String? = nil,
        targetArguments: [String] = [],
        beforeStart: (SimulatorServer) throws -> Void = { _ in },
        prepare: (SimulatorServer, RedisServer, TemporaryDirectory) throws -> Void = { _, _, _ in }
    ) throws {
        var options = SimulatorOptions()
        options.segmentation = segmentation
        options.pacing = pacing
        options.password = password
        options.busyReads = busyReads
        options.faults = faults
        options.readDelayMilliseconds = readDelayMilliseconds
        source = try SimulatorServer(source: content, options: options)
        try beforeStart(source)
        try source.start()
        self.movingTarget = movingTarget
        target =
            try existing ?? movingTarget?.servers[0]
            ?? RedisServer(server, arguments: targetArguments)
        stateDirectory = try TemporaryDirectory()
        try prepare(source, target, stateDirectory)
        let login = password.map { ":\($0)@" } ?? ""
        program = try BuiltProgram.df2redis.start(
            [
                command, "--source", "redis://\(login)127.0.0.1:\(source.port)",
                "--target",
                targetAddress ?? movingTarget?.address
                    ?? "redis://127.0.0.1:\(target.port)",
                "--state-dir", stateDirectory.path,
            ] + arguments)
    }

    convenience init(
        _ command: String, playing recording: TestSupport.Recording, method: WriteMethod,
        segmentation: Segmentation, cores: Int? = nil, on server: TargetServer = .system
    ) throws {
        try self.init(
            command, source: .recording(DragonflySimulator.Recording(folder: recording.path)),
            segmentation: segmentation,
            arguments: ["--write-method", method.rawValue]
                + (cores.map { ["--cores", "\($0)"] } ?? []), on: server)
    }

    /// The program's threads by name, and the CPUs that each may use.
    func threads() throws -> [String: String] {
        let folder = "/proc/\(program.processIdentifier)/task"
        var threads: [String: String] = [:]
        for task in try FileManager.default.contentsOfDirectory(atPath: folder) {
            let status = try String(contentsOfFile: "\(folder)/\(task)/status", encoding: .utf8)
            func value(_ name: String) -> String {
                status.split(separator: "\n").first { $0.hasPrefix(name + ":\t") }
                    .map { String($0.dropFirst(name.count + 2)) } ?? ""
            }
            threads[value("Name")] = value("Cpus_allowed_list")
        }
        return threads
    }

    deinit {
        program.kill()
        source.stop()
    }

    /// Waits until every flow has been sent to its end and acknowledged as applied up to there.
    /// - Throws: `TestSupportError` with what the program printed if it ends before, or hangs.
    func waitUntilApplied(timeoutSeconds: Int = 120) throws {
        try wait(timeoutSeconds, "not read to the end") {
            source.waitUntilSent(timeoutMilliseconds: $0)
        }
        try waitUntilAcknowledged(timeoutSeconds: timeoutSeconds)
    }

    /// Waits until every flow is acknowledged up to the end of the source's journal.
    func waitUntilAcknowledged(timeoutSeconds: Int = 120) throws {
        for flow in 0..<source.flowCount {
            let end = source.nextLSN(flow: flow)
            try wait(timeoutSeconds, "flow \(flow) is not applied up to \(end)") {
                source.waitForAcknowledgement(
                    flow: flow, atLeast: end, timeoutMilliseconds: $0)
            }
        }
    }

    /// Waits until every flow was acknowledged once: the journal is being followed.
    func waitUntilAcknowledgedFirst() throws {
        for flow in 0..<source.flowCount {
            try wait(60, "flow \(flow) is not followed") {
                source.waitForAcknowledgement(flow: flow, atLeast: 1, timeoutMilliseconds: $0)
            }
        }
    }

    /// - Throws: `TestSupportError` with what the program printed if it has ended.
    func checkRunning() throws {
        try wait(0, "ended too early") { _ in program.isRunning }
    }

    /// Asks again and again, and gives each time up to 200 ms.
    func wait(
        _ timeoutSeconds: Int, _ what: String, _ isDone: (Int) -> Bool
    ) throws {
        let deadline = Date(timeIntervalSinceNow: Double(timeoutSeconds))
        while !isDone(200) {
            guard program.isRunning, Date() < deadline else {
                program.kill()
                throw TestSupportError(
                    "\(what): \(source.report())\n\(program.standardOutput)"
                        + program.standardError)
            }
        }
    }

    /// Faults that hold each flow at its first byte, for ten seconds or until `releaseFlows`.
    static func holdingFlows(_ count: Int) -> [Fault] {
        (0..<count).map { Fault(.stall(milliseconds: 10_000), at: .flow($0, byte: 1)) }
    }

    func waitUntilFlowsAreHeld() throws {
        for flow in 0..<source.flowCount {
            try wait(30, "flow \(flow) was not begun") { _ in
                usleep(1000)
                return source.bytesSent(flow: flow) >= 1
            }
        }
    }

    func releaseFlows() {
        for flow in 0..<source.flowCount {
            source.perform(.stall(milliseconds: 0), onFlow: flow)
        }
    }

    /// Waits until flow 0 has sent so much; false if that does not happen.
    func waitUntilRead(bytes: Int) -> Bool {
        let deadline = Date(timeIntervalSinceNow: 30)
        while source.bytesSent(flow: 0) < bytes {
            guard program.isRunning, Date() < deadline else { return false }
            usleep(5000)
        }
        return true
    }

    var stateDirectoryPath: String { stateDirectory.path }

    /// Asks the run through its control socket.
    @discardableResult
    func ask(_ command: String, _ members: [(String, JSONValue)] = []) throws -> JSONValue {
        try ControlClient.ask(
            .object([("command", .string(command))] + members), directory: stateDirectory.path
        ).value
    }

    /// Asks for the status until it is as wanted; returns it.
    /// - Throws: `TestSupportError` with the last one, and what the program printed, if it is not.
    @discardableResult
    func waitForStatus(
        _ what: String, timeoutSeconds: Double = 30, _ isWanted: (JSONValue) -> Bool
    ) throws -> JSONValue {
        let deadline = Date(timeIntervalSinceNow: timeoutSeconds)
        var last = "none"
        while program.isRunning, Date() < deadline {
            // Its socket may not be there yet.
            if let status = try? ask("status") {
                if isWanted(status) { return status }
                last = status.compactText
            }
            usleep(5000)
        }
        program.kill()
        throw TestSupportError("no \(what): \(last)\n\(program.standardError)")
    }

    /// Runs one of the commands that ask a run, for this one.
    func command(_ name: String, _ arguments: String...) throws -> ChildProcess.Outcome {
        try BuiltProgram.df2redis.run(
            [name, "--state-dir", stateDirectory.path] + arguments)
    }

    /// Asks the program to end.
    func interrupt(with signal: Int32 = SIGTERM) { program.signal(signal) }

    func waitForEnd(timeoutSeconds: Double = 60) throws -> ChildProcess.Outcome {
        try program.waitForEnd(timeoutSeconds: timeoutSeconds)
    }

    /// Reads all the target holds.
    func targetState() throws -> ServerState {
        try movingTarget?.state() ?? StateReader(target.client()).read()
    }

    /// What the program wrote to `report.json`, once it is known that its counts add up.
    /// - Parameter pending: records that may be unanswered; 0 after an orderly end.
    func report(pending: Int = 0) throws -> Report {
        let path = stateDirectory.file("report.json")
        let report = try JSONDecoder().decode(
            Report.self, from: Data(contentsOf: URL(fileURLWithPath: path)))
        report.expectAccounted(pending: pending)
        return report
    }

    /// The lines of `failed.ndjson` behind the first, which starts the run.
    func deadLetters() throws -> [DeadLetter] {
        let path = stateDirectory.file("failed.ndjson")
        return try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").dropFirst()
            .map { try JSONDecoder().decode(DeadLetter.self, from: Data($0.utf8)) }
    }

    /// What the source has against the program: breaches of the rules, and resets.
    var complaints: [String] {
        source.breaches.map(\.description)
            + (source.resetCount == 0 ? [] : ["\(source.resetCount) connections were reset"])
    }
}

/// The values of `--write-method`.
enum WriteMethod: String, CaseIterable, Sendable {
    case automatic = "auto"
    case restore
    case commands
}

/// One line of `failed.ndjson`.
struct DeadLetter: Decodable {
    var phase: String
    var database: Int
    var key: String
    var command: String
    var reply: String
}

/// The part of `report.json` that the tests read.
struct Report: Decodable {
    struct Counts: Decodable, Equatable {
        var read = 0
        var applied = 0
        var filtered = 0
        var skipped = 0
        var repaired = 0
        var failed = 0
        var pending = 0

        static func + (left: Counts, right: Counts) -> Counts {
            Counts(
                read: left.read + right.read, applied: left.applied + right.applied,
                filtered: left.filtered + right.filtered, skipped: left.skipped + right.skipped,
                repaired: left.repaired + right.repaired, failed: left.failed + right.failed,
                pending: left.pending + right.pending)
        }

        var isAccounted: Bool {
            let all = [read, applied, filtered, skipped, repaired, failed, pending]
            return all.allSatisfy { $0 >= 0 }
                && read == applied + filtered + skipped + repaired + failed + pending
        }
    }

    struct TypeCounts: Decodable, Equatable {
        var type: String
        var snapshot: Counts
        var journal: Counts
    }

    struct Flow: Decodable {
        var snapshot: Counts
        var journal: Counts
        var types: [TypeCounts]
    }

    struct Finding: Decodable, Equatable {
        var kind: String
        var database: Int
        var key: String
        var command: String
        var reason: String
    }

    struct Risk: Decodable, Equatable {
        var name: String
        var weight: String
        var problem: String
        var advice: String
    }

    struct DeadLetters: Decodable {
        var file: String?
        var lines: Int
        var more: Int
        var error: String?
    }

    var exitCode: Int
    var snapshot: Counts
    var journal: Counts
    var types: [TypeCounts]
    var flows: [Flow]
    var lsn: [UInt64]
    var deadLetters: DeadLetters
    var keysKept: Int
    var recordsOfKeptKeys: Int
    var keysRepaired: Int
    var keysToRepair: Int
    var memberExpiriesDropped: Int
    var elementsRemoved: Int
    var elementsOpen: Int
    var jsonTextsWritten: Int
    var stickyFlagsDropped: Int
    var memcachedFlagsDropped: Int
    var findings: [Finding]
    var sourceRisks: [Risk]

    /// read = applied + filtered + skipped + repaired + failed + pending, for each flow, each type and
    /// in sum, and the sums are those of the parts.
    func expectAccounted(pending: Int) {
        #expect(snapshot.pending + journal.pending == pending)
        var all = [snapshot, journal] + types.flatMap { [$0.snapshot, $0.journal] }
        for flow in flows {
            all +=
                [flow.snapshot, flow.journal] + flow.types.flatMap { [$0.snapshot, $0.journal] }
            #expect(flow.types.map(\.snapshot).reduce(Counts(), +) == flow.snapshot)
            #expect(flow.types.map(\.journal).reduce(Counts(), +) == flow.journal)
        }
        for counts in all { #expect(counts.isAccounted, "\(counts)") }
        #expect(
            deadLetters.lines + deadLetters.more
                == snapshot.failed + journal.failed + keysToRepair)
        #expect(flows.map(\.snapshot).reduce(Counts(), +) == snapshot)
        #expect(flows.map(\.journal).reduce(Counts(), +) == journal)
        for type in types {
            let parts = flows.flatMap(\.types).filter { $0.type == type.type }
            #expect(parts.map(\.snapshot).reduce(Counts(), +) == type.snapshot, "\(type.type)")
            #expect(parts.map(\.journal).reduce(Counts(), +) == type.journal, "\(type.type)")
        }
        #expect(types.map(\.snapshot).reduce(Counts(), +) == snapshot)
        #expect(types.map(\.journal).reduce(Counts(), +) == journal)
    }

    /// Keys that are named as kept as the target had them.
    var keptKeys: Set<StateKey> {
        Set(findings.filter { $0.kind == "kept" }.map { StateKey($0.database, $0.key) })
    }

    /// Keys that are named as to be repaired.
    var repairKeys: Set<StateKey> {
        Set(findings.filter { $0.kind == "repair" }.map { StateKey($0.database, $0.key) })
    }
}

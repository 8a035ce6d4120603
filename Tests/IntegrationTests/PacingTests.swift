import DragonflySimulator
import Foundation
import Operations
import Synchronization
import TestSupport
import Testing

/// The target is written to as fast as it can and may be, and never beyond what it can hold.
@Suite(.serialized) struct PacingTests {
    /// Some 16 MB on a target, of all kinds.
    private static func data(seed: UInt64) -> SyntheticData {
        var data = SyntheticData(seed: seed)
        data.flowCount = 2
        data.strings = SyntheticData.Shape(count: 8000, elements: 0, elementBytes: 600)
        for shape in [\SyntheticData.hashes, \.lists, \.sets, \.sortedSets, \.streams] {
            data[keyPath: shape] = SyntheticData.Shape(count: 300, elements: 100, elementBytes: 40)
        }
        return data
    }

    private static func isShortOfMemory(_ status: JSONValue) -> Bool {
        status["waitsFor"]?.text == "target memory"
    }

    private func noRefusal(_ target: RedisServer) throws {
        let errors = try target.client().call("INFO", "errorstats").text ?? ""
        #expect(!errors.contains("errorstat_OOM"), "\(errors)")
    }

    /// A target without eviction that is too small is filled, waited for, and never driven into an
    /// error; with more memory the run goes on as if nothing had been.
    @Test(arguments: WriteMethod.allCases)
    func fullTargetIsWaitedFor(_ method: WriteMethod) throws {
        let data = Self.data(seed: 21)
        let run = try RecordedRun(
            "migrate", source: .synthetic(data), arguments: ["--write-method", method.rawValue],
            targetArguments: ["--maxmemory", "9mb", "--maxmemory-policy", "noeviction"])
        let status = try run.waitForStatus("wait for memory", Self.isShortOfMemory)
        let text = status["waitsForText"]?.text ?? ""
        #expect(text.contains("raise its maxmemory or free memory"), "\(text)")
        // It fills what there is.
        #expect(status["targetMemory"]?["used"]?.wholeNumber ?? 0 > 6 << 20, "\(text)")
        // One flow's next entry may be smaller than the other's. At last only the question for memory is
        // asked, ten times a second.
        var before = (sent: -1000, at: Date())
        try run.waitForStatus("standstill") { status in
            guard Date().timeIntervalSince(before.at) >= 0.5 else { return false }
            let sent = status["commandsSent"]?.wholeNumber ?? 0
            defer { before = (sent, Date()) }
            return Self.isShortOfMemory(status) && sent - before.sent < 15
        }
        try run.target.client().call("CONFIG", "SET", "maxmemory", "200mb")
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 0, "\(outcome)")
        #expect(outcome.standardError.contains("waiting for memory of the target"))
        let comparison = StateComparison(expected: data.state(), actual: try run.targetState())
        #expect(comparison.differences == [])
        #expect(comparison.keysCompared == data.keyCount)
        let report = try run.report()
        #expect(report.snapshot.failed == 0 && report.snapshot.repaired == 0)
        try noRefusal(run.target)
        #expect(run.complaints == [])
    }

    /// The same for the journal, with keys that make room by being deleted.
    @Test(arguments: [WriteMethod.automatic, .commands])
    func fullTargetIsWaitedForInTheJournal(_ method: WriteMethod) throws {
        var data = SyntheticData(seed: 22)
        data.flowCount = 2
        data.strings.count = 100
        var traffic = LiveTraffic(recordCount: 9000, seed: 22)
        traffic.valueBytes = 2000
        let run = try RecordedRun(
            "replicate", source: .synthetic(data, traffic: traffic),
            arguments: ["--write-method", method.rawValue],
            targetArguments: ["--maxmemory", "56mb", "--maxmemory-policy", "noeviction"],
            prepare: { _, target, _ in
                try target.client().call("SETRANGE", "somebody's", "\(47 << 20)", "x")
            })
        let status = try run.waitForStatus("wait for memory", Self.isShortOfMemory)
        #expect(status["journal"]?["applied"]?.wholeNumber ?? 0 > 100)
        try run.target.client().call("DEL", "somebody's")
        try run.waitUntilApplied()
        run.interrupt()
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 143, "\(outcome)")
        let comparison = StateComparison(
            expected: data.state().merging(traffic.state()) { _, live in live },
            actual: try run.targetState())
        #expect(comparison.differences == [])
        let report = try run.report()
        #expect(report.journal.applied == traffic.recordCount)
        try noRefusal(run.target)
        #expect(run.complaints == [])
    }

    /// Values of many megabytes, and values of many short elements, which take most of their memory
    /// while their commands wait for EXEC.
    @Test(arguments: [WriteMethod.automatic, .commands])
    func largeValuesAreWaitedFor(_ method: WriteMethod) throws {
        var data = SyntheticData(seed: 28)
        data.strings = SyntheticData.Shape(count: 6, elements: 0, elementBytes: 3 << 20)
        for shape in [\SyntheticData.lists, \.sets, \.hashes, \.sortedSets, \.streams] {
            data[keyPath: shape] = SyntheticData.Shape(count: 5, elements: 20_000, elementBytes: 1)
        }
        let run = try RecordedRun(
            "migrate", source: .synthetic(data), arguments: ["--write-method", method.rawValue],
            targetArguments: ["--maxmemory", "4mb", "--maxmemory-policy", "noeviction"])
        let client = try run.target.client()
        // A little more each time, so that it comes close to the limit often.
        for megabytes in stride(from: 5, through: 61, by: 4) {
            try run.waitForStatus("wait for memory", Self.isShortOfMemory)
            try client.call("CONFIG", "SET", "maxmemory", "\(megabytes)mb")
        }
        try client.call("CONFIG", "SET", "maxmemory", "400mb")
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 0, "\(outcome)")
        let comparison = StateComparison(expected: data.state(), actual: try run.targetState())
        #expect(comparison.differences == [])
        #expect(try run.report().snapshot.applied == data.keyCount)
        try noRefusal(run.target)
        #expect(run.complaints == [])
    }

    /// What a full target can take goes on: the source's own deletions, which make room for the rest.
    @Test func deletionsMakeRoom() throws {
        let run = try RecordedRun(
            "replicate", source: .emulated(EmulationOptions(release: .newest, flowCount: 2)),
            beforeStart: { source in
                for number in 0..<16 {
                    let value = [UInt8](repeating: 0x78, count: 500_000)
                    try source.execute([Array("SET".utf8), Array("old:\(number)".utf8), value])
                }
            })
        try run.waitUntilAcknowledgedFirst()
        let client = try run.target.client()
        try client.call("CONFIG", "SET", "maxmemory", "16mb")
        try run.waitForStatus("limit") { $0["targetMemory"]?["limit"]?.wholeNumber == 16 << 20 }
        let value = [UInt8](repeating: 0x79, count: 2 << 20)
        try run.source.execute([Array("SET".utf8), Array("new".utf8), value])
        try run.waitForStatus("wait for memory", Self.isShortOfMemory)
        for number in 0..<16 { try run.source.execute("DEL old:\(number)") }
        try run.waitUntilAcknowledged()
        run.interrupt()
        #expect(try run.waitForEnd().exitCode == 143)
        #expect(try client.call("STRLEN", "new") == .integer(2 << 20))
        #expect(try client.call("DBSIZE") == .integer(1))
        try noRefusal(run.target)
        #expect(run.complaints == [])
    }

    /// A few bytes that make a string long are not followed by more than what fits then.
    @Test func placesFarOutCount() throws {
        let run = try RecordedRun(
            "replicate", source: .emulated(EmulationOptions(release: .newest, flowCount: 2)),
            beforeStart: { try $0.execute("SET a b") })
        try run.waitUntilAcknowledgedFirst()
        let client = try run.target.client()
        try client.call("CONFIG", "SET", "maxmemory", "9mb")
        try run.waitForStatus("limit") { $0["targetMemory"]?["limit"]?.wholeNumber == 9 << 20 }
        // All of it comes at once.
        try run.ask("pause")
        try run.waitForStatus("pause") { $0["paused"]?.flag == true }
        for number in 0..<10 {
            try run.source.execute("SETRANGE r:\(number) 1500000 x")
            try run.source.execute("SETBIT b:\(number) 4000000 1")
            for small in 0..<20 { try run.source.execute("SET s:\(number):\(small) x") }
        }
        try run.ask("resume")
        try run.waitForStatus("wait for memory", Self.isShortOfMemory)
        try noRefusal(run.target)
        try client.call("CONFIG", "SET", "maxmemory", "0")
        try run.waitUntilAcknowledged()
        run.interrupt()
        #expect(try run.waitForEnd().exitCode == 143)
        let comparison = StateComparison(
            expected: try StateReader(RespClient(port: run.source.redisPort)).read(),
            actual: try run.targetState())
        #expect(comparison.differences == [])
        try noRefusal(run.target)
        #expect(run.complaints == [])
    }

    /// Somebody else fills the target in the middle of writes: what it refuses is written again.
    @Test(arguments: [WriteMethod.automatic, .commands])
    func refusedForMemoryIsWrittenAgain(_ method: WriteMethod) throws {
        let value = String(repeating: "x", count: 300)
        func write(_ source: SimulatorServer, _ number: Int) throws {
            switch number % 4 {
            case 0: try source.execute("SET s:\(number) \(value)\(number)")
            case 1: try source.execute("RPUSH l:\(number % 101) \(number) \(value)")
            case 2: try source.execute("HSET h:\(number % 101) f\(number) \(value)")
            default: try source.execute("INCRBY n:\(number % 11) \(number)")
            }
        }
        let run = try RecordedRun(
            "replicate", source: .emulated(EmulationOptions(release: .newest, flowCount: 2)),
            arguments: ["--write-method", method.rawValue],
            beforeStart: { source in for number in 0..<4000 { try write(source, number) } })
        let client = try run.target.client()
        // In the snapshot, or soon after.
        try client.call("CONFIG", "SET", "maxmemory", "1")
        try run.waitForStatus("wait for memory", Self.isShortOfMemory)
        try client.call("CONFIG", "SET", "maxmemory", "0")
        try run.waitUntilAcknowledgedFirst()
        for round in 0..<3 {
            for number in 0..<3000 {
                try write(run.source, number + round)
                if number == 1500 { try client.call("CONFIG", "SET", "maxmemory", "1") }
            }
            try run.waitForStatus("wait for memory", Self.isShortOfMemory)
            try client.call("CONFIG", "SET", "maxmemory", "0")
        }
        let status = try run.waitForStatus("end of repairs") {
            $0["repairsOpen"]?.wholeNumber == 0 && $0["recordsBehind"]?.wholeNumber == 0
                && $0["waitsFor"]?.text == nil
        }
        #expect(status["memoryRefusals"]?.wholeNumber ?? 0 > 0, "\(status.compactText)")
        try run.waitUntilAcknowledged()
        run.interrupt()
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 143, "\(outcome)")
        let comparison = StateComparison(
            expected: try StateReader(RespClient(port: run.source.redisPort)).read(),
            actual: try run.targetState())
        #expect(comparison.differences == [])
        let report = try run.report()
        print(
            "\(method): \(status["memoryRefusals"]?.wholeNumber ?? 0) refusals,"
                + " \(report.keysRepaired) keys repaired")
        #expect(report.snapshot.failed == 0 && report.journal.failed == 0)
        #expect(report.keysToRepair == 0)
        #expect(run.complaints == [])
    }

    /// A run that waits for memory ends when it is told to.
    @Test func waitingForMemoryEndsInOrder() throws {
        let run = try RecordedRun(
            "replicate", source: .synthetic(Self.data(seed: 23)),
            targetArguments: ["--maxmemory", "6mb", "--maxmemory-policy", "noeviction"])
        try run.waitForStatus("wait for memory", Self.isShortOfMemory)
        run.interrupt()
        let outcome = try run.waitForEnd(timeoutSeconds: 20)
        #expect(outcome.exitCode == 143, "\(outcome)")
        #expect(outcome.standardOutput.contains("before the full sync was complete"))
        try noRefusal(run.target)
        #expect(run.complaints == [])
    }

    @Test func evictionIsWarnedOf() throws {
        var data = SyntheticData(seed: 24)
        data.strings.count = 100
        let run = try RecordedRun(
            "replicate", source: .synthetic(data),
            targetArguments: ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"])
        try run.waitForStatus("stable sync") { $0["phase"]?.text == "stable sync" }
        run.interrupt()
        let outcome = try run.waitForEnd()
        #expect(outcome.standardError.contains("evicts keys"), "\(outcome)")
        #expect(outcome.standardError.contains("noeviction"), "\(outcome)")
    }

    // MARK: Rates

    /// The rate asked for holds over the whole run, and a change takes effect at once.
    @Test func commandsPerSecond() throws {
        var data = SyntheticData(seed: 25)
        data.flowCount = 3
        data.strings.count = 6000
        let run = try RecordedRun(
            "migrate", source: .synthetic(data), arguments: ["--max-ops", "1000"])
        let first = try run.waitForStatus("commands") {
            $0["snapshot"]?["applied"]?.wholeNumber ?? 0 > 300
        }
        let start = Date()
        usleep(1_000_000)
        let second = try run.ask("status")
        // The counters are up to 100 ms old on either side.
        let seconds = Date().timeIntervalSince(start) + 0.12
        let sent =
            (second["commandsSent"]?.wholeNumber ?? 0) - (first["commandsSent"]?.wholeNumber ?? 0)
        #expect(Double(sent) <= 1020 * seconds + 15, "\(sent) in \(seconds) s")
        #expect(sent > 400, "\(sent) in \(seconds) s")
        #expect(second["waitsFor"]?.text == "rate")
        #expect(second["rate"]?["operationsPerSecond"]?.wholeNumber == 1000)
        let reply = try run.command("rate", "--max-ops", "0")
        #expect(reply.exitCode == 0 && reply.standardOutput.contains("no limit"), "\(reply)")
        let outcome = try run.waitForEnd(timeoutSeconds: 10)
        #expect(outcome.exitCode == 0, "\(outcome)")
        let comparison = StateComparison(expected: data.state(), actual: try run.targetState())
        #expect(comparison.differences == [])
    }

    /// A command that costs more than a second is paid for before the next one goes, also when it does
    /// not fit the ring.
    @Test func bytesPerSecondWithHugeCommands() throws {
        var data = SyntheticData(seed: 26)
        data.strings = SyntheticData.Shape(count: 3, elements: 0, elementBytes: 3 << 20)
        let start = Date()
        let run = try RecordedRun(
            "migrate", source: .synthetic(data), arguments: ["--max-bytes", "4000000"])
        let outcome = try run.waitForEnd()
        let seconds = Date().timeIntervalSince(start)
        #expect(outcome.exitCode == 0, "\(outcome)")
        // Two of three are paid for when the last one goes.
        #expect(seconds >= 2 * Double(3 << 20) / 4e6 - 0.02, "\(seconds)")
        #expect(seconds < 10, "\(seconds)")
        let comparison = StateComparison(expected: data.state(), actual: try run.targetState())
        #expect(comparison.differences == [])
        #expect(run.complaints == [])
    }

    /// A target that answers late gets fewer commands at a time.
    @Test func lateTargetGetsFewerCommands() throws {
        let data = Self.data(seed: 27)
        let run = try RecordedRun(
            "migrate", source: .synthetic(data), arguments: ["--max-ops", "4000"],
            targetArguments: ["--enable-debug-command", "yes"])
        try run.waitForStatus("commands") { $0["snapshot"]?["applied"]?.wholeNumber ?? 0 > 100 }
        #expect(try run.ask("status")["waitsFor"]?.text != "latency")
        let sleeper = Sleeper(port: run.target.port)
        defer { sleeper.stop() }
        // The other limit leaves time for it.
        try run.ask("rate", [("maxLatencyMilliseconds", .integer(20))])
        try run.waitForStatus("hold") { $0["waitsFor"]?.text == "latency" }
        sleeper.stop()
        try run.ask("rate", [("operationsPerSecond", .integer(0))])
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 0, "\(outcome)")
        let comparison = StateComparison(expected: data.state(), actual: try run.targetState())
        #expect(comparison.differences == [])
    }
}

/// Lets a target sleep again and again, in the middle of what it is sent.
private final class Sleeper: Sendable {
    private let isEnding = Mutex(false)

    init(port: UInt16) {
        Thread.detachNewThread { [self] in
            guard let client = try? RespClient(port: port) else { return }
            while !isEnding.withLock({ $0 }) {
                _ = try? client.call("DEBUG", "SLEEP", "0.1")
            }
        }
    }

    func stop() { isEnding.withLock { $0 = true } }
}

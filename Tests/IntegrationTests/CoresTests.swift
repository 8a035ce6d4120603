import DragonflySimulator
import Foundation
import TestSupport
import Testing

/// Several reactor threads: as many as there are flows, each where it belongs, and a run that ends in
/// order however far each of them is.
@Suite struct CoresTests {
    /// That this process may use: the kernel lists them as `0-2,5`.
    private static let cpus: [Int] = {
        let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
        let list = status.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed_list:\t") }
        return (list?.split(separator: "\t").last ?? "").split(separator: ",").flatMap { part in
            let ends = part.split(separator: "-").compactMap { Int($0) }
            return ends.isEmpty ? [] : Array(ends[0]...ends[ends.count - 1])
        }
    }()

    private func run(
        _ command: String = "replicate", flows: Int, records: Int = 0, arguments: [String]
    ) throws -> RecordedRun {
        var data = SyntheticData(seed: 11)
        data.flowCount = flows
        data.strings = .init(count: 20_000, elements: 0, elementBytes: 100)
        data.hashes = .init(count: 500, elements: 20, elementBytes: 20)
        let traffic = records > 0 ? LiveTraffic(recordCount: records, seed: 12) : nil
        return try RecordedRun(
            command, source: .synthetic(data, traffic: traffic), arguments: arguments)
    }

    /// `top -H` tells the cores apart, and each stays where it was put. More cores than flows are none.
    @Test(arguments: [("1", 4, 1), ("3", 4, 3), ("8", 2, 2), ("auto", 64, cpus.count)])
    func threadsHaveNamesAndPlaces(_ cores: String, _ flows: Int, _ expected: Int) throws {
        let run = try run(flows: flows, arguments: ["--cores", cores])
        try run.waitUntilAcknowledgedFirst()
        let threads = try run.threads().filter { $0.key.hasPrefix("core-") }
        #expect(threads.count == expected, "\(threads)")
        for index in 0..<expected {
            #expect(threads["core-\(index)"] == "\(Self.cpus[index % Self.cpus.count])")
        }
        run.interrupt()
        #expect(try run.waitForEnd().exitCode == 143)
        #expect(run.complaints == [])
    }

    @Test func cpusAreThoseThatAreNamed() throws {
        let named = Self.cpus.reversed().map(String.init)
        let run = try run(flows: named.count, arguments: ["--cores", named.joined(separator: ",")])
        try run.waitUntilAcknowledgedFirst()
        let threads = try run.threads()
        // Of one CPU the list is a number.
        for (index, cpu) in named.enumerated() where named.count > 1 {
            #expect(threads["core-\(index)"] == cpu, "\(threads)")
        }
        run.interrupt()
        #expect(try run.waitForEnd().exitCode == 143)
    }

    @Test func threadsMayFloat() throws {
        let run = try run(flows: 2, arguments: ["--cores", "2", "--no-pin"])
        try run.waitUntilAcknowledgedFirst()
        let threads = try run.threads()
        let all = threads.filter { !$0.key.hasPrefix("core-") }.values.first
        #expect(threads["core-0"] == all && threads["core-1"] == all, "\(threads)")
        run.interrupt()
        #expect(try run.waitForEnd().exitCode == 143)
    }

    /// A stop may come at any moment: before the flows are open, within the snapshot, behind it.
    @Test(arguments: 0..<8)
    func aStopEndsAllCores(_ number: Int) throws {
        let run = try run(flows: 5, records: 40_000, arguments: ["--cores", "4"])
        if number > 0 { #expect(run.waitUntilRead(bytes: 1 << (number * 2 + 4)) || number > 4) }
        run.interrupt()
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 143, "\(outcome)")
        let report = try run.report()
        #expect(report.snapshot.failed == 0 && report.journal.failed == 0)
        #expect(run.complaints == [])
    }

    /// A target that goes away ends all cores, with the reason of the first that saw it.
    @Test func aLostTargetEndsAllCores() throws {
        let run = try run(flows: 5, records: 40_000, arguments: ["--cores", "4"])
        try run.waitUntilAcknowledgedFirst()
        run.target.stop()
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 1, "\(outcome)")
        #expect(outcome.standardError.contains("lost the connection to the target"))
        #expect(run.complaints == [])
    }

    /// A copy ends when the last core has what it came for.
    @Test(arguments: [1, 2, 3, 4])
    func aCopyIsWhole(_ cores: Int) throws {
        let run = try run("migrate", flows: 7, arguments: ["--cores", "\(cores)"])
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 0, "\(outcome)")
        #expect(try run.report().snapshot.applied == 20_500)
        #expect(try run.target.client().call("DBSIZE") == .integer(20_500))
        #expect(run.complaints == [])
    }

    /// One limit holds for all cores together: what four of them write takes no less time.
    @Test func aRateIsSharedByAllCores() throws {
        let start = Date()
        let run = try run(
            "migrate", flows: 4, arguments: ["--cores", "4", "--max-ops", "10000"])
        let outcome = try run.waitForEnd()
        let seconds = Date().timeIntervalSince(start)
        #expect(outcome.exitCode == 0, "\(outcome)")
        #expect(seconds > 20_500 / 10_000.0 - 0.1, "\(seconds) s")
    }

    /// A thread that looks for work before it sleeps does the same.
    @Test func busyPollChangesNoResult() throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("busy.yaml")
        try "advanced: {busyPollMicroseconds: 500}\n"
            .write(toFile: path, atomically: true, encoding: .utf8)
        let run = try run(
            flows: 3, records: 20_000, arguments: ["--cores", "3", "--config", path])
        try run.waitUntilApplied()
        run.interrupt()
        let outcome = try run.waitForEnd()
        #expect(outcome.exitCode == 143, "\(outcome)")
        #expect(try run.report().journal.failed == 0)
        #expect(run.complaints == [])
    }
}

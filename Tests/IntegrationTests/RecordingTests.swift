import DragonflySimulator
import Foundation
import TestSupport
import Testing

/// What real servers sent, played through df2redis into a real redis-server: every key that Redis
/// can hold must be there and equal, by every way of writing and in every segmentation.
@Suite struct RecordingTests {
    @Test(arguments: try ReplayCase.all + ReplayCase.onCores)
    func replicateLeadsToTheRecordedState(_ replay: ReplayCase) throws {
        let recording = replay.recording
        let run = try RecordedRun(
            "replicate", playing: recording, method: replay.method,
            segmentation: replay.segmentation, cores: replay.cores)
        try run.waitUntilApplied()
        run.interrupt()
        let outcome = try run.waitForEnd()
        let report = try run.report()
        let known = KnownLosses(recording)
        try expect(run.targetState(), of: recording, losing: known, report, "\(replay)")
        #expect(report.repairKeys.filter { !known.mayBeListed($0) } == [])
        #expect(report.keysToRepair == report.repairKeys.count)
        #expect(report.snapshot.failed == 0 && report.journal.failed == 0)
        #expect(report.snapshot.pending == 0 && report.journal.pending == 0)
        #expect(report.lsn == recording.finalLSNs)
        // Keys to repair outrank the signal that ended the run.
        #expect(outcome.exitCode == (report.keysToRepair == 0 ? 143 : 1), "\(outcome)")
        #expect(run.complaints == [])
    }

    /// Without a journal the snapshot is the end state, so `migrate` must reach it.
    @Test(arguments: try ReplayCase.snapshots + ReplayCase.otherTargets)
    func migrateLeadsToTheRecordedState(_ replay: ReplayCase) throws {
        let recording = replay.recording
        let run = try RecordedRun(
            "migrate", playing: recording, method: replay.method,
            segmentation: replay.segmentation, on: replay.target)
        let outcome = try run.waitForEnd(timeoutSeconds: 120)
        let report = try run.report()
        let known = KnownLosses(recording)
        #expect(outcome.exitCode == (report.keysToRepair == 0 ? 0 : 1), "\(outcome)")
        #expect(report.repairKeys.filter { !known.mayBeListed($0) } == [])
        try expect(
            run.targetState(), of: recording, losing: known, report, "\(replay), migrate",
            lacksStreamCounters: replay.target == .redis6)
        #expect(run.complaints == [])
    }

    /// `migrate` ends at each flow's offset and says so, unless there is a key to be read again: then
    /// it follows the journal as long as that takes. What nobody wrote to after it must be what
    /// it is at the end of the recording; nothing else than what was written to may be different.
    @Test(arguments: ["live", "v1.30-live", "types-chunked", "catalogue", "v1.30-catalogue"])
    func migrateEndsAtTheOffsets(_ name: String) throws {
        let recording = try TestSupport.Recording(name)
        let played = try DragonflySimulator.Recording(folder: recording.path)
        let run = try RecordedRun(
            "migrate", source: .recording(played), segmentation: .random(seed: 1))
        let outcome = try run.waitForEnd(timeoutSeconds: 120)
        let report = try run.report()
        #expect(outcome.exitCode == (report.keysToRepair == 0 ? 0 : 1), "\(outcome)")
        let offsets = played.flows.map(\.firstLSN)
        #expect(zip(report.lsn, offsets).allSatisfy { $0 >= $1 })
        if report.keysToRepair == 0 { #expect(report.lsn == offsets) }
        for offset in report.lsn { #expect(outcome.standardOutput.contains("\(offset)")) }
        #expect(outcome.standardOutput.contains("NOT included"))

        let actual = try run.targetState()
        let touched = try writtenLater(
            recording, among: Set(actual.keys).union(recording.expected().keys))
        print("\(name), migrate: \(touched.count) keys written to after the offsets, left out")
        if name.hasSuffix("catalogue") {
            #expect(actual.isEmpty)
        } else {
            try expect(
                actual, of: recording, losing: KnownLosses(recording), report,
                "\(name), migrate", leavingOut: touched)
        }
        #expect(run.complaints == [])
    }

    /// Compares the target with the end of the recording. What cannot be known is left out, and
    /// must have been named by the program.
    private func expect(
        _ actual: ServerState, of recording: TestSupport.Recording, losing known: KnownLosses,
        _ report: Report, _ title: String, leavingOut others: Set<StateKey> = [],
        lacksStreamCounters: Bool = false
    ) throws {
        let expected = try recording.expected()
        let lost = known.lost.union(report.repairKeys.filter(known.mayBeLost))
        var rules = try StateComparison.Rules(recording)
        rules.excluded = lost.union(others)
        rules.lacksStreamCounters = lacksStreamCounters
        let comparison = StateComparison(expected: expected, actual: actual, rules: rules)
        print(comparison.summary(title))
        #expect(comparison.differences == [])
        #expect(comparison.keysCompared > 40)
        #expect(known.lost.subtracting(report.repairKeys) == [])
        guard others.isEmpty else { return }
        for key in known.lost {
            let single = StateComparison(
                expected: expected.filter { $0.key == key }, actual: actual.filter { $0.key == key }
            )
            #expect(!single.isEqual, "\(key) is equal: it need not be left out any more")
        }
    }

    /// Keys whose names occur in the journal after the offsets.
    private func writtenLater(
        _ recording: TestSupport.Recording, among keys: Set<StateKey>
    ) throws -> Set<StateKey> {
        let names = Set(keys.map { ArraySlice($0.name) })
        var found: Set<ArraySlice<UInt8>> = []
        for (index, flow) in recording.flows.enumerated() {
            let journal = try recording.bytes(flow: index)[flow.bytesAtStable...]
            // An argument is its length and its bytes; short lengths are one byte.
            for start in journal.indices where journal[start] < 64 {
                let end = start + 1 + Int(journal[start])
                guard end <= journal.endIndex else { continue }
                let argument = journal[start + 1..<end]
                if names.contains(argument) { found.insert(argument) }
            }
        }
        return keys.filter { found.contains(ArraySlice($0.name)) || $0.name.count >= 64 }
    }
}

/// A recording, a way of writing and a segmentation.
struct ReplayCase: Sendable, CustomTestStringConvertible, CustomStringConvertible {
    var recording: TestSupport.Recording
    var method: WriteMethod
    var segmentation: Segmentation
    var target = TargetServer.system
    /// Nil is as many as the program takes.
    var cores: Int?

    var description: String {
        "\(recording), \(method.rawValue), \(segmentation), to \(target.rawValue)"
            + (cores.map { ", \($0) cores" } ?? "")
    }
    var testDescription: String { description }

    /// Recordings that begin with a snapshot.
    private static var complete: [TestSupport.Recording] {
        get throws {
            try TestSupport.Recording.all().filter { $0.flows.allSatisfy { !$0.isPartial } }
        }
    }

    /// Each on as many cores as can have a flow.
    static var onCores: [ReplayCase] {
        get throws {
            try complete.flatMap { recording in
                (1...recording.flows.count).map {
                    ReplayCase(
                        recording: recording, method: .automatic, segmentation: .whole, cores: $0)
                }
            }
        }
    }

    /// Every recording that begins with a snapshot, by every method, in random segments and in tiny ones.
    /// Whole it comes on each number of cores.
    static var all: [ReplayCase] {
        get throws {
            try complete.flatMap { recording in
                WriteMethod.allCases.map {
                    ReplayCase(
                        recording: recording, method: $0, segmentation: .random(seed: 7))
                } + [
                    ReplayCase(
                        recording: recording, method: .automatic,
                        // A system call a byte is too slow for the long ones.
                        segmentation: .fixed(recording.name.hasSuffix("live") ? 13 : 1))
                ]
            }
        }
    }

    /// Recordings of every type, by every method, into targets of other versions.
    static var otherTargets: [ReplayCase] {
        get throws {
            try TestSupport.Recording.all().filter {
                $0.isSnapshotOnly && $0.name.contains("types")
            }
            .flatMap { recording in
                TargetServer.available.filter { $0 != .system }.flatMap { target in
                    WriteMethod.allCases.map {
                        ReplayCase(
                            recording: recording, method: $0, segmentation: .whole,
                            target: target)
                    }
                }
            }
        }
    }

    /// Recordings without a journal.
    static var snapshots: [ReplayCase] {
        get throws {
            try all.filter { $0.recording.isSnapshotOnly }
        }
    }
}

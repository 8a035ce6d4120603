import DragonflySimulator
import Foundation
import TestSupport
import Testing

/// What real servers sent, played through df2redis into a real redis-server: every key that Redis
/// can hold must be there and equal, by every way of writing and in every segmentation.
@Suite struct RecordingTests {
    @Test(arguments: try ReplayCase.all)
    func replicateLeadsToTheRecordedState(_ replay: ReplayCase) throws {
        let recording = replay.recording
        let run = try RecordedRun(
            "replicate", playing: recording, method: replay.method,
            segmentation: replay.segmentation)
        try run.waitUntilApplied()
        run.interrupt()
        let outcome = try run.waitForEnd()
        let report = try run.report()
        let known = KnownLosses.of(recording)

        var rules = try StateComparison.Rules(recording)
        rules.excluded = known.lost
        let comparison = StateComparison(
            expected: try recording.expected(), actual: try run.targetState(), rules: rules)
        print(comparison.summary("\(replay)"))
        #expect(comparison.differences == [])
        #expect(comparison.keysCompared > 0)

        #expect(report.repairKeys == known.listed, "the keys to repair")
        #expect(report.keysToRepair == known.listed.count)
        #expect(report.snapshot.failed == 0 && report.journal.failed == 0)
        #expect(report.snapshot.pending == 0 && report.journal.pending == 0)
        #expect(report.lsn == recording.finalLSNs)
        // Keys to repair outrank the signal that ended the run.
        #expect(outcome.exitCode == (known.listed.isEmpty ? 143 : 1), "\(outcome)")
        #expect(run.complaints == [])
    }

    /// Without a journal the snapshot is the end state, so `migrate` must reach it, and succeed.
    @Test(arguments: try ReplayCase.snapshots)
    func migrateLeadsToTheRecordedState(_ replay: ReplayCase) throws {
        let recording = replay.recording
        let run = try RecordedRun(
            "migrate", playing: recording, method: replay.method,
            segmentation: replay.segmentation)
        let outcome = try run.waitForEnd(timeoutSeconds: 120)
        #expect(outcome.exitCode == 0, "\(outcome)")
        let comparison = StateComparison(
            expected: try recording.expected(), actual: try run.targetState(),
            rules: try StateComparison.Rules(recording))
        print(comparison.summary("\(replay), migrate"))
        #expect(comparison.differences == [])
        #expect(run.complaints == [])
    }

    /// `migrate` ends at each flow's offset and says so. What nobody wrote to after it must be what
    /// it is at the end of the recording; nothing else than what was written to may be different.
    @Test(arguments: ["live", "v1.30-live", "types-chunked", "catalogue", "v1.30-catalogue"])
    func migrateEndsAtTheOffsets(_ name: String) throws {
        let recording = try TestSupport.Recording(name)
        let played = try DragonflySimulator.Recording(folder: recording.path)
        let run = try RecordedRun(
            "migrate", source: .recording(played), segmentation: .random(seed: 1))
        let outcome = try run.waitForEnd(timeoutSeconds: 120)
        #expect(outcome.exitCode == 0, "\(outcome)")
        let offsets = played.flows.map(\.firstLSN)
        #expect(try run.report().lsn == offsets)
        for offset in offsets { #expect(outcome.standardOutput.contains("\(offset)")) }
        #expect(outcome.standardOutput.contains("NOT included"))

        let actual = try run.targetState()
        let expected = try recording.expected()
        let touched = try writtenLater(recording, among: Set(actual.keys).union(expected.keys))
        var rules = try StateComparison.Rules(recording)
        rules.excluded = touched
        let comparison = StateComparison(expected: expected, actual: actual, rules: rules)
        print("\(name), migrate: \(touched.count) keys written to after the offsets, left out")
        #expect(comparison.differences == [])
        if recording.finalLSNs.reduce(0, +) < 10_000, name.hasSuffix("catalogue") {
            #expect(actual.isEmpty)
        } else {
            #expect(comparison.keysCompared > 1000)
        }
        #expect(run.complaints == [])
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

    var description: String { "\(recording), \(method.rawValue), \(segmentation)" }
    var testDescription: String { description }

    /// Every recording that begins with a snapshot, by every method, whole and in random segments.
    static var all: [ReplayCase] {
        get throws {
            try TestSupport.Recording.all()
                .filter { $0.flows.allSatisfy { !$0.isPartial } }
                .flatMap { recording in
                    WriteMethod.allCases.flatMap { method in
                        [Segmentation.whole, .random(seed: 7)].map {
                            ReplayCase(recording: recording, method: method, segmentation: $0)
                        }
                    } + [
                        ReplayCase(
                            recording: recording, method: .automatic,
                            // A system call a byte is too slow for the long ones.
                            segmentation: .fixed(recording.name.hasSuffix("live") ? 13 : 1))
                    ]
                }
        }
    }

    /// Recordings without a journal.
    static var snapshots: [ReplayCase] {
        get throws {
            try all.filter { $0.recording.isSnapshotOnly && $0.segmentation != .whole }
        }
    }
}

/// What a recording's journal does not say, so that nobody who reads it can have it right.
struct KnownLosses {
    /// Keys that differ from the source.
    var lost: Set<StateKey>
    /// Keys that df2redis must name as to be repaired: those, and some that might differ.
    var listed: Set<StateKey>

    static func of(_ recording: TestSupport.Recording) -> KnownLosses {
        switch recording.name {
        case "catalogue":
            KnownLosses(
                // SORT … STORE over two shards.
                lost: keys("so2"),
                // The source of that SORT, a throttle that has expired since, an LMPOP that took
                // one element as it says.
                listed: keys("so2", "su", "th", "l"))
        case "v1.30-catalogue":
            KnownLosses(
                // Sources and destination of these commands lie on two shards.
                lost: keys("zu", "zi", "zd", "zr"),
                listed: keys("zu", "zi", "zd", "zr", "z", "z2", "th"))
        default: KnownLosses(lost: [], listed: [])
        }
    }

    private static func keys(_ names: String...) -> Set<StateKey> {
        Set(names.map { StateKey(0, $0) })
    }
}

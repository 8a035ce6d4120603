import DragonflySimulator
import TestSupport
import Testing

/// Every write command once: what df2redis makes of the journal is what a redis-server makes of the
/// commands themselves.
@Suite struct CatalogueTests {
    @Test(arguments: ["catalogue", "v1.30-catalogue"])
    func journalAndCommandsLeadToTheSameState(_ name: String) throws {
        let recording = try TestSupport.Recording(name)
        let script = try CommandScript(recording)
        let reference = try RedisServer()
        try script.run(on: reference.client())

        let run = try RecordedRun(
            "replicate", playing: recording, method: .automatic, segmentation: .whole)
        try run.waitUntilApplied()
        run.interrupt()
        _ = try run.waitForEnd()

        var rules = try StateComparison.Rules(recording)
        rules.excluded = KnownLosses(recording).lost.union(CommandScript.ownResults)
        let comparison = StateComparison(
            expected: try StateReader(reference.client()).read(), actual: try run.targetState(),
            rules: rules)
        print(comparison.summary("\(name): df2redis against commands.txt on redis-server"))
        print("    Dragonfly only: \(script.leftOut.joined(separator: "; "))")
        print("    refused by the master: \(script.refused.joined(separator: "; "))")
        #expect(comparison.differences == [])
        #expect(run.complaints == [])
    }
}

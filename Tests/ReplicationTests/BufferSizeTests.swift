import DragonflySimulator
import Replication
import TestSupport
import Testing

/// How large the buffers are changes the speed of a run and nothing else: a flow that finds no room
/// waits, goes on where it was, and is counted once.
@Suite struct BufferSizeTests {
    @Test(
        arguments: ["types-lz4", "types-chunked", "live", "catalogue", "v1.20-types"],
        [ReplicationSettings.WriteMethod.automatic, .commands])
    func smallBuffersLeadToTheSameState(
        _ name: String, _ method: ReplicationSettings.WriteMethod
    ) throws {
        let recording = try TestSupport.Recording(name)
        let large = try RedisServer()
        let small = try RedisServer()
        let wide = try replicate(recording, to: large, method, ringBytes: 1 << 22)
        let narrow = try replicate(recording, to: small, method, ringBytes: 1 << 12)
        for report in [wide, narrow] {
            #expect(report.error == nil)
            #expect(report.progress.snapshot.pending == 0 && report.progress.journal.pending == 0)
            #expect(report.progress.snapshot.failed == 0 && report.progress.journal.failed == 0)
            #expect(report.progress.snapshot.filtered == 0)
        }
        #expect(wide.progress.snapshot == narrow.progress.snapshot)
        #expect(wide.progress.journal == narrow.progress.journal)
        #expect(wide.progress.flows.map(\.appliedLSN) == recording.finalLSNs)
        #expect(narrow.progress.flows.map(\.appliedLSN) == recording.finalLSNs)
        #expect(wide.progress.snapshotByType == narrow.progress.snapshotByType)
        #expect(wide.progress.journalByType == narrow.progress.journalByType)
        #expect(wide.progress.memberExpiriesDropped == narrow.progress.memberExpiriesDropped)
        #expect(wide.progress.pendingEntriesDropped == narrow.progress.pendingEntriesDropped)

        var rules = try StateComparison.Rules(recording)
        let repairs = wide.progress.findings.filter { $0.kind == .repair }
        rules.excluded = Set(repairs.map { StateKey($0.database, $0.key) })
        let comparison = StateComparison(
            expected: try StateReader(large.client()).read(),
            actual: try StateReader(small.client()).read(), rules: rules)
        #expect(comparison.differences == [])
        #expect(comparison.keysCompared > 40)
    }

    private func replicate(
        _ recording: TestSupport.Recording, to target: RedisServer,
        _ method: ReplicationSettings.WriteMethod, ringBytes: Int
    ) throws -> RunReport {
        let source = try SimulatorServer(
            source: .recording(DragonflySimulator.Recording(folder: recording.path)))
        try source.start()
        defer { source.stop() }
        var settings = ReplicationSettings(
            mode: .replicate, source: Endpoint(host: "127.0.0.1", port: source.port),
            target: Endpoint(host: "127.0.0.1", port: target.port))
        settings.writeMethod = method
        settings.targetRingBytes = ringBytes
        let replicator = try Replicator(settings: settings)
        try replicator.start()
        for (flow, end) in recording.finalLSNs.enumerated() {
            let isApplied = source.waitForAcknowledgement(
                flow: flow, atLeast: end, timeoutMilliseconds: 60_000)
            #expect(isApplied, "flow \(flow): \(source.report())")
        }
        replicator.requestStop()
        let report = replicator.waitForEnd()
        #expect(source.breaches == [])
        return report
    }
}

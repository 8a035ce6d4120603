import DragonflySimulator
import Foundation
import Glibc
import Replication
import TestSupport
import Testing

/// A run that is given the LSNs at which an earlier one ended goes on there: no snapshot, nothing
/// twice, nothing left out (protocol.md 8).
@Suite struct PartialResumeTests {
    @Test func secondRunContinuesTheFirst() throws {
        let first = try TestSupport.Recording("partial-1")
        let second = try TestSupport.Recording("partial-2")
        let source = try SimulatorServer(
            source: .recording(
                DragonflySimulator.Recording(folder: first.path),
                continuation: DragonflySimulator.Recording(folder: second.path)))
        try source.start()
        defer { source.stop() }
        let target = try RedisServer()

        let full = try replicate(from: source, to: target, position: nil, until: first.finalLSNs)
        #expect(full.error == nil)
        #expect(full.progress.snapshot.applied > 0)
        try expect(first, on: target)

        let resumed = try replicate(
            from: source, to: target,
            position: SourcePosition(sourceID: source.masterId, lsns: first.finalLSNs),
            until: second.finalLSNs)
        #expect(resumed.error == nil)
        #expect(resumed.progress.snapshot.read == 0)
        let records = zip(second.finalLSNs, first.finalLSNs).reduce(0) { $0 + Int($1.0 - $1.1) }
        #expect(resumed.progress.journal.read == records)
        try expect(second, on: target)

        #expect(source.breaches == [])
        #expect(source.resetCount == 0)
    }

    private func replicate(
        from source: SimulatorServer, to target: RedisServer, position: SourcePosition?,
        until ends: [UInt64]
    ) throws -> RunReport {
        var settings = ReplicationSettings(
            mode: .replicate, source: Endpoint(host: "127.0.0.1", port: source.port),
            target: Endpoint(host: "127.0.0.1", port: target.port))
        settings.position = position
        let replicator = try Replicator(settings: settings)
        try replicator.start()
        for (flow, end) in ends.enumerated() {
            let isApplied = source.waitForAcknowledgement(
                flow: flow, atLeast: end, timeoutMilliseconds: 60_000)
            #expect(isApplied, "flow \(flow): \(source.report())")
        }
        replicator.requestStop()
        return replicator.waitForEnd()
    }

    private func expect(_ recording: TestSupport.Recording, on target: RedisServer) throws {
        let comparison = StateComparison(
            expected: try recording.expected(),
            actual: try StateReader(target.client()).read(),
            rules: try StateComparison.Rules(recording))
        print(comparison.summary(recording.name))
        #expect(comparison.differences == [])
    }
}

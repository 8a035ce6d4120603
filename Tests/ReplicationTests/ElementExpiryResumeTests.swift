import DragonflySimulator
import Foundation
import RedisTarget
import Replication
import TestSupport
import Testing

/// What was to be removed later is removed by the run that goes on.
@Suite struct ElementExpiryResumeTests {
    private func settings(
        _ source: SimulatorServer, _ target: RedisServer, _ directory: TemporaryDirectory
    ) -> ReplicationSettings {
        var settings = ReplicationSettings(
            mode: .replicate, source: Endpoint(host: "127.0.0.1", port: source.port),
            target: Endpoint(host: "127.0.0.1", port: target.port))
        settings.stateDirectory = directory.path
        settings.types.hashFieldExpiry = .byUs
        settings.types.setMemberExpiry = .byUs
        return settings
    }

    private func follow(_ source: SimulatorServer) {
        for (flow, end) in source.nextLSNs.enumerated() {
            let isApplied = source.waitForAcknowledgement(
                flow: flow, atLeast: end, timeoutMilliseconds: 60_000)
            #expect(isApplied, "\(source.report())")
        }
    }

    @Test func aResumedRunRemovesThem() throws {
        let source = try SimulatorServer(source: .emulated(EmulationOptions(flowCount: 2)))
        try source.start()
        defer { source.stop() }
        let target = try RedisServer()
        let client = try target.client()
        let directory = try TemporaryDirectory()
        let words = [
            "HSETEX h 3 due 1 kept 1", "HSETEX h 100000 late 1", "HSET h plain 1",
            "SADDEX s 3 due kept", "SADD s plain",
        ]
        for word in words { try source.execute(word) }

        let first = try Replicator(settings: settings(source, target, directory))
        try first.start()
        while source.nextLSNs.contains(0) { usleep(1000) }
        follow(source)
        first.requestStop()
        let before = first.waitForEnd()
        #expect(before.error == nil && before.progress.elementsOpen == 5, "\(before.progress)")
        #expect(source.waitUntilLeft(timeoutMilliseconds: 10_000))
        #expect(try client.call("HLEN", "h").integer == 4)

        // What the second run hears first: these stay.
        try source.execute("HSET h kept 2")
        usleep(3_200_000)
        var next = settings(source, target, directory)
        next.position = SourcePosition(
            sourceID: before.sourceID, lsns: before.progress.flows.map(\.appliedLSN))
        let second = try Replicator(settings: next)
        try second.start()
        let deadline = Date(timeIntervalSinceNow: 20)
        while try client.call("SCARD", "s").integer != 1, Date() < deadline { usleep(10_000) }
        follow(source)
        second.requestStop()
        let after = second.waitForEnd()
        #expect(after.error == nil && after.progress.elementsOpen == 1, "\(after.progress)")
        #expect(after.progress.elementsRemoved >= 3)
        #expect(
            try client.call("HKEYS", "h").elements?.compactMap(\.text).sorted()
                == ["kept", "late", "plain"])
        #expect(try client.call("HGET", "h", "kept").text == "2")
        #expect(try client.call("SMEMBERS", "s").elements?.compactMap(\.text) == ["plain"])
        #expect(source.waitUntilLeft(timeoutMilliseconds: 10_000))
        #expect(source.breaches == [])
    }

    /// A value that the target refuses has no elements to remove.
    @Test func aRefusedValueHasNone() throws {
        let source = try SimulatorServer(source: .emulated(EmulationOptions(flowCount: 1)))
        try source.start()
        defer { source.stop() }
        let target = try RedisServer()
        try target.client().call("ACL", "SETUSER", "default", "-hset")
        let directory = try TemporaryDirectory()
        try source.execute("HSETEX h 100000 late 1")
        let run = try Replicator(settings: settings(source, target, directory))
        try run.start()
        while source.nextLSNs.contains(0) { usleep(1000) }
        follow(source)
        run.requestStop()
        let report = run.waitForEnd()
        #expect(report.progress.flows[0].snapshot.failed == 1 && report.progress.elementsOpen == 0)
    }

    /// A target that refuses every removal is named, once.
    @Test func aRefusalIsTold() throws {
        let source = try SimulatorServer(source: .emulated(EmulationOptions(flowCount: 1)))
        try source.start()
        defer { source.stop() }
        let target = try RedisServer()
        let client = try target.client()
        try client.call("ACL", "SETUSER", "default", "-hdel", "-srem")
        let directory = try TemporaryDirectory()
        for word in ["HSETEX h 2 a 1 b 1", "HSET h plain 1", "SADDEX s 2 due"] {
            try source.execute(word)
        }
        let run = try Replicator(settings: settings(source, target, directory))
        try run.start()
        while source.nextLSNs.contains(0) { usleep(1000) }
        let deadline = Date(timeIntervalSinceNow: 20)
        while run.progress().notices.isEmpty, Date() < deadline { usleep(10_000) }
        follow(source)
        run.requestStop()
        let report = run.waitForEnd()
        #expect(report.error == nil && report.progress.elementsOpen == 3)
        #expect(report.progress.notices.count { $0.contains("NOPERM") } == 1)
    }

    /// Without a place to keep them the run does not begin.
    @Test func aStateDirectoryIsNeeded() throws {
        let source = try SimulatorServer(source: .emulated(EmulationOptions(flowCount: 1)))
        try source.start()
        defer { source.stop() }
        let target = try RedisServer()
        var settings = settings(source, target, try TemporaryDirectory())
        settings.stateDirectory = nil
        let replicator = try Replicator(settings: settings)
        try replicator.start()
        let report = replicator.waitForEnd()
        #expect(report.error?.kind == .refused, "\(String(describing: report.error))")
        #expect(report.error?.message.contains("state directory") == true)
    }
}

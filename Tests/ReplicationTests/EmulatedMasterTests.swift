import DragonflySimulator
import Replication
import TestSupport
import Testing

/// The whole replicator with an emulated master of each release: plain writes before, in and after
/// the full sync arrive, and the judge has nothing against it.
@Suite struct EmulatedMasterTests {
    @Test(arguments: EmulatedRelease.allCases)
    func followsEveryRelease(_ release: EmulatedRelease) throws {
        var options = EmulationOptions(release: release, flowCount: 3)
        options.bucketPauseMicroseconds = 1000
        options.markerIntervalMilliseconds = 5
        options.stream.chunkBytes = 500
        let source = try SimulatorServer(source: .emulated(options))
        try source.start()
        defer { source.stop() }
        let target = try RedisServer()
        var random = SeededGenerator(seed: 11)
        for _ in 0..<2000 { try write(source, &random) }
        let replicator = try Replicator(
            settings: ReplicationSettings(
                mode: .replicate, source: Endpoint(host: "127.0.0.1", port: source.port),
                target: Endpoint(host: "127.0.0.1", port: target.port)))
        try replicator.start()
        while source.nextLSNs.contains(0) { try write(source, &random) }
        for _ in 0..<2000 { try write(source, &random) }
        for (flow, end) in source.nextLSNs.enumerated() {
            let isApplied = source.waitForAcknowledgement(
                flow: flow, atLeast: end, timeoutMilliseconds: 60_000)
            #expect(isApplied, "flow \(flow): \(source.report())")
        }
        replicator.requestStop()
        let report = replicator.waitForEnd()
        #expect(report.error == nil)
        #expect(source.waitUntilLeft(timeoutMilliseconds: 10_000))
        #expect(source.breaches == [])
        #expect(source.counters.blobs > 0)
        try source.settle()
        let expected = try RespClient(port: source.redisPort)
        let comparison = StateComparison(
            expected: try StateReader(expected).read(),
            actual: try StateReader(target.client()).read())
        #expect(comparison.differences == [])
    }

    private func write(_ source: SimulatorServer, _ random: inout SeededGenerator) throws {
        let number = Int.random(in: 0..<200, using: &random)
        let value = Int.random(in: 0..<1_000_000, using: &random)
        let command =
            switch Int.random(in: 0..<9, using: &random) {
            case 0: "SET string:\(number) \(value)"
            case 1: "INCRBY counter:\(number) \(value)"
            case 2: "RPUSH list:\(number) \(value) \(value)"
            case 3: "LPOP list:\(number)"
            case 4: "SADD set:\(number) \(value)"
            case 5: "HSET hash:\(number) \(value % 100) \(value)"
            case 6: "ZADD zset:\(number) \(value) \(value % 100)"
            case 7: "EXPIRE hash:\(number) \(100_000 + value % 1000)"
            default: "DEL string:\(number) list:\(number + 1)"
            }
        try source.execute(command, database: number % 2)
    }
}

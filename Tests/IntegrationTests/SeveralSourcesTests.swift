import DragonflySimulator
import Foundation
import TestSupport
import Testing

/// Several sources into one target, as the masters of a Dragonfly cluster: one run each, with a name of
/// its own, none of which touches what the others bring.
@Suite(.serialized) struct SeveralSourcesTests {
    private static let keys = 500
    private static let bigBytes = 3 << 20

    @Test(arguments: [false, true])
    func eachKeepsToItsOwn(_ isCluster: Bool) throws {
        let cluster = isCluster ? try RedisCluster() : nil
        let server = isCluster ? nil : try RedisServer()
        var runs: [RecordedRun] = []
        let directory = try TemporaryDirectory()
        for name in ["a", "b"] {
            let path = directory.file("\(name).yaml")
            try "taskName: \(name)\nflush: fail\n".write(
                toFile: path, atomically: true, encoding: .utf8)
            var emulation = EmulationOptions(release: .v1_40, flowCount: 2)
            emulation.seed = 1
            let run = try RecordedRun(
                "replicate", source: .emulated(emulation), arguments: ["--config", path],
                target: server, movingTarget: cluster,
                beforeStart: { source in
                    for index in 0..<Self.keys { try Self.set("\(name):\(index)", "1", source) }
                    // Large enough to be built under a name of its own.
                    try Self.set(
                        "\(name):big", String(repeating: name, count: Self.bigBytes), source)
                })
            runs.append(run)
            if name == "a" { try run.waitUntilAcknowledgedFirst() }
        }
        try runs[1].waitUntilAcknowledgedFirst()
        for (run, name) in zip(runs, ["a", "b"]) {
            for index in 0..<Self.keys { try Self.set("\(name):\(index)", "2", run.source) }
            try run.waitUntilAcknowledged()
        }
        // A flush of one source is not one of the target.
        try runs[0].source.execute(.command([Array("FLUSHALL".utf8)], database: 0))
        let flushed = try runs[0].waitForEnd()
        #expect(flushed.exitCode == 1, "\(flushed)")
        #expect(flushed.standardError.contains("the source was flushed"), "\(flushed)")
        runs[1].interrupt()
        #expect(try runs[1].waitForEnd().exitCode == 143)
        let state = try runs[1].targetState()
        #expect(state.count == 2 * (Self.keys + 1))
        for name in ["a", "b"] {
            for index in 0..<Self.keys {
                #expect(Self.text("\(name):\(index)", state) == "2")
            }
            let big = String(repeating: name, count: Self.bigBytes)
            #expect(Self.text("\(name):big", state) == big)
        }
    }

    private static func text(_ key: String, _ state: ServerState) -> String? {
        guard case .string(let bytes) = state[StateKey(0, key)]?.value else { return nil }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func set(_ key: String, _ value: String, _ source: SimulatorServer) throws {
        try source.execute(
            .command(["SET", key, value].map { Array($0.utf8) }, database: 0))
    }
}

import DragonflySimulator
import Foundation
import TestSupport
import Testing

/// Each way in which a source's journal says too little (protocol.md 6.8): the source does it, and the
/// target holds the source's data all the same, because the key was read again.
@Suite struct InformationLossTests {
    /// One loss: what is there before, and the command whose record loses something.
    struct Loss: Sendable, CustomTestStringConvertible {
        let name: String
        var release = EmulatedRelease.newest
        let before: [String]
        let losing: [RandomTraffic.Step]
        var servesMemcached = false
        var flowCount = 4
        /// Between `before` and `losing`, for an expiry to come.
        var waitMilliseconds = 0

        var testDescription: String { name }
    }

    private static func command(_ text: String) -> RandomTraffic.Step {
        .command(text.split(separator: " ").map { Array($0.utf8) }, database: 0)
    }

    static let losses: [Loss] = [
        Loss(
            name: "LMPOP of several elements", before: ["RPUSH l a b c d e"],
            losing: [command("LMPOP 1 l LEFT COUNT 3")]),
        // On one shard these are recorded as they were given.
        Loss(
            name: "what is made of such a list at once",
            before: ["RPUSH l c d e f a b"],
            losing: [
                command("LMPOP 1 l LEFT COUNT 3"), command("SORT l ALPHA STORE sorted"),
                command("RENAME sorted other"), command("RENAME l renamed"),
            ], flowCount: 1),
        Loss(
            name: "incr of a memcached client", before: ["SET n 5"],
            losing: [.memcached(["incr", "n", "7"].map { Array($0.utf8) })],
            servesMemcached: true),
        // With the present hash `src` and one of these lie on different shards of four.
        Loss(
            name: "SORT ... STORE over shards", before: ["RPUSH src 3 1 2"],
            losing: (0..<8).map { command("SORT src STORE dst:\($0)") }),
        Loss(
            name: "HINCRBY of a field that expired", before: ["HSETEX h 1 f 1", "HSET h g 1"],
            losing: [command("HINCRBY h f 5")], waitMilliseconds: 2100),
        Loss(
            name: "RESTORE with a relative expiry", before: [],
            losing: [
                .command(
                    [
                        Array("RESTORE".utf8), Array("r".utf8), Array("90000000".utf8),
                        // DUMP of a string `v` (protocol.md 3.11).
                        [0, 1, 0x76, 9, 0, 0x41, 0xfa, 0x9f, 0x7e, 0x4d, 0xbe, 0xe9, 0x7f],
                    ], database: 0)
            ]),
        Loss(name: "CL.THROTTLE", before: [], losing: [command("CL.THROTTLE th 15 30 6000")]),
        Loss(
            name: "XAUTOCLAIM by idle time",
            before: [
                "XADD x 1-1 f v", "XADD x 1-2 f v", "XGROUP CREATE x g 0",
                "XREADGROUP GROUP g alice COUNT 2 STREAMS x >",
            ], losing: [command("XAUTOCLAIM x g bob 1 0")], waitMilliseconds: 20),
        Loss(
            name: "XREADGROUP up to v1.36", release: .v1_35,
            before: ["XADD x 1-1 f v", "XGROUP CREATE x g 0"],
            losing: [command("XREADGROUP GROUP g alice COUNT 1 STREAMS x >")]),
        Loss(
            name: "XADD * up to v1.26", release: .v1_20, before: ["XADD x 1-1 f v"],
            losing: [command("XADD x * f w"), command("XADD x MAXLEN 2 * f w")]),
        Loss(
            name: "ZUNIONSTORE cut per shard", release: .v1_30,
            before: ["ZADD z1 1 a 2 b", "ZADD z2 5 b"],
            losing: (0..<8).map { command("ZUNIONSTORE zu:\($0) 2 z1 z2") }),
    ]

    @Test(arguments: losses)
    func isRepaired(_ loss: Loss) throws {
        var emulation = EmulationOptions(release: loss.release, flowCount: loss.flowCount)
        emulation.memcachedPort = loss.servesMemcached ? 11_211 : 0
        let run = try RecordedRun(
            "replicate", source: .emulated(emulation),
            beforeStart: { source in for text in loss.before { try source.execute(text) } })
        try run.waitUntilAcknowledgedFirst()
        usleep(UInt32(loss.waitMilliseconds) * 1000)
        for step in loss.losing { try run.source.execute(step) }
        try run.waitUntilAcknowledged()
        run.interrupt()
        let outcome = try run.waitForEnd()
        try run.source.settle()
        let expected = try StateReader(RespClient(port: run.source.redisPort)).read()
        let report = try run.report()
        var rules = StateComparison.Rules()
        rules.hasOldStreams = loss.release == .v1_20
        let comparison = StateComparison(
            expected: expected, actual: try run.targetState(), rules: rules)
        #expect(!expected.isEmpty)
        #expect(comparison.differences == [], "\(loss.name)")
        #expect(report.keysRepaired >= 1 && report.keysToRepair == 0, "\(outcome)")
        #expect(report.journal.failed == 0 && outcome.exitCode == 143, "\(outcome)")
        #expect(run.complaints == [])
    }

    /// A key that cannot be read again is named, and what is made of it later is read instead.
    @Test func whatIsMadeOfAGivenUpKeyIsRepaired() throws {
        let folder = try TemporaryDirectory()
        let configuration = folder.file("configuration.yaml")
        try "advanced:\n  valueBytesLimit: 65536\n".write(
            toFile: configuration, atomically: true, encoding: .utf8)
        let emulation = EmulationOptions(release: .newest, flowCount: 1)
        let run = try RecordedRun(
            "replicate", source: .emulated(emulation), arguments: ["--config", configuration],
            beforeStart: { source in try source.execute("RPUSH l a b c d e f g h i j k l m n o p") }
        )
        try run.waitUntilAcknowledgedFirst()
        var random = TestSupport.SeededGenerator(seed: 1)
        for _ in 0..<3 {
            let letters = (0..<40_000).map { _ in UInt8.random(in: 97...122, using: &random) }
            try run.source.execute("RPUSH l z" + String(decoding: letters, as: UTF8.self))
        }
        try run.source.execute("LMPOP 1 l LEFT COUNT 3")
        try run.source.execute("SORT l ALPHA LIMIT 0 1 STORE soon")
        // Once the flow has come so far, and a while longer, the list has been given up.
        try run.waitUntilAcknowledged()
        usleep(3_000_000)
        try run.source.execute("SORT l ALPHA LIMIT 0 1 STORE later")
        try run.waitUntilAcknowledged()
        run.interrupt()
        let outcome = try run.waitForEnd()
        let report = try run.report()
        #expect(report.repairKeys == [StateKey(0, "l")], "\(outcome)")
        let letters = try run.deadLetters()
        #expect(letters.map(\.key) == ["l"] && letters.map(\.phase) == ["repair"])
        #expect(letters.first?.reply.contains("above the limit for one value") == true)
        #expect(outcome.exitCode == 1, "\(outcome)")
        let target = try run.target.client()
        for key in ["soon", "later"] {
            let elements = try target.call("LRANGE", key, "0", "-1").elements?.compactMap(\.text)
            #expect(elements == ["d"], "\(key)")
        }
        #expect(report.keysRepaired == 2 && run.complaints == [])
    }

    /// A source that cannot answer now is asked again.
    @Test func aBusySourceIsAskedAgain() throws {
        let run = try RecordedRun(
            "replicate", source: .emulated(EmulationOptions(flowCount: 2)), busyReads: 7,
            beforeStart: { source in try source.execute("RPUSH l a b c d e") })
        try run.waitUntilAcknowledgedFirst()
        try run.source.execute("LMPOP 1 l LEFT COUNT 3")
        try run.waitUntilAcknowledged()
        run.interrupt()
        let outcome = try run.waitForEnd()
        let report = try run.report()
        #expect(report.keysRepaired == 1 && report.findings == [], "\(outcome)")
        #expect(outcome.exitCode == 143, "\(outcome)")
        let client = try run.target.client()
        #expect(try client.call("LRANGE", "l", "0", "-1").elements?.map(\.text) == ["d", "e"])
        #expect(run.complaints == [])
    }

    /// The LSNs of a flow say nothing of a key that another shard owns: such a key is named.
    @Test func aRecordOnAnotherFlowThanItsKeysIsNamed() throws {
        let run = try RecordedRun(
            "replicate", source: .emulated(EmulationOptions(flowCount: 4)),
            beforeStart: { source in
                for index in 0..<100 { try source.execute("SET key:\(index) v") }
            })
        try run.waitUntilAcknowledgedFirst()
        // On one of them it is at home.
        for flow in 0..<4 { try run.source.journal("CL.THROTTLE key:7 1 1 1", onFlow: flow) }
        try run.waitUntilAcknowledged()
        run.interrupt()
        let outcome = try run.waitForEnd()
        let report = try run.report()
        #expect(report.repairKeys == [StateKey(0, "key:7")], "\(outcome)")
        #expect(report.findings.allSatisfy { $0.reason.contains("its shard is not") })
        #expect(report.keysRepaired == 1 && report.journal.repaired == 4, "\(outcome)")
        #expect(outcome.exitCode == 1, "\(outcome)")
        #expect(try run.target.client().call("DBSIZE") == .integer(100))
        #expect(run.complaints == [])
    }
}

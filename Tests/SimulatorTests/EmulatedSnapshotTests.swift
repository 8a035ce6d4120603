import Bytes
import TestSupport
import Testing

@testable import DragonflySimulator

/// What a replica of an emulated master has read, in order, is what the master holds.
@Suite struct EmulatedSnapshotTests {
    struct Case: CustomTestStringConvertible {
        let release: EmulatedRelease
        let flowCount: Int
        let seed: UInt64

        var testDescription: String { "\(release.rawValue), \(flowCount) flows, seed \(seed)" }

        static let all = EmulatedRelease.allCases.flatMap { release in
            [1, 2, 4].flatMap { flows in
                (1...2).map {
                    Case(release: release, flowCount: flows, seed: UInt64($0 * 10 + flows))
                }
            }
        }
    }

    /// Random writes before, in and after the full sync, while it is slow enough to be disturbed.
    @Test(arguments: Case.all) func holdsWhatTheMasterHolds(_ parameters: Case) throws {
        print("seed \(parameters.seed)")
        var options = EmulationOptions(
            release: parameters.release, flowCount: parameters.flowCount)
        options.seed = parameters.seed
        options.stream.seed = parameters.seed
        options.stream.chunkBytes = 300
        let compressions = StreamOptions.Compression.allCases
        options.stream.compression = compressions[Int(parameters.seed) % compressions.count]
        // Long enough that writes meet buckets that are not captured, also on a busy machine.
        options.bucketPauseMicroseconds = parameters.release == .newest ? 2000 : 200
        options.markerIntervalMilliseconds = 1
        options.keysPerBucket = 3
        let target = try RedisServer()
        defer { target.stop() }
        try withMaster(options) { server in
            var traffic = SimpleTraffic(seed: parameters.seed)
            for _ in 0..<400 { try traffic.step(server) }
            let replica = try EmulatedReplica(server)
            let session = replica.replica.session
            try replica.replica.control.send("DFLY SYNC \(session)\r\n")
            try #require(try replica.replica.control.reply() == ["OK"])
            for _ in 0..<400 { try traffic.step(server) }
            for flow in replica.streams.indices {
                try replica.read(flow: flow) { $0.hasFullSyncEnd }
            }
            for _ in 0..<50 { try traffic.step(server) }
            try replica.startStable()
            for _ in 0..<300 { try traffic.step(server) }
            try replica.catchUp(server)
            let counters = server.counters
            #expect(counters.blobs > 0 && counters.baselines > 0)
            if parameters.release == .newest { #expect(counters.omitted > 0) }
            let client = try target.client()
            try replica.apply(to: client)
            try replica.leave()
            try server.settle()
            let expected = try StateReader(RespClient(port: server.redisPort)).read()
            let actual = try StateReader(client).read()
            #expect(expected.count > 50)
            let comparison = StateComparison(expected: expected, actual: actual)
            #expect(comparison.differences == [])
        }
    }

    /// A key's baseline comes before all of its journal entries, and comes once.
    @Test func capturesBeforeTheFirstChange() throws {
        var options = EmulationOptions(flowCount: 1)
        options.bucketPauseMicroseconds = 2000
        options.keysPerBucket = 4
        options.omitsRedundantWrites = false
        try withMaster(options) { server in
            for number in 0..<100 { try server.execute("SET key:\(number) 0") }
            let replica = try EmulatedReplica(server)
            let control = replica.replica.control
            _ = try control.command("DFLY SYNC \(replica.replica.session)")
            for number in 0..<100 { try server.execute("INCR key:\(99 - number)") }
            try replica.startStable(waitingForEnd: true)
            var seen: Set<[UInt8]> = []
            for item in replica.streams[0].items {
                switch item {
                case .entry(let entry):
                    #expect(seen.insert(entry.key).inserted)
                    // A string of one byte or an integer: the value of before the change.
                    #expect(entry.payload == [0, 0xc0, 0])
                case .blob(let record): #expect(seen.contains(record.words[1]))
                case .fullSyncEnd, .record: break
                }
            }
            #expect(seen.count == 100)
            #expect(replica.streams[0].blobs.count == 100)
            try replica.leave()
        }
    }

    /// SET and DEL of keys that are not captured stay out of the blobs; their LSNs count, the
    /// baseline has the result, and the backlog is useless from then on (protocol.md 3.8, 8.6).
    @Test func omitsRedundantWrites() throws {
        var options = EmulationOptions(flowCount: 1)
        options.bucketPauseMicroseconds = 2000
        options.keysPerBucket = 1
        try withMaster(options) { server in
            for number in 0..<100 { try server.execute("SET key:\(number) old") }
            let replica = try EmulatedReplica(server)
            let control = replica.replica.control
            _ = try control.command("DFLY SYNC \(replica.replica.session)")
            for number in 0..<100 { try server.execute("SET key:\(number) new") }
            try server.execute("DEL key:0")
            try replica.startStable(waitingForEnd: true)
            let omitted = server.counters.omitted
            #expect(omitted > 50)
            #expect(replica.streams[0].blobs.count == 101 - omitted)
            #expect(replica.nextLSNs == [102])
            try replica.leave()
            let second = try EmulatedReplica(server, resumingAt: [50])
            #expect(second.kinds == ["FULL"])
            try second.leave()
        }
    }

    /// PFMERGE leaves a copy on each shard that has one of its keys, for that shard's snapshot.
    @Test func hasGhosts() throws {
        try withMaster(EmulationOptions(flowCount: 4)) { server in
            for number in 0..<8 { try server.execute("PFADD source:\(number) a b \(number)") }
            let sources = (0..<8).map { "source:\($0)" }.joined(separator: " ")
            try server.execute("PFMERGE merged \(sources)")
            let replica = try EmulatedReplica(server)
            try replica.run()
            let flows = replica.streams.indices.filter { flow in
                replica.streams[flow].entries.contains { $0.key == bytes("merged") }
            }
            #expect(flows.count > 1)
            #expect(flows.contains(shard(of: bytes("merged"), flowCount: 4)))
            try replica.leave()
        }
    }

    /// A fair number of commands pass in a second, with a replica that follows.
    @Test func isFastEnough() throws {
        try withMaster(EmulationOptions(flowCount: 2)) { server in
            let replica = try EmulatedReplica(server)
            try replica.run()
            let clock = ContinuousClock()
            let duration = try clock.measure {
                for number in 0..<5000 { try server.execute("SET key:\(number) v") }
            }
            print("5000 commands in \(duration)")
            #expect(duration < .seconds(20))
            try replica.catchUp(server)
            try replica.leave()
        }
    }
}

/// Random writes of the commands that a Redis does as a Dragonfly does.
private struct SimpleTraffic {
    private var random: SplitMix

    init(seed: UInt64) {
        random = SplitMix(seed: seed)
    }

    private mutating func below(_ limit: Int) -> Int { Int(random.next() % UInt64(limit)) }

    private mutating func value() -> String {
        below(3) == 0 ? String(repeating: "v", count: 20 + below(60)) : "\(below(10_000))"
    }

    /// Executes one command, or a transaction.
    mutating func step(_ server: SimulatorServer) throws {
        let database = below(4) == 0 ? 5 : 0
        if below(20) == 0 {
            let commands = (0..<3).map { _ in command().split(separator: " ").map { bytes("\($0)") }
            }
            _ = try server.execute(transaction: commands, database: database)
        } else {
            try server.execute(command(), database: database)
        }
    }

    private mutating func command() -> String {
        let number = below(40)
        switch below(20) {
        case 0, 1: return "SET string:\(number) \(value())"
        case 2: return "INCRBY counter:\(number) \(below(100))"
        case 3: return "APPEND string:\(number) \(value())"
        case 4, 5: return "RPUSH list:\(number) \(value()) \(value())"
        case 6: return "LPUSH list:\(number) \(value())"
        case 7: return "LPOP list:\(number)"
        case 8, 9: return "SADD set:\(number) \(value()) \(value()) \(value())"
        case 10: return "SREM set:\(number) \(below(10_000))"
        case 11, 12: return "HSET hash:\(number) f\(below(50)) \(value()) f\(below(50)) 1"
        case 13: return "HDEL hash:\(number) f\(below(50))"
        case 14: return "ZADD zset:\(number) \(below(100)) \(value()) 1.5 m\(below(50))"
        case 15: return "DEL list:\(number) set:\(below(40)) zset:\(below(40))"
        case 16: return "MSET string:\(number) \(value()) string:\(below(40)) \(value())"
        case 17: return "EXPIRE hash:\(number) \(100_000 + below(1000))"
        case 18: return "RENAME zset:\(number) zset:\(below(40))"
        default: return "DEL string:\(number)"
        }
    }
}

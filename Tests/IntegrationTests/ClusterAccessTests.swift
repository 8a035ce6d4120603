import DragonflySimulator
import Foundation
import TestSupport
import Testing

/// However the nodes of a cluster are reached, the run ends with the source's data, or within bounded
/// time with a message that names the node in the way.
@Suite(.serialized) struct ClusterAccessTests {
    /// The user may send all that a run sends, while slots move too; any node may refuse it.
    @Test func userAndPassword() throws {
        let cluster = try RedisCluster(
            arguments: GuideUser.arguments, login: "\(GuideUser.name):right@")
        let server = cluster.servers[0]
        let wrong = "redis-cluster://\(GuideUser.name):wrong@127.0.0.1:\(server.port)"
        try expectRefusal(cluster, by: server, address: wrong)
        // The others have let us in.
        for server in cluster.servers {
            try GuideUser.setPassword("other", on: server)
            try expectRefusal(cluster, by: server)
            try GuideUser.setPassword("right", on: server)
        }
        try follow(cluster, seed: 1)
    }

    private func expectRefusal(
        _ cluster: RedisCluster, by server: RedisServer, address: String? = nil
    ) throws {
        let run = try startInVain(cluster, address: address)
        let message = try expectUnreachable(run, withinSeconds: 10)
        #expect(message.contains("127.0.0.1:\(server.port): WRONGPASS"), "\(message)")
    }

    private static let hasIPv6: Bool = {
        let text = try? String(contentsOfFile: "/proc/net/if_inet6", encoding: .utf8)
        return text?.contains(" lo") ?? false
    }()

    @Test(.enabled(if: hasIPv6, "this machine has no IPv6 loopback"))
    func addressesOfVersion6() throws {
        try follow(try RedisCluster(host: "::1"), seed: 2)
    }

    @Test func announcedHostNames() throws {
        // The name may lead to either address.
        let cluster = try RedisCluster(
            arguments: ["--cluster-announce-hostname", "localhost", "--bind", "127.0.0.1", "-::1"])
        try follow(cluster, seed: 4, configuration: "target: {cluster: {hostnames: true}}")
    }

    /// Behind address translation the map says where to go, and moved slots are found by it. Without
    /// it the run ends after the 20 s that masters have to come up.
    @Test func announcedAddressesAreMapped() throws {
        let cluster = try RedisCluster()
        let ports = try cluster.announceClosedPorts()
        let map = zip(ports, cluster.servers).map { "'127.0.0.1:\($0)': '127.0.0.1:\($1.port)'" }
        let unmapped = try startInVain(cluster)
        let start = Date()
        try follow(
            cluster, seed: 5,
            configuration: "target: {cluster: {addressMap: {\(map.joined(separator: ", "))}}}")
        let left = max(0, start.timeIntervalSinceNow + 30)
        let message = try expectUnreachable(unmapped, withinSeconds: left)
        for port in ports.dropFirst() {
            #expect(message.contains("127.0.0.1:\(port)"), "\(message)")
        }
        #expect(message.contains("target.cluster.addressMap"), "\(message)")
    }

    /// Random traffic while slots move; the seed chooses how many cores there are.
    private func follow(
        _ cluster: RedisCluster, seed: UInt64, configuration: String? = nil
    ) throws {
        let rules = configuration.map { text in
            TrafficRules(name: text, configuration: text, filters: false) { key, _ in key }
        }
        let run = try TrafficRun(seed: seed, records: 1500, rules: rules, target: cluster)
        let moves = try run.expectSuccess(whileSlotsMoveIn: cluster, seed: seed)
        #expect(moves > 2)
    }

    /// A run that will not be let in.
    private func startInVain(
        _ cluster: RedisCluster, address: String? = nil
    ) throws -> RecordedRun {
        try RecordedRun(
            "replicate", source: .synthetic(SyntheticData(seed: 1)), arguments: ["--cores", "2"],
            movingTarget: cluster, targetAddress: address)
    }

    /// It ends before it turns to the source.
    /// - Returns: what it says.
    private func expectUnreachable(
        _ run: RecordedRun, withinSeconds seconds: Double
    ) throws -> String {
        let outcome = try run.waitForEnd(timeoutSeconds: seconds)
        #expect(outcome.exitCode == 3, "\(outcome)")
        #expect(run.source.sessionCount == 0)
        return outcome.standardError
    }
}

/// Masters that join a cluster during a run, and leave it.
@Suite(.serialized) struct ClusterMembersTests {
    /// A master comes, gets slots with keys, gives them back and is forgotten; at last it is stopped.
    @Test(arguments: [7, 9] as [UInt64])
    func aMasterComesAndGoes(_ seed: UInt64) throws {
        let cluster = try RedisCluster()
        var run = try TrafficRun(seed: seed, records: 1000, target: cluster)
        try run.write(more: 500)
        let work = Meanwhile {
            let added = try cluster.add()
            var homes: [Int: Int] = [:]
            for slot in try cluster.slotsOfKeys().prefix(12) {
                homes[slot] = try cluster.owner(of: slot)
            }
            for slot in homes.keys { try cluster.move(slot: slot, to: added) }
            try cluster.waitUntilStable()
            for (slot, home) in homes { try cluster.move(slot: slot, to: home) }
            try cluster.waitUntilStable()
            try cluster.remove(added)
            print("\(homes.count) slots moved to a new master and back")
        }
        while !work.isDone { try run.write(more: 100) }
        try work.finish()
        // It is connected to, and knows no other node any more.
        let removed = Date()
        while Date().timeIntervalSince(removed) < 2 { try run.write(more: 100) }
        cluster.kill(3)
        try run.write(more: 500)
        try run.finish().expectSuccess()
    }

    /// A new master may get its users after it has joined. A flush reaches it at once. When it has
    /// slots and refuses us, the run ends, and names it.
    @Test(arguments: [1, 2])
    func aMasterComes(_ cores: Int) throws {
        let cluster = try RedisCluster(
            arguments: GuideUser.arguments, login: "\(GuideUser.name):right@")
        let run = try RecordedRun(
            "replicate", source: .emulated(EmulationOptions(release: .v1_40, flowCount: 2)),
            arguments: ["--cores", "\(cores)"], movingTarget: cluster,
            beforeStart: { source in
                for index in 0..<500 {
                    try source.execute(Self.command("SET", "key:\(index)", "v"))
                }
            })
        try run.waitUntilAcknowledgedFirst()
        let added = try cluster.add { try GuideUser.setPassword("other", on: $0) }
        let server = cluster.servers[added]
        try wait(run, until: "it has refused") {
            try server.client().call("ACL", "LOG").elements?.isEmpty == false
        }
        try GuideUser.setPassword("right", on: server)
        try wait(run, until: "every core is let in") { try logins(server) == cores }

        let slots = try cluster.slotsOfKeys()
        for slot in slots { try cluster.move(slot: slot, to: added) }
        #expect(try server.client().call("DBSIZE").integer ?? 0 > 0)
        try run.source.execute(Self.command("FLUSHALL"))
        try run.source.execute(Self.command("SET", "last", "v"))
        try run.waitUntilAcknowledged()
        #expect(try Set(run.targetState().keys) == [StateKey(0, "last")])

        try GuideUser.setPassword("other", on: server)
        try server.client().call("CLIENT", "KILL", "USER", GuideUser.name)
        let outcome = try run.waitForEnd(timeoutSeconds: 20)
        #expect(outcome.exitCode == 3, "\(outcome)")
        #expect(
            outcome.standardError.contains("127.0.0.1:\(server.port): WRONGPASS"), "\(outcome)")
        #expect(run.complaints == [])
    }

    private static func command(_ words: String...) -> RandomTraffic.Step {
        .command(words.map { Array($0.utf8) }, database: 0)
    }

    private func logins(_ server: RedisServer) throws -> Int {
        let list = try server.client().call("CLIENT", "LIST").text ?? ""
        return list.split(separator: "\n").count { $0.contains("user=\(GuideUser.name) ") }
    }

    /// Polls: nobody announces it.
    private func wait(
        _ run: RecordedRun, until what: String, _ condition: () throws -> Bool
    ) throws {
        let deadline = Date(timeIntervalSinceNow: 20)
        while try !condition() {
            try run.checkRunning()
            guard Date() < deadline else { throw TestSupportError("waited 20 s until \(what)") }
            usleep(10_000)
        }
    }
}

/// The user of docs/guides/cluster.md on every node; the others use another password.
private enum GuideUser {
    static let name = "df2redis"
    static let arguments = [
        "--requirepass", "admin", "--masterauth", "admin", "--user", name, "on", ">right", "~*",
        "+@read", "+@write", "+@connection", "+@transaction", "+@scripting", "+info", "+time",
        "+asking", "+cluster|nodes",
    ]

    static func setPassword(_ password: String, on server: RedisServer) throws {
        try server.client().call("ACL", "SETUSER", name, "resetpass", ">\(password)")
    }
}

/// Work that goes on beside a run, on a thread of its own.
private final class Meanwhile: @unchecked Sendable {
    // Sendable: what both threads touch is behind the lock.
    private let lock = NSLock()
    private var result: Result<Void, any Error>?
    private let ended = DispatchSemaphore(value: 0)

    init(_ work: @escaping @Sendable () throws -> Void) {
        let thread = Thread { [self] in
            let result = Result { try work() }
            lock.withLock { self.result = result }
            ended.signal()
        }
        thread.start()
    }

    var isDone: Bool { lock.withLock { result != nil } }

    /// Waits for its end.
    func finish() throws {
        ended.wait()
        try lock.withLock { result }?.get()
    }
}

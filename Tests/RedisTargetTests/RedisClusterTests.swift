import Bytes
import TestSupport
import Testing

@testable import RedisTarget

/// The cluster that tests run against does what clusters do, and what a real one tells of itself is
/// understood.
@Suite struct RedisClusterTests {
    private static func key(_ index: Int) -> String { "key:\(index)" }

    private static func slot(_ key: String) -> Int {
        Array(key.utf8).withByteView { $0.keySlot() }
    }

    private static func nodes(_ server: RedisServer) throws -> ClusterNodes {
        let text = try server.client().call("CLUSTER", "NODES").bytes ?? []
        return try #require(text.withByteView { ClusterNodes($0) })
    }

    /// What error a command is answered with, as it is understood.
    private static func redirection(
        _ client: RespClient, _ words: String..., place: (ClusterRedirection?) -> Void
    ) throws {
        guard case .error(let text) = try client.command(words.map { Array($0.utf8) }) else {
            return place(nil)
        }
        Array(text.utf8).withByteView { place(ClusterRedirection($0)) }
    }

    /// Every key is found where the parsed text says, and elsewhere the answer names that place.
    private func expectAgreement(_ cluster: RedisCluster, keys: [String]) throws {
        for server in cluster.servers where server.isRunning {
            let nodes = try Self.nodes(server)
            #expect(nodes.slotsUncovered == 0)
            #expect(nodes.nodes.filter(\.isMyself).map(\.port) == [server.port])
            #expect(
                Set(nodes.masters.filter { !$0.isFailed }.map(\.port))
                    == Set(cluster.masterPorts))
            for key in keys {
                let slot = Self.slot(key)
                let owner = try #require(
                    nodes.masters.first { $0.slots.contains { $0.contains(UInt16(slot)) } })
                #expect(owner.id == cluster.identifiers[try cluster.owner(of: slot)])
                let client = try RespClient(port: owner.port)
                #expect(try client.call("GET", key).text == key)
                for port in cluster.masterPorts where port != owner.port {
                    try Self.redirection(try RespClient(port: port), "GET", key) {
                        #expect(
                            $0
                                == .moved(
                                    slot: UInt16(slot), host: "127.0.0.1", port: owner.port))
                    }
                }
            }
        }
    }

    @Test(arguments: TargetServer.available)
    func slotsMoveAndReplicasTakeOver(_ server: TargetServer) throws {
        let cluster = try RedisCluster(masters: 3, replicasPerMaster: 1, server: server)
        defer { cluster.stop() }
        let keys = (0..<20).map(Self.key)
        for key in keys {
            let owner = try cluster.owner(of: Self.slot(key))
            try cluster.servers[owner].client().call("SET", key, key)
        }
        try expectAgreement(cluster, keys: keys)
        #expect(
            Set(try cluster.state().keys.map(\.name)) == Set(keys.map { Array($0.utf8) }))

        // A slot with more keys than one batch; while it is open, its owner sends on what is missing.
        let slot = Self.slot(keys[0])
        let source = try cluster.owner(of: slot)
        let target = (source + 1) % 3
        let client = try cluster.servers[source].client()
        for index in 0..<250 { try client.call("SET", "{\(keys[0])}:\(index)", "v") }
        try cluster.open(slot: slot, to: target)
        #expect(try Self.nodes(cluster.servers[source]).nodes.contains(where: \.hasOpenSlots))
        try Self.redirection(client, "GET", "{\(keys[0])}:none") {
            #expect(
                $0
                    == .ask(
                        slot: UInt16(slot), host: "127.0.0.1", port: cluster.servers[target].port))
        }
        // Redis 6.2 sends such a command on, and leaves it to the other side to say so.
        if server != .redis6 {
            try Self.redirection(client, "MGET", keys[0], "{\(keys[0])}:none") {
                #expect($0 == .tryAgain)
            }
        }
        try Self.redirection(client, "MGET", keys[0], keys[1]) { #expect($0 == .crossSlot) }
        try cluster.close(slot: slot, to: target)
        try cluster.waitUntilStable()
        #expect(try cluster.owner(of: slot) == target)
        #expect(try !Self.nodes(cluster.servers[source]).nodes.contains(where: \.hasOpenSlots))
        #expect(try cluster.state().count == keys.count + 250)
        try cluster.move(slot: slot, to: source)
        try cluster.waitUntilStable()
        try expectAgreement(cluster, keys: keys)

        try cluster.failover(replica: 3)
        try cluster.waitUntilStable()
        #expect(try cluster.owner(of: 0) == 3)
        try expectAgreement(cluster, keys: keys)
    }

    /// A crash is noticed and made good.
    @Test func aReplicaReplacesADeadMaster() throws {
        let cluster = try RedisCluster(masters: 3, replicasPerMaster: 1)
        defer { cluster.stop() }
        try cluster.servers[0].client().call("SET", "{\(Self.tag(0))}", "v")
        #expect(try cluster.servers[0].client().call("WAIT", "1", "10000").integer == 1)
        cluster.kill(0)
        try cluster.waitUntil(owner: 3, of: 0)
        try cluster.waitUntilStable()
        #expect(Set(cluster.masterPorts) == Set([1, 2, 3].map { cluster.servers[$0].port }))
        let nodes = try Self.nodes(cluster.servers[1])
        #expect(nodes.slotsUncovered == 0)
        #expect(nodes.nodes.filter(\.isFailed).map(\.id) == [cluster.identifiers[0]])
        #expect(try cluster.state().count == 1)
    }

    private static func tag(_ slot: Int) -> String {
        String(decoding: SlotTags.tag(of: slot).array(), as: UTF8.self)
    }
}

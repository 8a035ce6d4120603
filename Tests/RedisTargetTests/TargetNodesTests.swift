import Bytes
import Foundation
import Reactor
import TestSupport
import Testing

@testable import RedisTarget

/// Whatever a cluster does meanwhile, every command reaches the master that has its key, in the order
/// of that key, and comes to one end.
@Suite(.serialized) struct TargetNodesTests {
    /// Fixed, and another one by the environment.
    private static let seed =
        ProcessInfo.processInfo.environment["DF2REDIS_CLUSTER_SEED"].flatMap { UInt64($0) } ?? 124

    /// A hash tag of a slot.
    private static func tag(_ slot: Int) -> String {
        String(decoding: SlotTags.tag(of: slot).array(), as: UTF8.self)
    }

    private static func slot(_ key: String) -> Int {
        Array(key.utf8).withByteView { $0.keySlot() }
    }

    /// A string, on whatever node it is.
    private static func text(_ key: String, _ clients: [RespClient]) throws -> String? {
        for client in clients {
            let reply = try client.command([Array("GET".utf8), Array(key.utf8)])
            if case .error = reply { continue }
            return reply.text
        }
        return nil
    }

    /// How often a server has refused commands because their slot or key lies elsewhere.
    private static func redirections(_ server: RedisServer) throws -> Int {
        let info = try server.client().call("INFO", "errorstats").text ?? ""
        return info.split(separator: "\r\n").reduce(0) { sum, line in
            guard line.hasPrefix("errorstat_MOVED:") || line.hasPrefix("errorstat_ASK:") else {
                return sum
            }
            return sum + (Int(line.drop { $0 != "=" }.dropFirst()) ?? 0)
        }
    }

    // MARK: Where commands go

    /// From one node all others are found, and every command goes to its key's master at once.
    @Test(arguments: TargetServer.available)
    func oneSeedLeadsToAllMasters(_ server: TargetServer) throws {
        let cluster = try RedisCluster(masters: 3, server: server)
        defer { cluster.stop() }
        let driver = try ClusterDriver(seed: cluster.servers[1].port)
        let total = 600
        try driver.run(
            {
                while driver.keys.count < total {
                    let key = "key:\(driver.keys.count)"
                    guard try driver.send("SET", key, "v") else { return false }
                }
                return true
            },
            driver.allAreSettled,
            { driver.nodes.isQuiet })
        driver.expectOneEndEach()
        #expect(driver.errors.isEmpty && driver.nodes.slotsMoved == 0)
        #expect(
            Set(driver.nodes.masters.map(\.port)) == Set(cluster.servers.map(\.port))
                && driver.nodes.nodes.count == 3)
        for (index, server) in cluster.servers.enumerated() {
            let slots = (index * 16384 / 3)..<((index + 1) * 16384 / 3)
            let node = try #require(driver.node(port: server.port))
            #expect(slots.allSatisfy { driver.nodes.owns(node, slot: $0) })
            let own = driver.keys.indices.filter { slots.contains(Self.slot(driver.keys[$0])) }
            let answered = driver.answers.filter { $0.port == server.port }.map(\.number)
            #expect(answered.sorted() == own.map { $0 + 1 })
            #expect(try server.callsByCommand()["set"] == own.count)
            #expect(try Self.redirections(server) == 0)
        }
    }

    // MARK: Slots that move

    /// A slot moves to and fro while texts grow in it: each is whole, and no command is answered
    /// twice or before one that came earlier.
    @Test func textsGrowInOrderWhileTheirSlotMoves() throws {
        let seed = Self.seed
        print("seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        let cluster = try RedisCluster(masters: 2)
        defer { cluster.stop() }
        let driver = try ClusterDriver(seed: cluster.servers[0].port)
        let slot = 4000
        let keys =
            (0..<250).map { "{\(Self.tag(slot))}:\($0)" } + (0..<50).map { "other:\($0)" }
        var texts: [String: String] = [:]
        var moves = 0
        try driver.run(
            {
                while driver.openCount < 400, let key = keys.randomElement(using: &generator) {
                    let piece = "\(driver.keys.count + 1),"
                    guard try driver.send("APPEND", key, piece) else { break }
                    texts[key, default: ""] += piece
                }
                // The next move begins when the last one is known and behind us.
                let owner = driver.node(port: cluster.servers[moves % 2].port)
                guard driver.isBackgroundDone, let owner, driver.nodes.owns(owner, slot: slot),
                    driver.nodes.connection(forSlot: slot) != nil,
                    driver.keys.count > 1000 * (moves + 1)
                else { return false }
                guard moves < 8 else { return true }
                moves += 1
                let target = moves % 2
                driver.inBackground { try cluster.move(slot: slot, to: target) }
                return false
            },
            driver.allAreSettled)
        driver.expectOneEndEach()
        #expect(driver.errors.isEmpty && driver.losses.isEmpty && driver.doubts.isEmpty)
        #expect(driver.nodes.slotsMoved >= moves && driver.nodes.failovers == 0)
        #expect(try cluster.servers.map(Self.redirections).reduce(0, +) > 0)
        let clients = try cluster.servers.map { try $0.client() }
        for key in keys {
            #expect(try Self.text(key, clients) == texts[key], "\(key), seed \(seed)")
        }
    }

    /// While a slot is open, new keys are written where it goes, and those that its owner still has
    /// there; all of them are found when it is closed.
    @Test func anOpenSlotTakesNewKeys() throws {
        let cluster = try RedisCluster(masters: 2)
        defer { cluster.stop() }
        let driver = try ClusterDriver(seed: cluster.servers[0].port)
        let slot = 100
        let old = "{\(Self.tag(slot))}:old"
        let new = (0..<50).map { "{\(Self.tag(slot))}:\($0)" }
        var asked = 0
        try driver.run(
            { try driver.send("APPEND", old, "a") },
            driver.allAreSettled,
            {
                try cluster.open(slot: slot, to: 1)
                return true
            },
            {
                // Each of them twice, before the first is refused.
                for piece in ["1", "2"] {
                    for key in new { try #require(try driver.send("APPEND", key, piece)) }
                }
                return try driver.send("APPEND", old, "b")
            },
            driver.allAreSettled,
            {
                asked = try cluster.servers[1].callsByCommand()["asking"] ?? 0
                try cluster.close(slot: slot, to: 1)
                return true
            },
            {
                for key in new + [old] { try #require(try driver.send("APPEND", key, "c")) }
                return true
            },
            driver.allAreSettled)
        driver.expectOneEndEach()
        #expect(driver.errors.isEmpty && driver.losses.isEmpty && driver.doubts.isEmpty)
        #expect(asked == 100 && driver.nodes.slotsMoved == 1)
        let clients = try cluster.servers.map { try $0.client() }
        #expect(try Self.text(old, clients) == "abc")
        for key in new { #expect(try Self.text(key, clients) == "12c", "\(key)") }
        #expect(try cluster.state().count == 51)
    }

    /// A command of several keys that an open slot cannot carry out is told after a second, and a
    /// transaction at once; both pass when the slot is closed.
    @Test func whatAnOpenSlotRefusesIsTold() throws {
        let cluster = try RedisCluster(masters: 2)
        defer { cluster.stop() }
        let driver = try ClusterDriver(seed: cluster.servers[0].port)
        let slot = 100
        let (old, new) = ("{\(Self.tag(slot))}:old", "{\(Self.tag(slot))}:new")
        var begun: Int64 = 0
        var waited: Int64 = 0
        try driver.run(
            { try driver.send("SET", old, "0") },
            driver.allAreSettled,
            {
                try cluster.open(slot: slot, to: 1)
                begun = driver.reactor.now
                return try driver.send("MSET", old, "1", new, "1")
            },
            driver.allAreSettled,
            {
                waited = driver.reactor.now - begun
                return try driver.sendTransaction("SET", new, "2")
            },
            driver.allAreSettled,
            {
                try cluster.close(slot: slot, to: 1)
                return true
            },
            { try driver.send("MSET", old, "3", new, "3") },
            driver.allAreSettled,
            { try driver.sendTransaction("APPEND", new, "4") },
            driver.allAreSettled)
        driver.expectOneEndEach()
        #expect(driver.losses.isEmpty && driver.doubts.isEmpty)
        let errors = driver.answers.map(\.error)
        try #require(errors.count == 5)
        #expect(errors[0] == nil && errors[3] == nil && errors[4] == nil)
        #expect(errors[1]?.hasPrefix("TRYAGAIN") == true && waited > 1_000_000_000)
        #expect(errors[2]?.hasPrefix("ASK") == true, "\(errors)")
        let clients = try cluster.servers.map { try $0.client() }
        #expect(try Self.text(old, clients) == "3" && Self.text(new, clients) == "34")
    }

    /// A command too large for the ring passes a slot that is open.
    @Test func aLargeCommandPassesAnOpenSlot() throws {
        let cluster = try RedisCluster(masters: 2)
        defer { cluster.stop() }
        let driver = try ClusterDriver(seed: cluster.servers[0].port, outputBytes: 1 << 16)
        let key = "{\(Self.tag(100))}:large"
        let value = String(repeating: "v", count: 50_000)
        var wasSettled = false
        try driver.run(
            {
                try cluster.open(slot: 100, to: 1)
                return try driver.send("SET", key, value)
            },
            driver.within(seconds: 3) { driver.openCount == 0 },
            {
                wasSettled = driver.openCount == 0
                return true
            })
        #expect(wasSettled)
    }

    /// A new node gets its first slot: keys are written there while it does, after a lost connection,
    /// too.
    @Test func anOpenSlotGoesToANodeWithoutSlots() throws {
        let cluster = try RedisCluster(
            masters: 2, arguments: ["--cluster-allow-replica-migration", "no"])
        defer { cluster.stop() }
        // The second one first: it would claim its slots again.
        for server in cluster.servers.reversed() {
            let commands = (8192..<16384).map {
                ["CLUSTER", "SETSLOT", "\($0)", "NODE", cluster.identifiers[0]]
            }
            let replies = try server.client().pipeline(
                commands.map { $0.map { Array($0.utf8) } })
            try #require(replies.allSatisfy { $0 == .simple("OK") })
        }
        try cluster.waitUntilStable()
        let driver = try ClusterDriver(seed: cluster.servers[0].port)
        let key = "{\(Self.tag(100))}:new"
        var wasSettled = false
        try driver.run(
            { driver.node(port: cluster.servers[1].port)?.state == .ready },
            {
                try cluster.open(slot: 100, to: 1)
                return try driver.send("APPEND", key, "1")
            },
            driver.allAreSettled,
            {
                driver.lose(try #require(driver.node(port: cluster.servers[1].port)), "cut")
                return try driver.send("APPEND", key, "2")
            },
            driver.within(seconds: 2) { driver.openCount == 0 },
            {
                wasSettled = driver.openCount == 0
                try cluster.close(slot: 100, to: 1)
                return true
            },
            driver.allAreSettled,
            { try driver.send("APPEND", key, "3") },
            driver.allAreSettled)
        driver.expectOneEndEach()
        #expect(driver.errors.isEmpty && driver.losses.isEmpty)
        #expect(try Self.text(key, cluster.servers.map { try $0.client() }) == "123")
        #expect(wasSettled)
    }

    // MARK: Who is who

    /// How nodes are announced, and how they are reached.
    private enum Naming: CaseIterable {
        /// They are reached by their names; errors name addresses.
        case byHostName
        /// They are reached by their addresses; errors name host names.
        case byAddress
        /// A map leads from their names to them; errors name addresses.
        case byMap
    }

    /// Whatever an error calls a node, it is the one that the cluster means.
    @Test(arguments: Naming.allCases)
    private func redirectionsNameNodesAsTheyAreAnnounced(_ naming: Naming) throws {
        let endpoint = naming == .byAddress ? "hostname" : "ip"
        let cluster = try RedisCluster(
            masters: 2,
            arguments: [
                "--cluster-announce-hostname", "localhost",
                "--cluster-preferred-endpoint-type", endpoint,
            ])
        defer { cluster.stop() }
        var addressing = ClusterAddressing(usesHostnames: naming == .byHostName)
        if naming == .byMap {
            for (port, server) in zip(try cluster.announceClosedPorts(), cluster.servers) {
                addressing.addressMap["localhost:\(port)"] = "127.0.0.1:\(server.port)"
            }
        }
        let driver = try ClusterDriver(seed: cluster.servers[0].port, addressing: addressing)
        let slot = 100
        var wasSettled = false
        try driver.run(
            {
                try cluster.open(slot: slot, to: 1)
                return try driver.send("SET", "{\(Self.tag(slot))}", "v")
            },
            driver.within(seconds: 5) { driver.openCount == 0 },
            {
                wasSettled = driver.openCount == 0
                try cluster.close(slot: slot, to: 1)
                return true
            },
            driver.allAreSettled)
        #expect(wasSettled && driver.errors.isEmpty)
        #expect(try cluster.servers[1].client().call("DBSIZE").integer == 1)
        #expect(driver.nodes.nodes.count == 2)
    }

    /// A seed may be called otherwise than the cluster calls it: its connection is kept.
    @Test func aSeedKeepsItsConnection() throws {
        let cluster = try RedisCluster(masters: 2)
        defer { cluster.stop() }
        let driver = try ClusterDriver(seed: cluster.servers[0].port, host: "localhost")
        let asked = try cluster.servers[1].callsByCommand()["cluster|nodes"] ?? 0
        try driver.run(
            // The other one is asked for the cluster, too.
            { try cluster.servers[1].callsByCommand()["cluster|nodes"] ?? 0 > asked },
            driver.within(seconds: 0.1) { false })
        #expect(driver.connectionsLost.isEmpty && driver.nodes.nodes.count == 2)
    }

    /// What a node without slots thinks of the cluster changes nothing: it may have been removed from
    /// it, and know no other node.
    @Test func aNodeThatWasRemovedIsNotBelieved() throws {
        let cluster = try RedisCluster(masters: 2)
        defer { cluster.stop() }
        let added = try cluster.add()
        let driver = try ClusterDriver(seed: cluster.servers[added].port)
        var masters: Set<Int> = []
        driver.onTick = { masters.insert(driver.nodes.masters.count) }
        var before = 0
        func questions() throws -> Int {
            try cluster.servers.map { try $0.callsByCommand()["cluster|nodes"] ?? 0 }.reduce(0, +)
        }
        try driver.run(
            {
                try cluster.remove(added)
                before = try questions()
                masters = []
                return true
            },
            { try questions() > before + 3 })
        #expect(masters == [2])
    }

    /// A master that gave its slots to a replica, was restarted and got them back has all that it had.
    @Test func aReplicaMayHaveBeenRestarted() throws {
        let cluster = try RedisCluster(
            masters: 1, replicasPerMaster: 1, arguments: ["--enable-debug-command", "yes"])
        defer { cluster.stop() }
        let driver = try ClusterDriver(seed: cluster.servers[0].port)
        func owns(_ index: Int) -> Bool {
            driver.node(port: cluster.servers[index].port).map {
                $0.state == .ready && driver.nodes.owns($0, slot: 0)
            } ?? false
        }
        try driver.run(
            { try driver.send("SET", "key", "v") },
            driver.allAreSettled,
            {
                driver.inBackground {
                    try cluster.failover(replica: 1)
                    try cluster.waitUntilStable()
                }
                return true
            },
            { driver.isBackgroundDone && owns(1) },
            {
                driver.inBackground { try cluster.restart(0) }
                return true
            },
            {
                guard driver.isBackgroundDone else { return false }
                // As if it had been away for minutes.
                let node = try #require(driver.node(port: cluster.servers[0].port))
                #expect(node.state == .lost)
                node.lostSince = driver.reactor.now - 300_000_000_000
                driver.inBackground {
                    try cluster.failover(replica: 0)
                    try cluster.waitUntilStable()
                }
                return true
            },
            { driver.isBackgroundDone && owns(0) },
            { try driver.send("APPEND", "key", "w") },
            driver.allAreSettled)
        #expect(driver.errors.isEmpty && driver.nodes.failovers == 2)
        #expect(try Self.text("key", [cluster.servers[0].client()]) == "vw")
    }

    // MARK: Connections that are lost

    /// May be sent twice, and what becomes of it does not depend on the others.
    private static let repeatable = [
        ["SET", "s", "1"], ["SETRANGE", "s", "1", "2"], ["HSET", "h", "f", "v"],
        ["SADD", "m", "a"], ["EXISTS", "m"], ["DEL", "gone"], ["MSET", "s2", "v"],
        ["PEXPIREAT", "s", "4102444800000"],
    ]
    private static let unrepeatable = [
        ["APPEND", "t", "x"], ["INCR", "n"], ["LPUSH", "l", "e"], ["XADD", "x", "1-1", "f", "v"],
        ["SETNX", "g", "v"],
    ]

    /// What `repeatable` leads to.
    private static func expectRepeatable(_ client: RespClient) throws {
        #expect(try client.call("GET", "s").text == "12")
        #expect(try client.call("PEXPIRETIME", "s").integer == 4_102_444_800_000)
        #expect(try client.call("HGET", "h", "f").text == "v")
        #expect(try client.call("SMEMBERS", "m").elements == [.bulk(Array("a".utf8))])
        #expect(try client.call("EXISTS", "gone").integer == 0)
        #expect(try client.call("GET", "s2").text == "v")
    }

    /// A connection is cut before any of its commands was carried out, and nobody can know that:
    /// what does no harm twice is sent again, the rest is reported, each once.
    @Test func whatDoesNoHarmIsSentAgain() throws {
        let cluster = try RedisCluster(masters: 1)
        defer { cluster.stop() }
        let server = cluster.servers[0]
        let driver = try ClusterDriver(seed: server.port)
        let client = try server.client()
        let commands = Self.repeatable + Self.unrepeatable
        try driver.run(
            {
                try client.call("CLIENT", "PAUSE", "60000", "WRITE")
                for command in commands { try #require(try driver.send(command)) }
                return try driver.sendTransaction("SET", "in", "v")
            },
            { driver.nodes.nodes[0].connection.socket.bytesUnsent == 0 },
            {
                try client.call("CLIENT", "KILL", "TYPE", "normal")
                try client.call("CLIENT", "UNPAUSE")
                return true
            },
            driver.allAreSettled,
            { driver.nodes.isQuiet })
        driver.expectOneEndEach()
        #expect(driver.errors.isEmpty && driver.connectionsLost.count == 1)
        #expect(driver.answers.map(\.number).sorted() == Array(1...Self.repeatable.count))
        let lost = (Self.unrepeatable + [["EXEC", "in"]]).enumerated().map { index, words in
            ClusterDriver.Loss(
                number: Self.repeatable.count + index + 1, command: words[0], key: words[1])
        }
        #expect(driver.losses == lost)
        try Self.expectRepeatable(client)
        for key in ["t", "n", "l", "x", "g", "in"] {
            #expect(try client.call("EXISTS", key).integer == 0, "\(key)")
        }
    }

    /// A connection is cut when all was carried out and nothing was answered.
    @Test func whatWasCarriedOutUnseenIsNotDoneTwice() throws {
        let cluster = try RedisCluster(masters: 1)
        defer { cluster.stop() }
        let server = cluster.servers[0]
        let driver = try ClusterDriver(seed: server.port)
        let client = try server.client()
        try driver.run(
            {
                driver.nodes.nodes[0].connection.socket.isPaused = true
                for (index, command) in Self.unrepeatable.enumerated() {
                    try #require(try driver.send(command))
                    try #require(try driver.send(Self.repeatable[index]))
                }
                for command in Self.repeatable.dropFirst(Self.unrepeatable.count) {
                    try #require(try driver.send(command))
                }
                // What must not replace a key would find its own.
                try #require(try driver.send("SET", "guarded", "v", "NX", as: .guardedEntry))
                try #require(try driver.send("PEXPIREAT", "n", "4102444800000", as: .expiry))
                try #require(try driver.sendTransaction("APPEND", "in", "v"))
                return try driver.send("SET", "last", "v")
            },
            { try client.call("EXISTS", "last").integer == 1 },
            {
                driver.lose(driver.nodes.nodes[0], "cut")
                return true
            },
            driver.allAreSettled)
        driver.expectOneEndEach()
        #expect(driver.errors.isEmpty && driver.connectionsLost.count == 1)
        #expect(
            driver.losses.map(\.key) == Self.unrepeatable.map { $0[1] } + ["guarded", "in"])
        #expect(driver.losses.suffix(2).map(\.command) == ["SET", "EXEC"])
        try Self.expectRepeatable(client)
        for (key, value) in [("t", "x"), ("n", "1"), ("in", "v"), ("guarded", "v")] {
            #expect(try client.call("GET", key).text == value, "\(key)")
        }
        #expect(try client.call("LLEN", "l").integer == 1)
        #expect(try client.call("PEXPIRETIME", "n").integer == 4_102_444_800_000)
    }

    /// What was written and not sent is sent on the next connection, whatever it is, and only there.
    @Test func whatWasNotSentIsSentOnce() throws {
        let cluster = try RedisCluster(masters: 1)
        defer { cluster.stop() }
        let driver = try ClusterDriver(seed: cluster.servers[0].port)
        try driver.run(
            {
                try #require(try driver.send("INCR", "n"))
                driver.lose(driver.nodes.nodes[0], "cut")
                return true
            },
            driver.allAreSettled)
        driver.expectOneEndEach()
        #expect(driver.errors.isEmpty && driver.losses.isEmpty)
        let number = try cluster.servers[0].client().call("GET", "n").text
        #expect(number == "1")
    }

    /// Connections are cut at any time while a slot moves: a text has each piece that was answered
    /// once, in order, and what was reported lost at most once; what can be repeated is never lost.
    @Test func cutsWhileASlotMoves() throws {
        let seed = Self.seed + 1
        print("seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        let cluster = try RedisCluster(masters: 2)
        defer { cluster.stop() }
        let driver = try ClusterDriver(seed: cluster.servers[0].port)
        let slot = 4000
        let places = (0..<60).map { "{\(Self.tag(slot))}:\($0)" } + (0..<40).map { "\($0)" }
        var values: [String: String] = [:]
        var moves = 0
        var cuts = 0
        var victim: TargetNode?
        driver.onTick = {
            if let node = victim {
                // With all that was answered since the last time.
                cuts += node.state == .ready ? 1 : 0
                driver.lose(node, "cut")
                victim = nil
            } else if cuts < 12, Int.random(in: 0..<6, using: &generator) == 0,
                let node = driver.nodes.nodes.randomElement(using: &generator), node.state == .ready
            {
                victim = node
                node.connection.socket.isPaused = true
            }
        }
        try driver.run(
            {
                while driver.openCount < 200, let place = places.randomElement(using: &generator) {
                    let number = "\(driver.keys.count + 1)"
                    if Bool.random(using: &generator) {
                        guard try driver.send("APPEND", "text:\(place)", number + ",") else {
                            break
                        }
                    } else {
                        guard try driver.send("SET", "value:\(place)", number) else { break }
                        values["value:\(place)"] = number
                    }
                }
                let owner = driver.node(port: cluster.servers[moves % 2].port)
                guard driver.isBackgroundDone, let owner, driver.nodes.owns(owner, slot: slot),
                    driver.nodes.connection(forSlot: slot) != nil
                else { return false }
                guard moves < 10 || cuts < 12 || victim != nil else { return true }
                moves += 1
                let target = moves % 2
                driver.inBackground { try cluster.move(slot: slot, to: target) }
                return false
            },
            driver.allAreSettled)
        driver.onTick = {}
        driver.expectOneEndEach()
        #expect(driver.errors.isEmpty && driver.doubts.isEmpty)
        #expect(driver.losses.allSatisfy { $0.command == "APPEND" })
        print("\(driver.keys.count) commands, \(driver.losses.count) lost, \(moves) moves")
        let clients = try cluster.servers.map { try $0.client() }
        for (key, value) in values {
            #expect(try Self.text(key, clients) == value, "\(key), seed \(seed)")
        }
        let answered = Dictionary(grouping: driver.answers.map(\.number)) { driver.keys[$0 - 1] }
        let lost = Dictionary(grouping: driver.losses.map(\.number)) { driver.keys[$0 - 1] }
        for key in places.map({ "text:\($0)" }) {
            let text = try Self.text(key, clients) ?? ""
            let pieces = text.split(separator: ",").compactMap { Int($0) }
            #expect(pieces == Set(pieces).sorted(), "\(key), seed \(seed)")
            let missing = Set(answered[key] ?? []).subtracting(pieces)
            let foreign = Set(pieces).subtracting(answered[key] ?? []).subtracting(lost[key] ?? [])
            #expect(missing.isEmpty && foreign.isEmpty, "\(key), seed \(seed)")
        }
    }

    /// A server that hung finds what an old connection still carries beside what comes by the new one,
    /// and carries it out before that if at all.
    @Test func anOldConnectionIsOver() throws {
        let cluster = try RedisCluster(masters: 1)
        defer { cluster.stop() }
        let server = cluster.servers[0]
        let driver = try ClusterDriver(seed: server.port)
        let client = try server.client()
        let node = { driver.nodes.nodes[0] }
        // Each is more than the server reads at once, and keeps it busy for milliseconds.
        let scripts = 40
        let busy = "for index = 1, 1000000 do end"
        let padding = String(repeating: "p", count: 20_000)
        try driver.run(
            {
                kill(server.processIdentifier, SIGSTOP)
                for _ in 0..<scripts {
                    try #require(try driver.send(["EVAL", busy, "1", "s", padding], key: "s"))
                }
                return try driver.send("SET", "key", "old")
            },
            { node().connection.socket.bytesUnsent == 0 },
            {
                driver.lose(node(), "silent")
                return true
            },
            // The new connection stands, and its greeting is under way.
            { node().state == .connecting && node().connection.socket.sentPosition > 0 },
            {
                kill(server.processIdentifier, SIGCONT)
                return true
            },
            { try driver.send("SET", "key", "new") },
            driver.allAreSettled,
            {
                // The server has let go of the old one.
                let list = try client.call("CLIENT", "LIST").text ?? ""
                return list.components(separatedBy: "name=driver").count == 2
            })
        driver.expectOneEndEach()
        #expect(driver.losses.count == scripts)
        #expect(try client.call("GET", "key").text == "new")
    }

    /// A flush waits for what a server may still carry out that is no master any more.
    @Test func aServerThatWasReplacedIsNotQuiet() throws {
        let (first, second) = (try RedisServer(), try RedisServer())
        let driver = try ClusterDriver(seed: first.port, isFollowed: true)
        let nodes = driver.nodes
        try driver.run(
            {
                kill(first.processIdentifier, SIGSTOP)
                return try driver.send("SET", "key", "value")
            },
            { nodes.nodes[0].connection.socket.bytesUnsent == 0 },
            {
                try nodes.follow(
                    host: "127.0.0.1", port: second.port, address: Pipeline.address(second.port))
                return true
            },
            { nodes.isReady && nodes.nodes[1].connection.commandsInFlight == 0 },
            {
                #expect(!nodes.isQuiet)
                kill(first.processIdentifier, SIGCONT)
                return true
            },
            driver.allAreSettled,
            { nodes.isQuiet })
        driver.expectOneEndEach()
    }

    /// How long a node has been away counts from when it was lost, not from the last attempt to reach
    /// it: only so the run ends in the end.
    @Test func attemptsDoNotProlongAnOutage() throws {
        let cluster = try RedisCluster(masters: 1)
        defer { cluster.stop() }
        let driver = try ClusterDriver(seed: cluster.servers[0].port)
        var lostSince: Int64?
        try driver.run(
            {
                cluster.kill(0)
                return true
            },
            {
                lostSince = driver.nodes.nodes[0].lostSince
                return driver.connectionsLost.count == 1
            },
            { driver.connectionsLost.count >= 4 })
        #expect(lostSince != nil && driver.nodes.nodes[0].lostSince == lostSince)
    }

    // MARK: Replicas

    /// A replica takes over by agreement while texts grow.
    @Test func textsGrowInOrderWhileAReplicaTakesOver() throws {
        let cluster = try RedisCluster(masters: 1, replicasPerMaster: 1)
        defer { cluster.stop() }
        let driver = try ClusterDriver(seed: cluster.servers[0].port)
        var texts: [String: String] = [:]
        var atFailover = Int.max
        func append() throws {
            while driver.openCount < 200 {
                let number = driver.keys.count + 1
                let key = "key:\(number % 40)"
                guard try driver.send("APPEND", key, "\(number),") else { break }
                texts[key, default: ""] += "\(number),"
            }
        }
        try driver.run(
            {
                try append()
                guard driver.nodes.nodes[0].replicaCount > 0, driver.keys.count > 1000 else {
                    return false
                }
                driver.inBackground { try cluster.failover(replica: 1) }
                return true
            },
            {
                try append()
                let replica = driver.node(port: cluster.servers[1].port)
                guard driver.isBackgroundDone, let replica, driver.nodes.owns(replica, slot: 0)
                else { return false }
                atFailover = min(atFailover, driver.keys.count)
                return driver.keys.count > atFailover + 1000
            },
            driver.allAreSettled)
        driver.expectOneEndEach()
        #expect(driver.errors.isEmpty && driver.losses.isEmpty && driver.doubts.isEmpty)
        let old = try #require(driver.node(port: cluster.servers[0].port))
        #expect(driver.nodes.failovers == 1 && driver.failedOver.map(\.node.port) == [old.port])
        #expect(driver.nodes.slotsMoved == 16384)
        let tookOver = driver.failedOver.map(\.tookOver)
        #expect(tookOver == [true])
        let client = try cluster.servers[1].client()
        for (key, text) in texts { #expect(try client.call("GET", key).text == text, "\(key)") }
        // Of what the old master answered last it is not certain that the replica has it.
        driver.nodes.takeRecent(old) { database, key, flow in
            #expect(database == 0 && flow == 0 && texts[key.printable()] != nil)
        }
        let isEmpty = old.recent.isEmpty
        #expect(isEmpty && driver.nodes.problem == nil)
    }

    /// A replica is a seed as well; what it confirms is forgotten, after a lost connection, too.
    @Test func replicasConfirmWhatWasWritten() throws {
        let cluster = try RedisCluster(masters: 1, replicasPerMaster: 1)
        defer { cluster.stop() }
        let driver = try ClusterDriver(seed: cluster.servers[1].port)
        let master = { driver.nodes.masters[0] }
        var hadReplicas = false
        var hadKeys = false
        var isConfirmed = false
        try driver.run(
            {
                hadReplicas = master().replicaCount > 0
                return true
            },
            { master().replicaCount == 1 },
            {
                for index in 0..<100 { try #require(try driver.send("SET", "\(index)", "v")) }
                return true
            },
            {
                hadKeys = hadKeys || !master().recent.isEmpty
                return driver.openCount == 0
            },
            { master().recent.isEmpty },
            { try driver.send("SET", "key", "v") },
            {
                guard master().recent.isAsked, !master().recent.isEmpty else { return false }
                driver.lose(master(), "cut")
                return true
            },
            { driver.nodes.isReady },
            driver.allAreSettled,
            driver.within(seconds: 4) { master().recent.isEmpty },
            {
                isConfirmed = master().recent.isEmpty
                return true
            })
        driver.expectOneEndEach()
        #expect(driver.errors.isEmpty && driver.losses.isEmpty && hadKeys)
        #expect(master().port == cluster.servers[0].port)
        #expect(hadReplicas)
        #expect(isConfirmed)
    }
}

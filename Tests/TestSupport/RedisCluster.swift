import Foundation

/// A Redis Cluster of its own on the loopback interface. It is stopped by `stop` or when the last
/// reference goes.
public final class RedisCluster: @unchecked Sendable {
    // Sendable: nothing changes after init.

    /// Masters first, then replicas; as they were at the start.
    public let servers: [RedisServer]
    /// Node ids, in the order of `servers`.
    public let identifiers: [String]

    private static let slotCount = 16384
    /// For all that nodes agree on by and by; a busy machine makes that slow.
    private static let patienceSeconds = 60.0

    /// Starts the servers, joins them, and waits until every node serves all slots and every replica
    /// follows its master.
    /// - Parameters:
    ///   - replicasPerMaster: 0 or 1.
    ///   - arguments: further options of every server.
    /// - Throws: `TestSupportError` if they do not become a cluster.
    public init(
        masters: Int = 3, replicasPerMaster: Int = 0, arguments: [String] = [],
        server: TargetServer = .system
    ) throws {
        precondition(masters > 0 && (0...1).contains(replicasPerMaster))
        var servers: [RedisServer] = []
        var busPorts: [UInt16] = []
        for _ in 0..<(masters * (1 + replicasPerMaster)) {
            let (started, busPort) = try Self.start(server, arguments)
            servers.append(started)
            busPorts.append(busPort)
        }
        self.servers = servers
        identifiers = try servers.map { try $0.client().call("CLUSTER", "MYID").text ?? "" }
        try join(busPorts: busPorts)
        try share(among: masters)
        for replica in masters..<max(masters, servers.count) {
            try follow(replica: replica, master: replica - masters)
        }
        try waitUntilStable()
        try wait(until: "replicas follow their masters") {
            try (masters..<servers.count).allSatisfy {
                try information($0, "replication")("master_link_status") == "up"
            }
        }
    }

    /// Ends every node at once.
    public func stop() { servers.forEach { $0.stop() } }

    /// Ends a node as a crash would.
    public func kill(_ index: Int) { servers[index].stop() }

    /// The ports of the masters that live, as a living node knows them.
    public var masterPorts: [UInt16] {
        let text = try? living().client().call("CLUSTER", "NODES").text
        return (text ?? "").split(separator: "\n").compactMap { line in
            let fields = line.split(separator: " ")
            let flags = fields[2].split(separator: ",")
            guard flags.contains("master"), !flags.contains("fail") else { return nil }
            let address = fields[1].prefix { $0 != "@" }
            return UInt16(address[address.index(after: address.lastIndex(of: ":")!)...])
        }
    }

    /// The index of the server that owns a slot, as it says itself: others know by and by.
    public func owner(of slot: Int) throws -> Int {
        for (index, server) in servers.enumerated() where server.isRunning {
            if try Self.owners(server.client())[slot] == identifiers[index] { return index }
        }
        throw TestSupportError("nobody owns slot \(slot)")
    }

    /// Everything that the masters hold in database 0. No slot may be open.
    public func state() throws -> ServerState {
        var state: ServerState = [:]
        for port in masterPorts {
            let part = try StateReader(RespClient(port: port)).read(databases: 0..<1)
            if let twice = part.keys.first(where: { state[$0] != nil }) {
                throw TestSupportError("\(twice) is on two masters")
            }
            state.merge(part) { old, _ in old }
        }
        return state
    }

    // ---- what happens to a cluster ----

    /// Moves a slot with its keys.
    public func move(slot: Int, to index: Int) throws {
        try open(slot: slot, to: index)
        try close(slot: slot, to: index)
    }

    /// Begins to move a slot: its owner answers ASK for keys that it does not have.
    public func open(slot: Int, to index: Int) throws {
        let source = try owner(of: slot)
        try setSlot(slot, on: index, "IMPORTING", identifiers[source])
        try setSlot(slot, on: source, "MIGRATING", identifiers[index])
    }

    /// Moves the keys that are left of an open slot and makes the new owner known.
    public func close(slot: Int, to index: Int) throws {
        let source = try owner(of: slot)
        let client = try servers[source].client()
        while true {
            let keys = try client.call("CLUSTER", "GETKEYSINSLOT", "\(slot)", "100").elements ?? []
            if keys.isEmpty { break }
            let words = [
                "MIGRATE", "127.0.0.1", "\(servers[index].port)", "", "0", "30000", "KEYS",
            ]
            let reply = try client.command(
                words.map { Array($0.utf8) } + keys.compactMap(\.bytes))
            if case .error(let message) = reply { throw TestSupportError("MIGRATE: \(message)") }
        }
        // The new owner takes an epoch above all that it knows of; one that it does not know of would
        // take the slot back.
        try wait(until: "nodes agree on the epoch") {
            let epochs = try servers.indices.filter { servers[$0].isRunning }.map {
                RedisServer.field(
                    "cluster_current_epoch",
                    of: try servers[$0].client().call("CLUSTER", "INFO").text ?? "")
            }
            return Set(epochs).count == 1
        }
        // The new owner first: until it knows, it would send everybody back to the old one.
        for server in [index, source] {
            try setSlot(slot, on: server, "NODE", identifiers[index])
        }
        for server in servers.indices where server != index && server != source {
            // Only a master takes it, and others know by and by who is one.
            guard servers[server].isRunning,
                try information(server, "replication")("role") == "master"
            else { continue }
            try setSlot(slot, on: server, "NODE", identifiers[index])
        }
    }

    /// Makes a replica the master of its slots in agreement with the old one; returns when it is.
    public func failover(replica index: Int) throws {
        let client = try servers[index].client()
        var asked = Date.distantPast
        try wait(until: "node \(index) is master") {
            if try information(index, "replication")("role") == "master" { return true }
            // A node gives up silently after five seconds.
            if Date().timeIntervalSince(asked) > 6 {
                try client.call("CLUSTER", "FAILOVER")
                asked = Date()
            }
            return false
        }
    }

    /// Waits until all living nodes agree on who owns which slot, and serve them all.
    public func waitUntilStable() throws {
        try wait(until: "nodes agree") {
            var agreed: [String]?
            for server in servers where server.isRunning {
                let client = try server.client()
                let info = try client.call("CLUSTER", "INFO").text ?? ""
                guard RedisServer.field("cluster_state", of: info) == "ok" else {
                    throw TestSupportError("port \(server.port): \(info)")
                }
                let owners = try Self.owners(client)
                if let agreed, let slot = owners.indices.first(where: { owners[$0] != agreed[$0] })
                {
                    throw TestSupportError(
                        "port \(server.port): slot \(slot) is \(owners[slot])'s, not "
                            + "\(agreed[slot])'s; "
                            + (try client.call("CLUSTER", "NODES").text ?? ""))
                }
                agreed = owners
            }
            return true
        }
    }

    /// Waits until a living node says that a server owns a slot, as after the end of its master.
    public func waitUntil(owner index: Int, of slot: Int) throws {
        try wait(until: "node \(index) owns slot \(slot)") { try owner(of: slot) == index }
    }

    // ---- making one ----

    /// A server in cluster mode and the port of its bus.
    private static func start(
        _ server: TargetServer, _ arguments: [String]
    ) throws -> (RedisServer, UInt16) {
        let options = [
            "--cluster-enabled", "yes", "--cluster-node-timeout", "2000",
            // A replica takes over however long it was cut off, and stays with its master.
            "--cluster-replica-validity-factor", "0", "--cluster-migration-barrier", "100",
            "--repl-diskless-sync-delay", "0",
        ]
        // Before Redis 7.0 the bus port is the port plus 10000, which may be none or taken.
        let choosesBusPort = server != .redis6
        var failure: any Error = TestSupportError("no free port for a cluster's bus")
        for _ in 0..<20 {
            do {
                let busPort = try RedisServer.freePort()
                let bus = choosesBusPort ? ["--cluster-port", "\(busPort)"] : []
                let started = try RedisServer(server, arguments: options + bus + arguments)
                return (started, choosesBusPort ? busPort : started.port + 10000)
            } catch {
                failure = error
                guard "\(error)".contains("port") || "\(error)".contains("in use") else { break }
            }
        }
        throw failure
    }

    private func join(busPorts: [UInt16]) throws {
        for index in servers.indices {
            try servers[index].client().call("CLUSTER", "SET-CONFIG-EPOCH", "\(index + 1)")
        }
        let first = try servers[0].client()
        for index in servers.indices.dropFirst() {
            try first.call(
                "CLUSTER", "MEET", "127.0.0.1", "\(servers[index].port)", "\(busPorts[index])")
        }
        try wait(until: "nodes know each other") {
            try servers.allSatisfy {
                let text = try $0.client().call("CLUSTER", "NODES").text ?? ""
                return identifiers.allSatisfy(text.contains) && !text.contains("handshake")
            }
        }
    }

    private func share(among masters: Int) throws {
        for master in 0..<masters {
            let slots =
                (master * Self.slotCount / masters)..<((master + 1) * Self.slotCount / masters)
            let words = ["CLUSTER", "ADDSLOTS"] + slots.map(String.init)
            let reply = try servers[master].client().command(words.map { Array($0.utf8) })
            if case .error(let message) = reply { throw TestSupportError("ADDSLOTS: \(message)") }
        }
    }

    private func follow(replica: Int, master: Int) throws {
        try wait(until: "node \(replica) is a replica") {
            try servers[replica].client().call("CLUSTER", "REPLICATE", identifiers[master])
            return true
        }
    }

    // ---- asking ----

    private func living() throws -> RedisServer {
        guard let server = servers.first(where: \.isRunning) else {
            throw TestSupportError("no node lives")
        }
        return server
    }

    /// The id of the owner of each slot, empty for none.
    private static func owners(_ client: RespClient) throws -> [String] {
        var owners = [String](repeating: "", count: slotCount)
        for range in try client.call("CLUSTER", "SLOTS").elements ?? [] {
            guard let parts = range.elements, parts.count > 2, let first = parts[0].integer,
                let last = parts[1].integer, let master = parts[2].elements, master.count > 2
            else { throw TestSupportError("unknown reply to CLUSTER SLOTS") }
            for slot in Int(first)...Int(last) { owners[slot] = master[2].text ?? "" }
        }
        return owners
    }

    /// The values of a section of INFO by name.
    private func information(_ index: Int, _ section: String) throws -> (String) -> String? {
        let text = try servers[index].client().call("INFO", section).text ?? ""
        return { RedisServer.field($0, of: text) }
    }

    private func setSlot(_ slot: Int, on index: Int, _ what: String, _ identifier: String) throws {
        try servers[index].client().call("CLUSTER", "SETSLOT", "\(slot)", what, identifier)
    }

    /// Polls: a cluster announces nothing. An error counts as "not yet", for nodes learn of each other
    /// by and by.
    private func wait(until what: String, _ condition: () throws -> Bool) throws {
        let deadline = Date(timeIntervalSinceNow: Self.patienceSeconds)
        var failure = ""
        repeat {
            do {
                if try condition() { return }
            } catch {
                failure = ", last answer: \(error)"
            }
            usleep(15000)
        } while Date() < deadline
        throw TestSupportError("waited \(Int(Self.patienceSeconds)) s until \(what)\(failure)")
    }
}

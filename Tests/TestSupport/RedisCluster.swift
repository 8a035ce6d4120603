import Foundation

/// A Redis Cluster of its own on the loopback interface. It is stopped by `stop` or when the last
/// reference goes.
public final class RedisCluster: @unchecked Sendable {
    // Sendable: what changes after init is behind the lock.

    private struct Members {
        var servers: [RedisServer] = []
        var identifiers: [String] = []
        var forgotten: Set<Int> = []
    }

    private let lock = NSLock()
    private var members = Members()
    private let host: String
    private let login: String
    private let arguments: [String]
    private let server: TargetServer

    /// Masters first, then replicas, as they were at the start; then those that were added.
    public var servers: [RedisServer] { lock.withLock { members.servers } }
    /// Node ids, in the order of `servers`.
    public var identifiers: [String] { lock.withLock { members.identifiers } }

    private static let slotCount = 16384
    /// For all that nodes agree on by and by; a busy machine makes that slow.
    private static let patienceSeconds = 60.0

    /// Starts the servers, joins them, and waits until every node serves all slots and every replica
    /// follows its master.
    /// - Parameters:
    ///   - replicasPerMaster: 0 or 1.
    ///   - arguments: further options of every server. Who sets `--requirepass` needs `--masterauth`.
    ///   - host: by which nodes know each other, an address of the loopback interface.
    ///   - login: of a program, as in `user:password@`.
    /// - Throws: `TestSupportError` if they do not become a cluster.
    public init(
        masters: Int = 3, replicasPerMaster: Int = 0, arguments: [String] = [],
        server: TargetServer = .system, host: String = "127.0.0.1", login: String = ""
    ) throws {
        precondition(masters > 0 && (0...1).contains(replicasPerMaster))
        self.host = host
        self.login = login
        // Tests themselves come by 127.0.0.1.
        self.arguments =
            host == "127.0.0.1" ? arguments : ["--bind", "127.0.0.1", host] + arguments
        self.server = server
        var busPorts: [UInt16] = []
        for _ in 0..<(masters * (1 + replicasPerMaster)) { busPorts.append(try start()) }
        try join(busPorts: busPorts)
        try share(among: masters)
        let count = servers.count
        for replica in masters..<max(masters, count) {
            try follow(replica: replica, master: replica - masters)
        }
        try waitUntilStable()
        try wait(until: "replicas follow their masters") {
            try (masters..<count).allSatisfy {
                try information($0, "replication")("master_link_status") == "up"
            }
        }
    }

    /// Ends every node at once.
    public func stop() { servers.forEach { $0.stop() } }

    /// Ends a node as a crash would.
    public func kill(_ index: Int) { servers[index].stop() }

    /// How a program is told of it: by the first node.
    public var address: String {
        let place = host.contains(":") ? "[\(host)]" : host
        return "\(login.isEmpty ? "redis" : "redis-cluster")://\(login)\(place):\(servers[0].port)"
    }

    /// The masters that live, as a living node knows them.
    private var masters: [RedisServer] {
        guard let asked = living.first,
            let text = try? servers[asked].client().call("CLUSTER", "NODES").text
        else { return [] }
        return text.split(separator: "\n").compactMap { line in
            let fields = line.split(separator: " ")
            let flags = fields[2].split(separator: ",")
            guard flags.contains("master"), !flags.contains("fail") else { return nil }
            return identifiers.firstIndex(of: String(fields[0])).map { servers[$0] }
        }
    }

    /// The ports of the masters that live, as a living node knows them.
    public var masterPorts: [UInt16] { masters.map(\.port) }

    /// The index of the server that owns a slot, as it says itself: others know by and by.
    public func owner(of slot: Int) throws -> Int {
        for index in living {
            if try Self.owners(servers[index].client())[slot] == identifiers[index] { return index }
        }
        throw TestSupportError("nobody owns slot \(slot)")
    }

    /// Everything that the masters hold in database 0. No slot may be open.
    public func state() throws -> ServerState {
        var state: ServerState = [:]
        for master in masters {
            let part = try StateReader(master.client()).read(databases: 0..<1)
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
            let password = servers[index].password.map { ["AUTH", $0] } ?? []
            let words =
                ["MIGRATE", host, "\(servers[index].port)", "", "0", "30000"] + password + ["KEYS"]
            let reply = try client.command(
                words.map { Array($0.utf8) } + keys.compactMap(\.bytes))
            if case .error(let message) = reply { throw TestSupportError("MIGRATE: \(message)") }
        }
        // The new owner takes an epoch above all that it knows of; one that it does not know of would
        // take the slot back.
        try wait(until: "nodes agree on the epoch") {
            let epochs = try living.map {
                RedisServer.field(
                    "cluster_current_epoch",
                    of: try servers[$0].client().call("CLUSTER", "INFO").text ?? "")
            }
            return Set(epochs).count == 1
        }
        // The new owner first: until it knows, it would send everybody back to the old one.
        for server in [index, source] + living.filter({ $0 != index && $0 != source }) {
            do {
                try setSlot(slot, on: server, "NODE", identifiers[index])
            } catch {
                // Replicas do not take it, nor does a master that has become one with its last slot.
                guard "\(error)".contains("only with masters") else { throw error }
            }
        }
    }

    /// Has each node announce a port at which nobody listens; the bus stays where it is. Returns when
    /// all know.
    /// - Returns: these ports, in the order of `servers`.
    public func announceClosedPorts() throws -> [UInt16] {
        let ports = try servers.map { server in
            let port = try RedisServer.freePort()
            try server.client().call("CONFIG", "SET", "cluster-announce-port", "\(port)")
            return port
        }
        try wait(until: "nodes know the ports announced") {
            try servers.allSatisfy { server in
                let text = try server.client().call("CLUSTER", "NODES").text ?? ""
                return ports.allSatisfy { text.contains(":\($0)@") }
            }
        }
        return ports
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

    /// Starts another master, without slots.
    /// - Parameter prepare: what happens to it before the others know it.
    /// - Returns: its index.
    public func add(_ prepare: (RedisServer) throws -> Void = { _ in }) throws -> Int {
        let busPort = try start()
        let index = servers.count - 1
        try prepare(servers[index])
        try meet(index, busPort: busPort)
        try waitUntilAllKnowAll()
        try waitUntilStable()
        return index
    }

    /// Has all others forget a node without slots, and the node them: it runs on alone.
    public func remove(_ index: Int) throws {
        lock.withLock { _ = members.forgotten.insert(index) }
        for other in living {
            try servers[other].client().call("CLUSTER", "FORGET", identifiers[index])
        }
        try servers[index].client().call("CLUSTER", "RESET", "SOFT")
    }

    /// Restarts a replica, and waits until it follows its master again.
    public func restart(_ index: Int) throws {
        let before = try information(index, "server")("run_id")
        // There is no answer.
        _ = try? servers[index].client().call("DEBUG", "RESTART")
        try wait(until: "node \(index) follows") {
            try information(index, "server")("run_id") != before
                && information(index, "replication")("master_link_status") == "up"
        }
    }

    /// Waits until all living nodes agree on who owns which slot, and serve them all.
    public func waitUntilStable() throws {
        try wait(until: "nodes agree") {
            var agreed: [String]?
            for server in living.map({ servers[$0] }) {
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

    /// Starts another server in cluster mode.
    /// - Returns: the port of its bus.
    private func start() throws -> UInt16 {
        let (started, busPort) = try Self.start(server, arguments)
        let identifier = try started.client().call("CLUSTER", "MYID").text ?? ""
        lock.withLock {
            members.servers.append(started)
            members.identifiers.append(identifier)
        }
        return busPort
    }

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
        for index in servers.indices.dropFirst() { try meet(index, busPort: busPorts[index]) }
        try waitUntilAllKnowAll()
    }

    private func meet(_ index: Int, busPort: UInt16) throws {
        try servers[0].client().call(
            "CLUSTER", "MEET", host, "\(servers[index].port)", "\(busPort)")
    }

    private func waitUntilAllKnowAll() throws {
        let known = living.map { identifiers[$0] }
        try wait(until: "nodes know each other") {
            try living.allSatisfy {
                let text = try servers[$0].client().call("CLUSTER", "NODES").text ?? ""
                return known.allSatisfy(text.contains) && !text.contains("handshake")
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

    /// Those that run and were not removed.
    private var living: [Int] {
        let members = lock.withLock { self.members }
        return members.servers.indices.filter {
            members.servers[$0].isRunning && !members.forgotten.contains($0)
        }
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

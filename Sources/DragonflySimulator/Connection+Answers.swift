import Bytes
import CPlatform

/// The ordinary commands a replica or an operator's tool asks a master.
extension Connection {
    /// - Parameter words: the command as it came; `arguments` are those behind its name as texts.
    func answer(_ name: String, _ words: [[UInt8]], _ arguments: [String]) -> Reply {
        switch name {
        case "PING" where transaction == nil:
            return arguments.isEmpty ? .simple("PONG") : .passed(.bulk(words[1]))
        case "ECHO" where transaction == nil:
            return arguments.count == 1 ? .passed(.bulk(words[1])) : .wrongArguments(name)
        case "INFO": return .bulk(information(arguments.first?.lowercased()))
        case "ROLE": return role(of: master)
        case "TIME":
            let now = cp_unix_milliseconds()
            return .array([.bulk(String(now / 1000)), .bulk(String(now % 1000 * 1000))])
        case "CONFIG": return configuration(arguments)
        case "CLIENT": return client(arguments)
        default: break
        }
        if let content = master.content as? EmulatedContent {
            return answer(name, words, by: content)
        }
        return switch name {
        case "SELECT": .ok
        case "DBSIZE": .integer(Int64(master.content.identity.keyCounts.first ?? 0))
        default: .error("ERR unknown command `\(name)`")
        }
    }

    private func client(_ arguments: [String]) -> Reply {
        switch arguments.first?.uppercased() {
        case "ID": .integer(Int64(number))
        case "PAUSE": pause(Array(arguments.dropFirst()))
        case "UNPAUSE": pause(["0"])
        case "SETNAME", "SETINFO", "NO-EVICT", "NO-TOUCH": .ok
        default: .syntaxError
        }
    }

    /// What protocol.md appendix B and section 7 make a client ask for.
    private func configuration(_ arguments: [String]) -> Reply {
        guard arguments.count == 2, arguments[0].uppercased() == "GET" else {
            return .syntaxError
        }
        var settings = [
            ("cluster_mode", ""), ("dbnum", "16"), ("lock_on_hashtags", "false"),
            ("maxmemory", "0"), ("replication_stream_output_limit", "1048576"),
            ("replication_timeout", "30000"), ("requirepass", master.options.password ?? ""),
            ("serialization_max_chunk_size", "65536"), ("serialization_tagged_chunks", "true"),
            ("shard_repl_backlog_time_ms", "5000"),
        ]
        if let emulated = (master.content as? EmulatedContent)?.settings { settings = emulated }
        let found = settings.filter { arguments[1] == "*" || $0.0 == arguments[1].lowercased() }
        return .array(found.flatMap { [.bulk($0.0), .bulk($0.1)] })
    }

    private func information(_ section: String?) -> String {
        let identity = master.content.identity
        var text = ""
        func wants(_ name: String) -> Bool {
            section == nil || section == name || section == "all" || section == "everything"
        }
        if wants("server") {
            text += "# Server\r\nredis_version:\(identity.redisVersion)\r\n"
            text += "dragonfly_version:\(identity.release)\r\nredis_mode:standalone\r\n"
            text += "tcp_port:\(master.port)\r\nthread_count:\(identity.flowCount)\r\n\r\n"
        }
        if wants("memory") {
            text += "# Memory\r\nused_memory:1048576\r\nmaxmemory:0\r\n\r\n"
        }
        if wants("replication") {
            let replicas = self.replicas()
            text += "# Replication\r\nrole:master\r\nconnected_slaves:\(replicas.count)\r\n"
            for (index, replica) in replicas.enumerated() {
                text += "slave\(index):ip=\(replica.address),port=\(replica.port),"
                text += "state=\(replica.phase),lag=\(replica.lag)\r\n"
            }
            text += "master_replid:\(identity.masterId)\r\n\r\n"
        }
        if wants("keyspace") {
            text += "# Keyspace\r\n"
            text += (master.content as? EmulatedContent)?.keyspaceInformation() ?? ""
            for (database, count) in identity.keyCounts.enumerated() where count > 0 {
                text += "db\(database):keys=\(count),expires=0,avg_ttl=-1\r\n"
            }
        }
        return text
    }

    private func role(of master: Master) -> Reply {
        let replicas = self.replicas().map { replica in
            Reply.array([
                .bulk(replica.address), .bulk(String(replica.port)), .bulk(replica.phase),
            ])
        }
        return .array([.bulk("master"), .array(replicas)])
    }

    private struct Replica {
        let address: String
        let port: Int
        let phase: String
        let lag: UInt64
    }

    private func replicas() -> [Replica] {
        let content = master.content
        let online = content.identity.releaseNumber >= 1030 ? "online" : "stable_sync"
        let state = master.state.read { $0 }
        let live = state.sessions.values.filter { $0.phase != .cancelled }
        return live.sorted { $0.number < $1.number }.map { session in
            let phase =
                switch session.phase {
                case .preparation, .cancelled: "preparation"
                case .fullSync: "full_sync"
                case .stable: online
                }
            let lag = state.flows.indices.map { flow -> UInt64 in
                let next = content.nextLSN(flow: flow)
                let acknowledged = state.flows[flow].acknowledgements.last ?? 0
                return next > acknowledged ? next - acknowledged : 0
            }
            return Replica(
                address: state.replicaAddresses[session.control] ?? "127.0.0.1",
                port: state.replicaPorts[session.control] ?? 0, phase: phase,
                lag: session.phase == .stable ? lag.max() ?? 0 : 0)
        }
    }
}

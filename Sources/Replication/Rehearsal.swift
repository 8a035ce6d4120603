internal import Bytes
internal import CPlatform
internal import DragonflySource
internal import RedisTarget
internal import Wire

extension Replicator {
    /// Connects and logs in to both servers, asks what they are, and leaves: what `--dry-run` does.
    /// Nothing is written and no session is opened on the source. Returns lines for the operator.
    public static func rehearse(_ settings: ReplicationSettings) throws(RunError) -> [String] {
        var lines: [String] = []
        let source = try Conversation(settings.source, "source")
        let sourceServer = try source.ask(["INFO", "server"])
        let release = InfoText.string(sourceServer, "dragonfly_version:")
        guard let release else {
            throw RunError(
                .refused,
                "the source \(settings.source) is no Dragonfly: its INFO names no "
                    + "dragonfly_version")
        }
        lines.append("source \(settings.source): Dragonfly \(release)")
        lines += keyspace(try source.ask(["INFO", "keyspace"]), "source")
        let risks = Replicator.risks(release, source)
        try Replicator.refuse(risks, settings)
        lines += risks.map { "source: \($0.text)" }

        let target = try conversation(withTargetOf: settings)
        let place = target.endpoint
        let text = try target.ask(["INFO"])
        guard let version = text.withByteView({ TargetVersion(info: $0) }) else {
            throw RunError(.refused, "the target \(place): INFO names no redis_version")
        }
        lines.append("target \(place): \(version)")
        let isCluster = InfoText.string(text, "cluster_enabled:") == "1"
        if isCluster != (settings.targetKind == .cluster), settings.targetKind != .automatic {
            throw RunError(
                .refused,
                "the target \(place) is \(isCluster ? "a" : "no") node of a cluster, and target.type "
                    + "is \(settings.targetKind.rawValue)")
        }
        if isCluster { lines += try clusterLines(target) }
        if settings.types.json == .module {
            do throws(RunError) {
                _ = try target.ask(TargetGreeting.jsonQuestion)
            } catch {
                throw RunError(error.kind, "\(error.message); \(TargetGreeting.jsonAdvice)")
            }
        }
        lines += keyspace(text, "target")
        return lines
    }

    private static func clusterLines(_ target: Conversation) throws(RunError) -> [String] {
        let text = try target.ask(["CLUSTER", "NODES"])
        guard let topology = text.withByteView({ ClusterNodes($0) }) else {
            throw RunError(
                .refused, "the target \(target.endpoint) answered CLUSTER NODES with what is none")
        }
        guard topology.slotsUncovered == 0 else {
            throw RunError(
                .refused,
                "the target's cluster has no master for \(topology.slotsUncovered) of its slots; see "
                    + "CLUSTER INFO")
        }
        let replicas = topology.nodes.count { !$0.masterID.isEmpty && !$0.isFailed }
        return [
            "target: a cluster of \(topology.masters.count) masters with slots, \(replicas) replicas"
        ]
    }

    /// The first place of the target that answers.
    private static func conversation(
        withTargetOf settings: ReplicationSettings
    ) throws(RunError) -> Conversation {
        if let master = settings.sentinelMaster {
            return try Conversation(self.master(named: master, settings), "target")
        }
        var firstError: RunError?
        for endpoint in [settings.target] + settings.targetSeeds {
            do throws(RunError) {
                return try Conversation(endpoint, "target")
            } catch {
                firstError = firstError ?? error
            }
        }
        throw firstError ?? RunError(.unreachable, "no target is named")
    }

    /// Asks the sentinels, one after the other, for the master of that name.
    static func master(
        named name: String, _ settings: ReplicationSettings
    ) throws(RunError) -> Endpoint {
        var lastError: RunError?
        for place in [settings.target] + settings.targetSeeds {
            let sentinel = Endpoint(
                host: place.host, port: place.port, password: settings.sentinelPassword)
            do throws(RunError) {
                let answer = try Conversation(sentinel, "sentinel")
                    .askList(["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name])
                if answer.count == 2, let port = UInt16(answer[1]) {
                    return Endpoint(
                        host: answer[0], port: port, user: place.user, password: place.password)
                }
                lastError = RunError(
                    .refused, "the sentinel \(sentinel) knows no master named \(name)")
            } catch {
                lastError = error
            }
        }
        throw lastError ?? RunError(.unreachable, "no sentinel is named")
    }

    /// What the source tells about itself before a run.
    struct SourceFacts {
        /// For the progress display, 0 if it does not say.
        var keys = 0
        /// Its databases that hold keys.
        var databases: [Int] = []
        /// Whether it listens for memcached clients, too; false if it does not say.
        var servesMemcached = false
        /// What is known to be wrong with its release and settings.
        var risks: [SourceRisk] = []
    }

    static func sourceFacts(_ settings: ReplicationSettings) -> SourceFacts {
        var facts = SourceFacts()
        guard let source = try? Conversation(settings.source, "source") else { return facts }
        if let text = try? source.ask(["INFO", "keyspace"]) {
            facts.keys = keyCount(text)
            facts.databases = text.withByteView { InfoText($0).usedDatabases }
        }
        if let port = try? source.askList(["CONFIG", "GET", "memcached_port"]), port.count == 2 {
            facts.servesMemcached = port[1] != "0" && !port[1].isEmpty
        }
        let server = try? source.ask(["INFO", "server"])
        // What is no Dragonfly is refused by the session, with better words.
        if server == nil || InfoText.string(server ?? [], "dragonfly_version:") != nil {
            let release = server.flatMap { InfoText.string($0, "dragonfly_version:") }
            facts.risks = risks(release ?? "", source)
        }
        return facts
    }

    /// What the table of known releases has about this source.
    private static func risks(_ release: String, _ source: Conversation) -> [SourceRisk] {
        var settings: [String: String] = [:]
        for name in KnownReleases.settings {
            if let answer = try? source.askList(["CONFIG", "GET", name]), answer.count == 2 {
                settings[name] = answer[1]
            }
        }
        if let memory = try? source.ask(["INFO", "memory"]) {
            settings["cache_mode"] = InfoText.string(memory, "cache_mode:")
        }
        let parsed = Array(release.utf8).withByteView { SourceRelease($0) }
        return KnownReleases.problems(of: parsed, settings: settings).map(SourceRisk.init)
    }

    /// - Throws: `RunError` if the run must not begin unless that is accepted.
    static func refuse(
        _ risks: [SourceRisk], _ settings: ReplicationSettings
    ) throws(RunError) {
        guard !settings.acceptsSourceRisk, let risk = risks.first(where: { $0.weight == .refused })
        else { return }
        throw RunError(
            .refused,
            "the source \(settings.source): \(risk.text). Nothing was written; to run all the same"
                + " give --accept-source-risk")
    }

    private static func keyCount(_ text: [UInt8]) -> Int {
        var keys = 0
        for database in 0..<64 {
            guard let line = InfoText.string(text, "db\(database):"),
                let value = line.split(separator: ",").first?.split(separator: "=").last
            else { continue }
            keys += Int(value) ?? 0
        }
        return keys
    }

    private static func keyspace(_ info: [UInt8], _ side: String) -> [String] {
        (0..<64).compactMap { database in
            InfoText.string(info, "db\(database):").map { "\(side) database \(database): \($0)" }
        }
    }
}

extension InfoText {
    static func string(_ text: [UInt8], _ label: String) -> String? {
        text.withByteView { info in
            Array(label.utf8).withByteView { InfoText(info).value(of: $0)?.printable() }
        }
    }
}

/// A blocking connection for a few questions before a run; never used on a reactor's thread.
private final class Conversation {
    private static let limitMilliseconds: Int32 = 10_000

    let endpoint: Endpoint
    private let side: String
    private let descriptor: Int32
    private var input: MirroredRing
    private var output: MirroredRing

    init(_ endpoint: Endpoint, _ side: String) throws(RunError) {
        var address = try Replicator.resolve(endpoint, side)
        let descriptor = cp_connect_start(&address, 15_000)
        do throws(SystemError) {
            input = try MirroredRing(capacity: 1 << 18)
            output = try MirroredRing(capacity: 1 << 16)
        } catch {
            throw RunError(.interrupted, "no memory for a connection: \(error)")
        }
        self.descriptor = descriptor
        self.endpoint = endpoint
        self.side = side
        guard descriptor >= 0 else { throw unreachable(SystemError(result: descriptor)) }
        let waited = cp_wait_writable(descriptor, Conversation.limitMilliseconds)
        let code = waited == 0 ? SystemError.timedOut.code : cp_socket_error(descriptor)
        guard code == 0 else { throw unreachable(SystemError(code: abs(code))) }
        if let password = endpoint.password {
            do throws(RunError) {
                _ = try ask(["AUTH"] + (endpoint.user.map { [$0] } ?? []) + [password])
            } catch {
                throw RunError(.unreachable, error.message)
            }
        }
    }

    deinit {
        if descriptor >= 0 { _ = cp_close(descriptor) }
    }

    private func unreachable(_ error: SystemError) -> RunError {
        RunError(.unreachable, "cannot connect to the \(side) \(endpoint): \(error)")
    }

    /// Sends a command and waits for the strings of its reply, which is an array.
    func askList(_ words: [String]) throws(RunError) -> [String] {
        try send(words)
        do {
            var tokenizer = RESPTokenizer()
            var remaining = 1
            var texts: [String] = []
            while remaining > 0 {
                var position = 0
                switch try tokenizer.next(input.readable, at: &position) {
                case .needMore: try read()
                case .array(let count): remaining += count - 1
                case .bulk: texts.append("")
                case .bytes(let bytes, let isLast):
                    texts[texts.count - 1] += String(decoding: bytes.array(), as: UTF8.self)
                    if isLast { remaining -= 1 }
                case .error(let text):
                    let refusal = refusal(text.printable(), words[0])
                    // What is left in the buffer would be taken for the next answer.
                    input.consume(position)
                    throw refusal
                case .null, .integer, .simple: remaining -= 1
                }
                input.consume(position)
            }
            return texts
        } catch let error as RunError {
            throw error
        } catch {
            throw RunError(.refused, "the \(side) \(endpoint) sent bytes that are no reply")
        }
    }

    /// Sends a command and waits for the text of its reply.
    func ask(_ words: [String]) throws(RunError) -> [UInt8] {
        try send(words)
        do {
            var scanner = try RESPReplyScanner(wholeBulkBytes: input.capacity / 2)
            while true {
                var position = 0
                if let reply = try scanner.next(input.readable, at: &position) {
                    let content = reply.content.array()
                    input.consume(position)
                    guard reply.hasError else { return content }
                    throw refusal(String(decoding: content, as: UTF8.self), words[0])
                }
                input.consume(position)
                try read()
            }
        } catch let error as RunError {
            throw error
        } catch {
            throw RunError(.refused, "the \(side) \(endpoint) sent bytes that are no reply")
        }
    }

    private func refusal(_ text: String, _ command: String) -> RunError {
        let isLogin = text.hasPrefix("NOAUTH") || text.hasPrefix("WRONGPASS")
        return RunError(
            isLogin ? .unreachable : .refused,
            "the \(side) \(endpoint) answered \(command) with: \(text)")
    }

    private func read() throws(RunError) {
        guard input.free > 0 else {
            throw RunError(.refused, "the \(side) \(endpoint) sent a reply without end")
        }
        let waited = cp_wait_two(descriptor, -1, Conversation.limitMilliseconds)
        guard waited != 0 else { throw unreachable(SystemError.timedOut) }
        switch input.receive(from: descriptor, limit: input.free) {
        case .moved, .wouldBlock: break
        case .endOfStream: throw unreachable(SystemError.connectionReset)
        case .failed(let error): throw unreachable(error)
        }
    }

    private func send(_ words: [String]) throws(RunError) {
        output.append("*")
        output.append(decimal: Int64(words.count))
        output.append("\r\n")
        for word in words {
            let bytes = Array(word.utf8)
            output.append("$")
            output.append(decimal: Int64(bytes.count))
            output.append("\r\n")
            bytes.withByteView { output.append($0) }
            output.append("\r\n")
        }
        while !output.isEmpty {
            switch output.send(to: descriptor, from: output.head) {
            case .moved(let count): output.consume(count)
            case .failed(let error): throw unreachable(error)
            case .wouldBlock, .endOfStream: throw unreachable(SystemError.timedOut)
            }
        }
    }
}

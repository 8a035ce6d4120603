import Logging
import RedisTarget
import Replication

/// Everything that the layers (defaults, file, environment, flags) decide about a run.
struct Configuration {
    /// A server, as far as the layers named it.
    struct Server: Equatable {
        var host: String?
        var port = EndpointURL.defaultPort
        var user: String?
        var password: String?
        var kind = EndpointURL.Kind.server
        /// Further nodes that the address names.
        var others: [EndpointURL.Node] = []
    }

    var taskName = "df2redis"
    var source = Server()
    var target = Server()
    var targetKind = ReplicationSettings.TargetKind.automatic
    var clusterSeeds: [EndpointURL.Node] = []
    var clusterAddressing = ClusterAddressing()
    var sentinelPassword: String?
    /// Nil writes no files.
    var stateDirectory: String?
    var cores = ReplicationSettings.Cores.automatic
    var pinsThreads = true
    var busyPollMicroseconds = 0
    var writeMethod = ReplicationSettings.WriteMethod.automatic
    /// Without the prefixes, which are joined at the end.
    var keyRules = KeyRuleSettings()
    var addedPrefix: String?
    var strippedPrefix: String?
    var replacedPrefix: (from: String?, to: String?)
    var conflictPolicy = ReplicationSettings.ConflictPolicy.overwrite
    var logLevel = Logger.Level.info
    var logFormat = LogFormat.text
    var isQuiet = false
    var acceptsSourceRisk = false
    /// The earlier tool's way to say "migrate" in a file for `replicate`.
    var endsAfterSnapshot = false
    var rate = RateLimits()
    /// Nil keeps the defaults of `ReplicationSettings`.
    var flowRingBytes: Int?
    var targetRingBytes: Int?
    var bigValueBytes: Int?
    var valueBytesLimit: Int?
    var deadLetterBytesLimit: Int?
    var types = TypePolicy()

    /// Where each setting that is not a default came from, by key.
    var origins: [String: ConfigurationOrigin] = [:]

    /// The settings of the run, or what is missing or contradicts itself.
    func settings(
        mode: ReplicationSettings.Mode
    ) -> (settings: ReplicationSettings?, problems: [ConfigurationProblem]) {
        var problems: [ConfigurationProblem] = []
        let sourceEndpoint = endpoint(source, "source", &problems)
        let targetEndpoints = self.targetEndpoints(&problems)
        guard let sourceEndpoint, let targetEndpoint = targetEndpoints.first else {
            return (nil, problems)
        }
        if targetEndpoints.contains(where: { $0.description == sourceEndpoint.description }) {
            problems.append(
                ConfigurationProblem(
                    origin: origins["target.addr"] ?? origins["target.cluster.seeds"],
                    key: "target.addr",
                    reason: "source and target are the same server, \(sourceEndpoint)"))
        }
        let kind = joinedTargetKind(&problems)
        let keyRules = joinedKeyRules(&problems)
        guard problems.isEmpty else { return (nil, problems) }

        var settings = ReplicationSettings(
            mode: endsAfterSnapshot ? .migrate : mode, source: sourceEndpoint,
            target: targetEndpoint)
        settings.targetKind = kind
        settings.targetSeeds = Array(targetEndpoints.dropFirst())
        settings.clusterAddressing = clusterAddressing
        if case .sentinel(let master) = target.kind {
            settings.sentinelMaster = master
            settings.sentinelPassword = sentinelPassword
        }
        settings.taskName = taskName
        settings.stateDirectory = stateDirectory
        settings.cores = cores
        settings.pinsThreads = pinsThreads
        settings.busyPollMicroseconds = busyPollMicroseconds
        settings.writeMethod = writeMethod
        settings.acceptsSourceRisk = acceptsSourceRisk
        settings.keyRules = keyRules
        settings.conflictPolicy = conflictPolicy
        settings.rate = rate
        settings.flowRingBytes = flowRingBytes ?? settings.flowRingBytes
        settings.targetRingBytes = targetRingBytes ?? settings.targetRingBytes
        settings.bigValueBytes = bigValueBytes ?? settings.bigValueBytes
        settings.valueBytesLimit = valueBytesLimit ?? settings.valueBytesLimit
        settings.deadLetterBytesLimit = deadLetterBytesLimit ?? settings.deadLetterBytesLimit
        settings.types = types
        if let problem = coresProblem() { return (nil, [problem]) }
        if types.expiresByUs, stateDirectory == nil {
            let key =
                types.hashFieldExpiry == .byUs ? "types.hashFieldExpiry" : "types.setMemberExpiry"
            problems.append(
                ConfigurationProblem(
                    origin: origins[key], key: key,
                    reason: "expire-by-us keeps what is to be removed on disk: give --state-dir DIR"
                ))
            return (nil, problems)
        }
        return (settings, [])
    }

    /// What keeps the run from the CPUs that `cores` names.
    private func coresProblem() -> ConfigurationProblem? {
        guard case .cpus(let cpus) = cores else { return nil }
        let reason: String
        if !pinsThreads {
            reason = "names CPUs, which contradicts --no-pin; give a number, or pin"
        } else if let available = try? ReplicationSettings.availableCPUs(),
            let missing = cpus.first(where: { !available.contains($0) })
        {
            reason =
                "names CPU \(missing), which this process may not use; it may use "
                + available.map(String.init).joined(separator: ",")
        } else {
            return nil
        }
        return ConfigurationProblem(origin: origins["cores"], key: "cores", reason: reason)
    }

    /// Where to begin, in this order: what the address names, then the seeds, each once. Empty if
    /// nothing is named.
    private func targetEndpoints(_ problems: inout [ConfigurationProblem]) -> [Endpoint] {
        var server = target
        var others = target.others + clusterSeeds
        if server.host == nil, !others.isEmpty {
            let first = others.removeFirst()
            server.host = first.host
            server.port = first.port
        }
        guard let first = endpoint(server, "target", &problems) else { return [] }
        var endpoints = [first]
        for node in others {
            let endpoint = Endpoint(
                host: node.host, port: node.port, user: first.user, password: first.password)
            if !endpoints.contains(endpoint) { endpoints.append(endpoint) }
        }
        return endpoints
    }

    /// The kind of target that address, seeds and `target.type` agree on.
    private func joinedTargetKind(
        _ problems: inout [ConfigurationProblem]
    ) -> ReplicationSettings.TargetKind {
        let named: ReplicationSettings.TargetKind
        let word: String
        switch target.kind {
        case .server:
            named = clusterSeeds.isEmpty ? .automatic : .cluster
            word = "target.cluster.seeds"
        case .cluster:
            named = .cluster
            word = "redis-cluster://"
        case .sentinel:
            named = .standalone
            word = "redis-sentinel://"
            if !clusterSeeds.isEmpty {
                problems.append(
                    ConfigurationProblem(
                        origin: origins["target.cluster.seeds"], key: "target.cluster.seeds",
                        reason: "has no use beside redis-sentinel://, whose master is no cluster;"
                            + " leave it out"))
            }
        }
        if named == .automatic || targetKind == .automatic || named == targetKind {
            return named == .automatic ? targetKind : named
        }
        problems.append(
            ConfigurationProblem(
                origin: origins["target.type"], key: "target.type",
                reason: "\(targetKind.rawValue) contradicts \(word), which means"
                    + " \(named.rawValue); leave one of them out"))
        return targetKind
    }

    private func joinedKeyRules(_ problems: inout [ConfigurationProblem]) -> KeyRuleSettings {
        var rules = keyRules
        rules.sourcePrefix = strippedPrefix ?? replacedPrefix.from ?? ""
        rules.targetPrefix = addedPrefix ?? replacedPrefix.to ?? ""
        var found = rules.problems
        let replaces = replacedPrefix.from != nil || replacedPrefix.to != nil
        let ways = [addedPrefix != nil, strippedPrefix != nil, replaces].filter { $0 }.count
        if ways > 1 {
            let key = replaces ? "keys.replacePrefix" : "keys.stripPrefix"
            found = [
                (key, "give one of keys.addPrefix, keys.stripPrefix and keys.replacePrefix")
            ]
        } else if replaces, replacedPrefix.from == nil || replacedPrefix.to == nil {
            found = [
                (
                    "keys.replacePrefix",
                    "needs both from and to; to add or to take away only, there are keys.addPrefix"
                        + " and keys.stripPrefix"
                )
            ]
        }
        for (key, reason) in found {
            let origin = origins[key] ?? origins[key + ".from"] ?? origins[key + ".to"]
            problems.append(ConfigurationProblem(origin: origin, key: key, reason: reason))
        }
        return rules
    }

    private func endpoint(
        _ server: Server, _ name: String, _ problems: inout [ConfigurationProblem]
    ) -> Endpoint? {
        guard let host = server.host else {
            problems.append(
                ConfigurationProblem(
                    origin: nil, key: name + ".addr",
                    reason: "no \(name): give --\(name) redis://host:port,"
                        + " \(ConfigurationKeys.environmentName(of: name + ".addr")),"
                        + " or this key in the --config file"))
            return nil
        }
        if server.user != nil && server.password == nil {
            problems.append(
                ConfigurationProblem(
                    origin: origins[name + ".username"] ?? origins[name + ".addr"],
                    key: name + ".username",
                    reason: "a user needs a password: set"
                        + " \(ConfigurationKeys.environmentName(of: name + ".password"))"
                        + " or \(name).password"))
        }
        return Endpoint(
            host: host, port: server.port, user: server.user, password: server.password)
    }

    /// What is in effect, without secrets; nil for the origin of a default.
    func effectiveRows(
        settings: ReplicationSettings
    ) -> [(key: String, value: String, origin: ConfigurationOrigin?)] {
        let rows: [(String, String)] =
            [
                ("mode", settings.mode == .migrate ? "migrate" : "replicate"),
                ("taskName", settings.taskName),
                ("source.addr", settings.source.description),
                ("source.username", settings.source.user ?? "(default user)"),
                ("source.password", settings.source.password == nil ? "(none)" : "(set)"),
                ("source.acceptRisk", String(settings.acceptsSourceRisk)),
                ("target.type", settings.targetKind.rawValue),
                ("target.addr", Self.address(settings)),
                ("target.username", settings.target.user ?? "(default user)"),
                ("target.password", settings.target.password == nil ? "(none)" : "(set)"),
                ("target.rate.operationsPerSecond", Self.limit(settings.rate.operationsPerSecond)),
                ("target.rate.bytesPerSecond", Self.limit(settings.rate.bytesPerSecond)),
                (
                    "target.rate.maxLatencyMilliseconds",
                    Self.limit(settings.rate.maxLatencyMilliseconds)
                ),
                ("stateDir", settings.stateDirectory ?? "(none: no report is written)"),
                ("cores", settings.cores.description),
                ("writeMethod", settings.writeMethod.rawValue),
                ("conflict.policy", settings.conflictPolicy.rawValue),
                ("types.json", settings.types.json.rawValue),
                ("types.hashFieldExpiry", settings.types.hashFieldExpiry.rawValue),
                ("types.setMemberExpiry", settings.types.setMemberExpiry.rawValue),
                ("types.probabilistic", settings.types.probabilistic.rawValue),
                ("advanced.pinThreads", String(settings.pinsThreads)),
                ("advanced.busyPollMicroseconds", String(settings.busyPollMicroseconds)),
                ("advanced.flowRingBytes", String(settings.flowRingBytes)),
                ("advanced.targetRingBytes", String(settings.targetRingBytes)),
                ("advanced.bigValueBytes", String(settings.bigValueBytes)),
                ("advanced.valueBytesLimit", String(settings.valueBytesLimit)),
                ("advanced.deadLetterBytesLimit", String(settings.deadLetterBytesLimit)),
                ("log.level", logLevel.rawValue),
                ("log.format", logFormat.rawValue),
            ] + clusterRows(settings) + keyRuleRows(settings.keyRules)
        return rows.map { key, value in (key, value, origins[key]) }
    }

    private static func address(_ settings: ReplicationSettings) -> String {
        guard let master = settings.sentinelMaster else { return settings.target.description }
        let sentinels = ([settings.target] + settings.targetSeeds).map(\.description)
        return "\(master), known to \(sentinels.joined(separator: ", "))"
    }

    // What was not given says nothing.
    private func clusterRows(_ settings: ReplicationSettings) -> [(String, String)] {
        var rows: [(String, String)] = []
        if settings.sentinelMaster != nil {
            rows.append(
                (
                    "target.sentinel.password",
                    settings.sentinelPassword == nil ? "(none)" : "(set)"
                ))
        } else if !settings.targetSeeds.isEmpty {
            let seeds = settings.targetSeeds.map(\.description)
            rows.append(("target.cluster.seeds", seeds.joined(separator: ", ")))
        }
        let addressing = settings.clusterAddressing
        if !addressing.addressMap.isEmpty {
            let pairs = addressing.addressMap.sorted { $0.key < $1.key }
            rows.append(
                (
                    "target.cluster.addressMap",
                    pairs.map { "\($0.key)=\($0.value)" }.joined(separator: ", ")
                ))
        }
        if addressing.usesHostnames { rows.append(("target.cluster.hostnames", "true")) }
        return rows
    }

    // Rules that were not given say nothing.
    private func keyRuleRows(_ rules: KeyRuleSettings) -> [(String, String)] {
        var rows: [(String, String)] = []
        if rules.flushSlots != .report { rows.append(("flushSlots", rules.flushSlots.rawValue)) }
        guard rules.hasRules || rules.flush != nil else { return rows }
        if !rules.databases.isEmpty {
            let pairs = rules.databases.sorted { $0.key < $1.key }
            rows.append(("dbs", pairs.map { "\($0.key): \($0.value)" }.joined(separator: ", ")))
        }
        for (name, selection) in [
            ("filter.include", rules.include), ("filter.exclude", rules.exclude),
        ] {
            let lists = [
                ("prefixes", selection.prefixes), ("suffixes", selection.suffixes),
                ("globs", selection.globs), ("databases", selection.databases.map(String.init)),
                ("types", selection.types), ("commands", selection.commands),
            ]
            for (list, items) in lists where !items.isEmpty {
                rows.append(("\(name).\(list)", items.joined(separator: ", ")))
            }
        }
        for (key, prefix) in [
            ("keys.addPrefix", addedPrefix), ("keys.stripPrefix", strippedPrefix),
            ("keys.replacePrefix.from", replacedPrefix.from),
            ("keys.replacePrefix.to", replacedPrefix.to),
        ] {
            if let prefix { rows.append((key, prefix)) }
        }
        rows.append(("flush", rules.flushInEffect.rawValue))
        return rows
    }

    private static func limit(_ number: Int) -> String {
        number == 0 ? "0 (no limit)" : String(number)
    }
}

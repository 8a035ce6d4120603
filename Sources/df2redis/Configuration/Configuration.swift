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
    }

    var taskName = "df2redis"
    var source = Server()
    var target = Server()
    /// Nil writes no files.
    var stateDirectory: String?
    /// Nil means one per flow, up to the CPUs available.
    var cores: Int?
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
        let targetEndpoint = endpoint(target, "target", &problems)
        guard let sourceEndpoint, let targetEndpoint else { return (nil, problems) }
        if sourceEndpoint.description == targetEndpoint.description {
            problems.append(
                ConfigurationProblem(
                    origin: origins["target.addr"], key: "target.addr",
                    reason: "source and target are the same server, \(targetEndpoint)"))
        }
        let keyRules = joinedKeyRules(&problems)
        guard problems.isEmpty else { return (nil, problems) }

        var settings = ReplicationSettings(
            mode: endsAfterSnapshot ? .migrate : mode, source: sourceEndpoint,
            target: targetEndpoint)
        settings.taskName = taskName
        settings.stateDirectory = stateDirectory
        settings.cores = cores
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
                ("target.addr", settings.target.description),
                ("target.username", settings.target.user ?? "(default user)"),
                ("target.password", settings.target.password == nil ? "(none)" : "(set)"),
                ("target.rate.operationsPerSecond", Self.limit(settings.rate.operationsPerSecond)),
                ("target.rate.bytesPerSecond", Self.limit(settings.rate.bytesPerSecond)),
                (
                    "target.rate.maxLatencyMilliseconds",
                    Self.limit(settings.rate.maxLatencyMilliseconds)
                ),
                ("stateDir", settings.stateDirectory ?? "(none: no report is written)"),
                ("cores", settings.cores.map(String.init) ?? "auto"),
                ("writeMethod", settings.writeMethod.rawValue),
                ("conflict.policy", settings.conflictPolicy.rawValue),
                ("types.json", settings.types.json.rawValue),
                ("types.hashFieldExpiry", settings.types.hashFieldExpiry.rawValue),
                ("types.setMemberExpiry", settings.types.setMemberExpiry.rawValue),
                ("types.probabilistic", settings.types.probabilistic.rawValue),
                ("advanced.flowRingBytes", String(settings.flowRingBytes)),
                ("advanced.targetRingBytes", String(settings.targetRingBytes)),
                ("advanced.bigValueBytes", String(settings.bigValueBytes)),
                ("advanced.valueBytesLimit", String(settings.valueBytesLimit)),
                ("advanced.deadLetterBytesLimit", String(settings.deadLetterBytesLimit)),
                ("log.level", logLevel.rawValue),
                ("log.format", logFormat.rawValue),
            ] + keyRuleRows(settings.keyRules)
        return rows.map { key, value in (key, value, origins[key]) }
    }

    // Rules that were not given say nothing.
    private func keyRuleRows(_ rules: KeyRuleSettings) -> [(String, String)] {
        guard rules.hasRules || rules.flush != nil else { return [] }
        var rows: [(String, String)] = []
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

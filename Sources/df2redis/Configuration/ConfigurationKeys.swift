import Logging
import Operations
import RedisTarget
import Replication
import Wire

/// Every key of the configuration: its type, and what it sets or why it has no effect. Files,
/// environment variables and flags all go through this table.
enum ConfigurationKeys {
    static let all: [ConfigurationKey] =
        general + server("source", \.source, takesNodes: false)
        + server("target", \.target, takesNodes: true) + sourceOnly + targetOnly + keyRules + types
        + logging + earlierTool + advanced

    /// Keys whose value is a mapping with keys of the operator's own.
    static let mappings: Set<String> = ["dbs", "target.cluster.addressMap"]

    static let byPath = Dictionary(uniqueKeysWithValues: all.map { ($0.path, $0) })

    static let byEnvironmentName = Dictionary(
        uniqueKeysWithValues: all.map { (environmentName(of: $0.path), $0) })

    /// Paths that hold other keys: `source`, `target.cluster`.
    static let sections: Set<String> = {
        var sections: Set<String> = []
        for key in all {
            var path = Substring(key.path)
            while let dot = path.lastIndex(of: ".") {
                path = path[..<dot]
                sections.insert(String(path))
            }
        }
        return sections
    }()

    /// `source.addr` is `DF2REDIS_SOURCE_ADDR`, `stateDir` is `DF2REDIS_STATE_DIR`.
    static func environmentName(of path: String) -> String {
        var name = environmentPrefix
        for character in path {
            if character == "." {
                name += "_"
            } else if character.isUppercase {
                name += "_\(character)"
            } else {
                name += character.uppercased()
            }
        }
        return name
    }

    static let environmentPrefix = "DF2REDIS_"

    private static let general: [ConfigurationKey] = [
        .text("taskName") { configuration, value in
            // The name goes into CLIENT SETNAME, which takes printable ASCII without spaces, and into
            // names of keys behind a hash tag.
            guard value.utf8.count <= 64,
                value.utf8.allSatisfy({ (0x21...0x7E).contains($0) }),
                !value.contains(where: { "{}".contains($0) }), !value.contains(":shadow:")
            else {
                return .refused("up to 64 characters: letters, digits and punctuation, no braces")
            }
            configuration.taskName = value
            return .taken
        },
        .text("stateDir") { configuration, value in
            configuration.stateDirectory = value
            return .taken
        },
        .text("cores") { configuration, value in
            guard let cores = ReplicationSettings.Cores(value) else {
                return .refused(
                    "must be auto, a number from 1 to \(ReplicationSettings.Cores.limit), or CPUs by"
                        + " their numbers, each once: 0,2,4")
            }
            configuration.cores = cores
            return .taken
        },
        .choice("writeMethod", ReplicationSettings.WriteMethod.allCases.map(\.rawValue)) {
            configuration, value in
            configuration.writeMethod =
                ReplicationSettings.WriteMethod(rawValue: value) ?? .automatic
            return .taken
        },
        .later(
            "statusFile", .text,
            "status files come later; the end report is report.json in stateDir"),
    ]

    // The address stands before user and password: within one layer the keys of their own win over
    // what a URL carries.
    private static func server(
        _ name: String, _ path: any WritableKeyPath<Configuration, Configuration.Server> & Sendable,
        takesNodes: Bool
    ) -> [ConfigurationKey] {
        [
            .text("\(name).addr") { configuration, value in
                let address: EndpointURL
                do throws(EndpointURL.Refusal) {
                    address = try EndpointURL.parse(value)
                } catch {
                    return .refused(error.reason)
                }
                guard takesNodes || address.kind == .server else {
                    return .refused("the \(name) is a single Dragonfly; write redis://host:port")
                }
                configuration[keyPath: path].kind = address.kind
                configuration[keyPath: path].others = address.others
                configuration[keyPath: path].host = address.host
                configuration[keyPath: path].port = address.port
                if let user = address.user { configuration[keyPath: path].user = user }
                guard let password = address.password else { return .taken }
                configuration[keyPath: path].password = password
                return .takenWithSecret
            },
            .text("\(name).username") { configuration, value in
                configuration[keyPath: path].user = value
                return .taken
            },
            .text("\(name).password") { configuration, value in
                configuration[keyPath: path].password = value
                return .taken
            },
            .boolean("\(name).tls") { _, value in
                value
                    ? .refused(
                        "TLS is not available in this version; set it to false on a network you"
                            + " trust, or use a local TLS tunnel such as stunnel")
                    : .taken
            },
        ]
    }

    private static let sourceOnly: [ConfigurationKey] = [
        .choice("source.type", ["dragonfly"]) { _, _ in .taken },
        .boolean("source.acceptRisk") { configuration, value in
            configuration.acceptsSourceRisk = value
            return .taken
        },
    ]

    private static let targetOnly: [ConfigurationKey] = [
        .choice("target.type", ReplicationSettings.TargetKind.allCases.map(\.rawValue) + ["redis"])
        {
            configuration, value in
            // The earlier tool's other name for a standalone one.
            configuration.targetKind =
                ReplicationSettings.TargetKind(rawValue: value) ?? .standalone
            return .taken
        },
        .list("target.cluster.seeds") { configuration, items in
            var seeds: [EndpointURL.Node] = []
            for item in items {
                do throws(EndpointURL.Refusal) {
                    seeds.append(try EndpointURL.parseNode(item.drop { $0 == " " }))
                } catch {
                    return .refused(error.reason)
                }
            }
            configuration.clusterSeeds = seeds
            return .taken
        },
        .textPairs("target.cluster.addressMap", example: "{\"10.0.0.1:7000\": \"localhost:17000\"}")
        {
            configuration, map in
            for text in map.flatMap({ [$0.key, $0.value] }) {
                // A bare IPv6 address needs no brackets here: no port follows.
                if !text.hasPrefix("["), text.count(where: { $0 == ":" }) > 1 { continue }
                do throws(EndpointURL.Refusal) {
                    _ = try EndpointURL.parseNode(Substring(text))
                } catch {
                    return .refused(
                        "maps announced to reachable addresses, each host:port or a host;"
                            + " \(PrintableText.name(text, limit: 40)) is none: \(error.reason)")
                }
            }
            configuration.clusterAddressing.addressMap = map
            return .taken
        },
        .boolean("target.cluster.hostnames") { configuration, value in
            configuration.clusterAddressing.usesHostnames = value
            return .taken
        },
        .text("target.sentinel.password") { configuration, value in
            configuration.sentinelPassword = value
            return .taken
        },
        .integer("target.rate.operationsPerSecond", 0...ControlRequest.rateLimit) {
            configuration, value in
            configuration.rate.operationsPerSecond = value
            return .taken
        },
        .integer("target.rate.bytesPerSecond", 0...ControlRequest.rateLimit) {
            configuration, value in
            configuration.rate.bytesPerSecond = value
            return .taken
        },
        .integer(
            "target.rate.maxLatencyMilliseconds", 0...ControlRequest.latencyLimitMilliseconds
        ) { configuration, value in
            configuration.rate.maxLatencyMilliseconds = value
            return .taken
        },
    ]

    private static let databases = 0..<KeyRuleSettings.databasesLimit

    private static let keyRules: [ConfigurationKey] =
        [
            .numberPairs("dbs", databases) { configuration, value in
                configuration.keyRules.databases = value
                return .taken
            }
        ] + selection("filter.include", \.include) + selection("filter.exclude", \.exclude) + [
            .text("keys.addPrefix") { configuration, value in
                configuration.addedPrefix = value
                return .taken
            },
            .text("keys.stripPrefix") { configuration, value in
                configuration.strippedPrefix = value
                return .taken
            },
            .text("keys.replacePrefix.from") { configuration, value in
                configuration.replacedPrefix.from = value
                return .taken
            },
            .text("keys.replacePrefix.to") { configuration, value in
                configuration.replacedPrefix.to = value
                return .taken
            },
            .choice("flush", KeyRuleSettings.Flush.allCases.map(\.rawValue) + ["own-keys"]) {
                configuration, value in
                guard let flush = KeyRuleSettings.Flush(rawValue: value) else {
                    return .refused(
                        "own-keys is not available in this version; set it to fail, or to apply if"
                            + " all that the target's databases hold may go")
                }
                configuration.keyRules.flush = flush
                return .taken
            },
            .choice("flushSlots", KeyRuleSettings.FlushSlots.allCases.map(\.rawValue)) {
                configuration, value in
                configuration.keyRules.flushSlots =
                    KeyRuleSettings.FlushSlots(rawValue: value) ?? .report
                return .taken
            },
        ]

    private static func selection(
        _ name: String,
        _ path: any WritableKeyPath<KeyRuleSettings, KeyRuleSettings.Selection> & Sendable
    ) -> [ConfigurationKey] {
        func texts(
            _ key: String,
            _ list: any WritableKeyPath<KeyRuleSettings.Selection, [String]> & Sendable,
            among known: [String]? = nil
        ) -> ConfigurationKey {
            .list("\(name).\(key)") { configuration, items in
                // An empty prefix would name every key, an empty command none.
                guard !items.contains("") else { return .refused("has an empty item") }
                if let known, let item = items.first(where: { !known.contains($0) }) {
                    return .refused(
                        "must be of \(known.joined(separator: ", ")), not "
                            + PrintableText.name(item, limit: 40))
                }
                configuration.keyRules[keyPath: path][keyPath: list] = items
                return .taken
            }
        }
        return [
            texts("prefixes", \.prefixes), texts("suffixes", \.suffixes), texts("globs", \.globs),
            .numbers("\(name).databases", databases) { configuration, items in
                configuration.keyRules[keyPath: path].databases = items
                return .taken
            },
            texts("types", \.types, among: ValueFamily.allCases.map(\.name)),
            texts("commands", \.commands),
        ]
    }

    private static let types: [ConfigurationKey] = [
        policy("types.json", \.types.json),
        policy("types.hashFieldExpiry", \.types.hashFieldExpiry),
        policy("types.setMemberExpiry", \.types.setMemberExpiry),
        policy("types.probabilistic", \.types.probabilistic),
    ]

    private static func policy<Policy: RawRepresentable<String> & CaseIterable & Sendable>(
        _ path: String, _ place: any WritableKeyPath<Configuration, Policy> & Sendable
    ) -> ConfigurationKey {
        .choice(path, Policy.allCases.map(\.rawValue)) { configuration, value in
            guard let policy = Policy(rawValue: value) else { return .refused("unknown") }
            configuration[keyPath: place] = policy
            return .taken
        }
    }

    private static let logging: [ConfigurationKey] = [
        .choice("log.level", ["debug", "info", "warn", "warning", "error"]) {
            configuration, value in
            configuration.logLevel = Logger.Level(rawValue: value) ?? .warning
            return .taken
        },
        .choice("log.format", LogFormat.allCases.map(\.rawValue)) { configuration, value in
            configuration.logFormat = LogFormat(rawValue: value) ?? .text
            return .taken
        },
        .boolean("log.consoleEnabled") { configuration, value in
            configuration.isQuiet = !value
            return .taken
        },
        .notNeeded(
            "log.dir", .text, "messages go to standard error; redirect it to keep them in a file"),
    ]

    private static let earlierTool: [ConfigurationKey] = [
        .later("dashboard.addr", .text, "the dashboard comes later"),
        .later(
            "checkpoint.enabled", .boolean,
            "stored positions come later; a restart begins with a full sync"),
        .later("checkpoint.intervalSeconds", .number, storedPositions),
        .later("checkpoint.path", .text, storedPositions),
        .choice("conflict.policy", ReplicationSettings.ConflictPolicy.allCases.map(\.rawValue)) {
            configuration, value in
            configuration.conflictPolicy =
                ReplicationSettings.ConflictPolicy(rawValue: value) ?? .overwrite
            return .taken
        },
        .notNeeded("migrate.snapshotPath", .text, noSnapshotFile),
        .notNeeded("migrate.shakeBinary", .text, noOtherProgram),
        .notNeeded("migrate.shakeArgs", .text, noOtherProgram),
        .notNeeded("migrate.shakeConfigFile", .text, noOtherProgram),
        .notNeeded("migrate.autoBgsave", .boolean, noSnapshotFile),
        .notNeeded("migrate.bgsaveTimeoutSeconds", .number, noSnapshotFile),
        .boolean("migrate.snapshotOnly") { configuration, value in
            configuration.endsAfterSnapshot = value
            return .taken
        },
    ]

    private static let storedPositions = "stored positions come later"
    private static let noSnapshotFile =
        "the snapshot comes over the replication connection, not from a file"
    private static let noOtherProgram = "df2redis writes to the target itself"

    private static let advanced: [ConfigurationKey] = [
        // The earlier tool's name for target.rate.operationsPerSecond, which wins.
        .integer("advanced.qps", Int.min...ControlRequest.rateLimit) { configuration, value in
            if configuration.origins["target.rate.operationsPerSecond"] == nil, value > 0 {
                configuration.rate.operationsPerSecond = value
            }
            return .taken
        },
        .notNeeded(
            "advanced.batchSize", .number,
            "commands are pipelined as far as the send buffer reaches"),
        .ringBytes("advanced.flowRingBytes") { configuration, value in
            configuration.flowRingBytes = value
        },
        .ringBytes("advanced.targetRingBytes") { configuration, value in
            configuration.targetRingBytes = value
        },
        .boolean("advanced.pinThreads") { configuration, value in
            configuration.pinsThreads = value
            return .taken
        },
        .integer("advanced.busyPollMicroseconds", 0...1_000_000) { configuration, value in
            configuration.busyPollMicroseconds = value
            return .taken
        },
        .integer("advanced.bigValueBytes", 4096...(1 << 30)) { configuration, value in
            configuration.bigValueBytes = value
            return .taken
        },
        .integer("advanced.valueBytesLimit", 1...(1 << 40)) { configuration, value in
            configuration.valueBytesLimit = value
            return .taken
        },
        .integer("advanced.deadLetterBytesLimit", 0...(1 << 40)) { configuration, value in
            configuration.deadLetterBytesLimit = value
            return .taken
        },
    ]
}

import RedisTarget
import Replication
import Testing

@testable import df2redis

/// Defaults < file < environment < flags, key by key; nothing that could hurt is passed over.
struct ConfigurationResolverTests {
    private func resolve(
        file: String? = nil, fileName: String = "/etc/f.yaml", environment: [String: String] = [:],
        flags: [(String, String, String)] = []
    ) -> ConfigurationResolver {
        ConfigurationResolver(
            file: file.map { ConfigurationFile(text: $0, name: fileName) },
            environment: environment,
            flags: flags.map { ConfigurationResolver.Flag(name: $0, path: $1, value: $2) })
    }

    private let servers = [("--source", "source.addr", "s"), ("--target", "target.addr", "t")]

    @Test func laterLayersWin() throws {
        let resolver = resolve(
            file: """
                source: {addr: "file:1", username: fileuser, password: filesecret}
                target: {addr: "file:2"}
                cores: 2
                taskName: filetask
                """,
            environment: [
                "DF2REDIS_SOURCE_ADDR": "env:1", "DF2REDIS_SOURCE_PASSWORD": "envsecret",
                "DF2REDIS_CORES": "3", "DF2REDIS_TASK_NAME": "", "PATH": "/bin",
            ],
            flags: [("--source", "source.addr", "redis://flag"), ("--cores", "cores", "auto")])
        let (found, problems) = resolver.settings(mode: .replicate)
        #expect(problems == [])
        let settings = try #require(found)
        #expect(
            settings.source
                == Endpoint(host: "flag", port: 6379, user: "fileuser", password: "envsecret"))
        #expect(settings.target == Endpoint(host: "file", port: 2))
        #expect(settings.cores == .automatic)
        #expect(settings.taskName == "filetask")
    }

    @Test func defaultsAreThoseOfTheSettings() throws {
        let settings = try #require(resolve(flags: servers).settings(mode: .migrate).settings)
        let plain = ReplicationSettings(
            mode: .migrate, source: Endpoint(host: "s", port: 6379),
            target: Endpoint(host: "t", port: 6379))
        #expect("\(settings)" == "\(plain)")
    }

    @Test func typePolicies() throws {
        let resolver = resolve(
            file: """
                types: {json: module, hashFieldExpiry: expire-by-us, setMemberExpiry: skip}
                stateDir: /state
                """, environment: ["DF2REDIS_TYPES_PROBABILISTIC": "fail"], flags: servers)
        let (found, problems) = resolver.settings(mode: .migrate)
        #expect(problems == [])
        var types = TypePolicy()
        types.json = .module
        types.hashFieldExpiry = .byUs
        types.setMemberExpiry = .skip
        types.probabilistic = .fail
        let settings = try #require(found)
        #expect(settings.types == types)
        let rows = resolver.configuration.effectiveRows(settings: settings)
        #expect(rows.first { $0.key == "types.hashFieldExpiry" }?.value == "expire-by-us")
        let wrong = resolve(file: "types: {json: native}").problems.map(\.description)
        #expect(
            wrong == [
                "/etc/f.yaml:1:15: types.json: must be one of string, module, skip, fail, not native"
            ])
    }

    /// What is to be removed must survive the process.
    @Test(arguments: ["hashFieldExpiry", "setMemberExpiry"])
    func expiringByUsNeedsAPlace(_ key: String) {
        let file = "types: {\(key): expire-by-us}"
        let (settings, problems) = resolve(file: file, flags: servers).settings(mode: .migrate)
        #expect(settings == nil && problems.map(\.key) == ["types.\(key)"])
        #expect(problems[0].description.contains("--state-dir"))
    }

    /// Within one layer a key of its own wins over what the address carries, in any order.
    @Test(arguments: [
        "source: {password: own, addr: \"redis://u:url@h\"}",
        "source: {addr: \"redis://u:url@h\", password: own}",
    ])
    func keysWinOverTheirAddress(file: String) {
        let source = resolve(file: file).configuration.source
        #expect(source.password == "own" && source.user == "u")
    }

    /// An empty key says nothing: it does not take away what the address gives.
    @Test func emptyPassword() {
        let file = "source: {addr: \"redis://:url@h\", password: \"\"}"
        #expect(resolve(file: file).configuration.source.password == "url")
    }

    @Test func passwordInFlagsWarns() {
        let resolver = resolve(flags: [("--source", "source.addr", "redis://:hunter2@h")])
        #expect(resolver.notices.map(\.weight) == [.warning])
        let text = resolver.notices.map(\.description).joined()
        #expect(text.contains("process list") && text.contains("DF2REDIS_SOURCE_PASSWORD"))
        #expect(!text.contains("hunter2"))
        let quiet = resolve(environment: ["DF2REDIS_SOURCE_ADDR": "redis://:hunter2@h"])
        #expect(quiet.notices == [])
    }

    @Test func environmentNames() {
        #expect(ConfigurationKeys.environmentName(of: "source.addr") == "DF2REDIS_SOURCE_ADDR")
        #expect(ConfigurationKeys.environmentName(of: "stateDir") == "DF2REDIS_STATE_DIR")
        #expect(ConfigurationKeys.environmentName(of: "taskName") == "DF2REDIS_TASK_NAME")
        // No two keys may share a variable.
        #expect(ConfigurationKeys.byEnvironmentName.count == ConfigurationKeys.all.count)
    }

    @Test func wrongVariables() {
        let resolver = resolve(
            environment: [
                "DF2REDIS_CORES": "x", "DF2REDIS_TARGET_TLS": "true", "DF2REDIS_SUORCE_ADDR": "h",
            ])
        #expect(
            resolver.problems.map(\.description).sorted() == [
                "DF2REDIS_CORES: must be auto, a number from 1 to 256, or CPUs by their numbers, each once: "
                    + "0,2,4",
                "DF2REDIS_TARGET_TLS: TLS is not available in this version; set it to false on a"
                    + " network you trust, or use a local TLS tunnel such as stunnel",
            ])
        #expect(
            resolver.notices.map(\.description) == [
                "DF2REDIS_SUORCE_ADDR: unknown variable, ignored; did you mean"
                    + " DF2REDIS_SOURCE_ADDR?"
            ])
    }

    /// A setting whose neglect could hurt keeps the run from starting.
    @Test(arguments: [
        ("conflict.policy", "merge"), ("target.rate.bytesPerSecond", "-1"),
        ("source.tls", "true"), ("target.tls", "true"), ("target.type", "cluster"),
        ("target.cluster.seeds", "a:1,b:x"), ("target.cluster.seeds", "redis://a:1"),
        ("target.cluster.addressMap", "a:1"), ("target.cluster.addressMap", "a:x=b:1"),
        ("target.cluster.addressMap", "a:1=b:1,a:1=b:2"), ("target.cluster.hostnames", "1"),
        ("source.type", "redis"), ("source.addr", "redis-cluster://a"),
        ("source.addr", "redis-sentinel://a/m"),
    ])
    func refusals(path: String, value: String) {
        let resolver = resolve(flags: servers + [("--x", path, value)])
        #expect(resolver.settings(mode: .migrate).settings == nil)
        #expect(resolver.problems.count == 1)
    }

    @Test(arguments: [
        ("conflict.policy", "overwrite"), ("conflict.policy", "skip"), ("conflict.policy", "panic"),
        ("advanced.qps", "0"), ("advanced.qps", "-1"), ("advanced.deadLetterBytesLimit", "0"),
        ("advanced.qps", "100"), ("target.rate.operationsPerSecond", "100"),
        ("source.tls", "false"), ("target.type", "redis"), ("target.type", "redis-standalone"),
        ("target.type", "redis-cluster"), ("target.type", "auto"),
        ("target.cluster.seeds", "a:1,b:2"), ("target.cluster.hostnames", "true"),
        ("target.cluster.addressMap", "10.0.0.1:7000=[::1]:1, fd00::1=b"),
        ("source.type", "dragonfly"),
    ])
    func harmlessValuesAreTakenInSilence(path: String, value: String) {
        let resolver = resolve(flags: servers + [("--x", path, value)])
        #expect(resolver.settings(mode: .migrate).settings != nil)
        #expect(resolver.notices == [])
    }

    @Test func conflictPolicyAndDeadLetterLimitReachTheRun() {
        let flags =
            servers + [
                ("--conflict", "conflict.policy", "panic"),
                ("--x", "advanced.deadLetterBytesLimit", "4096"),
            ]
        let settings = resolve(flags: flags).settings(mode: .migrate).settings
        #expect(settings?.conflictPolicy == .panic && settings?.deadLetterBytesLimit == 4096)
        let defaults = resolve(flags: servers).settings(mode: .migrate).settings
        #expect(defaults?.conflictPolicy == .overwrite)
    }

    /// One thread does the work so far; asking for more is answered.
    @Test(arguments: [
        ("auto", ReplicationSettings.Cores.automatic), ("1", .count(1)), ("256", .count(256)),
        ("0,1", .cpus([0, 1])), ("4, 2", .cpus([4, 2])),
    ])
    func coresAreRead(_ text: String, _ cores: ReplicationSettings.Cores) {
        #expect(ReplicationSettings.Cores(text) == cores)
    }

    @Test(arguments: ["0", "257", "-1", "x", "1,", ",1", "1,1", "0,-1", "1.5", "0;1"])
    func coresAreRefused(_ text: String) {
        #expect(ReplicationSettings.Cores(text) == nil)
        let problems = resolve(flags: servers + [("--cores", "cores", text)]).problems
        #expect(problems.count == 1)
    }

    /// A thread cannot stay on a CPU that the process may not use, or float on one that is named.
    @Test func cpusMustBeThere() throws {
        let first = try #require(ReplicationSettings.availableCPUs().first)
        for (cores, pins, word) in [
            ("\(first),100000", "true", "names CPU 100000"),
            ("\(first),100000", "false", "--no-pin"),
        ] {
            let resolver = resolve(
                flags: servers + [
                    ("--cores", "cores", cores), ("--no-pin", "advanced.pinThreads", pins),
                ])
            let problems = resolver.settings(mode: .migrate).problems
            #expect(problems.count == 1 && problems[0].reason.contains(word), "\(problems)")
        }
    }

    @Test func missingServers() {
        let none = resolve().settings(mode: .migrate).problems.map(\.description)
        #expect(none.count == 2)
        #expect(none[0].contains("no source: give --source") && none[1].contains("no target"))
        // What is wrong is not called missing as well.
        let refused = resolve(flags: [("--source", "source.addr", "h:x"), servers[1]])
        #expect(refused.settings(mode: .migrate).problems.count == 1)
        let broken = resolve(file: "a: [").settings(mode: .migrate).problems
        #expect(broken.count == 1)
    }

    @Test func contradictions() {
        let same = resolve(flags: [("--source", "source.addr", "h"), ("", "target.addr", "h:6379")])
        let sameReasons = same.settings(mode: .migrate).problems.map(\.reason)
        #expect(sameReasons.count == 1 && sameReasons[0].contains("same server"))
        let user = resolve(flags: [("--source", "source.addr", "redis://u@h"), servers[1]])
        #expect(
            user.settings(mode: .migrate).problems.map(\.reason).first?
                .contains("a user needs a password") == true)
    }

    /// A relative path counts from where it was written.
    @Test(arguments: [
        ("/etc/f.yaml", "state", "/etc/state"), ("f.yaml", "state", "./state"),
        ("/f.yaml", "state", "/state"), ("conf/f.yaml", "/var/x", "/var/x"),
    ])
    func stateDirectory(file: String, value: String, path: String) {
        let resolver = resolve(file: "stateDir: \(value)", fileName: file)
        #expect(resolver.configuration.stateDirectory == path)
        let flag = resolve(file: "stateDir: x", flags: [("--state-dir", "stateDir", "here")])
        #expect(flag.configuration.stateDirectory == "here")
    }

    @Test func snapshotOnlyIsMigrate() throws {
        let resolver = resolve(file: "migrate: {snapshotOnly: true}", flags: servers)
        #expect(try #require(resolver.settings(mode: .replicate).settings).mode == .migrate)
    }

    /// What is shown of the configuration never holds a password.
    @Test func effectiveRowsKeepSecrets() throws {
        let resolver = resolve(
            environment: ["DF2REDIS_TARGET_PASSWORD": "hunter2"],
            flags: [("--source", "source.addr", "redis://u:hunter2@s"), servers[1]])
        let settings = try #require(resolver.settings(mode: .migrate).settings)
        let rows = resolver.configuration.effectiveRows(settings: settings)
        #expect(!"\(rows)".contains("hunter2"))
        #expect(rows.filter { $0.value == "(set)" }.count == 2)
        let password = rows.first { $0.key == "target.password" }
        #expect(password?.origin == .environment(name: "DF2REDIS_TARGET_PASSWORD"))
    }

    // MARK: Kinds of targets

    @Test func clusterOfAFile() throws {
        let resolver = resolve(
            file: """
                source: {addr: s}
                target:
                  username: u
                  password: p
                  cluster:
                    seeds: ["a:7000", b, "[::1]:7002", "a:7000"]
                    addressMap: {"10.0.0.1:7000": "localhost:17000", node: other}
                    hostnames: true
                """)
        let (found, problems) = resolver.settings(mode: .replicate)
        #expect(problems == [])
        let settings = try #require(found)
        func node(_ host: String, _ port: UInt16) -> Endpoint {
            Endpoint(host: host, port: port, user: "u", password: "p")
        }
        #expect(settings.target == node("a", 7000))
        #expect(settings.targetSeeds == [node("b", 6379), node("::1", 7002)])
        // Who names seeds means a cluster.
        #expect(settings.targetKind == .cluster && settings.sentinelMaster == nil)
        #expect(
            settings.clusterAddressing
                == ClusterAddressing(
                    addressMap: ["10.0.0.1:7000": "localhost:17000", "node": "other"],
                    usesHostnames: true))
        let texts = resolver.configuration.effectiveRows(settings: settings)
            .map { "\($0.key) = \($0.value)" }
        for text in [
            "target.type = redis-cluster", "target.addr = a:7000",
            "target.cluster.seeds = b:6379, [::1]:7002", "target.cluster.hostnames = true",
            "target.cluster.addressMap = 10.0.0.1:7000=localhost:17000, node=other",
        ] {
            #expect(texts.contains(text), "\(texts)")
        }
    }

    @Test func clusterOfAnAddress() throws {
        let resolver = resolve(
            file: "target: {addr: 'redis-cluster://u:p@a:1,b', cluster: {seeds: ['c:3', 'a:1']}}",
            environment: ["DF2REDIS_TARGET_CLUSTER_ADDRESS_MAP": "a:1=x:2, b=y"],
            flags: [servers[0]])
        let settings = try #require(resolver.settings(mode: .migrate).settings)
        #expect(settings.target == Endpoint(host: "a", port: 1, user: "u", password: "p"))
        #expect(settings.targetSeeds.map(\.description) == ["b:6379", "c:3"])
        #expect(settings.targetSeeds.allSatisfy { $0.user == "u" && $0.password == "p" })
        #expect(settings.targetKind == .cluster)
        #expect(settings.clusterAddressing.addressMap == ["a:1": "x:2", "b": "y"])
        // An address of a later layer replaces all that the earlier one named.
        let later = resolve(
            file: "target: {addr: 'redis-cluster://a:1,b'}", flags: servers)
        let single = try #require(later.settings(mode: .migrate).settings)
        #expect(single.target.description == "t:6379" && single.targetSeeds == [])
        #expect(single.targetKind == .automatic)
    }

    @Test func sentinels() throws {
        let resolver = resolve(
            environment: ["DF2REDIS_TARGET_SENTINEL_PASSWORD": "hunter2"],
            flags: [
                servers[0], ("--target", "target.addr", "redis-sentinel://:hunter2@a,b:1/main"),
            ])
        let settings = try #require(resolver.settings(mode: .migrate).settings)
        #expect(settings.target == Endpoint(host: "a", port: 26379, password: "hunter2"))
        #expect(settings.targetSeeds.map(\.description) == ["b:1"])
        #expect(settings.sentinelMaster == "main" && settings.sentinelPassword == "hunter2")
        #expect(settings.targetKind == .standalone)
        let rows = resolver.configuration.effectiveRows(settings: settings)
        #expect(rows.contains { $0.value == "main, known to a:26379, b:1" })
        #expect(!"\(rows)".contains("hunter2"))
    }

    @Test func kindsAreNamed() throws {
        for (value, kind) in [
            ("redis", ReplicationSettings.TargetKind.standalone),
            ("redis-standalone", .standalone), ("redis-cluster", .cluster), ("auto", .automatic),
        ] {
            let resolver = resolve(flags: servers + [("--x", "target.type", value)])
            #expect(resolver.settings(mode: .migrate).settings?.targetKind == kind)
        }
    }

    /// What would be written to the wrong place, or not to all places, is refused.
    @Test(arguments: [
        ("{addr: 'redis-cluster://a', type: redis}", "contradicts redis-cluster://"),
        ("{addr: 'redis-sentinel://a/m', type: redis-cluster}", "contradicts redis-sentinel://"),
        ("{type: redis-standalone, cluster: {seeds: [a]}}", "contradicts target.cluster.seeds"),
        ("{addr: 'redis-sentinel://a/m', cluster: {seeds: [b]}}", "whose master is no cluster"),
        ("{addr: t, cluster: {seeds: [s]}}", "same server, s:6379"),
        ("{cluster: {seeds: ['s:6379']}}", "same server, s:6379"),
    ])
    func kindsThatContradict(target: String, reason: String) {
        let resolver = resolve(file: "target: \(target)", flags: [servers[0]])
        let found = resolver.settings(mode: .migrate).problems.map(\.description)
        #expect(
            found.count == 1 && found[0].contains(reason) && found[0].hasPrefix("/etc/f.yaml:1:"),
            "\(found)")
    }

    /// Seeds that were refused are not called missing as well.
    @Test func refusedSeeds() {
        let resolver = resolve(
            flags: [servers[0], ("--x", "target.cluster.seeds", "a:x")])
        #expect(resolver.settings(mode: .migrate).problems.count == 1)
    }

    // MARK: Rules for keys

    private func keyRules(_ file: String, environment: [String: String] = [:]) -> KeyRuleSettings? {
        resolve(file: file, environment: environment, flags: servers).settings(mode: .replicate)
            .settings?.keyRules
    }

    private func problems(
        _ file: String, environment: [String: String] = [:]
    ) -> [String] {
        let resolver = resolve(file: file, environment: environment, flags: servers)
        return resolver.settings(mode: .replicate).problems.map(\.description)
    }

    @Test func keyRulesOfAFile() throws {
        let rules = try #require(
            keyRules(
                """
                dbs: {0: 0, 3: 1}
                filter:
                  include: {prefixes: ["user:"], databases: [0, 3], types: [string, hash]}
                  exclude: {suffixes: [":tmp"], globs: ["*cache*"], commands: [FLUSHALL, PFADD]}
                keys: {replacePrefix: {from: "user:", to: "u:"}}
                flush: apply
                """))
        #expect(rules.databases == [0: 0, 3: 1])
        #expect(rules.include.prefixes == ["user:"] && rules.include.databases == [0, 3])
        #expect(rules.include.types == ["string", "hash"] && rules.include.globs == [])
        #expect(rules.exclude.suffixes == [":tmp"] && rules.exclude.globs == ["*cache*"])
        #expect(rules.exclude.commands == ["FLUSHALL", "PFADD"])
        #expect(rules.sourcePrefix == "user:" && rules.targetPrefix == "u:")
        #expect(rules.flush == .apply)
    }

    @Test func keyRulesOfTheEnvironment() throws {
        let rules = try #require(
            keyRules(
                "dbs: {7: 7}\nkeys: {addPrefix: 'file:'}",
                environment: [
                    "DF2REDIS_DBS": "0:0, 3:1", "DF2REDIS_KEYS_ADD_PREFIX": "env:",
                    "DF2REDIS_FILTER_INCLUDE_PREFIXES": "a:,b:",
                    "DF2REDIS_FILTER_EXCLUDE_DATABASES": "4,5",
                ]))
        #expect(rules.databases == [0: 0, 3: 1])
        #expect(rules.sourcePrefix == "" && rules.targetPrefix == "env:")
        #expect(rules.include.prefixes == ["a:", "b:"] && rules.exclude.databases == [4, 5])
        #expect(rules.flush == nil && rules.flushInEffect == .fail)
    }

    /// What cannot be carried out is refused before anything is started, with its place and reason.
    @Test func keyRulesThatAreRefused() {
        let rows: [(String, String)] = [
            ("dbs: 3", "must be a mapping"), ("dbs: [0, 1]", "must be a mapping"),
            ("dbs: {0: x}", "from 0 to 1023"), ("dbs: {1024: 0}", "from 0 to 1023"),
            ("dbs: {0: 1, 2: 1}", "both go to 1"), ("dbs: {0: [1]}", "plain words"),
            ("dbs: {-1: 1}", "from 0 to 1023"),
            ("filter: {include: {prefixes: a}}", "must be a list"),
            ("filter: {include: {prefixes: [\"\"]}}", "empty item"),
            ("filter: {include: {databases: [1, b]}}", "from 0 to 1023"),
            ("filter: {exclude: {types: [text]}}", "string, list, set, zset, hash, stream"),
            ("filter: {include: {prefixes: {a: b}}}", "not a group of keys"),
            ("filter: {including: {}}", "did you mean filter.include"),
            ("keys: {addPrefix: a, stripPrefix: b}", "give one of"),
            ("keys: {stripPrefix: a}", "filter.include.prefixes to [\"a\"]"),
            ("keys: {replacePrefix: {from: a}}", "needs both from and to"),
            ("keys: {replacePrefix: {to: a}}", "needs both from and to"),
            ("keys: {replacePrefix: {from: a, to: b}, addPrefix: c}", "give one of"),
            ("flush: own-keys", "not available in this version"), ("flush: never", "one of"),
            ("{flush: apply, filter: {exclude: {databases: [1]}}}", "FLUSHALL would empty"),
            ("flushSlots: all", "one of"),
            ("{flushSlots: delete, dbs: {0: 1}}", "may have keys of others in those slots"),
        ]
        for (file, text) in rows {
            let found = problems(file)
            #expect(
                found.count == 1 && found[0].contains(text) && found[0].hasPrefix("/etc/f.yaml:1:"),
                "\(file): \(found)")
        }
        let found = problems("", environment: ["DF2REDIS_DBS": "0-1"])
        #expect(found.count == 1 && found[0].hasPrefix("DF2REDIS_DBS: "))
    }

    @Test func keyRulesInEffect() throws {
        let resolver = resolve(
            file: """
                dbs: {3: 1, 0: 0}
                filter: {exclude: {globs: ["*cache*", "x"]}}
                keys: {addPrefix: "p:"}
                """, flags: servers)
        let settings = try #require(resolver.settings(mode: .replicate).settings)
        let rows = resolver.configuration.effectiveRows(settings: settings)
        let texts = rows.map { "\($0.key) = \($0.value)" }
        for text in [
            "dbs = 0: 0, 3: 1", "filter.exclude.globs = *cache*, x", "keys.addPrefix = p:",
            "flush = fail",
        ] {
            #expect(texts.contains(text), "\(texts)")
        }
        let plain = resolve(flags: servers)
        let without = try #require(plain.settings(mode: .replicate).settings)
        #expect(
            !plain.configuration.effectiveRows(settings: without).contains { $0.key == "flush" })
    }
}

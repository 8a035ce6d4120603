import Testing

@testable import df2redis

/// A file's mistakes are all named at once, each with line, column, key and the nearest known key.
struct ConfigurationFileTests {
    private func problems(_ text: String) -> [String] {
        let file = ConfigurationFile(text: text, name: "f.yaml")
        let resolver = ConfigurationResolver(file: file, environment: [:], flags: [])
        return resolver.problems.map(\.description)
    }

    @Test func allMistakesAtOnce() {
        let text = """
            stateDri: /tmp
            source:
              adr: host
              password: [1]
              tls: maybe
            target: host:6379
            cores: many
            conflict: {policy: merge}
            advanced:
              qps: many
              flowRingBytes: 70000
            writeMethod: fast
            """
        #expect(
            problems(text) == [
                "f.yaml:1:1: stateDri: unknown key; did you mean stateDir?",
                "f.yaml:3:3: source.adr: unknown key; did you mean source.addr?",
                "f.yaml:6:9: target: must hold keys of its own: addr, username, password, tls,"
                    + " type, cluster, sentinel, rate",
                "f.yaml:7:8: cores: must be auto, a number from 1 to 256, or CPUs by their numbers, each once: "
                    + "0,2,4",
                "f.yaml:12:14: writeMethod: must be one of auto, restore, commands, not fast",
                "f.yaml:4:13: source.password: must be text, not a list",
                "f.yaml:5:8: source.tls: must be true or false",
                "f.yaml:8:20: conflict.policy: must be one of overwrite, skip, panic, not merge",
                "f.yaml:10:8: advanced.qps: must be a whole number",
                "f.yaml:11:18: advanced.flowRingBytes: must be a power of two, as in 1048576",
            ])
    }

    @Test(arguments: [
        ("password: x", "did you mean source.password?"),
        ("Source:\n  addr: x", "did you mean source?"),
        ("source:\n  tpye: x", "did you mean source.type?"),
        ("log:\n  consolEnabled: true", "did you mean log.consoleEnabled?"),
        ("checkpoints: {}", "did you mean checkpoint?"),
        ("zzzzzz: 1", "known here: taskName, stateDir, cores"),
        ("advanced:\n  zzzzzz: 1", "known here: qps, batchSize,"),
        ("source.addr: x", "keys are nested"),
        ("[a]: x", "a key must be a plain word"),
        ("source:\n  - addr: x", "must hold keys of its own"),
        ("source:\n  addr:\n    host: x", "must be a value, not a group of keys"),
        ("taskName: true", "put quotes round the word"),
        ("target:\n  cluster:\n    seeds: a", "must be a list"),
        ("target:\n  cluster:\n    seeds: [a, [b]]", "items of a list must be text"),
        ("advanced:\n  qps: 1.5", "must be a whole number"),
        ("advanced:\n  valueBytesLimit: 0", "must be from 1 to"),
        ("checkpoint:\n  intervalSeconds: -1", "must be from 0 to"),
        ("taskName: a b", "up to 64 characters"), ("taskName: a{b}", "no braces"),
        ("- a", "a configuration is a mapping"),
        ("hello", "a configuration is a mapping"),
    ])
    func oneMistake(text: String, reason: String) {
        let found = problems(text)
        #expect(found.count == 1 && found[0].contains(reason), "\(found)")
    }

    /// Duplicates are named with both lines, however often and however they are quoted, and do not
    /// hide other mistakes.
    @Test func duplicates() {
        let text = """
            source:
              addr: a
              "addr": b
              addr: c
            taskName: x
            stateDri: 1
            source: {}
            'taskName': y
            """
        #expect(
            problems(text) == [
                "f.yaml:1:1: source: duplicate key; it is given again on line 7",
                "f.yaml:2:3: source.addr: duplicate key; it is given again on line 4",
                "f.yaml:3:3: source.addr: duplicate key; it is given again on line 4",
                "f.yaml:5:1: taskName: duplicate key; it is given again on line 8",
                "f.yaml:6:1: stateDri: unknown key; did you mean stateDir?",
            ])
    }

    @Test(arguments: [
        ("source: [", "f.yaml:2:1: not valid YAML: while parsing a flow node"),
        ("a:\n\tb: 1", "f.yaml:2:1: not valid YAML:"),
        ("a: *nowhere", "f.yaml:1:4: not valid YAML: found undefined alias"),
        ("a: 1\n---\nb: 2", "f.yaml:2:1: not valid YAML: expected a single document"),
        ("a: \u{7}", "f.yaml is not valid YAML: control characters are not allowed"),
    ])
    func syntax(text: String, message: String) {
        let found = problems(text)
        #expect(found.count == 1 && found[0].hasPrefix(message), "\(found)")
    }

    /// No message repeats a value of the file: a secret may stand in any line.
    @Test(arguments: [
        "source:\n  password: \"hunter2", "source:\n  password: hunter2: x",
        "source:\n  password:\n    - hunter2", "source:\n  password: {hunter2: 1}",
        "source: {password: hunter2", "source:\n  password: hunter2\n  password: hunter2",
        "source:\n  password:hunter2", "source:\n  addr: redis://:hunter2@host/4",
        "source:\n password: hunter2\n  tls: true",
    ])
    func secretsStayOut(text: String) {
        let found = problems(text)
        #expect(!found.isEmpty)
        #expect(!found.contains { $0.contains("hunter2") }, "\(found)")
    }

    /// What says nothing is no mistake.
    @Test(arguments: [
        "", "# only a comment\n", "source:\n", "~", "source:\n  addr:\n  password: ~\n",
        "target: {cluster: {seeds: []}}", "checkpoint: null", "migrate: {autoBgsave: \"True\"}",
    ])
    func nothingWrong(text: String) {
        #expect(problems(text) == [])
    }

    /// Numbers and words are kept as written where text is wanted.
    @Test func textAsWritten() {
        let text = "source: {addr: h, password: 0123}\ntarget: {addr: h2, password: 'true'}"
        let file = ConfigurationFile(text: text, name: "f.yaml")
        let resolver = ConfigurationResolver(file: file, environment: [:], flags: [])
        #expect(resolver.problems == [])
        #expect(resolver.configuration.source.password == "0123")
        #expect(resolver.configuration.target.password == "true")
    }

    /// Nesting and aliases made to exhaust a reader end in an answer.
    @Test func hostileFiles() {
        #expect(!problems(String(repeating: "[", count: 100_000)).isEmpty)
        #expect(!problems(String(repeating: "a: {", count: 100_000)).isEmpty)
        var text = "a0: &a0 [x, x]\n"
        for level in 1..<30 { text += "a\(level): &a\(level) [*a\(level - 1), *a\(level - 1)]\n" }
        #expect(problems(text).count == 30)
        let duplicates = String(repeating: "a: 1\n", count: 300)
        #expect(problems(duplicates).count <= 70)
    }

    @Test func unreadableFiles() {
        let missing = ConfigurationFile(path: "/nonexistent/f.yaml")
        #expect(
            missing.problems.map(\.description) == [
                "cannot open /nonexistent/f.yaml: No such file or directory"
            ])
        #expect(
            ConfigurationFile(path: "/dev/zero").problems.map(\.description) == [
                "/dev/zero is larger than 1048576 bytes"
            ])
        #expect(ConfigurationFile(path: "/").problems.count == 1)
    }
}

import ArgumentParser

/// The flags of every command that runs a replication.
struct RunOptions: ParsableArguments {
    @Option(
        name: [.short, .long],
        help: ArgumentHelp("Configuration file (YAML).", valueName: "file"))
    var config: String?

    @Option(
        help: ArgumentHelp(
            "The Dragonfly: redis://[user[:password]@]host[:port] or host:port.",
            valueName: "address"))
    var source: String?

    @Option(
        help: ArgumentHelp(
            "The Redis or Valkey, written the same way, or as redis-cluster://host[:port],..., or as"
                + " redis-sentinel://host[:port],.../name with the name of its master.",
            valueName: "address"))
    var target: String?

    @Option(help: ArgumentHelp("Name of the run in CLIENT LIST.", valueName: "name"))
    var taskName: String?

    @Option(
        help: ArgumentHelp(
            "Reactor threads: a number, auto (default: one per CPU), or CPUs as 0,2,4; never more"
                + " than flows.", valueName: "n"))
    var cores: String?

    @Flag(help: "Let the threads float; else each stays on one CPU.")
    var noPin = false

    @Option(
        help: ArgumentHelp(
            "At most so many commands a second to the target (default: no limit).",
            valueName: "n"))
    var maxOps: String?

    @Option(
        help: ArgumentHelp(
            "At most so many bytes a second to the target (default: no limit).", valueName: "n"))
    var maxBytes: String?

    @Option(
        help: ArgumentHelp(
            "Directory for report.json and the control socket.", valueName: "directory"))
    var stateDir: String?

    @Option(
        help: ArgumentHelp(
            "How snapshot values are written: auto (default), restore, commands.",
            valueName: "method"))
    var writeMethod: String?

    @Flag(help: "Run although the source's release or settings are known to lose data.")
    var acceptSourceRisk = false

    @Option(
        help: ArgumentHelp(
            "Keys that the target has already: overwrite (default), skip, panic.",
            valueName: "policy"))
    var conflict: String?

    @Option(help: ArgumentHelp("Messages as text (default) or json.", valueName: "format"))
    var logFormat: String?

    @Flag(name: .shortAndLong, help: "No progress, only warnings, errors and the result.")
    var quiet = false

    @Flag(help: "Check configuration and both servers, write nothing, and exit.")
    var dryRun = false

    /// The flags that were given, as settings of the keys they stand for.
    var settings: [ConfigurationResolver.Flag] {
        let given: [(String, String, String?)] = [
            ("--source", "source.addr", source),
            ("--target", "target.addr", target),
            ("--task-name", "taskName", taskName),
            ("--cores", "cores", cores),
            ("--no-pin", "advanced.pinThreads", noPin ? "false" : nil),
            ("--max-ops", "target.rate.operationsPerSecond", maxOps),
            ("--max-bytes", "target.rate.bytesPerSecond", maxBytes),
            ("--state-dir", "stateDir", stateDir),
            ("--write-method", "writeMethod", writeMethod),
            ("--accept-source-risk", "source.acceptRisk", acceptSourceRisk ? "true" : nil),
            ("--conflict", "conflict.policy", conflict),
            ("--log-format", "log.format", logFormat),
            ("--quiet", "log.consoleEnabled", quiet ? "false" : nil),
        ]
        return given.compactMap { name, path, value in
            value.map { ConfigurationResolver.Flag(name: name, path: path, value: $0) }
        }
    }
}

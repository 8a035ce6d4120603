import ArgumentParser
import Glibc
import Operations

/// The flags of every command that asks a run, and the asking.
struct ControlOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "State directory of the run (or stateDir of --config, or DF2REDIS_STATE_DIR).",
            valueName: "directory"))
    var stateDir: String?

    @Option(
        name: [.short, .long],
        help: ArgumentHelp("Configuration file of the run.", valueName: "file"))
    var config: String?

    /// Sends a request; prints the reply by `show`.
    func ask(
        _ name: String, _ members: [(String, JSONValue)] = [], show: (ControlClient.Reply) -> String
    ) throws {
        // Whatever else may be wrong with a file is for the run to say.
        let resolver = ConfigurationResolver(
            file: config.map { ConfigurationFile(path: $0) },
            environment: ProcessEnvironment.variables(),
            flags: stateDir.map {
                [ConfigurationResolver.Flag(name: "--state-dir", path: "stateDir", value: $0)]
            } ?? [])
        guard let directory = resolver.configuration.stateDirectory else {
            throw Self.failure(
                "which run? give its --state-dir, its --config file, or DF2REDIS_STATE_DIR",
                ExitStatus.usage)
        }
        let reply: ControlClient.Reply
        do throws(ControlClient.Failure) {
            reply = try ControlClient.ask(
                .object([("command", .string(name))] + members), directory: directory)
        } catch {
            switch error {
            case .noRun(let reason): throw Self.failure(reason, ExitStatus.unreachable)
            case .refused(let reason):
                throw Self.failure("the run refused \(name): \(reason)", ExitStatus.refused)
            }
        }
        guard Files.writeAll(show(reply).utf8, to: STDOUT_FILENO) == 0 else {
            throw ExitCode(ExitStatus.failures)
        }
    }

    private static func failure(_ reason: String, _ status: Int32) -> ExitCode {
        _ = Files.writeAll("error: \(PrintableText.escaped(reason))\n".utf8, to: STDERR_FILENO)
        return ExitCode(status)
    }
}

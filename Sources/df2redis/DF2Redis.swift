import ArgumentParser
import Glibc

@main
struct DF2Redis: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "df2redis",
        abstract: "Copies a Dragonfly to a Redis or Valkey, and follows its writes.",
        discussion: """
            Passwords come from the environment (DF2REDIS_SOURCE_PASSWORD, \
            DF2REDIS_TARGET_PASSWORD) or a file (--config). Every key of the file has a variable: \
            stateDir is DF2REDIS_STATE_DIR. Flags win over the environment, the environment over \
            the file.

            Exit codes: 0 done and everything applied; 1 finished with failures, or cut off; \
            2 wrong flags or configuration; 3 a server could not be reached or refused the login; \
            4 a server, or the run that was asked, \
            refused; 130 and 143 stopped by SIGINT and SIGTERM.
            """,
        version: "df2redis " + programVersion,
        subcommands: [
            MigrateCommand.self, ReplicateCommand.self, StatusCommand.self, RateCommand.self,
            PauseCommand.self, ResumeCommand.self, RepairCommand.self, StopCommand.self,
        ])

    static func main() {
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch let code as ExitCode {
            Glibc.exit(code.rawValue)
        } catch {
            // Help and version are answers, on standard output; all else here is wrong usage, for
            // which the parser has an exit code of its own.
            if exitCode(for: error).isSuccess { exit(withError: error) }
            _ = Files.writeAll((fullMessage(for: error) + "\n").utf8, to: STDERR_FILENO)
            Glibc.exit(ExitStatus.usage)
        }
    }

    func run() throws {
        _ = Files.writeAll((Self.helpMessage() + "\n").utf8, to: STDERR_FILENO)
        throw ExitCode(ExitStatus.usage)
    }
}

import ArgumentParser
import Replication

struct ReplicateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replicate",
        abstract: "Copy everything, then follow live writes until stopped.",
        usage: "df2redis replicate --source <address> --target <address> [options]",
        discussion: """
            Stop it with SIGINT (Ctrl-C) or SIGTERM: what is in flight is settled first. A second \
            signal ends it at once.

            Example:
              df2redis replicate --source redis://dragonfly:6379 --target redis://redis:6379
            """)

    @OptionGroup var options: RunOptions

    func run() throws {
        throw ExitCode(RunCommand(mode: .replicate, options: options).run())
    }
}

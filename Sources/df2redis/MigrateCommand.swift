import ArgumentParser
import Replication

struct MigrateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract: "Copy everything once, then exit.",
        usage: "df2redis migrate --source <address> --target <address> [options]",
        discussion: """
            Copies a snapshot of the source with the writes made while it was taken, prints the \
            position (LSN) of every flow, and exits. Writes made after these positions are not \
            included.

            Example:
              df2redis migrate --source redis://dragonfly:6379 --target redis://redis:6379
            """)

    @OptionGroup var options: RunOptions

    func run() throws {
        throw ExitCode(RunCommand(mode: .migrate, options: options).run())
    }
}

import ArgumentParser
import Operations

struct RepairCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "repair",
        abstract: "Let a run read a key from the source again and write it.",
        discussion: #"""
            The key is written as reports name it: \xNN for bytes that are not printable ASCII, \
            \x5c for a backslash. It returns when the run has taken note; df2redis status counts \
            what is open and what is done.

            Example:
              df2redis repair --state-dir /var/lib/df2redis --database 2 user:1001
            """#)

    @OptionGroup var options: ControlOptions

    @Option(help: ArgumentHelp("Its database.", valueName: "n"))
    var database = 0

    @Argument(help: "The key.")
    var key: String

    func run() throws {
        try options.ask(
            "repair", [("database", .integer(database)), ("key", .string(key))]
        ) { _ in "on the repair list\n" }
    }
}

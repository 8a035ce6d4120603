import ArgumentParser

struct StopCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stop",
        abstract: "End a run in order.",
        discussion: """
            The same as SIGTERM: the source is left, what is in flight is settled, the report is \
            written. It returns when the run has taken note, before it has ended. Asked a second \
            time, the run ends at once.
            """)

    @OptionGroup var options: ControlOptions

    func run() throws {
        try options.ask("stop") { _ in "stopping\n" }
    }
}

import ArgumentParser

struct PauseCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pause",
        abstract: "Let a run stop writing to its target.",
        discussion: """
            What was sent is answered, nothing more is sent until df2redis resume; the connection \
            to the source stays. The source is read only as far as buffers reach (some MiB for \
            each flow): after that its writers wait, and it may end the replication after its \
            replication timeout. Pause for moments, or while little is written.
            """)

    @OptionGroup var options: ControlOptions

    func run() throws {
        try options.ask("pause") { _ in "paused; go on with df2redis resume\n" }
    }
}

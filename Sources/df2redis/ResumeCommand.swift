import ArgumentParser

struct ResumeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resume", abstract: "Let a paused run write again.")

    @OptionGroup var options: ControlOptions

    func run() throws {
        try options.ask("resume") { _ in "writing again\n" }
    }
}

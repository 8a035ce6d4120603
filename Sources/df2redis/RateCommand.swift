import ArgumentParser
import Operations

struct RateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rate",
        abstract: "Show or change how fast a run writes to its target.",
        discussion: """
            Limits that are not given stay as they are; 0 lifts one. Without any, the present ones \
            are printed.
            """)

    @OptionGroup var options: ControlOptions

    @Option(help: ArgumentHelp("Commands a second.", valueName: "n"))
    var maxOps: Int?

    @Option(help: ArgumentHelp("Bytes a second.", valueName: "n"))
    var maxBytes: Int?

    @Option(
        help: ArgumentHelp(
            "Milliseconds that a reply may take before fewer commands are sent at a time.",
            valueName: "n"))
    var maxLatency: Int?

    func run() throws {
        let given = [
            ("operationsPerSecond", maxOps), ("bytesPerSecond", maxBytes),
            ("maxLatencyMilliseconds", maxLatency),
        ]
        try options.ask(
            "rate",
            given.compactMap { name, number in number.map { (name, .integer($0)) } }
        ) { reply in
            given.map { name, _ in
                let number = reply.value["rate"]?[name]?.wholeNumber ?? 0
                return "\(name)  \(number == 0 ? "no limit" : PrintableText.count(number))\n"
            }.joined()
        }
    }
}

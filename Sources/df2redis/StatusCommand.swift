import ArgumentParser
import Operations

struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show how a run is getting on.")

    @OptionGroup var options: ControlOptions

    @Flag(help: "As one line of JSON.")
    var json = false

    func run() throws {
        try options.ask("status") { json ? $0.line : Self.text($0.value) }
    }

    /// The status for people.
    static func text(_ status: JSONValue) -> String {
        func word(_ name: String) -> String { status[name]?.text ?? "?" }
        func number(_ value: JSONValue?, _ name: String) -> String {
            switch value?[name] {
            case .integer(let number): PrintableText.count(number)
            case .unsigned(let number): PrintableText.count(number)
            case .number(let number): PrintableText.count(Int(number))
            default: "?"
            }
        }
        var lines = [
            "\(word("command"))  \(word("source")) -> \(word("target"))",
            "phase   \(word("phase")), "
                + PrintableText.duration(seconds: status["elapsedSeconds"]?.wholeNumber ?? 0)
                + ", process \(status["processIdentifier"]?.wholeNumber ?? 0)",
        ]
        if let reason = status["waitsForText"]?.text { lines.append("held    \(reason)") }
        let speeds = status["perSecond"]
        lines.append(
            "speed   \(number(speeds, "commands")) commands/s, "
                + "\(number(speeds, "bytesSent")) bytes/s to the target")
        // What is zero goes without saying; what was read is the sum of the others.
        func counts(_ name: String, _ counts: JSONValue?) -> String {
            let parts = ["applied", "filtered", "skipped", "repaired", "failed", "pending"]
                .filter { counts?[$0]?.wholeNumber != 0 }
                .map { ", \($0) \(number(counts, $0))" }
            return "\(name) read \(number(counts, "read"))" + parts.joined()
        }
        func both(_ title: String, _ part: JSONValue?) {
            for name in ["snapshot", "journal"] {
                guard let read = part?[name]?["read"]?.wholeNumber, read > 0 else { continue }
                lines.append(PrintableText.padRight(title, 10) + counts(name, part?[name]))
            }
        }
        both("all", status)
        for type in status["types"]?.items ?? [] { both(type["type"]?.text ?? "?", type) }
        lines.append(
            "repair  open \(number(status, "repairsOpen")),"
                + " done \(number(status, "keysRepaired")),"
                + " not possible \(number(status, "keysToRepair"))")
        for flow in status["flows"]?.items ?? [] {
            let name = "flow \(number(flow, "flow"))"
            lines.append(
                PrintableText.padRight(name, 10)
                    + "\(flow["phase"]?.text ?? "?"), LSN \(number(flow, "lsn"))")
            both(name, flow)
        }
        return lines.map { PrintableText.escaped($0) + "\n" }.joined()
    }
}

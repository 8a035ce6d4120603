import ArgumentParser
import DragonflySimulator

struct VerifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Compare a Redis server with what a generated master holds after all its writes.",
        discussion: """
            Takes the options of "generate" that describe the data. Compares every key by type, value, \
            expiry and database, and looks for keys too many. Prints the numbers and the first \
            differences; the exit code is 0 if all is equal and 1 if not.
            """)

    @Option(help: .init("The Redis server, 7.0 or later.", valueName: "host:port"))
    var target: TargetArgument

    @OptionGroup var content: ContentOptions

    func validate() throws {
        guard content.expiringPercent == 0 || content.firstExpiry != nil else {
            throw ValidationError("--expiring-percent needs the --first-expiry of the master")
        }
    }

    func run() throws {
        let verification: Verification
        do {
            verification = try Verification.run(
                host: target.host, port: target.port, data: content.data,
                traffic: content.traffic)
        } catch {
            throw ValidationError("cannot compare \(target.host):\(target.port): \(error)")
        }
        for line in verification.lines { print(line) }
        guard verification.isEqual else { throw ExitCode(1) }
    }
}

/// A host or address and a port; an IPv6 address stands in brackets.
struct TargetArgument: ExpressibleByArgument {
    let host: String
    let port: UInt16

    init?(argument: String) {
        guard let colon = argument.lastIndex(of: ":"), colon != argument.startIndex,
            let port = UInt16(argument[argument.index(after: colon)...]), port > 0
        else { return nil }
        let name = argument[..<colon]
        let isBracketed = name.first == "[" && name.last == "]"
        host = String(isBracketed ? name.dropFirst().dropLast() : name)
        self.port = port
    }
}

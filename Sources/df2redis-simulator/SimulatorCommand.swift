import ArgumentParser
import DragonflySimulator

@main
struct SimulatorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "df2redis-simulator",
        abstract: "A fake Dragonfly master on a loopback port.",
        discussion: """
            Prints "listening on 127.0.0.1:PORT" first, serves until SIGINT or SIGTERM, and prints one \
            line of JSON at the end: bytes and ACKs per flow, what replicas did wrong, CPU time.

            Exit codes: 0 ended as asked; 1 it could not serve, or an emulated master could not go \
            on; 64 wrong options.
            """,
        subcommands: [
            RecordCommand.self, GenerateCommand.self, EmulateCommand.self, VerifyCommand.self,
        ])
}

/// What both kinds of master have in common.
struct ServerOptions: ParsableArguments {
    @Option(help: "Port to listen on; 0 lets the system choose.")
    var port: UInt16 = 0

    @Option(help: "Password that AUTH demands.")
    var password: String?

    @Option(help: "User that the password belongs to.")
    var user = "default"

    @Option(help: "Bytes per write: a number, random:SEED, or whole.")
    var segment = SegmentArgument(value: .whole)

    @Option(help: "Bytes per second on each flow.")
    var bytesPerSecond: Int?

    @Flag(help: "Exit when a replica has come and all clients have left.")
    var exitWhenLeft = false

    func validate() throws {
        if let bytesPerSecond, bytesPerSecond < 1 {
            throw ValidationError("--bytes-per-second must be at least 1")
        }
    }

    func run(_ source: SimulatorSource, traffic: BackgroundTraffic? = nil) throws {
        var options = SimulatorOptions()
        options.port = port
        options.password = password
        options.user = user
        options.segmentation = segment.value
        options.pacing = bytesPerSecond.map(Pacing.bytesPerSecond) ?? .unlimited
        do {
            try SimulatorProcess.run(
                source: source, options: options, exitWhenLeft: exitWhenLeft, traffic: traffic)
        } catch let error as EmulationError {
            throw SimulatorFailure(description: "the emulated master cannot go on: \(error)")
        } catch {
            throw SimulatorFailure(description: "cannot serve on port \(port): \(error)")
        }
    }
}

/// What ended a simulator although its options were right.
struct SimulatorFailure: Error, CustomStringConvertible {
    let description: String
}

struct SegmentArgument: ExpressibleByArgument {
    let value: Segmentation

    init(value: Segmentation) {
        self.value = value
    }

    init?(argument: String) {
        if argument == "whole" {
            value = .whole
        } else if let size = Int(argument), size > 0 {
            value = .fixed(size)
        } else if argument.hasPrefix("random:"), let seed = UInt64(argument.dropFirst(7)) {
            value = .random(seed: seed)
        } else {
            return nil
        }
    }

    var defaultValueDescription: String { "whole" }
}

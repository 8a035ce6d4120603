import ArgumentParser
import CPlatform
import DragonflySimulator
import Foundation

/// Measures df2redis beside what it is compared with, in one run: prints one JSON line per case.
@main
struct Bench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "df2redis-bench",
        abstract: "Measures df2redis: one JSON line per case.",
        subcommands: [Run.self, Scaling.self, Send.self, Sink.self],
        defaultSubcommand: Run.self)
}

extension Bench {
    struct Size: ParsableArguments {
        @Option(help: "Keys of each end-to-end run.")
        var keys = 1_000_000

        @Option(help: "Bytes of each string.")
        var valueBytes = 64

        @Option(help: "Runs of each case; the median counts.")
        var runs = 5

        var endToEnd: EndToEnd { EndToEnd(keys: keys, valueBytes: valueBytes, runs: runs) }
    }

    struct Run: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Runs all cases (needs redis-server, and df2redis built beside this).")

        @OptionGroup var size: Size

        mutating func run() throws {
            try MicroCases(runs: size.runs).run()
            try size.endToEnd.run()
        }
    }

    struct Scaling: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "What a key costs with 1 to 64 flows, 1 to 64 masters, 1 and 2 cores.")

        @OptionGroup var size: Size

        mutating func run() throws {
            try size.endToEnd.runScaling()
        }
    }

    struct Send: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "The minimal sender that df2redis is compared with: SET after SET.",
            shouldDisplay: false)

        @Option var port: UInt16
        @Option var keys: Int
        @Option var valueBytes: Int

        mutating func run() throws {
            try MinimalSender(port: port, keys: keys, valueBytes: valueBytes).run()
        }
    }
}

extension Bench {
    struct Sink: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Only the null sink, for a profiler; prints its port and runs until killed.")

        @Option(help: "Masters of a cluster, 0 for a single server.")
        var nodes = 0

        mutating func run() throws {
            print(try NullSink(clusterNodes: nodes).port)
            while true { sleep(1000) }
        }
    }
}

/// The runs of one case: the median and how far the others are from it.
struct Series {
    private let values: [Double]

    init(_ values: [Double]) {
        self.values = values.sorted()
    }

    var median: Double { values[values.count / 2] }
    var minimum: Double { values[0] }
    var maximum: Double { values[values.count - 1] }

    /// Median absolute deviation.
    var deviation: Double { Series(values.map { abs($0 - median) }).median }
}

/// Prints one case as a JSON line.
func report(_ name: String, _ figures: KeyValuePairs<String, Double>) {
    let fields = figures.map { "\"\($0.key)\":\(String(format: "%.4g", $0.value))" }
    let line = "{\"case\":\"\(name)\",\(fields.joined(separator: ","))}"
    FileHandle.standardOutput.write(Data((line + "\n").utf8))
}

/// Nanoseconds that `body` takes.
func nanoseconds(_ body: () throws -> Void) rethrows -> Double {
    let start = cp_monotonic_nanoseconds()
    try body()
    return Double(cp_monotonic_nanoseconds() - start)
}

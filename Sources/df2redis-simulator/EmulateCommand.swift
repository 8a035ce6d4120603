public import ArgumentParser
import DragonflySimulator

struct EmulateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "emulate",
        abstract: "Serve a live master whose data is in a redis-server, and write random traffic.",
        discussion: """
            Clients may use it like a Dragonfly: it executes commands, journals them, and answers \
            reads. The redis-server must be in PATH. With --commands it prints "wrote N commands" \
            when its traffic is at its end, and goes on serving.
            """)

    /// Far above anything useful, and no product of it overflows.
    private static let largestNumber = 1_000_000_000

    @Option(help: "Release to emulate: 1.20, 1.30, 1.35, 1.40 or newest.")
    var release = EmulatedRelease.newest
    @Option(help: "Flows, as many as the master has shards.") var flows = 2
    @Option(help: "Keys of each kind in each database.") var keys = 40
    @Option(help: "Seed of the traffic, the master id and the order of the snapshot.")
    var seed: UInt64 = 1
    @Option(help: "Commands before listening.") var commandsBefore = 1000
    @Option(help: "Commands per second from then on; 0 for none.") var rate = 1000
    @Option(help: "Commands at this rate before it stops writing; if not given, it never does.")
    var commands: Int?
    @Option(help: "How the snapshot is compressed: none, lzf, zstd or lz4.")
    var compression = StreamOptions.Compression.lz4
    @Option(help: "Values above this size come in chunks; 0 for none.") var chunkBytes = 65536
    @Option(help: "Microseconds between the buckets of a snapshot.") var bucketPause = 0
    @Option(help: "Milliseconds between LSN markers; 0 for one after each entry.")
    var markerInterval = 4000
    @Flag(help: "Write only what a Redis knows.") var plain = false

    @OptionGroup var server: ServerOptions

    func validate() throws {
        guard (1...1024).contains(flows) else {
            throw ValidationError("--flows must be from 1 to 1024")
        }
        let numbers = [
            ("keys", keys, 1), ("commands-before", commandsBefore, 0), ("rate", rate, 0),
            ("commands", commands ?? 1, 1), ("chunk-bytes", chunkBytes, 0),
            ("bucket-pause", bucketPause, 0), ("marker-interval", markerInterval, 0),
        ]
        for (name, number, least) in numbers
        where !(least...Self.largestNumber).contains(number) {
            throw ValidationError("--\(name) must be from \(least) to \(Self.largestNumber)")
        }
        guard commands == nil || rate > 0 else {
            throw ValidationError("--commands needs a --rate above 0")
        }
    }

    func run() throws {
        var emulation = EmulationOptions(release: release, flowCount: flows)
        emulation.seed = seed
        emulation.stream.seed = seed
        emulation.stream.compression = compression
        emulation.stream.chunkBytes = chunkBytes
        emulation.bucketPauseMicroseconds = bucketPause
        emulation.markerIntervalMilliseconds = markerInterval
        var options = RandomTraffic.Options(seed: seed)
        options.keysPerKind = keys
        options.usesDragonflyCommands = !plain
        options.usesForeignTypes = !plain
        options.usesElementExpiries = !plain
        var traffic = BackgroundTraffic(options)
        traffic.stepsBefore = commandsBefore
        traffic.stepsPerSecond = rate
        traffic.stepLimit = commands
        try server.run(.emulated(emulation), traffic: traffic)
    }
}

extension EmulatedRelease: ExpressibleByArgument {}
extension StreamOptions.Compression: ExpressibleByArgument {}

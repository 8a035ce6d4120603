import ArgumentParser
import DragonflySimulator

/// What a generated master holds and writes. Serving it and comparing with it take the same
/// options, so that one command line describes both.
struct ContentOptions: ParsableArguments {
    @Option(help: "Strings.") var strings = 0
    @Option(help: "Bytes of a string.") var stringBytes = 64
    @Option(help: "Hashes.") var hashes = 0
    @Option(help: "Fields of a hash.") var fields = 10
    @Option(help: "Lists.") var lists = 0
    @Option(help: "Sets; every second one holds integers.") var sets = 0
    @Option(help: "Sorted sets.") var zsets = 0
    @Option(help: "Streams; every second one has a consumer group.") var streams = 0
    @Option(help: "Pending entries of a group; above two, every stream has one.") var pending = 2
    @Option(help: "Elements of a list, set, sorted set or stream.") var elements = 10
    @Option(help: "Bytes of a hash value, element or member.") var elementBytes = 16
    @Option(help: "Keys in a hundred that expire, within 180 days from the first.")
    var expiringPercent = 0
    @Option(
        help: .init(
            "Unix milliseconds before which none expires; if not given, 90 days from the start.",
            valueName: "milliseconds"))
    var firstExpiry: Int64?
    @Option(help: "Databases that the keys are spread over.") var databases = 1
    @Option(help: "Flows, as many as the master has shards.") var flows = 1
    @Option(help: "Seed of all generated data.") var seed: UInt64 = 1

    @Option(help: "Writes after the snapshot: SET, INCR and LPUSH in turn.") var liveRecords = 0
    @Option(help: "Writes per second over all flows; 0 for as fast as possible.") var liveRate = 0
    @Option(help: "Of the writes, how many come during the full sync.") var liveDuringFullSync = 0
    @Option(help: "Keys per kind of write.") var liveKeys = 1000
    @Option(help: "Bytes of a written value.") var liveBytes = 32

    func validate() throws {
        let counts = [
            strings, stringBytes, pending, hashes, lists, sets, zsets, streams, elementBytes,
            liveRecords, liveRate, liveDuringFullSync, liveBytes,
        ]
        guard counts.allSatisfy({ $0 >= 0 }) else {
            throw ValidationError("counts and sizes must not be negative")
        }
        guard min(fields, elements, databases, liveKeys) >= 1 else {
            throw ValidationError("--fields, --elements, --databases, --live-keys: at least 1")
        }
        guard (1...1024).contains(flows) else { throw ValidationError("--flows: 1 to 1024") }
        guard (0...100).contains(expiringPercent) else {
            throw ValidationError("--expiring-percent: 0 to 100")
        }
        // The others follow within 180 days, and Redis takes none beyond 2^63.
        guard (1...Int64.max / 2).contains(firstExpiry ?? 1) else {
            throw ValidationError("--first-expiry: at least 1, at most \(Int64.max / 2)")
        }
    }

    var data: SyntheticData {
        func shape(_ count: Int, _ elements: Int) -> SyntheticData.Shape {
            SyntheticData.Shape(count: count, elements: elements, elementBytes: elementBytes)
        }
        var data = SyntheticData(seed: seed)
        data.flowCount = flows
        data.databaseCount = databases
        data.expiringPercent = expiringPercent
        if let firstExpiry { data.firstExpiryMilliseconds = firstExpiry }
        data.strings = SyntheticData.Shape(count: strings, elementBytes: stringBytes)
        data.hashes = shape(hashes, fields)
        data.lists = shape(lists, elements)
        data.sets = shape(sets, elements)
        data.sortedSets = shape(zsets, elements)
        data.streams = shape(streams, elements)
        data.deliveredEntries = pending
        return data
    }

    var traffic: LiveTraffic {
        var traffic = LiveTraffic(recordCount: liveRecords, seed: seed)
        traffic.recordsDuringFullSync = liveDuringFullSync
        traffic.recordsPerSecond = liveRate
        traffic.keysPerKind = liveKeys
        traffic.valueBytes = liveBytes
        traffic.databaseCount = databases
        return traffic
    }
}

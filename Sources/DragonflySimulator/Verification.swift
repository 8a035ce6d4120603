public import Bytes
import CPlatform

/// Why a target could not be compared.
public enum VerificationError: Error, Equatable, CustomStringConvertible {
    case unknownHost(String)
    case connection(SystemError)
    case closed
    case unexpectedReply(String)

    public var description: String {
        switch self {
        case .unknownHost(let text): text
        case .connection(let error): "\(error)"
        case .closed: "the connection was closed"
        case .unexpectedReply(let text): "unexpected reply: \(text)"
        }
    }
}

/// How a Redis server's content compares with what a generated master holds after all its writes.
public struct Verification: Sendable {
    /// Keys of one kind.
    public struct Count: Sendable, Equatable {
        public let label: String
        public internal(set) var compared = 0
        public internal(set) var different = 0
    }

    /// In the order of `SyntheticData.Kind`, then the keys of the live traffic.
    public internal(set) var counts: [Count]
    /// Keys of the target that the master does not have.
    public internal(set) var otherKeys = 0
    /// What differs, one text for each key: its database, its name and the first difference. At
    /// most `listLimit`.
    public internal(set) var differences: [String] = []

    public static let listLimit = 20

    init() {
        let labels = ["strings", "hashes", "lists", "sets", "sorted sets", "streams", "live keys"]
        counts = labels.map { Count(label: $0) }
    }

    public var differenceCount: Int { counts.reduce(otherKeys) { $0 + $1.different } }

    public var isEqual: Bool { differenceCount == 0 }

    /// The result in lines of text: one for each kind, one for other keys, then the differences.
    public var lines: [String] {
        var lines = counts.map { "\($0.label): \($0.compared) compared, \($0.different) different" }
        lines.append("other keys on the target: \(otherKeys)")
        lines += differences
        if differenceCount > differences.count {
            lines.append("and \(differenceCount - differences.count) more")
        }
        return lines
    }

    mutating func add(_ difference: String, database: Int, key: [UInt8]) {
        guard differences.count < Self.listLimit else { return }
        differences.append("database \(database), key \(quoted(key)): \(difference)")
    }

    /// Compares every key of every database of a Redis server (7.0 or later) by type, value and
    /// expiry. A key whose time has come may be gone.
    ///
    /// - Parameters:
    ///   - data: what the master generated; its expiries must be given, not taken from the clock.
    ///   - traffic: its writes, all of which are taken as made.
    public static func run(
        host: String, port: UInt16, data: SyntheticData, traffic: LiveTraffic
    ) throws(VerificationError) -> Verification {
        var verifier = Verifier(
            client: try TargetClient(host: host, port: port), data: data, traffic: traffic)
        return try verifier.run()
    }
}

private struct Verifier {
    /// A key that the target must hold.
    struct Key {
        let name: [UInt8]
        let expiry: Int64?
        let value: SyntheticValue
    }

    private static let keysPerBatch = 256

    let client: TargetClient
    let data: SyntheticData
    let liveKeys: [LiveTraffic.Key]
    var result = Verification()

    init(client: TargetClient, data: SyntheticData, traffic: LiveTraffic) {
        self.client = client
        self.data = data
        liveKeys = traffic.keys()
    }

    mutating func run() throws(VerificationError) -> Verification {
        let sizes = try databaseSizes()
        let databases = Set(sizes.keys).union(0..<data.databaseCount)
            .union(liveKeys.map(\.database))
        for database in databases.sorted() {
            _ = try client.call("SELECT", Array("\(database)".utf8))
            var present = 0
            for kind in SyntheticData.Kind.allCases {
                present += try compare(indices(kind, database), kind.rawValue, database) {
                    [data] index in
                    Key(
                        name: data.key(kind, index), expiry: data.expiry(kind, index),
                        value: data.value(kind, index))
                }
            }
            let live = liveKeys.filter { $0.database == database }
            present += try compare(live, result.counts.count - 1, database) {
                Key(name: $0.name, expiry: nil, value: $0.value)
            }
            if sizes[database, default: 0] != present { try findOtherKeys(database, live) }
        }
        return result
    }

    /// Numbers of the generated keys in a database.
    private func indices(
        _ kind: SyntheticData.Kind, _ database: Int
    ) -> [Int] {
        guard database < data.databaseCount else { return [] }
        return Array(stride(from: database, to: data.shape(kind).count, by: data.databaseCount))
    }

    /// Compares keys of the selected database in batches; returns how many of them are there.
    private mutating func compare<Item>(
        _ items: [Item], _ count: Int, _ database: Int, _ key: (Item) -> Key
    ) throws(VerificationError) -> Int {
        var present = 0
        for start in stride(from: 0, to: items.count, by: Self.keysPerBatch) {
            let keys = items[start..<min(start + Self.keysPerBatch, items.count)].map(key)
            for key in keys {
                try client.append("TYPE", key.name)
                try client.append("PEXPIRETIME", key.name)
                try client.append(key.value.readingCommand(key.name))
            }
            try client.flush()
            for key in keys {
                let type = try client.reply()
                let difference = key.difference(
                    type: type, expiry: try client.reply(), value: try client.reply())
                if type != .simple(Array("none".utf8)) { present += 1 }
                result.counts[count].compared += 1
                guard let difference else { continue }
                result.counts[count].different += 1
                result.add(difference, database: database, key: key.name)
            }
        }
        return present
    }

    /// The keys of each database that has any.
    private func databaseSizes() throws(VerificationError) -> [Int: Int] {
        let text = try client.call("INFO keyspace").bytes ?? []
        var sizes: [Int: Int] = [:]
        // Lines like "db0:keys=2,expires=1,avg_ttl=0".
        for line in text.split(separator: UInt8(ascii: "\n")) {
            let line = String(decoding: line, as: UTF8.self)
            guard line.hasPrefix("db"), let colon = line.firstIndex(of: ":"),
                let equals = line.firstIndex(of: "="), let comma = line.firstIndex(of: ",")
            else { continue }
            guard let database = Int(line[line.index(line.startIndex, offsetBy: 2)..<colon]),
                equals < comma, let size = Int(line[line.index(after: equals)..<comma])
            else { throw .unexpectedReply("INFO keyspace: \(line)") }
            sizes[database] = size
        }
        return sizes
    }

    /// Names all keys of the selected database that the master does not have there.
    private mutating func findOtherKeys(
        _ database: Int, _ live: [LiveTraffic.Key]
    ) throws(VerificationError) {
        var expected = Set(live.map(\.name))
        for kind in SyntheticData.Kind.allCases {
            for index in indices(kind, database) { expected.insert(data.key(kind, index)) }
        }
        var others: Set<[UInt8]> = []
        let start = Array("0".utf8)
        var cursor = start
        repeat {
            let page = try client.call(
                "SCAN", cursor, Array("COUNT".utf8), Array("1000".utf8))
            guard case .array(let parts) = page, parts.count == 2, let next = parts[0].bytes,
                let names = parts[1].texts
            else { throw .unexpectedReply("SCAN: \(page.summary)") }
            others.formUnion(names.filter { !expected.contains($0) })
            cursor = next
        } while cursor != start
        result.otherKeys += others.count
        for name in others.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            result.add("the source has no such key there", database: database, key: name)
        }
    }
}

extension Verifier.Key {
    /// The first difference between this key and what the target answered; nil if there is none.
    fileprivate func difference(
        type: TargetReply, expiry time: TargetReply, value reply: TargetReply
    ) -> String? {
        if type == .simple(Array("none".utf8)) {
            if let expiry, expiry <= cp_unix_milliseconds() { return nil }
            return "is missing"
        }
        guard type == .simple(Array(value.typeName.utf8)) else {
            return "is of type \(type.summary), expected \"\(value.typeName)\""
        }
        // -1 stands for no expiry.
        if time != .integer(expiry ?? -1) {
            return "expires at \(time.summary), expected \(expiry ?? -1) (Unix milliseconds)"
        }
        return value.difference(from: reply)
    }
}

/// Compares what a server holds with what it should hold, key by key.
public struct StateComparison: Sendable {
    /// What is known to differ, and why.
    public struct Rules: Sendable {
        /// Largest difference of two expiries that counts as none.
        public var expiryToleranceMilliseconds: Int64 = 0
        /// Keys that expire before this moment are left out, on both sides.
        public var nearExpiryMilliseconds: Int64 = 0
        /// Streams came without entries-added, max-deleted id and entries-read, and with the stream's
        /// last id in place of each group's: so they are on the wire (type 15 of v1.20).
        public var hasOldStreams = false
        /// The target is a Redis before 7.0, which has none of these counters.
        public var lacksStreamCounters = false
        /// A zero score may have lost its sign: a listpack has none, and a server that is told a
        /// sorted set member by member begins with one.
        public var zeroHasNoSign = false
        /// Keys that are known to differ: left out, and listed.
        public var excluded: Set<StateKey> = []

        public init() {}

        /// What the README of the recordings says about one of them.
        public init(_ recording: Recording) throws {
            // v1.20 has no PEXPIRETIME: its expiries were computed from two clock readings.
            expiryToleranceMilliseconds = recording.hasOldStreams ? 10 : 0
            nearExpiryMilliseconds = try recording.nearExpiryMilliseconds()
            hasOldStreams = recording.hasOldStreams
        }
    }

    public struct Count: Sendable, Equatable {
        public var recorded = 0
        public var compared = 0
        /// Of these, keys with an expiry.
        public var recordedExpiring = 0
        public var comparedExpiring = 0
    }

    /// Keys of types that a redis without modules can hold, by type.
    public private(set) var counts: [String: Count] = [:]
    public private(set) var differences: [String] = []
    /// Recorded keys that Redis cannot hold.
    public private(set) var foreign: [StateKey] = []
    /// Keys left out because they expire during or right after the recording.
    public private(set) var nearExpiry: [StateKey] = []
    /// Keys left out because the rules name them.
    public private(set) var excluded: [StateKey] = []

    private let rules: Rules

    public init(expected: ServerState, actual: ServerState, rules: Rules = Rules()) {
        self.rules = rules
        for (key, entry) in expected.sorted(by: { $0.key < $1.key }) {
            compare(key, entry, actual[key])
        }
        for key in actual.keys.sorted() where expected[key] == nil {
            surplus(key, actual[key]!)
        }
        for (type, count) in counts.sorted(by: { $0.key < $1.key })
        where count.compared < count.recorded || count.comparedExpiring < count.recordedExpiring {
            differences.append(
                "\(type): compared \(count.compared) of \(count.recorded), with an expiry "
                    + "\(count.comparedExpiring) of \(count.recordedExpiring)")
        }
    }

    public var isEqual: Bool { differences.isEmpty }

    public var keysCompared: Int { counts.values.reduce(0) { $0 + $1.compared } }
    public var expiringKeysCompared: Int { counts.values.reduce(0) { $0 + $1.comparedExpiring } }

    private mutating func compare(_ key: StateKey, _ expected: StateEntry, _ actual: StateEntry?) {
        if case .foreign = expected.value {
            foreign.append(key)
            if actual != nil { differences.append("\(key): a \(expected.type), yet it is there") }
            return
        }
        if rules.excluded.contains(key) {
            excluded.append(key)
            return
        }
        if isNear(expected) {
            nearExpiry.append(key)
            return
        }
        let expires = expected.expiryMilliseconds != 0
        counts[expected.type, default: Count()].recorded += 1
        if expires { counts[expected.type]?.recordedExpiring += 1 }
        guard let actual else {
            differences.append("\(key): missing (\(expected.type))")
            return
        }
        counts[expected.type]?.compared += 1
        if expires, actual.expiryMilliseconds != 0 { counts[expected.type]?.comparedExpiring += 1 }
        let apart = abs(expected.expiryMilliseconds - actual.expiryMilliseconds)
        if apart > (expires ? rules.expiryToleranceMilliseconds : 0) {
            differences.append(
                "\(key): expiry \(actual.expiryMilliseconds), expected "
                    + "\(expected.expiryMilliseconds)")
        }
        if let difference = difference(expected, actual) {
            differences.append("\(key): \(difference)")
        }
    }

    private mutating func surplus(_ key: StateKey, _ entry: StateEntry) {
        if rules.excluded.contains(key) {
            excluded.append(key)
        } else if isNear(entry) {
            nearExpiry.append(key)
        } else {
            differences.append("\(key): not expected (\(entry.type))")
        }
    }

    private func isNear(_ entry: StateEntry) -> Bool {
        entry.expiryMilliseconds != 0 && entry.expiryMilliseconds < rules.nearExpiryMilliseconds
    }

    private func difference(_ expected: StateEntry, _ actual: StateEntry) -> String? {
        switch (expected.value, actual.value) {
        case (.string(let want), .string(let have)):
            want == have ? nil : "\(printable(have)), expected \(printable(want))"
        case (.json(let want), .string(let have)):
            ExpectedState.jsonText(of: have) == want
                ? nil : "\(printable(have)), expected \(printable(want))"
        case (.list(let want), .list(let have)), (.set(let want), .set(let have)):
            Self.first(want, have, equal: ==) { printable($0) }
        case (.hash(let want), .hash(let have)):
            Self.first(want, have, equal: ==) { "\(printable($0.field))=\(printable($0.value))" }
        case (.zset(let want), .zset(let have)):
            Self.first(want, have, equal: isEqual) { "\(printable($0.member)) at \($0.score)" }
        case (.stream(let want), .stream(let have)):
            difference(want, have)
        default:
            "a \(actual.type), expected a \(expected.type)"
        }
    }

    private func isEqual(_ left: ScoredMember, _ right: ScoredMember) -> Bool {
        left == right
            || rules.zeroHasNoSign && left.member == right.member && left.score == 0
                && right.score == 0
    }

    private func difference(_ want: StreamState, _ have: StreamState) -> String? {
        if let text = Self.first(want.entries, have.entries, equal: ==, text: { $0.id }) {
            return text
        }
        if want.lastID != have.lastID { return "last id \(have.lastID), expected \(want.lastID)" }
        if !rules.hasOldStreams && !rules.lacksStreamCounters {
            if want.maxDeletedID != have.maxDeletedID {
                return "max-deleted id \(have.maxDeletedID), expected \(want.maxDeletedID)"
            }
            if want.entriesAdded != have.entriesAdded {
                return "entries-added \(have.entriesAdded), expected \(want.entriesAdded)"
            }
        }
        if let text = Self.first(
            want.groups, have.groups, equal: { $0.name == $1.name },
            text: { "group \(printable($0.name))" })
        {
            return text
        }
        for (group, other) in zip(want.groups, have.groups) {
            var group = group
            if rules.hasOldStreams { group.lastID = want.lastID }
            if let text = difference(group, other) {
                return "group \(printable(group.name)): \(text)"
            }
        }
        return nil
    }

    private func difference(_ want: StreamState.Group, _ have: StreamState.Group) -> String? {
        if want.lastID != have.lastID { return "last id \(have.lastID), expected \(want.lastID)" }
        if !rules.hasOldStreams, !rules.lacksStreamCounters, want.entriesRead != have.entriesRead {
            let numbers = [have.entriesRead, want.entriesRead].map {
                $0.map(String.init) ?? "unknown"
            }
            return "entries-read \(numbers[0]), expected \(numbers[1])"
        }
        if let text = Self.first(
            want.pending, have.pending, equal: ==,
            text: { "pending \($0.id) of \(printable($0.consumer)) × \($0.deliveryCount)" })
        {
            return text
        }
        return Self.first(
            want.consumers, have.consumers, equal: ==, text: { "consumer \(printable($0))" })
    }

    /// Says where two sequences first differ; nil if they are equal.
    private static func first<Element>(
        _ want: [Element], _ have: [Element], equal: (Element, Element) -> Bool,
        text: (Element) -> String
    ) -> String? {
        for (index, pair) in zip(want, have).enumerated() where !equal(pair.0, pair.1) {
            return "element \(index) is \(text(pair.1)), expected \(text(pair.0))"
        }
        if want.count == have.count { return nil }
        let rest =
            have.count > want.count
            ? "surplus \(text(have[want.count]))" : "missing \(text(want[have.count]))"
        return "\(have.count) elements, expected \(want.count); first \(rest)"
    }

    /// What was compared and what was not, for people.
    public func summary(_ title: String) -> String {
        let types = counts.sorted { $0.key < $1.key }.map {
            "\($0.value.compared)/\($0.value.recorded) \($0.key)"
                + ($0.value.recordedExpiring == 0
                    ? "" : " (\($0.value.comparedExpiring)/\($0.value.recordedExpiring) expiring)")
        }
        var text = "\(title): compared \(types.joined(separator: ", "))"
        for (label, keys) in [
            ("Redis cannot hold", foreign), ("about to expire, left out", nearExpiry),
            ("known to differ, left out", excluded),
        ] where !keys.isEmpty {
            let names = keys.prefix(40).map(\.description).joined(separator: ", ")
            text += "\n    \(label): \(keys.count): \(names)"
        }
        if !differences.isEmpty {
            text += "\n    DIFFERENT: \(differences.count)"
            text += differences.prefix(20).map { "\n        \($0)" }.joined()
        }
        return text
    }
}

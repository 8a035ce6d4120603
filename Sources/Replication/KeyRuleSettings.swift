internal import Bytes
internal import Wire

/// Which keys are carried over, and under which names and in which databases.
public struct KeyRuleSettings: Sendable, Equatable {
    /// What a filter names. The lists of key names go together: a key is named if one of them does.
    public struct Selection: Sendable, Equatable {
        public var prefixes: [String] = []
        public var suffixes: [String] = []
        /// Patterns as KEYS and SCAN of Redis take them.
        public var globs: [String] = []
        public var databases: [Int] = []
        /// Names of `ValueFamily`.
        public var types: [String] = []
        /// Names of commands as they stand in the journal, in any letter case.
        public var commands: [String] = []

        public init() {}

        var namesKeys: Bool { !prefixes.isEmpty || !suffixes.isEmpty || !globs.isEmpty }
        var isEmpty: Bool {
            !namesKeys && databases.isEmpty && types.isEmpty && commands.isEmpty
        }
    }

    /// What is done with FLUSHALL and FLUSHDB of the source.
    public enum Flush: String, Sendable, CaseIterable {
        /// The target is flushed, too: the databases that the source's are mapped to.
        case apply
        /// The run ends.
        case fail
    }

    /// What is done with DFLYCLUSTER FLUSHSLOTS of the source: slots have left this master, or an
    /// operator empties them.
    public enum FlushSlots: String, Sendable, CaseIterable {
        /// It is named: keys may remain on the target.
        case report
        /// The keys are another master's by now, whose run takes care of them.
        case keep
        /// The target's keys in these slots are deleted.
        case delete
    }

    /// Databases are at most this many, on either side.
    public static let databasesLimit = 1024

    /// Source database to target database. If there are any, those that are not named are filtered.
    public var databases: [Int: Int] = [:]
    /// Nothing named means everything.
    public var include = Selection()
    public var exclude = Selection()
    /// What every key's name begins with on the source, and what stands in its place on the target.
    public var sourcePrefix = ""
    public var targetPrefix = ""
    /// Nil: `apply` without any rule, else `fail`.
    public var flush: Flush?
    public var flushSlots = FlushSlots.report

    public init() {}

    /// Whether anything is to be filtered or mapped.
    public var hasRules: Bool {
        !databases.isEmpty || !include.isEmpty || !exclude.isEmpty || mapsKeys
    }

    public var mapsKeys: Bool { sourcePrefix != targetPrefix }

    public var flushInEffect: Flush { flush ?? (hasRules ? .fail : .apply) }

    /// What contradicts itself or cannot be done: the key of the configuration and the reason.
    public var problems: [(key: String, reason: String)] {
        var problems: [(String, String)] = []
        for (first, second) in databases.sorted(by: { $0.key < $1.key }) {
            let others = databases.filter { $0.key > first && $0.value == second }.keys.sorted()
            guard let other = others.first else { continue }
            problems.append(
                (
                    "dbs",
                    "databases \(first) and \(other) both go to \(second), where keys of one name"
                        + " would overwrite each other; give each a database of its own"
                ))
        }
        if mapsKeys, !sourcePrefix.isEmpty, !isSourcePrefixCertain {
            problems.append(
                (
                    targetPrefix.isEmpty ? "keys.stripPrefix" : "keys.replacePrefix",
                    "a key without the prefix could not be told from one that has it; set"
                        + " filter.include.prefixes to [\"\(sourcePrefix)\"], and let no other"
                        + " filter.include.globs or suffixes let keys in that begin otherwise"
                ))
        }
        if flush == .apply, !exclude.databases.isEmpty, databases.isEmpty,
            include.databases.isEmpty
        {
            problems.append(
                (
                    "flush",
                    "FLUSHALL would empty the excluded databases of the target, too; name those"
                        + " that are carried over in dbs or filter.include.databases instead, or"
                        + " set it to fail"
                ))
        }
        if flushSlots == .delete, hasRules {
            problems.append(
                (
                    "flushSlots",
                    "with dbs, filter or keys the target may have keys of others in those slots;"
                        + " set it to keep or report"
                ))
        }
        return problems
    }

    /// Every key that is kept begins with the source's prefix.
    private var isSourcePrefixCertain: Bool {
        include.namesKeys && include.suffixes.isEmpty
            && include.prefixes.allSatisfy { $0.utf8.starts(with: sourcePrefix.utf8) }
            && include.globs.allSatisfy {
                $0.utf8.prefix { !GlobPattern.specials.contains($0) }
                    .starts(with: sourcePrefix.utf8)
            }
    }
}

/// Patterns as Redis matches them: `*`, `?`, `[a-z]`, `[^a]`, and `\` before what is meant literally.
enum GlobPattern {
    /// Bytes that may stand for something else.
    static let specials: Set<UInt8> = [
        UInt8(ascii: "*"), UInt8(ascii: "?"), UInt8(ascii: "["), UInt8(ascii: "\\"),
    ]

    /// Takes as many steps as pattern and name have bytes, multiplied, at most.
    static func matches(_ pattern: ByteView, _ name: ByteView) -> Bool {
        var place = 0
        var position = 0
        // Where the last star stands, and how far it reaches.
        var star = -1
        var reach = 0
        while position < name.count {
            if place < pattern.count, pattern[place] == UInt8(ascii: "*") {
                star = place
                reach = position
                place += 1
                continue
            }
            var next = place
            if place < pattern.count, matchesOne(pattern, &next, name[position]) {
                place = next
                position += 1
                continue
            }
            guard star >= 0 else { return false }
            reach += 1
            position = reach
            place = star + 1
        }
        while place < pattern.count, pattern[place] == UInt8(ascii: "*") { place += 1 }
        return place == pattern.count
    }

    /// One element of the pattern that is no star, and moves behind it.
    private static func matchesOne(
        _ pattern: ByteView, _ place: inout Int, _ byte: UInt8
    ) -> Bool {
        let element = pattern[place]
        place += 1
        switch element {
        case UInt8(ascii: "?"):
            return true
        case UInt8(ascii: "["):
            return matchesClass(pattern, &place, byte)
        case UInt8(ascii: "\\") where place < pattern.count:
            place += 1
            return pattern[place - 1] == byte
        default:
            return element == byte
        }
    }

    // A class that is not closed ends with the pattern.
    private static func matchesClass(
        _ pattern: ByteView, _ place: inout Int, _ byte: UInt8
    ) -> Bool {
        let isNegated = place < pattern.count && pattern[place] == UInt8(ascii: "^")
        if isNegated { place += 1 }
        var isFound = false
        while place < pattern.count, pattern[place] != UInt8(ascii: "]") {
            let first = pattern[place]
            if first == UInt8(ascii: "\\"), place + 1 < pattern.count {
                if pattern[place + 1] == byte { isFound = true }
                place += 2
            } else if place + 2 < pattern.count, pattern[place + 1] == UInt8(ascii: "-") {
                let last = pattern[place + 2]
                if min(first, last) <= byte && byte <= max(first, last) { isFound = true }
                place += 3
            } else {
                if first == byte { isFound = true }
                place += 1
            }
        }
        if place < pattern.count { place += 1 }
        return isFound != isNegated
    }
}

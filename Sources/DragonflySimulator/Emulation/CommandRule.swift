import Bytes

/// Where the keys of a command stand. Positions count the command name as 0.
enum KeyPositions {
    case none
    case first
    case second
    /// 1 and 2.
    case firstTwo
    /// From 1 to the end, each with its values.
    case every(Int)
    /// From 2 to the end.
    case fromSecond
    /// From 1 to the last but one.
    case allButLast
    /// A number at this position, then that many keys.
    case counted(Int)
    /// 1, then a number at 2 and that many keys.
    case storeCounted
    /// 1, and after STORE.
    case sort
    /// 1, and after STORE or STOREDIST.
    case geoStore
    /// The first half of what follows STREAMS.
    case streams
}

/// What a command does to the data, and how it gets into the journal (protocol.md 6).
enum CommandBehaviour {
    // Reading.
    case read
    case readTime
    case readHyperLogLog
    case dump
    case type
    case exists
    case fieldTimeToLive

    // Recorded as it is, or the slice of each shard, if it succeeded (6.1).
    case journaled
    /// Only if its key was there.
    case journaledIfPresent
    /// Only if the reply is neither 0 nor null.
    case journaledIfEffective
    /// The same; elements that it takes out lose their expiry.
    case journaledRemoval
    case persist

    // Strings and keys.
    case set
    case setWithExpiry
    case getSet
    case getExpire
    case multipleSetIfAbsent
    case multipleSet
    case incrementFloat
    case prepend
    case bitOperation
    case mergeHyperLogLogs
    case throttle
    case delete
    case deleteConditionally
    case expire
    case rename
    case copy
    case move
    case restore
    case stick
    case shrink
    case sort
    case flush
    case flushSlots

    // Lists, sets, sorted sets.
    case moveElement
    case popMany
    case popBlocking
    case popRandom
    case moveMember
    case storeSet
    case storeSortedSet
    case geoRadius
    case addMembersWithExpiry

    // Hashes.
    case setFields
    case incrementFieldFloat
    case setFieldsWithExpiry
    case expireElements
    case expireFields
    case getFieldsWithExpiry

    // Streams.
    case addEntry
    case trimStream
    case readGroup
    case acknowledge
    case group

    // Scripts.
    case evaluate
    case script

    /// Of a type that a Redis cannot hold.
    case foreign(Keyspace.ForeignType)

    /// Whether it changes nothing but what has expired.
    var isRead: Bool {
        switch self {
        case .read, .readTime, .readHyperLogLog, .dump, .type, .exists, .fieldTimeToLive: true
        default: false
        }
    }

    /// Whether every shard records it.
    var isFlush: Bool {
        switch self {
        case .flush, .flushSlots: true
        default: false
        }
    }
}

/// A command as Dragonfly registers it.
struct CommandRule {
    let name: [UInt8]
    let keys: KeyPositions
    let behaviour: CommandBehaviour
    /// With the name.
    let minimumWords: Int
    /// The first release that has it, as `EmulatedRelease.number`; 0 for all.
    let since: Int

    /// The rule of a command name in any case; nil if Dragonfly has no such command.
    static func find(_ name: [UInt8]) -> CommandRule? {
        table[name.map(asciiUppercased)]
    }

    /// Positions of the keys in these words; nil if the words make no sense.
    func positions(_ words: [[UInt8]]) -> [Int]? {
        switch keys {
        case .none: return []
        case .first: return [1]
        case .second: return [2]
        case .firstTwo: return [1, 2]
        case .every(let step):
            guard (words.count - 1) % step == 0 else { return nil }
            return Array(stride(from: 1, to: words.count, by: step))
        case .fromSecond: return Array(2..<words.count)
        case .allButLast: return Array(1..<words.count - 1)
        case .counted(let position): return counted(words, position)
        case .storeCounted: return counted(words, 2).map { [1] + $0 }
        case .sort: return [1] + after(words, ["STORE"])
        case .geoStore: return [1] + after(words, ["STORE", "STOREDIST"])
        case .streams:
            guard let marker = words.lastIndex(where: { $0.isWord("STREAMS") }),
                (words.count - marker - 1) % 2 == 0
            else { return nil }
            let count = (words.count - marker - 1) / 2
            return Array(marker + 1..<marker + 1 + count)
        }
    }

    private func counted(_ words: [[UInt8]], _ position: Int) -> [Int]? {
        guard position < words.count, let count = words[position].integer, count >= 0,
            count < words.count - position
        else { return nil }
        return Array(position + 1..<position + 1 + Int(count))
    }

    private func after(_ words: [[UInt8]], _ names: [String]) -> [Int] {
        guard
            let place = words.lastIndex(where: { word in names.contains { word.isWord($0) } }),
            place > 1, place + 1 < words.count
        else { return [] }
        return [place + 1]
    }
}

extension [UInt8] {
    /// Whether this is an upper-case ASCII word, in any case.
    func isWord(_ upperCase: String) -> Bool {
        count == upperCase.utf8.count
            && zip(self, upperCase.utf8).allSatisfy { asciiUppercased($0) == $1 }
    }

    /// The decimal integer that this is the text of; nil if it is none.
    var integer: Int64? { withByteView { $0.parseInteger() } }
}

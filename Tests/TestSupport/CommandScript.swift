import Foundation

/// A recording's `commands.txt`: what was issued to the master, one line each, with the replies.
/// In the form for a redis-server it can be run on one, which then holds what the master held.
public struct CommandScript {
    public enum Form: Sendable {
        /// What is random or relative takes the values of the recording; what only Dragonfly
        /// understands or the master refused is left out.
        case forRedis
        /// Every command as it was issued.
        case asIssued
    }

    /// A command and the line it comes from.
    public struct Command: Sendable {
        public var line: String
        public var arguments: [[UInt8]]
        /// As the recording script printed it, for the whole line; empty if it did not.
        public var reply: String
    }

    /// Lines that only Dragonfly understands, without their replies. What they wrote cannot be on
    /// a redis-server at the end.
    public static let dragonflyOnly: Set<String> = [
        "STICK i3",
        "HSETEX h 100000000 e1 v1", "HSETEX h NX 100000000 e1 v2", "FIELDEXPIRE h 90000000 f g",
        "HEXPIRE h 90000000 FIELDS 1 f",
        "JSON.SET j $ {\"a\":1,\"b\":[1,2]}", "JSON.NUMINCRBY j $.a 2", "JSON.ARRAPPEND j $.b 3",
        "JSON.DEL j $.a", "JSON.MSET j1 $ 1 j2 $ 2", "JSON.MERGE j $ {\"z\":1}",
        "BF.ADD bl x", "BF.MADD bl a b", "BF.RESERVE bl2 0.01 100",
        "CMS.INITBYDIM cm 100 4", "CMS.INCRBY cm a 1",
        "TOPK.RESERVE tk 3", "TOPK.ADD tk a b", "CF.ADD cf a",
        "CL.THROTTLE th 15 30 60",
    ]

    /// Keys for which a redis-server has another result than Dragonfly. `fl`: Redis adds in long
    /// double, Dragonfly in double (10000000000.09999999962747097). `so2`: SORT … BY nosort takes
    /// members in the order in which a server happens to keep them.
    public static let ownResults: Set<StateKey> = [StateKey(0, "fl"), StateKey(0, "so2")]

    /// Lines whose arguments the file does not spell out, or not unambiguously; each stands for
    /// these commands. The values are those in the recording's journal.
    private static let spelledOut: [String: [[String]]] = [
        "SET first after flushall": [["SET", "first", "after flushall"]],
        "SET  empty key": [["SET", "", "empty key"]],
        "SELECT 1: SET gone:db1": [["SELECT", "1"], ["SET", "gone:db1", "1"], ["SELECT", "0"]],
        "SELECT 1: FLUSHDB": [["SELECT", "1"], ["FLUSHDB"], ["SELECT", "0"]],
        "SELECT 1: SET db1:first": [
            ["SELECT", "1"], ["SET", "db1:first", "1"], ["SELECT", "0"],
        ],
        "SELECT 1: SET other, INCR n": [
            ["SELECT", "1"], ["SET", "other", "db1"], ["INCRBY", "n", "1"], ["SELECT", "0"],
            ["SET", "back", "db0"],
        ],
        "MULTI SET t1, INCR t2, LPUSH t3, MSET t4 t5 t6, DEL t4 t5 EXEC": [
            ["MULTI"], ["SET", "t1", "1"], ["INCRBY", "t2", "1"], ["LPUSH", "t3", "a"],
            ["MSET", "t4", "1", "t5", "2", "t6", "3"], ["DEL", "t4", "t5"], ["EXEC"],
        ],
        "SCRIPT LOAD return 1": [["SCRIPT", "LOAD", "return 1"]],
        "EVAL return redis.call('SET',KEYS[1],ARGV[1]) 1 ev v": [
            ["EVAL", "return redis.call('SET',KEYS[1],ARGV[1])", "1", "ev", "v"]
        ],
        "\(evalOfThreeKeys) 3 e1 e2 e3": [
            ["EVAL", String(evalOfThreeKeys.dropFirst("EVAL ".count)), "3", "e1", "e2", "e3"]
        ],
    ]

    /// The same, for a redis-server.
    private static let spelledOutForRedis: [String: [[String]]] = [
        // A redis-server has no expiry of members.
        "SADDEX sx 100000000 m1 m2": [["SADD", "sx", "m1", "m2"]],
        // Dragonfly's merged HyperLogLog is dense; the registers are the same.
        "PFMERGE pm p p": [["PFMERGE", "pm", "p", "p"], ["PFDEBUG", "TODENSE", "pm"]],
    ]

    private static let evalOfThreeKeys =
        "EVAL redis.call('INCR',KEYS[1]); redis.call('RPUSH',KEYS[2],'v'); "
        + "redis.call('SADD',KEYS[3],'m'); return 1"

    /// Commands in order, with the line they come from.
    public private(set) var commands: [Command] = []
    /// Lines left out because only Dragonfly understands them.
    public private(set) var leftOut: [String] = []
    /// Lines that the master refused.
    public private(set) var refused: [String] = []

    private let form: Form
    private var journal: RecordedExpiries

    /// - Throws: `TestSupportError` for a line whose meaning is unclear.
    public init(_ recording: Recording, _ form: Form = .forRedis) throws {
        self.form = form
        journal = try RecordedExpiries(recording)
        for line in try recording.commandLines() { try add(line) }
    }

    private mutating func add(_ whole: String) throws {
        let arrow = whole.range(of: " -> ", options: .backwards)
        var line = whole[..<(arrow?.lowerBound ?? whole.endIndex)]
        while line.last == " " { line.removeLast() }
        let reply = arrow.map { String(whole[$0.upperBound...]) }
        let text = String(line)
        let isRefused = reply?.hasPrefix("'ERR") ?? false
        if isRefused { refused.append(text) }
        if form == .forRedis {
            if isRefused { return }
            if Self.dragonflyOnly.contains(text) {
                leftOut.append(text)
                return
            }
        }
        let spelled =
            (form == .forRedis ? Self.spelledOutForRedis[text] : nil) ?? Self.spelledOut[text]
        let words =
            try spelled?.map { $0.map { Array($0.utf8) } }
            ?? [arguments(of: text, reply: reply ?? "")]
        commands += words.map { Command(line: text, arguments: $0, reply: reply ?? "") }
    }

    private mutating func arguments(of line: String, reply: String) throws -> [[UInt8]] {
        var words = line.split(separator: " ").map(String.init)
        let isSpelledOut = ["SET big", "RPUSH wide", "RESTORE "].contains { line.hasPrefix($0) }
        if form == .asIssued, !isSpelledOut {
            return words.map { Array($0.utf8) }
        }
        switch words[0] {
        case "SPOP":
            return ["SREM", words[1]].map { Array($0.utf8) } + PythonText.byteStrings(reply)
        case "XADD":
            guard let id = PythonText.byteStrings(reply).first,
                let place = words.firstIndex(where: { $0 == "*" || $0.hasSuffix("-*") || isID($0) })
            else { throw TestSupportError("no id in: \(line)") }
            words[place] = String(decoding: id, as: UTF8.self)
        case "RESTORE":
            let payload = line.split(separator: " ", maxSplits: 3)[3]
            let options = payload.split(separator: "'", omittingEmptySubsequences: false).last!
                .split(separator: " ")
            return words[..<3].map { Array($0.utf8) } + PythonText.byteStrings(String(payload))
                + options.map { Array($0.utf8) }
        case "SETEX", "PSETEX":
            words = ["SET", words[1], words[3], "PXAT", try journal.next(words[1], words[3])]
        case "SET" where words.contains("PX") && !words.contains("NX"):
            words = ["SET", words[1], words[2], "PXAT", try journal.next(words[1], words[2])]
        case "SET" where words[1] == "big":
            words[2] = String(repeating: "x", count: 100_000)
        case "RPUSH" where words[1] == "wide":
            words = ["RPUSH", "wide"] + (0..<300).map(String.init)
        default: break
        }
        return words.map { Array($0.utf8) }
    }

    private func isID(_ word: String) -> Bool {
        let parts = word.split(separator: "-")
        return parts.count == 2 && parts.allSatisfy { UInt64($0) != nil }
    }

    /// Runs it to the end.
    /// - Throws: `TestSupportError` that names the line if the server refuses one.
    public func run(on client: RespClient) throws {
        for command in commands {
            if case .error(let message) = try client.command(command.arguments) {
                throw TestSupportError("\(command.line): \(message)")
            }
        }
    }
}

/// The absolute expiries to which the master turned relative ones, from a recording's journal.
private struct RecordedExpiries {
    /// By key and value, in order.
    private var moments: [String: [String]] = [:]

    init(_ recording: Recording) throws {
        for flow in recording.flows.indices {
            for line in try recording.journalText(flow: flow).split(separator: "\n") {
                let words = line.split(separator: "'").filter { $0 != " " }.map(String.init)
                guard words.count == 6, words[1] == "SET", words[4] == "PXAT" else { continue }
                moments["\(words[2]) \(words[3])", default: []].append(words[5])
            }
        }
    }

    mutating func next(_ key: String, _ value: String) throws -> String {
        guard let moment = moments["\(key) \(value)"]?.first else {
            throw TestSupportError("the journal has no SET \(key) \(value) PXAT")
        }
        moments["\(key) \(value)"]?.removeFirst()
        return moment
    }
}

/// The way in which the recording script printed replies.
public enum PythonText {
    /// The contents of every `b'…'` in a text.
    public static func byteStrings(_ text: String) -> [[UInt8]] {
        var strings: [[UInt8]] = []
        var rest = Array(text.utf8)[...]
        while let start = rest.firstRange(of: Array("b'".utf8)) {
            rest = rest[start.upperBound...]
            var bytes: [UInt8] = []
            while let byte = rest.popFirst(), byte != UInt8(ascii: "'") {
                bytes.append(byte == UInt8(ascii: "\\") ? escaped(&rest) : byte)
            }
            strings.append(bytes)
        }
        return strings
    }

    private static func escaped(_ rest: inout ArraySlice<UInt8>) -> UInt8 {
        let kind = rest.popFirst() ?? 0
        switch kind {
        case UInt8(ascii: "x"):
            let digits = String(decoding: rest.prefix(2), as: UTF8.self)
            rest = rest.dropFirst(2)
            return UInt8(digits, radix: 16) ?? 0
        case UInt8(ascii: "t"): return 9
        case UInt8(ascii: "n"): return 10
        case UInt8(ascii: "r"): return 13
        default: return kind
        }
    }
}

/// Scripts: sequences of `redis.call` with keys, arguments and literals, executed here one by one. Each
/// is recorded for itself, all under one transaction id (protocol.md 5.6).
extension CommandExecutor {
    func evaluate(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        var body = call.words[1]
        if call.words[0] == text("EVALSHA") {
            guard let known = scriptBodies[body.map { $0 | 0x20 }] else {
                return .error(text("NOSCRIPT No matching script. Please use EVAL."))
            }
            body = known
        }
        let arguments = call.words[(3 + call.keys.count)...]
        guard let script = ScriptText(body, keys: call.keys, arguments: Array(arguments)) else {
            return .error(text("ERR the emulated master runs sequences of redis.call only"))
        }
        if block != nil { return try run(script, database: call.database) }
        openBlock(script.commands)
        let reply = try run(script, database: call.database)
        closeBlock(database: call.database)
        return reply
    }

    private func run(
        _ script: ScriptText, database: Int
    ) throws(EmulationError) -> TargetReply {
        var last = TargetReply.null
        for command in script.commands {
            last = try run(command, database: database)
            if last.isError { return last }
        }
        switch script.result {
        case .nothing: return .null
        case .lastReply: return last
        case .value(let reply): return reply
        }
    }

    /// SCRIPT LOAD goes into the journal of flow 0, SCRIPT FLUSH into none (6.4).
    func script(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        guard call.words[1].isWord("LOAD"), call.words.count == 3 else {
            if call.words[1].isWord("EXISTS") || call.words[1].isWord("FLUSH") {
                return try keyspace.call(call.words, database: call.database)
            }
            return .syntaxError
        }
        let reply = try keyspace.call(call.words, database: call.database)
        guard let digest = reply.bytes else { return reply }
        scriptBodies[digest] = call.words[2]
        keyspace.addScript(call.words[2])
        record(call.words, &call, flow: Self.scriptFlow)
        return reply
    }
}

/// A script that is a sequence of `redis.call`, separated by semicolons or line ends.
private struct ScriptText {
    enum Result {
        case nothing
        case lastReply
        case value(TargetReply)
    }

    private(set) var commands: [[[UInt8]]] = []
    private(set) var result = Result.nothing

    private let keys: [[UInt8]]
    private let arguments: [[UInt8]]
    private var rest: ArraySlice<UInt8>

    /// Nil if it is anything else.
    init?(_ body: [UInt8], keys: [[UInt8]], arguments: [[UInt8]]) {
        self.keys = keys
        self.arguments = arguments
        rest = body[...]
        while true {
            skipBlanks(and: ";")
            if rest.isEmpty { return }
            let isReturn = skip("return")
            if isReturn { skipBlanks() }
            if skip("redis.call") || skip("redis.pcall") {
                guard let command = command() else { return nil }
                commands.append(command)
                if isReturn { result = .lastReply }
            } else {
                guard isReturn, let value = value() else { return nil }
                result = .value(value.integer.map { .integer($0) } ?? .bulk(value))
            }
            if isReturn {
                skipBlanks(and: ";")
                if !rest.isEmpty { return nil }
            }
        }
    }

    private mutating func command() -> [[UInt8]]? {
        skipBlanks()
        guard skip("(") else { return nil }
        var words: [[UInt8]] = []
        repeat {
            skipBlanks()
            guard let word = value() else { return nil }
            words.append(word)
            skipBlanks()
        } while skip(",")
        return skip(")") ? words : nil
    }

    /// A literal, or a key or an argument by its number.
    private mutating func value() -> [UInt8]? {
        if skip("KEYS[") { return element(of: keys) }
        if skip("ARGV[") { return element(of: arguments) }
        guard let quote = rest.first else { return nil }
        if quote == UInt8(ascii: "'") || quote == UInt8(ascii: "\"") {
            rest.removeFirst()
            guard let end = rest.firstIndex(of: quote) else { return nil }
            defer { rest = rest[(end + 1)...] }
            return Array(rest[..<end])
        }
        let digits = rest.prefix {
            UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 || $0 == UInt8(ascii: "-")
        }
        rest = rest.dropFirst(digits.count)
        return digits.isEmpty ? nil : Array(digits)
    }

    private mutating func element(of list: [[UInt8]]) -> [UInt8]? {
        guard let end = rest.firstIndex(of: UInt8(ascii: "]")),
            let number = Array(rest[..<end]).integer, number >= 1, number <= list.count
        else { return nil }
        rest = rest[(end + 1)...]
        return list[Int(number) - 1]
    }

    private mutating func skip(_ prefix: String) -> Bool {
        guard rest.starts(with: prefix.utf8) else { return false }
        rest = rest.dropFirst(prefix.utf8.count)
        return true
    }

    private mutating func skipBlanks(and other: String = "") {
        rest = rest.drop { " \t\r\n".utf8.contains($0) || other.utf8.contains($0) }
    }
}

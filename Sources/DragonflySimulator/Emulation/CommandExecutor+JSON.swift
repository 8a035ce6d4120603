import Bytes

/// JSON values: the keyspace has their text as a string, and `foreignKeys` says what it is. Paths are
/// those of `JSONValue.path`, numbers are integers.
extension CommandExecutor {
    func json(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let command = String(decoding: call.words[0], as: UTF8.self)
        if command == "JSON.MSET" { return try setDocuments(&call) }
        let path = call.words.count > 2 ? call.words[2] : text("$")
        guard let names = JSONValue.path(path) else {
            return .error(text("ERR the emulated master has no such paths"))
        }
        let isThere = keyspace.foreignKeys[call.name] == .json
        if command == "JSON.SET" {
            guard call.words.count == 4, let value = JSONValue(call.words[3]) else {
                return .syntaxError
            }
            guard !names.isEmpty else {
                try store([(call.key, value)], call)
                recordSlices(&call)
                return .ok
            }
            guard isThere else { return .error(text("ERR new objects must be created at root")) }
            return try change(names[...], &call) { $0 = value }
        }
        guard isThere else { return .error(text("ERR no such key")) }
        switch command {
        case "JSON.DEL", "JSON.FORGET":
            guard names.isEmpty else { return try change(names[...], &call) { $0 = nil } }
            try announce(call)
            _ = try keyspace.require([text("DEL"), call.key], database: call.database)
            keyspace.setForeign(call.name, nil)
            recordSlices(&call)
            return .integer(1)
        case "JSON.NUMINCRBY":
            guard let increment = call.words[3].integer else { return .notInteger }
            return try change(names[...], &call) { value in
                guard case .integer(let old) = value else { return }
                value = .integer(old &+ increment)
            }
        case "JSON.ARRAPPEND":
            let added = call.words[3...].compactMap { JSONValue($0) }
            return try change(names[...], &call) { value in
                guard case .array(let old) = value else { return }
                value = .array(old + added)
            }
        case "JSON.TOGGLE":
            return try change(names[...], &call) { value in
                if case .boolean(let old) = value { value = .boolean(!old) }
            }
        case "JSON.MERGE":
            guard names.isEmpty, let patch = JSONValue(call.words[3]) else {
                return .syntaxError
            }
            try store([(call.key, document(call).merged(patch))], call)
            recordSlices(&call)
            return .ok
        default: return .error(text("ERR the emulated master has no \(command)"))
        }
    }

    private func setDocuments(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        var documents: [([UInt8], JSONValue)] = []
        for position in call.keyPositions {
            guard position + 2 < call.words.count,
                JSONValue.path(call.words[position + 1]) == [],
                let value = JSONValue(call.words[position + 2])
            else { return .syntaxError }
            documents.append((call.words[position], value))
        }
        try store(documents, call)
        recordSlices(&call)
        return .ok
    }

    private func document(_ call: CommandCall) throws(EmulationError) -> JSONValue {
        let reply = try keyspace.require([text("GET"), call.key], database: call.database)
        guard let document = reply.bytes.flatMap({ JSONValue($0) }) else {
            throw EmulationError(description: "the JSON key \(quoted(call.key)) holds no JSON")
        }
        return document
    }

    /// Recorded even if nothing is at the path.
    private func change(
        _ path: ArraySlice<String>, _ call: inout CommandCall,
        _ change: (inout JSONValue?) -> Void
    ) throws(EmulationError) -> TargetReply {
        var document = try document(call)
        document.change(path, change)
        try store([(call.key, document)], call)
        recordSlices(&call)
        return .integer(1)
    }

    private func store(
        _ documents: [([UInt8], JSONValue)], _ call: CommandCall
    ) throws(EmulationError) {
        try announce(call)
        for (key, document) in documents {
            _ = try keyspace.require(
                [text("SET"), key, document.text, text("KEEPTTL")], database: call.database)
            keyspace.setForeign(call.name(key), .json)
        }
    }
}

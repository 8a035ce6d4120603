import Bytes

/// Streams (protocol.md 6.6).
extension CommandExecutor {
    /// How XADD or XTRIM trims.
    private struct Trimming {
        /// Positions of its words in the command.
        var words: Range<Int>
        /// MINID without `~`: recorded as it is.
        var isExactMinimum: Bool
    }

    /// The trimming that begins at `position`; nil if the words there are something else.
    private func trimming(_ words: [[UInt8]], _ position: Int) -> Trimming? {
        let isMinimum = words[position].isWord("MINID")
        guard isMinimum || words[position].isWord("MAXLEN") else { return nil }
        var end = position + 1
        var isExact = true
        if end < words.count, words[end] == text("~") || words[end] == text("=") {
            isExact = words[end] == text("=")
            end += 1
        }
        end += 1
        if end + 1 < words.count, words[end].isWord("LIMIT") { end += 2 }
        guard end <= words.count else { return nil }
        return Trimming(words: position..<end, isExactMinimum: isMinimum && isExact)
    }

    /// Recorded with the final id, and with the first id that trimming has left as MINID; up to
    /// v1.26 as issued (6.8).
    func addEntry(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        var trimming: Trimming?
        var doesNotMake = false
        var position = 2
        while position < call.words.count {
            if call.words[position].isWord("NOMKSTREAM") {
                doesNotMake = true
                position += 1
            } else if let found = self.trimming(call.words, position) {
                trimming = found
                position = found.words.upperBound
            } else {
                break
            }
        }
        guard position < call.words.count, (call.words.count - position) % 2 == 1 else {
            return .error(text("ERR wrong number of arguments for 'xadd' command"))
        }
        try announce(call)
        let issued = call.words
        var reply: TargetReply
        if issued[position] == text("*") {
            // Our clock, unless the stream is ahead of it.
            call.words[position] = decimal(keyspace.clock()) + text("-*")
            reply = try perform(call.words, call)
            if reply.isError { reply = try perform(issued, call) }
        } else {
            reply = try perform(issued, call)
        }
        guard let id = reply.bytes else { return reply }
        if release.number <= 1026 {
            call.words = issued
            recordSlices(&call)
            return reply
        }
        var words = [text("XADD"), call.key]
        if let trimming, trimming.isExactMinimum {
            if doesNotMake { words.append(text("NOMKSTREAM")) }
            words += issued[trimming.words]
        } else {
            if trimming != nil { words += try minimum(call) }
            if doesNotMake { words.append(text("NOMKSTREAM")) }
        }
        words.append(id)
        words += issued[(position + 1)...]
        record(words, &call)
        return reply
    }

    /// `MINID first`, or `MAXLEN 0` if the stream is empty.
    private func minimum(_ call: CommandCall) throws(EmulationError) -> [[UInt8]] {
        let reply = try keyspace.require(
            [text("XRANGE"), call.key, text("-"), text("+"), text("COUNT"), text("1")],
            database: call.database)
        guard let entry = reply.elements?.first, let id = entry.elements?.first?.bytes else {
            return [text("MAXLEN"), text("0")]
        }
        return [text("MINID"), id]
    }

    /// XTRIM is recorded with the first id that it has left, as XADD is.
    func trimStream(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        guard let trimming = trimming(call.words, 2), trimming.words.upperBound == call.words.count
        else { return .syntaxError }
        guard try exists(call.key, call) else { return .integer(0) }
        try announce(call)
        let reply = try perform(call.words, call)
        guard !reply.isError else { return reply }
        if trimming.isExactMinimum || release.number <= 1026 {
            recordSlices(&call)
        } else {
            record([text("XTRIM"), call.key] + (try minimum(call)), &call)
        }
        return reply
    }

    /// Recorded if the group exists.
    func acknowledge(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        let check = [text("XPENDING"), call.key, call.words[2]]
        try announce(call)
        let replies = try perform([check, call.words], call)
        if !replies[0].isError, !replies[1].isError { recordSlices(&call) }
        return replies[1]
    }

    /// XGROUP is recorded as it is, `$` too, but not if there was nothing to do.
    func group(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        try announce(call)
        let reply = try perform(call.words, call)
        let isChange = ["DESTROY", "CREATECONSUMER"].contains { call.words[1].isWord($0) }
        if !reply.isError, !(isChange && reply == .integer(0)) { recordSlices(&call) }
        return reply
    }

    // MARK: - XREADGROUP

    /// Recorded from v1.37 on, as what it changes: a new consumer, the pending entries, the group's
    /// position (6.6). Before, nothing is (6.8). It does not wait.
    func readGroup(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        guard let start = call.words.firstIndex(where: { $0.isWord("GROUP") }),
            start + 2 < call.words.count
        else { return .syntaxError }
        let (group, consumer) = (call.words[start + 1], call.words[start + 2])
        var words = call.words
        if let block = words.firstIndex(where: { $0.isWord("BLOCK") }), block < call.keyPositions[0]
        {
            words.removeSubrange(block...min(block + 1, words.count - 1))
        }
        let doesNotPend = words.prefix(call.keyPositions[0]).contains { $0.isWord("NOACK") }
        try announce(call)
        // Whether the consumer is new: a new one is made by this before XREADGROUP would.
        let making = call.keys.map {
            [text("XGROUP"), text("CREATECONSUMER"), $0, group, consumer]
        }
        let made = try keyspace.call(making, database: call.database)
        let reply = try keyspace.call(words, database: call.database)
        guard !reply.isError else {
            // Refused for another of its keys: no consumer is made.
            for (index, key) in call.keys.enumerated() where made[index] == .integer(1) {
                let unmaking = [text("XGROUP"), text("DELCONSUMER"), key, group, consumer]
                _ = try keyspace.call([unmaking], database: call.database)
            }
            return reply
        }
        let now = keyspace.clock()
        for (index, key) in call.keys.enumerated() {
            let isNew = made[index] == .integer(1)
            if isNew, release.number >= 1037 { record(making[index], &call, flow: flow(of: key)) }
            let position = call.words[call.keyPositions[index] + call.keys.count]
            guard position == text(">") else { continue }
            let ids = Self.ids(reply, of: key)
            guard let last = ids.last else { continue }
            if !doesNotPend {
                for id in ids {
                    let claim =
                        [text("XCLAIM"), key, group, consumer, text("0"), id, text("TIME")]
                        + [decimal(now)]
                        + "RETRYCOUNT 1 FORCE JUSTID LASTID".split(separator: " ")
                        .map { text(String($0)) } + [id]
                    // The server's own clock has no part in it.
                    _ = try keyspace.require(claim, database: call.database)
                    if release.number >= 1037 { record(claim, &call, flow: flow(of: key)) }
                }
            }
            guard release.number >= 1037 else { continue }
            let read = try entriesRead(key, group, call)
            record(
                [
                    text("XGROUP"), text("SETID"), key, group, last, text("ENTRIESREAD"),
                    decimal(read),
                ], &call, flow: flow(of: key))
        }
        return reply
    }

    /// The ids that XREADGROUP delivered from a stream.
    private static func ids(_ reply: TargetReply, of key: [UInt8]) -> [[UInt8]] {
        for stream in reply.elements ?? [] {
            guard let parts = stream.elements, parts.count == 2, parts[0].bytes == key else {
                continue
            }
            return (parts[1].elements ?? []).compactMap { $0.elements?.first?.bytes }
        }
        return []
    }

    /// A group's counter of read entries; -1 if the server does not know it.
    private func entriesRead(
        _ key: [UInt8], _ group: [UInt8], _ call: CommandCall
    ) throws(EmulationError) -> Int64 {
        let reply = try keyspace.require(
            [text("XINFO"), text("GROUPS"), key], database: call.database)
        for entry in reply.elements ?? [] where entry["name"]?.bytes == group {
            if case .integer(let count)? = entry["entries-read"] { return count }
        }
        return -1
    }
}

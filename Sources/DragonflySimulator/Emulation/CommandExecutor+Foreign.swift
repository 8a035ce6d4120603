/// Probabilistic types: a Redis cannot hold them, so only the names of their keys are kept. Their
/// journal entries are those of a Dragonfly, their replies are not.
extension CommandExecutor {
    /// Executes a command of such a type: makes its keys known, or forgets them, and records it.
    func foreign(
        _ call: inout CommandCall, _ type: Keyspace.ForeignType
    ) throws(EmulationError) -> TargetReply {
        if type == .json { return try json(&call) }
        if call.words[0] == text("CMS.MERGE") {
            keyspace.setForeign(call.name, type)
        } else {
            for key in call.keys { keyspace.setForeign(call.name(key), type) }
        }
        recordSlices(&call)
        return .ok
    }

    /// Refuses commands of other types on foreign keys; what overwrites such a key removes it.
    func refuseForeign(_ call: CommandCall) throws(EmulationError) -> TargetReply? {
        let foreign = call.keys.filter { keyspace.foreignKeys[call.name($0)] != nil }
        guard !foreign.isEmpty else {
            guard case .foreign = call.rule.behaviour else { return nil }
            // A key of a Redis type in the way of a foreign one.
            let replies = try keyspace.call(
                call.keys.map { [text("EXISTS"), $0] }, database: call.database)
            return replies.contains(.integer(1)) ? .wrongType : nil
        }
        switch call.rule.behaviour {
        case .foreign(let type):
            let isSame = foreign.allSatisfy { keyspace.foreignKeys[call.name($0)] == type }
            return isSame ? nil : .wrongType
        case .delete: return nil
        case .set, .setWithExpiry, .multipleSet:
            for key in foreign { keyspace.setForeign(call.name(key), nil) }
            return nil
        default: return .wrongType
        }
    }
}

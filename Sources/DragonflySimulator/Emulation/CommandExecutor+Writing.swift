/// Writing commands: who does what.
extension CommandExecutor {
    /// Executes a writing command; what of its keys has expired is deleted before.
    func write(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        try access(call)
        if !keyspace.foreignKeys.isEmpty, let refusal = try refuseForeign(call) { return refusal }
        return switch call.rule.behaviour {
        case .journaled: try journaled(&call)
        case .journaledIfPresent: try journaledIfPresent(&call)
        case .journaledIfEffective: try journaledIfEffective(&call)
        case .journaledRemoval: try journaledRemoval(&call)
        case .persist: try persist(&call)
        case .delete: try delete(&call)
        case .deleteConditionally: try deleteConditionally(&call)
        case .expire: try expire(&call)
        case .rename: try rename(&call)
        case .copy: try copy(&call)
        case .move: try move(&call)
        case .restore: try restore(&call)
        case .stick: try stick(&call)
        case .shrink: try shrink(&call)
        case .sort: try sort(&call)
        case .flush: try flush(&call)
        case .flushSlots: try flushSlots(&call)
        case .evaluate: try evaluate(&call)
        case .script: try script(&call)
        case .foreign(let type): try foreign(&call, type)
        default: try writeValue(&call)
        }
    }

    private func writeValue(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        switch call.rule.behaviour {
        case .set: try set(&call)
        case .setWithExpiry: try setWithExpiry(&call)
        case .getSet: try getSet(&call)
        case .getExpire: try getExpire(&call)
        case .multipleSet: try multipleSet(&call)
        case .multipleSetIfAbsent: try multipleSetIfAbsent(&call)
        case .incrementFloat: try incrementFloat(&call)
        case .prepend: try prepend(&call)
        case .bitOperation: try bitOperation(&call)
        case .mergeHyperLogLogs: try mergeHyperLogLogs(&call)
        case .throttle: try throttle(&call)
        case .moveElement: try moveElement(&call)
        case .popMany: try popMany(&call)
        case .popBlocking: try popBlocking(&call)
        case .popRandom: try popRandom(&call)
        case .moveMember: try moveMember(&call)
        case .storeSet: try storeSet(&call)
        case .storeSortedSet: try storeSortedSet(&call)
        case .geoRadius: try geoRadius(&call)
        case .addMembersWithExpiry: try addMembersWithExpiry(&call)
        case .setFields: try setFields(&call)
        case .incrementFieldFloat: try incrementFieldFloat(&call)
        case .setFieldsWithExpiry: try setFieldsWithExpiry(&call)
        case .expireElements: try expireElements(&call)
        case .expireFields: try expireFields(&call)
        case .getFieldsWithExpiry: try getFieldsWithExpiry(&call)
        case .addEntry: try addEntry(&call)
        case .trimStream: try trimStream(&call)
        case .acknowledge: try acknowledge(&call)
        case .group: try group(&call)
        case .readGroup: try readGroup(&call)
        default: preconditionFailure("a behaviour that nobody executes")
        }
    }

    // MARK: - Recorded as they are

    private func journaled(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        try announce(call)
        let reply = try perform(call.words, call)
        if !reply.isError { recordSlices(&call) }
        return reply
    }

    private func journaledIfPresent(
        _ call: inout CommandCall
    ) throws(EmulationError) -> TargetReply {
        try announce(call)
        let replies = try perform([[text("EXISTS"), call.key], call.words], call)
        if replies[0] == .integer(1), !replies[1].isError { recordSlices(&call) }
        return replies[1]
    }

    private func journaledIfEffective(
        _ call: inout CommandCall
    ) throws(EmulationError) -> TargetReply {
        try announce(call)
        let reply = try perform(call.words, call)
        if !reply.isError, reply != .integer(0), reply != .null { recordSlices(&call) }
        return reply
    }

    private func journaledRemoval(
        _ call: inout CommandCall
    ) throws(EmulationError) -> TargetReply {
        let hasExpiries = keyspace.details[call.name]?.elementExpiries.isEmpty == false
        try announce(call)
        let check = [text("EXISTS"), call.key]
        let replies = try perform([check, call.words, check], call)
        guard replies[0] == .integer(1), !replies[1].isError else { return replies[1] }
        forgetElements(call.words[2...], of: call.name)
        // Only hashes with expiries are known to do so (recorded: catalogue, `DEL h` before `HDEL
        // h`).
        let isHash = call.words[0] == text("HDEL")
        if replies[2] == .integer(0), isHash, hasExpiries, release.number >= 1040 {
            record([text("DEL"), call.key], &call)
        }
        recordSlices(&call)
        return replies[1]
    }

    private func persist(_ call: inout CommandCall) throws(EmulationError) -> TargetReply {
        try announce(call)
        let reply = try perform(call.words, call)
        if reply == .integer(1) {
            keyspace.changeDetails(call.name) { $0.expiryMilliseconds = 0 }
            recordSlices(&call)
        }
        return reply
    }
}

internal import Bytes
internal import Wire

/// What the rules for keys make of a record, before it is carried out.
extension JournalWriter {
    enum Route {
        /// To be carried out in this form.
        case send(JournalRecord, JournalRules.Match, isMapped: Bool)
        /// Nothing of it is for the target.
        case filtered
        /// What it does depends on keys that the target does not have; the keys it writes are named.
        case repair(StaticString)
    }

    /// The keys of a record by what it does with them.
    private struct Tally {
        var written = 0
        var writtenKept = 0
        var read = 0
        var readKept = 0
        /// The first key that the record names is kept.
        var keepsFirst = false

        var isEmpty: Bool { written + read == 0 }
        var keepsNone: Bool { writtenKept + readKept == 0 }
        var keepsAll: Bool { writtenKept == written && readKept == read }

        mutating func add(_ use: KeyUse, isKept: Bool) {
            if isEmpty { keepsFirst = isKept }
            if use == .read {
                read += 1
                readKept += isKept ? 1 : 0
            } else {
                written += 1
                writtenKept += isKept ? 1 : 0
            }
        }
    }

    private static let readsFiltered: StaticString = "it depends on a key that is filtered"
    private static let typeIsUnknown: StaticString =
        "whether its keys are of a type that is filtered cannot be told"
    private static let keysAreUnknown: StaticString =
        "which of its arguments are keys is not known"

    mutating func route(
        _ record: JournalRecord, _ match: JournalRules.Match, _ context: RecordContext,
        _ placement: ShardPlacement, _ rules: KeyRules
    ) throws(DecodeError) -> Route {
        guard let name = record.arguments.first, rules.keeps(command: name) else {
            return .filtered
        }
        guard rules.concernsKeys else { return .send(record, match, isMapped: false) }
        let positions = keyPositions(record, match)
        let tally = tally(record, match, positions, rules)
        // Indexes are no keys.
        if tally.isEmpty || match.rule == .search {
            // Nothing depends on its database, which the target need not have.
            var record = record
            record.database = 0
            return .send(record, match, isMapped: false)
        }
        // Nothing to do for a Redis if all it writes is filtered, whatever it reads.
        if tally.keepsNone || tally.written > 0 && tally.writtenKept == 0 { return .filtered }
        if match.rule == .unknown {
            return repairWritten(record, match, positions, rules, Self.keysAreUnknown)
        }
        do throws(SystemError) {
            if rules.filtersTypes,
                let route = try routeByType(
                    record, match, positions, context, placement, rules)
            {
                return route
            }
            if tally.keepsAll { return try mapped(record, match, positions, rules) }
            return try routeInPart(record, match, positions, tally, rules)
        } catch {
            throw DecodeError(.outOfMemory)
        }
    }

    private func tally(
        _ record: JournalRecord, _ match: JournalRules.Match, _ positions: KeyPositions,
        _ rules: KeyRules
    ) -> Tally {
        var tally = Tally()
        var arguments = record.arguments
        var position = 0
        while let argument = arguments.next() {
            if let use = positions.use(at: position) {
                tally.add(use, isKept: rules.keeps(database: record.database, key: argument))
                if match.rule == .move, let other = otherDatabase(record) {
                    tally.add(use, isKept: rules.keeps(database: other, key: argument))
                }
            }
            position += 1
        }
        return tally
    }

    // MARK: Some keys are filtered

    private mutating func routeInPart(
        _ record: JournalRecord, _ match: JournalRules.Match, _ positions: KeyPositions,
        _ tally: Tally, _ rules: KeyRules
    ) throws(SystemError) -> Route {
        switch match.rule {
        case .delete:
            return try mapped(record, match, positions, rules)
        case .pass where isNamed("MSET", record), .json where isNamed("JSON.MSET", record):
            return try mapped(record, match, positions, rules)
        case .rename where tally.keepsFirst:
            return try inItsPlace("DEL", record, element: nil, rules)
        case .setMove where tally.keepsFirst:
            guard let member = argument(record, 3) else { break }
            return try inItsPlace("SREM", record, element: member, rules)
        case .pass where movesAnElement(record) && tally.keepsFirst:
            let isLeft = argument(record, 3)?.equalsIgnoringCase("LEFT") ?? false
            return try inItsPlace(isLeft ? "LPOP" : "RPOP", record, element: nil, rules)
        default: break
        }
        return repairWritten(record, match, positions, rules, Self.readsFiltered)
    }

    /// A command about the record's first key.
    private func inItsPlace(
        _ name: ByteView, _ record: JournalRecord, element: ByteView?, _ rules: KeyRules
    ) throws(SystemError) -> Route {
        guard let key = argument(record, 1) else { preconditionFailure("a key that is kept") }
        rules.beginRecord()
        try rules.add(name)
        try rules.add(key: key)
        if let element { try rules.add(element) }
        let own = rules.record(inPlaceOf: record)
        return .send(own, match(own), isMapped: true)
    }

    /// Has the kept keys read again that the record writes.
    private mutating func repairWritten(
        _ record: JournalRecord, _ match: JournalRules.Match, _ positions: KeyPositions,
        _ rules: KeyRules, _ reason: StaticString
    ) -> Route {
        var arguments = record.arguments
        var position = 0
        while let argument = arguments.next() {
            if let use = positions.use(at: position), use != .read {
                if rules.keeps(database: record.database, key: argument) {
                    addRepair(database: record.database, argument)
                }
                if match.rule == .move, let other = otherDatabase(record),
                    rules.keeps(database: other, key: argument)
                {
                    addRepair(database: other, argument)
                }
            }
            position += 1
        }
        return .repair(reason)
    }

    // MARK: Types

    /// Nil if types change nothing. A key of a filtered type is never on the target, so that what
    /// changes it is left out; what puts such a value in the place of another one deletes that.
    private mutating func routeByType(
        _ record: JournalRecord, _ match: JournalRules.Match, _ positions: KeyPositions,
        _ context: RecordContext, _ placement: ShardPlacement, _ rules: KeyRules
    ) throws(SystemError) -> Route? {
        switch match.rule {
        case .restore:
            guard let payload = argument(record, 3), payload.count > 0,
                let family = ValueType(rawValue: payload[0])?.family, !rules.keeps(family)
            else { return nil }
            return try deletion(record, positions, rules)
        case .sort where positions.rest.isEmpty, .geoStore where positions.rest.isEmpty:
            return nil
        case .sort, .geoStore, .aggregateStore, .rangeStore, .move:
            return repairWritten(record, match, positions, rules, Self.typeIsUnknown)
        default: break
        }
        guard let family = match.family, !rules.keeps(family) else { return nil }
        switch match.rule {
        case .set:
            if let key = argument(record, 1), let value = argument(record, 2),
                isGhost(key, value, context, placement)
            {
                return nil
            }
            return try deletion(record, positions, rules)
        case .setWithoutReply:
            return try deletion(record, positions, rules)
        case .pass where isNamed("MSET", record):
            return try deletion(record, positions, rules)
        default:
            return .filtered
        }
    }

    /// A DEL of the record's kept keys.
    private func deletion(
        _ record: JournalRecord, _ positions: KeyPositions, _ rules: KeyRules
    ) throws(SystemError) -> Route {
        rules.beginRecord()
        try rules.add("DEL")
        var arguments = record.arguments
        var position = 0
        while let argument = arguments.next() {
            if positions.use(at: position) != nil,
                rules.keeps(database: record.database, key: argument)
            {
                try rules.add(key: argument)
            }
            position += 1
        }
        let own = rules.record(inPlaceOf: record)
        return .send(own, match(own), isMapped: true)
    }

    // MARK: Mapping

    /// The record with the target's names and database, without keys that are filtered and what
    /// belongs to them.
    private func mapped(
        _ record: JournalRecord, _ match: JournalRules.Match, _ positions: KeyPositions,
        _ rules: KeyRules
    ) throws(SystemError) -> Route {
        let otherDatabase = match.rule == .move ? otherDatabase(record) : nil
        let mayDrop = match.rule == .delete || positions.step > 1
        guard rules.mapsKeys || mayDrop || otherDatabase != nil else {
            var record = record
            record.database = rules.target(ofDatabase: record.database)
            return .send(record, match, isMapped: false)
        }
        rules.beginRecord()
        var arguments = record.arguments
        var position = 0
        while let argument = arguments.next() {
            if positions.use(at: position) == nil {
                if position == 2, let otherDatabase {
                    try rules.add(decimal: rules.target(ofDatabase: otherDatabase))
                } else {
                    try rules.add(argument)
                }
            } else if !mayDrop || rules.keeps(database: record.database, key: argument) {
                try rules.add(key: argument)
            } else {
                // What belongs to the key goes with it.
                for _ in 1..<positions.step { _ = arguments.next() }
                position += positions.step - 1
            }
            position += 1
        }
        return .send(rules.record(inPlaceOf: record), match, isMapped: true)
    }
}

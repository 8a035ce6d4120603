internal import Bytes
internal import RedisTarget
internal import Wire

/// Records whose keys lie in several slots of a cluster (protocol.md 6.13).
extension JournalWriter {
    /// Where a record's commands go.
    enum Destination {
        case connection(TargetConnection)
        /// Its slot takes nothing now.
        case wait
        /// Its keys lie in different slots.
        case apart
        /// It names no key and concerns every master.
        case everywhere
    }

    static let keysAreApart: StaticString = "its keys lie in different slots of the target"

    func destination(
        _ record: JournalRecord, _ match: JournalRules.Match, _ context: RecordContext,
        _ entries: borrowing EntryWriter, _ nodes: TargetNodes
    ) -> Destination {
        guard nodes.mayMove else { return nodes.anyConnection.map { .connection($0) } ?? .wait }
        if entries.buildingFlow == context.flow, let building = entries.buildingTarget {
            return .connection(building)
        }
        if match.rule == .script { return .everywhere }
        var slot: Int?
        var isApart = false
        forEachKey(of: record, match) { _, key, _ in
            let own = nodes.slot(of: key)
            if let slot, slot != own { isApart = true }
            slot = own
        }
        if isApart { return .apart }
        let connection = slot.map { nodes.connection(forSlot: $0) } ?? nodes.anyConnection
        return connection.map { .connection($0) } ?? .wait
    }

    /// Carries out DEL, UNLINK and MSET key by key; of anything else the keys that it writes are read
    /// again.
    mutating func writeApart(
        _ record: JournalRecord, _ match: JournalRules.Match, _ context: RecordContext,
        _ held: inout HeldExpiries, _ nodes: TargetNodes
    ) throws(DecodeError) -> RecordOutcome {
        let isMultiSet = isNamed("MSET", record)
        guard match.rule == .delete || isMultiSet else {
            let positions = keyPositions(record, match)
            var arguments = record.arguments
            var position = 0
            while let argument = arguments.next() {
                if let use = positions.use(at: position), use != .read {
                    addRepair(database: record.database, argument)
                }
                position += 1
            }
            return .repair(JournalWriter.keysAreApart)
        }
        let step = isMultiSet ? 2 : 1
        let partsTotal = (record.argumentCount - 1) / step
        guard partsTotal * step == record.argumentCount - 1 else {
            return .repair("a MSET with a key and no value")
        }
        while true {
            let place = partsSent(context.flow)
            guard let key = argument(record, 1 + place * step),
                let target = nodes.connection(for: key)
            else { return .blocked }
            let value = isMultiSet ? argument(record, 2 + place * step) : nil
            let bytes =
                key.count + (value?.count ?? 0) + TargetConnection.argumentBytes(8) * 3
            guard
                try target.begin(
                    flow: context.flow, database: record.database, bytes: bytes,
                    demand: isMultiSet ? .bySize : .nothing)
            else { return .blocked }
            target.header(arguments: isMultiSet ? 3 : 2)
            target.argument(isMultiSet ? "SET" : isNamed("UNLINK", record) ? "UNLINK" : "DEL")
            target.argument(key)
            if let value { target.argument(value) }
            held.cancel(database: record.database, key: key)
            elementExpiries.remove(database: record.database, key: key)
            guard place + 1 < partsTotal else {
                end(.journal, record, context, target)
                setPartsSent(0, context.flow)
                return .sent
            }
            end(.journalPart, record, context, target)
            setPartsSent(place + 1, context.flow)
            partsWritten += 1
        }
    }

    /// Has every master load a script, one after the other. The reply of one settles the record.
    mutating func writeEverywhere(
        _ record: JournalRecord, _ context: RecordContext, _ nodes: TargetNodes
    ) throws(DecodeError) -> RecordOutcome {
        let masters = nodes.masters
        while true {
            // One may have gone meanwhile.
            let place = min(partsSent(context.flow), masters.count - 1)
            guard place >= 0, masters[place].state == .ready else { return .blocked }
            let isLast = place + 1 == masters.count
            let outcome = try script(
                record, context, masters[place].connection,
                as: isLast ? .script : .scriptCopy)
            guard outcome == .sent else { return outcome }
            setPartsSent(isLast ? 0 : place + 1, context.flow)
            if isLast { return .sent }
        }
    }

    private func partsSent(_ flow: Int) -> Int {
        flow < partsSentByFlow.count ? partsSentByFlow[flow] : 0
    }

    private mutating func setPartsSent(_ count: Int, _ flow: Int) {
        while partsSentByFlow.count <= flow { partsSentByFlow.append(0) }
        partsSentByFlow[flow] = count
    }
}

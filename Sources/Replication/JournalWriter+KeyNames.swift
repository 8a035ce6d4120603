internal import Bytes
internal import Wire

/// What a record does with a key that it names.
enum KeyUse {
    /// It writes it, whatever was there.
    case replaced
    /// It changes it, or does something that depends on what is there.
    case changed
    /// It only reads it to write another one.
    case read
}

/// Where a record's keys stand among its arguments, of which the name is number 0.
struct KeyPositions {
    /// 0 if there is none.
    var first = 0
    var firstUse = KeyUse.changed
    /// Further keys, or all of them: every `step`th.
    var rest = 0..<0
    var step = 1
    var restUse = KeyUse.changed

    func use(at position: Int) -> KeyUse? {
        if position == first { return position > 0 ? firstUse : nil }
        guard rest.contains(position), (position - rest.lowerBound) % step == 0 else { return nil }
        return restUse
    }
}

/// Which keys a record names (protocol.md 6.13).
extension JournalWriter {
    func keyPositions(_ record: JournalRecord, _ match: JournalRules.Match) -> KeyPositions {
        guard match.keyPosition > 0 else { return KeyPositions() }
        let count = record.argumentCount
        var positions = KeyPositions(first: match.keyPosition)
        switch match.rule {
        case .delete:
            positions = KeyPositions(rest: 1..<max(1, count), restUse: .replaced)
        case .rename:
            positions.rest = 2..<3
            positions.restUse = .replaced
        case .sort:
            positions = read(1, storedAt: sortOptions(record).destinationPosition)
        case .geoStore:
            positions = read(1, storedAt: geoDestinationPosition(record))
        case .aggregateStore:
            let keys = Int(clamping: argument(record, 2)?.parseInteger() ?? 0)
            positions = KeyPositions(
                first: 1, firstUse: .replaced,
                rest: 3..<(3 + max(0, min(keys, count - 3))), restUse: .read)
        case .rangeStore:
            positions = KeyPositions(first: 1, firstUse: .replaced, rest: 2..<3, restUse: .read)
        case .pass where isNamed("MSET", record):
            positions = KeyPositions(rest: 1..<max(1, count), step: 2, restUse: .replaced)
        case .json where isNamed("JSON.MSET", record):
            // k path value ...
            positions = KeyPositions(rest: 1..<max(1, count), step: 3)
        case .multiPop:
            // A record that was cut has nothing but keys.
            positions = KeyPositions(rest: multiPopKeys(record) ?? 1..<max(1, count))
        case .pass where movesAnElement(record), .setMove:
            positions.rest = 2..<3
        default: break
        }
        return positions
    }

    private func read(_ source: Int, storedAt destination: Int?) -> KeyPositions {
        var positions = KeyPositions(first: source, firstUse: .read, restUse: .replaced)
        if let destination { positions.rest = destination..<(destination + 1) }
        return positions
    }

    /// Calls `body` with each key of a record, its database, and what the record does with it.
    func forEachKey(
        of record: JournalRecord, _ match: JournalRules.Match,
        _ body: (_ database: Int, _ key: ByteView, _ use: KeyUse) -> Void
    ) {
        guard match.keyPosition > 0 else { return }
        let positions = keyPositions(record, match)
        var arguments = record.arguments
        var position = 0
        while let argument = arguments.next() {
            if let use = positions.use(at: position) {
                body(record.database, argument, use)
                if match.rule == .move, let other = otherDatabase(record) {
                    body(other, argument, use)
                }
            }
            position += 1
        }
    }

    /// Where a MOVE goes; nil if that cannot be read.
    func otherDatabase(_ record: JournalRecord) -> Int? {
        guard let number = argument(record, 2)?.parseInteger(), number >= 0 else { return nil }
        return Int(number)
    }

    func isNamed(_ name: StaticString, _ record: JournalRecord) -> Bool {
        record.arguments.first?.equalsIgnoringCase(name) ?? false
    }

    func movesAnElement(_ record: JournalRecord) -> Bool {
        isNamed("LMOVE", record) || isNamed("RPOPLPUSH", record)
    }
}

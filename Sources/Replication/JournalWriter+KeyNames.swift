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

/// Which keys a record names (protocol.md 6.13).
extension JournalWriter {
    /// Calls `body` with each key of a record, its database, and what the record does with it.
    func forEachKey(
        of record: JournalRecord, _ match: JournalRules.Match,
        _ body: (_ database: Int, _ key: ByteView, _ use: KeyUse) -> Void
    ) {
        guard match.keyPosition > 0 else { return }
        let database = record.database
        var arguments = record.arguments
        let name = arguments.next() ?? ByteView()
        switch match.rule {
        case .delete:
            while let key = arguments.next() { body(database, key, .replaced) }
        case .rename:
            if let key = arguments.next() { body(database, key, .changed) }
            if let key = arguments.next() { body(database, key, .replaced) }
        case .move:
            guard let key = arguments.next() else { return }
            body(database, key, .changed)
            if let other = arguments.next()?.parseInteger(), other >= 0 {
                body(Int(other), key, .changed)
            }
        case .sort:
            guard let key = arguments.next() else { return }
            let options = sortOptions(record)
            body(database, key, .read)
            if let destination = options.destination { body(database, destination, .replaced) }
        case .aggregateStore, .rangeStore:
            if let destination = arguments.next() { body(database, destination, .replaced) }
            guard match.rule == .aggregateStore else {
                if let source = arguments.next() { body(database, source, .read) }
                return
            }
            var count = arguments.next()?.parseInteger() ?? 0
            while count > 0, let source = arguments.next() {
                body(database, source, .read)
                count -= 1
            }
        case .pass where name.equalsIgnoringCase("MSET"):
            while let key = arguments.next() {
                body(database, key, .replaced)
                _ = arguments.next()
            }
        case .geoStore:
            if let key = arguments.next() { body(database, key, .read) }
            if let destination = geoDestination(record) { body(database, destination, .replaced) }
        case .multiPop:
            // A record that was cut has nothing but keys.
            let positions = multiPopKeys(record) ?? 1..<record.argumentCount
            var position = 1
            while let key = arguments.next() {
                if positions.contains(position) { body(database, key, .changed) }
                position += 1
            }
        case .pass where JournalWriter.movesAnElement(name), .setMove:
            if let key = arguments.next() { body(database, key, .changed) }
            if let key = arguments.next() { body(database, key, .changed) }
        default:
            if let key = argument(record, match.keyPosition) { body(database, key, .changed) }
        }
    }

    private static func movesAnElement(_ name: ByteView) -> Bool {
        name.equalsIgnoringCase("LMOVE") || name.equalsIgnoringCase("RPOPLPUSH")
    }
}

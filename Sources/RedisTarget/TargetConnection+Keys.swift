public import Bytes
internal import Wire

/// Names and keys of what was sent.
extension TargetConnection {
    /// Command name and (first) key of what was answered, as far as known; for messages.
    public func name(of command: CommandInFlight) -> (command: ByteView, key: ByteView) {
        guard let bytes = bytes(of: command), var arguments = RESPArguments(bytes),
            let name = arguments.next()
        else { return (ByteView(), groupKey.view) }
        guard arguments.remaining > 0 else {
            return (groupCommand.isEmpty ? name : groupCommand.view, groupKey.view)
        }
        var first: ByteView?
        forEachKey(of: command) { _, key in first = first ?? key }
        return (name, first ?? ByteView())
    }

    /// Calls `body` with each key of a command, as far as its bytes are still there, and its database
    /// (protocol.md 6.13). A command of which nothing is known has its key first.
    public func forEachKey(
        of command: CommandInFlight, _ body: (_ database: Int, _ key: ByteView) -> Void
    ) {
        guard let bytes = bytes(of: command), var arguments = RESPArguments(bytes),
            let name = arguments.next()
        else { return }
        let database = Int(command.database)
        var count = 1
        var step = 1
        switch TargetConnection.keyPlace(name) {
        case .first: break
        case .second: _ = arguments.next()
        case .firstTwo: count = 2
        case .all: count = arguments.remaining
        case .everyOther:
            count = arguments.remaining
            step = 2
        case .counted:
            count = Int(clamping: arguments.next()?.parseInteger() ?? 0)
        case .firstAndCounted:
            if let key = arguments.next() { body(database, key) }
            count = Int(clamping: arguments.next()?.parseInteger() ?? 0)
        case .script:
            _ = arguments.next()
            count = Int(clamping: arguments.next()?.parseInteger() ?? 0)
        case .inTwoDatabases:
            guard let key = arguments.next() else { return }
            body(database, key)
            if let other = arguments.next()?.parseInteger() { body(Int(clamping: other), key) }
            return
        }
        while count > 0, let key = arguments.next() {
            body(database, key)
            count -= 1
            if step == 2 { _ = arguments.next() }
        }
    }

    private enum KeyPlace {
        case first, second, firstTwo, all, everyOther, script, inTwoDatabases
        /// Their number stands before them.
        case counted
        /// The same after a destination.
        case firstAndCounted
    }

    private static func keyPlace(_ name: ByteView) -> KeyPlace {
        for (place, names) in keyPlaces {
            for candidate in names where name.equalsIgnoringCase(candidate) { return place }
        }
        return .first
    }

    private static let keyPlaces: [(KeyPlace, [StaticString])] = [
        (.second, ["XGROUP"]),
        (.firstTwo, ["RENAME", "RENAMENX", "LMOVE", "RPOPLPUSH", "SMOVE", "ZRANGESTORE"]),
        (.all, ["DEL", "UNLINK"]),
        (.everyOther, ["MSET"]),
        (.counted, ["LMPOP", "ZMPOP"]),
        (.firstAndCounted, ["ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE"]),
        (.script, ["EVAL"]),
        (.inTwoDatabases, ["MOVE"]),
    ]
}

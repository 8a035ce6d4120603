public import Bytes
import Wire

/// A command as it is on the wire: what it is called, and the keys that it names.
public struct EncodedCommand {
    public let bytes: ByteView
    /// The one that it goes to.
    public let database: Int

    public init(_ bytes: ByteView, database: Int) {
        self.bytes = bytes
        self.database = database
    }

    /// Empty if the bytes are none.
    public var name: ByteView {
        var arguments = RESPArguments(bytes)
        return arguments?.next() ?? ByteView()
    }

    /// The (first) key, nil if it has none.
    public var key: ByteView? {
        var first: ByteView?
        forEachKey { _, key in first = first ?? key }
        return first
    }

    /// Calls `body` with each key, and its database (protocol.md 6.13). A command of which nothing is
    /// known has its key first.
    public func forEachKey(_ body: (_ database: Int, _ key: ByteView) -> Void) {
        guard var arguments = RESPArguments(bytes), let name = arguments.next() else { return }
        var count = 1
        var step = 1
        switch EncodedCommand.keyPlace(name) {
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

    /// Whether both name a key.
    func sharesKey(with other: EncodedCommand) -> Bool {
        var isShared = false
        forEachKey { database, key in
            other.forEachKey { otherDatabase, otherKey in
                if database == otherDatabase, key.equals(otherKey) { isShared = true }
            }
        }
        return isShared
    }

    /// Whether it leads to the same state if it is carried out once more, together with all that
    /// followed it. What removes elements does not: it may take away the last one, and the key's expiry
    /// with it.
    var isIdempotent: Bool {
        let name = name
        for candidate in EncodedCommand.idempotent where name.equalsIgnoringCase(candidate) {
            return true
        }
        return false
    }

    private static let idempotent: [StaticString] = [
        "SET", "MSET", "RESTORE", "DEL", "UNLINK", "HSET", "HMSET", "SADD", "PEXPIREAT",
        "HPEXPIREAT", "PERSIST", "SETBIT", "SETRANGE", "EXISTS",
    ]

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

extension TargetConnection {
    /// Command name and (first) key of what was answered, as far as known; for messages.
    public func name(of command: CommandInFlight) -> (command: ByteView, key: ByteView) {
        guard let encoded = encoded(command), !encoded.name.isEmpty else {
            return (ByteView(), groupKey.view)
        }
        guard let key = encoded.key else {
            return (groupCommand.isEmpty ? encoded.name : groupCommand.view, groupKey.view)
        }
        return (encoded.name, key)
    }

    /// Calls `body` with each key of a command, as far as its bytes are still there.
    public func forEachKey(
        of command: CommandInFlight, _ body: (_ database: Int, _ key: ByteView) -> Void
    ) {
        encoded(command)?.forEachKey(body)
    }

    /// What was answered, nil if its bytes are gone.
    func encoded(_ command: CommandInFlight) -> EncodedCommand? {
        bytes(of: command).map { EncodedCommand($0, database: Int(command.database)) }
    }
}

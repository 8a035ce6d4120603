/// What a client's command did.
struct Execution {
    var reply: TargetReply
    /// The journal entries, in order, each with its flow.
    var entries: [(flow: Int, entry: JournalEntry)]
}

/// Executes clients' commands on a keyspace as a Dragonfly would, and says what the journals of its
/// shards record of them (protocol.md 6), with that release's losses (6.8).
///
/// Not thread-safe: its owner calls it under its lock.
final class CommandExecutor {
    let keyspace: Keyspace
    let release: EmulatedRelease
    let flowCount: Int
    /// Called with the keys that a command is about to change, before it does.
    var willChange: ([KeyName]) throws(EmulationError) -> Void = { (_) throws(EmulationError) in }

    init(keyspace: Keyspace, release: EmulatedRelease, flowCount: Int) {
        self.keyspace = keyspace
        self.release = release
        self.flowCount = flowCount
    }

    /// Executes one command.
    func execute(_ words: [[UInt8]], database: Int) throws(EmulationError) -> Execution {
        fatalError("to be written")
    }

    /// Executes commands as MULTI ... EXEC does: one transaction id.
    func execute(
        transaction commands: [[[UInt8]]], database: Int
    ) throws(EmulationError) -> Execution {
        fatalError("to be written")
    }

    /// Deletes up to `limit` keys that have expired, as Dragonfly's background task does.
    func expire(limit: Int) throws(EmulationError) -> Execution {
        fatalError("to be written")
    }
}

/// One entry of a shard's journal before it has an LSN (protocol.md 5.2).
struct JournalEntry: Equatable, Sendable {
    enum Operation: UInt8, Sendable {
        case expired = 9
        case command = 10
        /// A command of a MULTI block or script, up to v1.20.
        case multiCommand = 11
        /// The end of one, without words.
        case exec = 12
        /// Without words.
        case ping = 13
    }

    var operation = Operation.command
    var database: Int
    /// 0 for what was executed on one shard alone.
    var transaction: UInt64 = 0
    var shardCount = 1
    /// Command name and arguments.
    var words: [[UInt8]]
}

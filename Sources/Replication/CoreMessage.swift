internal import Bytes
internal import DragonflySource
internal import Reactor
internal import Synchronization
internal import Wire

/// A flush, as every flow tells it (protocol.md 5.7).
struct FlushPoint: Sendable, Equatable {
    private var command: [UInt8]
    private var database: Int
    private var transactionID: UInt64

    init(_ record: JournalRecord) {
        command = record.payload.array()
        database = record.database
        transactionID = record.transactionID
    }
}

/// A point that all cores must have reached before the run goes on.
enum CoreStep: Int, CaseIterable {
    /// What the snapshot brought is applied, on every flow.
    case baselines
    /// A copy has all that it came for.
    case copied
    /// A run that ends has nothing left to repair.
    case settled
    /// Then nothing more is taken from the source.
    case ended
    /// All flows were acknowledged for the last time.
    case acknowledged
}

/// What a core, or the control thread, tells a core.
enum CoreMessage: Sendable {
    enum FlowEvent: Sendable {
        case ready(SyncKind)
        case endedFullSync
        case failed(SourceError)
        case closed
    }

    // To each core.
    /// The operator wants the run to end; a second time, at once.
    case stop
    case halt
    /// All cores have reached the step.
    case reached(CoreStep)
    case enteredStable
    case leaveFlows
    case sourceIsLeft
    /// The flush that all flows wait at is carried out.
    case flushed
    /// Something that held up flows may have gone.
    case retry
    /// Of a key of one of its flows.
    case repair(database: Int, key: [UInt8], flow: Int, command: String, reason: String)
    /// The same, for an operator.
    case repairAsked(database: Int, key: [UInt8], flow: Int)

    // To the first core, which has the control connection.
    /// Look at `CoreShared.requests`.
    case requests
    case flow(Int, FlowEvent)
    case arrived(CoreStep)
    /// What had been reached is not any more.
    case withdrawn(CoreStep)
    case atFlush(FlushPoint)
    case leave
}

/// What is to be told to a core. Each message is about the whole run or a flow, so there are few.
final class CoreInbox: Sendable {
    let mailbox: Mailbox
    private let messages = Mutex<[CoreMessage]>([])

    init() throws(SystemError) { mailbox = try Mailbox() }

    func send(_ message: CoreMessage) {
        messages.withLock { $0.append(message) }
        // A full box already holds a word to look here.
        _ = mailbox.post(0)
    }

    /// All that has come, oldest first.
    func take() -> [CoreMessage] {
        messages.withLock { messages in
            defer { messages.removeAll() }
            return messages
        }
    }
}

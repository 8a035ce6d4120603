import DragonflySource
import Testing

/// Watches what one session writes and knows, from outside, what it may write: protocol.md 2.2 and
/// 2.3.
struct ControlJudge {
    let release: SourceRelease?
    private(set) var isOver = false
    private var outstanding: [String]?
    private var counts: [[String]: Int] = [:]
    private var sessionElements = 0
    private var flowCount = 0
    private var firstAnswers: [Int: SyncKind] = [:]
    private var endedSinceSync: Set<Int> = []
    private var hasFlows = false

    init(release: SourceRelease?) {
        self.release = release
    }

    private static let known: Set<[String]> = [
        ["AUTH", "joe", "s3cret"], ["PING"], ["INFO", "server"],
        ["REPLCONF", "listening-port", "1"], ["REPLCONF", "ip-address", "10.0.0.1"],
        ["REPLCONF", "capa", "eof", "capa", "psync2"], ["REPLCONF", "capa", "dragonfly"],
        ["REPLCONF", "CLIENT-ID", "task"], ["REPLCONF", "CLIENT-VERSION", "4"],
        ["DFLY", "SYNC", "SYNC7"], ["DFLY", "STARTSTABLE", "SYNC7"],
    ]

    mutating func saw(_ action: ControlAction) {
        switch action {
        case .openFlows(let flows):
            hasFlows = true
            flowCount = flows.count
        case .leaveFlows, .close:
            isOver = true
        default:
            break
        }
    }

    /// A whole reply was given to the session while it ran.
    mutating func answered(_ reply: String) {
        if outstanding == ["REPLCONF", "capa", "dragonfly"], reply.hasPrefix("*") {
            sessionElements = Int(reply.dropFirst().prefix(1)) ?? 0
        }
        outstanding = nil
    }

    mutating func reported(ready index: Int, _ kind: SyncKind) {
        if hasFlows && firstAnswers[index] == nil { firstAnswers[index] = kind }
    }

    mutating func reported(ended index: Int) {
        if counts[["DFLY", "SYNC", "SYNC7"]] != nil { endedSinceSync.insert(index) }
    }

    mutating func wrote(_ command: [String], _ context: Comment) {
        #expect(!isOver, context)
        #expect(outstanding == nil, context)
        #expect(Self.known.contains(command), context)
        outstanding = command
        counts[command, default: 0] += 1
        if command != ["PING"] { #expect(counts[command] == 1, context) }
        let answers = (0..<flowCount).map { firstAnswers[$0] }
        switch command.last {
        case "4":
            #expect(sessionElements >= 4 && !hasFlows, context)
        case "SYNC7" where command[1] == "SYNC":
            #expect(hasFlows, context)
            let wanted: SyncKind =
                release?.partialSync == .snapshotOfJournal && answers[0] == .partial
                ? .partial : .full
            #expect(answers.allSatisfy { $0 == wanted }, context)
        case "SYNC7":
            if counts[["DFLY", "SYNC", "SYNC7"]] == nil {
                #expect(release?.partialSync == .straightToStable, context)
                #expect(hasFlows && answers.allSatisfy { $0 == .partial }, context)
            } else {
                #expect(endedSinceSync.isSuperset(of: 0..<flowCount), context)
            }
        case "joe", "s3cret", "dragonfly":
            #expect(!hasFlows, context)
        default:
            break
        }
    }
}

/// The same for one flow connection.
struct FlowJudge {
    private(set) var acknowledgements = 0
    private var outstanding = false
    private var names: [String] = []
    private var isFlowAnswered = false
    private var isShutDown = false
    private var isSessionStable = false
    private var largestApplied: UInt64?
    private var lastAcknowledged: UInt64 = 0

    mutating func sessionBecameStable() {
        isSessionStable = true
    }

    mutating func applied(_ next: UInt64) {
        largestApplied = max(largestApplied ?? 0, next)
    }

    mutating func answered() {
        outstanding = false
        if names.last == "DFLY" { isFlowAnswered = true }
    }

    /// Call after `wrote`: a last ACK comes with the action.
    mutating func saw(_ action: FlowAction) {
        if action == .shutDownWriting || action == .close { isShutDown = true }
    }

    mutating func wrote(
        _ command: [String], phase: FlowSession.Phase, hasPassword: Bool, _ context: Comment
    ) {
        #expect(!isShutDown, context)
        guard isFlowAnswered else {
            #expect(!outstanding, context)
            outstanding = true
            names.append(command[0])
            let order = hasPassword ? ["AUTH", "DFLY"] : ["DFLY"]
            #expect(names == Array(order.prefix(names.count)), context)
            return
        }
        #expect(command.count == 3 && command.starts(with: ["REPLCONF", "ACK"]), context)
        #expect(phase == .stable || phase == .leaving, context)
        #expect(isSessionStable, context)
        let value = UInt64(command.last ?? "") ?? .max
        #expect(value >= lastAcknowledged, context)
        #expect(value <= largestApplied ?? 0, context)
        lastAcknowledged = value
        acknowledgements += 1
    }
}

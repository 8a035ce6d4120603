import Bytes
import Foundation
import Reactor
import Synchronization
import TestSupport
import Testing
import Wire

@testable import RedisTarget

/// The nodes of a real cluster on a reactor of their own, driven as a core drives them. A test gives
/// steps, each asked once a turn until it says that it is done; the run ends with the last.
///
/// Every command gets a number, which is its LSN, from 1 on; parts of a transaction have none.
final class ClusterDriver: ReactorOwner {
    /// A reply that was settled.
    struct Answer {
        var number: Int
        /// Of the node that gave it.
        var port: UInt16
        /// Nil if the record was applied.
        var error: String?
    }

    /// A command that will not be answered.
    struct Loss: Equatable {
        var number: Int
        var command: String
        var key: String
    }

    private enum Timer {
        static let deadline = 0
        static let tick = 1
        static let cluster = 2
    }

    /// The core watches every 100 ms; tests have less time.
    private static let tickNanoseconds: Int64 = 20_000_000

    let reactor: Reactor
    let nodes: TargetNodes
    /// The keys of all commands sent, by number; the first is number 1.
    private(set) var keys: [String] = []
    private(set) var answers: [Answer] = []
    private(set) var losses: [Loss] = []
    private(set) var doubts: [TargetNodes.Doubt] = []
    /// Masters that a replica took over from, and whether it took slot 0.
    private(set) var failedOver: [(node: TargetNode, tookOver: Bool)] = []
    /// The node of each connection that was lost, failed attempts to connect too.
    private(set) var connectionsLost: [TargetNode] = []
    /// Whether the work given to `inBackground` is done.
    private(set) var isBackgroundDone = true
    /// Called before the nodes are watched, when nothing was written in this turn.
    var onTick: () -> Void = {}
    private let mailbox: Mailbox
    private let background = Background()
    private var steps: [() throws -> Bool] = []
    private var failure: (any Error)?

    /// What goes wrong on another thread.
    private final class Background: Sendable {
        let failure = Mutex<String?>(nil)
    }

    /// - Parameters:
    ///   - seed: the port of any node.
    ///   - host: what it is called by.
    ///   - isFollowed: it is a single server, in whose place another one may come.
    init(
        seed: UInt16, host: String = "127.0.0.1", outputBytes: Int = 1 << 20,
        addressing: ClusterAddressing = ClusterAddressing(), isFollowed: Bool = false
    ) throws {
        mailbox = try Mailbox()
        reactor = try Reactor(mailbox: mailbox, capacity: 16, timers: 3)
        nodes = TargetNodes(
            TargetNodes.Settings(
                firstRole: 0, outputBytes: outputBytes,
                greeting: TargetGreeting(user: nil, password: nil, name: "driver"),
                addressing: addressing, isFollowed: isFollowed),
            reactor: reactor)
        try nodes.open(host: host, port: seed, address: Pipeline.address(seed))
    }

    /// Waits until all slots can be written to, then takes the steps.
    func run(timeoutSeconds: Int64 = 60, _ steps: (() throws -> Bool)...) throws {
        self.steps = [{ [unowned self] in isWritable }] + steps
        reactor.setTimer(Timer.deadline, after: timeoutSeconds * 1_000_000_000)
        reactor.setTimer(Timer.tick, after: ClusterDriver.tickNanoseconds)
        try reactor.run(self)
        if let failure { throw failure }
    }

    /// All slots have a master that has let us in and has said how much it takes.
    var isWritable: Bool {
        nodes.isReady && nodes.masters.allSatisfy { !$0.connection.pace.memory.isAsked }
    }

    /// Commands that have come to no end.
    var openCount: Int { keys.count - answers.count - losses.count }

    /// A step that ends when all commands have come to an end.
    var allAreSettled: () throws -> Bool { { [unowned self] in openCount == 0 } }

    /// A step that ends when something holds, or after that time.
    func within(seconds: Double, _ condition: @escaping () -> Bool) -> () throws -> Bool {
        var deadline: Int64 = .max
        return { [unowned self] in
            if deadline == .max { deadline = reactor.now + Int64(seconds * 1_000_000_000) }
            return condition() || reactor.now > deadline
        }
    }

    // MARK: What tests do

    /// Writes a command whose first argument is its key if none is given; false while it must wait.
    func send(_ words: String..., as kind: CommandKind = .journal) throws -> Bool {
        try send(words, as: kind)
    }

    func send(
        _ words: [String], key: String? = nil, as kind: CommandKind = .journal
    ) throws -> Bool {
        let key = key ?? words[1]
        guard let connection = connection(for: key) else { return false }
        return try send(words, key: key, as: kind, to: connection)
    }

    /// Writes a transaction of one command.
    func sendTransaction(_ words: String...) throws -> Bool {
        guard let connection = connection(for: words[1]) else { return false }
        guard try connection.send("MULTI", as: .part) else { return false }
        let isSent = try connection.send(words.map { Array($0.utf8) }, as: .part)
        precondition(isSent, "a test's transactions are small")
        return try send(["EXEC"], key: words[1], as: .journal, to: connection)
    }

    private func send(
        _ words: [String], key: String, as kind: CommandKind, to connection: TargetConnection
    ) throws -> Bool {
        let isSent = try connection.send(
            words.map { Array($0.utf8) }, as: kind, nextLSN: UInt64(keys.count + 1))
        if isSent { keys.append(key) }
        return isSent
    }

    private func connection(for key: String) -> TargetConnection? {
        Array(key.utf8).withByteView { nodes.connection(for: $0) }
    }

    func node(port: UInt16) -> TargetNode? { nodes.nodes.first { $0.port == port } }

    /// Loses a connection with all that has come and was not read.
    func lose(_ node: TargetNode, _ reason: String) {
        guard node.state != .lost else { return }
        connectionsLost.append(node)
        nodes.lose(node, reason) { loss in
            let key = loss.encoded.key ?? loss.groupKey
            losses.append(
                Loss(
                    number: Int(loss.command.nextLSN), command: loss.encoded.name.printable(),
                    key: key.printable()))
        }
    }

    /// Does something that waits for servers on a thread of its own; one at a time.
    func inBackground(_ work: @escaping @Sendable () throws -> Void) {
        precondition(isBackgroundDone)
        isBackgroundDone = false
        let background = self.background
        let mailbox = self.mailbox
        Thread.detachNewThread {
            do {
                try work()
            } catch {
                background.failure.withLock { $0 = "\(error)" }
            }
            _ = mailbox.post(1)
        }
    }

    /// Each command has come to one end, and those of a key were answered in the order in which they
    /// were sent.
    func expectOneEndEach(sourceLocation: SourceLocation = #_sourceLocation) {
        var ends = [Int](repeating: 0, count: keys.count + 1)
        var last: [String: Int] = [:]
        for answer in answers {
            ends[answer.number] += 1
            let key = keys[answer.number - 1]
            #expect(
                last[key, default: 0] < answer.number, "\(key)", sourceLocation: sourceLocation)
            last[key] = answer.number
        }
        for loss in losses { ends[loss.number] += 1 }
        let wrong = ends.indices.dropFirst().filter { ends[$0] != 1 }
        #expect(
            wrong.isEmpty, "\(wrong.prefix(5)) of \(keys.count)", sourceLocation: sourceLocation)
    }

    /// The errors among the answers.
    var errors: [String] { answers.compactMap(\.error) }

    // MARK: ReactorOwner

    func connected(_ socket: Socket) {
        guard let node = nodes.node(of: socket) else { return }
        node.greeting.begin(node.connection)
    }

    func ready(_ socket: Socket) {
        guard let node = nodes.node(of: socket) else { return }
        do {
            while node.state != .lost, socket.fill(limit: 1 << 16) > 0 {
                while node.state != .lost, let reply = try node.connection.nextReply() {
                    if case .settle = nodes.judge(reply, node) { settle(reply, node) }
                }
            }
        } catch {
            lose(node, "no reply")
        }
        if socket.reachedEnd { lose(node, "closed") }
    }

    func failed(_ socket: Socket, _ error: SystemError) {
        if let node = nodes.node(of: socket) { lose(node, "\(error)") }
    }

    func timerFired(_ timer: Int) {
        switch timer {
        case Timer.deadline:
            Issue.record(
                """
                the run did not come to its end: \(steps.count) steps and \(openCount) of \
                \(keys.count) commands are left
                """)
            reactor.stop()
        case Timer.tick:
            onTick()
            nodes.watch()
            reactor.setTimer(Timer.tick, after: ClusterDriver.tickNanoseconds)
        default: break
        }
    }

    func received(_ word: UInt64) {
        isBackgroundDone = true
        if let text = background.failure.withLock({ $0 }) { failure = TestSupportError(text) }
    }

    func turnEnding() {
        do {
            for node in nodes.nodes where node.state == .ready { node.connection.pumpOversize() }
            for (node, reason) in nodes.takeCondemned() { lose(node, reason) }
            _ = try nodes.advance()
            failedOver += nodes.takeFailedOver().map { ($0, nodes.tookOver(0, from: $0)) }
            doubts += nodes.takeDoubts()
            if let problem = nodes.problem { throw TestSupportError(problem) }
            while let step = steps.first, failure == nil {
                guard try step() else { break }
                steps.removeFirst()
            }
        } catch {
            failure = error
        }
        if nodes.nextAdvance != .max {
            reactor.setTimer(Timer.cluster, after: max(0, nodes.nextAdvance - reactor.now))
        }
        if steps.isEmpty || failure != nil { reactor.stop() }
    }

    private func settle(_ reply: TargetReply, _ node: TargetNode) {
        switch reply.command.kind {
        case .authenticate, .setName, .information, .jsonQuestion:
            switch node.greet(reply) {
            case .waiting: break
            case .ready: nodes.becameReady(node)
            case .refused(_, let message): lose(node, message)
            }
        case .topology: nodes.receiveTopology(reply, node)
        case .replication: nodes.receiveReplicas(reply, node)
        case .memory:
            node.connection.pace.answered(MemoryRoom.Sample(InfoText(reply.reply.content)))
        case .select, .part, .asking: break
        default:
            answers.append(
                Answer(
                    number: Int(reply.command.nextLSN), port: node.port,
                    error: reply.recordFailed ? node.connection.errorText.printable() : nil))
        }
    }
}

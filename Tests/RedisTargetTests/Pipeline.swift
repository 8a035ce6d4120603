import Bytes
import CPlatform
import Reactor
import TestSupport
import Testing
import Wire

@testable import RedisTarget

/// A target connection on a reactor of its own. A test gives steps that write, each asked once a turn
/// until it says that it is done; the run ends when all is written and answered.
///
/// There is no timer but the one that ends a hanging test: whatever needs a turn must cause it.
final class Pipeline: ReactorOwner {
    struct Answer: Equatable {
        var kind: CommandKind
        var flow = 0
        var database = 0
        var nextLSN: UInt64 = 0
        /// The reply's text.
        var content: String
        /// Nil if there is no error in the reply.
        var error: String?
        var recordFailed = false
        var command: String
        var key: String
    }

    let reactor: Reactor
    let target: TargetConnection
    /// Another connection to the same server, with sockets of role 1.
    let nodes: TargetNodes
    let lane: StringLane
    private(set) var answers: [Answer] = []
    /// Why the run ended early.
    private(set) var loss: String?
    private(set) var wasUnanswered = false
    /// How often a step was asked.
    private(set) var attempts = 0
    /// Sees each reply as it comes.
    var onReply: (TargetReply) -> Void = { _ in }
    private var steps: [(TargetConnection) throws -> Bool] = []
    private var failure: (any Error)?
    private let timeoutSeconds: Int64
    private let mailbox: Mailbox

    init(
        port: UInt16, lanePort: UInt16? = nil, inputBytes: Int = 1 << 16,
        outputBytes: Int = 1 << 16,
        commandsInFlight: Int = 1 << 10, timeoutSeconds: Int64 = 30
    ) throws {
        mailbox = try Mailbox()
        reactor = try Reactor(mailbox: mailbox, capacity: 4, timers: 1)
        let address = try Pipeline.address(port)
        let socket = try Socket(
            connectingTo: address, role: 0, inputBytes: inputBytes, outputBytes: outputBytes,
            keepsSentOutput: true)
        target = try TargetConnection(
            socket: socket, reactor: reactor, commandsInFlight: commandsInFlight)
        nodes = try TargetNodes(target, reactor: reactor)
        lane = StringLane(
            role: 1, reactor: reactor,
            greeting: TargetGreeting(user: nil, password: nil, name: "lane"), bytesMinimum: 1,
            address: try lanePort.map { try Pipeline.address($0) })
        self.timeoutSeconds = timeoutSeconds
        try reactor.add(socket)
    }

    static func address(_ port: UInt16) throws -> cp_address {
        var address = cp_address()
        guard cp_resolve("127.0.0.1", port, &address) == 0 else {
            throw TestSupportError("cannot resolve the loopback address")
        }
        return address
    }

    /// Runs the steps to their end and until everything is answered.
    func run(_ steps: ((TargetConnection) throws -> Bool)...) throws {
        try run(steps)
    }

    func run(_ steps: [(TargetConnection) throws -> Bool]) throws {
        self.steps = steps
        reactor.setTimer(0, after: timeoutSeconds * 1_000_000_000)
        try reactor.run(self)
        if let failure { throw failure }
    }

    /// Answers to records, without SELECT and parts.
    var records: [Answer] {
        answers.filter { $0.kind == .entry || $0.kind == .journal }
    }

    // MARK: ReactorOwner

    func connected(_ socket: Socket) {
        if socket.role == 1 { lane.connected() }
    }

    func ready(_ socket: Socket) {
        guard socket.role == 0 else { return lane.read() }
        do {
            while socket.fill(limit: 1 << 16) > 0 {
                while let reply = try target.nextReply() {
                    onReply(reply)
                    answers.append(answer(reply))
                }
            }
        } catch {
            end("no reply")
        }
        if socket.reachedEnd { end("closed") }
    }

    func failed(_ socket: Socket, _ error: SystemError) {
        guard socket.role == 0 else {
            lane.failed(error)
            // The steps are to be asked again.
            reactor.resume(target.socket)
            return
        }
        end("\(error)")
    }

    func timerFired(_ timer: Int) {
        Issue.record(
            """
            the run did not come to its end: \(answers.count) answers, \
            \(target.commandsInFlight) commands in flight, \(target.socket.bytesUnsent) unsent
            """)
        reactor.stop()
    }

    func received(_ word: UInt64) {}

    func turnEnding() {
        guard target.socket.state == .open, loss == nil else { return }
        target.pumpOversize()
        do {
            while let step = steps.first {
                attempts += 1
                guard try step(target) else { break }
                steps.removeFirst()
            }
        } catch {
            failure = error
            reactor.stop()
        }
        if steps.isEmpty && target.commandsInFlight == 0 { reactor.stop() }
    }

    private func end(_ reason: String) {
        loss = loss ?? reason
        wasUnanswered = target.commandsInFlight > 0
        reactor.stop()
    }

    private func answer(_ reply: TargetReply) -> Answer {
        let name = target.name(of: reply.command)
        return Answer(
            kind: reply.command.kind, flow: Int(reply.command.flow),
            database: Int(reply.command.database), nextLSN: reply.command.nextLSN,
            content: reply.reply.content.printable(limit: 64),
            error: reply.reply.hasError || reply.recordFailed
                ? target.errorText.printable() : nil,
            recordFailed: reply.recordFailed, command: name.command.printable(limit: 64),
            key: name.key.printable(limit: 64))
    }
}

extension TargetConnection {
    /// Writes one command; false if there is no room.
    func send(
        _ words: [[UInt8]], as kind: CommandKind = .journal, flow: Int = 0, database: Int = 0,
        nextLSN: UInt64 = 0
    ) throws -> Bool {
        let bytes = words.reduce(0) { $0 + TargetConnection.argumentBytes($1.count) }
        guard try begin(flow: flow, database: database, bytes: bytes) else { return false }
        header(arguments: words.count)
        for word in words { word.withByteView { argument($0) } }
        end(kind, flow: flow, database: database, nextLSN: nextLSN)
        return true
    }

    func send(
        _ words: String..., as kind: CommandKind = .journal, flow: Int = 0, database: Int = 0,
        nextLSN: UInt64 = 0
    ) throws -> Bool {
        try send(
            words.map { Array($0.utf8) }, as: kind, flow: flow, database: database,
            nextLSN: nextLSN)
    }
}

/// Listens as a server does, and says what the test wants it to say.
final class ScriptedServer {
    let port: UInt16
    private let listener: Int32
    private var connection: Int32 = -1

    init() throws {
        listener = cp_listen_loopback(0)
        guard listener >= 0 else { throw SystemError(result: listener) }
        port = UInt16(cp_local_port(listener))
    }

    deinit {
        hangUp()
        _ = cp_close(listener)
    }

    /// Takes the connection that has begun.
    func accept() throws {
        connection = cp_accept(listener)
        guard connection >= 0 else { throw SystemError(result: connection) }
    }

    func say(_ text: some Sequence<UInt8>) throws {
        if connection < 0 { try accept() }
        let bytes = Array(text)
        let count = bytes.withUnsafeBytes { cp_send(connection, $0.baseAddress!, $0.count) }
        guard count == bytes.count else { throw TestSupportError("send: \(count)") }
    }

    func hangUp() {
        if connection >= 0 { _ = cp_close(connection) }
        connection = -1
    }
}

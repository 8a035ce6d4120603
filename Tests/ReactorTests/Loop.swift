import Bytes
import CPlatform
import Glibc
import Testing

@testable import Reactor

/// A reactor with sockets to itself: the test holds the other ends, as plain descriptors, and acts on
/// them between turns. Everything runs on the test's thread.
final class Loop: ReactorOwner {
    enum Timer {
        static let deadline = 0
        static let step = 1
        static let firstFree = 2
    }

    /// A connection and its other end, a descriptor that does not block.
    struct Link {
        let socket: Socket
        let peer: Int32
    }

    let reactor: Reactor
    let mailbox: Mailbox
    private let listener: Int32
    private(set) var peers: [Int32] = []
    /// What the reactor told, in order.
    private(set) var events: [String] = []
    private var steps: [() throws -> Bool] = []
    private var failure: (any Error)?

    var onConnected: (Socket) -> Void = { _ in }
    var onReady: (Socket) -> Void = { _ in }
    var onWord: (UInt64) -> Void = { _ in }
    var onTurnEnding: () -> Void = {}

    init(capacity: Int = 8, timers: Int = 8, mailboxCapacity: Int = 256) throws {
        mailbox = try Mailbox(capacity: mailboxCapacity)
        reactor = try Reactor(mailbox: mailbox, capacity: capacity, timers: timers)
        listener = cp_listen_loopback(0)
        guard listener >= 0 else { throw SystemError(result: listener) }
    }

    deinit {
        for peer in peers { _ = cp_close(peer) }
        _ = cp_close(listener)
    }

    // MARK: Connections

    static func address(port: Int32) throws -> cp_address {
        var address = cp_address()
        let result = cp_resolve("127.0.0.1", UInt16(port), &address)
        guard result == 0 else { throw SystemError(code: EINVAL) }
        return address
    }

    /// A socket on its way to the listener, not yet in the reactor.
    func socket(
        role: UInt32 = 0, inputBytes: Int = 1 << 16, outputBytes: Int = 1 << 16,
        keepsSentOutput: Bool = false
    ) throws -> Socket {
        try Socket(
            connectingTo: Loop.address(port: cp_local_port(listener)), role: role,
            inputBytes: inputBytes, outputBytes: outputBytes, keepsSentOutput: keepsSentOutput)
    }

    func link(
        role: UInt32 = 0, inputBytes: Int = 1 << 16, outputBytes: Int = 1 << 16,
        keepsSentOutput: Bool = false
    ) throws -> Link {
        let socket = try socket(
            role: role, inputBytes: inputBytes, outputBytes: outputBytes,
            keepsSentOutput: keepsSentOutput)
        try reactor.add(socket)
        let peer = cp_accept(listener)
        guard peer >= 0 else { throw SystemError(result: peer) }
        guard fcntl(peer, F_SETFL, O_NONBLOCK) == 0 else { throw SystemError(code: errno) }
        peers.append(peer)
        return Link(socket: socket, peer: peer)
    }

    /// Closes the other end; with `reset`, by RST.
    func close(_ peer: Int32, reset: Bool = false) {
        if reset {
            var option = linger(l_onoff: 1, l_linger: 0)
            setsockopt(peer, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
        }
        _ = cp_close(peer)
        peers.removeAll { $0 == peer }
    }

    static func send(_ bytes: [UInt8], to peer: Int32) {
        let count = bytes.withUnsafeBytes { cp_send(peer, $0.baseAddress!, $0.count) }
        #expect(count == bytes.count)
    }

    /// What has arrived at the other end; nil at its end.
    static func receive(_ peer: Int32) -> [UInt8]? {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        let count = buffer.withUnsafeMutableBytes { cp_read(peer, $0.baseAddress!, $0.count) }
        if count == 0 { return nil }
        return count > 0 ? Array(buffer[..<Int(count)]) : []
    }

    // MARK: Running

    /// Runs until each step has said true, one after the other; they are asked once a millisecond.
    func run(_ steps: (() throws -> Bool)...) throws {
        self.steps = steps
        reactor.setTimer(Timer.deadline, after: 20_000_000_000)
        reactor.setTimer(Timer.step, after: 0)
        try reactor.run(self)
        if let failure { throw failure }
    }

    private func runStep() {
        do {
            if try steps[0]() { steps.removeFirst() }
        } catch {
            failure = error
        }
        if steps.isEmpty || failure != nil {
            reactor.stop()
        } else {
            reactor.setTimer(Timer.step, after: 1_000_000)
        }
    }

    func count(_ event: String) -> Int {
        events.count { $0 == event }
    }

    // MARK: ReactorOwner

    func connected(_ socket: Socket) {
        events.append("connected \(socket.role)")
        onConnected(socket)
    }

    func ready(_ socket: Socket) {
        events.append("ready \(socket.role)")
        onReady(socket)
    }

    func failed(_ socket: Socket, _ error: SystemError) {
        events.append("failed \(socket.role) \(error.code)")
    }

    func timerFired(_ timer: Int) {
        switch timer {
        case Timer.deadline:
            Issue.record("the test did not come to its end: \(events.suffix(20))")
            reactor.stop()
        case Timer.step: runStep()
        default: events.append("timer \(timer)")
        }
    }

    func received(_ word: UInt64) {
        onWord(word)
    }

    func turnEnding() {
        onTurnEnding()
    }
}

import Bytes
import CPlatform
import Reactor
import RedisTarget

/// A target pipeline whose other end is in this thread: it takes every command and answers +OK.
final class MemoryPipeline {
    let target: TargetConnection
    private let reactor: Reactor
    private let peer: Int32
    private var taken: MirroredRing

    init() throws(SystemError) {
        var own: Int32 = -1
        var other: Int32 = -1
        let result = cp_socket_pair(&own, &other)
        guard result == 0 else { throw SystemError(result: result) }
        peer = other
        taken = try MirroredRing(capacity: 1 << 20)
        reactor = try Reactor(mailbox: try Mailbox(), capacity: 1, timers: 1)
        let socket = try Socket(
            adopting: own, role: 0, inputBytes: 1 << 20, outputBytes: 4 << 20,
            keepsSentOutput: true)
        target = try TargetConnection(socket: socket, reactor: reactor)
        try reactor.add(socket)
    }

    deinit {
        _ = cp_close(peer)
    }

    /// Sends what is in the pipeline, and settles all its replies.
    func answerAll() throws {
        while target.socket.bytesUnsent > 0 {
            reactor.flushNow(target.socket)
            while case .moved = taken.receive(from: peer, limit: 1 << 20) { taken.clear() }
            target.socket.noteWritable()
        }
        while target.commandsInFlight > 0 {
            let answers = min(target.commandsInFlight, target.socket.input.free / 5)
            for _ in 0..<answers { target.socket.input.append("+OK\r\n") }
            while let reply = try target.nextReply() {
                guard !reply.recordFailed else { throw BenchError("an OK was taken for an error") }
            }
        }
    }
}

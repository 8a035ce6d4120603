internal import CPlatform
public import Glibc

/// The control socket of a run: `control.sock` in its state directory, one JSON request a line, one
/// JSON reply a line. For one thread, which polls `descriptors` and calls `serve`.
///
/// Whatever a client does, it costs the run little: clients, the length of a line, the time that one
/// may take and the lines handled in a turn are bounded.
public final class ControlServer {
    /// Why there is no control socket. Says what to do.
    public struct Failure: Error, CustomStringConvertible {
        public let description: String
    }

    public static let socketName = "control.sock"
    static let lockName = "control.lock"
    static let clientsLimit = 16
    static let lineBytesLimit = 64 << 10
    /// A client that neither sends a line nor takes its reply for so long is closed.
    static let patienceMilliseconds: Int64 = 10_000

    private struct Client {
        let descriptor: Int32
        var input: [UInt8] = []
        var output: [UInt8] = []
        var deadline: Int64
        /// Nothing more is read.
        var isEnding = false

        var lineEnd: Int? { input.firstIndex(of: UInt8(ascii: "\n")) }
    }

    private let directory: String
    private let lock: Int32
    private let listener: Int32
    private var clients: [Client] = []
    /// After a failed accept (no descriptors left) it is not tried again before, milliseconds.
    private var acceptsAt: Int64 = 0
    private var chunk = [UInt8](repeating: 0, count: 16 << 10)

    /// Opens the socket in a directory that exists. One left by a run that has died is replaced.
    public init(directory: String) throws(Failure) {
        self.directory = directory
        lock = cp_lock_file(directory + "/" + ControlServer.lockName)
        guard lock >= 0 else {
            throw Failure(
                description: lock == -EWOULDBLOCK
                    ? "another df2redis runs with the state directory \(directory); stop it"
                        + " (df2redis stop --state-dir \(directory)), or give this run a directory"
                        + " of its own"
                    : "cannot lock \(directory)/\(ControlServer.lockName):"
                        + " \(String(cString: strerror(-lock)))")
        }
        listener = cp_local_listen(directory, ControlServer.socketName)
        guard listener >= 0 else {
            cp_close(lock)
            throw Failure(
                description: "cannot open \(directory)/\(ControlServer.socketName):"
                    + " \(String(cString: strerror(-listener))); the state directory must be on a"
                    + " file system that has sockets, and a path of more than 90 bytes needs /proc")
        }
    }

    /// Takes the socket away; replies that were not taken by then are lost.
    public func close() {
        for client in clients { cp_close(client.descriptor) }
        clients = []
        // The lock is held until the end of the process, so this is ours.
        unlink(directory + "/" + ControlServer.socketName)
        cp_close(listener)
        cp_close(lock)
    }

    /// What to poll; hand it to `serve` with the events found.
    public func descriptors(now: Int64) -> [pollfd] {
        let accepts = now >= acceptsAt
        var descriptors = [pollfd(fd: accepts ? listener : -1, events: Int16(POLLIN), revents: 0)]
        for client in clients {
            let wanted = client.output.isEmpty ? POLLIN : POLLOUT
            descriptors.append(pollfd(fd: client.descriptor, events: Int16(wanted), revents: 0))
        }
        return descriptors
    }

    /// A client has sent more lines than were handled: do not wait before the next `serve`.
    public var isBusy: Bool { clients.contains { $0.output.isEmpty && $0.lineEnd != nil } }

    /// Handles what the clients sent, one line of each.
    public func serve(
        _ polled: [pollfd], now: Int64, _ answer: (ControlRequest) -> JSONValue
    ) {
        for index in clients.indices {
            let events = polled.dropFirst().first { $0.fd == clients[index].descriptor }?.revents
            if let events, events != 0 { move(index, now) }
            guard clients[index].output.isEmpty else { continue }
            if let end = clients[index].lineEnd {
                let line = clients[index].input[..<end]
                reply(index, ControlServer.reply(to: line, answer), now)
                clients[index].input.removeSubrange(...end)
            } else if clients[index].input.count >= ControlServer.lineBytesLimit {
                reply(index, ControlServer.error("the line is too long"), now)
                clients[index].input = []
                clients[index].isEnding = true
            }
        }
        clients.removeAll { client in
            let isDone = client.isEnding && client.output.isEmpty && client.lineEnd == nil
            guard isDone || now >= client.deadline else { return false }
            cp_close(client.descriptor)
            return true
        }
        if polled.first?.revents ?? 0 != 0 { acceptClients(now) }
    }

    private static func reply(
        to line: ArraySlice<UInt8>, _ answer: (ControlRequest) -> JSONValue
    ) -> JSONValue {
        do throws(ControlRequest.Refusal) {
            return answer(try ControlRequest(line: line))
        } catch {
            return self.error(error.reason)
        }
    }

    /// The reply to a request that is not carried out.
    public static func error(_ reason: String) -> JSONValue {
        .object([("ok", .boolean(false)), ("error", .string(reason))])
    }

    private func reply(_ index: Int, _ value: JSONValue, _ now: Int64) {
        clients[index].output = Array((value.compactText + "\n").utf8)
        clients[index].deadline = now + ControlServer.patienceMilliseconds
        send(index, now)
    }

    private func move(_ index: Int, _ now: Int64) {
        guard clients[index].output.isEmpty else { return send(index, now) }
        guard !clients[index].isEnding,
            clients[index].input.count < ControlServer.lineBytesLimit
        else { return }
        let descriptor = clients[index].descriptor
        let count = chunk.withUnsafeMutableBytes { buffer in
            buffer.baseAddress.map { cp_read(descriptor, $0, buffer.count) } ?? 0
        }
        if count > 0 {
            clients[index].input += chunk[..<Int(count)]
        } else if count != -Int64(EAGAIN) {
            // Its end, or an error: what it has asked is answered still.
            clients[index].isEnding = true
        }
    }

    private func send(_ index: Int, _ now: Int64) {
        let client = clients[index]
        let count = client.output.withUnsafeBytes { buffer in
            buffer.baseAddress.map { cp_send(client.descriptor, $0, buffer.count) } ?? 0
        }
        if count >= 0 {
            clients[index].output.removeFirst(Int(count))
        } else if count != -Int64(EAGAIN) {
            clients[index].output = []
            clients[index].input = []
            clients[index].isEnding = true
        }
    }

    private func acceptClients(_ now: Int64) {
        // A crowd waits for the next turn.
        for _ in 0..<ControlServer.clientsLimit {
            let descriptor = cp_local_accept(listener)
            guard descriptor >= 0 else {
                if descriptor != -EAGAIN { acceptsAt = now + 1000 }
                return
            }
            clients.append(
                Client(
                    descriptor: descriptor, deadline: now + ControlServer.patienceMilliseconds))
            guard clients.count > ControlServer.clientsLimit else { continue }
            reply(
                clients.count - 1, ControlServer.error("too many clients; try again later"), now)
            cp_close(clients.removeLast().descriptor)
        }
    }
}

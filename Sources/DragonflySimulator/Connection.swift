import Bytes
import CPlatform
import Glibc

/// One accepted socket, served by one thread: it reads commands, answers them, and, once it has
/// become a flow, reads ACKs while a second thread writes the stream.
final class Connection {
    /// What this connection has become.
    enum Role {
        case ordinary
        case flow(session: Int, index: Int)
    }

    /// How long a flow whose session has ended is read for the client's end.
    private static let drainMilliseconds = 2000
    /// The largest command, with all its words: as much as a Redis buffers of one client.
    private static let inputLimit = 1 << 30

    let number: Int
    let descriptor: Int32
    let master: Master
    var role = Role.ordinary
    /// The session that this connection opened last.
    var session: Int?
    /// Two commands came without waiting for the first one's reply.
    var hasPipelined = false
    /// The client ended its side orderly.
    private(set) var sawEnd = false
    /// The client ended the connection in any way.
    private(set) var wasLeft = false
    /// The database of ordinary commands.
    var database = 0
    /// Commands since MULTI; nil outside.
    var transaction: [[[UInt8]]]?
    /// What the user of this connection must not call.
    private var deniedCommands: Set<String> = []
    private var user = "default"
    private var isAuthenticated: Bool
    private var mustClose = false
    private var input: MirroredRing
    private var output: MirroredRing
    /// Bytes sent on this connection after it opened a session, and what goes wrong with them.
    private var controlBytes = 0
    private var faults: [(byte: Int, fault: Fault)] = []

    init(number: Int, descriptor: Int32, master: Master) throws(SystemError) {
        self.number = number
        self.descriptor = descriptor
        self.master = master
        isAuthenticated = master.options.password == nil
        input = try MirroredRing(capacity: 1 << 16)
        output = try MirroredRing(capacity: 1 << 16)
    }

    /// Serves until the client leaves or the master stops. Does not close the descriptor.
    func serve() {
        while !mustClose {
            switch CommandReader.parse(input.readable) {
            case .incomplete:
                guard makeRoom() else { return send(.error("ERR Protocol error: too big")) }
                guard receive() else { return }
            case .malformed(let text):
                if case .flow(_, let index) = role {
                    master.record(.commandOnFlow(flow: index, command: text))
                    return
                }
                return send(.error("ERR Protocol error: \(text)"))
            case .command(let words, let size):
                input.consume(size)
                if words.isEmpty { continue }
                if case .flow(let session, let index) = role {
                    readAcknowledgement(words, session: session, flow: index)
                } else {
                    if !input.isEmpty { hasPipelined = true }
                    execute(words)
                }
            }
        }
    }

    /// Ends the connection after the current command.
    func closeSoon() {
        mustClose = true
    }

    /// True if the client has sent more than the command in hand, without waiting for its reply.
    func hasEarlyInput() -> Bool {
        while cp_wait_two(descriptor, -1, 0) & 1 != 0, input.free > 0 {
            if !receive() { break }
        }
        return !input.isEmpty
    }

    /// This connection has opened a session: faults of its control connection count from here.
    func becomeControl(of session: Int) {
        self.session = session
        controlBytes = 0
        faults = master.options.faults.compactMap { fault in
            guard fault.session == session, case .control(let byte) = fault.place else {
                return nil
            }
            return (byte, fault)
        }
        faults.sort { $0.byte < $1.byte }
    }

    func send(_ reply: Reply) {
        waitWhileStalled()
        var bytes = reply.encoded[...]
        while let next = faults.first, next.byte < controlBytes + bytes.count {
            faults.removeFirst()
            let head = bytes.prefix(max(next.byte - controlBytes, 0))
            write(Array(head))
            bytes = bytes.dropFirst(head.count)
            master.perform(next.fault, on: number)
            waitWhileStalled()
        }
        write(Array(bytes))
    }

    private func write(_ bytes: [UInt8]) {
        controlBytes += bytes.count
        bytes.withByteView { view in
            var rest = view
            while !rest.isEmpty {
                let size = min(rest.count, output.free)
                output.append(rest.slice(0, size))
                rest = rest.dropFirst(size)
                while !output.isEmpty {
                    switch output.send(to: descriptor, from: output.head) {
                    case .moved(let count): output.consume(count)
                    case .failed(let error):
                        noteEnd(error)
                        return closeSoon()
                    case .wouldBlock, .endOfStream: return closeSoon()
                    }
                }
            }
        }
    }

    /// Doubles the input when one command fills it; false at the limit.
    private func makeRoom() -> Bool {
        if input.free > 0 { return true }
        guard input.capacity < Self.inputLimit,
            var larger = try? MirroredRing(capacity: input.capacity * 2)
        else { return false }
        larger.append(input.readable)
        input = larger
        return true
    }

    /// Reads once; false when the client has left or the connection is over.
    private func receive() -> Bool {
        var drainLimit: Int64?
        while true {
            let result = input.receive(from: descriptor, limit: input.free)
            waitWhileStalled()
            switch result {
            case .moved: return true
            case .wouldBlock:
                // Only flows have a limit of time: see whether the session is over.
                guard isCancelled() else { continue }
                let limit = drainLimit ?? deadline(afterMilliseconds: Self.drainMilliseconds)
                drainLimit = limit
                if cp_monotonic_nanoseconds() >= limit { return false }
            case .endOfStream:
                sawEnd = true
                wasLeft = true
                return false
            case .failed(let error):
                noteEnd(error)
                return false
            }
        }
    }

    private func noteEnd(_ error: SystemError) {
        wasLeft = true
        guard error.code == ECONNRESET else { return }
        if case .flow(_, let index) = role {
            master.noteReset(connection: number, flow: index)
        } else {
            master.noteReset(connection: number, flow: nil)
        }
    }

    private func isCancelled() -> Bool {
        guard case .flow(let session, _) = role else { return false }
        return master.state.read { $0.sessions[session]?.phase == .cancelled || $0.isStopping }
    }

    /// Waits while a fault keeps this connection from doing anything.
    private func waitWhileStalled() {
        while true {
            let limit: Int64? = master.state.read { state in
                if state.isStopping { return nil }
                return state.frozen.contains(number) ? .max : state.stalledControls[number]
            }
            guard let limit, limit > cp_monotonic_nanoseconds() else { return }
            _ = master.state.wait(until: limit == .max ? nil : limit) { state in
                state.isStopping || (limit == .max && !state.frozen.contains(number)) ? true : nil
            }
        }
    }

    /// On a running flow only `REPLCONF ACK n` may come, and nothing is ever answered
    /// (protocol.md 2.10).
    private func readAcknowledgement(_ words: [[UInt8]], session: Int, flow: Int) {
        let texts = words.map { String(decoding: $0, as: UTF8.self) }
        guard words.count == 3, texts[0].uppercased() == "REPLCONF",
            texts[1].uppercased() == "ACK", let value = UInt64(texts[2])
        else {
            return master.record(
                .commandOnFlow(flow: flow, command: texts.joined(separator: " ")))
        }
        if master.options.readDelayMilliseconds > 0 {
            let limit = deadline(afterMilliseconds: master.options.readDelayMilliseconds)
            _ = master.state.wait(until: limit) { $0.isStopping ? true : nil }
        }
        let next = master.content.nextLSN(flow: flow)
        master.state.update {
            $0.acknowledge(session: session, flow: flow, value: value, next: next)
        }
    }

    private func execute(_ words: [[UInt8]]) {
        let name = String(decoding: words[0], as: UTF8.self).uppercased()
        let arguments = Array(words.dropFirst())
        let texts = arguments.map { String(decoding: $0, as: UTF8.self) }
        if name == "AUTH" { return send(authenticate(texts)) }
        if name == "QUIT" {
            send(.ok)
            return closeSoon()
        }
        guard isAuthenticated else { return send(.error("NOAUTH Authentication required.")) }
        if deniedCommands.contains(name) {
            return send(.error("NOPERM \(user) has no ACL permissions"))
        }
        switch name {
        case "REPLCONF": send(configureReplica(texts))
        case "DFLY": executeDragonfly(texts)
        default: send(answer(name, words, texts))
        }
    }

    private func authenticate(_ arguments: [String]) -> Reply {
        let options = master.options
        guard options.password != nil || !options.users.isEmpty else {
            return .error(
                "ERR AUTH <password> called without any password configured for the default user."
                    + " Are you sure your configuration is correct?")
        }
        guard (1...2).contains(arguments.count) else { return .syntaxError }
        let name = arguments.count == 2 ? arguments[0] : "default"
        var users = options.users
        if let password = options.password {
            users.append(SimulatorUser(name: options.user, password: password))
        }
        guard let found = users.first(where: { $0.name == name && $0.password == arguments.last })
        else {
            return .error("WRONGPASS invalid username-password pair or user is disabled.")
        }
        user = found.name
        deniedCommands = found.deniedCommands
        isAuthenticated = true
        return .ok
    }
}

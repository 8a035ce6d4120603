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

    let number: Int
    let descriptor: Int32
    let master: Master
    var role = Role.ordinary
    /// The session that this connection opened last.
    var session: Int?
    /// Two commands came without waiting for the first one's reply.
    var hasPipelined = false
    private var isAuthenticated: Bool
    private var mustClose = false
    private var input: MirroredRing
    private var output: MirroredRing

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
                guard input.free > 0 else { return send(.error("ERR Protocol error: too big")) }
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
                if case .flow(_, let index) = role {
                    readAcknowledgement(words, flow: index)
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

    func send(_ reply: Reply) {
        let bytes = Array(reply.encoded.utf8)
        bytes.withByteView { view in
            var rest = view
            while !rest.isEmpty {
                let size = min(rest.count, output.free)
                output.append(rest.slice(0, size))
                rest = rest.dropFirst(size)
                while !output.isEmpty {
                    guard case .moved(let count) = output.send(to: descriptor, from: output.head)
                    else { return closeSoon() }
                    output.consume(count)
                }
            }
        }
    }

    private func receive() -> Bool {
        switch input.receive(from: descriptor, limit: input.free) {
        case .moved: return true
        case .wouldBlock: return true
        case .endOfStream: return false
        case .failed(let error):
            if error.code == ECONNRESET { master.state.update { $0.resets += 1 } }
            return false
        }
    }

    /// On a running flow only `REPLCONF ACK n` may come, and nothing is ever answered
    /// (protocol.md 2.10).
    private func readAcknowledgement(_ words: [String], flow: Int) {
        guard words.count == 3, words[0].uppercased() == "REPLCONF",
            words[1].uppercased() == "ACK", let value = UInt64(words[2])
        else {
            let text = words.joined(separator: " ")
            return master.record(.commandOnFlow(flow: flow, command: text))
        }
        let next = master.content.nextLSN(flow: flow)
        master.state.update { state in
            state.flows[flow].acknowledgements.append(value)
            if value > next {
                state.breaches.append(
                    .acknowledgedBeyond(flow: flow, value: value, next: next))
            }
        }
    }

    private func execute(_ words: [String]) {
        let name = words[0].uppercased()
        let arguments = Array(words.dropFirst())
        if name == "AUTH" { return send(authenticate(arguments)) }
        if name == "QUIT" {
            send(.ok)
            return closeSoon()
        }
        guard isAuthenticated else { return send(.error("NOAUTH Authentication required.")) }
        switch name {
        case "REPLCONF": send(configureReplica(arguments))
        case "DFLY": executeDragonfly(arguments)
        default: send(answer(name, arguments))
        }
    }

    private func authenticate(_ arguments: [String]) -> Reply {
        guard let password = master.options.password else {
            return .error(
                "ERR AUTH <password> called without any password configured for the default user."
                    + " Are you sure your configuration is correct?")
        }
        let user = arguments.count == 2 ? arguments[0] : "default"
        guard (1...2).contains(arguments.count) else { return .syntaxError }
        guard user == master.options.user, arguments.last == password else {
            return .error("WRONGPASS invalid username-password pair or user is disabled.")
        }
        isAuthenticated = true
        return .ok
    }
}

import Bytes
import Glibc

/// A blocking client connection for tests; every wait has a limit, so that a silent server fails a
/// test instead of hanging it.
final class TestConnection {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    private let descriptor: Int32
    private var ring: MirroredRing
    private var isOpen = true

    init(port: UInt16) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        ring = try MirroredRing(capacity: 1 << 20)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, size)
            }
        }
        guard result == 0 else { throw Failure(description: "connect: errno \(errno)") }
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var on: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, 4)
    }

    deinit {
        close()
    }

    func close() {
        if isOpen { Glibc.close(descriptor) }
        isOpen = false
    }

    /// Ends this side; the server's bytes can still be read.
    func shutdownWriting() {
        Glibc.shutdown(descriptor, Int32(SHUT_WR))
    }

    /// Makes the kernel take few bytes that nobody reads; best before anything was sent.
    func limitReceiveBuffer(_ bytes: Int32) {
        var bytes = bytes
        setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, 4)
    }

    /// Closes with a reset, as a crashed machine's kernel would.
    func reset() {
        var linger = linger(l_onoff: 1, l_linger: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_LINGER, &linger,
            socklen_t(MemoryLayout.size(ofValue: linger)))
        close()
    }

    func send(_ text: String) throws {
        let bytes = Array(text.utf8)
        let sent = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
        guard sent == bytes.count else { throw Failure(description: "send: errno \(errno)") }
    }

    /// Reads once; false at the end of the stream.
    func receive(limit: Int = .max) throws -> Bool {
        switch ring.receive(from: descriptor, limit: min(limit, ring.free)) {
        case .moved: return true
        case .endOfStream: return false
        case .wouldBlock: throw Failure(description: "nothing came for 20 s")
        case .failed(let error): throw Failure(description: "receive: \(error)")
        }
    }

    /// Whether anything comes, or the end, within this time.
    func receives(withinMilliseconds limit: Int32) throws -> Bool {
        guard ring.isEmpty else { return true }
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&entry, 1, limit) > 0
    }

    /// The bytes up to CR LF, without it.
    func line() throws -> String {
        while true {
            if let end = ring.readable.firstLineEnd(from: 0) {
                let text = String(decoding: ring.readable.slice(0, end).array(), as: UTF8.self)
                ring.consume(end + 2)
                return text
            }
            guard try receive() else { throw Failure(description: "end of stream in a reply") }
        }
    }

    /// A whole reply, arrays and bulks flattened into their texts.
    func reply() throws -> [String] {
        let line = try line()
        switch line.first {
        case "*":
            let count = Int(line.dropFirst()) ?? 0
            return try (0..<count).flatMap { _ in try reply() }
        case "$":
            guard let size = Int(line.dropFirst()), size >= 0 else { return [""] }
            return [String(decoding: try read(size + 2).dropLast(2), as: UTF8.self)]
        case "+", ":": return [String(line.dropFirst())]
        default: return [line]
        }
    }

    func command(_ text: String) throws -> [String] {
        try send(text + "\r\n")
        return try reply()
    }

    /// Exactly `count` bytes.
    func read(_ count: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        while bytes.count < count {
            if ring.isEmpty {
                guard try receive() else {
                    throw Failure(description: "end of stream after \(bytes.count) bytes")
                }
            }
            let size = min(count - bytes.count, ring.count)
            bytes += ring.readable.slice(0, size).array()
            ring.consume(size)
        }
        return bytes
    }

    /// What has come, at least one byte.
    func readSome() throws -> [UInt8] {
        if ring.isEmpty, try !receive() { throw Failure(description: "end of stream") }
        return try read(ring.count)
    }

    /// Everything until the server closes.
    func readToEnd() throws -> [UInt8] {
        var bytes: [UInt8] = []
        repeat {
            bytes += ring.readable.array()
            ring.clear()
        } while try receive()
        return bytes
    }
}

/// A replica that does what protocol.md section 2 asks, and no more.
final class TestReplica {
    let port: UInt16
    let control: TestConnection
    private(set) var masterId = ""
    private(set) var session = ""
    private(set) var flowCount = 0
    private(set) var flows: [TestConnection] = []
    /// The kind ("FULL" or "PARTIAL") and the token of each flow's reply.
    private(set) var answers: [[String]] = []

    init(port: UInt16, password: String? = nil, announcesVersion: Bool = true) throws {
        self.port = port
        control = try TestConnection(port: port)
        if let password { _ = try control.command("AUTH \(password)") }
        _ = try control.command("PING")
        _ = try control.command("REPLCONF listening-port 16379")
        _ = try control.command("REPLCONF ip-address 10.1.2.3")
        _ = try control.command("REPLCONF capa eof capa psync2")
        let reply = try control.command("REPLCONF capa dragonfly")
        guard reply.count >= 4 else {
            throw TestConnection.Failure(description: "not a Dragonfly: \(reply)")
        }
        masterId = reply[0]
        session = reply[1]
        flowCount = Int(reply[2]) ?? 0
        _ = try control.command("REPLCONF CLIENT-ID test")
        if announcesVersion { _ = try control.command("REPLCONF CLIENT-VERSION 4") }
    }

    func openFlows(
        password: String? = nil, lsns: [UInt64]? = nil, receiveBuffer: Int32? = nil
    ) throws {
        for index in 0..<flowCount {
            let flow = try TestConnection(port: port)
            if let receiveBuffer { flow.limitReceiveBuffer(receiveBuffer) }
            if let password { _ = try flow.command("AUTH \(password)") }
            let lsn = lsns.map { " \($0[index])" } ?? ""
            answers.append(try flow.command("DFLY FLOW \(masterId) \(session) \(index)\(lsn)"))
            flows.append(flow)
        }
    }

    /// Flows before the control connection (protocol.md 9.1).
    deinit {
        for flow in flows { flow.close() }
        control.close()
    }

    /// Opens the flows with the numbering of another master: one vector for all of them.
    func openFlows(lastMaster: String, lsns: [UInt64]) throws {
        let vector = lsns.map(String.init).joined(separator: "-")
        for index in 0..<flowCount {
            let flow = try TestConnection(port: port)
            let request = "DFLY FLOW \(masterId) \(session) \(index) \(lastMaster) \(vector)"
            answers.append(try flow.command(request))
            flows.append(flow)
        }
    }

    /// Leaves as protocol.md 9.1 asks: flows half-closed and drained, the control connection last.
    func leave() throws {
        for flow in flows { flow.shutdownWriting() }
        for flow in flows { _ = try flow.readToEnd() }
        for flow in flows { flow.close() }
        control.close()
    }

    func acknowledge(flow: Int, _ value: UInt64) throws {
        try flows[flow].send("REPLCONF ACK \(value)\r\n")
    }
}

import Glibc

/// A blocking RESP2 client for tests: any bytes in arguments and replies.
public final class RespClient {
    private let descriptor: Int32
    private var parser = RespParser()
    private var chunk = [UInt8](repeating: 0, count: 1 << 16)

    /// Connects to 127.0.0.1.
    /// - Parameter timeoutSeconds: longest wait for one reply.
    /// - Throws: `TestSupportError` if nobody listens.
    public init(port: UInt16, timeoutSeconds: Int = 30) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw TestSupportError("socket: errno \(errno)") }
        var limit = timeval(tv_sec: timeoutSeconds, tv_usec: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        // deinit closes the descriptor then, too: all properties are set.
        if connected != 0 { throw TestSupportError("127.0.0.1:\(port): errno \(errno)") }
    }

    deinit { close(descriptor) }

    /// Sends one command and returns its reply, an error reply too.
    @discardableResult
    public func command(_ arguments: [[UInt8]]) throws -> RespValue {
        try pipeline([arguments])[0]
    }

    /// Sends one command of text arguments.
    /// - Throws: `TestSupportError` if the reply is an error.
    @discardableResult
    public func call(_ arguments: String...) throws -> RespValue {
        let reply = try command(arguments.map { Array($0.utf8) })
        if case .error(let message) = reply {
            throw TestSupportError("\(arguments.joined(separator: " ")): \(message)")
        }
        return reply
    }

    /// Sends all commands, then reads a reply for each. The commands are sent in portions, so that
    /// neither side can fill the other's buffers.
    public func pipeline(_ commands: [[[UInt8]]]) throws -> [RespValue] {
        var replies: [RespValue] = []
        replies.reserveCapacity(commands.count)
        var output: [UInt8] = []
        var sent = 0
        for command in commands {
            Self.encode(command, into: &output)
            sent += 1
            if output.count > 1 << 16 || sent - replies.count >= 512 {
                try send(output)
                output.removeAll(keepingCapacity: true)
                while replies.count < sent { replies.append(try reply()) }
            }
        }
        try send(output)
        while replies.count < commands.count { replies.append(try reply()) }
        return replies
    }

    /// Sends bytes as they are.
    public func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.send(
                    descriptor, $0.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw TestSupportError("send: errno \(errno)") }
            sent += count
        }
    }

    /// Waits for the next reply.
    public func reply() throws -> RespValue {
        while true {
            if let value = try parser.next() { return value }
            let count = recv(descriptor, &chunk, chunk.count, 0)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                throw TestSupportError(count == 0 ? "connection closed" : "recv: errno \(errno)")
            }
            parser.append(chunk[0..<count])
        }
    }

    private static func encode(_ command: [[UInt8]], into output: inout [UInt8]) {
        output.append(contentsOf: "*\(command.count)\r\n".utf8)
        for argument in command {
            output.append(contentsOf: "$\(argument.count)\r\n".utf8)
            output.append(contentsOf: argument)
            output.append(contentsOf: "\r\n".utf8)
        }
    }
}

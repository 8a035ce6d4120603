import Foundation

/// A redis-server of its own, without persistence, on a free port of the loopback interface. It is
/// stopped by `stop` or when the last reference goes.
public final class RedisServer: @unchecked Sendable {
    // Sendable: nothing changes after init but the process, which guards itself.
    public let port: UInt16
    public let directory: TemporaryDirectory
    /// Of the default user, nil for none.
    public let password: String?
    private let process: ChildProcess

    /// Starts redis-server and waits until it answers.
    /// - Parameters:
    ///   - arguments: further options, e.g. `["--maxmemory", "1mb"]`.
    ///   - server: which one.
    /// - Throws: `TestSupportError` with the server's log if it does not come up.
    public init(_ server: TargetServer = .system, arguments: [String] = []) throws {
        let executable = try server.path()
        let directory = try TemporaryDirectory(prefix: "df2redis-redis")
        self.directory = directory
        let option = arguments.firstIndex(of: "--requirepass")
        password = option.map { arguments[$0 + 1] }
        // Between choosing a port and redis-server binding it somebody else may take it.
        for _ in 0..<20 {
            let port = try Self.freePort()
            let process = try ChildProcess(
                executable, Self.options(port: port, directory: directory) + arguments)
            if try Self.waitUntilReady(process, port: port) {
                self.port = port
                self.process = process
                return
            }
            guard Self.log(directory).contains("Address already in use") else { break }
        }
        throw TestSupportError("redis-server did not start:\n\(Self.log(directory))")
    }

    /// A RedisJSON module that redis-server can load, if the environment names one.
    public static let jsonModule = ProcessInfo.processInfo.environment["DF2REDIS_JSON_MODULE"]
    public static let jsonModuleHint = "DF2REDIS_JSON_MODULE names no RedisJSON module (rejson.so)"

    /// Ends the server at once.
    public func stop() { process.kill() }

    public var processIdentifier: Int32 { process.processIdentifier }

    public var isRunning: Bool { process.isRunning }

    /// A new connection.
    public func client() throws -> RespClient {
        let client = try RespClient(port: port)
        if let password { try client.call("AUTH", password) }
        return client
    }

    /// What the server calls its version, e.g. `7.0.15`; of a Valkey, its own.
    public func version() throws -> String {
        let info = try client().call("INFO", "server").text ?? ""
        return Self.field("valkey_version", of: info) ?? Self.field("redis_version", of: info) ?? ""
    }

    /// The text of `INFO server`.
    public func information() throws -> [UInt8] {
        try client().call("INFO", "server").bytes ?? []
    }

    /// Counts of commands by name (lower case) as `INFO commandstats` has them.
    public func callsByCommand() throws -> [String: Int] {
        let info = try client().call("INFO", "commandstats").text ?? ""
        var calls: [String: Int] = [:]
        for line in info.split(separator: "\r\n") where line.hasPrefix("cmdstat_") {
            let name = line.dropFirst("cmdstat_".count).prefix { $0 != ":" }
            let number = line.drop { $0 != "=" }.dropFirst().prefix { $0 != "," }
            calls[String(name)] = Int(number)
        }
        return calls
    }

    private static func options(port: UInt16, directory: TemporaryDirectory) -> [String] {
        [
            "--port", "\(port)", "--bind", "127.0.0.1", "--dir", directory.path, "--save", "",
            "--appendonly", "no", "--databases", "16", "--loglevel", "notice",
            "--logfile", directory.file("log"),
        ]
    }

    /// Asks until the process that answers on the port is ours. False if it has ended.
    private static func waitUntilReady(_ process: ChildProcess, port: UInt16) throws -> Bool {
        let deadline = Date(timeIntervalSinceNow: 20)
        while process.isRunning, Date() < deadline {
            if let client = try? RespClient(port: port, timeoutSeconds: 5),
                let info = try? client.command([Array("INFO".utf8), Array("server".utf8)])
            {
                // A server with a password answers NOAUTH: it is up, and its log names our port.
                if case .error(let message) = info, message.hasPrefix("NOAUTH") { return true }
                return field("process_id", of: info.text ?? "") == "\(process.processIdentifier)"
            }
            usleep(2000)
        }
        return false
    }

    /// The value of a line `name:value`, nil if there is none.
    static func field(_ name: String, of info: String) -> String? {
        for line in info.split(separator: "\r\n") where line.hasPrefix("\(name):") {
            return String(line.dropFirst(name.count + 1))
        }
        return nil
    }

    private static func log(_ directory: TemporaryDirectory) -> String {
        (try? String(contentsOfFile: directory.file("log"), encoding: .utf8)) ?? ""
    }

    /// A port that nobody listened on a moment ago.
    public static func freePort() throws -> UInt16 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 ? getsockname(descriptor, $0, &length) : -1
            }
        }
        guard result == 0 else { throw TestSupportError("no free port: errno \(errno)") }
        return UInt16(bigEndian: address.sin_port)
    }
}

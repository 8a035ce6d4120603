import Bytes
import Glibc

/// A redis-server of its own with nothing on disk, to ask what values mean. It listens on a Unix
/// socket in a temporary directory and is killed with the test.
final class RedisJudge {
    enum Reply: Equatable {
        case text(String)
        case error(String)
        case integer(Int)
        case bytes([UInt8]?)
        case array([Reply])

        var bytes: [UInt8]? {
            switch self {
            case .bytes(let bytes): bytes
            case .text(let text): Array(text.utf8)
            case .integer(let value): Array(String(value).utf8)
            default: nil
            }
        }

        var array: [Reply] {
            if case .array(let items) = self { return items }
            return []
        }

        /// Of the values of a reply that alternates names and values.
        subscript(name: String) -> Reply? {
            let items = array
            let index = stride(from: 0, to: items.count - 1, by: 2)
                .first { items[$0].bytes == Array(name.utf8) }
            return index.map { items[$0 + 1] }
        }
    }

    struct Failure: Error, CustomStringConvertible {
        var description: String
    }

    private var process: pid_t = 0
    private let directory: String
    private var descriptor: Int32 = -1
    private var input: [UInt8] = []
    private var position = 0

    init(_ options: String...) throws {
        var template = Array("/tmp/judge-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure(description: "no directory") }
        directory = String(
            decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        let socketPath = directory + "/socket"
        try start(
            [
                "redis-server", "--port", "0", "--unixsocket", socketPath, "--save", "",
                "--dir", directory,
            ] + options)
        try connect(socketPath)
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
        if process > 0 {
            kill(process, SIGKILL)
            waitpid(process, nil, 0)
        }
        unlink(directory + "/socket")
        rmdir(directory)
    }

    /// Starts the server and waits until it says that it is ready.
    private func start(_ arguments: [String]) throws {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw Failure(description: "no pipe") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 2)
        var pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) }
        pointers.append(nil)
        let result = posix_spawnp(&process, arguments[0], &actions, nil, pointers, environ)
        for pointer in pointers { free(pointer) }
        posix_spawn_file_actions_destroy(&actions)
        close(ends[1])
        // Its later words go nowhere, so that they cannot block it.
        defer { close(ends[0]) }
        guard result == 0 else { throw Failure(description: "redis-server does not start") }
        var log = ""
        while !log.contains("Ready to accept connections")
            && !log.contains("ready to accept connections")
        {
            var chunk = [UInt8](repeating: 0, count: 4096)
            let count = read(ends[0], &chunk, chunk.count)
            guard count > 0 else { throw Failure(description: "redis-server: \(log)") }
            log += String(decoding: chunk[..<count], as: UTF8.self)
        }
    }

    private func connect(_ path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else { throw Failure(description: "cannot connect to \(path)") }
        // A server that hangs fails the test.
        var limit = timeval(tv_sec: 30, tv_usec: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    @discardableResult
    func call(_ arguments: String...) throws -> Reply {
        try call(arguments.map { Array($0.utf8) })
    }

    @discardableResult
    func call(_ arguments: [[UInt8]]) throws -> Reply {
        var request = Array("*\(arguments.count)\r\n".utf8)
        for argument in arguments {
            request += Array("$\(argument.count)\r\n".utf8) + argument + [13, 10]
        }
        var sent = 0
        while sent < request.count {
            let count = request[sent...].withUnsafeBytes {
                send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw Failure(description: "redis-server is gone") }
            sent += count
        }
        return try reply()
    }

    /// RESTOREs a value under a key; the reply.
    func restore(_ key: String, _ payload: [UInt8]) throws -> Reply {
        let head = ["RESTORE", key, "0"].map { Array($0.utf8) }
        return try call(head + [payload, Array("REPLACE".utf8)])
    }

    private func fill() throws {
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        let count = recv(descriptor, &chunk, chunk.count, 0)
        guard count > 0 else { throw Failure(description: "redis-server is gone") }
        input.removeFirst(position)
        position = 0
        input += chunk[..<count]
    }

    private func line() throws -> String {
        while true {
            if let end = input[position...].firstIndex(of: 13), end + 1 < input.count {
                defer { position = end + 2 }
                return String(decoding: input[position..<end], as: UTF8.self)
            }
            try fill()
        }
    }

    private func reply() throws -> Reply {
        let head = try line()
        let rest = String(head.dropFirst())
        switch head.first {
        case "+": return .text(rest)
        case "-": return .error(rest)
        case ":": return .integer(Int(rest) ?? 0)
        case "$":
            guard let size = Int(rest), size >= 0 else { return .bytes(nil) }
            while input.count - position < size + 2 { try fill() }
            defer { position += size + 2 }
            return .bytes(Array(input[position..<position + size]))
        case "*":
            guard let count = Int(rest), count >= 0 else { return .array([]) }
            return .array(try (0..<count).map { _ in try reply() })
        default:
            throw Failure(description: "reply \(head)")
        }
    }

    // MARK: - Content of keys

    /// The elements of a key as the reader would give them; those of sets and hashes sorted.
    func elements(_ key: String, _ family: String) throws -> [ReadElement] {
        func items(_ command: String...) throws -> [[UInt8]] {
            try call(command.map { Array($0.utf8) }).array.compactMap(\.bytes)
        }
        func pairs(_ items: [[UInt8]]) -> [([UInt8], [UInt8])] {
            stride(from: 0, to: items.count, by: 2).map { (items[$0], items[$0 + 1]) }
        }
        switch family {
        case "list": return try items("LRANGE", key, "0", "-1").map { ReadElement($0) }
        case "set": return try items("SMEMBERS", key).map { ReadElement($0) }.sorted()
        case "hash": return pairs(try items("HGETALL", key)).map { ReadElement($0, $1) }.sorted()
        case "zset":
            return try pairs(items("ZRANGE", key, "0", "-1", "WITHSCORES")).map { member, score in
                let value = Double(String(decoding: score, as: UTF8.self))
                guard let value else { throw Failure(description: "score \(score)") }
                return ReadElement(member, score: value)
            }
        default: throw Failure(description: "no collection: \(family)")
        }
    }
}

extension ReadElement: Comparable {
    static func < (left: ReadElement, right: ReadElement) -> Bool {
        left.member.lexicographicallyPrecedes(right.member)
    }
}

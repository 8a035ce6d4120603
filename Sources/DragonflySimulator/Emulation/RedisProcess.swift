import CPlatform
import Glibc

/// A redis-server of our own: on a free loopback port, without persistence, with its own directory
/// below TMPDIR. It does not outlive this process, however that ends.
final class RedisProcess {
    /// Starts redis-server in the place of a shell that has left a watcher behind: standard input is
    /// a pipe from us, and when it ends without a line, we died. `$1` is the directory.
    private static let script = """
        exec 3<&0
        directory=$1
        shift
        { read -r line <&3 || { kill -9 $$; rm -rf "$directory"; }; } &
        exec redis-server "$@" </dev/null 3<&-
        """
    private static let startAttempts = 20
    private static let startTimeoutMilliseconds = 20_000

    let port: UInt16
    private let directory: String
    private let identifier: pid_t
    private let pipe: Int32
    private var isRunning = true

    /// Starts `redis-server` (found in PATH) and waits until it answers.
    init() throws(EmulationError) {
        // Between choosing a port and redis-server binding it somebody else may take it.
        for _ in 0..<Self.startAttempts {
            let directory = try Self.makeDirectory()
            let port = try Self.freePort()
            let (identifier, pipe) = try Self.spawn(port: port, directory: directory)
            if Self.waitUntilReady(identifier, port: port, directory: directory) {
                self.port = port
                self.directory = directory
                self.identifier = identifier
                self.pipe = pipe
                return
            }
            let log = Self.log(directory)
            Self.end(identifier, pipe: pipe, directory: directory)
            guard log.contains("Address already in use") else {
                throw EmulationError(
                    description: "redis-server did not start; is it installed? It said: \(log)")
            }
        }
        throw EmulationError(description: "redis-server found no free port on 127.0.0.1")
    }

    deinit { stop() }

    /// Ends the server and removes its directory.
    func stop() {
        guard isRunning else { return }
        isRunning = false
        Self.end(identifier, pipe: pipe, directory: directory)
    }

    private static func end(_ identifier: pid_t, pipe: Int32, directory: String) {
        // The line sends the watcher home before the process id can become somebody else's.
        _ = "\n".withCString { write(pipe, $0, 1) }
        close(pipe)
        kill(identifier, SIGKILL)
        while waitpid(identifier, nil, 0) < 0, errno == EINTR {}
        unlink(directory + "/log")
        rmdir(directory)
    }

    private static func makeDirectory() throws(EmulationError) -> String {
        let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array("\(parent)/df2redis-emulated-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw EmulationError(
                description:
                    "cannot make a directory below \(parent): \(String(cString: strerror(errno)))"
            )
        }
        return String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    private static func freePort() throws(EmulationError) -> UInt16 {
        let listener = cp_listen_loopback(0)
        guard listener >= 0 else {
            throw EmulationError(description: "no free port on 127.0.0.1 for redis-server")
        }
        defer { close(listener) }
        return UInt16(truncatingIfNeeded: cp_local_port(listener))
    }

    private static func spawn(
        port: UInt16, directory: String
    ) throws(EmulationError) -> (identifier: pid_t, pipe: Int32) {
        var reader: Int32 = -1
        var writer: Int32 = -1
        let failure = cp_pipe(&reader, &writer)
        guard failure == 0 else {
            throw EmulationError(description: "no pipe for redis-server: errno \(-failure)")
        }
        defer { close(reader) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, reader, 0)
        let log = directory + "/log"
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        // A group of its own: a terminal's Ctrl-C is for us alone.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
        posix_spawnattr_setpgroup(&attributes, 0)

        let words = ["sh", "-c", script, "sh", directory] + options(port, directory)
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
        arguments.append(nil)
        defer { for argument in arguments { free(argument) } }
        var identifier = pid_t()
        let code = posix_spawn(
            &identifier, "/bin/sh", &actions, &attributes, arguments, environ)
        guard code == 0 else {
            close(writer)
            throw EmulationError(description: "cannot start redis-server: errno \(code)")
        }
        return (identifier, writer)
    }

    private static func options(_ port: UInt16, _ directory: String) -> [String] {
        [
            "--port", "\(port)", "--bind", "127.0.0.1", "--dir", directory, "--save", "",
            "--appendonly", "no", "--databases", "\(Keyspace.databaseCount)",
            "--enable-debug-command", "yes",
        ]
    }

    /// Asks until the server that answers is the one with our directory; false if ours has ended.
    private static func waitUntilReady(
        _ identifier: pid_t, port: UInt16, directory: String
    ) -> Bool {
        let end = deadline(afterMilliseconds: startTimeoutMilliseconds)
        while cp_monotonic_nanoseconds() < end {
            var status = siginfo_t()
            let options = WEXITED | WNOHANG | WNOWAIT
            // The id stays taken until `end` waits for it.
            waitid(P_PID, id_t(identifier), &status, options)
            if status.si_signo != 0 { return false }
            if let client = try? TargetClient(host: "127.0.0.1", port: port),
                let reply = try? client.call("CONFIG GET dir"),
                let answered = reply["dir"]?.bytes
            {
                return String(decoding: answered, as: UTF8.self) == realPath(directory)
            }
            usleep(2000)
        }
        return false
    }

    private static func realPath(_ path: String) -> String {
        guard let real = realpath(path, nil) else { return path }
        defer { free(real) }
        return String(cString: real)
    }

    private static func log(_ directory: String) -> String {
        let bytes = (try? Files.read(directory + "/log")) ?? []
        return String(decoding: bytes.suffix(600), as: UTF8.self)
    }
}

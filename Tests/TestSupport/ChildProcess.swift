import Foundation

/// A process started by a test. What it prints goes to files, so that no pipe can fill or be kept
/// open by another child. It is killed when the last reference goes; should the test itself be
/// killed, `Tests/run` ends it by the file `pid` in its directory.
public final class ChildProcess: @unchecked Sendable {
    // Sendable: `process` is set up before it runs and then only asked for its id and its end.
    private let process = Process()
    private let end = ProcessEnd()
    private let directory: TemporaryDirectory

    /// How a process ended.
    public struct Outcome: Sendable, Equatable {
        /// Exit code, or 128 + the number of the signal that ended it.
        public var exitCode: Int32
        public var standardOutput: String
        public var standardError: String
    }

    /// Starts `executable` (an absolute path).
    /// - Parameter environment: added to that of the test.
    /// - Throws: if it cannot be started.
    public init(
        _ executable: String, _ arguments: [String], environment: [String: String] = [:]
    ) throws {
        directory = try TemporaryDirectory()
        process.executableURL = URL(fileURLWithPath: executable)
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment
            .merging(environment) { _, added in added }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = try Self.create(directory.file("output"))
        process.standardError = try Self.create(directory.file("error"))
        // Not self: the last reference must not go on the thread that calls the handler.
        process.terminationHandler = { [end] _ in end.announce() }
        try process.run()
        let pid = Data("\(process.processIdentifier)\n".utf8)
        try pid.write(to: URL(fileURLWithPath: directory.file("pid")))
    }

    deinit { kill() }

    public var processIdentifier: Int32 { process.processIdentifier }

    public var isRunning: Bool { !end.hasCome }

    /// Sends a signal; nothing happens if the process has ended.
    public func signal(_ number: Int32) {
        let identifier = process.processIdentifier
        // 0, which would be our own group, if it was never started.
        if identifier > 0, isRunning { _ = Glibc.kill(identifier, number) }
    }

    /// Ends the process at once and waits until it has gone.
    public func kill() {
        guard process.processIdentifier > 0 else { return }
        signal(SIGKILL)
        _ = end.wait(timeoutSeconds: 30)
    }

    /// Waits for the end of the process.
    /// - Throws: `TestSupportError` with what it printed if that takes longer than
    ///   `timeoutSeconds`; the process is killed then.
    public func waitForEnd(timeoutSeconds: Double) throws -> Outcome {
        guard end.wait(timeoutSeconds: timeoutSeconds) else {
            kill()
            throw TestSupportError(
                """
                \(process.executableURL?.lastPathComponent ?? "process") did not end within \
                \(timeoutSeconds) s
                \(standardOutput)\(standardError)
                """)
        }
        let bySignal = process.terminationReason == .uncaughtSignal
        return Outcome(
            exitCode: process.terminationStatus + (bySignal ? 128 : 0),
            standardOutput: standardOutput, standardError: standardError)
    }

    /// What has been printed so far.
    public var standardOutput: String { String(decoding: standardOutputBytes, as: UTF8.self) }
    public var standardError: String {
        String(decoding: Self.bytes(directory.file("error")), as: UTF8.self)
    }
    public var standardOutputBytes: [UInt8] { Self.bytes(directory.file("output")) }

    private static func create(_ path: String) throws -> FileHandle {
        guard FileManager.default.createFile(atPath: path, contents: nil),
            let handle = FileHandle(forWritingAtPath: path)
        else { throw TestSupportError("cannot write \(path)") }
        return handle
    }

    private static func bytes(_ path: String) -> [UInt8] {
        FileManager.default.contents(atPath: path).map { Array($0) } ?? []
    }
}

/// Says to other threads that a process has ended.
private final class ProcessEnd: @unchecked Sendable {
    // Sendable: `come` is guarded by `condition`.
    private let condition = NSCondition()
    private var come = false

    var hasCome: Bool { condition.withLock { come } }

    func announce() {
        condition.withLock {
            come = true
            condition.broadcast()
        }
    }

    /// False if it has not come in time.
    func wait(timeoutSeconds: Double) -> Bool {
        let deadline = Date(timeIntervalSinceNow: timeoutSeconds)
        return condition.withLock {
            while !come {
                if !condition.wait(until: deadline) { return come }
            }
            return true
        }
    }
}

/// The programs of this package, as built together with the running tests.
public enum BuiltProgram: String, Sendable {
    case df2redis
    case simulator = "df2redis-simulator"

    /// Path of the executable, beside the test bundle.
    /// - Throws: `TestSupportError` if there is none.
    public func path() throws -> String {
        var places = CommandLine.arguments
        if let own = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe") {
            places.append(own)
        }
        for place in places where place.contains("/") {
            let folder = URL(fileURLWithPath: place).deletingLastPathComponent().path
            let candidate = "\(folder)/\(rawValue)"
            if FileManager.default.isExecutableFile(atPath: candidate) { return candidate }
        }
        throw TestSupportError("\(rawValue) is not beside the test bundle: run `swift build`")
    }

    /// Starts the program.
    public func start(
        _ arguments: [String], environment: [String: String] = [:]
    ) throws -> ChildProcess {
        try ChildProcess(path(), arguments, environment: environment)
    }

    /// Runs the program to its end.
    public func run(
        _ arguments: [String], environment: [String: String] = [:], timeoutSeconds: Double = 60
    ) throws -> ChildProcess.Outcome {
        try start(arguments, environment: environment).waitForEnd(timeoutSeconds: timeoutSeconds)
    }
}

/// Finds a program of the system in PATH.
/// - Throws: `TestSupportError` that names the Debian package if there is none.
public func systemProgram(_ name: String, package: String) throws -> String {
    let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
    for folder in path.split(separator: ":") {
        let candidate = "\(folder)/\(name)"
        if FileManager.default.isExecutableFile(atPath: candidate) { return candidate }
    }
    throw TestSupportError("\(name) is not installed: apt-get install \(package), or Tests/run")
}

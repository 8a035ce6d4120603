import Bytes
import Wire

/// Log-in and questions on a new target connection.
public struct TargetGreeting {
    public enum Outcome {
        case waiting
        case ready(TargetVersion)
        /// `isLogin`: the target was reached but does not let us in.
        case refused(isLogin: Bool, message: String)
    }

    private let user: String?
    private let password: String?
    private let name: String
    private let needsJSON: Bool
    private var isRefused = false
    private var found: TargetVersion?
    public private(set) var version: TargetVersion?
    /// What the target should get as one argument at most: a quarter of what is free below its
    /// `maxmemory`, for it keeps as much for the next argument of that connection, and others write
    /// meanwhile; none if it has an append-only file, for a command is written to that in one go.
    private(set) var argumentBytesLimit = Int.max
    /// It is a node of a cluster.
    public private(set) var isClusterNode = false
    /// Of its process: another one begins anew.
    public private(set) var runID = ""
    /// Databases of the target that hold keys.
    public private(set) var usedDatabases: [Int] = []

    /// - Parameter needsJSON: without JSON.SET the target is refused.
    public init(user: String?, password: String?, name: String, needsJSON: Bool = false) {
        self.user = user
        self.password = password
        self.name = name
        self.needsJSON = needsJSON
    }

    public var isDone: Bool { version != nil }

    /// Sends all of it; the connection stands.
    public func begin(_ target: TargetConnection) {
        if let password {
            let credentials = user.map { [$0, password] } ?? [password]
            send(["AUTH"] + credentials, .authenticate, target)
        }
        send(["CLIENT", "SETNAME", name], .setName, target)
        send(["INFO"], .information, target)
        if needsJSON {
            send(TargetGreeting.jsonQuestion, .jsonQuestion, target)
        }
    }

    private func send(
        _ words: [String], _ kind: CommandKind, _ target: TargetConnection
    ) {
        let bytes = words.reduce(0) { $0 + TargetConnection.argumentBytes($1.utf8.count) }
        guard (try? target.begin(flow: 0, database: 0, bytes: bytes)) == true else {
            preconditionFailure("a new pipeline has room for the greeting")
        }
        target.header(arguments: words.count)
        for word in words { Array(word.utf8).withByteView { target.argument($0) } }
        target.end(kind, flow: 0, database: 0, nextLSN: 0)
    }

    /// Takes the reply to one of them.
    public mutating func receive(_ reply: TargetReply, _ target: TargetConnection) -> Outcome {
        // After a refused log-in a server without a password still answers the rest.
        guard !isRefused else { return .waiting }
        let outcome = judge(reply, target)
        if case .refused = outcome { isRefused = true }
        return outcome
    }

    private mutating func judge(_ reply: TargetReply, _ target: TargetConnection) -> Outcome {
        let error = reply.reply.hasError ? target.errorText.printable() : ""
        switch reply.command.kind {
        case .authenticate:
            guard error.isEmpty else {
                return .refused(
                    isLogin: true, message: "\(error); check user and password of the target")
            }
        case .information:
            guard error.isEmpty else {
                if error.hasPrefix("NOAUTH") {
                    return .refused(
                        isLogin: true, message: "\(error) Give the target's password")
                }
                let advice =
                    error.hasPrefix("LOADING")
                    ? "try again when it has loaded its data" : "allow +info to this user"
                return .refused(isLogin: false, message: "\(error); \(advice)")
            }
            return judge(InfoText(reply.reply.content), reply.reply.content)
        case .jsonQuestion:
            guard error.isEmpty else { return refuseWithoutJSON(error) }
            version = found
            return found.map { .ready($0) } ?? .waiting
        default:
            break  // A name is a convenience; a target that knows none works as well.
        }
        return .waiting
    }

    private mutating func judge(_ info: InfoText, _ text: ByteView) -> Outcome {
        guard let found = TargetVersion(info: text) else {
            return .refused(isLogin: false, message: "INFO names no redis_version")
        }
        isClusterNode = info.value(of: "cluster_enabled:")?.equals("1") ?? false
        runID = info.value(of: "run_id:")?.printable() ?? ""
        // Any node of a cluster knows the others.
        if !isClusterNode, let role = info.value(of: "role:"), role.equals("slave") {
            return .refused(
                isLogin: false, message: "it is a replica; give the address of its master")
        }
        if let loading = info.value(of: "loading:"), loading.equals("1") {
            return .refused(
                isLogin: false, message: "it is loading its data; try again when it is done")
        }
        if let limit = info.value(of: "maxmemory:")?.parseInteger(), limit > 0 {
            let used = info.value(of: "used_memory:")?.parseInteger() ?? limit
            argumentBytesLimit = Int(max(limit - used, 0) / 4)
        }
        if let enabled = info.value(of: "aof_enabled:"), enabled.equals("1") {
            argumentBytesLimit = 0
        }
        usedDatabases = info.usedDatabases
        self.found = found
        guard !needsJSON else { return .waiting }
        version = found
        return .ready(found)
    }

    /// The keys of a command that a server does not have are an error.
    public static let jsonQuestion = ["COMMAND", "GETKEYS", "JSON.SET", "key", "$", "1"]
    /// What to do about that.
    public static let jsonAdvice =
        "types.json is \"module\": load the target's JSON module, or set types.json to \"string\""

    private func refuseWithoutJSON(_ error: String) -> Outcome {
        guard !error.hasPrefix("NOPERM") else {
            return .refused(isLogin: false, message: "\(error); allow +command to this user")
        }
        return .refused(
            isLogin: false,
            message: "it has no JSON.SET (\(error)); \(TargetGreeting.jsonAdvice)")
    }
}

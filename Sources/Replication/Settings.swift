internal import Bytes
internal import Glibc
internal import Reactor
public import RedisTarget

/// Where a server listens and how to log in.
public struct Endpoint: Sendable, Equatable, CustomStringConvertible {
    public var host: String
    public var port: UInt16
    /// ACL user; nil means the default user.
    public var user: String?
    public var password: String?

    public init(host: String, port: UInt16, user: String? = nil, password: String? = nil) {
        self.host = host
        self.port = port
        self.user = user
        self.password = password
    }

    /// `host:port`, never the password.
    public var description: String {
        host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}

/// A place in the journals of one source process.
public struct SourcePosition: Sendable, Equatable {
    /// The source's replication id.
    public var sourceID: String
    /// Per flow, the LSN of the first record not yet applied.
    public var lsns: [UInt64]

    public init(sourceID: String, lsns: [UInt64]) {
        self.sourceID = sourceID
        self.lsns = lsns
    }
}

/// How fast the target is written to. 0 is no limit.
public struct RateLimits: Sendable, Equatable {
    /// Commands.
    public var operationsPerSecond = 0
    /// Bytes of commands as they are sent.
    public var bytesPerSecond = 0
    /// Replies that take longer make for fewer commands in flight.
    public var maxLatencyMilliseconds = 0

    public init() {}
}

/// What a run does and how. Every size here is fixed for the run; memory follows from them.
public struct ReplicationSettings: Sendable {
    public enum Mode: Sendable {
        /// Snapshot only, up to each flow's offset.
        case migrate
        /// Snapshot, then live until stopped.
        case replicate
    }

    /// How snapshot entries are written.
    public enum WriteMethod: String, Sendable, CaseIterable {
        /// RESTORE for every collection that the target can load, else commands.
        case automatic = "auto"
        /// RESTORE wherever the target can load the encoding, strings included.
        case restore
        /// Native commands for every core type.
        case commands
    }

    /// What happens to keys of the full sync that the target has already.
    public enum ConflictPolicy: String, Sendable, CaseIterable {
        /// They are replaced.
        case overwrite
        /// They are left as they are, now and later.
        case skip
        /// The run ends at the first one.
        case panic
    }

    /// How many reactor threads.
    public enum Cores: Sendable, Equatable, CustomStringConvertible {
        public static let limit = 256

        /// One for each CPU that the process may use.
        case automatic
        case count(Int)
        /// One on each of these CPUs.
        case cpus([Int])

        /// `auto`, a number of threads, or at least two CPUs with commas between them; nil for anything
        /// else.
        public init?(_ text: String) {
            if text == "auto" {
                self = .automatic
                return
            }
            let numbers = text.split(separator: ",", omittingEmptySubsequences: false).map {
                Int($0.trimmingPrefix(" "))
            }
            let known = numbers.compactMap { $0 }
            guard known.count == numbers.count, known.count <= Cores.limit else { return nil }
            if known.count == 1 {
                guard (1...Cores.limit).contains(known[0]) else { return nil }
                self = .count(known[0])
            } else {
                guard Set(known).count == known.count, known.allSatisfy({ $0 >= 0 }) else {
                    return nil
                }
                self = .cpus(known)
            }
        }

        public var description: String {
            switch self {
            case .automatic: "auto"
            case .count(let count): String(count)
            case .cpus(let cpus): cpus.map(String.init).joined(separator: ",")
            }
        }
    }

    /// What kind of target is expected.
    public enum TargetKind: String, Sendable, CaseIterable {
        /// Whatever the first node that answers says it is.
        case automatic = "auto"
        case standalone = "redis-standalone"
        case cluster = "redis-cluster"
    }

    public var mode: Mode
    public var source: Endpoint
    /// Where the target is looked for first. User and password are those of the target, at every node
    /// of it.
    public var target: Endpoint
    public var targetKind = TargetKind.automatic
    /// Further nodes to begin with, if `target` does not answer.
    public var targetSeeds: [Endpoint] = []
    public var clusterAddressing = ClusterAddressing()
    /// Sentinels know the target's master by this name: then `target` and `targetSeeds` are sentinels,
    /// whose user and password are those of the master.
    public var sentinelMaster: String?
    /// Log-in at the sentinels; nil asks them without one.
    public var sentinelPassword: String?
    /// Name of the run, shown in CLIENT LIST of both servers.
    public var taskName: String
    /// Directory for reports; created if missing. Nil writes none.
    public var stateDirectory: String?
    /// Reactor threads, of which never more run than there are flows.
    public var cores = Cores.automatic
    /// Whether each thread stays on one CPU.
    public var pinsThreads: Bool
    /// How long a thread looks for work before it sleeps. 0 lets it sleep at once.
    public var busyPollMicroseconds = 0
    public var writeMethod: WriteMethod
    /// Which keys are carried over, and under which names.
    public var keyRules = KeyRuleSettings()
    public var conflictPolicy: ConflictPolicy
    public var rate = RateLimits()
    /// Receive buffer of one flow, a power of two.
    public var flowRingBytes: Int
    /// Send buffer of one target connection, a power of two.
    public var targetRingBytes: Int
    /// Values above this many encoded bytes are written in parts, without being held.
    public var bigValueBytes: Int
    /// Values above this many encoded bytes are refused by name.
    public var valueBytesLimit: Int
    /// Whether to run although the target will very likely differ, for what is known of the source.
    public var acceptsSourceRisk: Bool
    /// Bytes of `failed.ndjson` that one run writes at most.
    public var deadLetterBytesLimit: Int
    /// What becomes of values that a Redis without modules cannot hold.
    public var types = TypePolicy()
    /// Where an earlier run ended: ask for the journal from there instead of a full sync.
    public var position: SourcePosition?

    public init(mode: Mode, source: Endpoint, target: Endpoint) {
        self.mode = mode
        self.source = source
        self.target = target
        taskName = "df2redis"
        pinsThreads = true
        writeMethod = .automatic
        conflictPolicy = .overwrite
        flowRingBytes = 1 << 20
        targetRingBytes = 4 << 20
        bigValueBytes = 1 << 20
        valueBytesLimit = 64 << 30
        acceptsSourceRisk = false
        deadLetterBytesLimit = 64 << 20
    }

    /// What cannot be written in parts, and is held: one element, a packed container, a journal
    /// record, a value under repair. No string of a Redis is larger.
    public var heldBytesLimit: Int { min(valueBytesLimit, 512 << 20) }

    /// The CPUs that this process may use.
    public static func availableCPUs() throws(RunError) -> [Int] {
        do throws(SystemError) {
            return try CoreThread.availableCPUs()
        } catch {
            throw RunError(.interrupted, "cannot tell which CPUs there are: \(error)")
        }
    }

    /// For each core that there may be the CPU that it stays on; nil lets it float. Asked on a thread
    /// that is not pinned.
    func cpusOfCores() throws(SystemError) -> [Int?] {
        let available = try CoreThread.availableCPUs()
        let wanted: [Int] =
            switch cores {
            case .automatic: available
            case .count(let count): (0..<count).map { available[$0 % available.count] }
            case .cpus(let cpus): cpus
            }
        // The expiries that we carry out are kept by one core.
        let used = types.expiresByUs ? wanted.prefix(1) : wanted[...]
        return used.map { pinsThreads ? $0 : nil }
    }

    /// Where files lie that end with the run.
    var spillDirectory: String {
        if let stateDirectory { return stateDirectory }
        guard let variable = getenv("TMPDIR") else { return "/tmp" }
        return String(cString: variable)
    }
}

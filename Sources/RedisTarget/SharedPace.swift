internal import Synchronization

/// What holds for all connections to the target together, whatever core they belong to.
public final class SharedPace: Sendable {
    let operations = TokenBucket()
    let bytes = TokenBucket()
    private let pauses = Atomic<Bool>(false)
    private let latencyLimit = Atomic<Int>(0)
    private let ends = Atomic<Bool>(false)
    private let limitsNothing = Atomic<Bool>(true)
    private let servers = Mutex<[String: ServerMemory]>([:])

    public init() {}

    /// The operator wants nothing to be written.
    public var isPaused: Bool {
        get { pauses.load(ordering: .relaxed) }
        set {
            pauses.store(newValue, ordering: .relaxed)
            noteLimits()
        }
    }

    /// 0 is no limit.
    public var latencyMilliseconds: Int { latencyLimit.load(ordering: .relaxed) }

    /// What is known of a server's memory, by all connections to it.
    func memory(of server: String) -> ServerMemory {
        servers.withLock { servers in
            if let memory = servers[server] { return memory }
            let memory = ServerMemory()
            servers[server] = memory
            return memory
        }
    }

    var isEnding: Bool { ends.load(ordering: .relaxed) }

    /// Whether all of this says nothing, which is what nearly every command asks.
    var isOpen: Bool { limitsNothing.load(ordering: .relaxed) }

    /// What is still to be written ends the run: only the rates hold it up.
    public func end() {
        ends.store(true, ordering: .relaxed)
        latencyLimit.store(0, ordering: .relaxed)
        isPaused = false
    }

    /// For the one thread that takes the operator's requests.
    public func setRates(operations: Int, bytes: Int, latencyMilliseconds: Int) {
        self.operations.setRate(operations)
        self.bytes.setRate(bytes)
        latencyLimit.store(isEnding ? 0 : latencyMilliseconds, ordering: .relaxed)
        noteLimits()
    }

    private func noteLimits() {
        let isOpen = operations.rate == 0 && bytes.rate == 0 && !isPaused && !isEnding
        limitsNothing.store(isOpen, ordering: .relaxed)
    }

    /// When the rates let the next command through.
    public var ratesOpenAt: Int64 { max(operations.opensAt, bytes.opensAt) }
}

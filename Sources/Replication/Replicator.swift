internal import Bytes
internal import CPlatform
internal import Reactor
internal import Synchronization

/// One run: connects to both servers, does the job on its own threads, and reports.
///
///     let replicator = try Replicator(settings: settings)
///     try replicator.start()
///     // Wait until endDescriptor is readable, reading progress() meanwhile.
///     let report = replicator.waitForEnd()
public final class Replicator: Sendable {
    public let settings: ReplicationSettings
    /// As given, if the target is known to sentinels.
    private let sentinels: ReplicationSettings?
    private let shared: CoreShared
    private let core: Core

    /// - Throws: `RunError` if a host name cannot be resolved or a resource cannot be had.
    public init(settings: ReplicationSettings) throws(RunError) {
        sentinels = settings.sentinelMaster == nil ? nil : settings
        var settings = settings
        if let master = settings.sentinelMaster {
            settings.target = try Replicator.master(named: master, settings)
            settings.targetSeeds = []
        }
        self.settings = settings
        let source = try Replicator.resolve(settings.source, "source")
        let targets = try Replicator.targetPlaces(settings)
        // One connection for each core and node of the target. Without the room a socket says so.
        _ = cp_raise_descriptor_limit()
        do throws(SystemError) {
            shared = try CoreShared(settings)
            core = try Core(settings: settings, shared: shared, source: source, targets: targets)
        } catch {
            throw RunError(.unreachable, "cannot begin to connect to \(settings.target): \(error)")
        }
    }

    /// Where to look for the target, in this order; at least one. A name that cannot be resolved is
    /// passed over if there are others.
    static func targetPlaces(
        _ settings: ReplicationSettings
    ) throws(RunError) -> [TargetPlace] {
        var places: [TargetPlace] = []
        var firstError: RunError?
        for endpoint in [settings.target] + settings.targetSeeds {
            do throws(RunError) {
                let address = try resolve(endpoint, "target")
                places.append(
                    TargetPlace(host: endpoint.host, port: endpoint.port, address: address))
            } catch {
                firstError = firstError ?? error
            }
        }
        if places.isEmpty, let firstError { throw firstError }
        return places
    }

    static func resolve(
        _ endpoint: Endpoint, _ side: String
    ) throws(RunError) -> cp_address {
        var address = cp_address()
        let result = endpoint.host.withCString { cp_resolve($0, endpoint.port, &address) }
        guard result == 0 else {
            let reason = String(cString: cp_resolve_message(result))
            throw RunError(
                .unreachable, "cannot find the \(side) host \(endpoint.host): \(reason)")
        }
        return address
    }

    /// Starts the threads. Call once.
    public func start() throws(RunError) {
        let facts = Replicator.sourceFacts(settings)
        try Replicator.refuse(facts.risks, settings)
        core.totals.sourceRisks = facts.risks
        core.totals.sourceKeys = facts.keys
        core.sourceDatabases = facts.databases
        core.journalWriter.memcachedIncrements = facts.servesMemcached
        do throws(SystemError) {
            if let sentinels, let name = sentinels.sentinelMaster {
                try CoreThread.start(
                    SentinelWatch(sentinels, name: name, shared), name: "sentinels", pinnedTo: nil)
            }
            try core.start()
        } catch {
            throw RunError(.interrupted, "cannot start a thread: \(error)")
        }
    }

    /// Asks for an orderly end: the source is left as it wants to be (protocol.md 9.1), what is in
    /// flight is answered, then the run ends. A second call ends it at once.
    public func requestStop() {
        shared.sendAll(.stop)
    }

    /// Changes the limits of a run under way.
    public func setRate(_ rate: RateLimits) {
        request { $0.rate = rate }
    }

    /// Stops writing to the target, or goes on. While it is paused the source is read only as far as
    /// buffers reach: then its writers wait.
    public func setPaused(_ isPaused: Bool) {
        request { $0.isPaused = isPaused }
    }

    /// Has a key's value read from the source again and written. False if too many such requests wait.
    public func requestRepair(database: Int, key: [UInt8]) -> Bool {
        var isTaken = false
        request { isTaken = $0.addRepair(database: database, key: key) }
        return isTaken
    }

    /// What was asked for last; it takes effect within moments.
    public func requestedPace() -> (rate: RateLimits, isPaused: Bool) {
        shared.requests.withLock { ($0.rate, $0.isPaused) }
    }

    private func request(_ change: (inout ControlRequests) -> Void) {
        shared.requests.withLock { change(&$0) }
        shared.send(.requests, to: 0)
    }

    /// Readable (poll) once the run has ended.
    public var endDescriptor: Int32 { shared.endDescriptor }

    /// A consistent copy of the counters, at most 100 ms old.
    public func progress() -> Progress { shared.progress }

    /// Waits for the end of the run.
    public func waitForEnd() -> RunReport {
        while true {
            if let report = shared.report { return report }
            let result = cp_wait_two(shared.endDescriptor, -1, -1)
            precondition(result >= 0, "an event descriptor can be waited for")
        }
    }
}

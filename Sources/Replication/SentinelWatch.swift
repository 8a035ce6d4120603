internal import Bytes
internal import CPlatform
internal import Reactor
internal import Synchronization

/// Asks the sentinels every second who the target's master is, on a thread of its own, as long as the
/// run lasts.
final class SentinelWatch: CoreBody {
    private static let pauseMilliseconds: Int32 = 1000

    /// Whose target are the sentinels.
    private let settings: ReplicationSettings
    private let name: String
    private let shared: CoreShared

    init(_ settings: ReplicationSettings, name: String, _ shared: CoreShared) {
        self.settings = settings
        self.name = name
        self.shared = shared
    }

    func runCore() {
        while shared.report == nil {
            // Without an answer the last one holds.
            if let master = try? Replicator.master(named: name, settings),
                let address = try? Replicator.resolve(master, "target")
            {
                shared.master.withLock {
                    $0 = TargetPlace(host: master.host, port: master.port, address: address)
                }
            }
            let result = cp_wait_two(shared.endDescriptor, -1, SentinelWatch.pauseMilliseconds)
            precondition(result >= 0, "an event descriptor can be waited for")
        }
    }
}

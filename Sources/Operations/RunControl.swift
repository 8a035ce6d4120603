public import Replication

/// The run as the control socket sees it.
public protocol ControllableRun {
    func requestStop()
    func setRate(_ rate: RateLimits)
    func setPaused(_ isPaused: Bool)
    func requestRepair(database: Int, key: [UInt8]) -> Bool
    func requestedPace() -> (rate: RateLimits, isPaused: Bool)
}

extension Replicator: ControllableRun {}

/// Carries out requests.
public enum RunControl {
    /// - Parameter status: what the run says of itself now.
    /// - Returns: the reply, and whether the end was asked for.
    public static func answer(
        _ request: ControlRequest, run: some ControllableRun, status: RunStatus
    ) -> (reply: JSONValue, isStop: Bool) {
        switch request {
        case .status:
            return (status.json, false)
        case .rate(let operations, let bytes, let latency):
            var rate = run.requestedPace().rate
            if let operations { rate.operationsPerSecond = operations }
            if let bytes { rate.bytesPerSecond = bytes }
            if let latency { rate.maxLatencyMilliseconds = latency }
            if rate != run.requestedPace().rate { run.setRate(rate) }
            return (done(("rate", JSONValue(rate))), false)
        case .pause, .resume:
            guard status.progress.phase < .stopping else {
                return (ControlServer.error("the run is ending"), false)
            }
            run.setPaused(request == .pause)
            return (done(("paused", .boolean(request == .pause))), false)
        case .repair(let database, let key):
            if let obstacle = obstacle(status.progress) {
                return (ControlServer.error(obstacle), false)
            }
            guard run.requestRepair(database: database, key: key) else {
                return (ControlServer.error("too many keys wait; try again in a moment"), false)
            }
            return (done(), false)
        case .stop:
            run.requestStop()
            return (done(), true)
        }
    }

    private static func done(_ members: (String, JSONValue)...) -> JSONValue {
        .object([("ok", .boolean(true))] + members)
    }

    /// Why no key can be repaired now.
    private static func obstacle(_ progress: Progress) -> String? {
        if progress.phase >= .stopping { return "the run is ending" }
        guard progress.knowsPlacement else {
            return "which flow a key belongs to is not known yet; ask again when more keys have"
                + " been read"
        }
        return nil
    }
}

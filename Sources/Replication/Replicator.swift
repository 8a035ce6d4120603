/// One run: connects to both servers, does the job on its own threads, and reports.
public final class Replicator: Sendable {
    public let settings: ReplicationSettings

    /// - Throws: `RunError` if a host name cannot be resolved or memory cannot be had.
    public init(settings: ReplicationSettings) throws(RunError) {
        self.settings = settings
    }

    /// Starts the threads. Call once.
    public func start() throws(RunError) {
        throw RunError(.refused, "not there yet")
    }

    /// Asks for an orderly end: the source is left as protocol.md 2.7 wants it, what is held is
    /// applied, then the run ends. A second call ends it at once.
    public func requestStop() {}

    /// Readable (poll) once the run has ended.
    public var endDescriptor: Int32 { -1 }

    /// A consistent copy of the counters.
    public func progress() -> Progress { Progress() }

    /// Waits for the end of the run.
    public func waitForEnd() -> RunReport {
        RunReport(progress: Progress(), error: nil, stopped: false)
    }

    /// Connects and logs in to both servers, asks what they are, and leaves: what `--dry-run` does.
    /// Nothing is written and no session is opened on the source. Returns lines for the operator.
    public static func rehearse(_ settings: ReplicationSettings) throws(RunError) -> [String] {
        []
    }
}

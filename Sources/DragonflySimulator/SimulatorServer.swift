public import Bytes
import CPlatform

/// What a simulated master serves.
public enum SimulatorSource: Sendable {
    /// The bytes a real master sent. A flow that asks for an LSN of the recorded journal resumes
    /// there (PARTIAL) and goes on with `continuation`, a recording that resumed where the first
    /// one stopped (`Recording.continues`; another one traps).
    case recording(Recording, continuation: Recording? = nil)
    /// Generated data and, after it, generated traffic.
    case synthetic(SyntheticData, traffic: LiveTraffic? = nil, encoding: SnapshotOptions = .init())
    /// A master with a redis-server for its data: it executes commands, journals them, and sends
    /// snapshots of what is there. See `SimulatorServer.execute`.
    case emulated(EmulationOptions)
}

/// How a simulated master behaves.
public struct SimulatorOptions: Sendable {
    /// The loopback port to listen on; 0 lets the kernel choose.
    public var port: UInt16 = 0
    /// Demanded by AUTH when set.
    public var password: String?
    /// The user that `password` belongs to.
    public var user = "default"
    public var segmentation = Segmentation.whole
    public var pacing = Pacing.unlimited
    /// Further users for AUTH.
    public var users: [SimulatorUser] = []
    /// How many DFLY commands are answered LOADING before the first one is executed.
    public var loadingReplies = 0
    /// How many DUMPs are answered in turns LOADING and BUSY before the first one is executed.
    public var busyReads = 0
    /// Room for unsent bytes of a flow in the kernel; nil leaves it to the system.
    public var sendBufferBytes: Int?
    /// How long the master takes to read one ACK.
    public var readDelayMilliseconds = 0
    public var faults: [Fault] = []

    public init() {}
}

/// A fake Dragonfly master on a loopback port, for tests, demonstration and benchmarks.
///
/// It speaks the master's side of protocol.md sections 2 to 5 over real sockets, and keeps a list of
/// everything a replica did that it must not do. All functions may be called from any thread.
public final class SimulatorServer: Sendable {
    let master: Master

    /// Listens, but accepts nobody before `start`.
    ///
    /// Throws `SystemError` if the port cannot be had or the content cannot be prepared for want of
    /// memory, `EmulationError` if an emulated master's redis-server does not start.
    public init(source: SimulatorSource, options: SimulatorOptions = SimulatorOptions()) throws {
        let state: Monitor<MasterState>
        let content: any FlowContent
        switch source {
        case .recording(let recording, let continuation):
            content = RecordedContent(recording, continuation: continuation)
            state = Monitor(MasterState(flowCount: recording.flows.count))
        case .synthetic(let data, let traffic, let encoding):
            content = try SyntheticContent(data: data, traffic: traffic, options: encoding)
            state = Monitor(MasterState(flowCount: data.flowCount))
        case .emulated(let emulation):
            state = Monitor(MasterState(flowCount: emulation.flowCount))
            content = try EmulatedContent(emulation, state: state)
        }
        master = try Master(content: content, state: state, options: options)
    }

    /// The port it listens on.
    public var port: UInt16 { master.port }

    /// The 40 hex characters that name this master.
    public var masterId: String { master.content.identity.masterId }

    public var flowCount: Int { master.content.identity.flowCount }

    /// Begins to accept connections.
    public func start() throws(SystemError) {
        try master.start()
    }

    /// Closes everything and returns when all threads are gone. It cannot be started again.
    public func stop() {
        master.stop()
        (master.content as? EmulatedContent)?.stop()
    }

    /// Ends all sessions as if the network had: the sockets of flows and control connections close.
    /// Clients may connect again at once.
    public func dropConnections() {
        master.state.update { $0.endAllConnections() }
    }

    /// What replicas did wrong so far, in order.
    public var breaches: [Breach] {
        master.state.update { state in
            state.judgePings(now: cp_monotonic_nanoseconds())
            return state.breaches
        }
    }

    /// Why the emulated master cannot go on; nil as long as it can.
    public var failure: EmulationError? {
        master.state.read { state in
            for case .masterFailed(let text) in state.breaches {
                return EmulationError(description: text)
            }
            return nil
        }
    }

    /// Whether another master has taken over by `DFLY TAKEOVER`: nobody is served any more.
    public var wasTakenOver: Bool { master.state.read { $0.wasTakenOver } }

    /// How many connections ended with a reset instead of an orderly close.
    public var resetCount: Int { master.state.read { $0.resets } }

    /// Sessions opened so far.
    public var sessionCount: Int { master.state.read { $0.lastSession } }

    /// Bytes sent on a flow, over all sessions, the reply to `DFLY FLOW` not counted.
    public func bytesSent(flow: Int) -> Int {
        master.state.read { $0.flows[flow].bytesSent }
    }

    /// Every ACK of a flow, over all sessions, in order of arrival.
    public func acknowledgements(flow: Int) -> [UInt64] {
        master.state.read { $0.flows[flow].acknowledgements }
    }

    /// The newest ACK of a flow.
    public func lastAcknowledged(flow: Int) -> UInt64? {
        master.state.read { $0.flows[flow].acknowledgements.last }
    }

    /// The LSN of the next journal entry of a flow, as `DFLY REPLICAOFFSET` answers it.
    public func nextLSN(flow: Int) -> UInt64 {
        master.content.nextLSN(flow: flow)
    }

    /// Waits until every flow of the newest session is sent to its end; false after the timeout.
    public func waitUntilSent(timeoutMilliseconds: Int) -> Bool {
        wait(timeoutMilliseconds) { $0.newest?.isFinished == true }
    }

    /// Waits until the newest ACK of a flow is `value` or more; false after the timeout.
    public func waitForAcknowledgement(
        flow: Int, atLeast value: UInt64, timeoutMilliseconds: Int
    ) -> Bool {
        wait(timeoutMilliseconds) { ($0.flows[flow].acknowledgements.last ?? 0) >= value }
    }

    /// Waits until at least `count` bytes were sent on a flow, over all sessions; false after the
    /// timeout.
    public func waitForBytes(flow: Int, atLeast count: Int, timeoutMilliseconds: Int) -> Bool {
        master.state.update { $0.byteWaiters += 1 }
        defer { master.state.update { $0.byteWaiters -= 1 } }
        return wait(timeoutMilliseconds) { $0.flows[flow].bytesSent >= count }
    }

    /// Waits until at least one session was opened and all connections are closed again; false after
    /// the timeout.
    public func waitUntilLeft(timeoutMilliseconds: Int) -> Bool {
        wait(timeoutMilliseconds) { $0.lastSession > 0 && $0.descriptors.isEmpty }
    }

    /// Waits until at least `count` breaches are recorded; false after the timeout.
    public func waitForBreaches(_ count: Int, timeoutMilliseconds: Int) -> Bool {
        wait(timeoutMilliseconds) { $0.breaches.count >= count }
    }

    func wait(
        _ timeoutMilliseconds: Int, _ condition: (MasterState) -> Bool
    ) -> Bool {
        let limit = deadline(afterMilliseconds: timeoutMilliseconds)
        return master.state.wait(until: limit) { condition($0) ? true : nil } ?? false
    }

    /// One line of JSON: port, sessions, per flow bytes and last ACK, breaches, resets, CPU seconds of
    /// the process and of it between the start of the first session and the last byte sent.
    public func report() -> String {
        let state = master.state.read { $0 }
        let flows = state.flows.indices.map { flow in
            let record = state.flows[flow]
            let last = record.acknowledgements.last.map(String.init) ?? "null"
            return "{\"flow\":\(flow),\"bytesSent\":\(record.bytesSent),"
                + "\"lastAcknowledged\":\(last),"
                + "\"acknowledgements\":\(record.acknowledgements.count),"
                + "\"nextLSN\":\(nextLSN(flow: flow))}"
        }
        let breaches = state.breaches.map { JSONText.quoted($0.description) }
        let cpu = cp_process_cpu_nanoseconds()
        let sessionCPU = state.cpuAtStart.map { (state.cpuAtEnd ?? cpu) - $0 } ?? 0
        return "{\"port\":\(port),\"sessions\":\(state.lastSession),"
            + "\"flows\":[\(flows.joined(separator: ","))],"
            + emulationReport()
            + "\"breaches\":[\(breaches.joined(separator: ","))],\"resets\":\(state.resets),"
            + "\"cpuSeconds\":\(Double(cpu) / 1e9),"
            + "\"sendingCpuSeconds\":\(Double(sessionCPU) / 1e9)}"
    }
}

import Bytes
import CPlatform
import Glibc

/// The running master behind a `SimulatorServer`: what its threads share, and the threads.
final class Master: Sendable {
    let options: SimulatorOptions
    let content: any FlowContent
    let state: Monitor<MasterState>
    let port: UInt16
    private let listener: Int32

    init(
        content: any FlowContent, state: Monitor<MasterState>, options: SimulatorOptions
    ) throws(SystemError) {
        let listener = cp_listen_loopback(options.port)
        guard listener >= 0 else { throw SystemError(result: listener) }
        let port = cp_local_port(listener)
        guard port > 0 else {
            _ = cp_close(listener)
            throw SystemError(result: port)
        }
        self.listener = listener
        self.port = UInt16(port)
        self.content = content
        self.options = options
        self.state = state
    }

    deinit {
        _ = cp_close(listener)
    }

    func record(_ breach: Breach) {
        state.update { $0.breaches.append(breach) }
    }

    func start() throws(SystemError) {
        try runThread(named: "sim-accept") { [self] in acceptConnections() }
    }

    /// Ends all connections and accepts no more, as a process that exits because another one took
    /// over. `stop` is still needed.
    func shutDown() {
        _ = Glibc.shutdown(listener, Int32(SHUT_RDWR))
        state.update { state in
            state.wasTakenOver = true
            state.endAllConnections()
        }
    }

    /// Shuts everything down and waits for the threads.
    func stop() {
        _ = Glibc.shutdown(listener, Int32(SHUT_RDWR))
        state.update { state in
            state.isStopping = true
            state.frozen = []
            for session in state.sessions.keys { state.cancel(session: session) }
            for connection in state.descriptors.keys { state.shutDown(connection: connection) }
        }
        _ = state.wait { $0.threadCount == 0 ? true : nil }
    }

    /// Starts a thread that `stop` waits for.
    func runThread(
        named name: String, _ body: @escaping @Sendable () -> Void
    ) throws(SystemError) {
        state.update { $0.threadCount += 1 }
        do {
            try startThread(named: name) { [state] in
                body()
                state.update { $0.threadCount -= 1 }
            }
        } catch {
            state.update { $0.threadCount -= 1 }
            throw error
        }
    }

    private func acceptConnections() {
        while true {
            let descriptor = cp_accept(listener)
            if descriptor == -ECONNABORTED { continue }
            guard descriptor >= 0 else { return }
            let number: Int? = state.update { state in
                guard !state.isStopping else { return nil }
                state.lastConnection += 1
                state.descriptors[state.lastConnection] = descriptor
                return state.lastConnection
            }
            guard let number else {
                _ = cp_close(descriptor)
                return
            }
            do {
                try runThread(named: "sim-\(number)") { [self] in
                    serve(connection: number, descriptor: descriptor)
                }
            } catch {
                close(connection: number, descriptor: descriptor)
            }
        }
    }

    private func serve(connection number: Int, descriptor: Int32) {
        do {
            let connection = try Connection(number: number, descriptor: descriptor, master: self)
            connection.serve()
            leave(connection)
        } catch {
            // Without memory for its buffers a connection is just closed.
        }
        close(connection: number, descriptor: descriptor)
    }

    /// The reader of a connection is done: ends what depended on it, and waits for its writer.
    private func leave(_ connection: Connection) {
        guard case .flow(let session, let index) = connection.role else {
            if connection.wasLeft { awaitFlowEnds(ofControl: connection.number) }
            return state.update {
                $0.controlClosed(connection.number, byClient: connection.wasLeft)
            }
        }
        if connection.sawEnd {
            (content as? EmulatedContent)?.sendLast(
                session: session, flow: index, connection: connection.number)
        }
        state.update { $0.cancel(session: session) }
        _ = state.wait { state in
            state.sessions[session]?.flows[index]?.writerRuns == true ? nil : true
        }
        // A client that closes with bytes unread makes its kernel send a reset (protocol.md 9.1).
        if connection.sawEnd,
            SocketEnd.endsWithReset(connection.descriptor, timeoutMilliseconds: 2000)
        {
            noteReset(connection: connection.number, flow: index)
        }
    }

    /// Lets the flows of a control connection that ended leave first, if they have ended. Their
    /// ends may be delivered a little after that of the control connection, although they were
    /// sent before: that is given the time of a scheduler's tick or two.
    private func awaitFlowEnds(ofControl number: Int) {
        for round in 0..<400 {
            let (open, present) = state.read { state in
                (state.openFlows(ofControl: number), state.hasFlows(ofControl: number))
            }
            if !present || (!open.isEmpty && round >= 20) { return }
            usleep(500)
        }
    }

    /// A connection ended with a reset, unless this side broke it.
    func noteReset(connection: Int, flow: Int?) {
        state.update { state in
            guard !state.isStopping, state.broken.insert(connection).inserted else { return }
            state.resets += 1
            state.breaches.append(.reset(flow: flow))
        }
    }

    private func close(connection number: Int, descriptor: Int32) {
        state.update { $0.descriptors[number] = nil }
        _ = cp_close(descriptor)
    }

    /// Starts the thread that writes a flow's stream, after its FLOW reply was sent.
    func startWriter(for flow: OpenedFlow, descriptor: Int32) {
        setWriterRuns(true, flow)
        do {
            try runThread(named: "sim-flow-\(flow.index)") { [self] in
                write(flow, descriptor: descriptor)
                setWriterRuns(false, flow)
            }
        } catch {
            setWriterRuns(false, flow)
            state.update { $0.cancel(session: flow.session) }
        }
    }

    private func setWriterRuns(_ runs: Bool, _ flow: OpenedFlow) {
        state.update { $0.sessions[flow.session]?.flows[flow.index]?.writerRuns = runs }
    }

    private func write(_ flow: OpenedFlow, descriptor: Int32) {
        do {
            let sink = try FlowSink(
                state: state, flow: flow, descriptor: descriptor, options: options,
                perform: { [self] fault in perform(fault, on: flow.connection) })
            let needsSync = flow.start == .full || content.partialNeedsSync
            if needsSync { try waitForFullSync(flow) }
            try content.play(
                flow: flow.index, session: flow.session, start: flow.start, to: sink)
            try sink.flush()
            state.update { state in
                state.sessions[flow.session]?.flows[flow.index]?.finished = true
                if state.sessions[flow.session]?.isFinished == true {
                    state.cpuAtEnd = cp_process_cpu_nanoseconds()
                }
            }
        } catch {
            // The client left, or the session was cancelled: the other flows end with this one.
            if error.code == ECONNRESET {
                noteReset(connection: flow.connection, flow: flow.index)
            }
            state.update { $0.cancel(session: flow.session) }
        }
    }

    private func waitForFullSync(_ flow: OpenedFlow) throws(SystemError) {
        let phase = state.wait { state -> Session.Phase? in
            let phase = state.sessions[flow.session]?.phase ?? .cancelled
            return phase == .preparation ? nil : phase
        }
        if phase == .cancelled { throw SystemError(code: ECANCELED) }
    }
}

import Bytes
import CPlatform

/// REPLCONF and DFLY (protocol.md 2.3 to 2.8).
extension Connection {
    /// REPLCONF on an ordinary connection.
    func configureReplica(_ arguments: [String]) -> Reply {
        if arguments == ["capa", "dragonfly"]
            || (arguments.count == 2 && arguments[0].lowercased() == "capa"
                && arguments[1] == "dragonfly")
        {
            return openSession()
        }
        guard arguments.count >= 2, arguments.count % 2 == 0 else { return .syntaxError }
        for position in stride(from: 0, to: arguments.count, by: 2) {
            let problem = configureReplica(
                option: arguments[position].lowercased(), value: arguments[position + 1])
            if let problem { return problem }
        }
        return .ok
    }

    private func configureReplica(option: String, value: String) -> Reply? {
        switch option {
        case "listening-port":
            guard let port = Int(value) else { return .notInteger }
            master.state.update { [number] in $0.replicaPorts[number] = port }
            return nil
        case "ip-address":
            master.state.update { [number] in $0.replicaAddresses[number] = value }
            return nil
        case "capa", "client-id":
            return nil
        case "client-version":
            guard let version = Int(value) else { return .notInteger }
            return noteClientVersion(version)
        case "ack":
            // Meaningless here, and never answered on a flow: the real master logs and ignores it.
            return nil
        default:
            return .syntaxError
        }
    }

    /// The real master crashes on a CLIENT-VERSION without a live session; here the connection ends.
    private func noteClientVersion(_ version: Int) -> Reply? {
        let breach: Breach? = master.state.update { [session] state in
            guard let session, let found = state.sessions[session], found.phase != .cancelled
            else { return .clientVersionWithoutSession }
            state.sessions[session]?.clientVersions += 1
            state.sessions[session]?.clientVersion = version
            return found.clientVersions > 0 ? .clientVersionTwice : nil
        }
        guard let breach else { return nil }
        master.record(breach)
        if breach == .clientVersionWithoutSession { closeSoon() }
        return nil
    }

    private func openSession() -> Reply {
        let session = master.state.update { [number] in $0.openSession(control: number) }
        becomeControl(of: session)
        let identity = master.content.identity
        var reply: [Reply] = [
            .simple(identity.masterId), .simple("SYNC\(session)"),
            .integer(Int64(identity.flowCount)), .integer(Int64(identity.protocolVersion)),
        ]
        if identity.sendsLineage { reply.append(.simple(identity.masterId)) }
        return .array(reply)
    }

    /// DFLY on an ordinary connection; FLOW turns it into a flow.
    func executeDragonfly(_ arguments: [String]) {
        guard let subcommand = arguments.first?.uppercased() else { return send(.syntaxError) }
        let rest = Array(arguments.dropFirst())
        let isLoading = master.state.update { state in
            guard state.loadingReplies < master.options.loadingReplies else { return false }
            state.loadingReplies += 1
            return true
        }
        if isLoading {
            return send(.error("LOADING Dragonfly is loading the dataset in memory"))
        }
        switch subcommand {
        case "FLOW": openFlow(rest)
        case "SYNC": send(rest.count == 1 ? startFullSync(rest[0]) : .syntaxError)
        case "STARTSTABLE": send(rest.count == 1 ? startStable(rest[0]) : .syntaxError)
        case "REPLICAOFFSET":
            let content = master.content
            let offsets = (0..<content.identity.flowCount).map { flow in
                Reply.integer(Int64(clamping: content.nextLSN(flow: flow)))
            }
            send(.array(offsets))
        case "THREAD": send(.integer(0))
        case "TAKEOVER": send(takeOver(rest))
        case "EXPIRE": send(expireAll())
        default: send(.syntaxError)
        }
    }

    private func openFlow(_ arguments: [String]) {
        let pipelined = hasPipelined || hasEarlyInput()
        if pipelined {
            master.record(.pipelinedFlow(flow: arguments.count > 2 ? Int(arguments[2]) ?? -1 : -1))
            send(.invalidState)
            return closeSoon()
        }
        switch registerFlow(arguments) {
        case .failure(let problem):
            send(problem.reply)
        case .success(let opened):
            role = .flow(session: opened.session, index: opened.index)
            let token = master.content.token(flow: opened.index, session: opened.session)
            let kind = opened.start == .full ? "FULL" : "PARTIAL"
            if hasEarlyInput() { master.record(.pipelinedFlow(flow: opened.index)) }
            SocketEnd.configureFlow(
                descriptor, sendBufferBytes: master.options.sendBufferBytes)
            send(.array([.simple(kind), .simple(token)]))
            master.startWriter(for: opened, descriptor: descriptor)
        }
    }

    /// `DFLY FLOW master-id SYNCn index [lsn | last-master-id lsn-lsn-...]` (protocol.md 2.5).
    private func registerFlow(_ arguments: [String]) -> Result<OpenedFlow, RefusedFlow> {
        let identity = master.content.identity
        guard (3...5).contains(arguments.count) else { return .refused(.syntaxError) }
        guard arguments[0] == identity.masterId else {
            return .refused(.error("ERR bad master id"))
        }
        guard let index = Int(arguments[2]), index >= 0, index < identity.flowCount else {
            return .refused(.notInteger)
        }
        var requested: UInt64?
        var lastMaster: String?
        if arguments.count == 4 {
            guard let lsn = UInt64(arguments[3]) else { return .refused(.notInteger) }
            requested = lsn == 0 ? nil : lsn
        } else if arguments.count == 5 {
            guard identity.releaseNumber >= 1030 else { return .refused(.syntaxError) }
            let vector = arguments[4].split(separator: "-").map { UInt64($0) }
            guard vector.count == identity.flowCount, let lsn = vector[index],
                vector.allSatisfy({ $0 != nil })
            else { return .refused(.syntaxError) }
            requested = lsn
            lastMaster = arguments[3]
        }
        let start = master.content.start(flow: index, lsn: requested, lastMaster: lastMaster)
        guard let start else { return .refused(.invalidState) }
        let releaseNumber = identity.releaseNumber
        return master.state.update { [number] state in
            switch state.lookUp(sessionId: arguments[1]) {
            case .badId: return .refused(.error("ERR bad sync id"))
            case .unknown: return .refused(.error("ERR syncid not found"))
            case .found(let session):
                guard session.phase == .preparation, session.flows[index] == nil else {
                    return .refused(.invalidState)
                }
                state.sessions[session.number]?.flows[index] =
                    Session.Flow(connection: number, start: start)
                state.emulated?.open(
                    EmulatedFlow(
                        session: session.number, shard: index,
                        token: master.content.token(flow: index, session: session.number),
                        start: start,
                        sendsMarkers: releaseNumber >= 1030 || session.clientVersion >= 4))
                return .success(
                    OpenedFlow(
                        session: session.number, index: index, connection: number, start: start))
            }
        }
    }

    private func startFullSync(_ sessionId: String) -> Reply {
        master.state.update { state in
            let session: Session
            switch state.lookUp(sessionId: sessionId) {
            case .badId: return .error("ERR bad sync id")
            case .unknown: return .error("ERR syncid not found")
            case .found(let found): session = found
            }
            let isRefused = session.isPartial && !master.content.partialNeedsSync
            if isRefused { state.breaches.append(.syncAfterPartial) }
            guard session.phase == .preparation, session.allFlowsOpen, !isRefused else {
                return .invalidState
            }
            if let refusal = state.beginEmulatedFullSync(session.number) { return refusal }
            state.sessions[session.number]?.phase = .fullSync
            if state.cpuAtStart == nil { state.cpuAtStart = cp_process_cpu_nanoseconds() }
            return .ok
        }
    }

    /// Answers when every flow's tail is written (protocol.md 4.2).
    private func startStable(_ sessionId: String) -> Reply {
        var number = 0
        let refusal: Reply? = master.state.update { state in
            let session: Session
            switch state.lookUp(sessionId: sessionId) {
            case .badId: return .error("ERR bad sync id")
            case .unknown: return .error("ERR syncid not found")
            case .found(let found): session = found
            }
            number = session.number
            let missing = session.flows.indices.filter { index in
                guard let flow = session.flows[index] else { return true }
                let hasSnapshot = flow.start == .full || master.content.partialNeedsSync
                return hasSnapshot && !flow.fullSyncEndSent
            }
            let mayStart =
                session.phase == .fullSync
                || (session.phase == .preparation && session.isAllPartial
                    && !master.content.partialNeedsSync)
            if !missing.isEmpty { state.breaches.append(.earlyStartStable(missingFlows: missing)) }
            guard mayStart, session.allFlowsOpen else { return .invalidState }
            if let refusal = state.startEmulatedStable(session.number) { return refusal }
            state.sessions[session.number]?.phase = .stable
            if state.cpuAtStart == nil { state.cpuAtStart = cp_process_cpu_nanoseconds() }
            return nil
        }
        if let refusal { return refusal }
        let reply: Reply? = master.state.wait { state in
            guard let session = state.sessions[number], session.phase != .cancelled else {
                return .invalidState
            }
            return session.allTailsWritten ? .ok : nil
        }
        return reply ?? .invalidState
    }
}

/// A flow that was just registered.
struct OpenedFlow: Sendable {
    let session: Int
    let index: Int
    let connection: Int
    let start: FlowStart
}

/// Why a flow was not.
struct RefusedFlow: Error {
    let reply: Reply
}

extension Result where Failure == RefusedFlow {
    fileprivate static func refused(_ reply: Reply) -> Self {
        .failure(RefusedFlow(reply: reply))
    }
}

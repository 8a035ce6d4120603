internal import Bytes
internal import DragonflySource
internal import Reactor
internal import RedisTarget
internal import Wire

/// Performs what the session's state machines ask for.
extension Core {
    /// The target stands ready: turn to the source.
    func connectSource() {
        do throws(SystemError) {
            let socket = try Socket(
                connectingTo: sourceAddress, role: Role.control, inputBytes: 1 << 17,
                outputBytes: 1 << 14)
            control = ControlSession(settings.controlSettings, now: nowMilliseconds)
            try reactor.add(socket)
            controlSocket = socket
        } catch {
            fail(.unreachable, "cannot open a connection to \(settings.source): \(error)")
        }
    }

    func readControl(_ socket: Socket) {
        while true {
            let (consumed, action) = control.receive(
                socket.input.readable, now: nowMilliseconds, output: &socket.output)
            socket.input.consume(consumed)
            perform(action)
            if consumed > 0 { continue }
            guard socket.fill(limit: socket.input.capacity) > 0 else { break }
        }
        if socket.reachedEnd {
            perform(control.connectionEnded("the source closed it"))
            if control.phase == .closed { sourceIsLeft() }
        }
        reactor.markDirty(socket)
    }

    func perform(_ action: ControlAction) {
        switch action {
        case .none:
            break
        case .openFlows(let all):
            openFlows(all)
        case .startedFullSync:
            break
        case .enteredStable:
            tellAll(.enteredStable)
        case .leaveFlows:
            if let error = control.failure { note(error) }
            tellAll(.leaveFlows)
        case .close(let error):
            if let error { note(error) }
            closeControl()
        }
        if let controlSocket { reactor.markDirty(controlSocket) }
    }

    /// The last ACK of every flow first, then the end of every flow: the first end makes the source
    /// close the other flows, and an ACK after that would meet a closed socket.
    func leaveFlows() {
        leave()
        syncRepairLog()
        for settings in flowsToOpen { tellControl(.closed, settings.index) }
        flowsToOpen = []
        for flow in flows {
            flow.isDone = true
            flow.dropHeld()
            if flow.progress.appliedLSN > 0 {
                flow.session.applied(upTo: flow.progress.appliedLSN)
            }
            let action = flow.session.leave(now: nowMilliseconds, output: &flow.socket.output)
            if case .shutDownWriting = action {
                flow.awaitsShutdown = true
                reactor.flushNow(flow.socket)
            } else {
                perform(action, on: flow)
            }
        }
        arrive(.acknowledged)
    }

    func shutFlows() {
        for flow in flows where flow.awaitsShutdown {
            flow.awaitsShutdown = false
            flow.socket.shutdownWriting()
            flow.session.wroteEnd(now: nowMilliseconds)
            reactor.resume(flow.socket)
        }
    }

    /// The control connection goes last, and as politely as the flows: closing it with an answer
    /// unread would reset it.
    private func closeControl() {
        guard let controlSocket, controlSocket.state == .open, !controlSocket.reachedEnd,
            !controlSocket.hasFailed
        else {
            sourceIsLeft()
            return
        }
        reactor.flushNow(controlSocket)
        controlSocket.shutdownWriting()
        controlDeadline = nowMilliseconds + SessionTiming.leaveLimit
    }

    func perform(_ action: FlowAction, on flow: Flow) {
        switch action {
        case .none:
            break
        case .ready(let kind):
            flow.progress.phase = kind == .full ? .snapshot : .stable
            if kind == .partial, let start = flow.session.journalStart { beginJournal(flow, start) }
            tellControl(.ready(kind), flow.index)
        case .endedFullSync:
            flow.progress.phase = .tail
            // Who hears that all have ended theirs knows all votes.
            shareVotes()
            tellControl(.endedFullSync, flow.index)
        case .journalBegins(let next):
            flow.progress.phase = .stable
            beginJournal(flow, next ?? 0)
            markDoubtfulCopies(flow)
            if settings.mode == .migrate { flow.progress.phase = .finished }
        case .failed(let error):
            tellControl(.failed(error), flow.index)
        case .shutDownWriting:
            preconditionFailure("only leaving shuts a flow down")
        case .close:
            flow.isClosed = true
            reactor.close(flow.socket)
            tellControl(.closed, flow.index)
        }
    }

    /// The control session hears of flows of all cores.
    func tellControl(_ event: CoreMessage.FlowEvent, _ flow: Int) {
        guard index == 0 else { return shared.send(.flow(flow, event), to: 0) }
        switch event {
        case .ready(let kind):
            perform(
                control.flowReady(flow, kind, now: nowMilliseconds, output: &controlOutput))
        case .endedFullSync:
            perform(
                control.flowEndedFullSync(flow, now: nowMilliseconds, output: &controlOutput))
        case .failed(let error):
            perform(control.flowFailed(flow, error))
        case .closed:
            perform(control.flowClosed(flow))
        }
    }

    private var controlOutput: MirroredRing {
        _read {
            guard let controlSocket else { preconditionFailure("flows exist after control") }
            yield controlSocket.output
        }
        _modify {
            guard let controlSocket else { preconditionFailure("flows exist after control") }
            yield &controlSocket.output
        }
    }

    /// The source has said how many flows there are: as many cores as can use it are started.
    private func openFlows(_ all: [FlowSettings]) {
        let facts = SourceFacts(
            acknowledges: control.acknowledges, release: control.release,
            releaseText: control.releaseText, flowCount: all.count)
        let count = max(1, min(shared.inboxes.count, all.count))
        do throws(SystemError) {
            // The target may be elsewhere by now than when the run began.
            let masters = nodes.masters.filter { $0.state == .ready }
            let places =
                masters.map { TargetPlace(host: $0.host, port: $0.port, address: $0.address) }
                + targets
            var others: [Core] = []
            for index in 1..<count {
                let core = try Core(
                    index: index, settings: settings, shared: shared, source: sourceAddress,
                    targets: places)
                core.journalWriter.memcachedIncrements = journalWriter.memcachedIncrements
                others.append(core)
            }
            shared.setCoreCount(count)
            join(facts, all)
            // The others find what is theirs before any record.
            takeOpenRepairs()
            for core in others {
                core.join(facts, all)
                try core.start()
            }
        } catch {
            // Who is not there cannot leave in order; no flow is open yet.
            shared.fail(RunError(.interrupted, "cannot start another core: \(error)"))
            return shared.sendAll(.halt)
        }
        openElementTimers()
        openFlows()
    }

    /// The core's part of the session.
    private func join(_ facts: SourceFacts, _ all: [FlowSettings]) {
        source = facts
        flowsToOpen = all.filter { $0.index % shared.coreCount == index }
        placement = ShardPlacement(flowCount: all.count)
        groups.watch(facts.release)
        // Seen with v1.30; v1.40 takes the expiry along.
        journalWriter.renamesKeepExpiry =
            facts.release.map { ($0.major, $0.minor) < (1, 40) } ?? true
        journalWriter.jsonSetEndsExpiry =
            facts.release.map { ($0.major, $0.minor) >= (1, 33) } ?? true
    }

    /// Starts the core's thread.
    func start() throws(SystemError) {
        shared.coreBegins()
        do throws(SystemError) {
            try CoreThread.start(self, name: "core-\(index)", pinnedTo: shared.cpus[index])
        } catch {
            shared.coreEnds()
            throw error
        }
    }

    /// Opens the core's flows; the target must be ready to be written to.
    func openFlows() {
        // Who leaves meanwhile reports the rest.
        while !isLeaving, !flowsToOpen.isEmpty {
            let flowSettings = flowsToOpen.removeFirst()
            do throws(SystemError) {
                let socket = try Socket(
                    connectingTo: sourceAddress, role: Role.firstFlow + UInt32(flows.count),
                    inputBytes: settings.flowRingBytes, outputBytes: 1 << 12)
                let flow = try Flow(
                    index: flowSettings.index, socket: socket,
                    session: FlowSession(flowSettings, now: nowMilliseconds),
                    limits: decoderLimits)
                if nodes.mayMove { flow.window = AppliedWindow() }
                flows.append(flow)
                try reactor.add(socket)
            } catch {
                fail(
                    .unreachable,
                    "cannot open the connection of flow \(flowSettings.index): \(error)")
                tellControl(.closed, flowSettings.index)
            }
        }
    }

    private var decoderLimits: DecoderLimits {
        DecoderLimits(
            windowBytes: settings.flowRingBytes / 4, assemblyBytes: settings.heldBytesLimit,
            bigValueBytes: settings.bigValueBytes, valueBytes: settings.valueBytesLimit,
            // No command can add to a JSON text.
            keepsJSONWhole: settings.types.json == .module)
    }

    private func beginJournal(_ flow: Flow, _ next: UInt64) {
        do throws(SystemError) {
            // Behind the snapshot comes its token, 40 bytes (protocol.md 3.1).
            let offset = flow.session.kind == .full ? flow.snapshot.flowOffset + 40 : 0
            flow.journal = try JournalDecoder(
                nextLSN: next, limits: decoderLimits, flowOffset: offset)
        } catch {
            fail(.interrupted, "no memory for the journal of flow \(flow.index): \(error)")
        }
        flow.routedLSN = next
        flow.settleIdle()
    }

    /// Keeps the first reason for which the source is left.
    private func note(_ error: SourceError) {
        let kind: RunError.Kind =
            switch error.kind {
            case .unreachable, .unauthenticated: .unreachable
            case .refused, .loading: .refused
            default: .interrupted
            }
        shared.fail(RunError(kind, "source \(settings.source): \(error.message)"))
    }
}

extension ReplicationSettings {
    var controlSettings: ControlSettings {
        ControlSettings(
            credentials: source.password.map { Credentials(user: source.user, password: $0) },
            listeningPort: target.port, clientID: taskName,
            position: position.map { ResumePosition(replicationID: $0.sourceID, lsns: $0.lsns) })
    }
}

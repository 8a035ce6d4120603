internal import Bytes
internal import DragonflySource
internal import Reactor
internal import RedisTarget
internal import Synchronization
internal import Wire

/// How far a core is with the flush that its flows wait at.
enum FlushStep {
    /// Not all of its flows are there, or what came before is not answered.
    case waiting
    /// The first core knows that they are.
    case told
    case done
}

/// What a core does with the others: messages, and steps that all reach before the run goes on.
extension Core {
    func take(_ message: CoreMessage) {
        switch message {
        case .stop:
            if wasStopped { return reactor.stop() }
            wasStopped = true
            nodes.pace.isPaused = false
            // A pause that was asked for before may have reached the others since they were stopped.
            if index == 0 { tellAll(.retry) } else { resumeBlockedFlows() }
            finish()
        case .halt:
            reactor.stop()
        case .reached(let step):
            reached(step)
        case .enteredStable:
            shareVotes()
            for flow in flows { flow.session.sessionBecameStable() }
        case .leaveFlows:
            leaveFlows()
        case .sourceIsLeft:
            leave()
            isSourceLeft = true
            drainDeadline = reactor.now + Core.drainLimitNanoseconds
        case .flushed:
            flushStep = .done
            resumeBlockedFlows()
        case .retry:
            resumeBlockedFlows()
        case .repair(let database, let key, let flow, let command, let reason):
            key.withByteView {
                markForRepair(
                    database: database, key: $0, flow: flow, command: command, reason: reason)
            }
        case .repairAsked(let database, let key, let flow):
            key.withByteView { repairAsked(database, $0, flow) }
        case .requests:
            takeRequests()
        case .flow(let flow, let event):
            tellControl(event, flow)
        case .arrived(let step):
            noteArrival(step)
        case .withdrawn(let step):
            arrivals[step.rawValue] -= 1
        case .atFlush(let point):
            noteAtFlush(point)
        case .leave:
            leave()
        }
    }

    /// To every core; this one takes it at once.
    func tellAll(_ message: CoreMessage) {
        for other in 0..<shared.coreCount where other != index { shared.send(message, to: other) }
        take(message)
    }

    // MARK: Steps

    /// This core has reached the step; said once.
    func arrive(_ step: CoreStep) {
        guard !stepsReached[step.rawValue] else { return }
        stepsReached[step.rawValue] = true
        if index == 0 { noteArrival(step) } else { shared.send(.arrived(step), to: 0) }
    }

    private func withdraw(_ step: CoreStep) {
        guard stepsReached[step.rawValue] else { return }
        stepsReached[step.rawValue] = false
        if index == 0 { arrivals[step.rawValue] -= 1 } else { shared.send(.withdrawn(step), to: 0) }
    }

    private func noteArrival(_ step: CoreStep) {
        arrivals[step.rawValue] += 1
        if arrivals[step.rawValue] == shared.coreCount { tellAll(.reached(step)) }
    }

    private func reached(_ step: CoreStep) {
        switch step {
        case .baselines:
            // What another core wrote of them may have come after what was read again.
            if shared.coreCount > 1 { for flow in flows { markDoubtfulCopies(flow) } }
            isPastBaselines = true
        case .copied: finish()
        case .settled:
            guard isFinishing, mayLeaveRepairs() else { return withdraw(.settled) }
            endFlows()
            arrive(.ended)
        case .ended: if index == 0 { leave() }
        case .acknowledged: shutFlows()
        }
    }

    /// Called at the end of each turn.
    func advanceSteps() {
        guard !isLeaving, !flows.isEmpty || isFinishing else { return }
        if flows.allSatisfy({ $0.routedLSN > 0 && $0.baselinesPending == 0 }) {
            arrive(.baselines)
        }
        if settings.mode == .migrate, !isFinishing,
            flows.allSatisfy({ $0.follows || $0.isDone })
        {
            arrive(.copied)
        }
        if isFinishing {
            // A record that comes meanwhile may ask for another repair.
            if mayLeaveRepairs() { arrive(.settled) } else { withdraw(.settled) }
        }
    }

    /// Adds this core's votes on where the source places keys to those of the others, and takes up the
    /// sum. Called at the end of each turn while votes are wanted.
    func shareVotes() {
        guard shared.coreCount > 1, placement.wantsVotes || placement.hasNewVotes else { return }
        shared.votes.withLock { placement.join(&$0) }
    }

    // MARK: Flushes

    /// Whether the flush that all flows of this core wait at is carried out by all cores: the first core
    /// does it, when nothing is in flight on any.
    func mayFlush(_ record: JournalRecord) -> Bool {
        guard shared.coreCount > 1 else { return true }
        if flushStep == .waiting, nodes.isQuiet {
            flushStep = .told
            let point = FlushPoint(record)
            if index == 0 { noteAtFlush(point) } else { shared.send(.atFlush(point), to: 0) }
        }
        guard index == 0 else { return flushStep == .done }
        return coresAtFlush == shared.coreCount
    }

    private func noteAtFlush(_ point: FlushPoint) {
        if let flushPoint, flushPoint != point {
            return fail(
                .interrupted,
                "the source's flows tell of different flushes at the same time; run again, and report "
                    + "it with the source's version \(source?.releaseText ?? "") if it comes back")
        }
        flushPoint = point
        coresAtFlush += 1
        if coresAtFlush == shared.coreCount { resumeBlockedFlows() }
    }

    /// The flush is carried out: this core goes on, and so do the others.
    func endFlush() {
        flushStep = .waiting
        guard index == 0, shared.coreCount > 1 else { return }
        flushPoint = nil
        coresAtFlush = 0
        for other in 1..<shared.coreCount { shared.send(.flushed, to: other) }
    }
}

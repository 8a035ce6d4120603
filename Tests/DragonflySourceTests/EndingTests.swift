import Bytes
import DragonflySource
import Testing

/// Promise: from any state the session ends in order, flows first, the control connection last
/// (protocol.md 9.1), with the first error as the reason.
@Suite struct EndingTests {
    private static let controlPhases: [ControlSession.Phase] = [
        .connecting, .handshake, .openingFlows, .fullSync, .startingStable, .stable,
    ]

    private func control(in phase: ControlSession.Phase) throws -> ControlDriver {
        let master = Master()
        let driver = try ControlDriver()
        let steps: [(ControlSession.Phase, () -> Void)] = [
            (.connecting, {}),
            (.handshake, { _ = driver.connect() }),
            (.openingFlows, { driver.serve(master) }),
            (
                .fullSync,
                {
                    for index in 0..<2 { _ = driver.flowReady(index, .full) }
                    driver.serve(master)
                }
            ),
            (.startingStable, { for index in 0..<2 { _ = driver.flowEndedFullSync(index) } }),
            (.stable, { driver.serve(master) }),
        ]
        for (reached, step) in steps {
            step()
            if reached == phase { break }
        }
        try #require(driver.session.phase == phase)
        return driver
    }

    /// Ends the session by `cause` in `phase` and checks everything up to its close.
    private func checkEnd(
        in phase: ControlSession.Phase, kind: SourceError.Kind?,
        _ cause: (ControlDriver) -> ControlAction
    ) throws {
        let driver = try control(in: phase)
        let sent = driver.sent.count
        let action = cause(driver)
        let failure = driver.session.failure
        #expect(failure?.kind == kind, "\(phase)")
        if driver.session.flowCount == 0 {
            #expect(action == .close(failure), "\(phase)")
        } else {
            #expect(action == .leaveFlows, "\(phase)")
            // Whatever else happens while leaving changes nothing.
            #expect(driver.session.stop() == .none)
            #expect(driver.session.connectionEnded("too") == .none)
            #expect(driver.session.flowFailed(0, SourceError(.loading, "late")) == .none)
            #expect(driver.receive("+OK\r\n-ERR late\r\n").isEmpty)
            #expect(driver.flowReady(0, .full) == .none)
            #expect(driver.flowEndedFullSync(1) == .none)
            #expect(driver.tick(after: 100_000) == .none)
            #expect(driver.session.flowClosed(1) == .none)
            #expect(driver.session.flowClosed(1) == .none)
            #expect(driver.session.flowClosed(0) == .close(failure))
        }
        #expect(driver.session.phase == .closed)
        #expect(driver.session.stop() == .none)
        #expect(driver.session.flowClosed(0) == .none)
        #expect(driver.session.failure == failure)
        #expect(driver.sent.count == sent, "wrote while leaving from \(phase)")
    }

    @Test(arguments: controlPhases)
    func stopInEachState(_ phase: ControlSession.Phase) throws {
        try checkEnd(in: phase, kind: nil) { $0.session.stop() }
    }

    @Test(arguments: controlPhases)
    func controlLostInEachState(_ phase: ControlSession.Phase) throws {
        let isEarly = phase == .connecting || phase == .handshake
        try checkEnd(in: phase, kind: isEarly ? .unreachable : .restart) {
            $0.session.connectionEnded("connection reset by peer")
        }
    }

    @Test(arguments: controlPhases.dropFirst(2))
    func flowLostInEachState(_ phase: ControlSession.Phase) throws {
        try checkEnd(in: phase, kind: .restart) {
            $0.session.flowFailed(1, SourceError(.restart, "flow 1: lost"))
        }
    }

    /// A stop while CLIENT-VERSION is about to go out: it does not.
    @Test func stopDuringTheHandshakeSendsNothingMore() throws {
        for step in 1...7 {
            let driver = try ControlDriver()
            _ = driver.connect()
            for _ in 0..<20 where driver.sent.count < step {
                driver.receive(Master().reply(to: driver.sent.last ?? []))
            }
            #expect(driver.session.stop() == .close(nil))
            driver.receive(Master().reply(to: driver.sent.last ?? []))
            #expect(driver.sent.count == step)
        }
    }

    @Test func aFlowClosedByItsOwnerEndsTheSession() throws {
        let driver = try control(in: .stable)
        #expect(driver.session.flowClosed(0) == .leaveFlows)
        guard case .close(let error?) = driver.session.flowClosed(1) else {
            Issue.record("no reason")
            return
        }
        #expect(error.kind == .restart)
    }

    // MARK: Flows

    private static let flowPhases: [FlowSession.Phase] = [
        .connecting, .awaitingFlowReply, .snapshot, .tail, .offsetKnown, .token, .stable,
    ]

    @Test(arguments: flowPhases)
    func leaveInEachState(_ phase: FlowSession.Phase) throws {
        let flow = try FlowDriver()
        try flow.reach(phase)
        flow.session.sessionBecameStable()
        flow.session.applied(upTo: 100)
        let sent = flow.sent.count
        guard phase != .connecting else {
            #expect(flow.leave() == .close)
            #expect(flow.connect() == .none)
            #expect(flow.sent.isEmpty)
            return
        }
        #expect(flow.leave() == .shutDownWriting)
        #expect(flow.acknowledgements == (phase == .stable ? ["100"] : []))
        let written = flow.sent.count
        #expect(written == sent + (phase == .stable ? 1 : 0))
        // What still comes is discarded; nothing is written any more.
        #expect(flow.receive(Master().reply(to: ["DFLY", "FLOW"])).consumed > 0)
        flow.session.applied(upTo: 5000)
        flow.session.pingSeen(next: 5001)
        #expect(flow.tick(after: 1999) == .none)
        #expect(flow.leave() == .none)
        #expect(flow.session.phase == .leaving)
        if phase == .stable {
            #expect(flow.session.connectionEnded("end of stream") == .close)
        } else {
            #expect(flow.tick(after: 1) == .close)
        }
        #expect(flow.session.phase == .closed)
        #expect(flow.tick(after: 10_000) == .none)
        #expect(flow.session.connectionEnded("again") == .none)
        #expect(flow.sent.count == written)
    }

    @Test(arguments: flowPhases)
    func lostInEachState(_ phase: FlowSession.Phase) throws {
        let flow = try FlowDriver()
        try flow.reach(phase)
        let sent = flow.sent.count
        guard case .failed(let error) = flow.session.connectionEnded("connection reset") else {
            Issue.record("not noticed")
            return
        }
        #expect(error.kind == (phase == .connecting ? .unreachable : .restart))
        #expect(error.message.hasPrefix("flow 3: "))
        #expect(flow.session.connectionEnded("again") == .none)
        #expect(flow.tick(after: 100_000) == .none)
        #expect(flow.leave() == .close)
        #expect(flow.sent.count == sent)
    }

    /// After a failure of its own a flow stays open until all are left, and writes nothing.
    @Test func aFailedFlowWaitsForLeave() throws {
        let flow = try FlowDriver()
        try flow.reach(.tail)
        flow.session.sessionBecameStable()
        flow.session.applied(upTo: 100)
        _ = flow.session.fullSyncEnd()
        #expect(flow.session.phase == .failed)
        #expect(flow.tick(after: 60_000) == .none)
        #expect(flow.leave() == .shutDownWriting)
        #expect(flow.tick(after: 2000) == .close)
        #expect(flow.sent.count == 1)
    }
}

import Bytes
import DragonflySource
import Testing

/// Promise: one command at a time before the stream, nothing but right ACKs in it.
@Suite struct FlowSessionTests {
    private let master = Master()

    private var flowReply: String { master.reply(to: ["DFLY", "FLOW"]) }

    @Test func fromConnectToJournal() throws {
        let flow = try FlowDriver(
            FlowDriver.settings(credentials: Credentials(user: "joe", password: "s3cret")))
        #expect(flow.connect() == .none)
        #expect(flow.session.phase == .authenticating)
        #expect(flow.sent == [["AUTH", "joe", "s3cret"]])
        #expect(flow.receive("+OK\r\n").action == .none)
        #expect(flow.session.phase == .awaitingFlowReply)
        #expect(flow.sent.last == ["DFLY", "FLOW", master.replicationID, "SYNC7", "3"])
        #expect(flow.receive(flowReply).action == .ready(.full))
        #expect(flow.session.reader == .snapshot)
        #expect(flow.session.fullSyncEnd() == .endedFullSync)
        #expect(flow.session.reader == .snapshot)
        #expect(flow.session.journalOffset(101) == .none)
        #expect(flow.session.snapshotEnd() == .none)
        #expect(flow.session.reader == .session)
        #expect(flow.receive(master.token).action == .journalBegins(next: 101))
        #expect(flow.session.reader == .journal)
        #expect(flow.session.journalStart == 101)
        #expect(flow.sent.count == 2)
    }

    /// Replies cut anywhere; and the stream's first bytes stay with the stream.
    @Test func cutsAndLeftovers() throws {
        let reply = Array(flowReply)
        for end in 0..<reply.count {
            let flow = try FlowDriver()
            _ = flow.connect()
            #expect(flow.receive(String(reply[0..<end])) == (0, .none))
            let (consumed, action) = flow.receive(String(reply) + "REDIS0009\r\n+OK\r\n")
            #expect(consumed == String(reply).utf8.count)
            #expect(action == .ready(.full))
            #expect(flow.receive("REDIS0009") == (0, .none))
        }
        for end in 0..<40 {
            let flow = try FlowDriver()
            try flow.reach(.token)
            #expect(flow.receive(String(master.token.prefix(end))) == (0, .none))
            #expect(
                flow.receive(master.token + "\u{6}\0\r\n") == (40, .journalBegins(next: 100)))
        }
    }

    @Test func moreThanTheAnswerToAuthEndsTheFlow() throws {
        let flow = try FlowDriver(FlowDriver.settings(credentials: Credentials(password: "x")))
        _ = flow.connect()
        guard case .failed = flow.receive("+OK\r\n+OK\r\n").action else {
            Issue.record("went on")
            return
        }
        #expect(flow.sent.count == 1)
    }

    @Test func aWrongTokenEndsTheFlow() throws {
        for position in [0, 20, 39] {
            let flow = try FlowDriver()
            try flow.reach(.token)
            var token = Array(master.token)
            token[position] = "x"
            guard case .failed(let error) = flow.receive(String(token)).action else {
                Issue.record("accepted")
                continue
            }
            #expect(error.kind == .restart)
            #expect(flow.session.phase == .failed)
            #expect(flow.receive("whatever comes") == (14, .none))
        }
    }

    @Test(arguments: [
        "+OK\r\n", "*1\r\n+FULL\r\n", "*3\r\n+FULL\r\n+a\r\n+b\r\n", "*2\r\n+FULL\r\n+short\r\n",
        "*2\r\n+HALF\r\n+0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f\r\n",
        // PARTIAL, although no LSN was asked for.
        "*2\r\n+PARTIAL\r\n+0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f\r\n",
        "*2\r\n:1\r\n:2\r\n", "REDIS0009",
    ])
    func answersToFlowThatAreNone(_ reply: String) throws {
        let flow = try FlowDriver()
        _ = flow.connect()
        guard case .failed(let error) = flow.receive(reply).action else {
            Issue.record("accepted")
            return
        }
        #expect(error.kind == .restart)
        #expect(flow.session.reader == .session)
    }

    /// Promise: the items after the static part come in the order of protocol.md 4.1, once each.
    @Test func itemsOutOfOrderEndTheFlow() throws {
        let items: [(FlowSession.Phase, (FlowDriver) -> FlowAction)] = [
            (.snapshot, { $0.session.journalOffset(1) }),
            (.snapshot, { $0.session.snapshotEnd() }),
            (.tail, { $0.session.fullSyncEnd() }),
            (.tail, { $0.session.snapshotEnd() }),
            (.tail, { $0.session.journalOffset(1 << 63) }),
            (.offsetKnown, { $0.session.journalOffset(1) }),
            (.offsetKnown, { $0.session.fullSyncEnd() }),
        ]
        for (phase, item) in items {
            let flow = try FlowDriver()
            try flow.reach(phase)
            guard case .failed(let error) = item(flow) else {
                Issue.record("accepted in \(phase)")
                continue
            }
            #expect(error.kind == .restart)
        }
    }

    @Test func sourcesBeforeLSNsNeedNoOffset() throws {
        let flow = try FlowDriver(FlowDriver.settings(acknowledges: false))
        try flow.reach(.tail)
        #expect(flow.session.snapshotEnd() == .none)
        #expect(flow.receive(master.token).action == .journalBegins(next: nil))
        flow.session.sessionBecameStable()
        flow.session.applied(upTo: 5)
        #expect(flow.tick(after: 5000) == .none)
        #expect(flow.leave() == .shutDownWriting)
        #expect(flow.sent.count == 1)
    }

    /// PARTIAL leads straight to the journal from v1.35 on, and to a snapshot of journal blobs
    /// where DFLY SYNC is still needed.
    @Test func partialAnswers() throws {
        for (partialSync, reader) in [
            (SourceRelease.PartialSync.straightToStable, FlowSession.Reader.journal),
            (.snapshotOfJournal, .snapshot),
        ] {
            let flow = try FlowDriver(FlowDriver.settings(lsn: 384, partialSync: partialSync))
            _ = flow.connect()
            #expect(flow.sent.last?.last == "384")
            #expect(
                flow.receive("*2\r\n+PARTIAL\r\n+\(master.token)\r\n").action == .ready(.partial))
            #expect(flow.session.reader == reader)
            #expect(flow.session.journalStart == (reader == .journal ? 384 : nil))
        }
        // The source may still answer FULL.
        let flow = try FlowDriver(FlowDriver.settings(lsn: 384))
        _ = flow.connect()
        #expect(flow.receive(flowReply).action == .ready(.full))
        #expect(flow.session.reader == .snapshot)
    }

    // MARK: ACK

    private func stableFlow() throws -> FlowDriver {
        let flow = try FlowDriver()
        try flow.reach(.stable)
        flow.session.sessionBecameStable()
        return flow
    }

    /// The first ACK at once, but not before the session is stable and the snapshot is applied.
    @Test func theFirstAcknowledgement() throws {
        let flow = try FlowDriver()
        try flow.reach(.stable)
        flow.session.applied(upTo: 100)
        _ = flow.tick(after: 10_000)
        #expect(flow.acknowledgements.isEmpty)
        flow.session.sessionBecameStable()
        _ = flow.tick()
        #expect(flow.acknowledgements == ["100"])

        let late = try stableFlow()
        _ = late.tick(after: 10_000)
        late.session.pingSeen(next: 101)
        _ = late.tick()
        #expect(late.acknowledgements.isEmpty)
        late.session.applied(upTo: 100)
        _ = late.tick()
        #expect(late.acknowledgements == ["100"])
    }

    /// The control session's answer may be known before the flow's own token was read.
    @Test func stableSessionBeforeStableFlow() throws {
        let flow = try FlowDriver()
        try flow.reach(.token)
        flow.session.sessionBecameStable()
        flow.session.applied(upTo: 100)
        _ = flow.tick(after: 10_000)
        #expect(flow.sent.count == 1)
        _ = flow.receive(master.token)
        _ = flow.tick()
        #expect(flow.acknowledgements == ["100"])
    }

    @Test func theCadence() throws {
        let flow = try stableFlow()
        flow.session.applied(upTo: 100)
        _ = flow.tick()
        // Unchanged: nothing, ever.
        _ = flow.tick(after: 60_000)
        #expect(flow.acknowledgements == ["100"])
        // Changed, and the last one is old enough.
        flow.session.applied(upTo: 101)
        _ = flow.tick()
        flow.session.applied(upTo: 102)
        _ = flow.tick(after: 999)
        #expect(flow.acknowledgements == ["100", "101"])
        _ = flow.tick(after: 1)
        #expect(flow.acknowledgements == ["100", "101", "102"])
        // 1024 records wait, 1025 do not.
        flow.session.applied(upTo: 102 + 1024)
        _ = flow.tick()
        #expect(flow.acknowledgements.count == 3)
        flow.session.applied(upTo: 102 + 1025)
        _ = flow.tick()
        #expect(flow.acknowledgements.last == "1127")
        // Never backwards.
        flow.session.applied(upTo: 5)
        _ = flow.tick(after: 5000)
        #expect(flow.acknowledgements.count == 4)
        flow.session.pingSeen(next: 2000)
        _ = flow.tick()
        #expect(flow.acknowledgements.dropFirst(4) == ["1127"])
        #expect(flow.leave() == .shutDownWriting)
        #expect(flow.acknowledgements.count == 5)
        #expect(flow.session.acknowledged == 1127)
    }

    /// A PING entry is acknowledged at once, and again as soon as it is passed (TAKEOVER, WAIT).
    @Test func pingEntries() throws {
        let flow = try stableFlow()
        flow.session.applied(upTo: 100)
        _ = flow.tick()
        flow.session.pingSeen(next: 103)
        _ = flow.tick()
        #expect(flow.acknowledgements == ["100", "100"])
        _ = flow.tick()
        flow.session.applied(upTo: 102)
        _ = flow.tick()
        flow.session.applied(upTo: 103)
        _ = flow.tick()
        #expect(flow.acknowledgements == ["100", "100", "102", "103"])
        flow.session.applied(upTo: 104)
        _ = flow.tick(after: 999)
        #expect(flow.acknowledgements.count == 4)
    }

    /// A source that does not read gets one ACK, not a queue of old ones.
    @Test func acknowledgementsDoNotPileUp() throws {
        let flow = try stableFlow()
        for step in 0..<10_000 {
            flow.session.applied(upTo: 100 + UInt64(step))
            flow.now += 1000
            _ = flow.session.tick(now: flow.now, output: &flow.output)
        }
        flow.collect()
        #expect(flow.acknowledgements == ["100"])
        _ = flow.tick()
        #expect(flow.acknowledgements.last == "10099")
    }

    @Test func theLargestPosition() throws {
        let flow = try FlowDriver()
        try flow.reach(.tail)
        _ = flow.session.journalOffset(UInt64(Int64.max))
        _ = flow.session.snapshotEnd()
        _ = flow.receive(master.token)
        flow.session.sessionBecameStable()
        flow.session.applied(upTo: UInt64(Int64.max))
        flow.session.applied(upTo: UInt64.max)
        _ = flow.tick()
        #expect(flow.acknowledgements == ["9223372036854775807"])
    }

    @Test func silenceBeforeTheStreamIsALoss() throws {
        for phase in [FlowSession.Phase.connecting, .awaitingFlowReply] {
            let flow = try FlowDriver()
            try flow.reach(phase)
            #expect(flow.tick(after: 14_999) == .none)
            guard case .failed(let error) = flow.tick(after: 1) else {
                Issue.record("still waiting")
                continue
            }
            #expect(error.kind == (phase == .connecting ? .unreachable : .restart))
            #expect(flow.leave() == (phase == .connecting ? .close : .shutDownWriting))
        }
        // In the stream silence is normal.
        let flow = try FlowDriver()
        try flow.reach(.snapshot)
        #expect(flow.tick(after: 1_000_000) == .none)
    }
}

import Bytes
import DragonflySource
import Testing

/// Promise: whatever happens in whatever order, nothing is written that protocol.md 2.2 forbids.
///
/// Each walk is one session with its flows. Most steps are what a master would do next, some are
/// anything at all; `Judge` checks every command.
@Suite struct RandomWalkTests {
    @Test func anyInputInAnyState() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var generator = SeededGenerator(seed: seed)
        var steps = 0
        var totals = Walk.Totals()
        while steps < 100_000 {
            let walk = try Walk(seed: seed, generator: generator)
            for _ in 0..<400 where !walk.isOver {
                walk.step()
                steps += 1
            }
            totals.add(walk)
            generator = walk.generator
        }
        // The walks must have been somewhere.
        #expect(totals.sessions > 300, "seed \(seed)")
        #expect(totals.stable > 100, "seed \(seed)")
        #expect(totals.partial > 10, "seed \(seed)")
        #expect(totals.acknowledgements > 500, "seed \(seed)")
        #expect(totals.politelyClosed > 300, "seed \(seed)")
    }
}

/// One session of a random walk.
final class Walk {
    struct Totals {
        var sessions = 0
        var stable = 0
        var partial = 0
        var acknowledgements = 0
        var politelyClosed = 0

        mutating func add(_ walk: Walk) {
            sessions += 1
            stable += walk.wasStable ? 1 : 0
            partial += walk.wasStable && !walk.control.sent.contains { $0.contains("SYNC") } ? 1 : 0
            acknowledgements += walk.flows.reduce(0) { $0 + $1.judge.acknowledgements }
            politelyClosed += walk.isOver ? 1 : 0
        }
    }

    private final class Flow {
        let driver: FlowDriver
        var judge = FlowJudge()
        var applied: UInt64 = 100
        var seen = 0

        init(_ settings: FlowSettings, now: Int64) throws {
            driver = try FlowDriver(settings)
            driver.now = now
        }
    }

    var generator: SeededGenerator
    private(set) var isOver = false
    private(set) var wasStable = false
    private let control: ControlDriver
    private var judge: ControlJudge
    private var flows: [Flow] = []
    private var master = Master()
    private let nonsensePercent: Int
    private let hasPassword: Bool
    private let context: Comment
    private var seen = 0

    private static let releases = [
        "df-v1.40.0", "df-v1.40.0", "df-v1.36.0", "df-v1.34.1", "df-v1.30.3", "df-v1.20.1", nil,
    ]

    private static let replies = [
        "+OK\r\n", "+PONG\r\n", "-ERR syncid not found\r\n", "-NOAUTH x\r\n", "-LOADING x\r\n",
        ":1\r\n", "$3\r\nabc\r\n", "*0\r\n", "garbage", "*2\r\n+FULL\r\n+short\r\n",
        Master().reply(to: ["DFLY", "FLOW"]), Master().capabilityReply, Master().token,
    ]

    init(seed: UInt64, generator: SeededGenerator) throws {
        self.generator = generator
        context = Comment(rawValue: "seed \(seed)")
        nonsensePercent = [0, 1, 5, 40].randomElement(using: &self.generator) ?? 0
        hasPassword = Bool.random(using: &self.generator)
        master.flowCount = Int.random(in: 1...4, using: &self.generator)
        master.elements = Int.random(in: 3...6, using: &self.generator)
        master.release = Self.releases.randomElement(using: &self.generator) ?? nil
        master.partial = Bool.random(using: &self.generator)
        var settings = ControlSettings(
            credentials: hasPassword ? Credentials(user: "joe", password: "s3cret") : nil,
            listeningPort: 1, address: "10.0.0.1", clientID: "task")
        if Bool.random(using: &self.generator) {
            settings.position = ResumePosition(
                replicationID: master.replicationID,
                lsns: Array(repeating: 100, count: master.flowCount))
        }
        control = try ControlDriver(settings)
        let text = Array((master.release ?? "").utf8)
        judge = ControlJudge(release: text.withByteView { SourceRelease($0) })
    }

    private func chance(_ percent: Int) -> Bool {
        Int.random(in: 0..<100, using: &generator) < percent
    }

    func step() {
        let pause = chance(3) ? Int64.random(in: 0...6000, using: &generator) : 20
        control.now += pause
        for flow in flows { flow.driver.now += pause }
        if chance(nonsensePercent) {
            if flows.isEmpty || chance(50) { controlNonsense() } else { flowNonsense() }
        } else if flows.isEmpty || chance(25) {
            controlSense()
        } else {
            flowSense(Int.random(in: flows.indices, using: &generator))
        }
    }

    // MARK: What a master does

    private func controlSense() {
        if control.session.phase == .connecting {
            perform(control.connect())
        } else if seenReply < control.sent.count {
            reply(master.reply(to: control.sent[control.sent.count - 1]))
        } else if wasStable && chance(2) {
            perform(control.session.stop())
        } else {
            perform(control.tick())
        }
    }

    /// Replies given so far; fewer than commands written if one is awaited.
    private var seenReply = 0

    private func reply(_ text: String) {
        seenReply = control.sent.count
        judge.answered(text)
        for action in control.receive(text) { perform(action) }
        judgeControl()
        control.received.clear()
    }

    private func flowSense(_ index: Int) {
        let flow = flows[index].driver
        switch flow.session.phase {
        case .connecting:
            perform(flow.connect(), index)
        case .authenticating:
            receive("+OK\r\n", index)
        case .awaitingFlowReply:
            var answer = master
            answer.partial = master.partial && flow.session.settings.resumeLSN != nil
            receive(answer.reply(to: ["DFLY", "FLOW"]), index)
        case .snapshot where control.session.phase == .fullSync:
            perform(flow.session.fullSyncEnd(), index)
        case .tail where control.session.phase != .fullSync:
            perform(flow.session.journalOffset(flows[index].applied), index)
        case .offsetKnown:
            perform(flow.session.snapshotEnd(), index)
        case .token:
            receive(master.token, index)
        case .stable:
            apply(index)
        case .leaving where chance(30):
            perform(flow.session.connectionEnded("end of stream"), index)
        default:
            perform(flow.tick(), index)
        }
    }

    private func apply(_ index: Int) {
        let flow = flows[index]
        if chance(5) { flow.driver.session.pingSeen(next: flow.applied + 3) }
        flow.applied += UInt64.random(in: 0...700, using: &generator)
        flow.judge.applied(flow.applied)
        flow.driver.session.applied(upTo: flow.applied)
        perform(flow.driver.tick(), index)
    }

    private func receive(_ text: String, _ index: Int) {
        flows[index].judge.answered()
        perform(flows[index].driver.receive(text).action, index)
    }

    // MARK: Anything

    private func controlNonsense() {
        let index = Int.random(in: -1...flows.count, using: &generator)
        let kind: SyncKind = Bool.random(using: &generator) ? .full : .partial
        switch Int.random(in: 0..<9, using: &generator) {
        case 0: perform(control.connect())
        case 1: reply(Self.replies.randomElement(using: &generator) ?? "")
        case 2:
            judge.reported(ready: index, kind)
            perform(control.flowReady(index, kind))
        case 3:
            judge.reported(ended: index)
            perform(control.flowEndedFullSync(index))
        case 4 where chance(20):
            perform(control.session.flowFailed(index, SourceError(.restart, "x")))
        case 5 where chance(20): perform(control.session.flowClosed(index))
        case 6 where chance(20): perform(control.session.connectionEnded("x"))
        case 7 where chance(20): perform(control.session.stop())
        default: perform(control.tick(after: Int64.random(in: 0...9000, using: &generator)))
        }
    }

    private func flowNonsense() {
        let index = Int.random(in: flows.indices, using: &generator)
        let flow = flows[index].driver
        switch Int.random(in: 0..<12, using: &generator) {
        case 0: perform(flow.connect(), index)
        case 1: receive(Self.replies.randomElement(using: &generator) ?? "", index)
        case 2: perform(flow.session.fullSyncEnd(), index)
        case 3:
            perform(
                flow.session.journalOffset(UInt64.random(in: 0...UInt64.max, using: &generator)),
                index)
        case 4: perform(flow.session.snapshotEnd(), index)
        case 5: flow.session.pingSeen(next: UInt64.random(in: 0...5000, using: &generator))
        case 6: perform(flow.leave(), index)
        case 7 where chance(20): perform(flow.session.connectionEnded("x"), index)
        case 8: perform(flow.tick(after: Int64.random(in: 0...9000, using: &generator)), index)
        case 9:
            flows[index].judge.sessionBecameStable()
            flow.session.sessionBecameStable()
        case 10:
            // Backwards, or beyond any LSN: ignored.
            let next = UInt64.random(in: 0...UInt64.max, using: &generator)
            flow.session.applied(upTo: chance(50) ? next | 1 << 63 : flows[index].applied / 2)
            flows[index].judge.applied(flows[index].applied / 2)
        default: apply(index)
        }
    }

    // MARK: The owner

    private func judgeControl() {
        while seen < control.sent.count {
            judge.wrote(control.sent[seen], context)
            seen += 1
        }
    }

    private func perform(_ action: ControlAction) {
        judgeControl()
        judge.saw(action)
        switch action {
        case .none, .startedFullSync:
            break
        case .openFlows(let settings):
            flows = settings.compactMap { try? Flow($0, now: control.now) }
        case .enteredStable:
            wasStable = true
            for flow in flows {
                flow.judge.sessionBecameStable()
                flow.driver.session.sessionBecameStable()
            }
        case .leaveFlows:
            for index in flows.indices { perform(flows[index].driver.leave(), index) }
        case .close:
            isOver = true
        }
    }

    private func perform(_ action: FlowAction, _ index: Int) {
        let flow = flows[index]
        while flow.seen < flow.driver.sent.count {
            flow.judge.wrote(
                flow.driver.sent[flow.seen], phase: flow.driver.session.phase,
                hasPassword: hasPassword, context)
            flow.seen += 1
        }
        flow.judge.saw(action)
        switch action {
        case .none, .journalBegins, .shutDownWriting:
            break
        case .ready(let kind):
            judge.reported(ready: index, kind)
            perform(control.flowReady(index, kind))
        case .endedFullSync:
            judge.reported(ended: index)
            perform(control.flowEndedFullSync(index))
        case .failed(let error):
            perform(control.session.flowFailed(index, error))
        case .close:
            perform(control.session.flowClosed(index))
        }
    }
}

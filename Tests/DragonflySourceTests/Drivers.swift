import Bytes
import DragonflySource
import Testing

/// What a well-behaved master answers.
struct Master {
    var replicationID = String(repeating: "a1", count: 20)
    var sessionID = "SYNC7"
    var flowCount = 2
    var version = 5
    var elements = 5
    var release: String? = "df-v1.40.0"
    var partial = false
    var token = String(repeating: "0f", count: 20)

    var capabilityReply: String {
        let all = [
            "+\(replicationID)", "+\(sessionID)", ":\(flowCount)", ":\(version)",
            "+\(replicationID)", "+more",
        ]
        return "*\(elements)\r\n" + all.prefix(elements).map { $0 + "\r\n" }.joined()
    }

    func reply(to command: [String]) -> String {
        switch command[0] {
        case "PING":
            return "+PONG\r\n"
        case "INFO":
            let text =
                "# Server\r\nredis_version:7.4.0\r\n"
                + (release.map { "dragonfly_version:\($0)\r\n" } ?? "") + "tcp_port:6379\r\n"
            return "$\(text.utf8.count)\r\n\(text)\r\n"
        case "DFLY" where command[1] == "FLOW":
            return "*2\r\n+\(partial ? "PARTIAL" : "FULL")\r\n+\(token)\r\n"
        default:
            return command == ["REPLCONF", "capa", "dragonfly"] ? capabilityReply : "+OK\r\n"
        }
    }
}

func makeRing() throws -> MirroredRing { try MirroredRing(capacity: 32 << 10) }

/// Takes every command out of `ring`; anything but whole RESP arrays of bulk strings is a failure.
func drainCommands(_ ring: inout MirroredRing) -> [[String]] {
    var commands: [[String]] = []
    while !ring.isEmpty {
        guard case .reply(.array(let elements), let size) = HandshakeReply.parse(ring.readable)
        else {
            Issue.record("not a command: \(ring.readable.printable())")
            ring.clear()
            break
        }
        commands.append(
            elements.map { element in
                guard case .bulk(let text) = element else { return "?" }
                return String(decoding: text.array(), as: UTF8.self)
            })
        ring.consume(size)
    }
    return commands
}

/// A control session with its rings and a clock, driven as a reactor core would.
final class ControlDriver {
    var session: ControlSession
    var now: Int64 = 1_000_000
    /// Every command written, in order.
    var sent: [[String]] = []
    var received: MirroredRing
    private var output: MirroredRing

    init(_ settings: ControlSettings = ControlSettings(listeningPort: 1, clientID: "task")) throws {
        session = ControlSession(settings, now: now)
        received = try makeRing()
        output = try makeRing()
    }

    func collect() {
        sent += drainCommands(&output)
    }

    func connect() -> ControlAction {
        defer { collect() }
        return session.connected(now: now, output: &output)
    }

    /// Adds bytes to what was received and lets the session read until it takes no more.
    @discardableResult
    func receive(_ text: String) -> [ControlAction] {
        Array(text.utf8).withByteView { received.append($0) }
        var actions: [ControlAction] = []
        while true {
            let (consumed, action) = session.receive(
                received.readable, now: now, output: &output)
            received.consume(consumed)
            collect()
            if action != .none { actions.append(action) }
            if consumed == 0 { return actions }
        }
    }

    func flowReady(_ index: Int, _ kind: SyncKind) -> ControlAction {
        defer { collect() }
        return session.flowReady(index, kind, now: now, output: &output)
    }

    func flowEndedFullSync(_ index: Int) -> ControlAction {
        defer { collect() }
        return session.flowEndedFullSync(index, now: now, output: &output)
    }

    func tick(after milliseconds: Int64 = 0) -> ControlAction {
        defer { collect() }
        now += milliseconds
        return session.tick(now: now, output: &output)
    }

    /// Answers every command as `master` does until nothing more is sent; returns all actions.
    @discardableResult
    func serve(_ master: Master) -> [ControlAction] {
        var actions: [ControlAction] = []
        var answered = sent.count - 1
        while answered < sent.count, answered < 50 {
            actions += receive(master.reply(to: sent[answered]))
            answered += 1
        }
        return actions
    }

    /// From nothing to the action that opens the flows.
    func shakeHands(_ master: Master) throws -> [FlowSettings] {
        try #require(connect() == .none)
        let actions = serve(master)
        guard actions.count == 1, case .openFlows(let flows) = actions[0] else {
            Issue.record("expected openFlows, got \(actions)")
            return []
        }
        return flows
    }

    /// From nothing to stable sync over a full sync.
    func reachStable(_ master: Master) throws {
        _ = try shakeHands(master)
        for index in 0..<master.flowCount { _ = flowReady(index, .full) }
        try #require(serve(master) == [.startedFullSync])
        for index in 0..<master.flowCount { _ = flowEndedFullSync(index) }
        try #require(serve(master) == [.enteredStable])
        try #require(session.phase == .stable)
    }

    func count(_ command: [String]) -> Int {
        sent.count { $0 == command }
    }
}

/// A flow session with its rings and a clock.
final class FlowDriver {
    var session: FlowSession
    var now: Int64 = 1_000_000
    var sent: [[String]] = []
    var output: MirroredRing

    static func settings(
        lsn: UInt64? = nil, partialSync: SourceRelease.PartialSync = .straightToStable,
        acknowledges: Bool = true, credentials: Credentials? = nil
    ) -> FlowSettings {
        let master = Master()
        return FlowSettings(
            index: 3, replicationID: master.replicationID, sessionID: master.sessionID,
            resumeLSN: lsn, partialSync: partialSync, acknowledges: acknowledges,
            credentials: credentials)
    }

    init(_ settings: FlowSettings = FlowDriver.settings()) throws {
        session = FlowSession(settings, now: now)
        output = try makeRing()
    }

    func connect() -> FlowAction {
        defer { collect() }
        return session.connected(now: now, output: &output)
    }

    func collect() {
        sent += drainCommands(&output)
    }

    func receive(_ text: String) -> (consumed: Int, action: FlowAction) {
        defer { collect() }
        return Array(text.utf8).withByteView { session.receive($0, now: now, output: &output) }
    }

    func tick(after milliseconds: Int64 = 0) -> FlowAction {
        defer { collect() }
        now += milliseconds
        return session.tick(now: now, output: &output)
    }

    func leave() -> FlowAction {
        defer { collect() }
        return session.leave(now: now, output: &output)
    }

    /// Values of the ACKs sent so far.
    var acknowledgements: [String] {
        sent.filter { $0.starts(with: ["REPLCONF", "ACK"]) }.map { $0[2] }
    }

    /// Runs the flow to just before `phase` would be left, over a full sync with offset 100.
    func reach(_ phase: FlowSession.Phase) throws {
        let master = Master()
        let steps: [(FlowSession.Phase, () -> FlowAction)] = [
            (.connecting, { .none }),
            (.awaitingFlowReply, { self.connect() }),
            (.snapshot, { self.receive(master.reply(to: ["DFLY", "FLOW"])).action }),
            (.tail, { self.session.fullSyncEnd() }),
            (.offsetKnown, { self.session.journalOffset(100) }),
            (.token, { self.session.snapshotEnd() }),
            (.stable, { self.receive(master.token).action }),
        ]
        for (reached, step) in steps {
            _ = step()
            if reached == phase { break }
        }
        try #require(session.phase == phase)
    }
}

/// A small generator with a seed, so that a failing walk can be walked again.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var word = state
        word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
        return word ^ (word >> 31)
    }
}

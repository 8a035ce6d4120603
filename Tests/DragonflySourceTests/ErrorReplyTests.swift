import Bytes
import DragonflySource
import Testing

/// Promise: every error of protocol.md 2.6 at every step becomes the right kind, says what to do,
/// and nothing is sent after it.
@Suite struct ErrorReplyTests {
    struct Row: Sendable {
        let reply: String
        let kind: SourceError.Kind
        let advice: String
    }

    static let rows: [Row] = [
        Row(reply: "NOAUTH Authentication required.", kind: .unauthenticated, advice: "password"),
        Row(
            reply: "WRONGPASS invalid username-password pair or user is disabled.",
            kind: .unauthenticated, advice: "correct the source's user and password"),
        Row(
            reply: "NOPERM joe has no ACL permissions", kind: .refused,
            advice: "ACL SETUSER joe +replconf +dfly +ping +info"),
        Row(
            reply: "ERR Cannot execute restricted command (admin only)", kind: .refused,
            advice: "--admin_port"),
        Row(
            reply: "ERR Replicating a replica is unsupported", kind: .refused,
            advice: "address of its master"),
        Row(
            reply: "LOADING Dragonfly is loading the dataset in memory", kind: .loading,
            advice: "try again later"),
        Row(
            reply: "ERR Bad TLS header, double check if you enabled TLS for your client.",
            kind: .refused, advice: "TLS"),
        Row(reply: "ERR syntax error", kind: .restart, advice: "beginning anew"),
        Row(
            reply: "ERR value is not an integer or out of range", kind: .restart,
            advice: "beginning anew"),
        Row(reply: "ERR bad master id", kind: .restart, advice: "restarted or replaced"),
        Row(reply: "ERR bad sync id", kind: .restart, advice: "beginning anew"),
        Row(reply: "ERR syncid not found", kind: .restart, advice: "dropped this session"),
        Row(reply: "ERR invalid state", kind: .restart, advice: "not in the state"),
        Row(reply: "ERR anything new", kind: .restart, advice: "beginning anew"),
    ]

    private static let credentials = Credentials(user: "joe", password: "s3cret")

    private func check(_ error: SourceError?, _ row: Row, isLogin: Bool, _ step: String) {
        guard let error else {
            Issue.record("\(step) survived \(row.reply)")
            return
        }
        #expect(!error.message.contains("s3cret"))
        #expect(error.message.contains(row.reply), "\(step)")
        if isLogin && row.kind == .restart {
            #expect(error.kind == .unauthenticated, "\(step): \(row.reply)")
        } else {
            #expect(error.kind == row.kind, "\(step): \(row.reply)")
            #expect(error.message.contains(row.advice), "\(error.message)")
        }
        let isHopeless = error.kind == .refused || error.kind == .unauthenticated
        #expect(error.isWorthRetrying != isHopeless)
    }

    /// The control connection: AUTH to STARTSTABLE, and PING in stable sync.
    @Test(arguments: rows)
    func onTheControlConnection(_ row: Row) throws {
        let master = Master()
        // 0 AUTH, 1 PING, 2 INFO, 3 listening-port, 4 ip-address, 5 capa, 6 capa dragonfly,
        // 7 CLIENT-ID, 8 CLIENT-VERSION, 9 SYNC, 10 STARTSTABLE, 11 PING.
        for step in 0...11 {
            let driver = try ControlDriver(
                ControlSettings(
                    credentials: Self.credentials, listeningPort: 1, address: "10.0.0.1",
                    clientID: "task"))
            _ = driver.connect()
            for _ in 0..<20 where driver.sent.count <= step {
                driver.receive(master.reply(to: driver.sent.last ?? []))
                switch driver.session.phase {
                case .openingFlows:
                    for index in 0..<2 { _ = driver.flowReady(index, .full) }
                case .fullSync where driver.sent.count == 10:
                    for index in 0..<2 { _ = driver.flowEndedFullSync(index) }
                case .stable:
                    _ = driver.tick(after: 5000)
                default:
                    break
                }
            }
            try #require(driver.sent.count == step + 1)
            let name = driver.sent[step].joined(separator: " ")
            let actions = driver.receive("-\(row.reply)\r\n")
            let isWarning =
                step == 4
                || (step == 2 || step == 7) && (row.kind == .restart || row.kind == .refused)
            if isWarning {
                #expect(driver.sent.count == step + 2, "\(name) was answered \(row.reply)")
                #expect(driver.session.warnings.count == (step == 4 ? 0 : 1))
                continue
            }
            #expect(driver.sent.count == step + 1)
            check(driver.session.failure, row, isLogin: step == 0, name)
            if step >= 9 {
                #expect(actions == [.leaveFlows])
                #expect(driver.session.flowClosed(0) == .none)
                #expect(driver.session.flowClosed(1) == .close(driver.session.failure))
            } else {
                #expect(actions == [.close(driver.session.failure)])
            }
            #expect(driver.session.phase == .closed)
        }
    }

    /// A flow connection: AUTH and DFLY FLOW. The control session then leaves every flow.
    @Test(arguments: rows)
    func onAFlow(_ row: Row) throws {
        for step in 0...1 {
            let flow = try FlowDriver(FlowDriver.settings(credentials: Self.credentials))
            _ = flow.connect()
            if step == 1 { _ = flow.receive("+OK\r\n") }
            let text = "-\(row.reply)\r\n"
            let (consumed, action) = flow.receive(text)
            #expect(consumed == text.utf8.count)
            guard case .failed(let error) = action else {
                Issue.record("\(action)")
                continue
            }
            check(error, row, isLogin: step == 0, "flow step \(step)")
            #expect(error.message.hasPrefix("flow 3: "))
            #expect(flow.sent.count == step + 1)

            let control = try ControlDriver()
            _ = try control.shakeHands(Master())
            #expect(control.session.flowFailed(1, error) == .leaveFlows)
            #expect(flow.leave() == .shutDownWriting)
            #expect(flow.session.connectionEnded("end") == .close)
            #expect(control.session.flowClosed(0) == .none)
            #expect(control.session.flowClosed(1) == .close(error))
        }
    }
}

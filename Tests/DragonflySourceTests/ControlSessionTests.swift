import Bytes
import DragonflySource
import Testing

/// Promise: the commands of protocol.md 2.3 in their order, each after the answer to the one
/// before.
@Suite struct ControlSessionTests {
    private static let handshake: [[String]] = [
        ["PING"], ["INFO", "server"], ["REPLCONF", "listening-port", "16379"],
        ["REPLCONF", "ip-address", "10.1.2.3"], ["REPLCONF", "capa", "eof", "capa", "psync2"],
        ["REPLCONF", "capa", "dragonfly"], ["REPLCONF", "CLIENT-ID", "task"],
        ["REPLCONF", "CLIENT-VERSION", "4"],
    ]

    private static let settings = ControlSettings(
        listeningPort: 16379, address: "10.1.2.3", clientID: "task")

    @Test func theHappyPath() throws {
        let master = Master()
        let driver = try ControlDriver(Self.settings)
        #expect(driver.connect() == .none)
        for (index, command) in Self.handshake.enumerated() {
            #expect(driver.sent.count == index + 1)
            #expect(driver.sent.last == command)
            let actions = driver.receive(master.reply(to: command))
            #expect(actions.isEmpty == (index + 1 < Self.handshake.count))
        }
        #expect(driver.session.phase == .openingFlows)
        #expect(driver.session.replicationID == master.replicationID)
        #expect(driver.session.sessionID == "SYNC7")
        #expect(driver.session.flowCount == 2)
        #expect(driver.session.protocolVersion == 5)
        #expect(driver.session.acknowledges == true)
        #expect(driver.session.releaseText == "df-v1.40.0")
        #expect(driver.session.release == SourceRelease(major: 1, minor: 40))

        #expect(driver.flowReady(1, .full) == .none)
        #expect(driver.sent.count == 8)
        #expect(driver.flowReady(0, .full) == .none)
        #expect(driver.sent.last == ["DFLY", "SYNC", "SYNC7"])
        #expect(driver.receive("+OK\r\n") == [.startedFullSync])
        #expect(driver.flowEndedFullSync(0) == .none)
        #expect(driver.sent.count == 9)
        #expect(driver.flowEndedFullSync(1) == .none)
        #expect(driver.sent.last == ["DFLY", "STARTSTABLE", "SYNC7"])
        #expect(driver.receive("+OK\r\n") == [.enteredStable])
        #expect(driver.sent.count == 10)

        #expect(driver.session.stop() == .leaveFlows)
        #expect(driver.session.flowClosed(1) == .none)
        #expect(driver.session.flowClosed(0) == .close(nil))
        #expect(driver.sent.count == 10)
        #expect(driver.session.warnings == [])
    }

    /// The whole conversation, one byte at a time: same commands, nothing early.
    @Test func repliesCutAtEveryByte() throws {
        let master = Master()
        let driver = try ControlDriver(Self.settings)
        _ = driver.connect()
        for command in Self.handshake {
            let before = driver.sent.count
            let reply = Array(master.reply(to: command).utf8)
            for byte in reply.dropLast() {
                #expect(driver.receive(String(decoding: [byte], as: UTF8.self)).isEmpty)
                #expect(driver.sent.count == before)
            }
            driver.receive("\n")
        }
        #expect(driver.session.phase == .openingFlows)
        #expect(driver.sent == Self.handshake)
    }

    @Test func passwordsGoFirstAndNowhereElse() throws {
        for (credentials, command) in [
            (Credentials(password: "s3cret word\r\n"), ["AUTH", "s3cret word\r\n"]),
            (Credentials(user: "joe", password: "s3cret"), ["AUTH", "joe", "s3cret"]),
        ] {
            var settings = Self.settings
            settings.credentials = credentials
            let driver = try ControlDriver(settings)
            let flows = try driver.shakeHands(Master())
            #expect(driver.sent == [command] + Self.handshake)
            #expect(flows.allSatisfy { $0.credentials == credentials })
            var dumped = ""
            dump(flows, to: &dumped)
            dump(settings, to: &dumped)
            for text in ["\(flows)", "\(settings)", String(reflecting: flows), dumped] {
                #expect(!text.contains("s3cret"))
            }
        }
    }

    /// Some servers repeat the arguments of a refused command.
    @Test func anErrorNeverRepeatsThePassword() throws {
        var settings = Self.settings
        settings.credentials = Credentials(password: "s3cret")
        for text in [
            "-ERR unknown command 'AUTH', with args beginning with: 's3cret'", "+s3cret",
            "-WRONGPASS s3cret is wrong", "AUTH s3cret", "*1\r\n+s3cret",
        ] {
            let driver = try ControlDriver(settings)
            _ = driver.connect()
            let actions = driver.receive(text + "\r\n")
            guard case .close(let error?) = actions.first else {
                Issue.record("\(actions)")
                continue
            }
            #expect(!error.message.contains("s3cret"))
        }
    }

    @Test func aPasswordThatDoesNotFitIsRefused() throws {
        var settings = Self.settings
        settings.credentials = Credentials(password: String(repeating: "x", count: 40_000))
        let driver = try ControlDriver(settings)
        guard case .close(let error?) = driver.connect() else {
            Issue.record("accepted")
            return
        }
        #expect(error.kind == .refused)
        #expect(driver.sent.isEmpty)
    }

    /// Promise: CLIENT-VERSION and ACKs only towards sources that report a version
    /// (protocol.md 2.3), further elements ignored.
    @Test(arguments: [3, 4, 5, 6])
    func sessionsOfThreeToSixElements(_ elements: Int) throws {
        var master = Master()
        master.elements = elements
        let driver = try ControlDriver(Self.settings)
        let flows = try driver.shakeHands(master)
        #expect(flows.map(\.index) == [0, 1])
        #expect(driver.session.acknowledges == (elements > 3))
        #expect(flows.allSatisfy { $0.acknowledges == (elements > 3) })
        #expect(driver.session.protocolVersion == (elements > 3 ? 5 : 0))
        #expect(driver.count(["REPLCONF", "CLIENT-VERSION", "4"]) == (elements > 3 ? 1 : 0))
    }

    private static let id = String(repeating: "a", count: 40)

    @Test(arguments: [
        "+OK\r\n", ":1\r\n", "$-1\r\n", "*0\r\n", "*2\r\n+\(id)\r\n+SYNC1\r\n",
        "*3\r\n+\(id)b\r\n+SYNC1\r\n:1\r\n", "*3\r\n+\(id.dropLast())\r\n+SYNC1\r\n:1\r\n",
        "*3\r\n+\(id.dropLast())z\r\n+SYNC1\r\n:1\r\n", "*3\r\n+\(id)\r\n+SYNC\r\n:1\r\n",
        "*3\r\n+\(id)\r\n+sync1\r\n:1\r\n", "*3\r\n+\(id)\r\n+SYNC-1\r\n:1\r\n",
        "*3\r\n+\(id)\r\n+SYNC1\r\n:0\r\n", "*3\r\n+\(id)\r\n+SYNC1\r\n:-4\r\n",
        "*3\r\n+\(id)\r\n+SYNC1\r\n:1025\r\n", "*3\r\n+\(id)\r\n+SYNC1\r\n+1\r\n",
        "*4\r\n+\(id)\r\n+SYNC1\r\n:1\r\n+4\r\n", "*4\r\n+\(id)\r\n+SYNC1\r\n:1\r\n:-1\r\n",
        "*3\r\n:1\r\n+SYNC1\r\n:1\r\n", "*1\r\n*1\r\n+a\r\n", "*70\r\n", "nonsense\r\n",
    ])
    func sessionsThatAreNone(_ reply: String) throws {
        let driver = try ControlDriver(Self.settings)
        _ = driver.connect()
        for _ in 0..<20 where driver.sent.last != ["REPLCONF", "capa", "dragonfly"] {
            driver.receive(Master().reply(to: driver.sent.last ?? []))
        }
        let sent = driver.sent.count
        let actions = driver.receive(reply)
        guard actions.count == 1, case .close(let error?) = actions[0] else {
            Issue.record("\(actions)")
            return
        }
        #expect(error.kind == .refused)
        #expect(driver.sent.count == sent)
        if reply == "+OK\r\n" { #expect(error.message.contains("no Dragonfly")) }
    }

    /// The address is unknown before v1.21, and neither the client id nor INFO is needed.
    @Test func answersThatDoNotMatter() throws {
        let driver = try ControlDriver(Self.settings)
        _ = driver.connect()
        for _ in 0..<20 where driver.session.phase == .handshake {
            let command = driver.sent.last ?? []
            let ignored = ["ip-address", "CLIENT-ID", "server"].contains(command[1...].first ?? "")
            driver.receive(ignored ? "-ERR syntax error\r\n" : Master().reply(to: command))
        }
        #expect(driver.sent == Self.handshake)
        #expect(driver.session.release == nil)
        #expect(driver.session.warnings.count == 2)
    }

    /// Promise: nothing is sent before everything sent was answered, PING included.
    @Test func theBarrierWaitsForAnOpenPing() throws {
        let master = Master()
        let driver = try ControlDriver(Self.settings)
        _ = try driver.shakeHands(master)
        _ = driver.flowReady(0, .full)
        #expect(driver.tick(after: 5000) == .none)
        #expect(driver.sent.last == ["PING"])
        _ = driver.flowReady(1, .full)
        #expect(driver.sent.last == ["PING"])
        driver.receive("+PONG\r\n")
        #expect(driver.sent.last == ["DFLY", "SYNC", "SYNC7"])
        // Both flows are through before the answer to SYNC comes.
        _ = driver.flowEndedFullSync(0)
        _ = driver.flowEndedFullSync(1)
        #expect(driver.sent.last == ["DFLY", "SYNC", "SYNC7"])
        #expect(driver.receive("+OK\r\n") == [.startedFullSync])
        #expect(driver.sent.last == ["DFLY", "STARTSTABLE", "SYNC7"])
        #expect(driver.receive("+OK\r\n") == [.enteredStable])
    }

    /// Promise: STARTSTABLE once, after the last flow, whatever the order and repetitions.
    @Test func theBarrierIsASetOfFlows() throws {
        var master = Master()
        master.flowCount = 4
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 2, 2, 2, 0, 0, 1, 2, 3]] {
            let driver = try ControlDriver(Self.settings)
            _ = try driver.shakeHands(master)
            for index in 0..<4 { _ = driver.flowReady(index, .full) }
            driver.serve(master)
            let sent = driver.sent.count
            for index in order.dropLast() {
                #expect(driver.flowEndedFullSync(index) == .none)
                #expect(driver.sent.count == sent)
            }
            _ = driver.flowEndedFullSync(order.last ?? 0)
            #expect(driver.count(["DFLY", "STARTSTABLE", "SYNC7"]) == 1)
            _ = driver.flowEndedFullSync(0)
            #expect(driver.count(["DFLY", "STARTSTABLE", "SYNC7"]) == 1)
        }
    }

    @Test func aFlowThatEndsBeforeItBeganIsAnError() throws {
        let driver = try ControlDriver(Self.settings)
        _ = try driver.shakeHands(Master())
        #expect(driver.flowEndedFullSync(0) == .leaveFlows)
        #expect(driver.session.failure?.kind == .restart)
    }

    /// PING every 5 s, never while something is open, and 15 s without an answer are a loss.
    @Test func pingCadenceAndLoss() throws {
        let driver = try ControlDriver(Self.settings)
        try driver.reachStable(Master())
        for round in 0..<3 {
            #expect(driver.tick(after: 4999) == .none)
            #expect(driver.count(["PING"]) == 1 + round)
            #expect(driver.tick(after: 1) == .none)
            #expect(driver.count(["PING"]) == 2 + round)
            driver.receive("+PONG\r\n")
        }
        _ = driver.tick(after: 5000)
        #expect(driver.tick(after: 14_999) == .none)
        #expect(driver.count(["PING"]) == 5)
        #expect(driver.tick(after: 1) == .leaveFlows)
        #expect(driver.session.failure?.kind == .restart)
        #expect(driver.session.failure?.message.contains("PING in 15 s") == true)
    }

    /// The master answers SYNC and STARTSTABLE after work on every flow.
    @Test func transitionsGetMoreTime() throws {
        let driver = try ControlDriver(Self.settings)
        _ = try driver.shakeHands(Master())
        _ = driver.flowReady(0, .full)
        _ = driver.flowReady(1, .full)
        #expect(driver.tick(after: 59_999) == .none)
        #expect(driver.count(["PING"]) == 1)
        #expect(driver.tick(after: 1) == .leaveFlows)
    }

    @Test func silenceDuringConnectAndHandshake() throws {
        let silent = try ControlDriver(Self.settings)
        #expect(silent.tick(after: 14_999) == .none)
        guard case .close(let error?) = silent.tick(after: 1) else {
            Issue.record("still waiting")
            return
        }
        #expect(error.kind == .unreachable)
        let mute = try ControlDriver(Self.settings)
        _ = mute.connect()
        guard case .close(let error?) = mute.tick(after: 15_000) else {
            Issue.record("still waiting")
            return
        }
        #expect(error.kind == .unreachable)
    }

    @Test func bytesNobodyAskedForEndTheSession() throws {
        for text in ["+OK\r\n", "-ERR shutting down\r\n", "garbage"] {
            let driver = try ControlDriver(Self.settings)
            try driver.reachStable(Master())
            #expect(driver.receive(text) == [.leaveFlows])
            #expect(driver.session.failure?.kind == .restart)
        }
    }
}

import Bytes
import Reactor
import TestSupport
import Testing
import Wire

@testable import RedisTarget

/// A target is asked what it is before anything is written, and a refusal says what to do.
@Suite struct TargetGreetingTests {
    /// What came of the log-in.
    private func greet(
        port: UInt16, user: String? = nil, password: String? = nil, name: String = "df2redis",
        needsJSON: Bool = false, during step: @escaping () throws -> Bool = { true }
    ) throws -> (outcome: String, replies: Int) {
        let greeter = try Greeter(
            port: port, user: user, password: password, name: name, needsJSON: needsJSON)
        try greeter.run(step)
        return (greeter.outcome, greeter.replies)
    }

    @Test func openServerIsReady() throws {
        let server = try RedisServer()
        let found = try greet(port: server.port, name: "task-1")
        #expect(found.outcome == "ready Redis \(try server.version())")
        #expect(found.replies == 2)
        // The connection is closed by now; its name was shown.
        #expect(try server.callsByCommand()["client|setname"] == 1)
    }

    /// A server that dislikes the name works as well.
    @Test func refusedNameIsNoMatter() throws {
        let server = try RedisServer()
        #expect(try greet(port: server.port, name: "with space").outcome.hasPrefix("ready"))
    }

    @Test func passwords() throws {
        let server = try RedisServer(arguments: ["--requirepass", "right word"])
        #expect(try greet(port: server.port, password: "right word").outcome.hasPrefix("ready"))
        let wrong = try greet(port: server.port, password: "wrong").outcome
        #expect(wrong.hasPrefix("login WRONGPASS") && wrong.contains("password of the target"))
        #expect(!wrong.contains("right word"))
        let missing = try greet(port: server.port).outcome
        #expect(missing.hasPrefix("login NOAUTH") && missing.contains("Give the target's password"))
        let withUser = try greet(port: server.port, user: "default", password: "right word")
        #expect(withUser.outcome.hasPrefix("ready"))
    }

    @Test func users() throws {
        let server = try RedisServer()
        let client = try server.client()
        try client.call("ACL", "SETUSER", "writer", "on", ">secret", "~*", "&*", "+@all")
        try client.call("ACL", "SETUSER", "blind", "on", ">secret", "~*", "+@all", "-info")
        #expect(
            try greet(port: server.port, user: "writer", password: "secret").outcome
                .hasPrefix("ready"))
        let wrong = try greet(port: server.port, user: "writer", password: "public").outcome
        #expect(wrong.hasPrefix("login WRONGPASS"))
        let nobody = try greet(port: server.port, user: "nobody", password: "secret").outcome
        #expect(nobody.hasPrefix("login WRONGPASS"))
        let blind = try greet(port: server.port, user: "blind", password: "secret").outcome
        #expect(blind.hasPrefix("refused NOPERM") && blind.contains("+info"))
    }

    /// A password for a server that wants none is a mistake to be told.
    @Test func superfluousPasswordIsTold() throws {
        let server = try RedisServer()
        #expect(try greet(port: server.port, password: "any").outcome.hasPrefix("login "))
    }

    /// `types.json: module` needs the module, and what to do without is said.
    @Test func jsonModuleIsAskedFor() throws {
        let without = try RedisServer()
        let refused = try greet(port: without.port, needsJSON: true).outcome
        #expect(refused.hasPrefix("refused it has no JSON.SET"), "\(refused)")
        #expect(refused.contains("set types.json to \"string\""))
        let client = try without.client()
        try client.call("ACL", "SETUSER", "blind", "on", ">secret", "~*", "&*", "+@all", "-command")
        let blind = try greet(
            port: without.port, user: "blind", password: "secret", needsJSON: true
        ).outcome
        #expect(blind.hasPrefix("refused NOPERM") && blind.contains("+command"), "\(blind)")
    }

    @Test(.enabled(if: RedisServer.jsonModule != nil, "\(RedisServer.jsonModuleHint)"))
    func jsonModuleIsFound() throws {
        let with = try RedisServer(arguments: ["--loadmodule", RedisServer.jsonModule ?? ""])
        #expect(try greet(port: with.port, needsJSON: true).outcome.hasPrefix("ready"))
    }

    /// A node of a cluster is known as such; its topology is asked for after the greeting.
    @Test func clusterNodeIsKnown() throws {
        let server = try RedisServer(
            arguments: ["--cluster-enabled", "yes", "--cluster-port", "\(RedisServer.freePort())"])
        #expect(try greet(port: server.port).outcome.hasPrefix("ready a cluster node, Redis 7"))
    }

    @Test func replicaIsRefused() throws {
        let master = try RedisServer()
        let replica = try RedisServer(arguments: ["--replicaof", "127.0.0.1 \(master.port)"])
        #expect(try greet(port: replica.port).outcome.contains("it is a replica"))
    }

    // MARK: Servers of our own

    private func answers(_ info: String) -> [UInt8] {
        Array("+OK\r\n$\(info.utf8.count)\r\n\(info)\r\n".utf8)
    }

    @Test func loadingServerIsRefused() throws {
        for info in ["redis_version:7.0.0\r\nloading:1\r\nrole:master\r\n"] {
            let server = try ScriptedServer()
            let found = try greet(port: server.port) {
                try server.say(answers(info))
                return true
            }
            #expect(found.outcome.contains("loading its data"))
        }
        let server = try ScriptedServer()
        let found = try greet(port: server.port) {
            try server.say("+OK\r\n-LOADING Redis is loading the dataset in memory\r\n".utf8)
            return true
        }
        #expect(found.outcome.hasPrefix("refused LOADING"))
        #expect(found.outcome.contains("try again"))
    }

    @Test func strangeServersAreRefused() throws {
        for info in ["", "# Server\r\nmemcached_version:1.6\r\n", "redis_version:\r\n"] {
            let server = try ScriptedServer()
            let found = try greet(port: server.port) {
                try server.say(answers(info))
                return true
            }
            #expect(found.outcome.contains("redis_version"), "\(info)")
        }
    }

    /// INFO is some kilobytes: over a real network it comes in several segments.
    @Test func informationInSegments() throws {
        let filler = String(repeating: "used_memory_something:123456\r\n", count: 300)
        let bytes = answers("# Server\r\nredis_version:7.4.1\r\n\(filler)role:master\r\n")
        for cut in [1, 5, 6, 12, 13, 14, 40, 1400, 2800, bytes.count - 1] {
            let server = try ScriptedServer()
            var said = 0
            let found = try greet(port: server.port) {
                let end = said == 0 ? cut : bytes.count
                try server.say(bytes[said..<end])
                said = end
                return said == bytes.count
            }
            #expect(found.outcome == "ready Redis 7.4.1", "cut at \(cut)")
        }
    }
}

/// Runs a greeting to its end.
private final class Greeter: ReactorOwner {
    private(set) var outcome = "none"
    private(set) var replies = 0
    private let reactor: Reactor
    private let target: TargetConnection
    private var greeting: TargetGreeting
    private var step: () throws -> Bool = { true }
    private var isSaid = false
    private var failure: (any Error)?

    init(
        port: UInt16, user: String?, password: String?, name: String, needsJSON: Bool
    ) throws {
        let pipeline = try Pipeline(port: port, inputBytes: 1 << 16)
        reactor = pipeline.reactor
        target = pipeline.target
        greeting = TargetGreeting(
            user: user, password: password, name: name, needsJSON: needsJSON)
    }

    func run(_ step: @escaping () throws -> Bool) throws {
        self.step = step
        reactor.setTimer(0, after: 1_000_000)
        try reactor.run(self)
        if let failure { throw failure }
    }

    func connected(_ socket: Socket) {
        greeting.begin(target)
    }

    func ready(_ socket: Socket) {
        do {
            while socket.fill(limit: 1 << 16) > 0 {
                while let reply = try target.nextReply() { take(reply) }
            }
        } catch {
            failure = error
        }
        if socket.reachedEnd || failure != nil { reactor.stop() }
    }

    private func take(_ reply: TargetReply) {
        replies += 1
        switch greeting.receive(reply, target) {
        case .waiting: break
        case .ready(let version):
            #expect(greeting.isDone && greeting.version == version)
            outcome = "ready \(greeting.isClusterNode ? "a cluster node, " : "")\(version)"
        case .refused(let isLogin, let message):
            #expect(!greeting.isDone)
            #expect(outcome == "none")
            outcome = (isLogin ? "login " : "refused ") + message
        }
        if target.commandsInFlight == 0 { reactor.stop() }
    }

    func failed(_ socket: Socket, _ error: SystemError) {
        failure = error
        reactor.stop()
    }

    /// What a scripted server says comes one turn apart.
    func timerFired(_ timer: Int) {
        do {
            if !isSaid { isSaid = try step() }
        } catch {
            failure = error
            reactor.stop()
        }
        reactor.setTimer(0, after: 1_000_000)
        if reactor.turns > 20_000 {
            Issue.record("the greeting did not come to its end")
            reactor.stop()
        }
    }

    func received(_ word: UInt64) {}

    func turnEnding() {}
}

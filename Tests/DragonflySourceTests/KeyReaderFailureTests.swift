import Bytes
import TestSupport
import Testing

@testable import DragonflySource
@testable import Wire

/// Whatever the source answers, a key reader ends in an outcome, and goes on if the connection is in
/// step.
@Suite struct KeyReaderFailureTests {
    private static let settings = KeyReaderSettings(credentials: nil, limitBytes: 1 << 30)

    private func expectFailed(_ action: KeyReaderAction, _ part: String) -> SourceError? {
        guard case .failed(let error) = action else {
            Issue.record("\(action) is no failure")
            return nil
        }
        #expect(error.message.contains(part), "\(error.message)")
        return error
    }

    // MARK: Refusals

    @Test func aRefusedDatabaseIsToldAndTheNextKeyIsRead() throws {
        let server = try RedisServer()
        let client = try server.client()
        try client.call("SET", "key", "v")
        let driver = try KeyReaderDriver(client, Self.settings, segments: .bytes)
        for _ in 0..<2 {
            guard case .refused(let text) = try driver.read("key", database: 99).outcome else {
                Issue.record("database 99 is not refused")
                return
            }
            #expect(text.contains("out of range"))
            // Whatever is selected now is not believed.
            driver.forgetCommands()
            #expect(try driver.read("key").outcome == .value(typeCode: 0))
            #expect(driver.names.first == "SELECT")
        }
    }

    /// In another database it would be another key.
    @Test func anyOtherAnswerToSelectEndsTheReader() throws {
        for answer in [":1\r\n", "$2\r\nOK\r\n", "$-1\r\n", "+QUEUED\r\n", "*0\r\n"] {
            let driver = try KeyReaderDriver(nil, Self.settings)
            driver.answer = { words in words[0] == "SELECT" ? answer : nil }
            let action = try driver.action(Array("key".utf8), database: 3)
            _ = expectFailed(action, "SELECT")
        }
    }

    @Test func withoutPermissionItIsRefused() throws {
        let server = try RedisServer()
        let admin = try server.client()
        try admin.call("SET", "key", "v")
        try admin.call("ACL", "SETUSER", "weak", "on", ">pw", "~*", "+@all", "-dump")
        var settings = Self.settings
        settings.credentials = Credentials(user: "weak", password: "pw")
        let driver = try KeyReaderDriver(try server.client(), settings)
        #expect(driver.names == ["AUTH"])
        for _ in 0..<2 {
            guard case .refused(let text) = try driver.read("key").outcome else {
                Issue.record("DUMP is not refused")
                return
            }
            #expect(text.hasPrefix("NOPERM"))
        }
        try admin.call("ACL", "SETUSER", "weak", "+dump")
        #expect(try driver.read("key").outcome == .value(typeCode: 0))
    }

    @Test func anyRefusedQuestionIsToldAndTheReaderGoesOn() throws {
        let server = try RedisServer()
        let client = try server.client()
        try client.call("SADD", "set", "1")
        for wholeBytes in [0, 8 << 20] {
            for refused in ["DFLY", "DUMP", "PEXPIRETIME", "TYPE", "SSCAN"] {
                var settings = Self.settings
                settings.wholeBytes = wholeBytes
                let driver = try KeyReaderDriver(client, settings, segments: .random(seed: 80))
                driver.answer = { $0[0] == refused ? "-ERR not now\r\n" : nil }
                let reading = try driver.read("set")
                if driver.names.contains(where: { $0.hasPrefix(refused) }) {
                    #expect(reading.outcome == .refused("ERR not now"), "\(refused)")
                }
                driver.answer = { _ in nil }
                let next = try driver.read("set")
                guard case .value(let code) = next.outcome else {
                    Issue.record("\(refused): \(next)")
                    continue
                }
                let found = try driver.elements(code)
                #expect(found.elements == [Array("1".utf8)])
            }
        }
    }

    /// A source that is ready again between two questions of one packet has answered too few.
    @Test func aRefusalIsNotForgottenWhenTheValueComes() throws {
        let server = try RedisServer()
        let client = try server.client()
        try client.call("SET", "key", "v")
        for last in ["DFLY", "DUMP", "PEXPIRETIME"] {
            let driver = try KeyReaderDriver(client, Self.settings)
            var isReady = false
            driver.answer = { words in
                guard !isReady, words[0] != "MEMORY" else { return nil }
                isReady = words[0] == last
                return "-LOADING Dragonfly is loading the dataset in memory\r\n"
            }
            guard case .refused(let text) = try driver.read("key").outcome else {
                Issue.record("the refusal up to \(last) is forgotten")
                continue
            }
            #expect(text.hasPrefix("LOADING"))
            #expect(try driver.read("key").outcome == .value(typeCode: 0))
        }
    }

    @Test func aDamagedPayloadIsRefused() throws {
        let driver = try KeyReaderDriver(nil, Self.settings)
        driver.answer = { words in
            switch words[0] {
            case "MEMORY": ":10\r\n"
            case "DUMP": "$14\r\n01234567890123\r\n"
            case "PEXPIRETIME": ":-1\r\n"
            default: nil
            }
        }
        guard case .refused(let text) = try driver.read("key").outcome else {
            Issue.record("a damaged payload is taken")
            return
        }
        #expect(text.contains("no value"))
    }

    // MARK: Log-in

    @Test func loginIsAnsweredOrTheReaderFails() throws {
        let server = try RedisServer(arguments: ["--requirepass", "secret"])
        var settings = Self.settings
        settings.credentials = Credentials(password: "secret")
        let driver = try KeyReaderDriver(
            try RespClient(port: server.port), settings, segments: .bytes)
        #expect(driver.commands == [["AUTH", "secret"]])
        #expect(try driver.read("key").outcome == .missing)

        settings.credentials = Credentials(password: "wrong")
        let wrong = try KeyReaderDriver(
            try RespClient(port: server.port), settings, isConnected: false)
        let error = expectFailed(try wrong.connect(), "")
        #expect(error?.kind == .unauthenticated)
        #expect(
            error?.message.contains("wrong") == false
                || error?.message.contains("WRONGPASS") == true)
        #expect(wrong.phase == .failed)

        let without = try KeyReaderDriver(try RespClient(port: server.port), Self.settings)
        guard case .refused(let text) = try without.read("key").outcome else {
            Issue.record("not refused")
            return
        }
        #expect(text.hasPrefix("NOAUTH"))
    }

    @Test func aPasswordThatDoesNotFitIsRefused() throws {
        var settings = Self.settings
        settings.credentials = Credentials(password: String(repeating: "x", count: 5_000))
        let driver = try KeyReaderDriver(nil, settings, ringBytes: 4096, isConnected: false)
        #expect(expectFailed(try driver.connect(), "shorter password")?.kind == .refused)
    }

    // MARK: Out of step

    @Test func whatIsNoReplyFails() throws {
        for answer in ["hello\r\n", "*2\r\n?\r\n", "$5\r\nabcdefgh\r\n", ":x\r\n"] {
            let driver = try KeyReaderDriver(nil, Self.settings)
            driver.answer = { _ in answer }
            let error = expectFailed(try driver.action([1]), "no reply")
            #expect(error?.isWorthRetrying == true)
            #expect(driver.phase == .failed)
            // From then on it takes everything and says nothing.
            #expect(driver.receive("+OK\r\n") == .none)
            #expect(driver.tick(at: .max) == .none)
            #expect(driver.ended("x") == .none)
        }
    }

    @Test func whatNobodyAskedForFails() throws {
        let server = try RedisServer()
        let driver = try KeyReaderDriver(try server.client(), Self.settings)
        _ = try driver.read("key")
        _ = expectFailed(driver.receive("+OK\r\n"), "not asked")
    }

    /// Arrays inside arrays take room; a source cannot make that grow without end.
    @Test func endlessNestingFails() throws {
        let driver = try KeyReaderDriver(nil, Self.settings)
        driver.answer = { _ in String(repeating: "*2\r\n", count: 10_000) }
        _ = expectFailed(try driver.action([1]), "no reply")
        #expect(driver.nesting < 100)
    }

    /// A score is text of a few bytes; what is longer is not held.
    @Test func anEndlessScoreIsNotHeld() throws {
        var settings = KeyReaderSettings(credentials: nil, limitBytes: 1 << 20)
        settings.wholeBytes = 0
        let driver = try KeyReaderDriver(nil, settings)
        let score = String(repeating: "1", count: 3 << 20)
        driver.answer = { words in
            switch words[0] {
            case "MEMORY": ":10\r\n"
            case "TYPE": "+zset\r\n"
            case "ZSCAN": "*2\r\n$1\r\n0\r\n*2\r\n$1\r\nm\r\n$\(score.count)\r\n\(score)\r\n"
            default: nil
            }
        }
        guard case .refused = try driver.read("key").outcome else {
            Issue.record("not refused")
            return
        }
        #expect(driver.smallCapacity < 1 << 20)
    }

    /// No times that a source can tell are too much for the clock.
    @Test func anyTimesAreSurvived() throws {
        let values: [Int64] = [.min, -2, -1, 0, 1, .max]
        for seconds in values {
            for time in values {
                let driver = try KeyReaderDriver(nil, Self.settings)
                driver.answer = { words in
                    switch words[0] {
                    case "MEMORY", "DUMP": "$-1\r\n"
                    case "PEXPIRETIME": "-ERR unknown command\r\n"
                    case "TIME":
                        "*2\r\n$\("\(seconds)".count)\r\n\(seconds)\r\n$6\r\n999999\r\n"
                    case "PTTL": ":\(time)\r\n"
                    default: nil
                    }
                }
                let reading = try driver.read("key")
                #expect(reading.expiryMilliseconds >= 0, "\(seconds) \(time)")
            }
        }
    }

    /// Random answers end in something, never in a trap, and memory follows what came.
    @Test func anyAnswersAreSurvived() throws {
        let seed: UInt64 = 81
        print("seed \(seed)")
        var generator = TestSupport.SeededGenerator(seed: seed)
        let replies = [
            "+OK\r\n", "-ERR x\r\n", ":7\r\n", ":-1\r\n", "$-1\r\n", "*0\r\n", "*-1\r\n",
            "$0\r\n\r\n", "$1\r\n0\r\n", "*2\r\n:1\r\n:2\r\n", "*2\r\n$1\r\n0\r\n*0\r\n",
            "*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n", "*1\r\n*1\r\n*1\r\n$3\r\nabc\r\n",
            "+set\r\n", "+zset\r\n", "+list\r\n", "+string\r\n", "+hash\r\n", "+none\r\n",
            "-ERR unknown command\r\n", "*1\r\n-ERR inside\r\n", "-WRONGTYPE x\r\n",
        ]
        for _ in 0..<4_000 {
            var settings = KeyReaderSettings(credentials: nil, limitBytes: 1 << 10)
            settings.wholeBytes = 0
            let driver = try KeyReaderDriver(nil, settings, segments: .random(seed: seed))
            var left = 60
            driver.answer = { words in
                left -= 1
                guard left > 0 else { return "!\r\n" }
                return replies[Int(generator.next() % UInt64(replies.count))]
            }
            for _ in 0..<3 where driver.phase == .idle {
                switch try driver.action([UInt8(ascii: "k")]) {
                case .finished(let reading):
                    if case .value = reading.outcome {
                        #expect(driver.value.count <= 1 << 11)
                    }
                case .failed: break
                case .none, .ready: Issue.record("seed \(seed): no end")
                }
            }
        }
    }

    // MARK: Silence and the end

    @Test func aSilentSourceFailsAfterTheLimit() throws {
        let limit = SessionTiming.answerLimit
        let driver = try KeyReaderDriver(nil, Self.settings, isConnected: false)
        // While connecting.
        #expect(driver.tick(at: driver.now + limit - 1) == .none)
        _ = expectFailed(driver.tick(at: driver.now + limit), "15 s")

        let server = try RedisServer()
        let other = try KeyReaderDriver(try server.client(), Self.settings)
        // Nothing is asked: nothing is missing.
        #expect(other.tick(at: other.now + 10 * limit) == .none)
        _ = try other.read("key")
        #expect(other.tick(at: other.now + 10 * limit) == .none)
        // Asked, and a part of the answer comes late.
        other.now += 10 * limit
        #expect(other.begin("k") == .none)
        #expect(other.tick(at: other.now + limit - 1) == .none)
        other.now += limit - 1
        #expect(other.receive(":1") == .none)
        #expect(other.tick(at: other.now + limit - 1) == .none)
        _ = expectFailed(other.tick(at: other.now + limit), "did not answer")
    }

    @Test func anEndedConnectionFails() throws {
        let driver = try KeyReaderDriver(nil, Self.settings, isConnected: false)
        let error = expectFailed(driver.ended("reset"), "reset")
        #expect(error?.isWorthRetrying == true)
    }

    // MARK: Long names

    /// Some questions fit the buffer and others do not: the key is refused, with the true reason.
    @Test func aNameThatDoesNotFitIsRefused() throws {
        let server = try RedisServer()
        let client = try server.client()
        var settings = Self.settings
        for wholeBytes in [0, 8 << 20] {
            settings.wholeBytes = wholeBytes
            for size in stride(from: 800, to: 5_000, by: 100) {
                let driver = try KeyReaderDriver(client, settings, ringBytes: 4096)
                let key = [UInt8](repeating: 107, count: size)
                try client.command([Array("SET".utf8), key, Array("v".utf8)])
                let reading = try driver.read(key)
                switch reading.outcome {
                case .value(let code):
                    #expect(size < 4_000 && code == 0 && reading.before < reading.after)
                case .refused(let text):
                    #expect(size > 1_000 && text.contains("too long"))
                default:
                    Issue.record("\(size): \(reading)")
                }
                #expect(try driver.read("nowhere").outcome == .missing)
            }
        }
    }
}

import Bytes
import Reactor
import TestSupport
import Testing
import Wire

@testable import RedisTarget

/// Every command is answered once, in order, whatever its size, its database and its luck.
@Suite struct TargetConnectionTests {
    // MARK: Order

    /// Thousands of commands through rings of any size: each reply is matched with its command.
    @Test(arguments: [(1 << 12, 1 << 6), (1 << 14, 1 << 4), (1 << 20, 1 << 15)])
    func repliesMatchInOrder(_ ringBytes: Int, _ commandsInFlight: Int) throws {
        let server = try RedisServer()
        let pipeline = try Pipeline(
            port: server.port, inputBytes: 1 << 12, outputBytes: ringBytes,
            commandsInFlight: commandsInFlight)
        let seed: UInt64 = 61
        var generator = SeededGenerator(seed: seed)
        let paddings = (0..<20_000).map { _ in Int.random(in: 0...60, using: &generator) }
        var next = 0
        var refusals = 0
        try pipeline.run({ target in
            while next < paddings.count {
                let text = "\(next) " + String(repeating: "x", count: paddings[next])
                guard
                    try target.send(
                        "ECHO", text, flow: next % 7, nextLSN: UInt64(next))
                else {
                    refusals += 1
                    return false
                }
                next += 1
            }
            return true
        })
        #expect(pipeline.answers.count == paddings.count)
        for (index, answer) in pipeline.answers.enumerated() {
            guard answer.content.hasPrefix("\(index) "), answer.nextLSN == UInt64(index),
                answer.flow == index % 7, answer.command == "ECHO",
                answer.key.hasPrefix("\(index) "), !answer.recordFailed
            else {
                Issue.record("answer \(index) is \(answer), seed \(seed)")
                return
            }
        }
        // The pipeline was full at times, and went on.
        #expect(refusals > 0 || ringBytes == 1 << 20)
        #expect(pipeline.target.commandsSent == paddings.count)
        #expect(pipeline.target.socket.output.count == 0)
        #expect(pipeline.target.bytesSent == pipeline.target.socket.output.tail)
    }

    /// Large replies pass by while their command is answered.
    @Test func largeRepliesPassBy() throws {
        let server = try RedisServer()
        let client = try server.client()
        try client.command([
            Array("SET".utf8), Array("big".utf8), [UInt8](repeating: 1, count: 1 << 20),
        ])
        let pipeline = try Pipeline(port: server.port, inputBytes: 1 << 12)
        try pipeline.run({ target in
            try target.send("GET", "big", nextLSN: 1) && target.send("ECHO", "after", nextLSN: 2)
        })
        #expect(pipeline.answers.map(\.nextLSN) == [1, 2])
        #expect(pipeline.answers[1].content == "after")
    }

    // MARK: Databases

    @Test func commandsLandInTheirDatabase() throws {
        let server = try RedisServer()
        let pipeline = try Pipeline(port: server.port, outputBytes: 1 << 12)
        let order = [0, 3, 3, 0, 15, 3, 0, 0, 15, 1]
        var next = 0
        try pipeline.run({ target in
            while next < 200 {
                let database = order[next % order.count]
                guard try target.send("SET", "key:\(next)", "\(next)", database: database) else {
                    return false
                }
                next += 1
            }
            return true
        })
        #expect(pipeline.records.allSatisfy { $0.error == nil })
        let state = try StateReader(server.client()).read()
        #expect(state.count == 200)
        for index in 0..<200 {
            #expect(state[StateKey(order[index % order.count], "key:\(index)")] != nil)
        }
    }

    /// A database is confirmed before anything is written to it.
    @Test func firstSelectIsAwaited() throws {
        let server = try RedisServer()
        let pipeline = try Pipeline(port: server.port)
        var results: [Bool] = []
        try pipeline.run(
            { target in
                results.append(try target.send("SET", "a", "1", database: 5))
                results.append(try target.send("SET", "b", "1", database: 5))
                results.append(try target.send("SET", "c", "1", database: 0))
                #expect(target.commandsInFlight == 1)
                return true
            },
            { target in
                guard target.commandsInFlight == 0 else { return false }
                results.append(try target.send("SET", "a", "1", database: 5))
                // Known now: no waiting for these.
                results.append(try target.send("SET", "c", "1", database: 0))
                results.append(try target.send("SET", "b", "1", database: 5))
                return true
            })
        #expect(results == [false, false, false, true, true, true])
        #expect(
            pipeline.answers.map(\.kind) == [
                .select, .journal, .select, .journal, .select, .journal,
            ])
        #expect(pipeline.answers.map(\.database) == [5, 5, 0, 0, 5, 5])
    }

    /// What follows a refused SELECT must not land in another database.
    @Test func refusedDatabaseIsNeverWrittenTo() throws {
        let server = try RedisServer(arguments: ["--databases", "4"])
        let pipeline = try Pipeline(port: server.port)
        var tries = 0
        var accepted = 0
        try pipeline.run(
            { target in
                tries += 1
                if try target.send("SET", "lost", "1", database: 9) { accepted += 1 }
                return tries == 6
            },
            { target in try target.send("SET", "kept", "1", database: 0) })
        #expect(accepted == 0)
        let refused = try #require(pipeline.answers.first)
        #expect(refused.kind == .select && refused.database == 9)
        #expect(refused.error?.contains("out of range") == true)
        let state = try StateReader(server.client()).read()
        #expect(Array(state.keys) == [StateKey(0, "kept")])
        #expect(pipeline.records.map(\.recordFailed) == [false])
    }

    /// A database number that no server has must not harm us.
    @Test func impossibleDatabasesAreRefusedByTheServer() throws {
        let server = try RedisServer()
        let pipeline = try Pipeline(port: server.port)
        try pipeline.run({ target in
            let accepted = try target.send("SET", "lost", "1", database: 1 << 40)
            #expect(!accepted)
            return true
        })
        #expect(pipeline.answers.map(\.kind) == [.select])
        #expect(pipeline.answers[0].error != nil)
    }

    // MARK: Oversize commands

    /// Values many times the ring, several in a row and between small ones, arrive whole and in
    /// order, without a clock that nudges them on.
    @Test(arguments: [1 << 12, 1 << 16])
    func oversizeCommandsPass(_ ringBytes: Int) throws {
        let server = try RedisServer()
        let pipeline = try Pipeline(port: server.port, outputBytes: ringBytes)
        let seed: UInt64 = 62
        var generator = SeededGenerator(seed: seed)
        let sizes = [
            10, 1 << 20, 5_000_000, ringBytes / 2, 3, ringBytes, ringBytes * 2 + 1, 0, 70_000,
        ]
        let values = sizes.map { generator.bytes($0) }
        var next = 0
        try pipeline.run({ target in
            while next < values.count {
                guard
                    try target.send(
                        [Array("SET".utf8), Array("key:\(next)".utf8), values[next]],
                        database: next % 2, nextLSN: UInt64(next + 1))
                else { return false }
                next += 1
            }
            return true
        })
        #expect(pipeline.records.map(\.nextLSN) == (1...UInt64(values.count)).map { $0 })
        #expect(pipeline.records.allSatisfy { $0.error == nil })
        for (index, answer) in pipeline.records.enumerated() {
            #expect(answer.command == "SET" && answer.key == "key:\(index)")
        }
        let client = try server.client()
        for (index, value) in values.enumerated() {
            try client.call("SELECT", "\(index % 2)")
            let found = try client.call("GET", "key:\(index)").bytes
            #expect(found == value, "value \(index), seed \(seed)")
        }
    }

    @Test func oversizeErrorIsNamed() throws {
        let server = try RedisServer()
        try server.client().call("LPUSH", "list", "x")
        let pipeline = try Pipeline(port: server.port, outputBytes: 1 << 12)
        let value = [UInt8](repeating: 65, count: 100_000)
        var next = 0
        let commands = [
            [Array("APPEND".utf8), Array("list".utf8), value],
            [Array("SET".utf8), Array("fine".utf8), value], [Array("INCR".utf8), Array("n".utf8)],
        ]
        try pipeline.run({ target in
            while next < commands.count {
                guard try target.send(commands[next]) else { return false }
                next += 1
            }
            return true
        })
        #expect(pipeline.answers.map(\.recordFailed) == [true, false, false])
        #expect(pipeline.answers[0].command == "APPEND" && pipeline.answers[0].key == "list")
        #expect(pipeline.answers[0].error?.hasPrefix("WRONGTYPE") == true)
        #expect(pipeline.answers[2].content == "1")
    }

    // MARK: Errors

    @Test func errorNamesCommandAndKey() throws {
        let server = try RedisServer()
        let pipeline = try Pipeline(port: server.port)
        try pipeline.run({ target in
            _ = try target.send("SET", "text", "abc")
            _ = try target.send("INCR", "text", nextLSN: 9)
            _ = try target.send("XGROUP", "CREATE", "no-stream", "g", "0")
            _ = try target.send("EVAL", "return redis.call('INCR', KEYS[1])", "1", "text")
            _ = try target.send("NOSUCH", "somewhere")
            _ = try target.send("INCR", "number")
            return true
        })
        let answers = pipeline.answers
        #expect(answers.map(\.recordFailed) == [false, true, true, true, true, false])
        #expect(answers[1].command == "INCR" && answers[1].key == "text")
        #expect(answers[1].error?.contains("not an integer") == true)
        #expect(answers[1].nextLSN == 9)
        #expect(answers[2].command == "XGROUP" && answers[2].key == "no-stream")
        #expect(answers[3].command == "EVAL" && answers[3].key == "text")
        #expect(answers[4].command == "NOSUCH" && answers[4].error?.contains("unknown") == true)
    }

    private func transaction(_ key: String, _ middle: [String]) -> [([String], CommandKind)] {
        [
            (["MULTI"], .part), (["DEL", key], .part), (middle, .part), (["EXEC"], .entry),
        ]
    }

    /// A command that fails inside EXEC fails its record, and the key is named although EXEC has none.
    @Test func errorInsideExecNamesTheRecord() throws {
        let server = try RedisServer()
        let pipeline = try Pipeline(port: server.port)
        try server.client().call("SET", "other", "text")
        try pipeline.run({ target in
            for (words, kind) in transaction("first", ["INCR", "other"])
                + transaction("second", ["SET", "second", "1"])
            {
                _ = try target.send(words.map { Array($0.utf8) }, as: kind)
            }
            return true
        })
        #expect(pipeline.records.map(\.recordFailed) == [true, false])
        let failed = pipeline.records[0]
        #expect(failed.key == "first")
        #expect(failed.error?.contains("not an integer") == true)
        #expect(pipeline.records[1].error == nil)
    }

    /// A command that is refused while queueing makes EXEC fail; what is told is the refused command
    /// and its reason, not that EXEC was aborted.
    @Test func refusedPartIsToldInsteadOfItsConsequence() throws {
        let server = try RedisServer()
        try server.client().call("ACL", "SETUSER", "default", "-rpush")
        let pipeline = try Pipeline(port: server.port)
        try pipeline.run({ target in
            for (words, kind) in transaction("first", ["RPUSH", "first", "1"])
                + transaction("second", ["SET", "second", "1"])
                + transaction("third", ["NOSUCH", "third"])
            {
                _ = try target.send(words.map { Array($0.utf8) }, as: kind)
            }
            return true
        })
        #expect(pipeline.records.map(\.recordFailed) == [true, false, true])
        #expect(pipeline.records[0].command == "RPUSH" && pipeline.records[0].key == "first")
        #expect(pipeline.records[0].error?.hasPrefix("NOPERM") == true)
        #expect(pipeline.records[2].command == "NOSUCH" && pipeline.records[2].key == "third")
        #expect(pipeline.records[2].error?.contains("unknown command") == true)
        #expect(try server.client().call("EXISTS", "first", "third").integer == 0)
    }

    /// Parts outside a transaction count, too, though the last one succeeds.
    @Test func failedPartFailsTheRecord() throws {
        let server = try RedisServer()
        try server.client().call("SET", "text", "x")
        let pipeline = try Pipeline(port: server.port)
        try pipeline.run({ target in
            _ = try target.send("HSETNX", "text", "f", "v", as: .part)
            _ = try target.send("SET", "other", "v", nextLSN: 4)
            _ = try target.send("SET", "text", "v", nextLSN: 5)
            return true
        })
        #expect(pipeline.records.map(\.recordFailed) == [true, false])
        #expect(pipeline.records[0].error?.hasPrefix("WRONGTYPE") == true)
    }

    @Test func refusedScriptIsNoFailure() throws {
        let server = try RedisServer()
        let pipeline = try Pipeline(port: server.port)
        try pipeline.run({ target in
            _ = try target.send("SCRIPT", "LOAD", "this is no Lua", as: .script)
            _ = try target.send("SCRIPT", "LOAD", "nor this", as: .auxiliaryScript)
            _ = try target.send("SET", "k", "v")
            return true
        })
        #expect(pipeline.answers.map(\.recordFailed) == [false, false, false])
        #expect(pipeline.answers[0].error != nil && pipeline.answers[2].error == nil)
    }

    // MARK: Claim

    @Test func claimKeepsOthersOut() throws {
        let server = try RedisServer()
        let pipeline = try Pipeline(port: server.port)
        var accepted: [Bool] = []
        try pipeline.run({ target in
            #expect(target.claim(flow: 1))
            #expect(target.claim(flow: 1))
            #expect(!target.claim(flow: 2))
            accepted.append(try target.send("SET", "k", "two", flow: 2))
            target.releaseClaim(flow: 2)
            accepted.append(try target.send("SET", "k", "two", flow: 2))
            accepted.append(try target.send("SET", "k", "one", flow: 1))
            target.releaseClaim(flow: 1)
            accepted.append(try target.send("APPEND", "k", "two", flow: 2))
            #expect(target.claim(flow: 2))
            return true
        })
        #expect(accepted == [false, false, true, true])
        #expect(try server.client().call("GET", "k").text == "onetwo")
    }

    // MARK: Commands given up

    @Test(arguments: [500, 60_000])
    func abandonedCommandLeavesNothing(_ size: Int) throws {
        let server = try RedisServer()
        let pipeline = try Pipeline(port: server.port, outputBytes: 1 << 14)
        let zeros = [UInt8](repeating: 0, count: size)
        var packed = try RegionBuffer()
        _ = try zeros.withByteView { view throws(SystemError) in
            try LZF.compress(view, into: &packed)
        }
        let sound = packed.view.array()
        let damaged = sound.dropLast()
        var next = 0
        try pipeline.run({ target in
            while next < 4 {
                let bytes = TargetConnection.argumentBytes(size + 3) * 3
                guard try target.begin(flow: 0, database: next % 2, bytes: bytes) else {
                    return false
                }
                target.header(arguments: 3)
                target.argument("SET")
                target.argument("key")
                target.argumentHead(size: size)
                let isWhole = (next % 2 == 0 ? Array(damaged) : sound).withByteView {
                    target.raw(lzf: $0, originalCount: size)
                }
                #expect(isWhole == (next % 2 == 1))
                if isWhole {
                    target.lineEnd()
                    target.end(.entry, flow: 0, database: next % 2, nextLSN: 0)
                } else {
                    target.abandon()
                }
                next += 1
            }
            return true
        })
        #expect(pipeline.records.map(\.error) == [nil, nil])
        let state = try StateReader(server.client()).read()
        #expect(Array(state.keys) == [StateKey(1, "key")])
    }

    // MARK: A server out of step

    @Test func answersToNothingAreRefused() throws {
        let server = try ScriptedServer()
        let pipeline = try Pipeline(port: server.port)
        try server.say("+OK\r\n".utf8)
        try pipeline.run({ _ in false })
        #expect(pipeline.loss == "no reply")
    }

    @Test func tooManyAnswersAreRefused() throws {
        let server = try ScriptedServer()
        let pipeline = try Pipeline(port: server.port)
        try pipeline.run(
            { try $0.send("SET", "a", "b") },
            { target in
                pipeline.reactor.flushNow(target.socket)
                try server.say("+OK\r\n+OK\r\n".utf8)
                return true
            },
            { _ in false })
        #expect(pipeline.loss == "no reply")
        #expect(pipeline.answers.count == 1)
    }

    /// An answer before the last byte of its command was sent belongs to something else.
    @Test func answerToAHalfSentCommandIsRefused() throws {
        let server = try ScriptedServer()
        let pipeline = try Pipeline(port: server.port, outputBytes: 1 << 12)
        // More than the kernel takes while nobody reads.
        let value = [UInt8](repeating: 1, count: 32 << 20)
        try pipeline.run(
            { try $0.send([Array("SET".utf8), Array("a".utf8), value]) },
            { target in
                try server.say("+OK\r\n".utf8)
                return true
            },
            { _ in false })
        #expect(pipeline.loss == "no reply")
        #expect(pipeline.answers.isEmpty)
    }

    @Test func otherBytesAreRefused() throws {
        let server = try ScriptedServer()
        let pipeline = try Pipeline(port: server.port)
        try server.say("HTTP/1.1 400 Bad Request\r\n\r\n".utf8)
        try pipeline.run({ _ in false })
        #expect(pipeline.loss == "no reply")
    }

    @Test func closedConnectionIsNoticed() throws {
        let server = try ScriptedServer()
        let pipeline = try Pipeline(port: server.port)
        try server.accept()
        try pipeline.run(
            { try $0.send("SET", "a", "b") },
            { target in
                server.hangUp()
                return true
            },
            { _ in false })
        #expect(pipeline.loss != nil && pipeline.wasUnanswered)
    }
}

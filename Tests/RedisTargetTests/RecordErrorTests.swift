import TestSupport
import Testing

@testable import RedisTarget

/// An error reply is counted for its record and named by command and key.
@Suite struct RecordErrorTests {
    @Test func errorNamesCommandAndKey() throws {
        let server = try RedisServer()
        let pipeline = try Pipeline(port: server.port)
        try pipeline.run({ target in
            _ = try target.send("SET", "text", "abc")
            _ = try target.send("INCR", "text", nextLSN: 9)
            _ = try target.send("XGROUP", "CREATE", "no-stream", "g", "0")
            _ = try target.send("EVAL", "return redis.call('INCR', KEYS[1])", "1", "text")
            _ = try target.send("NOSUCH", "somewhere")
            _ = try target.send("LMPOP", "1", "text", "LEFT")
            _ = try target.send("ZMPOP", "1", "text", "MIN")
            _ = try target.send("INCR", "number")
            return true
        })
        let answers = pipeline.answers
        #expect(answers.map(\.recordFailed) == [false, true, true, true, true, true, true, false])
        #expect(answers[1].command == "INCR" && answers[1].key == "text")
        #expect(answers[1].error?.contains("not an integer") == true)
        #expect(answers[1].nextLSN == 9)
        #expect(answers[2].command == "XGROUP" && answers[2].key == "no-stream")
        #expect(answers[3].command == "EVAL" && answers[3].key == "text")
        #expect(answers[4].command == "NOSUCH" && answers[4].error?.contains("unknown") == true)
        #expect(answers[5].command == "LMPOP" && answers[5].key == "text")
        #expect(answers[6].command == "ZMPOP" && answers[6].key == "text")
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
}

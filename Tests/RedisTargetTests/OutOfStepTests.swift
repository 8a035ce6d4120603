import Reactor
import TestSupport
import Testing

@testable import RedisTarget

/// A server that answers something else than it was asked is dropped before a record is settled by it.
@Suite struct OutOfStepTests {
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

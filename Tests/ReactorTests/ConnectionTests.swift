import Bytes
import CPlatform
import Glibc
import TestSupport
import Testing

@testable import Reactor

/// Connections come up, carry every byte, and end; each of these is told once.
@Suite struct ConnectionTests {
    @Test func connectsAndExchanges() throws {
        let loop = try Loop()
        let link = try loop.link(role: 5)
        #expect(link.socket.state == .connecting)
        var received: [UInt8] = []
        loop.onConnected = { socket in
            #expect(socket.state == .open)
            socket.output.append("hello")
            loop.reactor.markDirty(socket)
        }
        loop.onReady = { socket in
            while socket.fill(limit: 100) > 0 {}
            received += socket.input.readable.array()
            socket.input.clear()
        }
        try loop.run(
            { Loop.receive(link.peer) == Array("hello".utf8) },
            {
                Loop.send(Array("world".utf8), to: link.peer)
                return true
            },
            { received == Array("world".utf8) })
        #expect(loop.count("connected 5") == 1)
        #expect(loop.count("ready 5") >= 1)
        #expect(link.socket.bytesReceived == 5)
        #expect(link.socket.bytesUnsent == 0)
    }

    /// What is written before the connection stands goes out once it does.
    @Test func outputWaitsForTheConnection() throws {
        let loop = try Loop()
        let link = try loop.link()
        link.socket.output.append("early")
        loop.reactor.markDirty(link.socket)
        try loop.run({ Loop.receive(link.peer) == Array("early".utf8) })
    }

    @Test func refusalIsToldOnce() throws {
        let loop = try Loop()
        let port = try RedisServer.freePort()
        let socket = try Socket(
            connectingTo: Loop.address(port: Int32(port)), role: 3, inputBytes: 4096,
            outputBytes: 4096)
        socket.output.append("lost")
        loop.reactor.markDirty(socket)
        try loop.reactor.add(socket)
        var turnsAfter = 0
        try loop.run({
            if socket.state == .closed { turnsAfter += 1 }
            return turnsAfter == 5
        })
        #expect(loop.events == ["failed 3 \(ECONNREFUSED)"])
    }

    /// Bytes before the peer's end are read to the last one, whatever the budget.
    @Test(arguments: [(1 << 16, 100_000), (700, 100_000), (1, 300)])
    func peerClosesWithDataPending(_ limit: Int, _ count: Int) throws {
        let loop = try Loop()
        let link = try loop.link(inputBytes: 4096)
        var generator = SeededGenerator(seed: 1)
        let content = generator.bytes(count)
        var received: [UInt8] = []
        loop.onReady = { socket in
            _ = socket.fill(limit: limit)
            received += socket.input.readable.array()
            socket.input.clear()
        }
        var sent = 0
        try loop.run(
            {
                content[sent...].withUnsafeBytes { bytes in
                    sent += max(0, Int(cp_send(link.peer, bytes.baseAddress!, bytes.count)))
                }
                return sent == count
            },
            {
                loop.close(link.peer)
                return true
            },
            { link.socket.reachedEnd })
        #expect(received == content)
        #expect(!link.socket.mayRead)
        #expect(loop.count("failed 0 \(ECONNRESET)") == 0)
    }

    @Test func endAloneIsNoticed() throws {
        let loop = try Loop()
        let link = try loop.link()
        loop.onReady = { _ = $0.fill(limit: 100) }
        try loop.run(
            { link.socket.state == .open },
            {
                loop.close(link.peer)
                return true
            },
            { link.socket.reachedEnd })
        #expect(link.socket.bytesReceived == 0)
    }

    /// A reset is told once, although reading and writing both meet it.
    @Test func resetIsToldOnce() throws {
        let loop = try Loop()
        let link = try loop.link(role: 2)
        loop.onReady = { socket in
            _ = socket.fill(limit: 100)
            socket.output.append(byte: 1)
            loop.reactor.markDirty(socket)
            loop.reactor.flushNow(socket)
        }
        var turnsAfter = 0
        try loop.run(
            { link.socket.state == .open },
            {
                Loop.send([1, 2, 3], to: link.peer)
                loop.close(link.peer, reset: true)
                return true
            },
            {
                if link.socket.state == .closed { turnsAfter += 1 }
                return turnsAfter == 5
            })
        #expect(loop.events.filter { $0.hasPrefix("failed") }.count == 1, "\(loop.events)")
        #expect(link.socket.bytesUnsent >= 0)
    }

    /// A write that fails is told even if nothing is read.
    @Test func failedWriteIsTold() throws {
        let loop = try Loop()
        let link = try loop.link(role: 2)
        try loop.run(
            { link.socket.state == .open },
            {
                loop.close(link.peer, reset: true)
                link.socket.isPaused = true
                return true
            },
            {
                guard link.socket.state == .open else { return true }
                if link.socket.output.free > 0 { link.socket.output.append(byte: 1) }
                loop.reactor.markDirty(link.socket)
                return false
            })
        #expect(loop.events.filter { $0.hasPrefix("failed 2") }.count == 1, "\(loop.events)")
        #expect(loop.count("ready 2") == 0)
    }

    // MARK: Output

    @Test func flushesAtTheEndOfTheTurn() throws {
        let loop = try Loop()
        let link = try loop.link(keepsSentOutput: true)
        var before: [[UInt8]] = []
        loop.onConnected = { socket in
            for word in ["one ", "two ", "three"] {
                Array(word.utf8).withByteView { socket.output.append($0) }
                loop.reactor.markDirty(socket)
                before.append(Loop.receive(link.peer) ?? [])
                #expect(socket.sentPosition == 0)
            }
        }
        try loop.run({ Loop.receive(link.peer) == Array("one two three".utf8) })
        #expect(before == [[], [], []])
        // The owner keeps what was sent until it consumes it.
        #expect(link.socket.output.readable.equals("one two three"))
        #expect(link.socket.sentPosition == 13 && link.socket.bytesUnsent == 0)
    }

    @Test func flushNowSendsAhead() throws {
        let loop = try Loop()
        let link = try loop.link()
        loop.onConnected = { socket in
            socket.output.append("now")
            loop.reactor.flushNow(socket)
            #expect(socket.bytesUnsent == 0 && socket.output.count == 0)
        }
        try loop.run({ Loop.receive(link.peer) == Array("now".utf8) })
    }

    /// More than the kernel takes at once arrives whole, and nobody spins meanwhile.
    @Test func slowPeerGetsEverything() throws {
        let loop = try Loop()
        let link = try loop.link(outputBytes: 1 << 23)
        var generator = SeededGenerator(seed: 2)
        let content = generator.bytes(1 << 23)
        loop.onConnected = { socket in
            content.withByteView { socket.output.append($0) }
            loop.reactor.markDirty(socket)
        }
        var received: [UInt8] = []
        var idle = 0
        try loop.run(
            {
                // Let it run into a full kernel buffer first.
                idle += 1
                return idle == 20
            },
            {
                while let bytes = Loop.receive(link.peer), !bytes.isEmpty { received += bytes }
                return received.count == content.count
            })
        #expect(received == content)
        #expect(link.socket.output.count == 0)
        #expect(loop.reactor.turns < 5_000, "\(loop.reactor.turns) turns")
    }

    /// After our last byte the peer's are still read.
    @Test func halfCloseStillReads() throws {
        let loop = try Loop()
        let link = try loop.link()
        var received: [UInt8] = []
        loop.onReady = { socket in
            while socket.fill(limit: 10) > 0 {}
            received += socket.input.readable.array()
            socket.input.clear()
        }
        try loop.run(
            {
                guard link.socket.state == .open else { return false }
                link.socket.output.append("bye")
                loop.reactor.flushNow(link.socket)
                link.socket.shutdownWriting()
                return true
            },
            { Loop.receive(link.peer) == Array("bye".utf8) },
            { Loop.receive(link.peer) == nil },
            {
                Loop.send(Array("the rest of it".utf8), to: link.peer)
                loop.close(link.peer)
                return true
            },
            { link.socket.reachedEnd })
        #expect(received == Array("the rest of it".utf8))
    }

    // MARK: Closing

    @Test func closesAtTheEndOfTheTurn() throws {
        let loop = try Loop()
        let link = try loop.link(role: 1)
        loop.onReady = { socket in
            loop.reactor.close(socket)
            loop.reactor.close(socket)
            // Usable for the rest of the turn.
            #expect(socket.state == .open)
            #expect(socket.fill(limit: 10) == 3)
        }
        var turnsAfter = 0
        try loop.run(
            {
                Loop.send([1, 2, 3], to: link.peer)
                return true
            },
            {
                if link.socket.state == .closed { turnsAfter += 1 }
                return turnsAfter == 3
            },
            { Loop.receive(link.peer) == nil })
        #expect(loop.events == ["connected 1", "ready 1"])
    }

    @Test func capacityIsKept() throws {
        let loop = try Loop(capacity: 2)
        let first = try loop.link()
        _ = try loop.link()
        let third = try loop.socket()
        #expect(throws: SystemError(code: EMFILE)) { try loop.reactor.add(third) }
        loop.reactor.close(first.socket)
        try loop.run({
            guard first.socket.state == .closed else { return false }
            try loop.reactor.add(third)
            return true
        })
        #expect(third.slot == first.socket.slot && third.generation == first.socket.generation + 1)
    }
}

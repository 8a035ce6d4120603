import CPlatform
import Foundation
import Synchronization
import TestSupport
import Testing

@testable import Operations

/// Whatever clients do, the socket answers those who ask, and costs the run little.
struct ControlServerTests {
    /// A server on a thread of its own.
    private final class Served: Sendable {
        let directory: TemporaryDirectory
        let path: String
        private let isEnding = Mutex(false)
        private let ended = Mutex(false)
        let requests = Mutex<[ControlRequest]>([])

        init(folder: String = "") throws {
            directory = try TemporaryDirectory()
            path = folder.isEmpty ? directory.path : directory.file(folder)
            if !folder.isEmpty { mkdir(path, 0o700) }
            let server = UncheckedServer(server: try ControlServer(directory: path))
            Thread.detachNewThread { [self] in
                while !isEnding.withLock({ $0 }) {
                    var polled = server.server.descriptors(now: monotonicMilliseconds())
                    poll(&polled, nfds_t(polled.count), server.server.isBusy ? 0 : 20)
                    server.server.serve(polled, now: monotonicMilliseconds()) { request in
                        requests.withLock { $0.append(request) }
                        return .object([("ok", .boolean(true)), ("is", .string(request.name))])
                    }
                }
                server.server.close()
                ended.withLock { $0 = true }
            }
        }

        func stop() {
            isEnding.withLock { $0 = true }
            while !ended.withLock({ $0 }) { usleep(1000) }
        }
    }

    @Test func answersAndIsGoneAfterwards() throws {
        let served = try Served()
        let socket = served.directory.file("control.sock")
        var facts = stat()
        #expect(lstat(socket, &facts) == 0 && facts.st_mode & 0o777 == 0o600)
        let reply = try ControlClient.ask(
            .object([("command", .string("pause"))]), directory: served.path)
        #expect(reply.value["is"]?.text == "pause")
        #expect(served.requests.withLock { $0 } == [.pause])
        served.stop()
        #expect(lstat(socket, &facts) != 0)
        #expect(throws: ControlClient.Failure.self) {
            try ControlClient.ask(.object([]), directory: served.path)
        }
    }

    /// A path that does not fit a socket's address works as any other.
    @Test func longPath() throws {
        let served = try Served(folder: String(repeating: "d", count: 200))
        defer { served.stop() }
        let reply = try ControlClient.ask(
            .object([("command", .string("status"))]), directory: served.path)
        #expect(reply.value["is"]?.text == "status")
    }

    /// Only one run has a state directory; the socket of a dead one is replaced.
    @Test func oneRunAtATime() throws {
        let directory = try TemporaryDirectory()
        let first = try ControlServer(directory: directory.path)
        let failure = #expect(throws: ControlServer.Failure.self) {
            try ControlServer(directory: directory.path)
        }
        #expect(failure?.description.contains("another df2redis") == true)
        first.close()
        // As a killed run leaves it.
        cp_close(cp_local_listen(directory.path, "control.sock"))
        let refused = #expect(throws: ControlClient.Failure.self) {
            try ControlClient.ask(.object([]), directory: directory.path)
        }
        guard case .noRun(let reason) = refused else { return }
        #expect(reason.contains("has died"))
        try ControlServer(directory: directory.path).close()
    }

    /// Refused requests are answered, and the next one is carried out.
    @Test func refusalsAreAnswered() throws {
        let served = try Served()
        defer { served.stop() }
        let client = try TestClient(served.path)
        client.send("nonsense\n{\"command\":\"fly\"}\n\n{\"command\":\"stop\"}\n")
        for _ in 0..<3 { #expect(client.line().contains("\"ok\":false")) }
        #expect(client.line() == #"{"ok":true,"is":"stop"}"#)
        #expect(served.requests.withLock { $0 } == [.stop])
    }

    /// A line in single bytes, and one whose sender shuts down after it, are answered.
    @Test func piecesAndHalfClosed() throws {
        let served = try Served()
        defer { served.stop() }
        let client = try TestClient(served.path)
        for byte in #"{"command":"status"}"#.utf8 { client.send(bytes: [byte]) }
        client.send("\n{\"command\":\"pause\"}\n")
        client.shutDown()
        #expect(client.line().contains("status"))
        #expect(client.line().contains("pause"))
        #expect(client.line() == "")
    }

    /// A line without end is cut off; nothing of it is kept.
    @Test func hugeLine() throws {
        let served = try Served()
        defer { served.stop() }
        let client = try TestClient(served.path)
        client.send(bytes: [UInt8](repeating: 0x61, count: 10 << 20))
        #expect(client.line().contains("too long"))
        #expect(client.line() == "")
        _ = try ControlClient.ask(
            .object([("command", .string("status"))]), directory: served.path)
    }

    /// Clients that say nothing take up a bounded number of places, and lose them in time.
    @Test func silentClients() throws {
        let directory = try TemporaryDirectory()
        let server = try ControlServer(directory: directory.path)
        defer { server.close() }
        func turn(_ now: Int64) {
            var polled = server.descriptors(now: now)
            poll(&polled, nfds_t(polled.count), 100)
            server.serve(polled, now: now) { _ in .object([("ok", .boolean(true))]) }
        }
        // More than the queue of the listening socket takes at once.
        var clients: [TestClient] = []
        for _ in 0..<40 {
            clients.append(try TestClient(directory.path))
            turn(1000)
        }
        #expect(server.descriptors(now: 1000).count == 1 + ControlServer.clientsLimit)
        #expect(clients[39].line().contains("too many clients"))
        turn(1000 + ControlServer.patienceMilliseconds)
        #expect(server.descriptors(now: 20_000).count == 1)
        #expect(clients[0].line() == "")
        let late = try TestClient(directory.path)
        turn(20_000)
        late.send("{\"command\":\"status\"}\n")
        turn(20_000)
        #expect(late.line() == #"{"ok":true}"#)
    }

    /// A client that asks and never reads is closed, and holds up nobody.
    @Test func clientThatNeverReads() throws {
        let directory = try TemporaryDirectory()
        let server = try ControlServer(directory: directory.path)
        defer { server.close() }
        let large = JSONValue.string(String(repeating: "x", count: 4 << 20))
        func turn(_ now: Int64) {
            var polled = server.descriptors(now: now)
            poll(&polled, nfds_t(polled.count), 50)
            server.serve(polled, now: now) { _ in large }
        }
        let client = try TestClient(directory.path)
        turn(0)
        client.send("{\"command\":\"status\"}\n{\"command\":\"status\"}\n")
        for _ in 0..<5 { turn(10) }
        #expect(server.descriptors(now: 10).count == 2)
        turn(10 + ControlServer.patienceMilliseconds)
        #expect(server.descriptors(now: 10).count == 1)
    }

    /// A client that goes away in the middle of its answer leaves nothing behind.
    @Test func clientThatGoesAway() throws {
        let directory = try TemporaryDirectory()
        let server = try ControlServer(directory: directory.path)
        defer { server.close() }
        let large = JSONValue.string(String(repeating: "x", count: 4 << 20))
        func turn() {
            var polled = server.descriptors(now: 10)
            poll(&polled, nfds_t(polled.count), 50)
            server.serve(polled, now: 10) { $0 == .status ? large : .string("small") }
        }
        var client: TestClient? = try TestClient(directory.path)
        turn()
        client?.send("{\"command\":\"status\"}\n")
        turn()
        #expect(server.descriptors(now: 10).count == 2)
        client = nil
        turn()
        #expect(server.descriptors(now: 10).count == 1)
        let next = try TestClient(directory.path)
        turn()
        next.send("{\"command\":\"pause\"}\n")
        turn()
        #expect(next.line() == "\"small\"")
    }
}

/// Only its own thread touches it.
private struct UncheckedServer: @unchecked Sendable {
    let server: ControlServer
}

private func monotonicMilliseconds() -> Int64 {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return Int64(now.tv_sec) * 1000 + Int64(now.tv_nsec) / 1_000_000
}

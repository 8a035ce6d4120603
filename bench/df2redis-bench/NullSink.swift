import Bytes
import CPlatform
import Foundation

/// A server that answers +OK to every command and keeps nothing: what is left is the sender's cost.
final class NullSink: Sendable {
    let port: UInt16
    private static let info = "redis_version:7.0.15\r\ncluster_enabled:0\r\nrole:master\r\n"

    init() throws {
        let listener = cp_listen_loopback(0)
        guard listener >= 0 else { throw BenchError("no free port") }
        port = UInt16(cp_local_port(listener))
        let thread = Thread {
            while true {
                let connection = cp_accept(listener)
                guard connection >= 0 else { return }
                try? NullSink.serve(connection)
                _ = cp_close(connection)
            }
        }
        thread.start()
    }

    private static func serve(_ connection: Int32) throws {
        var input = try MirroredRing(capacity: 1 << 20)
        var output = try MirroredRing(capacity: 1 << 20)
        while case .moved = input.receive(from: connection, limit: input.free) {
            while let command = complete(input.readable) {
                if input.readable.starts(with: "*1\r\n$4\r\nINFO") {
                    output.append("$")
                    output.append(decimal: Int64(info.utf8.count))
                    output.append("\r\n")
                    Array(info.utf8).withByteView { output.append($0) }
                    output.append("\r\n")
                } else {
                    output.append("+OK\r\n")
                }
                input.consume(command)
            }
            while !output.isEmpty {
                guard case .moved(let count) = output.send(to: connection, from: output.head)
                else { return }
                output.consume(count)
            }
        }
    }

    /// The size of the command at the front, nil while it is incomplete.
    private static func complete(_ input: ByteView) -> Int? {
        guard var line = input.firstLineEnd(from: 0), let count = number(input, 1, line) else {
            return nil
        }
        var position = line + 2
        for _ in 0..<count {
            guard let end = input.firstLineEnd(from: position),
                let size = number(input, position + 1, end)
            else { return nil }
            line = end
            position = line + 2 + size + 2
            guard position <= input.count else { return nil }
        }
        return position
    }

    private static func number(_ input: ByteView, _ start: Int, _ end: Int) -> Int? {
        input.slice(start, end - start).parseInteger().map { Int($0) }
    }
}

import Bytes
import CPlatform
import Foundation

/// A server that answers +OK to every command and keeps nothing: what is left is the sender's cost. Or
/// a cluster of such.
final class NullSink: Sendable {
    /// Of the first node.
    var port: UInt16 { ports[0] }
    private let ports: [UInt16]

    /// - Parameter clusterNodes: how many masters a cluster has, 0 for a single server.
    init(clusterNodes: Int = 0) throws {
        let listeners = (0..<max(1, clusterNodes)).map { _ in cp_listen_loopback(0) }
        guard listeners.allSatisfy({ $0 >= 0 }) else { throw BenchError("no free port") }
        let ports = listeners.map { UInt16(cp_local_port($0)) }
        self.ports = ports
        for (index, listener) in listeners.enumerated() {
            let answers = Answers(
                information:
                    "redis_version:7.0.15\r\ncluster_enabled:\(clusterNodes > 0 ? 1 : 0)\r\n"
                    + "role:master\r\nrun_id:\(index)\r\n",
                nodes: NullSink.nodes(ports, myself: index))
            let thread = Thread {
                while true {
                    let connection = cp_accept(listener)
                    guard connection >= 0 else { return }
                    // Each core has a connection of its own.
                    Thread.detachNewThread {
                        try? NullSink.serve(connection, answers)
                        _ = cp_close(connection)
                    }
                }
            }
            thread.start()
        }
    }

    private struct Answers: Sendable {
        let information: String
        let nodes: String
    }

    /// The reply to CLUSTER NODES: each has its share of the slots.
    private static func nodes(_ ports: [UInt16], myself: Int) -> String {
        ports.enumerated().map { index, port in
            let first = index * 16384 / ports.count
            let last = (index + 1) * 16384 / ports.count - 1
            let flags = index == myself ? "myself,master" : "master"
            return "\(index) 127.0.0.1:\(port)@\(port) \(flags) - 0 0 \(index) connected "
                + "\(first)-\(last)\n"
        }.joined()
    }

    private static func serve(_ connection: Int32, _ answers: Answers) throws {
        var input = try MirroredRing(capacity: 1 << 20)
        var output = try MirroredRing(capacity: 1 << 20)
        while case .moved = input.receive(from: connection, limit: input.free) {
            while let command = complete(input.readable) {
                let isInformation =
                    input.readable.starts(with: "*1\r\n$4\r\nINFO")
                    || input.readable.starts(with: "*2\r\n$4\r\nINFO")
                if isInformation || input.readable.starts(with: "*2\r\n$7\r\nCLUSTER") {
                    let text = Array((isInformation ? answers.information : answers.nodes).utf8)
                    output.append("$")
                    output.append(decimal: Int64(text.count))
                    output.append("\r\n")
                    text.withByteView { output.append($0) }
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

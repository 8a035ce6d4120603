internal import CPlatform
internal import Glibc

/// Asks a run through the control socket in its state directory.
public enum ControlClient {
    public enum Failure: Error, Equatable {
        /// No run is there; the text says what to do.
        case noRun(String)
        /// The run does not do what was asked.
        case refused(String)
    }

    private static let timeoutMilliseconds: Int32 = 10_000
    private static let replyBytesLimit = 16 << 20

    public struct Reply {
        public let value: JSONValue
        /// The line as it came.
        public let line: String
    }

    /// Sends one request and waits for its reply.
    public static func ask(
        _ request: JSONValue, directory: String
    ) throws(Failure) -> Reply {
        let descriptor = cp_local_connect(
            directory, ControlServer.socketName, timeoutMilliseconds)
        guard descriptor >= 0 else { throw .noRun(reason(-descriptor, directory)) }
        defer { cp_close(descriptor) }
        let line = Array((request.compactText + "\n").utf8)
        let sent = line.withUnsafeBytes { buffer in
            buffer.baseAddress.map { cp_send(descriptor, $0, buffer.count) } ?? 0
        }
        guard sent == line.count else { throw .noRun(broken(directory, Int32(max(0, -sent)))) }
        let reply = try readLine(descriptor, directory)
        guard let value = JSONValue(reading: reply[...]) else {
            throw .refused("its reply is not JSON")
        }
        guard value["ok"]?.flag == true else {
            throw .refused(value["error"]?.text ?? "it gave no reason")
        }
        return Reply(value: value, line: String(decoding: reply, as: UTF8.self))
    }

    private static func readLine(
        _ descriptor: Int32, _ directory: String
    ) throws(Failure) -> [UInt8] {
        var reply: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while reply.last != UInt8(ascii: "\n") {
            let count = chunk.withUnsafeMutableBytes { buffer in
                buffer.baseAddress.map { cp_read(descriptor, $0, buffer.count) } ?? 0
            }
            guard count > 0, reply.count < replyBytesLimit else {
                throw .noRun(broken(directory, Int32(count < 0 ? -count : 0)))
            }
            reply += chunk[..<Int(count)]
        }
        return reply
    }

    private static func reason(_ code: Int32, _ directory: String) -> String {
        let place = "\(directory)/\(ControlServer.socketName)"
        switch code {
        case ENOENT:
            return "no run has the state directory \(directory) (there is no \(place)); give the"
                + " --state-dir of a run on this machine"
        case ECONNREFUSED:
            return "the run with the state directory \(directory) has died: nobody listens on"
                + " \(place)"
        case EACCES:
            return "\(place) belongs to another user; ask as the user who started the run"
        default:
            return "cannot connect to \(place): \(String(cString: strerror(code)))"
        }
    }

    private static func broken(_ directory: String, _ code: Int32) -> String {
        code == EAGAIN
            ? "the run with the state directory \(directory) does not answer"
            : "the run with the state directory \(directory) ended before it answered"
    }
}

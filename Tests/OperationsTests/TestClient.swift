import CPlatform
import Foundation
import TestSupport

/// A client of the control socket that does what it likes.
final class TestClient {
    private let descriptor: Int32
    private var input: [UInt8] = []

    init(_ directory: String) throws {
        descriptor = cp_local_connect(directory, "control.sock", 10_000)
        if descriptor < 0 { throw TestSupportError("connect: \(descriptor)") }
    }

    deinit { cp_close(descriptor) }

    func send(_ text: String) { send(bytes: Array(text.utf8)) }

    /// What the other side does not take any more is dropped.
    func send(bytes: [UInt8]) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { cp_send(descriptor, $0.baseAddress!, $0.count) }
            guard count > 0 else { return }
            rest = rest.dropFirst(Int(count))
        }
    }

    func shutDown() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// The next line, empty at the end of the connection.
    func line() -> String {
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            if let end = input.firstIndex(of: 0x0A) {
                defer { input.removeSubrange(...end) }
                return String(decoding: input[..<end], as: UTF8.self)
            }
            let count = chunk.withUnsafeMutableBytes { cp_read(descriptor, $0.baseAddress!, 4096) }
            guard count > 0 else { return "" }
            input += chunk[..<Int(count)]
        }
    }
}

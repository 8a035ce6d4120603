import Bytes
import CPlatform
import DragonflySimulator

/// What any program that sends these commands must at least do: encode SET after SET into one buffer,
/// write it, count the replies. No decoding, no order, no accounting.
struct MinimalSender {
    let port: UInt16
    let keys: Int
    let valueBytes: Int

    /// As much as df2redis keeps unanswered.
    private static let windowBytes = 4 << 20

    func run() throws {
        var data = SyntheticData(seed: 1)
        data.strings = .init(count: keys, elements: 0, elementBytes: valueBytes)
        var address = cp_address()
        guard cp_resolve("127.0.0.1", port, &address) == 0 else { throw SystemError.timedOut }
        let descriptor = cp_connect_start(&address, 15_000)
        guard descriptor >= 0, cp_wait_writable(descriptor, 5_000) == 1 else {
            throw SystemError.timedOut
        }
        var output = try MirroredRing(capacity: 1 << 18)
        var input = try MirroredRing(capacity: 1 << 18)
        let key = data.key(.string, 0)
        let value = [UInt8](repeating: UInt8(ascii: "v"), count: valueBytes)
        let commandBytes = key.count + valueBytes + 40
        var sent = 0
        var answered = 0
        let window = MinimalSender.windowBytes / commandBytes
        try key.withByteView { (key) throws(SystemError) in
            try value.withByteView { (value) throws(SystemError) in
                while answered < keys {
                    while sent < keys, sent - answered < window, output.free > commandBytes {
                        encode(sent, key, value, into: &output)
                        sent += 1
                    }
                    if !output.isEmpty {
                        switch output.send(to: descriptor, from: output.head) {
                        case .moved(let count): output.consume(count)
                        case .wouldBlock: break
                        case .failed(let error): throw error
                        case .endOfStream: throw .connectionReset
                        }
                    }
                    switch input.receive(from: descriptor, limit: 1 << 18) {
                    case .moved:
                        answered += input.count / 5
                        input.consume(input.count / 5 * 5)
                    case .wouldBlock:
                        if output.isEmpty || output.free <= commandBytes || sent == keys {
                            _ = cp_wait_two(descriptor, -1, 1)
                        }
                    case .failed(let error): throw error
                    case .endOfStream: throw .connectionReset
                    }
                }
            }
        }
    }

    // The key's eight hexadecimal digits are the key number, as SyntheticData names them.
    private func encode(
        _ index: Int, _ key: ByteView, _ value: ByteView, into output: inout MirroredRing
    ) {
        output.append("*3\r\n$3\r\nSET\r\n$")
        output.append(decimal: Int64(key.count))
        output.append("\r\n")
        output.append(key.slice(0, key.count - 8))
        var shift = 28
        while shift >= 0 {
            let digit = UInt8(truncatingIfNeeded: index >> shift) & 15
            output.append(byte: digit < 10 ? 48 + digit : 87 + digit)
            shift -= 4
        }
        output.append("\r\n$")
        output.append(decimal: Int64(value.count))
        output.append("\r\n")
        output.append(value)
        output.append("\r\n")
    }
}

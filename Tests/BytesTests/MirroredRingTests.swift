import Glibc
import TestSupport
import Testing

@testable import Bytes

/// A ring behaves like an array that forgets its front, wherever its memory wraps.
@Suite struct MirroredRingTests {
    @Test func everyOffsetWraps() throws {
        var ring = try MirroredRing(capacity: 4096)
        var generator = SeededGenerator(seed: 1)
        let message = generator.bytes(100)
        // Empty, it would begin at its front again.
        ring.append(byte: 0)
        for offset in 0..<4096 {
            let start = ring.tail
            message.withByteView { ring.append($0) }
            #expect(ring.view(at: start, 100).array() == message, "offset \(offset)")
            #expect(ring.readable.count == 101)
            // 4096 steps of 4097 visit every offset.
            ring.consume(100)
            for _ in 0..<3995 { ring.append(byte: 0) }
            ring.consume(3995)
            for _ in 0..<2 { ring.append(byte: 0) }
            ring.consume(2)
        }
    }

    @Test func fullWindowIsContiguous() throws {
        var ring = try MirroredRing(capacity: 4096)
        var generator = SeededGenerator(seed: 2)
        let content = generator.bytes(4095)
        ring.append(byte: 1)
        for offset in stride(from: 0, to: 4096, by: 511) {
            content.withByteView { ring.append($0) }
            #expect(ring.free == 0)
            #expect(ring.readable.dropFirst(1).array() == content, "offset \(offset)")
            ring.consume(to: ring.tail - 1)
            for _ in 0..<512 { ring.append(byte: 1) }
            ring.consume(512)
        }
    }

    /// One that is emptied, or nearly so, uses its front again: the rest is never touched.
    @Test func hardlyFilledItStaysAtItsFront() throws {
        var ring = try MirroredRing(capacity: 1 << 16)
        let (left, right) = try socketPair()
        defer {
            close(left)
            close(right)
        }
        var generator = SeededGenerator(seed: 4)
        var rest: [UInt8] = []
        var places: Set<UnsafeRawPointer> = []
        for _ in 0..<500 {
            let bytes = generator.bytes(5000)
            #expect(write(left, bytes, 5000) == 5000)
            guard case .moved(5000) = ring.receive(from: right, limit: 5000) else {
                Issue.record("nothing came")
                return
            }
            let expected = rest + bytes
            #expect(ring.readable.array() == expected)
            let left = Int.random(in: 0...3000, using: &generator)
            ring.consume(ring.count - left)
            rest = Array(expected.suffix(left))
            places.insert(ring.readable.base)
        }
        let first = try #require(places.min())
        #expect(places.allSatisfy { $0 - first < 1 << 15 })
    }

    @Test func walksLikeAnArray() throws {
        for seed: UInt64 in 1...8 {
            var generator = SeededGenerator(seed: seed)
            var ring = try MirroredRing(capacity: 4096)
            var model: [UInt8] = []
            for step in 0..<3_000 {
                walk(&ring, &model, &generator)
                #expect(ring.count == model.count, "seed \(seed), step \(step)")
                #expect(ring.free == 4096 - model.count)
                #expect(ring.isEmpty == model.isEmpty)
                #expect(ring.tail - ring.head == model.count)
                guard ring.readable.array() == model else {
                    Issue.record("content differs: seed \(seed), step \(step)")
                    return
                }
            }
        }
    }

    private func walk(
        _ ring: inout MirroredRing, _ model: inout [UInt8], _ generator: inout SeededGenerator
    ) {
        switch Int.random(in: 0..<9, using: &generator) {
        case 0, 1:
            let bytes = generator.bytes(Int.random(in: 0...min(ring.free, 900), using: &generator))
            bytes.withByteView { ring.append($0) }
            model += bytes
        case 2 where ring.free >= 1:
            ring.append(byte: 7)
            model.append(7)
        case 3 where ring.free >= 8:
            let word = generator.next()
            ring.append(little: word)
            model += (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64(8 * $0)) }
        case 4 where ring.free >= 20:
            let number = Int64(bitPattern: generator.next())
            ring.append(decimal: number)
            model += Array("\(number)".utf8)
        case 5 where ring.free >= DecimalText.doubleCapacity:
            let before = ring.tail
            let count = ring.append(double: 2.5)
            #expect(count == 3 && ring.tail == before + 3)
            model += Array("2.5".utf8)
        case 6:
            let size = Int.random(in: 0...model.count, using: &generator)
            ring.consume(size)
            model.removeFirst(size)
        case 7:
            let kept = Int.random(in: 0...model.count, using: &generator)
            ring.truncate(to: ring.head + kept)
            model.removeLast(model.count - kept)
        default:
            ring.clear()
            model = []
        }
    }

    // MARK: Limits

    @Test func appendingWithoutRoomTraps() async {
        await #expect(processExitsWith: .failure) {
            var ring = try MirroredRing(capacity: 4096)
            for _ in 0...4096 { ring.append(byte: 0) }
        }
        await #expect(processExitsWith: .failure) {
            var ring = try MirroredRing(capacity: 4096)
            for _ in 0..<4090 { ring.append(byte: 0) }
            ring.append(little: UInt64(0))
        }
    }

    @Test func takingWhatIsNotThereTraps() async {
        await #expect(processExitsWith: .failure) {
            var ring = try MirroredRing(capacity: 4096)
            ring.append("abc")
            ring.consume(4)
        }
        await #expect(processExitsWith: .failure) {
            var ring = try MirroredRing(capacity: 4096)
            ring.append("abc")
            ring.consume(-1)
        }
        await #expect(processExitsWith: .failure) {
            var ring = try MirroredRing(capacity: 4096)
            ring.append("abc")
            ring.consume(2)
            _ = ring.view(at: 1, 1)
        }
        await #expect(processExitsWith: .failure) {
            var ring = try MirroredRing(capacity: 4096)
            ring.append("abc")
            ring.truncate(to: 4)
        }
        await #expect(processExitsWith: .failure) {
            var ring = try MirroredRing(capacity: 4096)
            ring.append("abc")
            _ = ring.view(at: 1, 3)
        }
    }

    @Test func oddCapacitiesTrap() async {
        await #expect(processExitsWith: .failure) { _ = try MirroredRing(capacity: 5000) }
        await #expect(processExitsWith: .failure) { _ = try MirroredRing(capacity: 2048) }
    }

    // MARK: Descriptors

    /// Bytes arrive in order through a socket that takes and gives little at a time.
    @Test func passesAStreamThroughASocket() throws {
        let seed: UInt64 = 3
        var generator = SeededGenerator(seed: seed)
        let (left, right) = try socketPair()
        defer {
            close(left)
            close(right)
        }
        var small: Int32 = 4608
        setsockopt(left, SOL_SOCKET, SO_SNDBUF, &small, socklen_t(MemoryLayout<Int32>.size))
        let content = generator.bytes(300_000)
        var output = try MirroredRing(capacity: 8192)
        var input = try MirroredRing(capacity: 4096)
        var appended = 0
        var sent = 0
        var received: [UInt8] = []
        var hadNoRoom = false
        var hadNothing = false
        while received.count < content.count {
            let size = min(output.free, content.count - appended, 3000)
            content[appended..<appended + size].withUnsafeBytes { part in
                Array(part).withByteView { output.append($0) }
            }
            appended += size
            if sent < output.tail {
                switch output.send(to: left, from: sent) {
                case .moved(let count):
                    sent += count
                    // Sent bytes stay until they are consumed.
                    if Bool.random(using: &generator) { output.consume(to: sent) }
                case .wouldBlock: hadNoRoom = true
                default: Issue.record("send failed")
                }
            }
            if output.free == 0 { output.consume(to: sent) }
            let limit = Int.random(in: 1...2500, using: &generator)
            switch input.receive(from: right, limit: limit) {
            case .moved(let count):
                #expect(count <= limit && count <= 4096)
                received += input.readable.array()
                input.consume(input.count)
            case .wouldBlock: hadNothing = true
            default: Issue.record("receive failed")
            }
        }
        #expect(received == content, "seed \(seed)")
        #expect(hadNothing || hadNoRoom)
    }

    @Test func endAndFailureAreValues() throws {
        let (left, right) = try socketPair()
        var ring = try MirroredRing(capacity: 4096)
        #expect(matches(ring.receive(from: left, limit: 10), "would block"))
        ring.append("abc")
        close(right)
        #expect(matches(ring.receive(from: left, limit: 10), "end"))
        #expect(matches(ring.send(to: left, from: 0), "failed"))
        #expect(ring.readable.equals("abc"))
        close(left)
    }

    private func matches(_ result: TransferResult, _ kind: String) -> Bool {
        switch result {
        case .moved: kind == "moved"
        case .wouldBlock: kind == "would block"
        case .endOfStream: kind == "end"
        case .failed: kind == "failed"
        }
    }

    private func socketPair() throws -> (Int32, Int32) {
        var pair: [Int32] = [0, 0]
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        guard socketpair(AF_UNIX, type, 0, &pair) == 0 else { throw SystemError(code: errno) }
        return (pair[0], pair[1])
    }
}

import Bytes
import TestSupport
import Testing

/// A growing buffer keeps its content, and gives memory back when told.
@Suite struct RegionBufferTests {
    @Test func growthKeepsContent() throws {
        for seed: UInt64 in 1...4 {
            var generator = SeededGenerator(seed: seed)
            var buffer = try RegionBuffer()
            var model: [UInt8] = []
            for step in 0..<400 {
                switch step % 5 {
                case 0:
                    try buffer.append(byte: UInt8(step & 0xff))
                    model.append(UInt8(step & 0xff))
                case 1:
                    let word = UInt32(truncatingIfNeeded: generator.next())
                    try buffer.append(little: word)
                    model += (0..<4).map { UInt8(truncatingIfNeeded: word >> UInt32(8 * $0)) }
                case 2:
                    try buffer.append(decimal: Int64(-step))
                    model += Array("\(-step)".utf8)
                case 3:
                    try buffer.append(double: 0.5)
                    model += Array("0.5".utf8)
                default:
                    let bytes = generator.bytes(Int.random(in: 0...3000, using: &generator))
                    try bytes.withByteView { bytes throws(SystemError) in try buffer.append(bytes) }
                    model += bytes
                }
                #expect(buffer.count == model.count)
                #expect(buffer.capacity >= buffer.count)
            }
            #expect(buffer.view.array() == model, "seed \(seed)")
        }
    }

    @Test func reserveNeverShrinks() throws {
        var buffer = try RegionBuffer(capacity: 1)
        #expect(buffer.capacity == 4096)
        try buffer.append("abc")
        try buffer.reserve(100)
        #expect(buffer.capacity == 4096)
        try buffer.reserve(4097)
        #expect(buffer.capacity >= 4097)
        #expect(buffer.view.equals("abc"))
    }

    /// A large value must not hold its memory for ever.
    @Test func clearGivesBackWhatIsAboveTheLimit() throws {
        var buffer = try RegionBuffer(capacity: 1 << 20)
        try buffer.append("abc")
        buffer.clear(keeping: 1 << 20)
        #expect(buffer.isEmpty && buffer.capacity == 1 << 20)
        buffer.clear(keeping: (1 << 20) - 1)
        #expect(buffer.isEmpty && buffer.capacity == 0)
        #expect(buffer.view.isEmpty)
        try buffer.append("again")
        #expect(buffer.view.equals("again"))
        buffer.clear()
        #expect(buffer.capacity == 4096)
    }

    @Test func withoutMemoryItThrows() throws {
        var buffer = try RegionBuffer()
        try buffer.append("kept")
        #expect(throws: SystemError.self) { try buffer.reserve(1 << 60) }
        #expect(buffer.view.equals("kept"))
    }
}

/// A queue gives back what was put in, in order, at any fill and position.
@Suite struct FixedQueueTests {
    @Test func walksLikeAnArray() {
        for seed: UInt64 in 1...6 {
            var generator = SeededGenerator(seed: seed)
            var queue = FixedQueue<UInt64>(capacity: 8)
            var model: [UInt64] = []
            for step in 0..<4000 {
                let choice = Int.random(in: 0..<20, using: &generator)
                if choice == 0 {
                    queue.removeAll()
                    model = []
                } else if choice < 11, model.count < 8 {
                    let word = generator.next()
                    queue.push(word)
                    model.append(word)
                } else if !model.isEmpty {
                    #expect(queue.first == model[0])
                    #expect(queue.popFirst() == model.removeFirst(), "seed \(seed) step \(step)")
                }
                #expect(queue.count == model.count)
                #expect(queue.isEmpty == model.isEmpty)
                #expect(queue.isFull == (model.count == 8))
                #expect(queue.free == 8 - model.count)
                for index in model.indices { #expect(queue[index] == model[index]) }
            }
        }
    }

    @Test func misuseTraps() async {
        await #expect(processExitsWith: .failure) {
            var queue = FixedQueue<Int>(capacity: 2)
            for value in 0...2 { queue.push(value) }
        }
        await #expect(processExitsWith: .failure) {
            var queue = FixedQueue<Int>(capacity: 2)
            _ = queue.popFirst()
        }
        await #expect(processExitsWith: .failure) {
            var queue = FixedQueue<Int>(capacity: 2)
            queue.push(1)
            _ = queue[1]
        }
        await #expect(processExitsWith: .failure) { _ = FixedQueue<Int>(capacity: 3) }
    }
}

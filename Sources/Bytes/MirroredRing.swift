import CPlatform

/// A byte ring whose memory is mapped twice, back to back, so that every readable or writable window
/// is contiguous.
///
/// Positions are absolute byte counts since the ring was made: `head` is the first byte kept, `tail`
/// the position after the last one. Appending requires room (`free`); running out is the caller's
/// back-pressure, never growth.
public struct MirroredRing: ~Copyable {
    // Proof for all pointer use below: `base` is the first of two mappings of `capacity` bytes each.
    // Any offset is masked below capacity and any size is at most capacity, so a window ends inside
    // the second mapping.
    let base: UnsafeMutableRawPointer
    public let capacity: Int
    public private(set) var head = 0
    public private(set) var tail = 0

    /// - Parameter capacity: a power of two, at least one page (4096).
    public init(capacity: Int) throws(SystemError) {
        precondition(capacity >= 4096 && capacity & (capacity - 1) == 0)
        var mapping: UnsafeMutableRawPointer?
        let result = cp_ring_map(capacity, &mapping)
        guard result == 0, let mapping else { throw SystemError(result: result) }
        base = mapping
        self.capacity = capacity
    }

    deinit {
        cp_ring_unmap(base, capacity)
    }

    public var count: Int { tail - head }
    public var free: Int { capacity - (tail - head) }
    public var isEmpty: Bool { tail == head }

    /// Everything readable; valid until the next `consume`, `clear` or `truncate`.
    public var readable: ByteView {
        ByteView(base: base + (head & (capacity - 1)), count: tail - head)
    }

    /// `size` bytes at absolute position `start`, which must be kept.
    public func view(at start: Int, _ size: Int) -> ByteView {
        precondition(start >= head && size >= 0 && start + size <= tail)
        return ByteView(base: base + (start & (capacity - 1)), count: size)
    }

    /// Forgets the first `size` bytes.
    public mutating func consume(_ size: Int) {
        precondition(size >= 0 && size <= tail - head)
        head += size
    }

    /// Forgets everything before absolute position `position`.
    public mutating func consume(to position: Int) {
        consume(position - head)
    }

    /// Takes back what was appended after absolute position `position`.
    public mutating func truncate(to position: Int) {
        precondition(position >= head && position <= tail)
        tail = position
    }

    public mutating func clear() {
        head = tail
    }

    @inline(__always)
    private mutating func grow(_ size: Int) -> UnsafeMutableRawPointer {
        precondition(size >= 0 && size <= capacity - (tail - head))
        let start = base + (tail & (capacity - 1))
        tail += size
        return start
    }

    public mutating func append(_ bytes: ByteView) {
        grow(bytes.count).copyMemory(from: bytes.base, byteCount: bytes.count)
    }

    public mutating func append(byte: UInt8) {
        grow(1).storeBytes(of: byte, as: UInt8.self)
    }

    /// Appends an integer's little-endian bytes.
    public mutating func append<T: FixedWidthInteger>(little value: T) {
        grow(MemoryLayout<T>.size).storeBytes(of: value.littleEndian, as: T.self)
    }

    /// Appends decimal text.
    public mutating func append(decimal value: Int64) {
        let digits = DecimalText.digitCount(value)
        DecimalText.write(value, digits, to: grow(digits))
    }

    /// Appends the shortest text that reads back as `value`, and returns its length.
    /// Needs `DecimalText.doubleCapacity` bytes of room.
    @discardableResult
    public mutating func append(double value: Double) -> Int {
        let room = DecimalText.doubleCapacity
        let start = grow(room)
        let length = DecimalText.write(value, to: start)
        tail -= room - length
        return length
    }

    /// Fills free room by one call of `produce`, which gets the room and returns what it wrote.
    mutating func produce(
        limit: Int, _ produce: (UnsafeMutableRawPointer, Int) -> Int
    ) -> Int {
        let room = min(limit, free)
        let written = produce(base + (tail & (capacity - 1)), room)
        precondition(written >= 0 && written <= room)
        tail += written
        return written
    }

    /// The same for a producer that looks back: the whole content lies right before the room.
    /// False, with nothing appended, if it returns less than 0.
    mutating func produceBehindContent(
        limit: Int, _ produce: (UnsafeMutableRawPointer, _ room: Int, _ history: Int) -> Int
    ) -> Bool {
        let room = min(limit, free)
        // From the head on, content and room together take at most `capacity` bytes.
        let written = produce(base + (head & (capacity - 1)) + count, room, count)
        guard written >= 0 else { return false }
        precondition(written <= room)
        tail += written
        return true
    }

    /// Reads once from a descriptor into free room, at most `limit` bytes. Needs room.
    public mutating func receive(from descriptor: Int32, limit: Int) -> TransferResult {
        let room = min(limit, free)
        precondition(room > 0)
        let result = cp_read(descriptor, base + (tail & (capacity - 1)), room)
        if result > 0 { tail += Int(result) }
        return TransferResult(result: Int64(result), zeroMeansEnd: true)
    }

    /// Writes once to a descriptor what is kept from absolute position `start` on. The bytes stay in
    /// the ring.
    public func send(to descriptor: Int32, from start: Int) -> TransferResult {
        precondition(start >= head && start < tail)
        let result = cp_send(descriptor, base + (start & (capacity - 1)), tail - start)
        return TransferResult(result: Int64(result), zeroMeansEnd: false)
    }
}

import CPlatform

/// A byte ring whose memory is mapped twice, back to back, so that every readable or writable window
/// is contiguous.
///
/// Positions are absolute byte counts since the ring was made: `head` is the first byte kept, `tail`
/// the position after the last one. Appending requires room (`free`); running out is the caller's
/// back-pressure, never growth.
///
/// A ring that holds nothing, or hardly anything, begins at its front again: then a large one that is
/// seldom full touches few pages, which stay in the caches.
public struct MirroredRing: ~Copyable {
    // Proof for all pointer use below: `base` is the first of two mappings of `capacity` bytes each.
    // Any offset is masked below capacity and any size is at most capacity, so a window ends inside
    // the second mapping.
    let base: UnsafeMutableRawPointer
    public let capacity: Int
    public private(set) var head = 0
    public private(set) var tail = 0
    // The position that lies at the front of the memory; at most head.
    private var origin = 0

    /// So much is moved to the front before more is received.
    private static let movedBytes = 4096

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

    @inline(__always)
    private func offset(_ position: Int) -> Int { (position - origin) & (capacity - 1) }

    // Proof: what is moved ends within the first mapping and lies behind where it goes, by as much as
    // it is long at least, so neither overlaps the other.
    private mutating func rewind() {
        let start = offset(head)
        let size = count
        guard size <= MirroredRing.movedBytes, start >= capacity / 32, start + size <= capacity,
            start >= size
        else { return }
        base.copyMemory(from: base + start, byteCount: size)
        origin = head
    }

    /// Everything readable; valid until the next `consume`, `clear`, `truncate` or `receive`.
    public var readable: ByteView {
        ByteView(base: base + offset(head), count: tail - head)
    }

    /// `size` bytes at absolute position `start`, which must be kept.
    public func view(at start: Int, _ size: Int) -> ByteView {
        precondition(start >= head && size >= 0 && start + size <= tail)
        return ByteView(base: base + offset(start), count: size)
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
        if tail == head { origin = head }
        let start = base + offset(tail)
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
        let written = produce(base + offset(tail), room)
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
        let written = produce(base + offset(head) + count, room, count)
        guard written >= 0 else { return false }
        precondition(written <= room)
        tail += written
        return true
    }

    /// Reads once from a descriptor into free room, at most `limit` bytes. Needs room.
    public mutating func receive(from descriptor: Int32, limit: Int) -> TransferResult {
        let room = min(limit, free)
        precondition(room > 0)
        rewind()
        let result = cp_read(descriptor, base + offset(tail), room)
        if result > 0 { tail += Int(result) }
        return TransferResult(result: Int64(result), zeroMeansEnd: true)
    }

    /// Writes once to a descriptor what is kept from absolute position `start` on. The bytes stay in
    /// the ring.
    public func send(to descriptor: Int32, from start: Int) -> TransferResult {
        precondition(start >= head && start < tail)
        let result = cp_send(descriptor, base + offset(start), tail - start)
        return TransferResult(result: Int64(result), zeroMeansEnd: false)
    }
}

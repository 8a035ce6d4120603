import CPlatform
import Glibc

/// A contiguous, growable byte buffer outside the heap: large values are assembled in it, and it
/// serves as scratch space. Growing may move it, which invalidates views.
public struct RegionBuffer: ~Copyable {
    // Proof for all pointer use below: `base` (if not nil) maps `capacity` bytes and
    // `count <= capacity`.
    private var base: UnsafeMutableRawPointer?
    public private(set) var capacity = 0
    public private(set) var count = 0

    /// An empty buffer with room for `capacity` bytes (rounded up to pages; 0 maps nothing).
    public init(capacity: Int = 0) throws(SystemError) {
        try reserve(capacity)
    }

    deinit {
        if let base { cp_region_unmap(base, capacity) }
    }

    public var isEmpty: Bool { count == 0 }

    /// Everything in the buffer; valid until the next mutation.
    public var view: ByteView {
        guard let base else { return ByteView() }
        return ByteView(base: base, count: count)
    }

    /// Makes room for `total` bytes in all. May move the buffer.
    public mutating func reserve(_ total: Int) throws(SystemError) {
        precondition(total >= 0)
        guard total > capacity else { return }
        let wanted = max(total, capacity + capacity / 2)
        let size = (wanted + 4095) & ~4095
        var region: UnsafeMutableRawPointer?
        let result = cp_region_resize(base, capacity, size, &region)
        guard result == 0 else { throw SystemError(result: result) }
        base = region
        capacity = size
    }

    public mutating func append(_ bytes: ByteView) throws(SystemError) {
        try reserve(count + bytes.count)
        guard let base, bytes.count > 0 else { return }
        (base + count).copyMemory(from: bytes.base, byteCount: bytes.count)
        count += bytes.count
    }

    public mutating func append(byte: UInt8) throws(SystemError) {
        try reserve(count + 1)
        base?.storeBytes(of: byte, toByteOffset: count, as: UInt8.self)
        count += 1
    }

    public mutating func append<T: FixedWidthInteger>(little value: T) throws(SystemError) {
        try reserve(count + MemoryLayout<T>.size)
        base?.storeBytes(of: value.littleEndian, toByteOffset: count, as: T.self)
        count += MemoryLayout<T>.size
    }

    public mutating func append(decimal value: Int64) throws(SystemError) {
        let digits = DecimalText.digitCount(value)
        try reserve(count + digits)
        guard let base else { return }
        DecimalText.write(value, digits, to: base + count)
        count += digits
    }

    public mutating func append(double value: Double) throws(SystemError) {
        try reserve(count + DecimalText.doubleCapacity)
        guard let base else { return }
        count += DecimalText.write(value, to: base + count)
    }

    /// Overwrites the bytes at `offset`, which must be there, with an integer's big-endian ones.
    public mutating func patch<T: FixedWidthInteger>(big value: T, at offset: Int) {
        precondition(offset >= 0 && count - offset >= MemoryLayout<T>.size)
        base?.storeBytes(of: value.bigEndian, toByteOffset: offset, as: T.self)
    }

    /// Appends what is left of a file.
    public mutating func appendAll(from descriptor: Int32) throws(SystemError) {
        while true {
            try reserve(count + 65536)
            guard let base else { return }
            let result = cp_read(descriptor, base + count, capacity - count)
            guard result >= 0 else { throw SystemError(result: Int32(result)) }
            if result == 0 { return }
            count += Int(result)
        }
    }

    /// Appends `size` bytes of a file from `offset` on, which must be there.
    public mutating func append(
        from descriptor: Int32, at offset: Int64, count size: Int
    ) throws(SystemError) {
        try reserve(count + size)
        guard let base, size > 0 else { return }
        let result = cp_read_at(descriptor, base + count, size, offset)
        guard result == 0 else { throw SystemError(result: result) }
        count += size
    }

    /// Writes everything to a file, in as many calls as it takes.
    public func writeAll(to descriptor: Int32) throws(SystemError) {
        guard let base, count > 0 else { return }
        let result = cp_write_all(descriptor, base, count)
        guard result == 0 else { throw SystemError(result: result) }
    }

    /// Writes everything to a file, from `position` on.
    public func write(to descriptor: Int32, at position: Int) throws(SystemError) {
        guard let base, count > 0 else { return }
        let result = cp_write_at(descriptor, base, count, Int64(position))
        guard result == 0 else { throw SystemError(result: result) }
    }

    /// Forgets the content. A region larger than `keeping` bytes is given back to the system.
    public mutating func clear(keeping limit: Int = .max) {
        count = 0
        if capacity > limit, let region = base {
            cp_region_unmap(region, capacity)
            base = nil
            capacity = 0
        }
    }

    /// Forgets everything behind the first `size` bytes.
    public mutating func truncate(to size: Int) {
        precondition(size >= 0 && size <= count)
        count = size
    }

    /// Forgets the first `size` bytes and moves the rest to the front.
    public mutating func removeFirst(_ size: Int) {
        precondition(size >= 0 && size <= count)
        guard let base, size > 0 else { return }
        count -= size
        memmove(base, base + size, count)
    }

    /// Appends up to `size` bytes that `produce` writes; it returns how many.
    mutating func produce(
        size: Int, _ produce: (UnsafeMutableRawPointer) -> Int
    ) throws(SystemError) {
        try reserve(count + max(size, 1))
        guard let base else { return }
        let written = produce(base + count)
        precondition(written >= 0 && written <= size)
        count += written
    }
}

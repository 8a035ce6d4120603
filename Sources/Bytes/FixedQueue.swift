/// A first-in first-out queue of plain values with a fixed capacity. Pushing into a full queue traps:
/// check `isFull` first.
public struct FixedQueue<Element: BitwiseCopyable>: ~Copyable {
    // Proof for all pointer use below: `slots` holds `capacity` elements, every index is masked below
    // capacity, and only slots between head and tail, which were initialised by push, are read.
    private let slots: UnsafeMutablePointer<Element>
    public let capacity: Int
    private var head = 0
    private var tail = 0

    /// - Parameter capacity: a power of two.
    public init(capacity: Int) {
        precondition(capacity > 0 && capacity & (capacity - 1) == 0)
        slots = .allocate(capacity: capacity)
        self.capacity = capacity
    }

    deinit {
        slots.deallocate()
    }

    public var count: Int { tail - head }
    public var isEmpty: Bool { tail == head }
    public var isFull: Bool { tail - head == capacity }
    public var free: Int { capacity - (tail - head) }

    /// The oldest element; the queue must not be empty.
    public var first: Element {
        precondition(!isEmpty)
        return slots[head & (capacity - 1)]
    }

    @inlinable
    public subscript(offset: Int) -> Element {
        element(at: offset)
    }

    @usableFromInline
    func element(at offset: Int) -> Element {
        precondition(offset >= 0 && offset < count)
        return slots[(head + offset) & (capacity - 1)]
    }

    public mutating func push(_ element: Element) {
        precondition(!isFull)
        (slots + (tail & (capacity - 1))).initialize(to: element)
        tail += 1
    }

    /// Removes and returns the oldest element; the queue must not be empty.
    public mutating func popFirst() -> Element {
        let element = first
        head += 1
        return element
    }

    public mutating func removeAll() {
        head = tail
    }
}

internal import Synchronization

/// A fixed number of 64-bit words that any thread may read and change at any time. All are 0 at first.
public final class AtomicWords: @unchecked Sendable {
    // Proof: each is initialized before anybody else sees this, and changed by atomic operations only.
    private let words: UnsafeMutablePointer<Atomic<UInt64>>
    public let count: Int

    public init(count: Int) {
        self.count = count
        words = .allocate(capacity: count)
        for index in 0..<count { (words + index).initialize(to: Atomic(0)) }
    }

    deinit {
        words.deinitialize(count: count)
        words.deallocate()
    }

    public func load(_ index: Int) -> UInt64 {
        precondition(index >= 0 && index < count)
        return words[index].load(ordering: .relaxed)
    }

    /// Puts what `change` makes of a word in its place. It is called again if another thread comes in
    /// between.
    public func update(_ index: Int, _ change: (UInt64) -> UInt64) {
        precondition(index >= 0 && index < count)
        var word = words[index].load(ordering: .relaxed)
        while true {
            let (isExchanged, original) = words[index].weakCompareExchange(
                expected: word, desired: change(word), ordering: .relaxed)
            if isExchanged { return }
            word = original
        }
    }
}

public import Bytes
import CPlatform
import Synchronization

/// A bounded queue of 64-bit words from any threads to one reactor. The reactor is woken only if it
/// has announced that it sleeps. Senders wait for one another, the reactor does not wait for them.
///
/// `@unchecked Sendable`, proof: `words` is written at `tail` by the one sender that has the lock and
/// read at `head` by the one receiver; a slot is published by the releasing store of `tail` and given
/// back by that of `head`, and neither side touches a slot that the other may.
public final class Mailbox: @unchecked Sendable {
    private let words: UnsafeMutablePointer<UInt64>
    private let capacity: Int
    private let head = Atomic<Int>(0)
    private let tail = Atomic<Int>(0)
    private let receiverSleeps = Atomic<Bool>(false)
    private let sending = Mutex(())
    let wakeUpDescriptor: Int32

    /// - Parameter capacity: a power of two.
    public init(capacity: Int = 256) throws(SystemError) {
        precondition(capacity > 0 && capacity & (capacity - 1) == 0)
        let descriptor = cp_wakeup_create()
        guard descriptor >= 0 else { throw SystemError(result: descriptor) }
        wakeUpDescriptor = descriptor
        self.capacity = capacity
        words = .allocate(capacity: capacity)
    }

    deinit {
        words.deallocate()
        _ = cp_close(wakeUpDescriptor)
    }

    /// Puts a word in; false if the box is full.
    public func post(_ word: UInt64) -> Bool {
        let isIn = sending.withLock { _ in
            let position = tail.load(ordering: .relaxed)
            guard position - head.load(ordering: .acquiring) < capacity else { return false }
            words[position & (capacity - 1)] = word
            tail.store(position + 1, ordering: .sequentiallyConsistent)
            return true
        }
        guard isIn else { return false }
        // Sequentially consistent on both sides: either the receiver sees the word before it sleeps,
        // or we see that it sleeps.
        if receiverSleeps.exchange(false, ordering: .sequentiallyConsistent) {
            let result = cp_wakeup_signal(wakeUpDescriptor)
            precondition(result == 0, "a wake-up descriptor takes a signal")
        }
        return true
    }

    /// Takes the oldest word, nil if there is none. For the one receiver.
    func take() -> UInt64? {
        let position = head.load(ordering: .relaxed)
        guard position < tail.load(ordering: .acquiring) else { return nil }
        let word = words[position & (capacity - 1)]
        head.store(position + 1, ordering: .releasing)
        return word
    }

    /// Announces sleep; false if a word came in meanwhile and the receiver must not sleep.
    func announceSleep() -> Bool {
        receiverSleeps.store(true, ordering: .sequentiallyConsistent)
        let isEmpty =
            head.load(ordering: .relaxed) == tail.load(ordering: .sequentiallyConsistent)
        if !isEmpty { receiverSleeps.store(false, ordering: .relaxed) }
        return isEmpty
    }

    /// For the one receiver.
    var isEmpty: Bool {
        head.load(ordering: .relaxed) == tail.load(ordering: .acquiring)
    }

    func announceAwake() {
        receiverSleeps.store(false, ordering: .relaxed)
    }
}

import Bytes
import CPlatform
import Glibc

/// State that threads share, with one lock.
///
/// The lock is fair: threads get it in the order they ask, so that one that takes it again and
/// again (a writer of many commands) starves nobody. Waiting is by predicate: a waiter's closure is
/// asked again after every `update`.
final class Monitor<State: Sendable>: @unchecked Sendable {
    // Proof of Sendable: `state` is touched only by the thread whose ticket is `served`, which
    // changes only under `mutex`. Proof for the pointers: all are allocated and initialised in init
    // and live as long as the monitor.
    private var state: State
    private var nextTicket: UInt64 = 0
    private var served: UInt64 = 0
    /// Counts the updates that woke the waiters.
    private var changes: UInt64 = 0
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let turn = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private let change = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    init(_ state: State) {
        self.state = state
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(turn, &attributes)
        pthread_cond_init(change, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(turn)
        pthread_cond_destroy(change)
        pthread_mutex_destroy(mutex)
        turn.deallocate()
        change.deallocate()
        mutex.deallocate()
    }

    /// Looks at the state.
    func read<Result, Failure: Error>(
        _ body: (State) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        enter()
        defer { leave(waking: false) }
        return try body(state)
    }

    /// Changes the state and wakes all waiters.
    func update<Result, Failure: Error>(
        _ body: (inout State) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        enter()
        defer { leave(waking: true) }
        return try body(&state)
    }

    /// Changes the state; `body` says whether the waiters must hear of it.
    func update<Result, Failure: Error>(
        wakingIf body: (inout State) throws(Failure) -> (result: Result, wakes: Bool)
    ) throws(Failure) -> Result {
        enter()
        var wakes = true
        defer { leave(waking: wakes) }
        let outcome = try body(&state)
        wakes = outcome.wakes
        return outcome.result
    }

    /// Waits until `body` returns something, at most until `deadline` (monotonic nanoseconds, nil
    /// waits without limit); nil after the deadline.
    func wait<Result, Failure: Error>(
        until deadline: Int64? = nil, _ body: (inout State) throws(Failure) -> Result?
    ) throws(Failure) -> Result? {
        enter()
        defer { leave(waking: false) }
        while true {
            if let result = try body(&state) { return result }
            if let deadline, cp_monotonic_nanoseconds() >= deadline { return nil }
            sleep(until: deadline)
        }
    }

    private func enter() {
        pthread_mutex_lock(mutex)
        takeTurn()
        pthread_mutex_unlock(mutex)
    }

    private func leave(waking: Bool) {
        pthread_mutex_lock(mutex)
        passTurn()
        if waking {
            changes &+= 1
            pthread_cond_broadcast(change)
        }
        pthread_mutex_unlock(mutex)
    }

    /// Gives the lock away until something changes or `deadline` has come.
    private func sleep(until deadline: Int64?) {
        pthread_mutex_lock(mutex)
        let seen = changes
        passTurn()
        while changes == seen {
            guard let deadline else {
                pthread_cond_wait(change, mutex)
                continue
            }
            var limit = timespec(
                tv_sec: Int(deadline / 1_000_000_000), tv_nsec: Int(deadline % 1_000_000_000))
            if pthread_cond_timedwait(change, mutex, &limit) == ETIMEDOUT { break }
        }
        takeTurn()
        pthread_mutex_unlock(mutex)
    }

    private func takeTurn() {
        let ticket = nextTicket
        nextTicket &+= 1
        while served != ticket { pthread_cond_wait(turn, mutex) }
    }

    private func passTurn() {
        served &+= 1
        if served != nextTicket { pthread_cond_broadcast(turn) }
    }
}

/// The monotonic time `milliseconds` from now, for `Monitor.wait`.
func deadline(afterMilliseconds milliseconds: Int) -> Int64 {
    cp_monotonic_nanoseconds() + Int64(milliseconds) * 1_000_000
}

/// Runs `body` on a detached thread of its own.
func startThread(
    named name: String, _ body: @escaping @Sendable () -> Void
) throws(SystemError) {
    final class Start {
        let name: String
        let body: @Sendable () -> Void
        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }
    // Proof: the retain made here is taken over by the thread, or released below if none started.
    let start = Unmanaged.passRetained(Start(name: name, body: body))
    var thread = pthread_t()
    let code = pthread_create(
        &thread, nil,
        { argument in
            guard let argument else { return nil }
            let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
            _ = cp_name_thread(start.name)
            start.body()
            return nil
        }, start.toOpaque())
    guard code == 0 else {
        start.release()
        throw SystemError(code: code)
    }
    pthread_detach(thread)
}

import Bytes
import CPlatform
import Glibc

/// State that threads share: a mutex with a condition variable.
///
/// Waiting is by predicate: a waiter's closure is asked again after every `update`.
final class Monitor<State: Sendable>: @unchecked Sendable {
    // Proof of Sendable: `state` is touched only between lock and unlock of `mutex`. Proof for the
    // pointers: both are allocated and initialised in init and live as long as the monitor.
    private var state: State
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    init(_ state: State) {
        self.state = state
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    /// Looks at the state.
    func read<Result>(_ body: (State) -> Result) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body(state)
    }

    /// Changes the state and wakes all waiters.
    func update<Result>(_ body: (inout State) -> Result) -> Result {
        pthread_mutex_lock(mutex)
        defer {
            pthread_cond_broadcast(condition)
            pthread_mutex_unlock(mutex)
        }
        return body(&state)
    }

    /// Waits until `body` returns something, at most until `deadline` (monotonic nanoseconds, nil
    /// waits without limit); nil after the deadline.
    func wait<Result>(
        until deadline: Int64? = nil, _ body: (inout State) -> Result?
    ) -> Result? {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while true {
            if let result = body(&state) { return result }
            guard let deadline else {
                pthread_cond_wait(condition, mutex)
                continue
            }
            if cp_monotonic_nanoseconds() >= deadline { return nil }
            var limit = timespec(
                tv_sec: Int(deadline / 1_000_000_000), tv_nsec: Int(deadline % 1_000_000_000))
            pthread_cond_timedwait(condition, mutex, &limit)
        }
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

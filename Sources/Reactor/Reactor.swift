public import Bytes
import CPlatform
import Glibc

/// What a reactor tells its owner, on the reactor's thread.
public protocol ReactorOwner: AnyObject {
    /// The connection stands; the socket may be written to.
    func connected(_ socket: Socket)
    /// The socket may have input, or reached its end. The owner reads with `Socket.fill` as much as
    /// its budget allows; it is called again next turn while more may come and it is not paused.
    func ready(_ socket: Socket)
    /// The connection failed or was reset. The socket is closed after this call.
    func failed(_ socket: Socket, _ error: SystemError)
    /// A timer's time has come; it is not repeated.
    func timerFired(_ timer: Int)
    /// A word from the mailbox.
    func received(_ word: UInt64)
    /// All input of this turn was handled; output is flushed after this call.
    func turnEnding()
}

/// One epoll loop for one thread.
///
/// A turn: wait, deliver readiness, timers, mailbox, flush every socket with output once, close what
/// was to be closed. Sockets are registered once, edge-triggered; an event carries slot and
/// generation, so that one for a closed socket is recognised.
public final class Reactor {
    /// Monotonic clock at the start of this turn, in nanoseconds.
    public private(set) var now: Int64 = 0
    /// The time of day then, in Unix milliseconds: good enough for all that a turn handles.
    public private(set) var unixMilliseconds: Int64 = 0
    public private(set) var turns = 0
    /// How long to look for news before the thread goes to sleep, in nanoseconds: that spares a
    /// wake-up where they come thick and fast, and takes a whole CPU meanwhile.
    public var busyPollNanoseconds: Int64 = 0
    /// The longest turn so far, without its wait, in nanoseconds.
    public private(set) var longestTurnNanoseconds: Int64 = 0

    private let poller: OpaquePointer
    private let mailbox: Mailbox
    private var slots: [Socket?]
    private var generations: [UInt32]
    private var readyList: [Socket] = []
    private var dirtyList: [Socket] = []
    private var closeList: [Socket] = []
    private var failedList: [Socket] = []
    private var deadlines: [Int64]
    private var isStopped = false

    private static let mailboxToken = UInt64.max

    /// - Parameters:
    ///   - capacity: how many sockets may be open at once.
    ///   - timers: timers are numbered 0 ..< `timers`.
    public init(mailbox: Mailbox, capacity: Int, timers: Int) throws(SystemError) {
        var created: OpaquePointer?
        let result = cp_poller_create(&created)
        guard result == 0, let created else { throw SystemError(result: result) }
        poller = created
        self.mailbox = mailbox
        slots = [Socket?](repeating: nil, count: capacity)
        generations = [UInt32](repeating: 0, count: capacity)
        deadlines = [Int64](repeating: .max, count: timers)
        readyList.reserveCapacity(capacity)
        dirtyList.reserveCapacity(capacity)
        closeList.reserveCapacity(capacity)
        failedList.reserveCapacity(capacity)
        now = cp_monotonic_nanoseconds()
        unixMilliseconds = cp_unix_milliseconds()
        let added = cp_poller_add(poller, mailbox.wakeUpDescriptor, Reactor.mailboxToken)
        guard added == 0 else { throw SystemError(result: added) }
    }

    deinit {
        cp_poller_destroy(poller)
    }

    // MARK: Sockets

    /// Takes a socket in; events for it go to the owner from the next turn on.
    public func add(_ socket: Socket) throws(SystemError) {
        guard let slot = slots.firstIndex(where: { $0 == nil }) else {
            throw SystemError(code: EMFILE)
        }
        generations[slot] &+= 1
        socket.slot = slot
        socket.generation = generations[slot]
        let token = UInt64(generations[slot]) << 32 | UInt64(slot)
        let result = cp_poller_add(poller, socket.transport.descriptor, token)
        guard result == 0 else { throw SystemError(result: result) }
        slots[slot] = socket
    }

    /// Closes the socket at the end of this turn.
    public func close(_ socket: Socket) {
        guard !socket.closeRequested, socket.state != .closed else { return }
        socket.closeRequested = true
        closeList.append(socket)
    }

    /// Output was appended: flush it at the end of this turn.
    public func markDirty(_ socket: Socket) {
        guard !socket.isListedDirty, socket.state != .closed else { return }
        socket.isListedDirty = true
        dirtyList.append(socket)
    }

    /// Sends now what the kernel takes, ahead of the end of the turn.
    public func flushNow(_ socket: Socket) {
        socket.flush()
        if socket.failure != nil { failedList.append(socket) }
    }

    /// Ends a pause: the owner is asked again next turn, even without news from the peer.
    public func resume(_ socket: Socket) {
        socket.isPaused = false
        markReady(socket)
    }

    private func markReady(_ socket: Socket) {
        guard !socket.isListedReady, socket.state == .open else { return }
        socket.isListedReady = true
        readyList.append(socket)
    }

    // MARK: Timers

    /// Fires `timer` once, `nanoseconds` from this turn's start; replaces an earlier setting.
    public func setTimer(_ timer: Int, after nanoseconds: Int64) {
        deadlines[timer] = now + nanoseconds
    }

    // MARK: The loop

    /// Ends `run` after this turn.
    public func stop() {
        isStopped = true
    }

    /// Turns until `stop`.
    public func run(_ owner: some ReactorOwner) throws(SystemError) {
        while !isStopped {
            try wait(owner)
            let start = now
            deliverReady(owner)
            fireTimers(owner)
            while let word = mailbox.take() { owner.received(word) }
            owner.turnEnding()
            flushDirty()
            reportFailures(owner)
            closeRequested()
            turns += 1
            let elapsed = cp_monotonic_nanoseconds() - start
            if elapsed > longestTurnNanoseconds { longestTurnNanoseconds = elapsed }
        }
    }

    private func wait(_ owner: some ReactorOwner) throws(SystemError) {
        var timeout = waitNanoseconds()
        var count: Int32 = 0
        if timeout != 0, busyPollNanoseconds > 0 {
            count = busyPoll(timeout)
            if count == 0 { timeout = waitNanoseconds() }
        }
        if count == 0 {
            if timeout != 0 && !mailbox.announceSleep() { timeout = 0 }
            count = cp_poller_wait(poller, timeout)
            mailbox.announceAwake()
        }
        guard count >= 0 else { throw SystemError(result: count) }
        now = cp_monotonic_nanoseconds()
        unixMilliseconds = cp_unix_milliseconds()
        for index in 0..<count {
            let token = cp_poller_token(poller, index)
            guard token != Reactor.mailboxToken else {
                let result = cp_wakeup_clear(mailbox.wakeUpDescriptor)
                guard result == 0 else { throw SystemError(result: result) }
                continue
            }
            let slot = Int(token & 0xffff_ffff)
            guard let socket = slots[slot], socket.generation == UInt32(token >> 32) else {
                continue
            }
            note(cp_poller_flags(poller, index), on: socket, owner)
        }
    }

    /// Looks for events without sleeping, for at most `timeout` nanoseconds (-1: any); returns how many
    /// there are, 0 if the time is over or a word has come.
    private func busyPoll(_ timeout: Int64) -> Int32 {
        let limit = timeout < 0 ? busyPollNanoseconds : min(timeout, busyPollNanoseconds)
        let end = cp_monotonic_nanoseconds() + limit
        while mailbox.isEmpty {
            let count = cp_poller_wait(poller, 0)
            if count != 0 || cp_monotonic_nanoseconds() >= end { return count }
        }
        return 0
    }

    /// 0 while somebody has work, the time to the next timer, or -1 for no limit.
    private func waitNanoseconds() -> Int64 {
        guard readyList.isEmpty, dirtyList.isEmpty, !isStopped else { return 0 }
        var next = Int64.max
        for deadline in deadlines { next = min(next, deadline) }
        guard next != .max else { return -1 }
        return max(0, next - cp_monotonic_nanoseconds())
    }

    private func note(_ flags: UInt32, on socket: Socket, _ owner: some ReactorOwner) {
        if socket.state == .connecting {
            guard flags & (CP_WRITABLE | CP_ERROR | CP_HANGUP) != 0 else { return }
            let code = cp_socket_error(socket.transport.descriptor)
            guard code == 0 else {
                socket.fail(SystemError(code: abs(code)))
                failedList.append(socket)
                return
            }
            socket.state = .open
            socket.isWritable = true
            owner.connected(socket)
        }
        // An error or hang-up is found by the ordinary read or write.
        if flags & (CP_READABLE | CP_PEER_CLOSED | CP_HANGUP | CP_ERROR) != 0 {
            if flags & (CP_PEER_CLOSED | CP_HANGUP | CP_ERROR) != 0 { socket.peerClosed = true }
            socket.isReadable = true
            if !socket.isPaused { markReady(socket) }
        }
        if flags & (CP_WRITABLE | CP_HANGUP | CP_ERROR) != 0 {
            socket.isWritable = true
            if socket.bytesUnsent > 0 { markDirty(socket) }
        }
    }

    private func deliverReady(_ owner: some ReactorOwner) {
        // Sockets that are listed while this runs wait for the next turn.
        let count = readyList.count
        var kept = 0
        for index in 0..<count {
            let socket = readyList[index]
            guard socket.state == .open, !socket.closeRequested, !socket.isPaused else {
                socket.isListedReady = false
                continue
            }
            socket.isListedReady = false
            owner.ready(socket)
            if socket.failure != nil {
                failedList.append(socket)
            } else if socket.mayRead, !socket.isPaused, !socket.isListedReady {
                socket.isListedReady = true
                readyList[kept] = socket
                kept += 1
            }
        }
        readyList.removeSubrange(kept..<count)
    }

    private func fireTimers(_ owner: some ReactorOwner) {
        for timer in deadlines.indices where deadlines[timer] <= now {
            deadlines[timer] = .max
            owner.timerFired(timer)
        }
    }

    private func flushDirty() {
        for socket in dirtyList {
            socket.isListedDirty = false
            guard socket.state == .open else { continue }
            socket.flush()
            if socket.failure != nil { failedList.append(socket) }
        }
        dirtyList.removeAll(keepingCapacity: true)
    }

    private func reportFailures(_ owner: some ReactorOwner) {
        var index = 0
        while index < failedList.count {
            let socket = failedList[index]
            index += 1
            guard let error = socket.failure, !socket.closeRequested, socket.state != .closed else {
                continue
            }
            close(socket)
            owner.failed(socket, error)
        }
        failedList.removeAll(keepingCapacity: true)
    }

    private func closeRequested() {
        for socket in closeList {
            // Closing takes it out of epoll; a stale event finds another generation.
            let result = cp_close(socket.transport.descriptor)
            precondition(result == 0 || result == -EIO, "close of an open descriptor succeeds")
            socket.state = .closed
            slots[socket.slot] = nil
        }
        closeList.removeAll(keepingCapacity: true)
    }
}

import Bytes
import CPlatform
import Glibc

/// How connections end, seen from the accepting side.
enum SocketEnd {
    /// The bit of `poll` that Swift's Glibc does not have: the peer has closed its side.
    private static let peerClosed: Int16 = 0x2000
    /// `TCP_CLOSE` of `tcp_info`: both ends have arrived.
    private static let closedState: UInt8 = 7

    /// Whether the peer's end of the stream has arrived, even if bytes before it are unread.
    static func hasArrived(on descriptor: Int32) -> Bool {
        var entry = pollfd(fd: descriptor, events: peerClosed, revents: 0)
        guard poll(&entry, 1, 0) > 0 else { return false }
        return entry.revents & (peerClosed | Int16(POLLHUP) | Int16(POLLERR)) != 0
    }

    /// Waits until the peer has taken everything, our end included; true if it reset the connection
    /// instead. To be called when both sides have sent their ends.
    static func endsWithReset(_ descriptor: Int32, timeoutMilliseconds: Int) -> Bool {
        let limit = deadline(afterMilliseconds: timeoutMilliseconds)
        while true {
            let code = cp_socket_error(descriptor)
            if code == ECONNRESET || code == EPIPE { return true }
            if code != 0 || tcpState(descriptor) == closedState { return false }
            if cp_monotonic_nanoseconds() >= limit { return false }
            // There is no event for it: a socket shut down both ways is always ready.
            usleep(1000)
        }
    }

    /// Ends a connection with a reset, at once.
    static func reset(_ descriptor: Int32) {
        var linger = linger(l_onoff: 1, l_linger: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<linger>.size))
        // Dissolves the connection; the descriptor stays valid for the threads that use it.
        var address = sockaddr(sa_family: sa_family_t(AF_UNSPEC), sa_data: sockaddr().sa_data)
        _ = connect(descriptor, &address, socklen_t(MemoryLayout<sockaddr>.size))
    }

    /// Limits how long reading and writing wait, and the room for unsent bytes (nil: the system's).
    static func configureFlow(_ descriptor: Int32, sendBufferBytes: Int?) {
        var limit = timeval(tv_sec: 0, tv_usec: 50_000)
        let size = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, size)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, size)
        if let sendBufferBytes {
            var bytes = Int32(clamping: sendBufferBytes)
            setsockopt(
                descriptor, SOL_SOCKET, SO_SNDBUF, &bytes, socklen_t(MemoryLayout<Int32>.size))
        }
    }

    private static func tcpState(_ descriptor: Int32) -> UInt8 {
        var information = [UInt8](repeating: 0, count: 256)
        var size = socklen_t(information.count)
        let result = getsockopt(
            descriptor, Int32(IPPROTO_TCP), TCP_INFO, &information, &size)
        return result == 0 && size > 0 ? information[0] : closedState
    }
}

public import Bytes
public import CPlatform
import Glibc

/// What one read or write did. The seam between sockets and whatever carries their bytes: a plain
/// connection wants to read when reading would block, but TLS may want to write then.
public enum TransportResult {
    case moved(Int)
    case wantsRead
    case wantsWrite
    case endOfStream
    case failed(SystemError)
}

/// Carries bytes between rings and the peer.
struct Transport {
    let descriptor: Int32

    func read(into ring: inout MirroredRing, limit: Int) -> TransportResult {
        switch ring.receive(from: descriptor, limit: limit) {
        case .moved(let count): .moved(count)
        case .wouldBlock: .wantsRead
        case .endOfStream: .endOfStream
        case .failed(let error): .failed(error)
        }
    }

    func write(from ring: borrowing MirroredRing, at position: Int) -> TransportResult {
        switch ring.send(to: descriptor, from: position) {
        case .moved(let count): .moved(count)
        case .wouldBlock: .wantsWrite
        case .endOfStream: .endOfStream
        case .failed(let error): .failed(error)
        }
    }
}

/// A non-blocking TCP connection with its two rings. It belongs to one reactor and is used on that
/// reactor's thread only.
public final class Socket {
    public enum State {
        case connecting, open, closed
    }

    /// What the socket is for, chosen by its owner; comes back with every event.
    public let role: UInt32
    /// Where it leads; nil if it was taken over.
    public let peer: cp_address?
    public internal(set) var state = State.connecting
    /// Bytes received and not consumed.
    public var input: MirroredRing
    /// Bytes to send. Sent ones leave it, unless the socket was made to keep them: then their owner
    /// consumes them, up to `sentPosition` at most.
    public var output: MirroredRing
    /// Absolute position in `output` up to which everything was handed to the kernel.
    public internal(set) var sentPosition = 0
    /// Bytes received since the connection was made.
    public private(set) var bytesReceived = 0
    /// True once the peer has sent its last byte and it was read.
    public private(set) var reachedEnd = false
    /// The owner stops reading while it cannot take more; see `Reactor.resume`.
    public var isPaused = false

    private let keepsSentOutput: Bool
    let transport: Transport
    var slot = -1
    var generation: UInt32 = 0
    var isReadable = false
    var isWritable = false
    var isListedReady = false
    var isListedDirty = false
    var closeRequested = false
    var failure: SystemError?

    /// Starts to connect.
    /// - Parameters:
    ///   - inputBytes, outputBytes: ring sizes, powers of two.
    ///   - silenceLimitMilliseconds: sent data that stays unacknowledged that long ends the
    ///     connection.
    public init(
        connectingTo address: cp_address, role: UInt32, inputBytes: Int, outputBytes: Int,
        keepsSentOutput: Bool = false, silenceLimitMilliseconds: UInt32 = 15_000
    ) throws(SystemError) {
        self.keepsSentOutput = keepsSentOutput
        input = try MirroredRing(capacity: inputBytes)
        output = try MirroredRing(capacity: outputBytes)
        self.role = role
        peer = address
        var address = address
        let descriptor = cp_connect_start(&address, silenceLimitMilliseconds)
        guard descriptor >= 0 else { throw SystemError(result: descriptor) }
        transport = Transport(descriptor: descriptor)
    }

    /// Takes over a connected, non-blocking stream socket.
    public init(
        adopting descriptor: Int32, role: UInt32, inputBytes: Int, outputBytes: Int,
        keepsSentOutput: Bool = false
    ) throws(SystemError) {
        self.keepsSentOutput = keepsSentOutput
        input = try MirroredRing(capacity: inputBytes)
        output = try MirroredRing(capacity: outputBytes)
        self.role = role
        peer = nil
        transport = Transport(descriptor: descriptor)
        state = .open
        isReadable = true
        isWritable = true
    }

    deinit {
        if state != .closed { _ = cp_close(transport.descriptor) }
    }

    /// Bytes appended to `output` and not yet handed to the kernel.
    public var bytesUnsent: Int { output.tail - sentPosition }

    /// True once a read or write has failed.
    public var hasFailed: Bool { failure != nil }

    /// True while a read may bring something without waiting.
    public var mayRead: Bool { state == .open && isReadable && !reachedEnd }

    /// Reads once into free input room, at most `limit` bytes; returns how many came.
    public func fill(limit: Int) -> Int {
        guard mayRead, input.free > 0 else { return 0 }
        let room = min(limit, input.free)
        switch transport.read(into: &input, limit: room) {
        case .moved(let count):
            bytesReceived += count
            // Less than asked for: the next read would most likely return nothing.
            if count < room && !peerClosed { isReadable = false }
            return count
        case .wantsRead:
            isReadable = false
        case .wantsWrite:
            isReadable = false
            isWritable = false
        case .endOfStream:
            reachedEnd = true
            isReadable = false
        case .failed(let error):
            fail(error)
        }
        return 0
    }

    var peerClosed = false

    /// Reads what had arrived when the connection failed: the peer may have said why.
    public func fillAfterFailure() {
        guard state == .open, hasFailed, input.free > 0 else { return }
        while input.free > 0, case .moved = transport.read(into: &input, limit: input.free) {}
    }

    /// Sends what the kernel takes.
    func flush() {
        while state == .open, isWritable, bytesUnsent > 0 {
            switch transport.write(from: output, at: sentPosition) {
            case .moved(let count):
                sentPosition += count
                if !keepsSentOutput { output.consume(to: sentPosition) }
            case .wantsRead, .wantsWrite:
                isWritable = false
            case .endOfStream:
                fail(SystemError(code: EPIPE))
            case .failed(let error):
                fail(error)
            }
        }
    }

    /// Tells the peer that nothing more will be sent; reading goes on.
    public func shutdownWriting() {
        guard state == .open else { return }
        let result = cp_shutdown_write(transport.descriptor)
        // The peer may have closed first.
        if result < 0 && result != -ENOTCONN { fail(SystemError(result: result)) }
    }

    /// For a socket that no reactor waits for: its peer has made room.
    public func noteWritable() {
        isWritable = failure == nil
    }

    func fail(_ error: SystemError) {
        if failure == nil { failure = error }
        isReadable = false
        isWritable = false
    }
}

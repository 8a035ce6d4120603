import CPlatform
import Glibc

/// A failed system call: the positive errno value.
public struct SystemError: Error, Equatable, CustomStringConvertible {
    public let code: Int32

    public init(code: Int32) {
        self.code = code
    }

    /// From the result of a CPlatform call, which is -errno on failure.
    public init(result: some SignedInteger) {
        self.init(code: Int32(-result))
    }

    public static let timedOut = SystemError(code: ETIMEDOUT)
    public static let connectionReset = SystemError(code: ECONNRESET)
    public static let fileTooLarge = SystemError(code: EFBIG)

    public var description: String {
        guard let text = strerror(code) else { return "errno \(code)" }
        return String(cString: text)
    }
}

/// What a read or write on a non-blocking descriptor did. Would-block and end of stream are values,
/// not errors.
public enum TransferResult {
    case moved(Int)
    case wouldBlock
    case endOfStream
    case failed(SystemError)

    // EBADF and EFAULT mean that this program is wrong, not the world.
    init(result: Int64, zeroMeansEnd: Bool) {
        if result > 0 {
            self = .moved(Int(result))
        } else if result == 0 {
            self = zeroMeansEnd ? .endOfStream : .wouldBlock
        } else if result == -Int64(EAGAIN) {
            self = .wouldBlock
        } else {
            precondition(result != -Int64(EBADF) && result != -Int64(EFAULT))
            self = .failed(SystemError(result: result))
        }
    }
}

@usableFromInline
func compareBytes(_ left: UnsafeRawPointer, _ right: UnsafeRawPointer, _ count: Int) -> Int32 {
    count == 0 ? 0 : memcmp(left, right, count)
}

func findByte(
    _ start: UnsafeRawPointer, _ byte: Int32, _ count: Int
) -> UnsafeMutableRawPointer? {
    memchr(start, byte, count)
}

import Bytes

/// A cursor over a value that is known to be complete: what `Cursor` calls incomplete is damage
/// here.
struct WholeCursor {
    private(set) var inner: Cursor

    init(_ bytes: ByteView, at position: Int = 0) {
        inner = Cursor(bytes, at: position)
    }

    var bytes: ByteView { inner.bytes }

    var position: Int {
        get { inner.position }
        set { inner.position = newValue }
    }

    mutating func length() throws(DecodeError) -> UInt64 {
        guard let length = try inner.length() else { throw DecodeError(.damagedContainer) }
        return length
    }

    mutating func count() throws(DecodeError) -> Int {
        guard let count = try inner.count() else { throw DecodeError(.damagedContainer) }
        return count
    }

    @inline(__always)
    mutating func string() throws(DecodeError) -> WireString {
        // The usual case, a plain string of up to 63 bytes, without the general reader.
        let start = inner.position
        if inner.remaining > 0 {
            let size = Int(bytes[start])
            if size < 0x40 && size < inner.remaining {
                inner.position = start + 1 + size
                return .plain(bytes.slice(start + 1, size))
            }
        }
        guard let string = try inner.string() else { throw DecodeError(.damagedContainer) }
        return string
    }

    mutating func raw(_ size: Int) throws(DecodeError) -> ByteView {
        guard let bytes = inner.raw(size) else { throw DecodeError(.damagedContainer) }
        return bytes
    }

    mutating func little<T: FixedWidthInteger>(as type: T.Type) throws(DecodeError) -> T {
        guard let value = inner.little(as: type) else { throw DecodeError(.damagedContainer) }
        return value
    }

    /// The expiry of a hash field or set member (protocol.md 3.9.6) in Unix milliseconds, 0 for
    /// none.
    mutating func elementExpiry() throws(DecodeError) -> Int64 {
        let seconds: Int64?
        switch try string() {
        case .integer(let value): seconds = value
        case .plain(let text): seconds = text.parseInteger()
        case .lzf: seconds = nil
        }
        guard let seconds, seconds >= -1 else { throw DecodeError(.badString) }
        if seconds == -1 { return 0 }
        let (total, isTooLarge) = (seconds &+ WholeCursor.expiryBase)
            .multipliedReportingOverflow(by: 1000)
        guard !isTooLarge, total > 0 else { throw DecodeError(.badString) }
        return total
    }

    /// 2023-02-01 00:00:00 UTC in Unix seconds, from which element expiries count.
    private static let expiryBase: Int64 = 1_675_209_600

    /// Nothing may follow a value.
    func expectEnd() throws(DecodeError) {
        guard inner.remaining == 0 else { throw DecodeError(.damagedContainer) }
    }
}

/// A read-only window into memory that somebody else owns (a ring, a buffer, a blob).
///
/// Contract: a view is valid until its owner is next consumed from, cleared, grown or destroyed.
/// Reading past its end traps. It is a plain value (16 bytes), so it travels in enums and structs
/// without reference counting.
public struct ByteView {
    @usableFromInline let base: UnsafeRawPointer
    public let count: Int

    // Proof of safety for all reads below: `base ..< base + count` is readable while the contract
    // above holds, and every read is checked against `count`.
    @inlinable
    public init(base: UnsafeRawPointer, count: Int) {
        self.base = base
        self.count = count
    }

    /// The empty view.
    @inlinable
    public init() {
        // Never dereferenced: count is 0.
        self.init(base: UnsafeRawPointer(bitPattern: 1)!, count: 0)
    }

    /// A view of a literal; literals live as long as the process.
    @inlinable
    public init(_ text: StaticString) {
        self.init(base: UnsafeRawPointer(text.utf8Start), count: text.utf8CodeUnitCount)
    }

    @inlinable
    public var isEmpty: Bool { count == 0 }

    @inlinable
    public subscript(index: Int) -> UInt8 {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
        return base.load(fromByteOffset: index, as: UInt8.self)
    }

    @inlinable
    func checked(_ offset: Int, _ size: Int) {
        precondition(offset >= 0 && size >= 0 && offset <= count && count - offset >= size)
    }

    /// The `size` bytes from `offset` on.
    @inlinable
    public func slice(_ offset: Int, _ size: Int) -> ByteView {
        checked(offset, size)
        return ByteView(base: base + offset, count: size)
    }

    /// Everything from `offset` on.
    @inlinable
    public func dropFirst(_ offset: Int) -> ByteView {
        slice(offset, count - offset)
    }

    /// A little-endian integer at `offset`, at any alignment.
    @inlinable
    public func little<T: FixedWidthInteger>(_ offset: Int, as type: T.Type) -> T {
        checked(offset, MemoryLayout<T>.size)
        return T(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: T.self))
    }

    /// A big-endian integer at `offset`, at any alignment.
    @inlinable
    public func big<T: FixedWidthInteger>(_ offset: Int, as type: T.Type) -> T {
        checked(offset, MemoryLayout<T>.size)
        return T(bigEndian: base.loadUnaligned(fromByteOffset: offset, as: T.self))
    }

    /// Byte-wise equality.
    @inlinable
    public func equals(_ other: ByteView) -> Bool {
        count == other.count && compareBytes(base, other.base, count) == 0
    }

    /// Equality with an upper-case ASCII literal, ignoring the case of this view.
    public func equalsIgnoringCase(_ upperCase: StaticString) -> Bool {
        guard count == upperCase.utf8CodeUnitCount else { return false }
        let other = ByteView(upperCase)
        for index in 0..<count where asciiUppercased(self[index]) != other[index] {
            return false
        }
        return true
    }

    /// Whether `other` stands anywhere in it. Compares at each place: for messages, not for data.
    public func contains(_ other: ByteView) -> Bool {
        guard other.count <= count else { return false }
        for start in 0...(count - other.count)
        where slice(start, other.count).equals(other) { return true }
        return false
    }

    /// True if the view starts with the bytes of `prefix`.
    public func starts(with prefix: ByteView) -> Bool {
        count >= prefix.count && slice(0, prefix.count).equals(prefix)
    }

    /// The position of the first CR LF at or after `offset`, nil if there is none.
    public func firstLineEnd(from offset: Int) -> Int? {
        var position = offset
        while position + 1 < count {
            guard let found = findByte(base + position, 13, count - 1 - position) else {
                return nil
            }
            let index = base.distance(to: UnsafeRawPointer(found))
            if self[index + 1] == 10 { return index }
            position = index + 1
        }
        return nil
    }

    /// The decimal integer this view is the canonical text of ("-5", "0"; not "+5", "007", ""),
    /// nil if it is none or does not fit.
    public func parseInteger() -> Int64? {
        guard count > 0, count <= 20 else { return nil }
        let negative = self[0] == UInt8(ascii: "-")
        var position = negative ? 1 : 0
        guard position < count else { return nil }
        if self[position] == UInt8(ascii: "0") { return count == 1 ? 0 : nil }
        var value: Int64 = 0
        while position < count {
            let digit = self[position] &- UInt8(ascii: "0")
            guard digit <= 9 else { return nil }
            let (scaled, overflow) = value.multipliedReportingOverflow(by: 10)
            let (next, overflowToo) =
                negative
                ? scaled.subtractingReportingOverflow(Int64(digit))
                : scaled.addingReportingOverflow(Int64(digit))
            if overflow || overflowToo { return nil }
            value = next
            position += 1
        }
        return value
    }

    /// A copy as an array; allocates, so not for the hot path.
    public func array() -> [UInt8] {
        [UInt8](UnsafeRawBufferPointer(start: base, count: count))
    }

    /// Printable text for messages: bytes outside printable ASCII as \xNN, at most `limit` bytes.
    /// Allocates, so not for the hot path.
    public func printable(limit: Int = 256) -> String {
        var text = ""
        for index in 0..<min(count, limit) {
            let byte = self[index]
            if byte >= 0x20 && byte < 0x7f && byte != UInt8(ascii: "\\") {
                text.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                let digits = "0123456789abcdef".utf8.map { Character(Unicode.Scalar($0)) }
                text += "\\x"
                text.append(digits[Int(byte >> 4)])
                text.append(digits[Int(byte & 15)])
            }
        }
        return count > limit ? text + "... (\(count) bytes)" : text
    }
}

extension ByteView: ExpressibleByStringLiteral {
    public init(stringLiteral text: StaticString) {
        self.init(text)
    }
}

/// Upper case of an ASCII letter, other bytes unchanged.
@inlinable
public func asciiUppercased(_ byte: UInt8) -> UInt8 {
    byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z") ? byte & 0xdf : byte
}

extension [UInt8] {
    /// Calls `body` with a view of the array's bytes, valid during the call.
    public func withByteView<Result, Failure: Error>(
        _ body: (ByteView) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        // Proof: the pointer is used inside the closure of withUnsafeBytes only.
        var outcome: Swift.Result<Result, Failure>?
        withUnsafeBytes { bytes in
            let view =
                bytes.baseAddress.map { ByteView(base: $0, count: bytes.count) } ?? ByteView()
            do throws(Failure) {
                outcome = .success(try body(view))
            } catch {
                outcome = .failure(error)
            }
        }
        return try outcome!.get()
    }
}

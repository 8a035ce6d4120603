import Bytes

/// Room for one decoded string at a time. Plain strings are not copied: they are the value's own
/// bytes.
///
/// A view returned is valid until the next call, or as long as the value for a plain string.
struct Scratch: ~Copyable {
    private var buffer: RegionBuffer
    private let stringLimit: Int
    private let keptBytes: Int

    /// - Parameter limits: `assemblyBytes` bounds what one compressed string may decompress to, and
    ///   `windowBytes` what `reset` keeps.
    init(_ limits: DecoderLimits) throws(SystemError) {
        buffer = try RegionBuffer()
        stringLimit = limits.assemblyBytes
        keptBytes = limits.windowBytes
    }

    /// Forgets the content, and gives back room beyond the usual.
    mutating func reset() {
        buffer.clear(keeping: keptBytes)
    }

    @inline(__always)
    mutating func decode(_ string: WireString) throws(DecodeError) -> ByteView {
        if case .plain(let bytes) = string { return bytes }
        return try decodeOther(string)
    }

    private mutating func decodeOther(_ string: WireString) throws(DecodeError) -> ByteView {
        guard string.decodedCount <= stringLimit else { throw DecodeError(.lengthAboveLimit) }
        return try string.decoded(scratch: &buffer)
    }

    /// The string as an element of a container.
    mutating func element(_ string: WireString) throws(DecodeError) -> PackedElement {
        if case .integer(let value) = string { return .integer(value) }
        return .string(try decode(string))
    }

    /// The text of an element of a container.
    @inline(__always)
    mutating func text(_ element: PackedElement) throws(DecodeError) -> ByteView {
        switch element {
        case .string(let bytes): return bytes
        case .integer(let value): return try decimalText(value)
        }
    }

    private mutating func decimalText(_ value: Int64) throws(DecodeError) -> ByteView {
        buffer.clear()
        do {
            try buffer.append(decimal: value)
        } catch {
            throw DecodeError(.outOfMemory)
        }
        return buffer.view
    }
}

import CCodec

/// Numbers as text, written straight into buffers.
public enum DecimalText {
    /// Room that `write` of a double may use.
    public static let doubleCapacity = Int(CC_DOUBLE_TEXT_CAPACITY)

    /// Length of the decimal text of `value`, sign included: 1...20.
    public static func digitCount(_ value: Int64) -> Int {
        var digits = value < 0 ? 2 : 1
        var rest = value.magnitude
        while rest >= 10 {
            rest /= 10
            digits += 1
        }
        return digits
    }

    // Proof: the caller gives room for `digits` bytes, and exactly that many are stored.
    static func write(_ value: Int64, _ digits: Int, to start: UnsafeMutableRawPointer) {
        var rest = value.magnitude
        var position = digits
        let first = value < 0 ? 1 : 0
        while position > first {
            position -= 1
            let digit = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
            start.storeBytes(of: digit, toByteOffset: position, as: UInt8.self)
            rest /= 10
        }
        if value < 0 { start.storeBytes(of: UInt8(ascii: "-"), as: UInt8.self) }
    }

    // Proof: the caller gives room for doubleCapacity bytes, the bound of cc_double_text.
    static func write(_ value: Double, to start: UnsafeMutableRawPointer) -> Int {
        cc_double_text(value, start.assumingMemoryBound(to: CChar.self))
    }
}

extension ByteView {
    /// The floating-point number this view is the text of ("1", "2.5", "-inf"), nil if it is none.
    public func parseDouble() -> Double? {
        var value = 0.0
        return cc_double_parse(base, count, &value) == 0 ? value : nil
    }
}

import Bytes

/// Numbers as Dragonfly prints them: the shortest text that reads back, decimal from 1e-6 up to
/// below 1e21, else with an exponent and its sign (reply_builder.cc).
enum FloatText {
    static func parse(_ bytes: [UInt8]) -> Double? {
        bytes.withByteView { $0.parseDouble() }
    }

    static func text(_ value: Double) -> [UInt8] {
        if value.isInfinite { return Array((value < 0 ? "-inf" : "inf").utf8) }
        if value == 0 { return Array((value.sign == .minus ? "-0" : "0").utf8) }
        let sign = value < 0 ? "-" : ""
        let (digits, exponent) = shortest(value.magnitude)
        let count = digits.count
        let text: String
        if exponent >= 21 || exponent < -6 {
            let fraction = count > 1 ? "." + digits.dropFirst() : ""
            text = "\(digits.prefix(1))\(fraction)e\(exponent > 0 ? "+" : "")\(exponent)"
        } else if exponent < 0 {
            text = "0." + String(repeating: "0", count: -exponent - 1) + digits
        } else if count <= exponent + 1 {
            text = digits + String(repeating: "0", count: exponent + 1 - count)
        } else {
            text = "\(digits.prefix(exponent + 1)).\(digits.dropFirst(exponent + 1))"
        }
        return Array((sign + text).utf8)
    }

    /// The digits of the shortest text, and the power of ten of the first one.
    private static func shortest(_ value: Double) -> (digits: String, exponent: Int) {
        // Swift prints the shortest digits: "0.001", "12.5", "1e-07", "1.5e+16".
        let parts = value.description.split(separator: "e")
        let mantissa = parts[0].split(separator: ".", omittingEmptySubsequences: false)
        var digits = mantissa.joined()
        var exponent = mantissa[0].count - 1 + (parts.count > 1 ? Int(parts[1]) ?? 0 : 0)
        while digits.hasPrefix("0") {
            digits.removeFirst()
            exponent -= 1
        }
        while digits.hasSuffix("0") { digits.removeLast() }
        return (digits, exponent)
    }
}

/// The text of a score in a compact sorted set.
enum ScoreText {
    /// Beyond this a whole score is text of a float (`double2ll` of redis: half of Int64's range).
    private static let wholeLimit = 4.611_686_018_427_388e18

    /// Whole numbers as integers, others in the fewest digits that read back as the same number, laid
    /// out as Dragonfly's converter does: decimal for 10^-6 to 10^21, else "1.5e-7", "1e22", "inf".
    static func bytes(_ score: Double) -> [UInt8] {
        if score.isInfinite { return Array((score > 0 ? "inf" : "-inf").utf8) }
        if abs(score) < wholeLimit, score == score.rounded(.towardZero) {
            return Array(String(Int64(score)).utf8)
        }
        let (digits, point) = shortest(score.magnitude)
        return (score < 0 ? [UInt8(ascii: "-")] : []) + layOut(digits, point)
    }

    /// Significant digits, and how many of them stand before the decimal point.
    private static func shortest(_ magnitude: Double) -> (digits: [UInt8], point: Int) {
        let text = "\(magnitude)"
        let parts = text.split(separator: "e")
        let mantissa = parts[0].split(separator: ".")
        let whole = Array(mantissa[0].utf8)
        var digits = whole + (mantissa.count > 1 ? Array(mantissa[1].utf8) : [])
        var point = whole.count + (parts.count > 1 ? Int(parts[1]) ?? 0 : 0)
        let zero = UInt8(ascii: "0")
        while digits.count > 1, digits.last == zero { digits.removeLast() }
        while digits.count > 1, digits.first == zero {
            digits.removeFirst()
            point -= 1
        }
        return (digits, point)
    }

    private static func layOut(_ digits: [UInt8], _ point: Int) -> [UInt8] {
        let zero = UInt8(ascii: "0")
        let dot = UInt8(ascii: ".")
        let exponent = point - 1
        guard (-6..<21).contains(exponent) else {
            let rest = digits.count > 1 ? [dot] + digits[1...] : []
            return [digits[0]] + rest + Array("e\(exponent)".utf8)
        }
        if point <= 0 { return [zero, dot] + Array(repeating: zero, count: -point) + digits }
        if digits.count <= point {
            return digits + Array(repeating: zero, count: point - digits.count)
        }
        return digits[..<point] + [dot] + digits[point...]
    }
}

import Bytes
import TestSupport
import Testing

/// Scores keep every bit on their way through text.
@Suite struct DecimalTextTests {
    @Test func knownDoubles() throws {
        let cases: [(Double, String)] = [
            (0, "0"), (-0.0, "-0"), (1, "1"), (-1, "-1"), (2.5, "2.5"), (0.1, "0.1"),
            (0.1 + 0.2, "0.30000000000000004"), (1.0 / 3, "0.3333333333333333"),
            (100_000_000, "100000000"), (123_456_789_012_345, "123456789012345"),
            (1e15, "1e+15"), (1e22, "1e+22"), (1e23, "1e+23"), (1e-7, "1e-07"),
            (9_007_199_254_740_992, "9007199254740992"), (.infinity, "inf"), (-.infinity, "-inf"),
            (.greatestFiniteMagnitude, "1.7976931348623157e+308"),
            (.leastNormalMagnitude, "2.2250738585072014e-308"), (.pi, "3.141592653589793"),
        ]
        for (value, expected) in cases {
            #expect(try text(value) == expected)
        }
    }

    /// Any bits come back from their text, and the text is as short as can be, within one digit:
    /// next to a power of two the nearest of the short texts may not be the one that reads back.
    @Test func randomDoublesComeBack() throws {
        let seed: UInt64 = 20
        var generator = SeededGenerator(seed: seed)
        var buffer = try RegionBuffer(capacity: 64)
        for round in 0..<100_000 {
            let value = Double(bitPattern: generator.next())
            guard !value.isNaN else { continue }
            buffer.clear()
            try buffer.append(double: value)
            guard let back = buffer.view.parseDouble(), back.bitPattern == value.bitPattern else {
                Issue.record(
                    "seed \(seed), round \(round): \(value) became \(buffer.view.printable())")
                return
            }
            #expect(buffer.count <= DecimalText.doubleCapacity)
            guard value.isNormal else { continue }
            let digits = significantDigits(buffer.view.printable())
            #expect(digits <= significantDigits("\(value)") + 1, "\(value)")
        }
    }

    @Test func wholeAndShortNumbersComeBack() throws {
        let seed: UInt64 = 21
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<20_000 {
            let whole = Double(Int64(bitPattern: generator.next()) >> 14)
            let short = Double(Int.random(in: -99_999...99_999, using: &generator)) / 1000
            for value in [whole, short] {
                let written = try text(value)
                #expect(Double(written) == value)
                #expect(significantDigits(written) == significantDigits("\(value)"), "\(value)")
            }
        }
    }

    @Test func smallestNumbersComeBack() throws {
        for exponent in 0..<52 {
            let value = Double(bitPattern: 1 << UInt64(exponent))
            #expect(Double(try text(value)) == value)
            #expect(Double(try text(-value)) == -value)
        }
    }

    @Test func parsesNumbersAndNothingElse() {
        for (text, value) in [
            ("1", 1.0), ("-2.5", -2.5), ("1e3", 1000), ("inf", .infinity), ("-inf", -.infinity),
            ("+3", 3), (".5", 0.5), ("0.30000000000000004", 0.1 + 0.2),
        ] {
            #expect(Array(text.utf8).withByteView { $0.parseDouble() } == value, "\(text)")
        }
        for text in ["", "nan", "-nan", "abc", "1x", "1 ", "1,5", "--1", "1\u{0}"] {
            #expect(Array(text.utf8).withByteView { $0.parseDouble() } == nil, "\(text)")
        }
        let long = [UInt8](repeating: UInt8(ascii: "1"), count: 128)
        #expect(long.withByteView { $0.parseDouble() } == nil)
        #expect(Array(long.dropLast()).withByteView { $0.parseDouble() } != nil)
    }

    @Test func countsDigits() {
        for (value, digits) in [
            (0, 1), (9, 1), (10, 2), (-1, 2), (-10, 3), (Int64.max, 19), (Int64.min, 20),
        ] {
            #expect(DecimalText.digitCount(value) == digits)
        }
    }

    @Test func writesLimits() throws {
        var ring = try MirroredRing(capacity: 4096)
        for value in [0, 7, -7, Int64.max, Int64.min] {
            ring.clear()
            ring.append(decimal: value)
            #expect(ring.readable.printable() == "\(value)")
        }
    }

    private func text(_ value: Double) throws -> String {
        var buffer = try RegionBuffer(capacity: 64)
        try buffer.append(double: value)
        return buffer.view.printable()
    }

    private func significantDigits(_ text: String) -> Int {
        let mantissa = text.prefix { $0 != "e" }.filter(\.isNumber)
        let front = mantissa.drop { $0 == "0" }
        let zeros = front.reversed().prefix { $0 == "0" }.count
        return max(1, front.count - zeros)
    }
}

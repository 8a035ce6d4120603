import Bytes
import TestSupport
import Testing

/// A view never reads outside its bytes, and what it reads is what the wire means.
@Suite struct ByteViewTests {
    // MARK: Bounds

    @Test func readsInsideItsBytes() {
        let view: ByteView = "0123456789"
        #expect(view.count == 10)
        #expect(view[0] == UInt8(ascii: "0") && view[9] == UInt8(ascii: "9"))
        #expect(view.slice(3, 4).equals("3456"))
        #expect(view.slice(10, 0).isEmpty)
        #expect(view.dropFirst(8).equals("89"))
        #expect(view.dropFirst(10).isEmpty)
        #expect(ByteView().isEmpty)
        #expect(ByteView().slice(0, 0).isEmpty)
        #expect(ByteView().array() == [])
    }

    @Test func readingBehindTheEndTraps() async {
        await #expect(processExitsWith: .failure) { _ = ByteView("abc")[3] }
        await #expect(processExitsWith: .failure) { _ = ByteView("abc")[-1] }
        await #expect(processExitsWith: .failure) { _ = ByteView()[0] }
    }

    @Test func slicingOutsideTraps() async {
        await #expect(processExitsWith: .failure) { _ = ByteView("abc").slice(2, 2) }
        await #expect(processExitsWith: .failure) { _ = ByteView("abc").slice(-1, 1) }
        await #expect(processExitsWith: .failure) { _ = ByteView("abc").slice(1, -1) }
        await #expect(processExitsWith: .failure) { _ = ByteView("abc").slice(1, .max) }
        await #expect(processExitsWith: .failure) { _ = ByteView("abc").dropFirst(4) }
    }

    @Test func integersBehindTheEndTrap() async {
        await #expect(processExitsWith: .failure) {
            _ = ByteView("abc").little(0, as: UInt32.self)
        }
        await #expect(processExitsWith: .failure) {
            _ = ByteView("abcdefgh").big(1, as: UInt64.self)
        }
    }

    @Test func integersAtAnyAlignment() {
        let bytes: [UInt8] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
        bytes.withByteView { view in
            for offset in 0...8 {
                var little: UInt64 = 0
                var big: UInt64 = 0
                for index in 0..<8 {
                    little |= UInt64(bytes[offset + index]) << UInt64(8 * index)
                    big = big << 8 | UInt64(bytes[offset + index])
                }
                #expect(view.little(offset, as: UInt64.self) == little)
                #expect(view.big(offset, as: UInt64.self) == big)
                #expect(view.little(offset, as: UInt16.self) == UInt16(truncatingIfNeeded: little))
            }
        }
        #expect([UInt8]([0xfe, 0xff]).withByteView { $0.little(0, as: Int16.self) } == -2)
    }

    // MARK: Comparisons

    @Test func comparesBytes() {
        #expect(ByteView("abc").equals("abc"))
        #expect(!ByteView("abc").equals("abd"))
        #expect(!ByteView("abc").equals("ab"))
        #expect(ByteView().equals(""))
        #expect(ByteView("abc").starts(with: "ab"))
        #expect(ByteView("abc").starts(with: ""))
        #expect(!ByteView("ab").starts(with: "abc"))
        #expect(ByteView("PxAt").equalsIgnoringCase("PXAT"))
        #expect(!ByteView("PXA").equalsIgnoringCase("PXAT"))
        // Only letters have a case: these differ in the same bit.
        #expect(!ByteView("{").equalsIgnoringCase("["))
        #expect([UInt8]([0xe1]).withByteView { !$0.equalsIgnoringCase("\u{41}") })
    }

    // MARK: Lines

    @Test func findsTheFirstLineEnd() {
        let view: ByteView = "ab\r\ncd\r\r\n\re\r"
        #expect(view.firstLineEnd(from: 0) == 2)
        #expect(view.firstLineEnd(from: 2) == 2)
        #expect(view.firstLineEnd(from: 3) == 7)
        #expect(view.firstLineEnd(from: 9) == nil)
        #expect(view.firstLineEnd(from: view.count) == nil)
        #expect(ByteView("\r").firstLineEnd(from: 0) == nil)
        #expect(ByteView("\n\r").firstLineEnd(from: 0) == nil)
        #expect(ByteView("\r\n").firstLineEnd(from: 0) == 0)
        #expect(ByteView().firstLineEnd(from: 0) == nil)
    }

    // MARK: Integers as text

    @Test func parsesCanonicalIntegers() {
        let cases: [(String, Int64)] = [
            ("0", 0), ("7", 7), ("-5", -5), ("10", 10), ("1234567890", 1_234_567_890),
            ("9223372036854775807", .max), ("-9223372036854775808", .min),
            ("-9223372036854775807", -.max),
        ]
        for (text, value) in cases {
            #expect(parse(text) == value, "\(text)")
        }
    }

    /// A string that is not the one text of its number must not be taken for the number: it would
    /// come back as another string.
    @Test func refusesEverythingElse() {
        for text in [
            "", "-", "+5", "007", "-0", "00", "-01", " 1", "1 ", "1.0", "1e3", "0x1", "--1", "1-",
            "9223372036854775808", "-9223372036854775809", "99999999999999999999",
            "18446744073709551616", "123456789012345678901", "1\u{0}", "/", ":", "१",
        ] {
            #expect(parse(text) == nil, "\(text)")
        }
    }

    @Test func parsesWhatIsWritten() throws {
        let seed: UInt64 = 71
        var generator = SeededGenerator(seed: seed)
        var buffer = try RegionBuffer(capacity: 64)
        for round in 0..<20_000 {
            // All magnitudes equally often.
            let word =
                Int64(bitPattern: generator.next()) >> Int64.random(in: 0...63, using: &generator)
            buffer.clear()
            try buffer.append(decimal: word)
            #expect(buffer.view.parseInteger() == word, "seed \(seed), round \(round)")
            #expect(buffer.count == DecimalText.digitCount(word))
        }
    }

    private func parse(_ text: String) -> Int64? {
        Array(text.utf8).withByteView { $0.parseInteger() }
    }

    // MARK: Text for messages

    @Test func printsForeignBytesVisibly() {
        #expect(ByteView("key:1 ~").printable() == "key:1 ~")
        #expect(ByteView("a\\b").printable() == "a\\x5cb")
        #expect(
            [UInt8]([0, 0x1f, 0x7f, 0xff, 10]).withByteView { $0.printable() }
                == "\\x00\\x1f\\x7f\\xff\\x0a")
        #expect(ByteView("abcdef").printable(limit: 4) == "abcd... (6 bytes)")
        #expect(ByteView("abcd").printable(limit: 4) == "abcd")
    }

    /// An escape sequence in a key must not reach the operator's terminal.
    @Test func printsNoControlCharacters() {
        let all = (0...255).map { UInt8($0) }
        let text = all.withByteView { $0.printable(limit: 1000) }
        #expect(text.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7f })
    }

    // MARK: Arrays

    @Test func arraysComeBack() {
        #expect([UInt8]([1, 2, 3]).withByteView { $0.array() } == [1, 2, 3])
        #expect([UInt8]().withByteView { $0.count } == 0)
        #expect(throws: SystemError.timedOut) {
            try [UInt8]([1]).withByteView { _ throws(SystemError) in throw .timedOut }
        }
    }
}

import Bytes
import Testing

@testable import DragonflySimulator

private func encoded(
    _ body: (inout RegionBuffer) throws -> Void
) throws -> [UInt8] {
    var buffer = try RegionBuffer()
    try body(&buffer)
    return buffer.view.array()
}

private func hex(_ text: String) -> [UInt8] {
    text.split(separator: " ").compactMap { UInt8($0, radix: 16) }
}

extension RegionBuffer {
    fileprivate mutating func appendListpack(_ elements: [[UInt8]]) throws {
        var inner = try RegionBuffer()
        for element in elements {
            try element.withByteView { (view) throws(SystemError) in
                try inner.append(listpackElement: view)
            }
        }
        try append(listpack: inner.view, count: elements.count)
    }
}

/// The encoder's building blocks against bytes that a real server sent (protocol.md 11.1, 11.2).
@Suite struct EncodingTests {
    @Test(arguments: [
        (0, "00"), (63, "3F"), (64, "40 40"), (16383, "7F FF"), (16384, "80 00 00 40 00"),
        (0xffff_ffff, "80 FF FF FF FF"), (0x1_0000_0000, "81 00 00 00 01 00 00 00 00"),
    ])
    func lengths(_ value: Int, _ expected: String) throws {
        #expect(try encoded { try $0.append(length: value) } == hex(expected))
    }

    @Test(arguments: [
        ("-5", "C0 FB"), ("1000", "C1 E8 03"), ("100000", "C2 A0 86 01 00"),
        ("4294967296", "0A 34 32 39 34 39 36 37 32 39 36"), ("007", "03 30 30 37"), ("", "00"),
    ])
    func strings(_ text: String, _ expected: String) throws {
        let actual = try encoded { buffer in
            try bytes(text).withByteView { (view) throws(SystemError) in
                try buffer.append(string: view)
            }
        }
        #expect(actual == hex(expected))
    }

    /// The listpacks of RPUSH l a 12 bb, HSET h f v n 12, ZADD z 1 a 2.5 b, ZADD zinf.
    @Test(arguments: [
        (["a", "12", "bb"], "10 10 00 00 00 03 00 81 61 02 0C 01 82 62 62 03 FF"),
        (["f", "v", "n", "12"], "12 12 00 00 00 04 00 81 66 02 81 76 02 81 6E 02 0C 01 FF"),
        (
            ["a", "1", "b", "2.5"],
            "14 14 00 00 00 04 00 81 61 02 01 01 81 62 02 83 32 2E 35 04 FF"
        ),
        (
            ["a", "-inf", "b", "inf"],
            "18 18 00 00 00 04 00 81 61 02 84 2D 69 6E 66 05 81 62 02 83 69 6E 66 04 FF"
        ),
    ])
    func listpacks(_ elements: [String], _ expected: String) throws {
        let actual = try encoded { try $0.appendListpack(elements.map(bytes)) }
        #expect(actual == hex(expected))
    }

    /// HSET hbig f <200 y>: a 12-bit string length and a back-length of two bytes.
    @Test func longListpackElement() throws {
        let value = [UInt8](repeating: 0x79, count: 200)
        let actual = try encoded { try $0.appendListpack([bytes("f"), value]) }
        let expected = hex("40 D6 D6 00 00 00 02 00 81 66 02 E0 C8") + value + hex("01 CA FF")
        #expect(actual == expected)
    }

    /// Every integer width of a listpack at its limits, and element sizes at those of the
    /// back-length, come back through the test's own decoder.
    @Test func listpackLimits() throws {
        let limits: [Int64] = [
            0, 127, 128, -1, 4095, 4096, -4096, -4097, 0x7fff, 0x8000, -0x8000, -0x8001, 0x7f_ffff,
            0x80_0000, -0x80_0000, -0x80_0001, 0x7fff_ffff, 0x8000_0000, -0x8000_0000,
            -0x8000_0001, .max, .min,
        ]
        let sizes = [0, 63, 64, 125, 126, 4095, 4096, 16377, 16378, 70_000]
        let elements =
            limits.map { bytes(String($0)) } + sizes.map { [UInt8](repeating: 0x7a, count: $0) }
        let string = try encoded { try $0.appendListpack(elements) }
        var reader = Reader(string)
        #expect(try SnapshotDecoder.listpack(try reader.string()) == elements)
    }

    /// Digits made by arithmetic equal those made by the library.
    @Test func hexDigits() {
        for value: UInt32 in [0, 1, 9, 10, 15, 16, 0x1234_5678, 0x9abc_def0, .max] {
            let plain = String(value, radix: 16)
            let expected = String(repeating: "0", count: 8 - plain.count) + plain
            #expect(HexDigits.array(value) == bytes(expected))
        }
    }

    /// Keys go to the shards of protocol.md 7.4.
    @Test func shards() {
        let rows: [(key: String, moduli: [Int])] = [
            ("", [1, 0, 1, 1, 1]), ("a", [1, 0, 3, 3, 3]), ("foo", [1, 1, 1, 5, 13]),
            ("key:0", [0, 2, 0, 0, 0]), ("user:1000", [0, 2, 2, 2, 2]),
            ("{tag}x", [0, 2, 0, 4, 4]), ("tag", [0, 1, 0, 0, 0]),
            (String(repeating: "x", count: 40), [0, 0, 0, 0, 8]),
        ]
        for row in rows {
            let actual = [2, 3, 4, 8, 16].map { shard(of: bytes(row.key), flowCount: $0) }
            #expect(actual == row.moduli, "\(row.key)")
        }
    }

    @Test func parsesManifests() throws {
        let text = #" {"a": [1, -2, {"b": "x\n\u0041\""}], "c": null, "d": true, "e": {}} "#
        let value = try JSONReader.read(Array(text.utf8))
        #expect(value["a"]?.array?[1].integer == -2)
        #expect(value["a"]?.array?[2]["b"]?.string == "x\nA\"")
        #expect(value["e"] == .object([:]))
        for broken in ["", "{", "[1,]", "{\"a\" 1}", "\"a", "1 2", "tru", "\"\\u12\""] {
            #expect(throws: JSONReader.Failure.self) { try JSONReader.read(Array(broken.utf8)) }
        }
        let deep = String(repeating: "[", count: 100_000)
        #expect(throws: JSONReader.Failure.self) { try JSONReader.read(Array(deep.utf8)) }
    }

    /// Requests cut at every byte are incomplete, never wrong; malformed ones are refused.
    @Test func parsesCommands() {
        let words = ["DFLY", "FLOW", "x"]
        for request in ["DFLY FLOW x\r\n", "*3\r\n$4\r\nDFLY\r\n$4\r\nFLOW\r\n$1\r\nx\r\n"] {
            let all = bytes(request)
            for size in 0..<all.count {
                let part = Array(all.prefix(size)).withByteView { CommandReader.parse($0) }
                #expect(part == .incomplete)
            }
            let whole = (all + bytes("PING")).withByteView { CommandReader.parse($0) }
            #expect(whole == .command(words: words.map { bytes($0) }, size: all.count))
        }
        for broken in ["*x\r\n", "*1\r\n+a\r\n", "*1\r\n$-1\r\n", "*9999999\r\n"] {
            let parsed = bytes(broken).withByteView { CommandReader.parse($0) }
            guard case .malformed = parsed else {
                Issue.record("\(broken) is taken for a command")
                continue
            }
        }
    }
}

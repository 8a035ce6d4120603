import Bytes
import DragonflySource
import Testing

/// Promise: replies are read exactly, cut anywhere, and nothing from outside costs more than its
/// bytes.
@Suite struct HandshakeReplyTests {
    static let valid: [String] = [
        "+OK\r\n", "-ERR syncid not found\r\n", ":12\r\n", ":-3\r\n", "$0\r\n\r\n",
        "$5\r\na\r\nbc\r\n", "$-1\r\n", "*-1\r\n", "*0\r\n",
        "*2\r\n+FULL\r\n+b4d0513585dc458bb55ccd71752f07f5ebce4911\r\n",
        "*5\r\n+4934\r\n+SYNC1\r\n:1\r\n:5\r\n$2\r\nxy\r\n",
    ]

    @Test(arguments: valid)
    func everyCutIsIncompleteAndTheSizeIsExact(_ text: String) {
        let bytes = Array(text.utf8)
        for end in 0..<bytes.count {
            let isIncomplete = Array(bytes[0..<end]).withByteView { view in
                if case .incomplete = HandshakeReply.parse(view) { return true }
                return false
            }
            #expect(isIncomplete, "cut at \(end)")
        }
        for rest in ["", "R", "REDIS0009\r\n+OK\r\n"] {
            let size = (bytes + Array(rest.utf8)).withByteView { view -> Int? in
                if case .reply(_, let size) = HandshakeReply.parse(view) { return size }
                return nil
            }
            #expect(size == bytes.count)
        }
    }

    @Test(arguments: [
        "R", "HTTP/1.1 400 Bad Request\r\n", ":x\r\n", ":\r\n", ":99999999999999999999\r\n",
        "$x\r\n", "$-2\r\n", "$16385\r\n", "$9223372036854775807\r\n", "$1\r\nab\r\n", "*65\r\n",
        "*-2\r\n", "*9223372036854775807\r\n", "*1\r\n*0\r\n", "*2\r\n+a\r\n_\r\n", "\u{16}\u{3}",
    ])
    func garbageIsMalformed(_ text: String) {
        Array(text.utf8).withByteView { view in
            guard case .malformed = HandshakeReply.parse(view) else {
                Issue.record("read \(text)")
                return
            }
        }
    }

    @Test func aLineWithoutEndIsMalformedAtTheLimit() {
        for (size, expected) in [(16383, false), (16384, true), (1 << 20, true)] {
            let bytes = [UInt8(ascii: "+")] + [UInt8](repeating: 97, count: size - 1)
            let isMalformed = bytes.withByteView { view in
                if case .malformed = HandshakeReply.parse(view) { return true }
                return false
            }
            #expect(isMalformed == expected)
        }
    }

    @Test func valuesAreThoseOfTheWire() {
        Array("*4\r\n+a b\r\n-ERR\r\n:-7\r\n$3\r\n\r\n\0\r\n".utf8).withByteView { view in
            guard case .reply(.array(let elements), _) = HandshakeReply.parse(view),
                elements.count == 4, case .simple(let simple) = elements[0],
                case .error(let error) = elements[1], case .integer(-7) = elements[2],
                case .bulk(let bulk) = elements[3]
            else {
                Issue.record("misread")
                return
            }
            #expect(simple.equals(ByteView("a b")))
            #expect(error.equals(ByteView("ERR")))
            #expect(bulk.array() == [13, 10, 0])
        }
    }

    /// Random bytes and mutations of valid replies: never a crash, never a size beyond the input.
    @Test func noiseIsHarmless() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<50_000 {
            var bytes = Array((Self.valid.randomElement(using: &generator) ?? "").utf8)
            for _ in 0..<Int.random(in: 0...3, using: &generator) where !bytes.isEmpty {
                let index = bytes.indices.randomElement(using: &generator) ?? 0
                bytes[index] = UInt8.random(in: 0...255, using: &generator)
            }
            bytes.withByteView { view in
                if case .reply(_, let size) = HandshakeReply.parse(view) {
                    #expect(size > 0 && size <= view.count, "seed \(seed)")
                }
            }
        }
    }
}

/// Promise: only releases that are known to resume are asked to (protocol.md 8.1).
@Suite struct SourceReleaseTests {
    private func release(_ text: String) -> SourceRelease? {
        Array(text.utf8).withByteView { SourceRelease($0) }
    }

    @Test func releasesAreRead() {
        #expect(
            release("df-v1.40.0-87-gf8eca6d0b")
                == SourceRelease(major: 1, minor: 40, isExact: false))
        #expect(release("df-v1.20.1") == SourceRelease(major: 1, minor: 20, patch: 1))
        #expect(release("v1.35") == SourceRelease(major: 1, minor: 35))
        #expect(release("df-v1.35.0-rc1")?.isExact == false)
        for text in [
            "", "df-", "df-v", "df-v1", "df-v1.", "df-vx.1.2", "df-dev", "1.40.0", "df-v1.99999.0",
            "df-v01.4.0",
        ] {
            #expect(release(text) == nil, "\(text)")
        }
    }

    @Test func theTableOfPartialSync() {
        func table(_ minors: ClosedRange<Int>, exact: Bool = true) -> Set<SourceRelease.PartialSync>
        {
            Set(
                minors.map {
                    SourceRelease(major: 1, minor: $0, patch: 1, isExact: exact).partialSync
                })
        }
        #expect(table(0...10) == [.unsupported])
        #expect(table(11...20) == [.snapshotOfJournal])
        #expect(table(21...30) == [.unsupported])
        #expect(table(31...34) == [.snapshotOfJournal])
        #expect(table(35...60) == [.straightToStable])
        #expect(SourceRelease(major: 2, minor: 0).partialSync == .straightToStable)
        #expect(SourceRelease(major: 0, minor: 40).partialSync == .unsupported)
        // A build after v1.34.0 may behave like v1.34 or like v1.35.
        #expect(table(0...35, exact: false) == [.unsupported])
        #expect(table(36...60, exact: false) == [.straightToStable])
    }
}

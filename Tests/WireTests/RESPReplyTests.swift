import Bytes
import TestSupport
import Testing

@testable import Wire

/// Replies are told apart whatever they hold and however they arrive: one reply taken for two, or two
/// for one, would settle the wrong records.
@Suite struct RESPReplyTests {
    struct Reply: Equatable, Sendable {
        var kind: RESPReply.Kind
        var content = ""
        /// Text of the first error inside, nil if there is none.
        var error: String?
    }

    /// Encoded replies and what they are.
    static let replies: [(String, Reply)] = [
        ("+OK\r\n", Reply(kind: .simple, content: "OK")),
        ("+QUEUED\r\n", Reply(kind: .simple, content: "QUEUED")),
        ("+\r\n", Reply(kind: .simple)),
        ("+O\rK\n\r\n", Reply(kind: .simple, content: "O\\x0dK\\x0a")),
        ("-ERR no\r\n", Reply(kind: .error, content: "ERR no", error: "ERR no")),
        ("-\r\n", Reply(kind: .error, content: "", error: "")),
        (":0\r\n", Reply(kind: .integer, content: "0")),
        (":-9223372036854775808\r\n", Reply(kind: .integer, content: "-9223372036854775808")),
        ("$0\r\n\r\n", Reply(kind: .bulk)),
        ("$5\r\nhello\r\n", Reply(kind: .bulk, content: "hello")),
        ("$8\r\n\r\n+OK\r\n-\r\n", Reply(kind: .bulk, content: "\\x0d\\x0a+OK\\x0d\\x0a-")),
        ("$-1\r\n", Reply(kind: .null)),
        ("*-1\r\n", Reply(kind: .null)),
        ("*0\r\n", Reply(kind: .array)),
        ("*1\r\n+OK\r\n", Reply(kind: .array)),
        ("*3\r\n:1\r\n$1\r\nx\r\n$-1\r\n", Reply(kind: .array)),
        ("*2\r\n*2\r\n:1\r\n*0\r\n*-1\r\n", Reply(kind: .array)),
        ("*3\r\n+OK\r\n-WRONGTYPE a\r\n-ERR b\r\n", Reply(kind: .array, error: "WRONGTYPE a")),
        ("*2\r\n*1\r\n*1\r\n-ERR deep\r\n:1\r\n", Reply(kind: .array, error: "ERR deep")),
        ("*1\r\n$4\r\n-ERR\r\n", Reply(kind: .array)),
    ]

    /// Feeds bytes to a scanner as they arrive, as a connection does.
    final class Feed {
        private var scanner: RESPReplyScanner
        private var pending: [UInt8] = []

        init(wholeBulkBytes: Int = 1 << 10) throws {
            scanner = try RESPReplyScanner(wholeBulkBytes: wholeBulkBytes)
        }

        var bytesHeld: Int { pending.count }

        func reset() {
            scanner.reset()
            pending = []
        }

        func push(_ bytes: some Sequence<UInt8>) throws -> [Reply] {
            pending += bytes
            var found: [Reply] = []
            while true {
                var position = 0
                let reply: Reply? = try pending.withByteView { view throws(RESPError) in
                    guard let reply = try scanner.next(view, at: &position) else { return nil }
                    return Reply(
                        kind: reply.kind, content: reply.content.printable(limit: 1 << 20),
                        error: reply.hasError ? scanner.lastError.printable() : nil)
                }
                pending.removeFirst(position)
                guard let reply else { return found }
                found.append(reply)
            }
        }
    }

    private static let stream = replies.flatMap { Array($0.0.utf8) }
    private static let expected = replies.map(\.1)

    @Test func everyKind() throws {
        for (text, expected) in Self.replies {
            let feed = try Feed()
            #expect(try feed.push(text.utf8) == [expected], "\(text)")
            #expect(feed.bytesHeld == 0)
        }
    }

    @Test func manyAtOnce() throws {
        #expect(try Feed().push(Self.stream) == Self.expected)
    }

    @Test func everySplitPoint() throws {
        for cut in 0...Self.stream.count {
            let feed = try Feed()
            let found = try feed.push(Self.stream[..<cut]) + feed.push(Self.stream[cut...])
            #expect(found == Self.expected, "cut at \(cut)")
        }
    }

    @Test func byteByByte() throws {
        let feed = try Feed()
        var found: [Reply] = []
        for byte in Self.stream { found += try feed.push([byte]) }
        #expect(found == Self.expected)
    }

    @Test func randomPiecesAndOrder() throws {
        let seed: UInt64 = 51
        var generator = SeededGenerator(seed: seed)
        for round in 0..<200 {
            let chosen = (0..<50).map { _ in Self.replies.randomElement(using: &generator)! }
            let bytes = chosen.flatMap { Array($0.0.utf8) }
            let feed = try Feed()
            var found: [Reply] = []
            var position = 0
            while position < bytes.count {
                let size = min(bytes.count - position, Int.random(in: 1...40, using: &generator))
                found += try feed.push(bytes[position..<position + size])
                position += size
            }
            #expect(found == chosen.map(\.1), "seed \(seed), round \(round)")
        }
    }

    // MARK: Large replies

    /// The text of INFO must be there whole, in however many segments it came.
    @Test func bulkBelowTheLimitComesWhole() throws {
        let text = String(repeating: "redis_version:7.0.15 ", count: 40)
        let bytes = Array("+OK\r\n$\(text.utf8.count)\r\n\(text)\r\n:1\r\n".utf8)
        for cut in 0...bytes.count {
            let feed = try Feed(wholeBulkBytes: text.utf8.count)
            let found = try feed.push(bytes[..<cut]) + feed.push(bytes[cut...])
            #expect(
                found == [
                    Reply(kind: .simple, content: "OK"), Reply(kind: .bulk, content: text),
                    Reply(kind: .integer, content: "1"),
                ], "cut at \(cut)")
        }
    }

    /// A value that comes back from the target passes by without being held.
    @Test func bulkAboveTheLimitPassesBy() throws {
        let feed = try Feed(wholeBulkBytes: 100)
        var found = try feed.push("$3000000\r\n".utf8)
        for _ in 0..<3000 {
            found += try feed.push([UInt8](repeating: UInt8(ascii: "\n"), count: 1000))
            #expect(feed.bytesHeld == 0)
        }
        #expect(found == [])
        #expect(try feed.push("\r".utf8) == [])
        #expect(
            try feed.push("\n+OK\r\n".utf8) == [
                Reply(kind: .bulk), Reply(kind: .simple, content: "OK"),
            ])
    }

    @Test func bulkInsideAnArrayPassesBy() throws {
        let feed = try Feed()
        var found = try feed.push("*2\r\n$500\r\n".utf8)
        for _ in 0..<500 {
            found += try feed.push([0])
            #expect(feed.bytesHeld == 0)
        }
        found += try feed.push("\r\n-ERR x\r\n".utf8)
        #expect(found == [Reply(kind: .array, error: "ERR x")])
    }

    @Test func linesUpToTheLimit() throws {
        let text = String(repeating: "x", count: RESPReplyScanner.lineLimit - 1)
        #expect(try Feed().push("-\(text)\r\n".utf8).first?.error != nil)
        #expect(throws: RESPError.self) { try Feed().push("-x\(text)\r\n".utf8) }
        // Without its end in sight it is refused, too, before it grows further.
        #expect(throws: RESPError.self) { try Feed().push("-xx\(text)".utf8) }
    }

    // MARK: What is no reply

    @Test func garbageIsRefused() throws {
        for text in [
            "\r\n", "OK\r\n", "HTTP/1.1 400 Bad Request\r\n", "$\r\n", "$+5\r\n", "$-2\r\n",
            "$05\r\n", "$5x\r\n", "*\r\n", "*-2\r\n", "*1x\r\n", "*1\r\n\r\n", "*1\r\nOK\r\n",
            "%1\r\n", "_\r\n", "#t\r\n", ",1.5\r\n", "\u{0}\r\n",
        ] {
            #expect(throws: RESPError.self, "\(text)") { try Feed().push(text.utf8) }
        }
    }

    @Test func bulkWithoutItsEndIsRefused() throws {
        #expect(throws: RESPError.self) { try Feed().push("$2\r\nabcd".utf8) }
        #expect(throws: RESPError.self) { try Feed().push("*1\r\n$2\r\nabcd".utf8) }
        #expect(throws: RESPError.self) {
            try Feed(wholeBulkBytes: 0).push("$6\r\nabcdefgh".utf8)
        }
    }

    /// Sizes that no reply can have overflow nothing.
    @Test func hostileSizesAreRefused() throws {
        for text in [
            "$9223372036854775807\r\n", "$9223372036854775808\r\n", "$1099511627777\r\n",
            "*9223372036854775807\r\n", "*1099511627777\r\n", "*-9223372036854775808\r\n",
            "$99999999999999999999999999\r\n", "*2\r\n*1099511627776\r\n",
        ] {
            #expect(throws: RESPError.self, "\(text)") { try Feed().push(text.utf8) }
        }
        let nested = String(repeating: "*1099511627776\r\n", count: 3)
        #expect(throws: RESPError.self) { try Feed().push(nested.utf8) }
    }

    @Test func resetForgetsAReplyInProgress() throws {
        for text in ["*3\r\n-ERR x\r\n", "$100\r\nabc", "*2\r\n*2\r\n$7\r\nab", "+O"] {
            let feed = try Feed(wholeBulkBytes: 0)
            #expect(try feed.push(text.utf8) == [])
            feed.reset()
            #expect(
                try feed.push("+OK\r\n:1\r\n+yes\r\n".utf8) == [
                    Reply(kind: .simple, content: "OK"), Reply(kind: .integer, content: "1"),
                    Reply(kind: .simple, content: "yes"),
                ], "\(text)")
        }
    }

    @Test func anyBytesAreSurvived() throws {
        let seed: UInt64 = 52
        var generator = SeededGenerator(seed: seed)
        let alphabet = Array("+-:$*01239\r\n\r\nOKx".utf8)
        for _ in 0..<20_000 {
            let count = Int.random(in: 0...60, using: &generator)
            let bytes = (0..<count).map { _ in alphabet.randomElement(using: &generator)! }
            let whole = try? Feed().push(bytes)
            // However it is cut, the same replies come of it.
            let cut = Int.random(in: 0...count, using: &generator)
            let feed = try Feed()
            let parts = try? feed.push(bytes[..<cut]) + feed.push(bytes[cut...])
            #expect(whole == parts, "seed \(seed), \(bytes)")
        }
    }
}

/// The reader of our own commands: it names keys in messages.
@Suite struct RESPArgumentsTests {
    @Test func readsBackACommand() throws {
        let command: ByteView = "*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\na\r\nb\r\n"
        var arguments = try #require(RESPArguments(command))
        #expect(arguments.remaining == 3)
        #expect(arguments.next()?.printable() == "SET")
        #expect(arguments.next()?.printable() == "")
        #expect(arguments.next()?.printable() == "a\\x0d\\x0ab")
        #expect(arguments.remaining == 0)
        #expect(arguments.next() == nil)
    }

    @Test func cutOrForeignBytesEndIt() throws {
        #expect(RESPArguments("") == nil)
        #expect(RESPArguments("SET a b\r\n") == nil)
        #expect(RESPArguments("*-1\r\n") == nil)
        #expect(RESPArguments("*2") == nil)
        for text: StaticString in [
            "*2\r\n", "*2\r\n$3\r\nSE", "*2\r\n$3\r\nSET", "*2\r\n:3\r\n", "*2\r\n$-1\r\n",
            "*2\r\n$9223372036854775807\r\nx\r\n",
        ] {
            var arguments = try #require(RESPArguments(ByteView(text)))
            #expect(arguments.next() == nil, "\(text)")
        }
    }
}

import Bytes
import TestSupport
import Testing

@testable import Wire

/// The pieces of a reply are the same however it arrives, and a reply of any size passes through a
/// small ring.
@Suite struct RESPTokenizerTests {
    /// What a reply is made of; the pieces of a bulk are put together.
    enum Piece: Equatable, Sendable {
        case array(Int)
        case null
        case integer(Int64)
        case simple([UInt8])
        case error([UInt8])
        case bulk([UInt8])

        static func simple(_ text: String) -> Piece { .simple(Array(text.utf8)) }
        static func error(_ text: String) -> Piece { .error(Array(text.utf8)) }
        static func bulk(_ text: String) -> Piece { .bulk(Array(text.utf8)) }

        var encoded: [UInt8] {
            switch self {
            case .array(let count): Array("*\(count)\r\n".utf8)
            case .null: Array("$-1\r\n".utf8)
            case .integer(let value): Array(":\(value)\r\n".utf8)
            case .simple(let text): Array("+".utf8) + text + [13, 10]
            case .error(let text): Array("-".utf8) + text + [13, 10]
            case .bulk(let bytes): Array("$\(bytes.count)\r\n".utf8) + bytes + [13, 10]
            }
        }
    }

    /// Feeds bytes to a tokenizer through a ring, as a connection does.
    struct Feed: ~Copyable {
        private var tokenizer = RESPTokenizer()
        private var ring: MirroredRing
        /// Size and bytes so far of the bulk that is arriving.
        private var size: Int?
        private var body: [UInt8] = []
        private(set) var pieces: [Piece] = []

        init(ringBytes: Int = 128 << 10) throws { ring = try MirroredRing(capacity: ringBytes) }

        var held: Int { ring.count }
        var isInsideBulk: Bool { size != nil }

        mutating func push(_ bytes: some Sequence<UInt8>) throws {
            var rest = Array(bytes)[...]
            repeat {
                let count = min(rest.count, ring.free)
                Array(rest.prefix(count)).withByteView { ring.append($0) }
                rest = rest.dropFirst(count)
                let before = ring.count
                try take()
                if !rest.isEmpty, ring.count == before {
                    throw TestSupportError("a full ring of \(before) bytes does not move on")
                }
            } while !rest.isEmpty
        }

        private mutating func take() throws {
            while true {
                var position = 0
                let token = try tokenizer.next(ring.readable, at: &position)
                if case .needMore = token {
                    #expect(position == 0)
                    return
                }
                try add(token)
                ring.consume(position)
            }
        }

        private mutating func add(_ token: RESPToken) throws {
            if case .bytes(let bytes, let isLast) = token {
                let size = try #require(size)
                body += bytes.array()
                #expect(isLast ? body.count == size : body.count <= size)
                guard isLast else { return }
                pieces.append(.bulk(body))
                self.size = nil
                return
            }
            #expect(size == nil, "a bulk was not ended")
            switch token {
            case .array(let count): pieces.append(.array(count))
            case .null: pieces.append(.null)
            case .integer(let value): pieces.append(.integer(value))
            case .simple(let text): pieces.append(.simple(text.array()))
            case .error(let text): pieces.append(.error(text.array()))
            case .bulk(let count): (size, body) = (count, [])
            case .bytes, .needMore: break
            }
        }
    }

    private func pieces(of bytes: some Sequence<UInt8>) throws -> [Piece] {
        var feed = try Feed()
        try feed.push(bytes)
        #expect(feed.held == 0 && !feed.isInsideBulk)
        return feed.pieces
    }

    static let samples: [(String, [Piece])] = [
        ("+OK\r\n", [.simple("OK")]), ("+\r\n", [.simple("")]),
        ("+a\rb\nc\r\n", [.simple("a\rb\nc")]),
        ("-ERR no\r\n", [.error("ERR no")]), ("-\r\n", [.error("")]),
        (":0\r\n", [.integer(0)]), (":-9223372036854775808\r\n", [.integer(.min)]),
        (":9223372036854775807\r\n", [.integer(.max)]),
        ("$-1\r\n", [.null]), ("*-1\r\n", [.null]), ("*0\r\n", [.array(0)]),
        ("$0\r\n\r\n", [.bulk("")]), ("$5\r\nhello\r\n", [.bulk("hello")]),
        ("$8\r\n\r\n+OK\r\n-\r\n", [.bulk("\r\n+OK\r\n-")]),
        ("*3\r\n:1\r\n$1\r\nx\r\n$-1\r\n", [.array(3), .integer(1), .bulk("x"), .null]),
        (
            "*2\r\n$1\r\n7\r\n*2\r\n$1\r\na\r\n$0\r\n\r\n",
            [.array(2), .bulk("7"), .array(2), .bulk("a"), .bulk("")]
        ),
        (
            "*3\r\n*1\r\n*1\r\n*0\r\n*-1\r\n-ERR x\r\n",
            [.array(3), .array(1), .array(1), .array(0), .null, .error("ERR x")]
        ),
    ]
    private static let stream = samples.flatMap { Array($0.0.utf8) }
    private static let expected = samples.flatMap { $0.1 }

    @Test func everyShape() throws {
        for (text, expected) in Self.samples {
            #expect(try pieces(of: text.utf8) == expected, "\(text)")
        }
        #expect(try pieces(of: Self.stream) == Self.expected)
    }

    @Test func everySplitPoint() throws {
        for cut in 0...Self.stream.count {
            var feed = try Feed()
            try feed.push(Self.stream[..<cut])
            try feed.push(Self.stream[cut...])
            #expect(feed.pieces == Self.expected, "cut at \(cut)")
        }
    }

    @Test func byteByByte() throws {
        var feed = try Feed()
        for byte in Self.stream { try feed.push([byte]) }
        #expect(feed.pieces == Self.expected && feed.held == 0)
    }

    @Test func aBulkLargerThanTheRingPasses() throws {
        var generator = TestSupport.SeededGenerator(seed: 61)
        let large = generator.bytes(100_000)
        let all: [Piece] = [
            .array(3), .bulk(large), .bulk([]), .bulk(Array(large.prefix(4096))), .simple("OK"),
        ]
        let bytes = all.flatMap(\.encoded)
        // Whatever lies before it, the ring is full at every place of the bulk's end.
        for shift in 0..<20 {
            var feed = try Feed(ringBytes: 4096)
            try feed.push("+\(String(repeating: "x", count: shift))\r\n".utf8)
            try feed.push(bytes)
            #expect(Array(feed.pieces.dropFirst()) == all, "shift \(shift)")
            #expect(feed.held == 0)
        }
    }

    // A body waits for nothing: all but the line end is given out as it comes.
    @Test func nothingOfABodyIsKept() throws {
        var feed = try Feed(ringBytes: 4096)
        try feed.push("$5000\r\n".utf8)
        for _ in 0..<5000 {
            try feed.push([10])
            #expect(feed.held == 0)
        }
        try feed.push([13])
        #expect(feed.pieces == [])
        try feed.push([10])
        #expect(feed.pieces == [.bulk([UInt8](repeating: 10, count: 5000))])
    }

    @Test func randomReplies() throws {
        let seed: UInt64 = 62
        print("seed \(seed)")
        var generator = TestSupport.SeededGenerator(seed: seed)
        for round in 0..<60 {
            let all = (0..<60).map { _ in Self.random(&generator) }
            let bytes = all.flatMap(\.encoded)
            var feed = try Feed(ringBytes: 4096)
            var rest = bytes[...]
            while !rest.isEmpty {
                let count = Int.random(in: 1...(round % 3 == 0 ? 3 : 2000), using: &generator)
                try feed.push(rest.prefix(count))
                rest = rest.dropFirst(count)
            }
            #expect(feed.pieces == all && feed.held == 0, "seed \(seed), round \(round)")
        }
    }

    private static func random(_ generator: inout TestSupport.SeededGenerator) -> Piece {
        let size = Bool.random(using: &generator) ? 8 : 9000
        let count = Int.random(in: 0...size, using: &generator)
        switch Int.random(in: 0..<8, using: &generator) {
        case 0: return .array(count)
        case 1: return .null
        case 2: return .integer(Int64(bitPattern: generator.next()))
        case 3: return .simple(generator.bytes(count % 100).filter { $0 != 13 })
        case 4: return .error(generator.bytes(count % 100).filter { $0 != 13 })
        default: return .bulk(generator.bytes(count, kinds: 20))
        }
    }

    @Test func whatIsNoReplyIsRefused() throws {
        for text in [
            "\r\n", "OK\r\n", "HTTP/1.1 400 Bad Request\r\n", ":\r\n", ":x\r\n", ":1.5\r\n",
            ":9223372036854775808\r\n", "$\r\n", "$+5\r\n", "$-2\r\n", "$05\r\n", "$5x\r\n",
            "*\r\n", "*-2\r\n", "*1x\r\n", "*1\r\n\r\n", "%1\r\n", "_\r\n", "#t\r\n", ",1.5\r\n",
            "$9223372036854775807\r\n", "$1099511627777\r\n", "*1099511627777\r\n",
            "$2\r\nabcd", "$0\r\nab", "*1\r\n$2\r\nab\n\r",
        ] {
            #expect(throws: RESPError.self, "\(text)") { try pieces(of: text.utf8) }
            #expect(throws: RESPError.self, "\(text)") {
                var feed = try Feed()
                for byte in text.utf8 { try feed.push([byte]) }
            }
        }
    }

    // The same line is refused whether its end has arrived or not.
    @Test func aLineHasTheSameLimitHoweverItArrives() throws {
        let longest = "+" + String(repeating: "x", count: RESPReplyScanner.lineLimit - 1)
        #expect(try pieces(of: "\(longest)\r\n".utf8).count == 1)
        for text in ["\(longest)x\r\n", "\(longest)xx"] {
            #expect(throws: RESPError.self) { try pieces(of: text.utf8) }
        }
        var feed = try Feed()
        try feed.push(longest.utf8)
        try feed.push("\r\n".utf8)
        #expect(feed.pieces.count == 1)
    }

    @Test func anyBytesAreSurvivedAndCutAlike() throws {
        let seed: UInt64 = 63
        print("seed \(seed)")
        var generator = TestSupport.SeededGenerator(seed: seed)
        let alphabet = Array("+-:$*01239\r\n\r\nOKx".utf8)
        for _ in 0..<20_000 {
            let count = Int.random(in: 0...60, using: &generator)
            let bytes = (0..<count).map { _ in alphabet[Int(generator.next() % 17)] }
            var whole = try Feed(ringBytes: 4096)
            let isWhole = (try? whole.push(bytes)) != nil
            let cut = Int.random(in: 0...count, using: &generator)
            var parts = try Feed(ringBytes: 4096)
            let isParts =
                (try? parts.push(bytes[..<cut])) != nil && (try? parts.push(bytes[cut...])) != nil
            #expect(isWhole == isParts, "seed \(seed), \(bytes)")
            #expect(whole.pieces == parts.pieces, "seed \(seed), \(bytes)")
        }
    }
}

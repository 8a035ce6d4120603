import Bytes
import TestSupport
import Testing

@testable import RedisTarget

/// A command on the wire tells which keys it is for, and whether it may be sent twice.
@Suite struct EncodedCommandTests {
    private static func encoded(_ words: [String]) -> [UInt8] {
        words.reduce(into: Array("*\(words.count)\r\n".utf8)) {
            $0 += Array("$\($1.utf8.count)\r\n\($1)\r\n".utf8)
        }
    }

    private static func words(_ text: String) -> [String] {
        text.split(separator: " ").map(String.init)
    }

    private func withCommand<Result>(
        _ text: String, database: Int = 0, _ body: (EncodedCommand) -> Result
    ) -> Result {
        Self.encoded(Self.words(text)).withByteView {
            body(EncodedCommand($0, database: database))
        }
    }

    /// Each key behind the number of its database.
    private func keys(_ text: String, database: Int = 0) -> [String] {
        withCommand(text, database: database) { command in
            var keys: [String] = []
            command.forEachKey { keys.append("\($0):\($1.printable())") }
            #expect(command.key?.printable() == keys.first.map { String($0.dropFirst(2)) })
            return keys
        }
    }

    // MARK: Keys

    /// One of each shape (protocol.md 6.13) and its keys.
    private static let shapes: [(String, [String])] = [
        ("SET k v", ["k"]), ("hset k f v", ["k"]), ("ZADD k 1 m 2 n", ["k"]),
        ("PEXPIREAT k 1", ["k"]), ("XADD k * f v", ["k"]), ("RESTORE k 0 bytes", ["k"]),
        ("XGROUP CREATE k g $ MKSTREAM", ["k"]), ("xgroup DESTROY k g", ["k"]),
        ("RENAME a b", ["a", "b"]), ("RENAMENX a b", ["a", "b"]), ("RPOPLPUSH a b", ["a", "b"]),
        ("LMOVE a b LEFT RIGHT", ["a", "b"]), ("SMOVE a b m", ["a", "b"]),
        ("ZRANGESTORE a b 0 -1", ["a", "b"]),
        ("DEL a", ["a"]), ("DEL a b c", ["a", "b", "c"]), ("UNLINK a b", ["a", "b"]),
        ("MSET a 1", ["a"]), ("mset a 1 b 2 c 3", ["a", "b", "c"]),
        ("LMPOP 2 a b LEFT COUNT 3", ["a", "b"]), ("ZMPOP 1 a MIN", ["a"]),
        ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", ["d", "a", "b"]),
        ("ZINTERSTORE d 1 a", ["d", "a"]), ("ZDIFFSTORE d 3 a b c", ["d", "a", "b", "c"]),
        ("EVAL script 2 a b c d", ["a", "b"]), ("EVAL script 0 a", []),
    ]

    @Test func keysOfEachShape() {
        for (command, expected) in Self.shapes {
            #expect(keys(command, database: 3) == expected.map { "3:\($0)" }, "\(command)")
        }
        #expect(keys("PING").isEmpty && keys("EXEC").isEmpty && keys("MULTI").isEmpty)
        #expect(keys("HEARD-OF-NEVER k v") == ["0:k"])
    }

    /// MOVE names its key in both databases.
    @Test func aMoveIsInTwoDatabases() {
        #expect(keys("MOVE k 5", database: 2) == ["2:k", "5:k"])
        #expect(keys("MOVE k here", database: 2) == ["2:k"])
        #expect(keys("MOVE").isEmpty)
    }

    /// A real server finds the same keys.
    @Test func aServerAgrees() throws {
        let server = try RedisServer()
        let client = try server.client()
        for (command, expected) in Self.shapes {
            let reply = try client.command(
                (["COMMAND", "GETKEYS"] + Self.words(command)).map { Array($0.utf8) })
            guard !expected.isEmpty else {
                #expect((reply.elements ?? []).isEmpty, "\(command)")
                continue
            }
            // Its order is its own.
            let found = (reply.elements ?? []).compactMap(\.text)
            #expect(found.sorted() == expected.sorted(), "\(command)")
        }
    }

    /// A number of keys that is none, or too large, takes what is there and no more.
    @Test func wrongNumbersAreNoHarm() {
        #expect(keys("LMPOP x a LEFT").isEmpty && keys("LMPOP -1 a LEFT").isEmpty)
        #expect(keys("EVAL script 5 a b") == ["0:a", "0:b"])
        #expect(keys("EVAL script 99999999999999999999 a").isEmpty)
        #expect(keys("ZUNIONSTORE d") == ["0:d"] && keys("ZUNIONSTORE d 2 a") == ["0:d", "0:a"])
        #expect(keys("MSET a 1 b") == ["0:a", "0:b"] && keys("RENAME a") == ["0:a"])
        #expect(keys("XGROUP CREATE").isEmpty && keys("LMPOP").isEmpty && keys("EVAL").isEmpty)
    }

    /// What was cut off in the ring names what is there.
    @Test func partsOfACommandAreNoHarm() {
        let bytes = Self.encoded(["MSET", "a", "1", "bc", "2"])
        for size in 0...bytes.count {
            Array(bytes[..<size]).withByteView { view in
                let command = EncodedCommand(view, database: 0)
                var keys: [String] = []
                command.forEachKey { keys.append($1.printable()) }
                #expect(["a", "bc"].starts(with: keys), "cut at \(size)")
                #expect(["", "MSET"].contains(command.name.printable()))
            }
        }
        let none = EncodedCommand(ByteView(), database: 0)
        #expect(none.name.isEmpty && none.key == nil && !none.isIdempotent)
    }

    /// Names and keys may be any bytes.
    @Test func anyBytesAreAKey() {
        let key: [UInt8] = [0, 13, 10, 36, 255]
        let bytes =
            Array("*3\r\n$3\r\nSET\r\n$5\r\n".utf8) + key + Array("\r\n$0\r\n\r\n".utf8)
        bytes.withByteView { view in
            let command = EncodedCommand(view, database: 0)
            #expect(command.key?.array() == key && command.name.equals("SET"))
        }
    }

    @Test func aSharedKeyIsFound() {
        func shares(_ left: String, _ right: String, databases: (Int, Int) = (0, 0)) -> Bool {
            withCommand(left, database: databases.0) { left in
                withCommand(right, database: databases.1) { right in
                    #expect(left.sharesKey(with: right) == right.sharesKey(with: left))
                    return left.sharesKey(with: right)
                }
            }
        }
        #expect(shares("SET k v", "APPEND k w") && !shares("SET k v", "SET v k"))
        #expect(shares("MSET a 1 b 2", "DEL c b") && !shares("MSET a 1 b 2", "DEL 1 2"))
        #expect(shares("RENAME a b", "INCR b") && !shares("PING", "PING"))
        #expect(!shares("SET k v", "SET k v", databases: (0, 1)))
        #expect(shares("MOVE k 1", "SET k v", databases: (0, 1)))
    }

    // MARK: Twice

    private static let repeatable = [
        "SET", "MSET", "RESTORE", "DEL", "UNLINK", "HSET", "HMSET", "SADD", "PEXPIREAT",
        "HPEXPIREAT", "PERSIST", "SETBIT", "SETRANGE", "EXISTS",
    ]

    private static let unrepeatable = [
        "INCR", "DECR", "INCRBY", "DECRBY", "INCRBYFLOAT", "APPEND", "SETNX", "GETSET", "BITFIELD",
        "LPUSH", "RPUSH", "LPUSHX", "RPUSHX", "LPOP", "RPOP", "LMPOP", "LMOVE", "RPOPLPUSH",
        "LINSERT", "LREM", "LTRIM", "SMOVE", "SPOP", "ZINCRBY", "ZPOPMIN", "ZPOPMAX", "ZMPOP",
        "ZUNIONSTORE", "ZRANGESTORE", "HINCRBY", "HINCRBYFLOAT", "HSETNX", "XADD", "XGROUP",
        "XCLAIM", "EVAL", "RENAME", "RENAMENX", "MOVE", "COPY", "EXEC", "MULTI", "FLUSHALL",
        "SETS", "SE",
        // Sent again, one of them may take away the last element, and the key's expiry with it.
        "SREM", "HDEL", "ZREM",
    ]

    /// Only what is known to do no harm is sent again.
    @Test func whatMayBeSentAgain() {
        for name in Self.repeatable {
            #expect(withCommand("\(name) k v") { $0.isIdempotent }, "\(name)")
            #expect(withCommand("\(name.lowercased()) k v") { $0.isIdempotent }, "\(name)")
        }
        for name in Self.unrepeatable {
            #expect(!withCommand("\(name) k v") { $0.isIdempotent }, "\(name)")
        }
    }

    /// A random command that may be sent again, for one of few keys with few elements. Keys keep their
    /// type: a source has carried out what it tells.
    private static func repeatable(_ generator: inout SeededGenerator) -> [String] {
        let number = Int.random(in: 0..<3, using: &generator)
        let element = "e\(Int.random(in: 0..<4, using: &generator))"
        let value = "\(Int.random(in: 0..<1000, using: &generator))"
        let offset = "\(Int.random(in: 0..<6, using: &generator))"
        let keys = ["string", "set", "hash", "zset"].map { "\($0):\(number)" }
        return switch Int.random(in: 0..<10, using: &generator) {
        case 0: ["SET", keys[0], value]
        case 1: ["MSET", keys[0], value, "string:0", element]
        case 2: ["SETRANGE", keys[0], offset, value]
        case 3: ["SETBIT", keys[0], value, "\(number & 1)"]
        case 4: ["SADD", keys[1], element, "e1"]
        case 5: ["SADD", keys[1], value]
        case 6: ["HSET", keys[2], element, value]
        case 7: ["HMSET", keys[2], element, value, "e1", offset]
        case 8: ["EXISTS", keys[3]]
        case 9: ["DEL", keys.randomElement(using: &generator) ?? "", "set:0"]
        default: ["UNLINK", keys.randomElement(using: &generator) ?? ""]
        }
    }

    /// Whatever part of them was carried out before the connection was lost: sent again with all that
    /// followed, they lead to the same state.
    @Test func sentAgainTheyLeadToTheSameState() throws {
        let seed: UInt64 = 120
        print("seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        let server = try RedisServer(arguments: ["--enable-debug-command", "yes"])
        let client = try server.client()
        let cases = 1500
        var commands: [[String]] = []
        var sequences: [[[String]]] = []
        for _ in 0..<cases {
            var first = [["ZADD", "zset:0", "1", "e0", "2", "e1"], ["ZADD", "zset:1", "3", "e2"]]
            for _ in 0..<Int.random(in: 0..<8, using: &generator) {
                first.append(Self.repeatable(&generator))
            }
            var sequence: [[String]] = []
            for _ in 0..<Int.random(in: 1..<12, using: &generator) {
                sequence.append(Self.repeatable(&generator))
            }
            let carriedOut = Int.random(in: 0...sequence.count, using: &generator)
            for before in [0, carriedOut] {
                commands.append(["FLUSHALL"])
                commands += first
                commands += sequence.prefix(before)
                commands += sequence
                commands.append(["DEBUG", "DIGEST"])
            }
            sequences.append(sequence)
        }
        let replies = try client.pipeline(commands.map { $0.map { Array($0.utf8) } })
        let digests = zip(commands, replies).filter { $0.0[0] == "DEBUG" }.map(\.1)
        try #require(digests.count == 2 * cases)
        for index in 0..<cases {
            #expect(digests[2 * index].text?.count == 40)
            #expect(
                digests[2 * index] == digests[2 * index + 1],
                "seed \(seed), case \(index): \(sequences[index])")
        }
    }
}

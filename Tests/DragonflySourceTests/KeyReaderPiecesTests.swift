import Bytes
import TestSupport
import Testing

@testable import DragonflySource
@testable import Wire

/// A large value is read in pieces and is, put together, what the source holds.
@Suite struct KeyReaderPiecesTests {
    private static func settings(
        wholeBytes: Int = 0, limitBytes: Int = 1 << 30
    ) -> KeyReaderSettings {
        var settings = KeyReaderSettings(credentials: nil, limitBytes: limitBytes)
        settings.wholeBytes = wholeBytes
        return settings
    }

    private func expectSame(
        _ driver: KeyReaderDriver, _ client: RespClient, _ key: String, _ type: ValueType
    ) throws {
        let reading = try driver.read(key)
        #expect(reading.outcome == .value(typeCode: type.rawValue), "\(key)")
        guard case .value(let code) = reading.outcome else { return }
        let held = try PlainElements(client, key)
        let found = try driver.elements(code)
        #expect(found == held, "\(key)")
        #expect(reading.isInPieces && reading.before < reading.after, "\(key)")
    }

    @Test func smallValuesOfEveryType() throws {
        let server = try RedisServer()
        let client = try server.client()
        try KeyReaderTests.fill(client)
        for segments in [KeyReaderDriver.Segments.whole, .bytes, .random(seed: 76)] {
            let driver = try KeyReaderDriver(client, Self.settings(), segments: segments)
            for (key, type) in [
                ("string", ValueType.string), ("number", .string), ("compressed", .string),
                ("list", .listQuicklist2), ("intset", .set), ("set", .set), ("wide set", .set),
                ("hash", .hash), ("wide hash", .hash), ("zset", .zset2), ("wide zset", .zset2),
            ] {
                try expectSame(driver, client, key, type)
            }
        }
    }

    /// Each number of elements around the pieces' size, elements of all sizes among them.
    @Test func manyElementsOfAllSizes() throws {
        let seed: UInt64 = 77
        print("seed \(seed)")
        var generator = TestSupport.SeededGenerator(seed: seed)
        let server = try RedisServer()
        let client = try server.client()
        // An element of 200,000 bytes does not fit the ring.
        let driver = try KeyReaderDriver(
            client, Self.settings(), segments: .random(seed: seed), ringBytes: 1 << 17)
        func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
        for count in [1, 999, 1000, 1001, 2000, 3500] {
            try client.call("DEL", "list", "set", "hash", "zset")
            var commands: [[[UInt8]]] = []
            for index in 0..<count {
                let size = [0, 3, 63, 64, 300, 20_000][
                    Int.random(in: 0..<100, using: &generator) % 6]
                var element = bytes("\(index):") + generator.bytes(size / (count > 1 ? 5 : 1))
                if index % 3 == 0 { element = bytes("\(Int64(bitPattern: generator.next()))") }
                if index == 500 || count == 1 { element = generator.bytes(200_000) }
                let score = ["inf", "-inf", "0.1", "1e300", "-7", "\(index)"][index % 6]
                commands.append([bytes("RPUSH"), bytes("list"), element])
                commands.append([bytes("SADD"), bytes("set"), element])
                commands.append([bytes("HSET"), bytes("hash"), element, element + [0]])
                commands.append([bytes("ZADD"), bytes("zset"), bytes(score), element])
            }
            _ = try client.pipeline(commands)
            try expectSame(driver, client, "list", .listQuicklist2)
            try expectSame(driver, client, "set", .set)
            try expectSame(driver, client, "hash", .hash)
            try expectSame(driver, client, "zset", .zset2)
        }
        let allowed: Set = [
            "MEMORY USAGE", "DFLY REPLICAOFFSET", "TYPE", "LRANGE", "SSCAN", "HSCAN", "ZSCAN",
            "PEXPIRETIME",
        ]
        #expect(Set(driver.names) == allowed)
    }

    @Test func stringsAroundThePiecesSize() throws {
        var generator = TestSupport.SeededGenerator(seed: 78)
        let server = try RedisServer()
        let client = try server.client()
        for size in [1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20] {
            let value = generator.bytes(size)
            try client.command([Array("SET".utf8), Array("key".utf8), value])
            try client.call("PEXPIREAT", "key", "4102444800123")
            let driver = try KeyReaderDriver(client, Self.settings())
            let reading = try driver.read("key")
            #expect(reading.expiryMilliseconds == 4_102_444_800_123)
            #expect(reading.outcome == .value(typeCode: 0) && reading.isInPieces)
            let found = try driver.elements(0)
            #expect(found.elements == [value], "\(size)")
            #expect(
                Set(driver.names) == [
                    "MEMORY USAGE", "DFLY REPLICAOFFSET", "TYPE", "GETRANGE", "PEXPIRETIME",
                ])
        }
    }

    @Test func onlyLargeValuesAreReadInPieces() throws {
        let server = try RedisServer()
        let client = try server.client()
        try client.call("SET", "small", "v")
        try client.call("SET", "large", String(repeating: "v", count: 3_000))
        let driver = try KeyReaderDriver(client, Self.settings(wholeBytes: 2_000))
        #expect(try driver.read("small").isInPieces == false)
        #expect(try driver.read("large").isInPieces)
        #expect(try driver.read("small").isInPieces == false)
        // HSCAN and SSCAN do not tell when elements expire.
        for database in [0, 1] {
            driver.forgetCommands()
            let reading = try driver.read("large", database: database, neverInPieces: true)
            #expect(!reading.isInPieces)
            #expect(reading.outcome == (database == 0 ? .value(typeCode: 0) : .missing))
            #expect(!driver.names.contains("MEMORY USAGE"))
        }
    }

    // MARK: Changes meanwhile

    private func driver(
        _ client: RespClient, before command: String, _ change: @escaping () throws -> Void
    ) throws -> KeyReaderDriver {
        let driver = try KeyReaderDriver(client, Self.settings())
        var isChanged = false
        driver.answer = { words in
            if words[0] == command, !isChanged {
                isChanged = true
                try change()
            }
            return nil
        }
        return driver
    }

    /// An empty string is a value: writing a DEL for it would lose the key.
    @Test func aStringThatBecomesEmptyIsNotMissing() throws {
        let server = try RedisServer()
        let client = try server.client()
        for command in ["DFLY", "TYPE", "GETRANGE"] {
            try client.call("SET", "key", String(repeating: "v", count: 100))
            let driver = try driver(client, before: command) { try client.call("SET", "key", "") }
            let reading = try driver.read("key")
            #expect(reading.outcome == .value(typeCode: 0), "\(command)")
            #expect(try driver.elements(0).elements == [[]])
        }
    }

    @Test func aKeyThatGoesIsMissing() throws {
        let server = try RedisServer()
        let client = try server.client()
        for command in ["DFLY", "TYPE", "SSCAN"] {
            try client.call("SADD", "key", "1", "2")
            let driver = try driver(client, before: command) { try client.call("DEL", "key") }
            #expect(try driver.read("key").outcome == .missing, "\(command)")
        }
    }

    /// A key that becomes another type is read anew: it is as sound as any other.
    @Test func aKeyThatBecomesAnotherTypeIsReadAnew() throws {
        let server = try RedisServer()
        let client = try server.client()
        for (first, command) in [("SADD", "SSCAN"), ("RPUSH", "LRANGE")] {
            try client.call("DEL", "key")
            try client.call(first, "key", "1", "2")
            let driver = try driver(client, before: command) {
                try client.call("DEL", "key")
                try client.call("HSET", "key", "f", "v")
            }
            let reading = try driver.read("key")
            guard case .value(let code) = reading.outcome else {
                Issue.record("\(command): \(reading)")
                continue
            }
            let held = try PlainElements(client, "key")
            #expect(try driver.elements(code) == held)
            #expect(reading.before == UInt64(driver.looks[driver.looks.count - 2][0]))
        }
    }

    // MARK: The limit

    @Test func whatIsTooLargeIsNotHeld() throws {
        let server = try RedisServer()
        let client = try server.client()
        let large = String(repeating: "v", count: 50_000)
        try client.call("SET", "string", large)
        try client.call("SET", "fits", "v")
        for index in 0..<2_000 {
            try client.call("RPUSH", "list", "\(index) \(large.prefix(30))")
            try client.call("SADD", "set", "\(index) \(large.prefix(30))")
            try client.call("HSET", "hash", "\(index)", String(large.prefix(30)))
            try client.call("ZADD", "zset", "\(index)", "\(index) \(large.prefix(30))")
        }
        try client.call("RPUSH", "random", "x", String(large.shuffled().map { $0 }))
        for wholeBytes in [0, 8 << 20] {
            let settings = Self.settings(wholeBytes: wholeBytes, limitBytes: 1_000)
            let driver = try KeyReaderDriver(client, settings, segments: .random(seed: 79))
            for key in ["list", "set", "hash", "zset"] + (wholeBytes == 0 ? ["string"] : []) {
                guard case .tooLarge(let size) = try driver.read(key).outcome else {
                    Issue.record("\(key) is not too large")
                    continue
                }
                #expect(size > 1_000)
                #expect(driver.contentCapacity < 200 << 10)
                #expect(driver.value.isEmpty)
                // The same reader goes on.
                #expect(try driver.read("fits").outcome == .value(typeCode: 0))
                let found = try driver.elements(0)
                #expect(found.elements == [Array("v".utf8)])
            }
        }
    }
}

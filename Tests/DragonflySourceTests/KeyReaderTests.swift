import Bytes
import TestSupport
import Testing

@testable import DragonflySource
@testable import Wire

/// What is read of a key is what the source holds, between two looks at its shard's LSN.
@Suite struct KeyReaderTests {
    static let settings = KeyReaderSettings(credentials: nil, limitBytes: 1 << 30)
    /// All that an ordinary key takes.
    static let ordinary = [
        "MEMORY USAGE", "DFLY REPLICAOFFSET", "DUMP", "PEXPIRETIME", "DFLY REPLICAOFFSET",
    ]

    static func fill(_ client: RespClient) throws {
        func add(_ words: String...) throws { try client.call(words) }
        try add("SET", "string", "hello")
        try add("SET", "number", "-123456")
        try add("SET", "empty string", "")
        try add("SET", "compressed", String(repeating: "abc", count: 10_000))
        try add("RPUSH", "list", "a", "", "12", "-70000", String(repeating: "x", count: 9_000))
        try add("SADD", "intset", "1", "2", "-3", "70000")
        try add("SADD", "set", "a", "12", "", "\u{e9}")
        try add("SADD", "wide set", String(repeating: "m", count: 100), "b", "7")
        try add("HSET", "hash", "f", "v", "", "empty", "n", "17")
        try add("HSET", "wide hash", "f", String(repeating: "v", count: 5_000))
        try add("ZADD", "zset", "1.5", "a", "inf", "b", "-inf", "c", "0", "d", "-0.1", "12")
        try add("ZADD", "wide zset", "0.30000000000000004", String(repeating: "m", count: 100))
    }

    static let collections = [
        "string", "number", "empty string", "compressed", "list", "intset", "set", "wide set",
        "hash", "wide hash", "zset", "wide zset",
    ]

    private func drivers(_ client: RespClient) throws -> [KeyReaderDriver] {
        try [.whole, .bytes, .random(seed: 71)].map {
            try KeyReaderDriver(client, Self.settings, segments: $0, ringBytes: 1 << 17)
        }
    }

    @Test func ordinaryValuesAreWhatTheSourceHolds() throws {
        let server = try RedisServer()
        let client = try server.client()
        try Self.fill(client)
        for driver in try drivers(client) {
            for key in Self.collections {
                driver.forgetCommands()
                let reading = try driver.read(key)
                guard case .value(let code) = reading.outcome else {
                    Issue.record("\(key): \(reading)")
                    continue
                }
                let dump = try #require(try client.call("DUMP", key).bytes)
                #expect(code == dump[0], "\(key)")
                #expect(driver.value.array() == Array(dump[1..<dump.count - 10]), "\(key)")
                let held = try PlainElements(client, key)
                let found = try driver.elements(code)
                #expect(found == held, "\(key)")
                #expect(!reading.isInPieces && reading.expiryMilliseconds == 0)
                #expect(driver.names == Self.ordinary, "\(key)")
            }
        }
    }

    @Test func streamsAreReadWithTheirGroups() throws {
        let server = try RedisServer()
        let client = try server.client()
        for id in 1...300 { try client.call("XADD", "stream", "\(id)-1", "f", "v\(id)") }
        try client.call("XGROUP", "CREATE", "stream", "g", "0")
        try client.call("XREADGROUP", "GROUP", "g", "c", "COUNT", "9", "STREAMS", "stream", ">")
        try client.call("XDEL", "stream", "7-1")
        for limit in [8 << 20, 10] {
            var settings = Self.settings
            settings.wholeBytes = limit
            let driver = try KeyReaderDriver(client, settings, segments: .random(seed: 72))
            let reading = try driver.read("stream")
            guard case .value(let code) = reading.outcome else {
                Issue.record("\(reading)")
                return
            }
            #expect(!reading.isInPieces)
            let type = try #require(ValueType(rawValue: code))
            var streams = try StreamReader()
            try streams.open(type: type, value: driver.value)
            let length = streams.metadata.length
            #expect(length == 299)
            let group = try streams.nextGroup()
            #expect(group?.name.printable() == "g" && group?.pendingCount == 9)
            // Never in pieces, which would lose the groups.
            let isLarge = limit == 10
            #expect(
                driver.names
                    == (isLarge
                        ? ["MEMORY USAGE", "DFLY REPLICAOFFSET", "TYPE"] + Self.ordinary.dropFirst()
                        : Self.ordinary))
            #expect(reading.before == UInt64(driver.looks[isLarge ? 1 : 0][0]))
            #expect(reading.after == UInt64(driver.looks[isLarge ? 2 : 1][0]))
        }
    }

    @Test func expiriesAreExact() throws {
        let server = try RedisServer()
        let client = try server.client()
        try client.call("SET", "far", "v", "PXAT", "4102444800123")
        try client.call("SET", "none", "v")
        for driver in try drivers(client) {
            #expect(try driver.read("far").expiryMilliseconds == 4_102_444_800_123)
            #expect(try driver.read("none").expiryMilliseconds == 0)
        }
    }

    @Test func aMissingKeyIsMissing() throws {
        let server = try RedisServer()
        for wholeBytes in [0, 8 << 20] {
            var settings = Self.settings
            settings.wholeBytes = wholeBytes
            let driver = try KeyReaderDriver(try server.client(), settings)
            let reading = try driver.read("nowhere")
            #expect(reading.outcome == .missing && reading.expiryMilliseconds == 0)
            #expect(reading.before == 100 && reading.after == 101)
            #expect(driver.value.isEmpty)
        }
    }

    @Test func databasesAndAnyKeysAreFound() throws {
        let server = try RedisServer()
        let client = try server.client()
        var generator = TestSupport.SeededGenerator(seed: 73)
        let keys = [[], [0], [0, 13, 10], Array("*".utf8), generator.bytes(5_000)]
        for database in [3, 0, 3] {
            try client.call("SELECT", "\(database)")
            for key in keys {
                try client.command([Array("SET".utf8), key, Array("\(database)".utf8)])
            }
        }
        try client.call("SELECT", "0")
        let driver = try KeyReaderDriver(client, Self.settings, segments: .random(seed: 74))
        for database in [3, 3, 0, 3, 0] {
            for key in keys {
                let reading = try driver.read(key, database: database)
                #expect(reading.outcome == .value(typeCode: 0))
                let found = try driver.elements(0)
                #expect(found.elements == [Array("\(database)".utf8)])
            }
        }
        #expect(driver.names.filter { $0 == "SELECT" }.count == 4)
    }

    @Test func theWindowIsThatOfTheShard() throws {
        let server = try RedisServer()
        let client = try server.client()
        try Self.fill(client)
        for wholeBytes in [0, 8 << 20] {
            var settings = Self.settings
            settings.wholeBytes = wholeBytes
            for flow in 0..<3 {
                let driver = try KeyReaderDriver(client, settings, segments: .bytes)
                for key in ["set", "nowhere", "wide hash"] {
                    let reading = try driver.read(key, flow: flow)
                    let looks = driver.looks.map { UInt64($0[flow]) }
                    #expect(reading.after == looks.last && looks.contains(reading.before))
                    #expect(reading.before < reading.after)
                    // The last look before the value was read, and the first after it.
                    let names = driver.names
                    let end = try #require(names.lastIndex(of: "DFLY REPLICAOFFSET"))
                    let start = try #require(
                        names[..<end].lastIndex(of: "DFLY REPLICAOFFSET"))
                    #expect(names[start..<end].contains { $0 == "DUMP" || $0.contains("SCAN") })
                }
            }
            // A shard that the source does not have.
            let driver = try KeyReaderDriver(client, settings)
            #expect(try driver.read("set", flow: 3).before == 0)
        }
    }

    // MARK: Older sources

    private func withoutExpiryTime(_ words: [String]) -> String? {
        words[0] == "PEXPIRETIME" ? "-ERR unknown command `PEXPIRETIME`\r\n" : nil
    }

    @Test func withoutPexpiretimeTheTimeIsTold() throws {
        let server = try RedisServer()
        let client = try server.client()
        try Self.fill(client)
        try client.call("SET", "far", "v", "PXAT", "4102444800123")
        try client.call("SADD", "far set", "1")
        try client.call("PEXPIREAT", "far set", "4102444800456")
        for wholeBytes in [0, 8 << 20] {
            var settings = Self.settings
            settings.wholeBytes = wholeBytes
            let driver = try KeyReaderDriver(client, settings, segments: .random(seed: 75))
            driver.answer = withoutExpiryTime
            for _ in 0..<20 {
                let far = try driver.read("far")
                #expect(abs(far.expiryMilliseconds - 4_102_444_800_123) <= 2)
                #expect(far.outcome == .value(typeCode: 0))
                let set = try driver.read("far set")
                #expect(abs(set.expiryMilliseconds - 4_102_444_800_456) <= 2)
                #expect(try driver.read("set").expiryMilliseconds == 0)
                #expect(try driver.read("nowhere").outcome == .missing)
            }
            // Asked once only.
            #expect(driver.names.filter { $0 == "PEXPIRETIME" }.count == 1)
            driver.forgetCommands()
            _ = try driver.read("far")
            #expect(driver.names.suffix(3) == ["TIME", "PTTL", "DFLY REPLICAOFFSET"])
            let held = try PlainElements(client, "far")
            #expect(try driver.elements(0) == held)
        }
    }

    // The second look finds no key: nothing of the first one's value may remain.
    @Test func aKeyThatGoesBetweenTwoDumpsIsMissing() throws {
        let server = try RedisServer()
        let client = try server.client()
        try client.call("SET", "key", "v")
        let driver = try KeyReaderDriver(client, Self.settings)
        driver.answer = { words in
            guard words[0] == "PEXPIRETIME" else { return nil }
            try client.call("DEL", "key")
            return "-ERR unknown command `PEXPIRETIME`\r\n"
        }
        let reading = try driver.read("key")
        #expect(reading.outcome == .missing && reading.expiryMilliseconds == 0)
    }

    @Test func withoutMemoryUsageValuesAreReadWhole() throws {
        let server = try RedisServer()
        let client = try server.client()
        try client.call("SADD", "set", "1")
        var settings = Self.settings
        settings.wholeBytes = 0
        let driver = try KeyReaderDriver(client, settings)
        driver.answer = { $0[0] == "MEMORY" ? "-NOPERM no\r\n" : nil }
        let reading = try driver.read("set")
        #expect(reading.outcome == .value(typeCode: ValueType.setIntset.rawValue))
        #expect(driver.names == Self.ordinary)
    }

    /// A value handed over stays as it was while the next is read.
    @Test func aValueIsHandedOver() throws {
        let server = try RedisServer()
        let client = try server.client()
        try client.call("SET", "a", "first")
        try client.call("SET", "b", "second")
        let driver = try KeyReaderDriver(client, Self.settings)
        _ = try driver.read("a")
        let before = driver.value.array()
        var buffer = try RegionBuffer()
        let place = driver.reader.exchangeBuffer(&buffer)
        #expect(driver.value.isEmpty)
        _ = try driver.read("b")
        #expect(buffer.view.slice(place.start, place.count).array() == before)
        #expect(try driver.elements(0).elements == [Array("second".utf8)])
    }
}

extension RespClient {
    @discardableResult
    func call(_ words: [String]) throws -> RespValue {
        let reply = try command(words.map { Array($0.utf8) })
        if case .error(let text) = reply { throw TestSupportError(text) }
        return reply
    }
}

import Bytes
import TestSupport
import Testing

@testable import DragonflySource
@testable import Wire

/// A key reader between its rings and a redis-server that stands for the source: all commands go to
/// the server, but for the LSNs, which the driver makes up. Replies come back in pieces.
final class KeyReaderDriver {
    enum Segments {
        case whole, bytes
        case random(seed: UInt64)
    }

    /// What is answered in the server's stead, nil to ask it.
    typealias Answer = (_ words: [String]) throws -> String?

    var reader: KeyReader
    var now: Int64 = 1_000_000
    /// The LSNs of the source's shards; each look finds them grown.
    var offsets: [Int64] = [100, 5_000, 1]
    var answer: Answer = { _ in nil }
    /// Called with each command before it is executed.
    private(set) var commands: [[String]] = []
    private(set) var looks: [[Int64]] = []
    private let server: RespClient?
    private var generator = TestSupport.SeededGenerator(seed: 0)
    private let segments: Segments
    private var input: MirroredRing
    private var output: MirroredRing
    private var arriving: [UInt8] = []
    /// Commands taken from the output and not executed yet.
    private var asked: [[[UInt8]]] = []

    init(
        _ server: RespClient?, _ settings: KeyReaderSettings, segments: Segments = .whole,
        ringBytes: Int = 128 << 10, isConnected: Bool = true
    ) throws {
        reader = try KeyReader(settings, now: now)
        input = try MirroredRing(capacity: ringBytes)
        output = try MirroredRing(capacity: ringBytes)
        self.server = server
        self.segments = segments
        if case .random(let seed) = segments { generator = TestSupport.SeededGenerator(seed: seed) }
        if isConnected, try connect() != .ready { throw TestSupportError("not ready") }
    }

    /// First words, and the second of those that need one, in the order sent.
    var names: [String] {
        commands.map { words in
            ["DFLY", "MEMORY"].contains(words[0]) ? "\(words[0]) \(words[1])" : words[0]
        }
    }

    var phase: KeyReader.Phase { reader.phase }
    var value: ByteView { reader.value }
    var nesting: Int { reader.arrays.count }
    var smallCapacity: Int { reader.small.capacity }
    var contentCapacity: Int { reader.content.capacity }

    /// Nothing is under way in any direction.
    private var isDrained: Bool { input.isEmpty && arriving.isEmpty && output.isEmpty }

    func elements(_ typeCode: UInt8) throws -> PlainElements {
        try PlainElements(reader, typeCode: typeCode)
    }

    func tick(at time: Int64) -> KeyReaderAction { reader.tick(now: time) }

    func ended(_ reason: String) -> KeyReaderAction { reader.connectionEnded(reason) }

    /// Asks for a key, which is answered when the driver is told what arrives.
    func begin(_ key: ByteView) -> KeyReaderAction {
        reader.read(database: 0, key: key, flow: 0, now: now, output: &output)
    }

    func forgetCommands() { commands = [] }

    func connect() throws -> KeyReaderAction {
        let action = reader.connected(now: now, output: &output)
        return action == .none ? try run() : action
    }

    /// Reads a key; the action that ends it.
    func action(
        _ key: [UInt8], database: Int = 0, flow: Int = 0, neverInPieces: Bool = false
    ) throws -> KeyReaderAction {
        let action = key.withByteView {
            reader.read(
                database: database, key: $0, flow: flow, neverInPieces: neverInPieces, now: now,
                output: &output)
        }
        return action == .none ? try run() : action
    }

    func read(
        _ key: [UInt8], database: Int = 0, flow: Int = 0, neverInPieces: Bool = false
    ) throws -> KeyReading {
        let action = try action(
            key, database: database, flow: flow, neverInPieces: neverInPieces)
        guard case .finished(let reading) = action else {
            throw TestSupportError("reading ended with \(action)")
        }
        #expect(isDrained)
        #expect(phase == .idle)
        return reading
    }

    func read(
        _ key: String, database: Int = 0, flow: Int = 0, neverInPieces: Bool = false
    ) throws -> KeyReading {
        try read(
            Array(key.utf8), database: database, flow: flow, neverInPieces: neverInPieces)
    }

    /// Bytes that come of themselves.
    func receive(_ text: String) -> KeyReaderAction {
        Array(text.utf8).withByteView { input.append($0) }
        return feed()
    }

    private func run() throws -> KeyReaderAction {
        while true {
            try execute()
            guard !arriving.isEmpty else { throw TestSupportError("nothing is asked") }
            let count: Int
            switch segments {
            case .whole: count = arriving.count
            case .bytes: count = 1
            case .random: count = Int.random(in: 1...5_000, using: &generator)
            }
            var portion = arriving.prefix(count)
            arriving.removeFirst(portion.count)
            while !portion.isEmpty {
                let fitting = portion.prefix(input.free)
                guard !fitting.isEmpty else { throw TestSupportError("a full ring is stuck") }
                Array(fitting).withByteView { input.append($0) }
                portion = portion.dropFirst(fitting.count)
                let action = feed()
                guard action == .none else {
                    arriving = Array(portion) + arriving
                    return action
                }
            }
        }
    }

    private func feed() -> KeyReaderAction {
        let (consumed, action) = reader.receive(input.readable, now: now, output: &output)
        input.consume(consumed)
        return action
    }

    private func execute() throws {
        while !output.isEmpty {
            var arguments = try #require(RESPArguments(output.readable))
            var words: [[UInt8]] = []
            while let word = arguments.next() { words.append(word.array()) }
            #expect(arguments.remaining == 0)
            output.consume(
                words.reduce("*\(words.count)\r\n".utf8.count) {
                    $0 + "$\($1.count)\r\n\r\n".utf8.count + $1.count
                })
            asked.append(words)
        }
        while !asked.isEmpty { arriving += try reply(to: asked.removeFirst()) }
    }

    private func reply(to words: [[UInt8]]) throws -> [UInt8] {
        let text = words.map { String(decoding: $0, as: UTF8.self) }
        commands.append(text)
        if let answer = try answer(text) { return Array(answer.utf8) }
        if text == ["DFLY", "REPLICAOFFSET"] {
            looks.append(offsets)
            let reply = RespValue.array(offsets.map { .integer($0) })
            for index in offsets.indices { offsets[index] += Int64(index) + 1 }
            return reply.encoded
        }
        guard let server else { throw TestSupportError("\(text) is not answered") }
        guard text == ["TIME"], let next = asked.first, next[0] == Array("PTTL".utf8) else {
            return try server.command(words).encoded
        }
        // In one packet, as they come: the server's clock does not go on between them.
        asked.removeFirst()
        commands.append(next.map { String(decoding: $0, as: UTF8.self) })
        return try server.pipeline([words, next]).flatMap(\.encoded)
    }
}

extension RespValue {
    var encoded: [UInt8] {
        switch self {
        case .simple(let text): Array("+\(text)\r\n".utf8)
        case .error(let text): Array("-\(text)\r\n".utf8)
        case .integer(let value): Array(":\(value)\r\n".utf8)
        case .null: Array("$-1\r\n".utf8)
        case .bulk(let bytes): Array("$\(bytes.count)\r\n".utf8) + bytes + [13, 10]
        case .array(let all): Array("*\(all.count)\r\n".utf8) + all.flatMap(\.encoded)
        }
    }
}

/// A value as a list of byte strings, scores as text, in an order that does not depend on encoding.
struct PlainElements: Equatable {
    var elements: [[UInt8]] = []

    /// What a reader holds.
    init(_ reader: borrowing KeyReader, typeCode: UInt8) throws {
        let type = try #require(ValueType(rawValue: typeCode))
        if type == .string {
            var cursor = Cursor(reader.value)
            let string = try #require(try cursor.string())
            #expect(cursor.remaining == 0)
            var scratch = try RegionBuffer()
            elements = [try string.decoded(scratch: &scratch).array()]
            return
        }
        var values = try ValueReader()
        try values.open(type: type, value: reader.value)
        var all: [[[UInt8]]] = []
        while let element = try values.next() {
            switch type.family {
            case .hash: all.append([element.member.array(), element.value.array()])
            case .zset: all.append([element.member.array(), Array("\(element.score)".utf8)])
            default: all.append([element.member.array()])
            }
        }
        elements = PlainElements.flat(all, isOrdered: type.family == .list)
    }

    /// What a server holds.
    init(_ server: RespClient, _ key: String) throws {
        func all(_ words: String...) throws -> [[UInt8]] {
            try #require(try server.command(words.map { Array($0.utf8) }).elements)
                .map { try #require($0.bytes) }
        }
        func pairs(_ flat: [[UInt8]]) -> [[[UInt8]]] {
            stride(from: 0, to: flat.count, by: 2).map { [flat[$0], flat[$0 + 1]] }
        }
        switch try server.call("TYPE", key).text {
        case "string":
            elements = [try #require(try server.call("GET", key).bytes)]
        case "list":
            elements = try all("LRANGE", key, "0", "-1")
        case "set":
            elements = PlainElements.flat(
                try all("SMEMBERS", key).map { [$0] }, isOrdered: false)
        case "hash":
            elements = PlainElements.flat(pairs(try all("HGETALL", key)), isOrdered: false)
        case "zset":
            let flat = pairs(try all("ZRANGE", key, "0", "-1", "WITHSCORES"))
            elements = PlainElements.flat(
                try flat.map { pair in
                    let score = try #require(Double(String(decoding: pair[1], as: UTF8.self)))
                    return [pair[0], Array("\(score)".utf8)]
                }, isOrdered: false)
        case let other:
            throw TestSupportError("type \(other ?? "")")
        }
    }

    private static func flat(_ groups: [[[UInt8]]], isOrdered: Bool) -> [[UInt8]] {
        guard !isOrdered else { return groups.flatMap { $0 } }
        return groups.sorted { $0[0].lexicographicallyPrecedes($1[0]) }.flatMap { $0 }
    }
}

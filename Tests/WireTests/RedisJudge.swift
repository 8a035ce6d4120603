import Bytes
import TestSupport

/// A redis-server of its own, to ask what values mean.
final class RedisJudge {
    enum Reply: Equatable {
        case text(String)
        case error(String)
        case integer(Int)
        case bytes([UInt8]?)
        case array([Reply])

        init(_ value: RespValue) {
            self =
                switch value {
                case .simple(let text): .text(text)
                case .error(let text): .error(text)
                case .integer(let number): .integer(Int(number))
                case .bulk(let bytes): .bytes(bytes)
                case .null: .bytes(nil)
                case .array(let elements): .array(elements.map { Reply($0) })
                }
        }

        var bytes: [UInt8]? {
            switch self {
            case .bytes(let bytes): bytes
            case .text(let text): Array(text.utf8)
            case .integer(let value): Array(String(value).utf8)
            default: nil
            }
        }

        var array: [Reply] {
            if case .array(let items) = self { return items }
            return []
        }

        /// Of the values of a reply that alternates names and values.
        subscript(name: String) -> Reply? {
            let items = array
            let index = stride(from: 0, to: items.count - 1, by: 2)
                .first { items[$0].bytes == Array(name.utf8) }
            return index.map { items[$0 + 1] }
        }
    }

    struct Failure: Error, CustomStringConvertible {
        var description: String
    }

    private let server: RedisServer
    private let client: RespClient

    init(_ options: String...) throws {
        server = try RedisServer(arguments: options)
        client = try server.client()
    }

    @discardableResult
    func call(_ arguments: String...) throws -> Reply {
        try call(arguments.map { Array($0.utf8) })
    }

    @discardableResult
    func call(_ arguments: [[UInt8]]) throws -> Reply {
        Reply(try client.command(arguments))
    }

    /// RESTOREs a value under a key; the reply.
    func restore(_ key: String, _ payload: [UInt8]) throws -> Reply {
        let head = ["RESTORE", key, "0"].map { Array($0.utf8) }
        return try call(head + [payload, Array("REPLACE".utf8)])
    }

    // MARK: - Content of keys

    /// The elements of a key as the reader would give them; those of sets and hashes sorted.
    func elements(_ key: String, _ family: String) throws -> [ReadElement] {
        func items(_ command: String...) throws -> [[UInt8]] {
            try call(command.map { Array($0.utf8) }).array.compactMap(\.bytes)
        }
        func pairs(_ items: [[UInt8]]) -> [([UInt8], [UInt8])] {
            stride(from: 0, to: items.count, by: 2).map { (items[$0], items[$0 + 1]) }
        }
        switch family {
        case "list": return try items("LRANGE", key, "0", "-1").map { ReadElement($0) }
        case "set": return try items("SMEMBERS", key).map { ReadElement($0) }.sorted()
        case "hash": return pairs(try items("HGETALL", key)).map { ReadElement($0, $1) }.sorted()
        case "zset":
            return try pairs(items("ZRANGE", key, "0", "-1", "WITHSCORES")).map { member, score in
                let value = Double(String(decoding: score, as: UTF8.self))
                guard let value else { throw Failure(description: "score \(score)") }
                return ReadElement(member, score: value)
            }
        default: throw Failure(description: "no collection: \(family)")
        }
    }
}

extension ReadElement: Comparable {
    static func < (left: ReadElement, right: ReadElement) -> Bool {
        left.member.lexicographicallyPrecedes(right.member)
    }
}

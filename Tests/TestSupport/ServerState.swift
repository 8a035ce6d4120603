import Foundation

/// A key and the database it lives in.
public struct StateKey: Sendable, Hashable, Comparable, CustomStringConvertible {
    public var database: Int
    public var name: [UInt8]

    public init(database: Int, name: [UInt8]) {
        self.database = database
        self.name = name
    }

    public init(_ database: Int, _ name: String) {
        self.init(database: database, name: Array(name.utf8))
    }

    public static func < (left: StateKey, right: StateKey) -> Bool {
        left.database != right.database
            ? left.database < right.database : left.name.lexicographicallyPrecedes(right.name)
    }

    public var description: String { "db \(database) \(printable(name))" }
}

/// Everything a server holds, in a form in which equal contents are equal values.
public typealias ServerState = [StateKey: StateEntry]

public struct StateEntry: Sendable {
    /// As TYPE names it.
    public var type: String
    /// Absolute expiry, 0 for none.
    public var expiryMilliseconds: Int64
    public var value: StateValue

    public init(type: String, expiryMilliseconds: Int64, value: StateValue) {
        self.type = type
        self.expiryMilliseconds = expiryMilliseconds
        self.value = value
    }
}

public enum StateValue: Sendable {
    case string([UInt8])
    case list([[UInt8]])
    /// Members in byte order.
    case set([[UInt8]])
    /// Fields and values, in byte order of the fields.
    case hash([FieldValue])
    /// Members in the order the server keeps them.
    case zset([ScoredMember])
    case stream(StreamState)
    /// A JSON text with sorted members and without spaces; a string with an equal text is equal.
    case json([UInt8])
    /// Another type that Redis without modules does not have.
    case foreign
}

public struct FieldValue: Sendable, Equatable {
    public var field: [UInt8]
    public var value: [UInt8]

    public init(field: [UInt8], value: [UInt8]) {
        self.field = field
        self.value = value
    }
}

/// Equal only if the scores have the same bits: -0 is not 0.
public struct ScoredMember: Sendable, Equatable {
    public var member: [UInt8]
    public var score: Double

    public init(member: [UInt8], score: Double) {
        self.member = member
        self.score = score
    }

    public static func == (left: ScoredMember, right: ScoredMember) -> Bool {
        left.member == right.member && left.score.bitPattern == right.score.bitPattern
    }
}

public struct StreamState: Sendable {
    public struct Entry: Sendable, Equatable {
        public var id: String
        /// Fields and values in turn, in their order.
        public var fields: [[UInt8]]

        public init(id: String, fields: [[UInt8]]) {
            self.id = id
            self.fields = fields
        }
    }

    public struct Pending: Sendable, Equatable {
        public var id: String
        public var consumer: [UInt8]
        public var deliveryCount: Int64

        public init(id: String, consumer: [UInt8], deliveryCount: Int64) {
            self.id = id
            self.consumer = consumer
            self.deliveryCount = deliveryCount
        }
    }

    public struct Group: Sendable {
        public var name: [UInt8]
        public var lastID: String
        /// Nil if the server does not know.
        public var entriesRead: Int64?
        /// In the order of the ids.
        public var pending: [Pending]
        /// In byte order.
        public var consumers: [[UInt8]]

        public init(
            name: [UInt8], lastID: String, entriesRead: Int64?, pending: [Pending],
            consumers: [[UInt8]]
        ) {
            self.name = name
            self.lastID = lastID
            self.entriesRead = entriesRead
            self.pending = pending
            self.consumers = consumers
        }
    }

    public var entries: [Entry]
    public var lastID: String
    public var maxDeletedID: String
    public var entriesAdded: Int64
    /// In byte order of their names.
    public var groups: [Group]

    public init(
        entries: [Entry], lastID: String, maxDeletedID: String, entriesAdded: Int64, groups: [Group]
    ) {
        self.entries = entries
        self.lastID = lastID
        self.maxDeletedID = maxDeletedID
        self.entriesAdded = entriesAdded
        self.groups = groups
    }
}

/// Bytes as text for messages: at most 60 characters, bytes outside printable ASCII as `\xNN`.
public func printable(_ bytes: [UInt8]) -> String {
    var text = ""
    for byte in bytes.prefix(60) {
        if byte >= 0x20, byte < 0x7f, byte != UInt8(ascii: "\\") {
            text.unicodeScalars.append(Unicode.Scalar(byte))
        } else {
            text += "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }
    }
    return "\"\(text)\"" + (bytes.count > 60 ? "… (\(bytes.count) bytes)" : "")
}

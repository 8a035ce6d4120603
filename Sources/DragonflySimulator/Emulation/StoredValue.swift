/// The value of a key as plain data, and what of the keyspace's own encoding decides how a release
/// writes it.
enum StoredValue: Equatable, Sendable {
    case string([UInt8])
    /// Elements by node.
    case list([[[UInt8]]])
    case set(members: [[UInt8]], isIntset: Bool)
    /// `isCompact`: a listpack in the keyspace.
    case hash(fields: [Field], isCompact: Bool)
    /// Members by ascending score.
    case sortedSet(members: [Member], isCompact: Bool)
    case stream(StoredStream)

    struct Field: Equatable, Sendable {
        var field: [UInt8]
        var value: [UInt8]
    }

    struct Member: Equatable, Sendable {
        var member: [UInt8]
        var score: Double
    }
}

/// A stream as it is dumped (protocol.md 3.9.7).
struct StoredStream: Equatable, Sendable {
    struct Node: Equatable, Sendable {
        var id: StreamID
        var listpack: [UInt8]
    }

    struct Pending: Equatable, Sendable {
        var id: StreamID
        /// Unix milliseconds.
        var deliveryTime: Int64
        var deliveryCount: UInt64
    }

    struct Consumer: Equatable, Sendable {
        var name: [UInt8]
        /// Unix milliseconds.
        var seenTime: Int64
        /// What it owns of the group's pending entries.
        var pending: [StreamID]
    }

    struct Group: Equatable, Sendable {
        var name: [UInt8]
        var last: StreamID
        /// All ones: unknown.
        var entriesRead: UInt64
        var pending: [Pending]
        var consumers: [Consumer]
    }

    var nodes: [Node]
    var length: UInt64
    var last: StreamID
    var first: StreamID
    var maxDeleted: StreamID
    var entriesAdded: UInt64
    var groups: [Group]
}

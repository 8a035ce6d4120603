@testable import DragonflySimulator

/// Compares an entry that a real server wrote with the emulated one for the same key.
///
/// What the state of a recording does not hold cannot be compared: the order of a hash's fields and
/// a set's members, deleted entries of streams, hence the nodes of a stream that has some, and the
/// moments at which consumers were seen.
enum EntryComparison {
    /// Nil if they are equal.
    static func difference(
        _ recorded: SnapshotDecoder.Entry, _ emulated: SnapshotDecoder.Entry,
        expiryTolerance: Int64
    ) -> String? {
        if recorded.type != emulated.type { return "type \(emulated.type), not \(recorded.type)" }
        if recorded.mask != emulated.mask || recorded.memcachedFlags != emulated.memcachedFlags {
            return "flags \(emulated.mask), not \(recorded.mask)"
        }
        let expiries = (recorded.expiry ?? 0, emulated.expiry ?? 0)
        guard (expiries.0 == 0) == (expiries.1 == 0),
            abs(expiries.0 - expiries.1) <= expiryTolerance
        else { return "expiry \(expiries.1), not \(expiries.0)" }
        if (recorded.packedStrings == 0) != (emulated.packedStrings == 0) {
            return "\(emulated.packedStrings) strings as LZF, not \(recorded.packedStrings)"
        }
        return difference(recorded.value, emulated.value)
    }

    private static func difference(_ recorded: PlainValue, _ emulated: PlainValue) -> String? {
        switch (recorded, emulated) {
        case (.set(let left), .set(let right)):
            sorted(left) == sorted(right) ? nil : "members"
        case (.hash(let left), .hash(let right)):
            sorted(left.flatMap { [$0.field + [0] + $0.value] })
                == sorted(right.flatMap { [$0.field + [0] + $0.value] }) ? nil : "fields"
        case (.expiringSet(let left), .expiringSet(let right)),
            (.expiringHash(let left), .expiringHash(let right)):
            sorted(left.map { Array($0.joined(separator: [0])) })
                == sorted(right.map { Array($0.joined(separator: [0])) }) ? nil : "elements"
        case (.list(let left), .list(let right)):
            if left.flatMap(\.elements) != right.flatMap(\.elements) {
                "elements"
            } else {
                left == right
                    ? nil
                    : "nodes \(right.map(\.elements.count)), not \(left.map(\.elements.count))"
            }
        case (.stream(let left), .stream(let right)):
            difference(left, right)
        default: recorded == emulated ? nil : "value"
        }
    }

    private static func sorted(_ items: [[UInt8]]) -> [[UInt8]] {
        items.sorted { $0.lexicographicallyPrecedes($1) }
    }

    private static func difference(_ recorded: PlainStream, _ emulated: PlainStream) -> String? {
        var left = recorded
        var right = emulated
        if recorded.nodes.joined().contains(where: \.isDeleted) {
            left.nodes = [recorded.entries]
            right.nodes = [emulated.entries]
        }
        left.forgetTimes()
        right.forgetTimes()
        if left.nodes != right.nodes { return "entries" }
        return left == right ? nil : "\(right), not \(left)"
    }
}

extension PlainStream {
    /// Leaves of the times only whether a consumer was ever active.
    fileprivate mutating func forgetTimes() {
        for group in groups.indices {
            for index in groups[group].pending.indices { groups[group].pending[index].time = 0 }
            for index in groups[group].consumers.indices {
                groups[group].consumers[index].seen = 0
                if let active = groups[group].consumers[index].active, active != -1 {
                    groups[group].consumers[index].active = 0
                }
            }
        }
    }
}

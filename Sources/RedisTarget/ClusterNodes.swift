public import Bytes

/// One node as CLUSTER NODES tells of it.
public struct ClusterNode: Sendable, Equatable {
    public var id: String
    /// What it announces; empty: the address of the node that was asked.
    public var host: String
    /// 0 if it is not known, which the flag `noaddr` says, too.
    public var port: UInt16
    /// Empty if it announces none.
    public var hostname: String
    public var isMyself: Bool
    public var isMaster: Bool
    /// The cluster has agreed that it is down, or does not know it well enough to talk to. What only
    /// the node that was asked suspects (`fail?`) does not count.
    public var isFailed: Bool
    /// Empty for a master.
    public var masterID: String
    public var slots: [ClosedRange<UInt16>]
    /// A slot is on its way from it or to it. A node tells this only of itself.
    public var hasOpenSlots: Bool
}

extension ClusterNode {
    /// From a line of the reply; nil if it is none.
    init?(line: Substring) {
        // id, address, flags, master, ping sent, pong received, epoch, link, then slots.
        let fields = line.split(separator: " ")
        guard fields.count >= 8 else { return nil }
        let announced = fields[1].split(separator: ",", omittingEmptySubsequences: false)
        // Behind the @ stands the port of the cluster's own bus.
        let address = announced[0].prefix { $0 != "@" }
        // An IPv6 address stands without brackets.
        guard let colon = address.lastIndex(of: ":"),
            let port = UInt16(address[address.index(after: colon)...])
        else { return nil }
        id = String(fields[0])
        host = String(address[..<colon])
        self.port = port
        // Behind the host name stand more words of the form name=value, which may be there alone.
        let name = announced.count > 1 ? announced[1] : ""
        hostname = name.contains("=") ? "" : String(name)
        let flags = fields[2].split(separator: ",")
        isMyself = flags.contains("myself")
        isMaster = flags.contains("master")
        isFailed = flags.contains { ["fail", "noaddr", "handshake"].contains($0) }
        masterID = fields[3] == "-" ? "" : String(fields[3])
        slots = []
        hasOpenSlots = false
        for field in fields.dropFirst(8) {
            if field.hasPrefix("[") {
                hasOpenSlots = true
                continue
            }
            guard let range = ClusterNode.slots(field) else { return nil }
            slots.append(range)
        }
    }

    /// `0-5460` or `5461`.
    private static func slots(_ text: Substring) -> ClosedRange<UInt16>? {
        let ends = text.split(separator: "-", omittingEmptySubsequences: false)
        guard ends.count <= 2, let first = UInt16(ends[0]), let last = UInt16(ends[ends.count - 1]),
            first <= last, last < ClusterNodes.slotCount
        else { return nil }
        return first...last
    }
}

/// The reply to CLUSTER NODES: the whole cluster as one node sees it.
public struct ClusterNodes: Sendable, Equatable {
    /// Hash slots of every cluster.
    static let slotCount = 16384

    public var nodes: [ClusterNode]

    /// Nil if it has no line, or one that cannot be read.
    public init?(_ text: ByteView) {
        nodes = []
        let lines = String(decoding: text.array(), as: UTF8.self).split(whereSeparator: \.isNewline)
        for line in lines {
            guard let node = ClusterNode(line: line) else { return nil }
            nodes.append(node)
        }
        guard !nodes.isEmpty else { return nil }
    }

    /// The masters that own slots, failed ones too.
    public var masters: [ClusterNode] {
        nodes.filter { $0.isMaster && !$0.slots.isEmpty }
    }

    /// How many slots no living master owns.
    public var slotsUncovered: Int {
        var isCovered = [Bool](repeating: false, count: ClusterNodes.slotCount)
        for node in masters where !node.isFailed {
            for range in node.slots {
                for slot in range { isCovered[Int(slot)] = true }
            }
        }
        return isCovered.count { !$0 }
    }
}

import Bytes
import Testing

@testable import RedisTarget

/// Every form of CLUSTER NODES that servers in use have is understood, and nothing half understood.
@Suite struct ClusterNodesTests {
    private func nodes(_ text: String) -> ClusterNodes? {
        Array(text.utf8).withByteView { ClusterNodes($0) }
    }

    private func node(_ line: String) -> ClusterNode? { nodes(line + "\n")?.nodes.first }

    /// As Redis 7.0 gives it.
    private static let sample = """
        07c37d 127.0.0.1:30004@31004,hostname4 slave e7d1ee 0 1426238317239 4 connected
        67ed2d 127.0.0.1:30002@31002,hostname2 master - 0 1426238316232 2 connected 5461-10922
        292f8b 127.0.0.1:30003@31003,hostname3 master - 0 1426238318243 3 connected 10923-16383
        6ec239 127.0.0.1:30005@31005,hostname5 slave,fail? 67ed2d 0 1426238316232 5 connected
        e7d1ee 127.0.0.1:30001@31001,hostname1 myself,master - 0 0 1 connected 0-5459 5460

        """

    @Test func everyPartIsRead() throws {
        let found = try #require(nodes(Self.sample))
        #expect(found.nodes.count == 5)
        #expect(
            found.nodes[4]
                == ClusterNode(
                    id: "e7d1ee", host: "127.0.0.1", port: 30001, hostname: "hostname1",
                    isMyself: true, isMaster: true, isFailed: false, masterID: "",
                    slots: [0...5459, 5460...5460], hasOpenSlots: false))
        #expect(
            found.nodes[3]
                == ClusterNode(
                    id: "6ec239", host: "127.0.0.1", port: 30005, hostname: "hostname5",
                    isMyself: false, isMaster: false, isFailed: false, masterID: "67ed2d",
                    slots: [], hasOpenSlots: false))
        #expect(found.masters.map(\.id) == ["67ed2d", "292f8b", "e7d1ee"])
        #expect(found.slotsUncovered == 0)
    }

    @Test(
        arguments: [
            ("127.0.0.1:7000@17000", "127.0.0.1", 7000, ""),
            ("127.0.0.1:7000", "127.0.0.1", 7000, ""),
            ("127.0.0.1:7000@17000,", "127.0.0.1", 7000, ""),
            ("127.0.0.1:7000@17000,,shard-id=69bc", "127.0.0.1", 7000, ""),
            ("127.0.0.1:7000@17000,shard-id=69bc", "127.0.0.1", 7000, ""),
            (
                "127.0.0.1:7000@17000,node.local,tls-port=0,shard-id=69bc", "127.0.0.1", 7000,
                "node.local"
            ),
            ("::1:7000@17000", "::1", 7000, ""),
            ("2001:db8::2:65535@1", "2001:db8::2", 65535, ""),
            (":7000@17000", "", 7000, ""),
            (":0@0", "", 0, ""),
        ] as [(String, String, UInt16, String)])
    func addresses(text: String, host: String, port: UInt16, hostname: String) throws {
        let found = try #require(node("a \(text) master - 0 0 1 connected 1"))
        #expect(found.host == host && found.port == port && found.hostname == hostname)
        #expect(found.slots == [1...1])
    }

    @Test(arguments: [
        ("master", false), ("master,fail?", false), ("master,fail", true),
        ("master,noaddr", true), ("handshake", true), ("noflags", false),
        ("slave,noaddr,fail", true), ("myself,master,nofailover", false),
    ])
    func failures(flags: String, isFailed: Bool) {
        #expect(node("a 1.2.3.4:5@6 \(flags) - 0 0 1 connected")?.isFailed == isFailed)
    }

    @Test func openSlots() throws {
        let from = try #require(node("a 1.2.3.4:5@6 master - 0 0 1 connected 0-9 [3->-b]"))
        #expect(from.hasOpenSlots && from.slots == [0...9])
        let to = try #require(node("b 1.2.3.4:5@6 master - 0 0 1 connected [3-<-a] [4-<-a]"))
        #expect(to.hasOpenSlots && to.slots == [])
    }

    /// Slots of failed masters and of nobody are not served.
    @Test func uncoveredSlots() throws {
        let found = try #require(
            nodes(
                """
                a :1@2 myself,master - 0 0 1 connected 0-8191
                b :2@3 master,fail - 0 0 2 disconnected 8192-9191
                c :3@4 slave a 0 0 2 connected
                """))
        #expect(found.slotsUncovered == 8192)
        #expect(found.masters.map(\.id) == ["a", "b"])
    }

    @Test(arguments: [
        "", "\n", "a", "a 1.2.3.4:5@6 master - 0 0 1", "a 1.2.3.4 master - 0 0 1 connected",
        "a 1.2.3.4:x@6 master - 0 0 1 connected", "a 1.2.3.4:70000@6 master - 0 0 1 connected",
        "a :1@2 master - 0 0 1 connected 16384", "a :1@2 master - 0 0 1 connected 5-3",
        "a :1@2 master - 0 0 1 connected 1-2-3", "a :1@2 master - 0 0 1 connected x",
        "a :1@2 master - 0 0 1 connected 1-",
        "a :1@2 master - 0 0 1 connected 1\nvars currentEpoch 5 lastVoteEpoch 0",
    ])
    func whatCannotBeReadIsNil(text: String) {
        #expect(nodes(text) == nil)
    }
}

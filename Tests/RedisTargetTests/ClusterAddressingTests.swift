import Testing

@testable import RedisTarget

/// A node is reached where the operator says, else where it says, else beside the one that told.
@Suite struct ClusterAddressingTests {
    private func place(
        _ map: [String: String], host: String = "10.0.0.1", hostname: String = "node",
        usesHostnames: Bool = false
    ) -> String {
        let addressing = ClusterAddressing(addressMap: map, usesHostnames: usesHostnames)
        let (host, port) = addressing.place(
            host: host, hostname: hostname, port: 7000, askedHost: "asked")
        return "\(host) \(port)"
    }

    @Test func withoutAMap() {
        #expect(place([:]) == "10.0.0.1 7000")
        #expect(place([:], usesHostnames: true) == "node 7000")
        #expect(place([:], hostname: "", usesHostnames: true) == "10.0.0.1 7000")
        #expect(place([:], host: "") == "asked 7000")
        #expect(place([:], host: "", usesHostnames: true) == "node 7000")
        #expect(place([:], host: "", hostname: "", usesHostnames: true) == "asked 7000")
    }

    @Test(arguments: [
        (["10.0.0.1:7000": "a:1", "node:7000": "b:2", "10.0.0.1": "c", "node": "d"], "a 1"),
        (["node:7000": "b:2", "10.0.0.1": "c", "node": "d"], "b 2"),
        (["10.0.0.1": "c", "node": "d"], "c 7000"),
        (["node": "d", "10.0.0.1:7001": "x"], "d 7000"),
        (["10.0.0.1": "c:3"], "c 3"),
        (["10.0.0.1:7000": "[::1]:4"], "::1 4"),
        (["10.0.0.1:7000": "[::1]"], "::1 7000"),
        (["10.0.0.1:7000": "::1"], "::1 7000"),
        (["10.0.0.2:7000": "x", "other": "y"], "10.0.0.1 7000"),
    ])
    func mapped(map: [String: String], expected: String) {
        #expect(place(map) == expected)
        // The map says what is reached: a host name that is announced changes nothing.
        if expected != "10.0.0.1 7000" { #expect(place(map, usesHostnames: true) == expected) }
    }

    @Test func addressesOfVersion6() {
        #expect(place(["[fd00::1]:7000": "a:1"], host: "fd00::1") == "a 1")
        #expect(place(["fd00::1": "a"], host: "fd00::1") == "a 7000")
        #expect(place(["[fd00::1]": "a"], host: "fd00::1") == "a 7000")
    }

    /// The host by which another node is reached is no announced one.
    @Test func theAskedHostIsNotMapped() {
        #expect(place(["asked": "x", "asked:7000": "y"], host: "", hostname: "") == "asked 7000")
    }
}

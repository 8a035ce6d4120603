/// How the nodes of a cluster are reached, given what they announce.
public struct ClusterAddressing: Sendable, Equatable {
    /// Announced address to the one to connect to, for a cluster behind address translation. Either
    /// is `host:port` or a bare host, an IPv6 address `[::1]:7000`; without a port to connect to, the
    /// announced one is kept.
    public var addressMap: [String: String]
    /// Connect to announced host names instead of addresses.
    public var usesHostnames: Bool

    public init(addressMap: [String: String] = [:], usesHostnames: Bool = false) {
        self.addressMap = addressMap
        self.usesHostnames = usesHostnames
    }

    /// Host and port to connect to for a node that announces `host`, `hostname` and `port`. An exact
    /// address in the map goes before a bare host, and an address before a host name.
    /// - Parameter askedHost: by which the node that told us is reached; used if `host` is empty.
    public func place(
        host: String, hostname: String, port: UInt16, askedHost: String
    ) -> (host: String, port: UInt16) {
        let announced = [host, hostname].filter { !$0.isEmpty }
        let keys =
            announced.map { "\(ClusterAddressing.bracketed($0)):\(port)" }
            + announced.flatMap { [$0, ClusterAddressing.bracketed($0)] }
        for key in keys {
            guard let mapped = addressMap[key] else { continue }
            let place = ClusterAddressing.parts(mapped)
            return (place.host, place.port ?? port)
        }
        if usesHostnames, !hostname.isEmpty { return (hostname, port) }
        return (host.isEmpty ? askedHost : host, port)
    }

    private static func bracketed(_ host: String) -> String {
        host.contains(":") ? "[\(host)]" : host
    }

    /// Takes `host:port` apart; a bare IPv6 address may stand with or without brackets.
    private static func parts(_ text: String) -> (host: String, port: UInt16?) {
        if text.hasPrefix("["), let close = text.lastIndex(of: "]") {
            let host = text[..<close].dropFirst()
            return (String(host), UInt16(text[close...].dropFirst(2)))
        }
        guard let colon = text.firstIndex(of: ":"), colon == text.lastIndex(of: ":") else {
            return (text, nil)
        }
        return (String(text[..<colon]), UInt16(text[text.index(after: colon)...]))
    }
}

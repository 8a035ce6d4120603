/// A server address as an operator writes it: `redis://[user[:password]@]host[:port][/0]`, the same
/// with `valkey://`, plain `host:port`, or `[::1]:6379`. Several nodes stand in
/// `redis-cluster://[user[:password]@]host[:port],...` and, with the name of a master that they know,
/// `redis-sentinel://[user[:password]@]host[:port],.../name[/0]`.
struct EndpointURL: Equatable {
    static let defaultPort: UInt16 = 6379
    static let defaultSentinelPort: UInt16 = 26379

    /// What an address says of the servers it names.
    enum Kind: Equatable {
        case server
        case cluster
        /// They are sentinels; user and password belong to the master.
        case sentinel(master: String)
    }

    struct Node: Equatable {
        var host: String
        var port: UInt16
    }

    var host: String
    var port: UInt16
    /// Nil if the address does not name one.
    var user: String?
    var password: String?
    var kind = Kind.server
    /// The nodes behind the first.
    var others: [Node] = []

    /// Why an address was refused. The text never repeats what stands before an `@`.
    struct Refusal: Error, Equatable {
        let reason: String
    }

    /// - Throws: `Refusal` with a reason that continues the sentence "source.addr: ...".
    static func parse(_ text: String) throws(Refusal) -> EndpointURL {
        try refuseStrangeCharacters(Substring(text))
        guard let (scheme, rest) = split(text, at: "://") else {
            return try parsePlain(Substring(text))
        }
        switch scheme.lowercased() {
        case "redis", "valkey":
            return try parseURL(rest)
        case "redis-cluster":
            return try parseCluster(rest)
        case "redis-sentinel":
            return try parseSentinels(rest)
        case "rediss", "valkeys":
            throw Refusal(
                reason: "TLS is not available in this version; use redis:// over a network you"
                    + " trust, or a local TLS tunnel such as stunnel")
        default:
            throw Refusal(
                reason: "unknown scheme; write redis://host:port, host:port, redis-cluster:// or"
                    + " redis-sentinel://")
        }
    }

    /// One node: `host`, `host:port` or `[::1]:port`.
    static func parseNode(
        _ text: Substring, defaultPort: UInt16 = EndpointURL.defaultPort
    ) throws(Refusal) -> Node {
        try refuseStrangeCharacters(text)
        if text.contains("/") || text.contains("@") {
            throw Refusal(
                reason: "a node is written host:port; user and password have their own keys")
        }
        let (host, port) = try parseHostAndPort(text, defaultPort: defaultPort)
        return Node(host: host, port: port)
    }

    private static func refuseStrangeCharacters(_ text: Substring) throws(Refusal) {
        let hasStrangeCharacters = text.unicodeScalars.contains {
            $0.value <= 0x20 || ($0.value >= 0x7F && $0.value < 0xA0)
        }
        if hasStrangeCharacters {
            throw Refusal(reason: "an address has no spaces or control characters")
        }
    }

    private static func parsePlain(_ text: Substring) throws(Refusal) -> EndpointURL {
        if text.contains("@") {
            throw Refusal(reason: "a user or password needs the form redis://user:password@host")
        }
        if text.contains("/") {
            throw Refusal(reason: "write host:port, or redis://host:port")
        }
        let (host, port) = try parseHostAndPort(text)
        return EndpointURL(host: host, port: port)
    }

    private static func parseURL(_ text: Substring) throws(Refusal) -> EndpointURL {
        let parts = try Parts(text)
        try checkPath(parts.path)
        let (host, port) = try parseHostAndPort(parts.places)
        return EndpointURL(host: host, port: port, user: parts.user, password: parts.password)
    }

    private static func parseCluster(_ text: Substring) throws(Refusal) -> EndpointURL {
        let parts = try Parts(text)
        try checkPath(parts.path)
        return try parseNodes(parts, .cluster, defaultPort: defaultPort)
    }

    private static func parseSentinels(_ text: Substring) throws(Refusal) -> EndpointURL {
        let parts = try Parts(text)
        if parts.path.contains("?") || parts.path.contains("#") { try checkPath(parts.path) }
        let steps = parts.path.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
        let master = steps.first ?? ""
        // What a sentinel takes as a name.
        let isName = master.utf8.allSatisfy {
            isLetterOrDigit($0)
                || [UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_")].contains($0)
        }
        guard !master.isEmpty, isName else {
            throw Refusal(
                reason: "name the master that the sentinels know, in letters, digits, '.', '-' and"
                    + " '_': redis-sentinel://host:26379/mymaster")
        }
        try checkPath(parts.path.dropFirst(1 + master.count))
        return try parseNodes(
            parts, .sentinel(master: String(master)), defaultPort: defaultSentinelPort)
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: false
        }
    }

    private static func parseNodes(
        _ parts: Parts, _ kind: Kind, defaultPort: UInt16
    ) throws(Refusal) -> EndpointURL {
        var nodes: [Node] = []
        for place in parts.places.split(separator: ",", omittingEmptySubsequences: false) {
            nodes.append(try parseNode(place, defaultPort: defaultPort))
        }
        return EndpointURL(
            host: nodes[0].host, port: nodes[0].port, user: parts.user, password: parts.password,
            kind: kind, others: Array(nodes.dropFirst()))
    }

    /// What stands behind `scheme://`: `[user[:password]@]places[/path]`.
    private struct Parts {
        var user: String?
        var password: String?
        var places: Substring
        var path: Substring

        init(_ text: Substring) throws(Refusal) {
            let end = text.firstIndex { $0 == "/" || $0 == "?" || $0 == "#" } ?? text.endIndex
            let authority = text[..<end]
            path = text[end...]
            if path.contains("@") {
                throw Refusal(
                    reason: "'/', '?', '#' and '@' in a user or password must be written %2F, %3F,"
                        + " %23 and %40")
            }
            places = authority
            guard let at = authority.lastIndex(of: "@") else { return }
            places = authority[authority.index(after: at)...]
            let login = authority[..<at]
            let colon = login.firstIndex(of: ":") ?? login.endIndex
            let user = try decodePercent(login[..<colon])
            let password = try decodePercent(login[colon...].dropFirst())
            self.user = user.isEmpty ? nil : user
            self.password = password.isEmpty ? nil : password
        }
    }

    private static func checkPath(_ path: Substring) throws(Refusal) {
        if path.isEmpty || path == "/" || path == "/0" { return }
        if path.contains("?") || path.contains("#") {
            throw Refusal(reason: "an address takes no '?' or '#' part")
        }
        throw Refusal(
            reason: "every database is copied under its own number, so an address may end in /0"
                + " or nothing")
    }

    private static func parseHostAndPort(
        _ text: Substring, defaultPort: UInt16 = EndpointURL.defaultPort
    ) throws(Refusal) -> (String, UInt16) {
        let host: Substring
        let portText: Substring?
        if text.hasPrefix("[") {
            guard let close = text.firstIndex(of: "]") else {
                throw Refusal(reason: "an IPv6 address ends in ']', as in [::1]:6379")
            }
            host = text[text.index(after: text.startIndex)..<close]
            let after = text[text.index(after: close)...]
            guard after.isEmpty || after.hasPrefix(":") else {
                throw Refusal(reason: "only :port may follow ']'")
            }
            portText = after.isEmpty ? nil : after.dropFirst()
        } else if let colon = text.firstIndex(of: ":") {
            host = text[..<colon]
            portText = text[text.index(after: colon)...]
            if portText?.contains(":") == true {
                throw Refusal(reason: "an IPv6 address needs brackets, as in [::1]:6379")
            }
        } else {
            host = text
            portText = nil
        }
        guard !host.isEmpty else { throw Refusal(reason: "the host is missing") }
        // The longest name that DNS can carry.
        guard host.utf8.count <= 253 else { throw Refusal(reason: "the host name is too long") }
        guard let portText else { return (String(host), defaultPort) }
        guard portText.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let port = UInt16(portText), port > 0
        else { throw Refusal(reason: "the port must be a number from 1 to 65535") }
        return (String(host), port)
    }

    private static func decodePercent(_ text: Substring) throws(Refusal) -> String {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let high = rest.popFirst().flatMap(hexDigit),
                let low = rest.popFirst().flatMap(hexDigit)
            else { throw Refusal(reason: "a '%' in a user or password must be written %25") }
            bytes.append(high << 4 | low)
        }
        guard let decoded = String(validating: bytes, as: UTF8.self) else {
            throw Refusal(reason: "the user or password is not UTF-8")
        }
        return decoded
    }

    private static func hexDigit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    private static func split(_ text: String, at separator: String) -> (Substring, Substring)? {
        guard let range = text.firstRange(of: separator) else { return nil }
        return (text[..<range.lowerBound], text[range.upperBound...])
    }
}

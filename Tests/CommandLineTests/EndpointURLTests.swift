import Testing

@testable import df2redis

/// An address means one server, or is refused with a reason that gives no secret away.
struct EndpointURLTests {
    @Test(
        arguments: [
            ("redis://host:7000", "host", 7000, nil, nil),
            ("redis://host", "host", 6379, nil, nil),
            ("redis://host:7000/", "host", 7000, nil, nil),
            ("REDIS://host/0", "host", 6379, nil, nil),
            ("valkey://10.0.0.1:1", "10.0.0.1", 1, nil, nil),
            ("host", "host", 6379, nil, nil),
            ("host:65535", "host", 65535, nil, nil),
            ("[::1]:6380", "::1", 6380, nil, nil),
            ("[fe80::1%eth0]", "fe80::1%eth0", 6379, nil, nil),
            ("redis://[::1]", "::1", 6379, nil, nil),
            ("redis://user@host", "host", 6379, "user", nil),
            ("redis://:secret@host", "host", 6379, nil, "secret"),
            ("redis://user:secret@[::1]:1", "::1", 1, "user", "secret"),
            ("redis://user:a:b@host", "host", 6379, "user", "a:b"),
            ("redis://user:a@b@host", "host", 6379, "user", "a@b"),
            ("redis://us%40er:%2F%c3%a4@host", "host", 6379, "us@er", "/ä"),
        ] as [(String, String, UInt16, String?, String?)])
    func understood(text: String, host: String, port: UInt16, user: String?, password: String?)
        throws
    {
        let url = try EndpointURL.parse(text)
        #expect(url == EndpointURL(host: host, port: port, user: user, password: password))
    }

    @Test func clusters() throws {
        let url = try EndpointURL.parse("redis-cluster://user:p,w@a:7000,b,[::1]:7002/0")
        #expect(
            url
                == EndpointURL(
                    host: "a", port: 7000, user: "user", password: "p,w", kind: .cluster,
                    others: [.init(host: "b", port: 6379), .init(host: "::1", port: 7002)]))
        let one = try EndpointURL.parse("Redis-Cluster://a")
        #expect(one == EndpointURL(host: "a", port: 6379, kind: .cluster))
    }

    @Test(arguments: ["", "/", "/0"])
    func sentinels(ending: String) throws {
        let url = try EndpointURL.parse("redis-sentinel://:secret@a,b:1/my-master.1" + ending)
        #expect(
            url
                == EndpointURL(
                    host: "a", port: 26379, password: "secret",
                    kind: .sentinel(master: "my-master.1"), others: [.init(host: "b", port: 1)]))
    }

    @Test(arguments: [
        ("redis-cluster://a,,b", "the host is missing"),
        ("redis-cluster://a:1,b:x", "the port must be"),
        ("redis-cluster://a/1", "every database is copied under its own number"),
        ("redis-sentinel://a", "name the master"), ("redis-sentinel://a/", "name the master"),
        ("redis-sentinel://a//0", "name the master"),
        ("redis-sentinel://a/my master", "no spaces or control characters"),
        ("redis-sentinel://a/my*master", "name the master"),
        ("redis-sentinel://a/m/1", "every database is copied under its own number"),
        ("redis-sentinel://a/m?x=1", "takes no '?'"),
        ("rediss://host", "TLS is not available in this version"),
        ("valkeys://host", "TLS is not available in this version"),
        ("http://host", "unknown scheme"),
        ("", "the host is missing"),
        (":6379", "the host is missing"),
        ("redis://", "the host is missing"),
        ("redis://user:pass@", "the host is missing"),
        ("host:", "the port must be"),
        ("host:0", "the port must be"),
        ("host:65536", "the port must be"),
        ("host:+80", "the port must be"),
        ("host:6379x", "the port must be"),
        ("::1", "an IPv6 address needs brackets"),
        ("[::1", "ends in ']'"),
        ("[::1]6379", "only :port may follow"),
        ("redis://host/1", "every database is copied under its own number"),
        ("redis://host?x=1", "takes no '?'"),
        ("ho st", "no spaces or control characters"),
        ("host\u{1B}[2J", "no spaces or control characters"),
        ("redis://user:%zz@host", "must be written %25"),
        ("redis://user:%ff@host", "not UTF-8"),
    ])
    func refused(text: String, reason: String) {
        #expect(refusal(text)?.contains(reason) == true, "\(refusal(text) ?? "accepted")")
    }

    /// Whatever is wrong with an address, the message does not repeat the password.
    @Test(arguments: [
        "user:hunter2@host", "redis://user:hunt/er2@host", "redis://u:hunter2@host:x",
        "redis://u:hunter2%@host", "rediss://u:hunter2@host", "foo://u:hunter2@host",
        "redis-cluster://u:hunter2@a,b:x", "redis-sentinel://u:hunter2@a",
        "redis-cluster://hunter2@a@",
        "redis://u:hunter2@host/7", "redis://u:hunter2@", "redis://:hunter2@ho st",
    ])
    func secretsStayOut(text: String) throws {
        let reason = try #require(refusal(text))
        #expect(!reason.contains("hunt") && !reason.contains("er2"))
    }

    private func refusal(_ text: String) -> String? {
        do throws(EndpointURL.Refusal) {
            _ = try EndpointURL.parse(text)
            return nil
        } catch {
            return error.reason
        }
    }
}

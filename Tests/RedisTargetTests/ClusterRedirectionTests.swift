import Bytes
import Testing

@testable import RedisTarget

/// What a cluster node says of where a command belongs is understood; other errors stay errors.
@Suite struct ClusterRedirectionTests {
    @Test func places() {
        #expect(
            ClusterRedirection("MOVED 3999 127.0.0.1:6381")
                == .moved(slot: 3999, host: "127.0.0.1", port: 6381))
        #expect(
            ClusterRedirection("ASK 16383 ::1:65535")
                == .ask(slot: 16383, host: "::1", port: 65535))
        #expect(
            ClusterRedirection("MOVED 0 node-1.local:1")
                == .moved(slot: 0, host: "node-1.local", port: 1))
    }

    /// Without a host it is the one that answered.
    @Test func unknownHosts() {
        #expect(ClusterRedirection("MOVED 1 :6381") == .moved(slot: 1, host: "", port: 6381))
        #expect(ClusterRedirection("ASK 1 ?:6381") == .ask(slot: 1, host: "", port: 6381))
    }

    @Test func states() {
        let rows: [(ByteView, ClusterRedirection)] = [
            ("TRYAGAIN Multiple keys request during rehashing of slot", .tryAgain),
            ("CLUSTERDOWN The cluster is down", .clusterDown),
            ("CLUSTERDOWN Hash slot not served", .clusterDown),
            ("LOADING Redis is loading the dataset in memory", .loading),
            ("READONLY You can't write against a read only replica.", .readOnly),
            (
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
                .masterDown
            ),
            ("CROSSSLOT Keys in request don't hash to the same slot", .crossSlot),
            ("TRYAGAIN", .tryAgain),
        ]
        for (error, redirection) in rows {
            #expect(ClusterRedirection(error) == redirection, "\(error.printable())")
        }
    }

    /// EXEC wraps what keeps it from being run; that one of its commands failed is no redirection.
    @Test func transactions() {
        #expect(
            ClusterRedirection(
                "EXECABORT Transaction discarded because of: READONLY You can't write against a read"
            ) == .readOnly)
        #expect(
            ClusterRedirection("EXECABORT Transaction discarded because of: MOVED 5 a:6")
                == .moved(slot: 5, host: "a", port: 6))
        #expect(
            ClusterRedirection("EXECABORT Transaction discarded because of previous errors.") == nil
        )
        #expect(
            ClusterRedirection("EXECABORT Transaction discarded because of: NOAUTH Authentication")
                == nil)
    }

    @Test(arguments: [
        "", " ", "ERR unknown command", "MOVEDX 1 a:1", "moved 1 a:1", "MOVED", "MOVED ", "MOVED 1",
        "MOVED 1 ", "MOVED x a:1", "MOVED -1 a:1", "MOVED 16384 a:1", "MOVED 1 a", "MOVED 1 a:",
        "MOVED 1 a:0", "MOVED 1 a:65536", "MOVED 1 a:b", "ASKING 1 a:1", "ERR MOVED 1 a:1",
        "WRONGTYPE Operation against a key", "OOM command not allowed", "NOREPLICAS Not enough",
    ])
    func othersAreNone(text: String) {
        #expect(Array(text.utf8).withByteView { ClusterRedirection($0) == nil })
    }
}

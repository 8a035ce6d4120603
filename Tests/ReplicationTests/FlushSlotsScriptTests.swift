import Bytes
import TestSupport
import Testing

@testable import Replication

/// The script that deletes the keys of slots, on every kind of target. That it is right about slots is
/// shown by `FlushTests` of IntegrationTests.
@Suite struct FlushSlotsScriptTests {
    @Test(arguments: TargetServer.available)
    func whatARefusalMeans(_ kind: TargetServer) throws {
        let (server, master) = (try RedisServer(kind), try RedisServer(kind))
        let client = try server.client()
        for number in 0..<2000 { try client.call("SET", "k:\(number)", "v") }
        try flush("8192", "16383", client)
        let left = try client.call("DBSIZE").integer ?? 0
        #expect((800...1200).contains(left))

        // One may not delete: that is for the operator.
        try client.call("ACL", "SETUSER", "some", "on", "nopass", "~*", "+@all", "-unlink")
        let some = try server.client()
        try some.call("AUTH", "some", "any")
        #expect(try !refusal(some).hasPrefix("TRYAGAIN"))

        // A replica by now: the master has the keys.
        try client.call("REPLICAOF", "127.0.0.1", "\(master.port)")
        try client.call("CONFIG", "SET", "replica-serve-stale-data", "yes")
        #expect(try refusal(client).hasPrefix("TRYAGAIN "))
        try client.call("REPLICAOF", "NO", "ONE")
        try flush("0", "8191", client)
        #expect(try client.call("DBSIZE").integer == 0)
    }

    private func flush(_ first: String, _ last: String, _ client: RespClient) throws {
        var cursor = "0"
        repeat {
            cursor = try #require(try page(cursor, first, last, client).text)
        } while cursor != "0"
    }

    private func refusal(_ client: RespClient) throws -> String {
        let reply = try page("0", "0", "8191", client)
        guard case .error(let text) = reply else { throw TestSupportError("not refused: \(reply)") }
        return text
    }

    private func page(
        _ cursor: String, _ first: String, _ last: String, _ client: RespClient
    ) throws -> RespValue {
        try client.command(
            ["EVAL", "\(JournalWriter.flushSlotsScript)", "0", cursor, first, last].map {
                Array($0.utf8)
            })
    }
}

import RedisTarget
import TestSupport
import Testing
import Wire

/// Fields keep their own expiry on a target that has such.
@Suite struct FieldExpiryTests {
    /// What type 31 counts its seconds from (protocol.md 3.9.6).
    private static let base: Int64 = 1_675_209_600

    /// Every third field has an expiry, each its own; some of them have passed.
    private func hash(fields: Int) -> [UInt8] {
        var bytes: [UInt8] = [0x80] + (0..<4).reversed().map { UInt8(fields >> ($0 * 8) & 255) }
        for field in 0..<fields {
            let name = Array("field:\(field)".utf8)
            bytes += [UInt8(name.count)] + name + [1, 0x76]
            if field % 3 != 0 {
                bytes += [0xc0, 0xff]
            } else {
                let seconds = UInt32(field % 9 == 0 ? 1 : 300_000_000 + field)
                bytes += [0xc2] + (0..<4).map { UInt8(seconds >> (UInt32($0) * 8) & 255) }
            }
        }
        return bytes
    }

    @Test(
        arguments: TargetServer.withFieldExpiry, [(1 << 20, 1 << 12), (1 << 12, 8)])
    func fieldsExpireWhenTheyShould(
        _ server: TargetServer, _ room: (ringBytes: Int, commandsInFlight: Int)
    ) throws {
        let target = try RedisServer(server)
        let run = try EntryRun(
            target, .automatic, ringBytes: room.ringBytes,
            version: TargetVersion(major: 7, minor: 4), commandsInFlight: room.commandsInFlight,
            unixMilliseconds: (Self.base + 10) * 1000)
        try run.write([
            StoredEntry(.hashWithExpiry, "h", hash(fields: 2000)),
            StoredEntry(.hashWithExpiry, "small", hash(fields: 4)),
        ])
        #expect(run.errors.isEmpty && run.memberExpiriesDropped == 0)
        #expect(run.pipeline.answers.allSatisfy { $0.error == nil })
        let client = try target.client()
        // One in nine had passed.
        #expect(try client.call("HLEN", "h").integer == 2000 - 223)
        for field in stride(from: 1, to: 2000, by: 7) where field % 9 != 0 {
            let seconds = try client.call("HEXPIRETIME", "h", "FIELDS", "1", "field:\(field)")
            let expected = field % 3 == 0 ? Self.base + 300_000_000 + Int64(field) : -1
            #expect(seconds.elements?.first?.integer == expected, "\(field)")
        }
        #expect(try client.call("HLEN", "small").integer == 3)
    }
}

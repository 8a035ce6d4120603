import Bytes
import Testing
import Wire

@testable import RedisTarget

/// What a target can load is known before anything is sent to it.
@Suite struct TargetVersionTests {
    private func version(_ text: String) -> TargetVersion? {
        Array(text.utf8).withByteView { TargetVersion(info: $0) }
    }

    @Test func parsesInfo() {
        #expect(
            version("# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n")
                == TargetVersion(major: 7, minor: 0, patch: 15))
        #expect(version("redis_version:6.2.14") == TargetVersion(major: 6, minor: 2, patch: 14))
        #expect(version("redis_version:8.0\r\n") == TargetVersion(major: 8, minor: 0))
        #expect(version("redis_version:7\r\n") == TargetVersion(major: 7, minor: 0))
        #expect(
            version("redis_version:255.255.255\r\n")
                == TargetVersion(major: 255, minor: 255, patch: 255))
        #expect(version("redis_version:8.0.0-rc1\r\n") == TargetVersion(major: 8, minor: 0))
        #expect(
            version("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.3\r\n")
                == TargetVersion(product: .valkey, major: 8, minor: 1, patch: 3))
        #expect(version("redis_version:7.0.15\r\n")?.description == "Redis 7.0.15")
        #expect(
            version("redis_version:7.2.4\r\nvalkey_version:8.1.3")?.description == "Valkey 8.1.3")
    }

    @Test func whatIsNoVersionIsNone() {
        for text in [
            "", "# Server\r\n", "redis_version:\r\n", "redis_version:unknown\r\n",
            "xredis_version:7.0.0\r\n", "redis_version:.5\r\n",
        ] {
            #expect(version(text) == nil, "\(text)")
        }
        // Numbers that no version has overflow nothing.
        _ = version("redis_version:99999999999999999999999999.1.1\r\n")
        _ = version("redis_version:7.99999999999999999999999999\r\n")
        _ = version("redis_version:7.0.0.0.0.0\r\n")
    }

    @Test func infoLinesAreFoundByTheirName() {
        let info = InfoText("# S\r\nrole:master\r\nmy_role:no\r\nempty:\r\nlast:x")
        #expect(info.value(of: "role:")?.printable() == "master")
        #expect(info.value(of: "empty:")?.printable() == "")
        #expect(info.value(of: "last:")?.printable() == "x")
        #expect(info.value(of: "none:") == nil)
    }

    @Test func fieldExpiriesAreNew() {
        for (product, major, minor, knows) in [
            (TargetVersion.Product.redis, 7, 2, false), (.redis, 7, 4, true), (.redis, 8, 0, true),
            (.redis, 6, 9, false), (.valkey, 7, 2, false), (.valkey, 8, 1, false),
            (.valkey, 9, 0, true),
        ] {
            let version = TargetVersion(product: product, major: major, minor: minor)
            #expect(version.knowsFieldExpiry == knows, "\(version)")
        }
    }

    /// protocol.md 3.11, the whole table.
    @Test func loadingFollowsTheVersion() {
        typealias Row = (ValueType, [TargetVersion.Loading])
        let versions = [
            TargetVersion(major: 5, minor: 0, patch: 14), TargetVersion(major: 6, minor: 2),
            TargetVersion(major: 7, minor: 0), TargetVersion(major: 7, minor: 2),
            TargetVersion(major: 8, minor: 0), TargetVersion(product: .valkey, major: 7, minor: 2),
            TargetVersion(product: .valkey, major: 8, minor: 1),
            TargetVersion(product: .valkey, major: 9, minor: 0),
        ]
        let any = [TargetVersion.Loading](repeating: .verbatim, count: 8)
        let since7: [TargetVersion.Loading] = [.commands, .commands] + any.dropFirst(2)
        let since72: [TargetVersion.Loading] = [.commands, .commands, .commands] + any.dropFirst(3)
        let stream15 = TargetVersion.Loading.rewritten(.streamListpacks)
        let stream19 = TargetVersion.Loading.rewritten(.streamListpacks2)
        let table: [Row] = [
            (.string, any), (.set, any), (.hash, any), (.zset2, any), (.setIntset, any),
            (.zsetZiplist, any), (.hashZiplist, any), (.listQuicklist, any),
            (.streamListpacks, any), (.hashListpack, since7), (.zsetListpack, since7),
            (.listQuicklist2, since7), (.setListpack, since72),
            (.streamListpacks2, [stream15, stream15] + any.dropFirst(2)),
            (.streamListpacks3, [stream15, stream15, stream19] + any.dropFirst(3)),
            (.hashWithExpiry, [TargetVersion.Loading](repeating: .commands, count: 8)),
            (.setWithExpiry, [TargetVersion.Loading](repeating: .commands, count: 8)),
        ]
        for (type, loadings) in table {
            #expect(versions.map { $0.loading(of: type) } == loadings, "\(type)")
        }
        let listed = Set(table.map(\.0))
        for type in ValueType.allCases where !listed.contains(type) {
            #expect(versions.allSatisfy { $0.loading(of: type) == .impossible }, "\(type)")
        }
        #expect(
            versions.map(\.knowsEntriesRead) == [false, false] + [Bool](repeating: true, count: 6))
    }
}

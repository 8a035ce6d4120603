import Bytes
import RedisTarget
import TestSupport
import Testing
import Wire

/// The table of what a target loads and knows (`TargetVersion`) is asked of each server that is
/// there, in both directions: what it says is possible is, and what it says is not is refused.
@Suite struct TargetServerTests {
    /// A value of each type that has an equal in Redis; `x` and `y` are elements.
    private static let samples: [(ValueType, [UInt8])] = [
        (.string, [1, 0x76]), (.set, [1, 1, 0x78]), (.hash, [1, 1, 0x78, 1, 0x79]),
        (.zset2, [1, 1, 0x78, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f]),
        (.setIntset, [10, 2, 0, 0, 0, 1, 0, 0, 0, 5, 0]),
        (.hashZiplist, ziplist), (.zsetZiplist, ziplist), (.listQuicklist, [1] + ziplist),
        (.hashListpack, listpack), (.zsetListpack, listpack), (.setListpack, listpack),
        (.listQuicklist2, [1, 2] + listpack), (.listQuicklist2, [1, 1, 1, 0x78]),
        (.streamListpacks, stream([0])), (.streamListpacks2, stream([0, 0, 0, 0, 1, 0])),
        (.streamListpacks3, stream([0, 0, 0, 0, 1, 0])),
        (.streamListpacks3, EntryWriterTests.stream21),
    ]

    /// `x` and 5.
    private static let listpack: [UInt8] = [12, 12, 0, 0, 0, 2, 0, 0x81, 0x78, 2, 5, 1, 0xff]
    private static let ziplist: [UInt8] = [
        16, 16, 0, 0, 0, 13, 0, 0, 0, 2, 0, 0, 1, 0x78, 3, 0xf6, 0xff,
    ]

    /// No nodes, length 0, last id 5-0, then what the layout has: ids and counters, groups.
    private static func stream(_ rest: [UInt8]) -> [UInt8] { [0, 0, 5, 0] + rest }

    private func version(_ server: RedisServer) throws -> TargetVersion {
        let info = try server.information()
        return try #require(info.withByteView { TargetVersion(info: $0) })
    }

    @Test(arguments: TargetServer.available)
    func versionIsUnderstood(_ kind: TargetServer) throws {
        let server = try RedisServer(kind)
        let version = try version(server)
        #expect(version.description.hasSuffix(" \(try server.version())"))
        let expected: (TargetVersion.Product, Int, Int)? =
            switch kind {
            case .system: nil
            case .redis6: (.redis, 6, 2)
            case .redis8: (.redis, 8, version.minor)
            case .valkey8: (.valkey, 8, version.minor)
            case .valkey9: (.valkey, 9, version.minor)
            }
        if let expected { #expect((version.product, version.major, version.minor) == expected) }
        print("\(kind): \(version)")
    }

    @Test(arguments: TargetServer.available)
    func loadingIsAsTheTableSays(_ kind: TargetServer) throws {
        let server = try RedisServer(kind)
        let version = try version(server)
        let client = try server.client()
        for (type, value) in Self.samples {
            let reply = try client.command([
                Array("RESTORE".utf8), Array("k".utf8), [0x30], try payload(type, value),
                Array("REPLACE".utf8),
            ])
            var isLoaded = true
            if case .error(let text) = reply {
                isLoaded = false
                #expect(text.contains("Bad data format"), "\(type): \(text)")
            }
            #expect(isLoaded == (version.loading(of: type) == .verbatim), "\(version), \(type)")
        }
        // Every row of the table was asked.
        for type in ValueType.allCases where version.loading(of: type) == .verbatim {
            #expect(Self.samples.contains { $0.0 == type }, "\(type)")
        }
    }

    /// What the source alone has is refused by every target, modules aside.
    @Test(arguments: TargetServer.available)
    func foreignTypesAreRefused(_ kind: TargetServer) throws {
        let server = try RedisServer(kind)
        let version = try version(server)
        let client = try server.client()
        for type in ValueType.allCases {
            switch version.loading(of: type) {
            case .verbatim, .rewritten: continue
            case .commands where Self.samples.contains { $0.0 == type }: continue
            case .commands, .impossible: break
            }
            let reply = try client.command([
                Array("RESTORE".utf8), Array("k".utf8), [0x30],
                try payload(type, [1, 1, 0x78, 1, 0x79, 0xc0, 0xff]),
            ])
            guard case .error = reply else {
                Issue.record("\(version) takes \(type)")
                continue
            }
        }
    }

    @Test(arguments: TargetServer.available)
    func commandsAreKnownAsTheTableSays(_ kind: TargetServer) throws {
        let server = try RedisServer(kind)
        let version = try version(server)
        let client = try server.client()
        try client.call("XADD", "x", "1-1", "f", "v")
        try client.call("HSET", "h", "f", "v")
        func isTaken(_ command: String) throws -> Bool {
            let words = command.split(separator: " ").map { Array($0.utf8) }
            if case .error = try client.command(words) { return false }
            return true
        }
        for command in [
            "XGROUP CREATE x g 1-1 ENTRIESREAD 1", "XSETID x 1-1 ENTRIESADDED 2 MAXDELETEDID 0-1",
        ] {
            #expect(try isTaken(command) == version.knowsEntriesRead, "\(version), \(command)")
        }
        for command in [
            "HPEXPIREAT h 4102444800123 FIELDS 1 f", "HPERSIST h FIELDS 1 f",
        ] {
            #expect(try isTaken(command) == version.knowsFieldExpiry, "\(version), \(command)")
        }
        // What every supported target must know.
        for command in [
            "SET s v PXAT 4102444800123",
            "XGROUP CREATE x g2 0", "XGROUP CREATECONSUMER x g2 c",
            "XCLAIM x g2 c 0 1-1 TIME 5 RETRYCOUNT 3 FORCE JUSTID", "ZADD z GT 1 m",
        ] {
            #expect(try isTaken(command), "\(version), \(command)")
        }
    }

    private func payload(_ type: ValueType, _ value: [UInt8]) throws -> [UInt8] {
        var bytes = [type.rawValue] + value
        let footer = value.withByteView { DumpPayload.footer(type: type, value: $0) }
        withUnsafeBytes(of: footer.version.littleEndian) { bytes += $0 }
        withUnsafeBytes(of: footer.checksum.littleEndian) { bytes += $0 }
        return bytes
    }
}

import Bytes
import Foundation
import TestSupport

@testable import DragonflySimulator

/// A source whose snapshot is put together byte by byte, for what no emulated release sends.
final class MadeSource {
    private let folder: TemporaryDirectory
    private static let token = String(repeating: "0123456789", count: 4)

    /// - Parameters:
    ///   - items: the bytes of the items between header and full-sync end (protocol.md 3.1).
    ///   - release: as INFO names it.
    init(_ items: [UInt8], release: String = "df-v1.40.0") throws {
        folder = try TemporaryDirectory()
        let before =
            Array("REDIS0009".utf8) + items + [0xc8] + [UInt8](repeating: 0, count: 8)
        // JOURNAL_OFFSET 1, EOF, no checksum, token: nothing was ever written to the journal.
        let bytes =
            before + [0xd3, 1] + [UInt8](repeating: 0, count: 7) + [0xff]
            + [UInt8](repeating: 0, count: 8) + Array(Self.token.utf8)
        let plain = folder.file("flow-0.bin")
        try Data(bytes).write(to: URL(fileURLWithPath: plain))
        let gzip = try ChildProcess(systemProgram("gzip", package: "gzip"), [plain])
        guard try gzip.waitForEnd(timeoutSeconds: 60).exitCode == 0 else {
            throw TestSupportError("gzip \(plain): \(gzip.standardError)")
        }
        let manifest = """
            {"master_id": "\(Self.token)", "protocol_version": 5,
            "server": ["dragonfly_version:\(release)", "redis_version:7.4.0"], "handshake": [],
            "replica_offset_at_end": [1], "flows": [{"eof_token": "\(Self.token)",
            "sync_type": "FULL", "bytes_before_startstable": \(before.count),
            "bytes_at_stable": \(bytes.count), "bytes_total": \(bytes.count)}]}
            """
        try Data(manifest.utf8).write(to: URL(fileURLWithPath: folder.file("manifest.json")))
    }

    var source: SimulatorSource {
        get throws { .recording(try DragonflySimulator.Recording(folder: folder.path)) }
    }
}

/// Bytes of values (protocol.md 3.9, 3.10).
enum MadeBytes {
    static func string(_ bytes: [UInt8]) throws -> [UInt8] {
        try build { (builder) throws(SystemError) in try builder.append(string: bytes) }
    }

    /// Any bytes with their length, never as an integer.
    static func counted(_ bytes: [UInt8]) throws -> [UInt8] {
        try build { (builder) throws(SystemError) in
            try builder.append(count: bytes.count)
            for byte in bytes { try builder.append(byte: byte) }
        }
    }

    static func count(_ count: Int) throws -> [UInt8] {
        try build { (builder) throws(SystemError) in try builder.append(count: count) }
    }

    static func listpack(_ items: [[UInt8]], usesLZF: Bool = false) throws -> [UInt8] {
        try build(usesLZF: usesLZF) { (builder) throws(SystemError) in
            try builder.append(listpack: items)
        }
    }

    static func ziplist(_ items: [[UInt8]]) throws -> [UInt8] {
        try build { (builder) throws(SystemError) in try builder.append(ziplist: items) }
    }

    static func intset(_ members: [Int64]) throws -> [UInt8] {
        try build { (builder) throws(SystemError) in try builder.append(intset: members) }
    }

    /// A node of a list of type 18.
    static func node(
        _ items: [[UInt8]], isPlain: Bool = false, isCompressed: Bool = false
    ) throws -> [UInt8] {
        try build { (builder) throws(SystemError) in
            _ = try builder.append(node: items, isPlain: isPlain, isCompressed: isCompressed)
        }
    }

    private static func build(
        usesLZF: Bool = false, _ body: (inout EntryBuilder) throws(SystemError) -> Void
    ) throws -> [UInt8] {
        var builder = try EntryBuilder(usesLZF: usesLZF)
        try body(&builder)
        return builder.bytes.view.array()
    }
}

import Bytes
import TestSupport

@testable import DragonflySimulator

/// Keys of a real redis-server, encoded and packed as a release would.
enum EmulatedSnapshot {
    /// Asks the server for a key as an emulated master does.
    static func stored(_ name: KeyName, _ client: RespClient) throws -> StoredKey {
        try client.call("SELECT", "\(name.database)")
        let replies = try client.pipeline([
            words("DUMP", name.key), words("PEXPIRETIME", name.key),
        ])
        guard let dump = replies[0].bytes, let expiry = replies[1].integer else {
            throw TestSupportError("no DUMP of \(printable(name.key))")
        }
        return StoredKey(name: name, expiryMilliseconds: max(expiry, 0), dump: dump)
    }

    /// Packs whole entries as one flow, from the header to the token, and decodes that.
    static func decoded(
        _ entries: [EncodedEntry], _ release: EmulatedRelease, _ options: StreamOptions,
        flow: Int = 0, flowCount: Int = 1, scripts: [[UInt8]] = []
    ) throws -> SnapshotDecoder {
        try decoded(release, options, flow: flow, flowCount: flowCount, scripts: scripts) {
            for entry in entries { try $0.add(entry) }
        }
    }

    /// The same of what `body` adds.
    static func decoded(
        _ release: EmulatedRelease, _ options: StreamOptions, flow: Int = 0, flowCount: Int = 1,
        scripts: [[UInt8]] = [], _ body: (SnapshotStream) throws -> Void
    ) throws -> SnapshotDecoder {
        let memory = try SnapshotMemory()
        let stream = try SnapshotStream(
            release: release, options: options, flow: flow, flowCount: flowCount, output: memory)
        try stream.writeHeader(scripts: scripts)
        try body(stream)
        try stream.writeFullSyncEnd()
        let token = HexDigits.forty(seed: options.seed)
        try stream.writeTail(nextLSN: 77, token: token)
        var decoder = SnapshotDecoder()
        let rest = try decoder.decode(memory.view.array())
        guard rest == Array(token.utf8), decoder.offset == 77 else {
            throw TestSupportError("wrong end of a snapshot")
        }
        return decoder
    }
}

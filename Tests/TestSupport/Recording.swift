import Foundation

/// One folder of Tests/Recordings: what a real Dragonfly sent, and the state it should lead to.
public struct Recording: Sendable, CustomStringConvertible {
    public struct Flow: Sendable {
        /// True for `PARTIAL`: no snapshot, the journal continues at a requested LSN.
        public var isPartial: Bool
        /// Bytes received before `DFLY STARTSTABLE` was sent.
        public var bytesBeforeStable: Int
        /// Bytes up to the end of the token; the journal follows.
        public var bytesAtStable: Int
        public var bytesTotal: Int
    }

    public let name: String
    /// Absolute path of the folder.
    public let path: String
    /// `df-v…`
    public let version: String
    public let flows: [Flow]
    /// Per flow, the LSN after the last recorded one.
    public let finalLSNs: [UInt64]

    public var description: String { name }

    /// Folder of all recordings.
    public static let folder = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("Recordings").path

    /// Every recording, by name.
    public static func all() throws -> [Recording] {
        try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
            .filter { FileManager.default.fileExists(atPath: "\(folder)/\($0)/manifest.json") }
            .map(Recording.init)
    }

    public init(_ name: String) throws {
        self.name = name
        path = "\(Self.folder)/\(name)"
        let data = try Data(contentsOf: URL(fileURLWithPath: "\(path)/manifest.json"))
        let manifest = try JSONDecoder().decode(Manifest.self, from: data)
        flows = manifest.flows.map {
            Flow(
                isPartial: $0.sync_type == "PARTIAL",
                bytesBeforeStable: $0.bytes_before_startstable, bytesAtStable: $0.bytes_at_stable,
                bytesTotal: $0.bytes_total)
        }
        finalLSNs = manifest.replica_offset_at_end
        let prefix = "dragonfly_version:"
        version = String(
            manifest.server.first { $0.hasPrefix(prefix) }?.dropFirst(prefix.count) ?? "")
    }

    /// True if nothing was written while it was made: the snapshot alone is the end state.
    public var isSnapshotOnly: Bool { finalLSNs.allSatisfy { $0 == 1 } }

    /// True for releases that write streams as type 15, without entries-added, max-deleted id and
    /// entries-read (protocol.md 1.4).
    public var hasOldStreams: Bool { version.hasPrefix("df-v1.2") }

    /// Content of the server at the end.
    public func expected() throws -> ServerState {
        try ExpectedState.read("\(path)/expected.ndjson.gz")
    }

    /// Content of the server when the recording began, where the recording has it; else nothing was
    /// written while it was made, and this is the content at the end.
    public func before() throws -> ServerState {
        let file = "\(path)/before.ndjson.gz"
        return FileManager.default.fileExists(atPath: file)
            ? try ExpectedState.read(file) : try expected()
    }

    /// Every byte of a flow after the `DFLY FLOW` reply.
    public func bytes(flow: Int) throws -> [UInt8] {
        try ExpectedState.decompress("\(path)/flow-\(flow).bin.gz")
    }

    /// The journal of a flow as text, where the recording has it.
    public func journalText(flow: Int) throws -> String {
        try String(contentsOfFile: "\(path)/flow-\(flow).journal.txt", encoding: .utf8)
    }

    /// What was issued, a command a line, where the recording has it.
    public func commandLines() throws -> [String] {
        try String(contentsOfFile: "\(path)/commands.txt", encoding: .utf8)
            .split(separator: "\n").map(String.init)
    }

    /// A day after the recording began, in ms since 1970: what expires before that is left out of
    /// comparisons (README of the recordings). 0 if its snapshot does not say when it began.
    public func nearExpiryMilliseconds() throws -> Int64 {
        let header = try bytes(flow: 0).prefix(512)
        let name = Array("\u{fa}\u{05}ctime".unicodeScalars.map { UInt8($0.value) }) + [0xc2]
        guard let start = header.firstRange(of: name)?.upperBound, start + 4 <= header.endIndex
        else { return 0 }
        let seconds = header[start..<start + 4].reversed().reduce(Int64(0)) { $0 << 8 | Int64($1) }
        return (seconds + 86400) * 1000
    }

    // The names are those of the file.
    private struct Manifest: Decodable {
        struct Flow: Decodable {
            var sync_type: String
            var bytes_before_startstable: Int
            var bytes_at_stable: Int
            var bytes_total: Int
        }

        var server: [String]
        var flows: [Flow]
        var replica_offset_at_end: [UInt64]
    }
}

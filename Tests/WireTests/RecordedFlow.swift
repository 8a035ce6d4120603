import Foundation

/// A flow of Tests/Recordings.
struct RecordedFlow: CustomStringConvertible, Sendable {
    var folder: String
    var flow: Int
    var bytes: [UInt8]
    var token: String
    /// The LSN that a partial flow starts with.
    var partialLSN: UInt64?
    var offsetAtEnd: UInt64
    var journalText: String?

    var description: String { "\(folder)/flow-\(flow)" }

    static let root = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Recordings")

    /// All flows of all recordings, decompressed once.
    static let all: [RecordedFlow] = {
        do {
            return try load()
        } catch {
            fatalError("the recordings cannot be read: \(error)")
        }
    }()

    static func gunzip(_ file: URL) throws -> [UInt8] {
        let process = Process()
        process.executableURL = URL(filePath: "/bin/gzip")
        process.arguments = ["-dc", file.path(percentEncoded: false)]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let data = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw CocoaError(.fileReadCorruptFile) }
        return [UInt8](data)
    }

    private struct Manifest: Decodable {
        struct Flow: Decodable {
            var id: Int
            var sync_type: String
            var eof_token: String
        }
        var flows: [Flow]
        var replica_offset_at_end: [UInt64]
    }

    private static func load() throws -> [RecordedFlow] {
        let decoder = JSONDecoder()
        var result: [RecordedFlow] = []
        var offsets: [String: [UInt64]] = [:]
        let folders = try FileManager.default.contentsOfDirectory(
            at: root, includingPropertiesForKeys: nil
        ).filter { $0.pathExtension != "md" }.sorted { $0.path() < $1.path() }
        for folder in folders {
            let name = folder.lastPathComponent
            let data = try Data(contentsOf: folder.appending(path: "manifest.json"))
            let manifest = try decoder.decode(Manifest.self, from: data)
            offsets[name] = manifest.replica_offset_at_end
            for flow in manifest.flows {
                let file = folder.appending(path: "flow-\(flow.id).bin.gz")
                let text = folder.appending(path: "flow-\(flow.id).journal.txt")
                result.append(
                    RecordedFlow(
                        folder: name, flow: flow.id, bytes: try gunzip(file),
                        token: flow.eof_token,
                        // Sorted by name, so partial-1 has been read before partial-2.
                        partialLSN: flow.sync_type == "PARTIAL"
                            ? offsets["partial-1"]?[flow.id] : nil,
                        offsetAtEnd: manifest.replica_offset_at_end[flow.id],
                        journalText: try? String(contentsOf: text, encoding: .utf8)))
            }
        }
        return result
    }
}

import Bytes
import Foundation

@testable import Wire

/// The values in recordings of real servers, found by a plain walk over the stream: for recordings
/// without tagged chunks only.
enum RecordedValues {
    struct Recorded {
        var database: Int
        var key: [UInt8]
        var type: ValueType
        var value: [UInt8]
    }

    struct Failure: Error {
        var text: String
    }

    private static let directory = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("Recordings")

    private static func unpacked(_ path: String) throws -> [UInt8] {
        let file = directory.appendingPathComponent(path).path
        guard let output = popen("gzip -dc '\(file)'", "r") else { throw Failure(text: path) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = fread(&chunk, 1, chunk.count, output)
            guard count > 0 else { break }
            bytes += chunk[..<count]
        }
        guard pclose(output) == 0, !bytes.isEmpty else { throw Failure(text: path) }
        return bytes
    }

    /// All keys of all flows of a recording.
    static func all(_ recording: String) throws -> [Recorded] {
        let files = try FileManager.default.contentsOfDirectory(
            atPath: directory.appendingPathComponent(recording).path)
        var values: [Recorded] = []
        for file in files.sorted() where file.hasSuffix(".bin.gz") {
            var walk = Walk()
            try unpacked("\(recording)/\(file)").withByteView { view throws(DecodeError) in
                guard view.starts(with: ByteView("REDIS0009")) else {
                    throw DecodeError(.badHeader)
                }
                var cursor = WholeCursor(view, at: 9)
                try walk.items(&cursor)
            }
            values += walk.values
        }
        return values
    }

    /// The recorded state, by database and key.
    static func expected(_ recording: String) throws -> [ExpectedKey: [String: Any]] {
        var expected: [ExpectedKey: [String: Any]] = [:]
        let text = try unpacked("\(recording)/expected.ndjson.gz")
        for line in text.split(separator: 10) {
            guard let object = try JSONSerialization.jsonObject(with: Data(line)) as? [String: Any],
                let database = object["db"] as? Int, let key = object["key"]
            else { throw Failure(text: "a line of \(recording)") }
            expected[ExpectedKey(database: database, key: try bytes(key))] = object
        }
        return expected
    }

    struct ExpectedKey: Hashable {
        var database: Int
        var key: [UInt8]
    }

    /// A recorded string: text, or base64 of what is not printable.
    static func bytes(_ json: Any) throws -> [UInt8] {
        if let text = json as? String { return Array(text.utf8) }
        if let object = json as? [String: String], let text = object["b64"],
            let data = Data(base64Encoded: text)
        {
            return [UInt8](data)
        }
        throw Failure(text: "\(json)")
    }

    private struct Walk {
        var values: [Recorded] = []
        var database = 0
        var isOver = false

        mutating func items(_ cursor: inout WholeCursor) throws(DecodeError) {
            while !isOver && cursor.position < cursor.bytes.count {
                let opcode = try cursor.raw(1)[0]
                switch opcode {
                case 0xfa:
                    _ = try cursor.string()
                    _ = try cursor.string()
                case 0xfe: database = try cursor.count()
                case 0xfc, 0xc8, 0xd3: _ = try cursor.raw(8)
                case 0xdc:
                    if try cursor.little(as: UInt32.self) & 2 != 0 { _ = try cursor.raw(4) }
                case 0xd2:
                    _ = try cursor.length()
                    _ = try cursor.string()
                case 0xc9, 0xca:
                    try blob(cursor.string(), opcode == 0xc9 ? .zstd : .lz4)
                case 0xff: isOver = true
                default: try entry(opcode, &cursor)
                }
            }
        }

        private mutating func blob(
            _ string: WireString, _ format: FrameDecompressor.Format
        ) throws(DecodeError) {
            guard case .plain(let bytes) = string, var ring = try? MirroredRing(capacity: 1 << 24)
            else { throw DecodeError(.badString) }
            var frame = FrameDecompressor(format)
            let (consumed, status) = frame.decompress(bytes, into: &ring)
            guard consumed == bytes.count, status == .end else {
                throw DecodeError(.damagedCompression)
            }
            var cursor = WholeCursor(ring.readable)
            try items(&cursor)
        }

        private mutating func entry(
            _ opcode: UInt8, _ cursor: inout WholeCursor
        ) throws(DecodeError) {
            guard let type = ValueType(rawValue: opcode) else {
                throw DecodeError(.unknownOpcode, offset: cursor.position, opcode: opcode)
            }
            var scratch = try? RegionBuffer()
            guard let key = try scratch?.decodedArray(cursor.string()) else {
                throw DecodeError(.outOfMemory)
            }
            let start = cursor.position
            try pass(type, &cursor)
            let value = cursor.bytes.slice(start, cursor.position - start).array()
            values.append(Recorded(database: database, key: key, type: type, value: value))
        }

        private func strings(_ count: Int, _ cursor: inout WholeCursor) throws(DecodeError) {
            for _ in 0..<count { _ = try cursor.string() }
        }

        private func pass(_ type: ValueType, _ cursor: inout WholeCursor) throws(DecodeError) {
            switch type {
            case .set, .listQuicklist: try strings(cursor.count(), &cursor)
            case .hash, .setWithExpiry: try strings(2 * cursor.count(), &cursor)
            case .hashWithExpiry: try strings(3 * cursor.count(), &cursor)
            case .zset2:
                for _ in 0..<(try cursor.count()) {
                    _ = try cursor.string()
                    _ = try cursor.raw(8)
                }
            case .listQuicklist2:
                for _ in 0..<(try cursor.count()) {
                    _ = try cursor.length()
                    _ = try cursor.string()
                }
            case .streamListpacks, .streamListpacks2, .streamListpacks3:
                try strings(2 * cursor.count(), &cursor)
                _ = try cursor.streamMetadata(type)
                for _ in 0..<(try cursor.count()) {
                    _ = try cursor.streamGroupHead(type)
                    for _ in 0..<(try cursor.count()) { _ = try cursor.streamPendingRecord() }
                    for _ in 0..<(try cursor.count()) {
                        _ = try cursor.streamConsumerHead(type)
                        _ = try cursor.raw(16 * cursor.count())
                    }
                }
            case .bloom, .bloomChunked:
                _ = try cursor.length()
                _ = try cursor.raw(16)
                for _ in 0..<3 { _ = try cursor.length() }
                for _ in 0..<(try cursor.count()) {
                    _ = try cursor.length()
                    if type == .bloomChunked {
                        try pieces(&cursor)
                    } else {
                        _ = try cursor.string()
                    }
                }
            case .countMin:
                let width = try cursor.count()
                let depth = try cursor.count()
                _ = try cursor.length()
                _ = try cursor.raw(width * depth * 8)
            case .topK:
                for _ in 0..<4 { _ = try cursor.length() }
                _ = try cursor.raw(8)
                for _ in 0..<(try cursor.count()) {
                    _ = try cursor.string()
                    _ = try cursor.length()
                }
                _ = try cursor.raw(cursor.count())
            case .cuckoo:
                for _ in 0..<6 { _ = try cursor.length() }
                for _ in 0..<(try cursor.count()) { try pieces(&cursor) }
            default: _ = try cursor.string()
            }
        }

        private func pieces(_ cursor: inout WholeCursor) throws(DecodeError) {
            var left = try cursor.count()
            while left > 0 {
                let size = try cursor.count()
                _ = try cursor.raw(size)
                left -= size
            }
        }
    }
}

extension RegionBuffer {
    fileprivate mutating func decodedArray(_ string: WireString) throws(DecodeError) -> [UInt8] {
        try string.decoded(scratch: &self).array()
    }
}

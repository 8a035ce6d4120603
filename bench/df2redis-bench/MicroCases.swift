import Bytes
import CPlatform
import Reactor
import RedisTarget
import Wire

/// Single stages in memory: what a record costs to decode and to encode.
struct MicroCases {
    let runs: Int
    private static let records = 200_000

    func run() throws {
        try decodeStrings()
        try decodeJournal()
        try encodeStrings()
    }

    private func decodeStrings() throws {
        var stream = try RegionBuffer(capacity: 32 << 20)
        try stream.append("REDIS0009")
        for index in 0..<MicroCases.records {
            try stream.append(byte: 0)
            try string("key:\(10_000_000 + index)", into: &stream)
            try string(String(repeating: "v", count: 64), into: &stream)
        }
        try measure("decode snapshot strings of 64 bytes") {
            var decoder = try SnapshotDecoder()
            return try drain(stream.view) { (window) throws(DecodeError) in
                switch try decoder.next(window) {
                case .entry: (decoder.consumed, true)
                default: (decoder.consumed, false)
                }
            }
        }
    }

    private func decodeJournal() throws {
        let stream = try journal()
        try measure("decode journal SET records of 64 bytes") {
            var decoder = try JournalDecoder(nextLSN: 1)
            return try drain(stream.view) { (window) throws(DecodeError) in
                switch try decoder.next(window) {
                case .record: (decoder.consumed, true)
                default: (decoder.consumed, false)
                }
            }
        }
    }

    /// Entries into a pipeline, and their replies out of it, without sockets between.
    private func encodeStrings() throws {
        var value = try RegionBuffer()
        try string(String(repeating: "v", count: 64), into: &value)
        let key = Array("key:10000000".utf8)
        try measure("write and settle snapshot strings of 64 bytes") {
            let pipeline = try MemoryPipeline()
            var writer = try EntryWriter(
                version: TargetVersion(major: 7, minor: 0), method: .automatic)
            var count = 0
            while count < MicroCases.records {
                let entry = SnapshotEntry(
                    database: 0, type: .string, key: ByteView(), value: value.view)
                let sent = try key.withByteView { (view) throws(DecodeError) -> Bool in
                    var entry = entry
                    entry.key = view
                    let outcome = try writer.write(
                        entry, flow: 0, as: .entry, nextLSN: 0, unixMilliseconds: 0,
                        to: pipeline.target)
                    if case .sent = outcome { return true }
                    return false
                }
                if sent { count += 1 } else { try pipeline.answerAll() }
            }
            try pipeline.answerAll()
            return count
        }
    }

    private func journal() throws -> RegionBuffer {
        var stream = try RegionBuffer(capacity: 32 << 20)
        let value = [UInt8](repeating: UInt8(ascii: "v"), count: 64)
        for index in 0..<MicroCases.records {
            let key = Array("key:\(10_000_000 + index)".utf8)
            try append([6, 0, 10, 0, 1, 3], to: &stream)
            let total = 3 + key.count + value.count
            try append([0x40 | UInt8(total >> 8), UInt8(total & 255), 3], to: &stream)
            try append(Array("SET".utf8) + [UInt8(key.count)] + key, to: &stream)
            try append([0x40, 64] + value, to: &stream)
        }
        return stream
    }

    private func append(_ bytes: [UInt8], to stream: inout RegionBuffer) throws {
        try bytes.withByteView { (view) throws(SystemError) in try stream.append(view) }
    }

    private func string(_ text: String, into stream: inout RegionBuffer) throws {
        let bytes = Array(text.utf8)
        try append(
            bytes.count < 64 ? [UInt8(bytes.count)] : [0x40, UInt8(bytes.count)], to: &stream)
        try append(bytes, to: &stream)
    }

    /// Feeds all of `stream` in windows of a ring's size; returns how many records came.
    private func drain(
        _ stream: ByteView, _ next: (ByteView) throws(DecodeError) -> (Int, Bool)
    ) throws(DecodeError) -> Int {
        var position = 0
        var records = 0
        while position < stream.count {
            let window = stream.slice(position, min(1 << 20, stream.count - position))
            var used = 0
            while true {
                let (consumed, isRecord) = try next(window.dropFirst(used))
                used += consumed
                if isRecord { records += 1 } else if consumed == 0 { break }
            }
            if used == 0 { break }
            position += used
        }
        return records
    }

    private func measure(_ name: String, _ body: () throws -> Int) throws {
        var perRecord: [Double] = []
        for _ in 0...runs {
            var records = 0
            let elapsed = try nanoseconds { records = try body() }
            guard records == MicroCases.records else {
                throw BenchError("\(name): \(records) of \(MicroCases.records) records")
            }
            perRecord.append(elapsed / Double(records))
        }
        let series = Series(Array(perRecord.dropFirst()))
        report(
            name,
            [
                "nanosecondsPerRecord": series.median, "mad": series.deviation,
                "min": series.minimum, "max": series.maximum,
            ])
    }
}

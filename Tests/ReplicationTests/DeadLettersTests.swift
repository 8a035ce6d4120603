import Bytes
import Foundation
import TestSupport
import Testing

@testable import Replication

/// Each failed record has a line in `failed.ndjson` that any JSON reader takes, with the key's bytes, up
/// to a limit; a disk that refuses is told and stops nothing.
@Suite struct DeadLettersTests {
    private struct Line: Decodable, Equatable {
        var time: String
        var run: String?
        var phase: String?
        var flow: Int?
        var lsn: UInt64?
        var database: Int?
        var key: String?
        var keyBase64: String?
        var command: String?
        var reply: String?
        var more: Int?
    }

    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func letters(limit: Int = 1 << 20, in path: String? = nil) throws -> DeadLetters {
        try DeadLetters(
            directory: path ?? directory.path, head: [("run", "migrate")], bytesLimit: limit)
    }

    private func add(_ key: [UInt8], _ lsn: UInt64 = 0, to letters: inout DeadLetters) {
        key.withByteView {
            letters.add(
                DeadLetters.Letter(
                    phase: lsn > 0 ? .journal : .snapshot, flow: 3, lsn: lsn, database: 7, key: $0,
                    command: "ZADD",
                    reply: "NOPERM \"no\"\\\u{7}"))
        }
    }

    private func lines() throws -> [Line] {
        let text = try String(contentsOfFile: directory.file("failed.ndjson"), encoding: .utf8)
        #expect(text.hasSuffix("\n"))
        return try text.split(separator: "\n").map {
            try JSONDecoder().decode(Line.self, from: Data($0.utf8))
        }
    }

    @Test func aLineHoldsTheKeysBytes() throws {
        let keys: [[UInt8]] = [
            Array("plain".utf8), Array("ä\"\\\n\u{0}\u{1F600}".utf8), [0xFF], [0, 0xFE],
            [1, 2, 0x80],
            Array(0...255), [],
        ]
        var file = try letters()
        for (index, key) in keys.enumerated() { add(key, UInt64(index), to: &file) }
        file.finish()
        let progress = file.progress
        #expect(progress.lines == keys.count && progress.more == 0)
        let lines = try lines()
        #expect(lines[0].run == "migrate" && lines.count == keys.count + 1)
        for (index, line) in lines.dropFirst().enumerated() {
            let bytes =
                line.keyBase64.map { [UInt8](Data(base64Encoded: $0) ?? Data()) }
                ?? Array((line.key ?? "").utf8)
            #expect(bytes == keys[index])
            #expect(line.phase == (index == 0 ? "snapshot" : "journal"))
            #expect(line.lsn == (index == 0 ? nil : UInt64(index)))
            #expect(line.flow == 3 && line.database == 7 && line.command == "ZADD")
            #expect(line.reply == "NOPERM \"no\"\\\u{7}")
            #expect(line.time.hasSuffix("Z"))
        }
    }

    /// Without a failure there is no file.
    @Test func noFailureNoFile() throws {
        var file = try letters()
        file.flush()
        file.finish()
        #expect(!FileManager.default.fileExists(atPath: directory.file("failed.ndjson")))
    }

    @Test(arguments: [0, 100, 1000, 5000])
    func theLimitHoldsAndTheLastLineCountsTheRest(limit: Int) throws {
        var file = try letters(limit: limit)
        for index in 0..<1000 {
            add(Array("key:\(index)".utf8), 1, to: &file)
            if index % 10 == 0 { file.flush() }
        }
        file.finish()
        let progress = file.progress
        #expect(progress.lines + progress.more == 1000)
        guard progress.lines > 0 else { return #expect(limit <= 100) }
        #expect(limit >= 1000)
        let lines = try lines()
        #expect(lines.last?.more == progress.more)
        #expect(lines.count == progress.lines + 2)
        let size = try Data(contentsOf: URL(fileURLWithPath: directory.file("failed.ndjson"))).count
        #expect(size <= limit + 100)
    }

    /// A later run appends with a line of its own, also behind one that died inside a line.
    @Test func laterRunsAppend() throws {
        for run in 1...3 {
            var file = try letters()
            add([UInt8(ascii: "k")], to: &file)
            file.finish()
            let lines = try lines()
            #expect(lines.count == run * 2)
            #expect(lines[run * 2 - 2].run == "migrate" && lines[run * 2 - 1].key == "k")
        }
        let path = directory.file("failed.ndjson")
        let handle = try #require(FileHandle(forWritingAtPath: path))
        try handle.seekToEnd()
        try handle.write(contentsOf: Data("{\"ti".utf8))
        try handle.close()
        var file = try letters()
        add([UInt8(ascii: "k")], to: &file)
        file.finish()
        let text = try String(contentsOfFile: path, encoding: .utf8)
        #expect(text.split(separator: "\n").count == 9)
        #expect(text.contains("{\"ti\n{\"time\""))
    }

    /// `/dev/full` takes nothing; a directory cannot be opened.
    @Test(arguments: [true, false])
    func aDiskThatRefusesIsTold(isFull: Bool) throws {
        let path = directory.file("failed.ndjson")
        if isFull {
            try FileManager.default.createSymbolicLink(
                atPath: path, withDestinationPath: "/dev/full")
        } else {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: false)
        }
        var file = try letters()
        for _ in 0..<10 { add([UInt8(ascii: "k")], to: &file) }
        file.flush()
        for _ in 0..<10 { add([UInt8(ascii: "k")], to: &file) }
        file.finish()
        let progress = file.progress
        #expect(progress.error != nil)
        #expect(progress.lines == 0 && progress.more == 20)
    }
}

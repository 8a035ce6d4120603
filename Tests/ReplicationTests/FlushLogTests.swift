import Foundation
import TestSupport
import Testing

@testable import Replication

/// A flush that was interrupted between two masters is known to whoever runs next.
@Suite struct FlushLogTests {
    @Test(arguments: [
        ("", []),
        ("begun 0 7 464c555348414c4c\ndone\n", []),
        ("begun 0 7 464c555348414c4c\n", ["FLUSHALL"]),
        // Cut off in its middle, or nothing of ours.
        ("begun 0 7 464c555348414c4c\ndon", ["FLUSHALL"]), ("begun 0 7 464c", []),
        ("begun 0 7 4x\nbegun\n\ndone\n", []),
        // One that is done says nothing of those before it, unless it leaves no key.
        ("begun 3 7 464c5553484442\nbegun 0 9 464c5553484442\ndone\n", ["FLUSHDB"]),
        ("begun 3 7 464c5553484442\nbegun 0 9 666c757368616c6c\ndone\n", []),
    ])
    func whatIsLeft(_ content: String, _ left: [String]) throws {
        let directory = try TemporaryDirectory()
        try content.write(
            toFile: directory.file(FlushLog.fileName), atomically: true, encoding: .utf8)
        #expect(try FlushLog(directory: directory.path).left == left)
    }

    @Test func itIsReadAsItIsWritten() throws {
        let directory = try TemporaryDirectory()
        let words = ["DFLYCLUSTER", "FLUSHSLOTS", "0", "5"]
        let record = try TestRecord(words.map { Array($0.utf8) })
        do {
            var log = try FlushLog(directory: directory.path)
            try log.begun(record.record())
        }
        do {
            var log = try FlushLog(directory: directory.path)
            #expect(log.left == ["DFLYCLUSTER FLUSHSLOTS 0 5"])
            try log.done()
        }
        #expect(try FlushLog(directory: directory.path).left == [])
    }
}

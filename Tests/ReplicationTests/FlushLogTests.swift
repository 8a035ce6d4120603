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
        let flush = "DFLYCLUSTER FLUSHSLOTS 0 5"
        do {
            var log = try FlushLog(directory: directory.path)
            try begin(flush, &log)
        }
        do {
            var log = try FlushLog(directory: directory.path)
            #expect(log.left == [flush])
            try begin(flush, &log)
            try log.done()
        }
        #expect(
            try FlushLog(directory: directory.path).left == [flush])
    }

    /// Flushes that are done leave nothing, nor does what a whole one has taken along.
    @Test func itDoesNotGrow() throws {
        let directory = try TemporaryDirectory()
        let path = directory.file(FlushLog.fileName)
        try "begun 3 7 464c5553484442\n".write(toFile: path, atomically: true, encoding: .utf8)
        var log = try FlushLog(directory: directory.path)
        for command in ["flushall", "FLUSHDB", "FLUSHDB"] {
            try begin(command, &log)
            try log.done()
            #expect(try String(contentsOfFile: path, encoding: .utf8) == "", "\(command)")
        }
    }

    private func begin(_ command: String, _ log: inout FlushLog) throws {
        let words = try TestRecord(command.split(separator: " ").map { Array($0.utf8) })
        // The record is a view.
        try withExtendedLifetime(words) { try log.begun($0.record()) }
    }
}

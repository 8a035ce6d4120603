import Foundation
import TestSupport
import Testing

@testable import Replication

/// What is open on the repair list survives the process.
@Suite struct RepairLogTests {
    private func text(_ directory: TemporaryDirectory) throws -> String {
        try String(contentsOfFile: directory.file("repairs.log"), encoding: .utf8)
    }

    private func write(_ text: String, _ directory: TemporaryDirectory) throws {
        try text.write(toFile: directory.file("repairs.log"), atomically: false, encoding: .utf8)
    }

    private func sorted(_ all: [RepairLog.Open]) -> [RepairLog.Open] {
        all.sorted {
            ($0.database, $0.key.map { Int($0) }.description)
                < ($1.database, $1.key.map { Int($0) }.description)
        }
    }

    private func left(_ directory: TemporaryDirectory) throws -> [RepairLog.Open] {
        var log = try RepairLog(directory: directory.path)
        return sorted(try log.takeOpen(resumes: true))
    }

    @Test func linesAreAsDocumentedAndOnDiskAfterSync() throws {
        let directory = try TemporaryDirectory()
        var log = try RepairLog(directory: directory.path)
        _ = try log.takeOpen(resumes: false)
        try log.opened(database: 3, flow: 1, key: Array("key".utf8), reason: "it was cut off")
        try log.opened(database: 0, flow: 0, key: [], reason: "no name")
        #expect(try text(directory) == "")
        try log.sync()
        let opened = "+ 3 1 6b6579 it was cut off\n+ 0 0  no name\n"
        #expect(try text(directory) == opened)
        try log.closed(database: 3, key: Array("key".utf8))
        try log.opened(database: 0, flow: 2, key: [0, 9, 10, 255, 32], reason: "x")
        try log.sync()
        try log.sync()
        #expect(try text(directory) == opened + "- 3 6b6579\n+ 0 2 00090aff20 x\n")
    }

    @Test func whatIsOpenIsFoundByTheNextRun() throws {
        let seed: UInt64 = 92
        print("seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        let directory = try TemporaryDirectory()
        struct Key: Hashable {
            var database: Int
            var key: [UInt8]
        }
        var open: [Key: RepairLog.Open] = [:]
        for _ in 0..<20 {
            var log = try RepairLog(directory: directory.path)
            let found = sorted(try log.takeOpen(resumes: true))
            #expect(found == sorted(Array(open.values)), "seed \(seed)")
            for _ in 0..<200 {
                let name = generator.bytes(Int.random(in: 0...2, using: &generator), kinds: 7)
                let key = Key(database: Int.random(in: 0...2, using: &generator), key: name)
                if Bool.random(using: &generator) {
                    let entry = RepairLog.Open(
                        database: key.database, flow: Int.random(in: 0...9, using: &generator),
                        key: name, reason: "reason \(generator.next() % 9) of more words ")
                    try log.opened(
                        database: key.database, flow: entry.flow, key: name, reason: entry.reason)
                    open[key] = entry
                } else {
                    try log.closed(database: key.database, key: name)
                    open[key] = nil
                }
                if Int.random(in: 0..<5, using: &generator) == 0 { try log.sync() }
            }
            try log.sync()
        }
    }

    /// Who resumes has not written anything yet when it dies again: nothing is lost by that.
    @Test func whatIsOpenSurvivesARunThatDiesAtOnce() throws {
        let directory = try TemporaryDirectory()
        try write("+ 3 1 6b6579 cut\n+ 0 0 61 x\n- 0 61\n", directory)
        let expected = [RepairLog.Open(database: 3, flow: 1, key: Array("key".utf8), reason: "cut")]
        for _ in 0..<3 { #expect(try left(directory) == expected) }
    }

    @Test func aFullSyncBeginsAnEmptyLog() throws {
        let directory = try TemporaryDirectory()
        try write("+ 3 1 6b6579 cut\n", directory)
        var log = try RepairLog(directory: directory.path)
        #expect(try log.takeOpen(resumes: false) == [])
        #expect(try text(directory) == "")
        #expect(try left(directory) == [])
    }

    /// A line without its end was not acknowledged: it neither opens nor closes a key, not even the
    /// one whose name is the beginning of its own, and the next line stands alone.
    @Test func aLineCutOffCountsForNothing() throws {
        let directory = try TemporaryDirectory()
        let key = RepairLog.Open(database: 0, flow: 0, key: Array("ke".utf8), reason: "x")
        let whole = "+ 0 0 6b65 x\n"
        for cut in ["- 0 6b65", "- 0 6b", "-", "+ 0 0 6b65 ot", "+ 1 2 61", "+", "\u{0}\u{0}"] {
            try write(whole + cut, directory)
            #expect(try left(directory) == [key], "\(cut)")
            var log = try RepairLog(directory: directory.path)
            _ = try log.takeOpen(resumes: true)
            try log.opened(database: 7, flow: 0, key: [1], reason: "new")
            try log.sync()
            let added = RepairLog.Open(database: 7, flow: 0, key: [1], reason: "new")
            #expect(try left(directory) == [key, added], "\(cut)")
        }
    }

    @Test func foreignLinesAreNoKeys() throws {
        let directory = try TemporaryDirectory()
        try write(
            "hello\n\n+ x 0 61 r\n+ 0 y 61 r\n+ 0 0 6 r\n+ 0 0 6x r\n+ 0 0 61\n* 0 0 61 r\n"
                + "+ 0 0 61 r\n- 0 61 r\n- 1 61\n", directory)
        #expect(
            try left(directory) == [
                RepairLog.Open(database: 0, flow: 0, key: Array("a".utf8), reason: "r")
            ])
    }

    @Test func aDirectoryThatCannotBeWrittenIsAnError() throws {
        let directory = try TemporaryDirectory()
        #expect(throws: (any Error).self) {
            _ = try RepairLog(directory: directory.file("missing"))
        }
        // In the place of the file there is a directory.
        try FileManager.default.createDirectory(
            atPath: directory.file("repairs.log"), withIntermediateDirectories: false)
        #expect(throws: (any Error).self) { _ = try RepairLog(directory: directory.path) }
    }
}

import Foundation
import Testing

@testable import df2redis

/// A report is in place whole or not at all, and a failure to write it is told.
struct FilesTests {
    private let directory = FileManager.default.temporaryDirectory
        .appendingPathComponent("files-\(UUID().uuidString)").path

    @Test func replaceWritesWhole() throws {
        try Files.makeDirectory(directory + "/a/b")
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let path = directory + "/a/b/report.json"
        let long = String(repeating: "x", count: 1 << 20)
        try Files.replace(path, with: long)
        try Files.replace(path, with: "short\n")
        #expect(try Files.read(path, limit: 100) == Array("short\n".utf8))
        // The draft is gone.
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: directory + "/a/b") == [
                "report.json"
            ])
    }

    @Test func replaceKeepsTheOldFileOnFailure() throws {
        try Files.makeDirectory(directory + "/report.json/in-the-way")
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let path = directory + "/report.json"
        #expect(throws: FileFailure.self) { try Files.replace(path, with: "text") }
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: directory) == ["report.json"])
    }

    @Test func failuresNameThePath() {
        #expect(throws: FileFailure("create", "/dev/null/x", code: ENOTDIR)) {
            try Files.makeDirectory("/dev/null/x")
        }
        #expect(throws: FileFailure("open", "/dev/null", code: ENOTDIR)) {
            try Files.makeDirectory("/dev/null")
        }
        #expect(throws: FileFailure.self) { try Files.replace("/dev/null/x", with: "") }
        let full = open("/dev/full", O_WRONLY)
        #expect(Files.writeAll("text".utf8, to: full) == ENOSPC)
        close(full)
    }

    @Test(arguments: [
        ("a", "."), ("a/b", "a"), ("/a", "/"), ("/a/b/", "/a"), ("/", "/"), ("a/", "."),
        ("./a", "."),
    ])
    func parents(path: String, parent: String) {
        #expect(Files.parent(of: path) == parent)
    }
}

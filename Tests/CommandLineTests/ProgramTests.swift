import Foundation
import Testing

@testable import df2redis

/// The program itself: exit codes, and what goes to standard output and what to standard error.
struct ProgramTests {
    private struct Result {
        var status: Int32
        var output: String
        var messages: String
    }

    private func run(_ arguments: [String], environment: [String: String] = [:]) throws -> Result {
        let process = Process()
        // The test bundle lies beside the program.
        process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
            .deletingLastPathComponent().appendingPathComponent("df2redis")
        process.arguments = arguments
        process.environment = environment
        let output = Pipe()
        let messages = Pipe()
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = messages
        try process.run()
        // Neither is longer than a pipe holds, so reading one after the other cannot block.
        let outputText = String(
            decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        let messageText = String(
            decoding: messages.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return Result(
            status: process.terminationStatus, output: outputText, messages: messageText)
    }

    @Test func versionAndHelpAreAnswers() throws {
        let version = try run(["--version"])
        #expect(version.status == 0 && version.output == "df2redis \(programVersion)\n")
        for arguments in [["--help"], ["migrate", "--help"], ["replicate", "-h"]] {
            let help = try run(arguments)
            #expect(help.status == 0 && help.output.contains("USAGE:") && help.messages == "")
        }
    }

    @Test(arguments: [
        [], ["bogus"], ["migrate", "--bogus"], ["migrate", "--cores"], ["migrate", "extra"],
        ["migrate"], ["migrate", "--source", "a"], ["migrate", "--config", "/nonexistent"],
        ["replicate", "--source", "a", "--target", "b", "--cores", "0"],
        ["replicate", "--source", "rediss://a", "--target", "b"],
        ["migrate", "--source", "a", "--target", "b", "--state-dir", "/dev/null/x"],
    ])
    func wrongUsageIsTwo(arguments: [String]) throws {
        let result = try run(arguments)
        #expect(result.status == 2, "\(result.messages)")
        #expect(result.output == "" && result.messages != "")
    }

    /// Problems of all layers come together, and none shows a secret.
    @Test func problemsOfAllLayers() throws {
        let result = try run(
            ["migrate", "--source", "redis://u:hunter2@a:x", "--write-method", "best"],
            environment: ["DF2REDIS_TARGET_ADDR": "redis://:hunter2@b/9", "DF2REDIS_CORES": "-1"])
        #expect(result.status == 2)
        let lines = result.messages.split(separator: "\n")
        #expect(lines.count == 4)
        #expect(lines.allSatisfy { $0.contains(" error   ") })
        #expect(!result.messages.contains("hunter2"))
    }

    /// A message cannot bring control characters to a terminal, nor a second line to a log.
    @Test(arguments: LogFormat.allCases)
    func messagesAreEscaped(format: LogFormat) throws {
        let result = try run([
            "migrate", "--source", "a", "--target", "b", "--log-format", format.rawValue,
            "--write-method", "x\ny\u{1B}[2J",
        ])
        #expect(result.status == 2)
        #expect(result.messages.filter { $0 == "\n" }.count == 1)
        #expect(result.messages.contains("\\ny") && !result.messages.contains("\u{1B}"))
    }

    @Test func jsonMessages() throws {
        let result = try run(["migrate", "--log-format", "json", "--cores", "x"])
        #expect(result.status == 2)
        for line in result.messages.split(separator: "\n") {
            let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
            #expect(object?["level"] as? String == "error")
        }
    }
}

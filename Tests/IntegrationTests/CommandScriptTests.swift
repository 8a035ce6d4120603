import TestSupport
import Testing

/// The scripts that recorded data is compared with lead where the recorded server was.
@Suite struct CommandScriptTests {
    @Test(arguments: ["catalogue", "v1.30-catalogue"])
    func scriptLeadsToTheRecordedState(_ name: String) throws {
        let recording = try Recording(name)
        let script = try CommandScript(recording)
        let server = try RedisServer()
        try script.run(on: server.client())
        var rules = try StateComparison.Rules(recording)
        rules.excluded = CommandScript.ownResults
        // The server has no module for JSON, and the script leaves its commands out.
        let expected = try recording.expected().filter { $0.value.type != "json" }
        let comparison = StateComparison(
            expected: expected, actual: try StateReader(server.client()).read(), rules: rules)
        print(comparison.summary("\(name): commands.txt on redis-server"))
        print("    Dragonfly only: \(script.leftOut.joined(separator: "; "))")
        #expect(comparison.differences == [])
    }

    @Test func everyDragonflyOnlyLineIsInTheCatalogue() throws {
        let script = try CommandScript(Recording("catalogue"))
        #expect(Set(script.leftOut) == CommandScript.dragonflyOnly)
    }

    @Test func byteStringsAreRead() {
        #expect(
            PythonText.byteStrings("[b'l', [b'a\\'b\\x00\\\\\\t']], 3, 'ERR'")
                == [[108], [97, 39, 98, 0, 92, 9]])
    }
}

import Foundation
import Replication
import Testing

@testable import df2redis

/// A terminal shows messages above a display redrawn in place; anything else gets plain lines.
struct ConsoleTests {
    @Test func frameStaysBelowMessages() throws {
        let recorder = try Recorder(columns: 80, rows: 24)
        let console = Console(descriptor: recorder.descriptor, environment: [:])
        #expect(console.isTerminal && console.usesColor)
        var screen = Screen()
        console.write(line: "first")
        console.show(frame: ["one", "two", "three"])
        screen.feed(recorder.text())
        #expect(screen.text == ["first", "one", "two", "three"])
        console.write(line: "message")
        console.show(frame: ["one'", "two'"])
        screen.feed(recorder.text())
        #expect(screen.text == ["first", "message", "one'", "two'"])
        console.clearFrame()
        console.clearFrame()
        console.write(line: "end")
        screen.feed(recorder.text())
        #expect(screen.text == ["first", "message", "end"])
    }

    @Test func sizeIsReadEachTime() throws {
        let recorder = try Recorder(columns: 80, rows: 24)
        let console = Console(descriptor: recorder.descriptor, environment: [:])
        #expect(console.size == (80, 24))
        recorder.resize(columns: 132, rows: 50)
        #expect(console.size == (132, 50))
        recorder.resize(columns: 0, rows: 0)
        #expect(console.size == (80, 24))
    }

    @Test func colorsAndDumbTerminals() throws {
        let terminal = try Recorder(columns: 80, rows: 24)
        func console(_ environment: [String: String]) -> Console {
            Console(descriptor: terminal.descriptor, environment: environment)
        }
        #expect(!console(["NO_COLOR": "1"]).usesColor)
        #expect(console(["NO_COLOR": "1"]).isTerminal)
        #expect(console(["NO_COLOR": ""]).usesColor)
        #expect(!console(["TERM": "dumb"]).isTerminal)
        let file = try Recorder()
        let plain = Console(descriptor: file.descriptor, environment: [:])
        #expect(!plain.isTerminal && !plain.usesColor)
        plain.show(frame: ["frame"])
        plain.clearFrame()
        #expect(file.text() == "")
    }

    /// The live display with real frames: at every moment the screen holds exactly one of them.
    @Test func liveDisplay() throws {
        let recorder = try Recorder(columns: 90, rows: 12)
        let console = Console(descriptor: recorder.descriptor, environment: [:])
        var display = display(console, format: .text)
        var screen = Screen()
        for step in 1...20 {
            var progress = SampleReports.snapshot(flows: 2 + step, pending: step)
            if step > 15 { progress.phase = .stable }
            display.update(progress, nanoseconds: Int64(step) * 500_000_000)
            screen.feed(recorder.text())
            #expect(screen.text.count == min(11, 4 + progress.flows.count))
            #expect(screen.text[0].hasPrefix("df2redis migrate  s:1 -> t:2  0:"))
            #expect(screen.text.allSatisfy { $0.count < 90 })
        }
        display.finish(SampleReports.snapshot())
        screen.feed(recorder.text())
        #expect(screen.text == [])
    }

    /// Without a terminal: a line at each change of phase and every five seconds.
    @Test func plainLines() throws {
        let recorder = try Recorder()
        let console = Console(descriptor: recorder.descriptor, environment: [:])
        var display = display(console, format: .text)
        for step in 1...30 {
            display.update(SampleReports.snapshot(), nanoseconds: Int64(step) * 500_000_000)
        }
        let lines = recorder.text().split(separator: "\n")
        #expect(lines.count == 3)
        // The last counts, one line for each type.
        display.finish(SampleReports.finished())
        let last = recorder.text().split(separator: "\n")
        #expect(last.count == 3)
        #expect(last[1].contains("snapshot records of type json") && last[1].contains("read=500"))
        #expect(
            lines.allSatisfy {
                $0.contains(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info    full sync; 50\.0 %/)
            })
    }

    @Test func jsonLines() throws {
        let recorder = try Recorder(columns: 80, rows: 24)
        let console = Console(descriptor: recorder.descriptor, environment: [:])
        var display = display(console, format: .json)
        display.update(SampleReports.snapshot(), nanoseconds: 500_000_000)
        let text = recorder.text()
        #expect(!text.contains("\u{1B}"))
        let object = try #require(
            JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        #expect(object["level"] as? String == "info")
        #expect(object["message"] as? String == "progress")
        #expect(object["phase"] as? String == "full sync")
        #expect(object["keys_done"] as? Int == 20_000)
        #expect(object["percent"] as? Double == 50)
        #expect(object["applied_lsn"] as? [Int] == [0, 0])
    }

    private func display(_ console: Console, format: LogFormat) -> ProgressDisplay {
        ProgressDisplay(
            console: console,
            logger: ConsoleLogHandler.logger(console: console, format: format),
            format: format, isQuiet: false, title: "df2redis migrate",
            settings: ReplicationSettings(
                mode: .migrate, source: Endpoint(host: "s", port: 1),
                target: Endpoint(host: "t", port: 2)),
            nanoseconds: 0)
    }
}

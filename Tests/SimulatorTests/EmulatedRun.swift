import TestSupport

@testable import DragonflySimulator

/// A clock that stands still unless it is moved.
final class TestClock {
    var milliseconds: Int64

    init(milliseconds: Int64) { self.milliseconds = milliseconds }
}

/// An executor with a keyspace of its own, fed with lines of text.
struct EmulatedRun {
    let clock: TestClock
    let keyspace: Keyspace
    let executor: CommandExecutor

    init(_ release: EmulatedRelease = .newest, flows: Int = 2) throws {
        // Whole seconds, so that element expiries do not depend on the moment of the test; not far
        // from the real time, at which servers delete what has expired.
        let clock = TestClock(milliseconds: 2_000_000_000_000)
        self.clock = clock
        keyspace = try Keyspace()
        keyspace.clock = { clock.milliseconds }
        executor = CommandExecutor(keyspace: keyspace, release: release, flowCount: flows)
    }

    static func words(_ line: String) -> [[UInt8]] {
        line.split(separator: " ").map { Array($0.utf8) }
    }

    /// Executes a command.
    @discardableResult
    func run(_ line: String, database: Int = 0) throws -> Execution {
        try executor.execute(Self.words(line), database: database)
    }

    /// Executes commands, all of which must succeed.
    func prepare(_ lines: String...) throws {
        for line in lines {
            let reply = try run(line).reply
            if reply.isError { throw TestSupportError("\(line): \(reply.summary)") }
        }
    }

    /// What a command's reply is, as text.
    func reply(_ line: String, database: Int = 0) throws -> String {
        try run(line, database: database).reply.plain
    }

    /// What a command adds to the journals: the flow, whether there is a transaction id, the words.
    func journal(_ line: String, database: Int = 0) throws -> [String] {
        try run(line, database: database).lines
    }

    /// A key that begins with `prefix` and lies on a flow.
    func key(_ prefix: String, on flow: Int) -> String {
        var number = 0
        while executor.flow(of: Array("\(prefix)\(number)".utf8)) != flow { number += 1 }
        return "\(prefix)\(number)"
    }
}

extension Execution {
    /// Entries as text: "0: SET a 1", with `+` behind the flow if it has a transaction id.
    var lines: [String] {
        entries.map { flow, entry in
            let words = entry.words.map { String(decoding: $0, as: UTF8.self) }
            return "\(flow)\(entry.transaction == 0 ? "" : "+"): " + words.joined(separator: " ")
        }
    }
}

extension TargetReply {
    /// For comparison in tests.
    var plain: String {
        switch self {
        case .simple(let bytes), .bulk(let bytes): String(decoding: bytes, as: UTF8.self)
        case .error(let text): "error " + String(decoding: text, as: UTF8.self)
        case .integer(let value): "\(value)"
        case .null: "null"
        case .array(let elements): "[" + elements.map(\.plain).joined(separator: " ") + "]"
        }
    }
}

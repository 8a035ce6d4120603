import Bytes
import TestSupport
import Testing

@testable import RedisTarget

/// Keys of our own lie where the key lies that they are for, and the leftovers of a task are found
/// without a key of anybody else.
@Suite struct OwnNamesTests {
    @Test func namesLieInTheirSlot() throws {
        let seed: UInt64 = 121
        print("seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        for task in ["df2redis", "a", "*?[x]\\", String(repeating: "t", count: 64)] {
            var names = try OwnNames(task: task)
            var all: Set<[UInt8]> = []
            let slots =
                [0, 16383] + (0..<300).map { _ in Int.random(in: 0..<16384, using: &generator) }
            for slot in slots {
                let building = try names.building(slot: slot)
                #expect(building.keySlot() == slot, "seed \(seed)")
                let flow = Int.random(in: 0..<1024, using: &generator)
                let number = UInt32.random(in: .min ... .max, using: &generator)
                let shadow = try names.shadow(slot: slot, flow: flow, number: number)
                #expect(shadow.keySlot() == slot, "seed \(seed)")
                #expect(shadow.starts(with: "df2redis:{"))
                all.insert(shadow.array())
            }
            #expect(all.count == slots.count)
        }
    }

    /// One value's name is no other's.
    @Test func namesAreDistinct() throws {
        var names = try OwnNames(task: "task")
        var all: Set<[UInt8]> = []
        for slot in [1, 2, 12] {
            all.insert(try names.building(slot: slot).array())
            for flow in [0, 1, 11] {
                for number: UInt32 in [0, 1, 11, 111, .max] {
                    all.insert(try names.shadow(slot: slot, flow: flow, number: number).array())
                }
            }
        }
        #expect(all.count == 3 * (1 + 3 * 5))
    }

    private static let tasks = [
        "task", "task2", "ask", "TASK", "t*sk", "t?sk", "[task]", "\\", "\\*", "a:shadow", "*",
        ":", "shadow", "task:x",
    ]

    /// All shadows of a task, in a real server's opinion of patterns.
    private func found(_ client: RespClient, task: String) throws -> [String] {
        let names = try OwnNames(task: task)
        let pattern = names.shadowPattern()
        let reply = try client.command([Array("KEYS".utf8), pattern])
        return (reply.elements ?? []).compactMap(\.text).sorted()
    }

    private func shadows(of task: String) throws -> [String] {
        var names = try OwnNames(task: task)
        var all: [String] = []
        for (slot, flow, number) in [(0, 0, 0), (16383, 7, 4_000_000_000), (866, 1023, 15)] {
            let name = try names.shadow(slot: slot, flow: flow, number: UInt32(number))
            all.append(String(decoding: name.array(), as: UTF8.self))
        }
        return all.sorted()
    }

    /// The pattern finds the shadows of its task and nothing else, whatever letters the name has.
    @Test func thePatternFindsItsTaskOnly() throws {
        let server = try RedisServer()
        let client = try server.client()
        var shadowsByTask: [String: [String]] = [:]
        for task in Self.tasks {
            var names = try OwnNames(task: task)
            let building = try names.building(slot: 5).array()
            try client.command([Array("SET".utf8), building, []])
            try client.call("SET", task, "")
            try client.call("SET", "df2redis:\(task):shadow:0:1", "")
            shadowsByTask[task] = try shadows(of: task)
            for shadow in try shadows(of: task) { try client.call("SET", shadow, "") }
        }
        for task in Self.tasks {
            #expect(try found(client, task: task) == shadowsByTask[task], "\(task)")
        }
    }
}

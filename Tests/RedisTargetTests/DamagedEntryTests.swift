import Bytes
import TestSupport
import Testing
import Wire

@testable import RedisTarget

/// Damaged values are refused whole and leave nothing behind.
@Suite struct DamagedEntryTests {
    @Test(arguments: EntryWriterTests.methods)
    func damagedStringsLeaveNothing(_ method: EntryWriter.Method) throws {
        let target = try RedisServer()
        let run = try EntryRun(target, method)
        let damaged: [[UInt8]] = [
            [0xc3, 0x05, 0x41, 0x09, 0x00, 0x61, 0xe0, 0xff, 0x01], [0x05, 0x61], [0xc4], [],
            [0x01, 0x61, 0x62],
        ]
        try run.write(
            try damaged.map { try StoredEntry(.string, "damaged", $0) } + [
                StoredEntry(.string, "fine", [0x01, 0x61])
            ])
        #expect(run.errors.count == damaged.count)
        #expect(try target.client().call("DBSIZE").integer == 1)
        #expect(run.pipeline.records.count == 1)
    }

    /// Whatever bytes a value holds: it is written whole or refused whole, and what comes after it is
    /// written as if it had not been there.
    @Test(arguments: [EntryWriter.Method.automatic, .commands])
    func damageHarmsNothingElse(_ method: EntryWriter.Method) throws {
        let source = try RedisServer()
        let client = try source.client()
        try client.call("HSET", "h", "field", "value", "number", "12")
        try client.call("ZADD", "z", "1", "a", "2.5", "b")
        try client.call("RPUSH", "l", "a", "12", "ccc", String(repeating: "x", count: 300))
        try client.call("SADD", "s", "a", "bb", "ccc")
        try client.call("XADD", "x", "1-1", "f", "v")
        try client.call("XADD", "x", "2-1", "f", "w")
        try client.call("XGROUP", "CREATE", "x", "g", "0")
        try client.call("XREADGROUP", "GROUP", "g", "c", "STREAMS", "x", ">")
        let sound = try StoredEntry.all(of: source)
        let seed: UInt64 = 73
        var generator = SeededGenerator(seed: seed)
        let target = try RedisServer()
        let run = try EntryRun(target, method, ringBytes: 1 << 12)
        var entries: [StoredEntry] = []
        for round in 0..<1500 {
            let original = sound[round % sound.count]
            var value = original.view.value.array()
            for _ in 0...(round % 3) {
                let index = Int.random(in: 0..<value.count, using: &generator)
                value[index] ^= UInt8.random(in: 1...255, using: &generator)
            }
            entries.append(try StoredEntry(original.type, "damaged:\(round % 7)", value))
            entries.append(try StoredEntry(.string, "after:\(round)", [0x01, 0x61]))
        }
        // Flow 0 has the damaged ones, flow 1 the others.
        try run.write(entries, flows: 2)
        #expect(run.errors.count > 300, "seed \(seed)")
        #expect(run.pipeline.loss == nil)
        #expect(run.outcomes.count + run.errors.count == entries.count)
        #expect(run.pipeline.records.count == run.outcomes.count)
        for answer in run.pipeline.records where answer.flow == 1 { #expect(!answer.recordFailed) }
        let names = try StateReader(target.client()).read().keys.map {
            String(decoding: $0.name, as: UTF8.self)
        }
        #expect(names.count { $0.hasPrefix("after:") } == 1500)
    }
}

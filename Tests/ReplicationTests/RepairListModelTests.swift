import Bytes
import TestSupport
import Testing

@testable import Replication

/// The repair list between a source that is written to, flows that lag behind, and a target that
/// refuses some values: at the end the target has what the source has.
@Suite struct RepairListModelTests {
    /// A source of two shards, whose values are lists of the LSNs of their records: applying one
    /// twice, or not at all, shows.
    private final class World {
        struct Record {
            var lsn: UInt64
            /// Nil for a flush.
            var key: Int?
            /// The target's copy gets it wrong, and the key is to be read again.
            var isWrong: Bool
        }

        static let keys = 6
        var generator: TestSupport.SeededGenerator
        var list: RepairList
        var now: Int64 = 1_000
        var source: [Int: [UInt64]] = [:]
        var target: [Int: [UInt64]] = [:]
        /// Records not yet routed, by flow.
        var journal: [[Record]] = [[], []]
        var next: [UInt64] = [1, 1]
        var routed: [UInt64] = [1, 1]
        /// Values read and not written, by repair: LSNs.
        var values: [ObjectIdentifier: [UInt64]] = [:]
        /// Under way to the reader: the repair, its window, its value.
        var reading: (index: Int, before: UInt64, after: UInt64, value: [UInt64])?
        /// In the pipeline: the repair, and whether the target refuses it.
        var writing: [(index: Int, refuses: Bool)] = []
        var marks = 0
        var closes = 0

        init(seed: UInt64) throws {
            generator = TestSupport.SeededGenerator(seed: seed)
            list = try RepairList(valueBytesLimit: 1 << 10)
        }

        func random(_ below: Int) -> Int { Int.random(in: 0..<below, using: &generator) }
        func name(_ key: Int) -> [UInt8] { [UInt8(key)] }
        func flow(_ key: Int) -> Int { key & 1 }

        func change() {
            if random(60) == 0 {
                source = [:]
                for flow in 0..<2 {
                    journal[flow].append(Record(lsn: next[flow], key: nil, isWrong: false))
                    next[flow] += 1
                }
                return
            }
            let key = random(World.keys)
            let flow = flow(key)
            source[key, default: []].append(next[flow])
            journal[flow].append(Record(lsn: next[flow], key: key, isWrong: random(4) == 0))
            next[flow] += 1
        }

        /// Takes the next record of a flow, as the core does.
        func route(_ flow: Int) {
            writeDue(flow)
            guard let record = journal[flow].first else { return }
            guard let key = record.key else { return flush() }
            journal[flow].removeFirst()
            _ = name(key).withByteView {
                list.touch(database: 0, key: $0, flow: flow, lsn: record.lsn, now: now)
            }
            if record.isWrong {
                let isNew = name(key).withByteView {
                    list.mark(database: 0, key: $0, flow: flow, command: "", reason: "")
                }
                if isNew == true { marks += 1 }
            } else {
                target[key, default: []].append(record.lsn)
            }
            routed[flow] = record.lsn + 1
        }

        // A flush is applied when both flows have come to it.
        private func flush() {
            guard journal.allSatisfy({ $0.first != nil && $0[0].key == nil }) else { return }
            for flow in 0..<2 {
                let record = journal[flow].removeFirst()
                list.touchAll(flow: flow, lsn: record.lsn, now: now)
                routed[flow] = record.lsn + 1
            }
            target = [:]
        }

        func read() throws {
            if let reading, random(3) == 0 {
                self.reading = nil
                let value = try list.takeSpareValue()
                value.count = reading.value.count
                values[ObjectIdentifier(value)] = reading.value
                list.wasRead(
                    reading.index, before: reading.before, after: reading.after, value: value,
                    now: now)
            } else if reading == nil, let index = list.nextToRead(now: now) {
                guard random(8) > 0 else { return abandon(index) }
                let key = Int(list[index].key[0])
                let flow = list[index].flow
                // The source goes on between each look and the value.
                let before = next[flow]
                for _ in 0..<random(3) { change() }
                let value = source[key] ?? []
                for _ in 0..<random(3) { change() }
                reading = (index, before, next[flow], value)
            }
        }

        /// Given up, and named by another record later.
        private func abandon(_ index: Int) {
            let (key, flow) = (list[index].key, list[index].flow)
            list.abandon(index)
            let isDoubtful = key.withByteView { list.isDoubtful(database: 0, key: $0) }
            let isNew = key.withByteView {
                list.mark(database: 0, key: $0, flow: flow, command: "", reason: "")
            }
            #expect(isDoubtful && isNew == true)
        }

        func writeDue(_ flow: Int) {
            while let index = list.due(flow: flow, next: routed[flow]) {
                guard let value = list[index].value, let content = values[ObjectIdentifier(value)]
                else {
                    Issue.record("a value that is due is not there")
                    return
                }
                #expect(list[index].flow == flow && list[index].after <= routed[flow])
                let refuses = random(5) == 0
                if !refuses { target[Int(list[index].key[0])] = content }
                list.isWritten(index)
                writing.append((index, refuses))
            }
        }

        func settle() {
            guard !writing.isEmpty else { return }
            let (index, refuses) = writing.removeFirst()
            guard !refuses || random(3) > 0 else { return abandon(index) }
            if refuses || list[index].isMarkedAgain {
                list[index].isMarkedAgain = false
                list.retry(index, now: now)
            } else {
                list.close(index, isRepaired: true)
                closes += 1
            }
        }

        func step(isQuiet: Bool) throws {
            now += Int64(random(300))
            if !isQuiet, random(2) == 0 { change() }
            for flow in 0..<2 where random(2) == 0 { route(flow) }
            try read()
            if random(2) == 0 { settle() }
        }
    }

    @Test func theTargetBecomesWhatTheSourceIs() throws {
        for seed: UInt64 in 100..<140 {
            let world = try World(seed: seed)
            for _ in 0..<2_000 { try world.step(isQuiet: false) }
            // Written to no more, everything comes to its end.
            var steps = 0
            while world.list.openCount > 0 || world.journal.contains(where: { !$0.isEmpty }) {
                try world.step(isQuiet: true)
                steps += 1
                guard steps < 20_000 else {
                    Issue.record("seed \(seed): \(world.list.openCount) keys stay open")
                    return
                }
            }
            #expect(world.marks > 50 && world.closes == world.marks, "seed \(seed)")
            #expect(world.list.repaired == world.closes)
            for key in 0..<World.keys {
                #expect(
                    world.target[key] ?? [] == world.source[key] ?? [], "seed \(seed), key \(key)")
            }
        }
    }
}

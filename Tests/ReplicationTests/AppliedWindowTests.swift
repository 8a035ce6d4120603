import TestSupport
import Testing

@testable import Replication

/// Of records that several nodes answer in any order, the position passes none that has a command
/// unanswered: after a restart nothing of them would come again.
@Suite struct AppliedWindowTests {
    /// The commands of records under way, answered in random order, against a list.
    private struct Model {
        var window = AppliedWindow()
        /// In their order.
        var records: [(nextLSN: UInt64, pending: Int)] = []
        /// The first of them that has a command unanswered.
        var first = 0
        var unanswered: [UInt64] = []

        /// The record before `nextLSN` goes out.
        mutating func add(_ nextLSN: UInt64, commands: Int) {
            records.append((nextLSN, commands))
            for _ in 0..<commands {
                window.add(nextLSN)
                unanswered.append(nextLSN)
            }
        }

        mutating func answer(at index: Int) {
            let nextLSN = unanswered[index]
            unanswered.swapAt(index, unanswered.count - 1)
            unanswered.removeLast()
            guard let record = records.lastIndex(where: { $0.nextLSN == nextLSN }) else { return }
            records[record].pending -= 1
            while first < records.count, records[first].pending == 0 { first += 1 }
            let applied = window.settle(nextLSN)
            #expect(applied == (first > 0 ? records[first - 1].nextLSN : 0))
            #expect(applied == window.applied)
        }
    }

    @Test func answersInAnyOrder() {
        let seed: UInt64 = 122
        print("seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<200 {
            var model = Model()
            var nextLSN = UInt64.random(in: 1..<1000, using: &generator)
            for _ in 0..<Int.random(in: 1..<200, using: &generator) {
                if Bool.random(using: &generator) {
                    nextLSN += UInt64.random(in: 1..<5, using: &generator)
                    model.add(nextLSN, commands: Int.random(in: 1...4, using: &generator))
                } else if !model.unanswered.isEmpty {
                    model.answer(at: Int.random(in: 0..<model.unanswered.count, using: &generator))
                }
            }
            while !model.unanswered.isEmpty {
                model.answer(at: Int.random(in: 0..<model.unanswered.count, using: &generator))
            }
            #expect(model.window.applied == model.records.last?.nextLSN ?? 0, "seed \(seed)")
        }
    }

    /// It has room again as its oldest records are applied, and not before; it goes round.
    @Test func theOldestMakesRoom() {
        let capacity = UInt64(AppliedWindow.capacity)
        var window = AppliedWindow()
        #expect(window.applied == 0)
        for nextLSN in 1...capacity {
            #expect(window.hasRoom)
            window.add(nextLSN)
        }
        #expect(!window.hasRoom)
        // Another command of the last record needs none.
        window.add(capacity)
        for nextLSN in 2...capacity { #expect(window.settle(nextLSN) == 0) }
        #expect(!window.hasRoom)
        #expect(window.settle(1) == capacity - 1)
        #expect(window.hasRoom)
        for nextLSN in (capacity + 1)..<(2 * capacity) { window.add(nextLSN) }
        #expect(!window.hasRoom)
        #expect(window.settle(capacity) == capacity)
        #expect(window.hasRoom)
    }

    /// Several times round, with half of it under way, each record answered some time later.
    @Test func itGoesRound() {
        let seed: UInt64 = 123
        print("seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        var window = AppliedWindow()
        let distance = AppliedWindow.capacity / 2
        // Answered in groups, each in random order.
        var group: [UInt64] = []
        var oldest: UInt64 = 1
        let last = UInt64(AppliedWindow.capacity * 3 + 5)
        for nextLSN in 1...last {
            window.add(nextLSN)
            group.append(nextLSN)
            guard group.count == distance || nextLSN == last else { continue }
            group.shuffle(using: &generator)
            for answered in group {
                let applied = window.settle(answered)
                #expect(applied + 1 >= oldest && applied <= nextLSN)
                if answered == oldest { #expect(applied >= oldest, "seed \(seed)") }
            }
            #expect(window.applied == nextLSN)
            oldest = nextLSN + 1
            group.removeAll()
        }
    }

    /// Nodes answer in the order of their own commands: the position is that of the slowest.
    @Test func theSlowestNodeHoldsIt() {
        var window = AppliedWindow()
        // Odd records go to one node, even ones to another, every tenth to both.
        for nextLSN: UInt64 in 1...100 {
            window.add(nextLSN)
            if nextLSN % 10 == 0 { window.add(nextLSN) }
        }
        for nextLSN: UInt64 in stride(from: 2, through: 100, by: 2) {
            #expect(window.settle(nextLSN) == 0)
        }
        for nextLSN: UInt64 in stride(from: 1, through: 99, by: 2) {
            // The even one behind it is answered, unless it is one of both.
            let isHeld = (nextLSN + 1) % 10 == 0
            #expect(window.settle(nextLSN) == (isHeld ? nextLSN : nextLSN + 1))
            if isHeld { #expect(window.settle(nextLSN + 1) == nextLSN + 1) }
        }
    }
}

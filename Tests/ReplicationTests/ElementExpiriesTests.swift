import Bytes
import TestSupport
import Testing

@testable import Replication

/// Which keys have elements that may expire unseen is never forgotten by mistake.
@Suite struct ElementExpiriesTests {
    private func name(_ number: Int) -> [UInt8] { Array("key:\(number)".utf8) }

    // Growth and removal from probe runs, against a set.
    @Test func itAgreesWithASet() {
        let seed: UInt64 = 20_270_117
        print("seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        var table = ElementExpiries()
        var model: Set<[Int]> = []
        for _ in 0..<200_000 {
            let number = Int.random(in: 0..<5000, using: &generator)
            let database = Int.random(in: 0..<3, using: &generator)
            let key = name(number)
            switch Int.random(in: 0..<5, using: &generator) {
            case 0, 1:
                key.withByteView { table.insert(database: database, key: $0) }
                model.insert([database, number])
            case 2, 3:
                key.withByteView { table.remove(database: database, key: $0) }
                model.remove([database, number])
            default:
                let other = Int.random(in: 0..<5000, using: &generator)
                let to = Int.random(in: 0..<3, using: &generator)
                name(other).withByteView { newKey in
                    key.withByteView {
                        table.move(database: database, key: $0, toDatabase: to, toKey: newKey)
                    }
                }
                guard [database, number] != [to, other] else { continue }
                let wasIn = model.remove([database, number]) != nil
                model.remove([to, other])
                if wasIn { model.insert([to, other]) }
            }
            let count = table.count
            #expect(count == model.count)
        }
        for number in 0..<5000 {
            for database in 0..<3 {
                let isIn = name(number).withByteView {
                    table.contains(database: database, key: $0)
                }
                #expect(isIn == model.contains([database, number]))
            }
        }
    }

    /// A full table takes every key for one that it holds, until all keys are gone.
    @Test func aFullTableDoubtsEveryKey() {
        var table = ElementExpiries(slotsLimit: 64)
        for number in 0..<48 { name(number).withByteView { table.insert(database: 0, key: $0) } }
        expect(table, isFull: false, doubts: "other", false)
        table.insert(database: 0, key: "one more")
        expect(table, isFull: true, doubts: "other", true)
        for number in 0..<48 { name(number).withByteView { table.remove(database: 0, key: $0) } }
        table.move(database: 0, key: "a", toDatabase: 0, toKey: "b")
        expect(table, isFull: true, doubts: "other", true)
        table.removeAll()
        expect(table, isFull: false, doubts: "other", false)
    }

    private func expect(
        _ table: borrowing ElementExpiries, isFull: Bool, doubts key: ByteView, _ isDoubted: Bool
    ) {
        let found = (table.isFull, table.contains(database: 0, key: key))
        #expect(found == (isFull, isDoubted))
    }
}

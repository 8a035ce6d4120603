import Bytes
import TestSupport
import Testing

@testable import Replication

/// A table of keys finds what was put into it and nothing else, in bounded memory.
@Suite struct KeyTableTests {
    private struct Key: Hashable {
        var database: Int
        var name: [UInt8]
    }

    /// Growth, packing of the names and removal from probe runs, against a dictionary.
    @Test func itAgreesWithADictionary() throws {
        let seed: UInt64 = 91
        print("seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        var table = try KeyTable<Int64>(slots: 4, slotsLimit: 1 << 14, filler: 0)
        var model: [Key: Int64] = [:]
        // Few and many keys by turns, so that both growth and packing come about.
        for step in 0..<150_000 {
            let kinds = step / 30_000 % 2 == 0 ? 9_000 : 300
            let number = Int.random(in: 0..<kinds, using: &generator)
            var name = Array("\(number)".utf8)
            if number % 5 == 0 { name += [UInt8](repeating: 0, count: number % 700) }
            let key = Key(
                database: number % 3 == 0 ? -1 : number & 1, name: number == 1 ? [] : name)
            let value = Int64(bitPattern: generator.next())
            key.name.withByteView { view in
                switch Int.random(in: 0..<4, using: &generator) {
                case 0, 1:
                    let isThere = table.insert(key.database, view, value)
                    #expect(isThere)
                    model[key] = value
                case 2:
                    if let place = table.find(key.database, view) { table.remove(at: place) }
                    model[key] = nil
                default:
                    let found = table.find(key.database, view).map { table[$0] }
                    #expect(found == model[key], "seed \(seed), step \(step)")
                }
            }
            let count = table.count
            #expect(count == model.count)
        }
        let content = all(table)
        #expect(content == model)
        table.removeAll()
        let rest = (table.count, all(table), table.find(0, "7"))
        #expect(rest.0 == 0 && rest.1.isEmpty && rest.2 == nil)
        let isThere = table.insert(0, "7", 1)
        let place = table.find(0, "7")
        #expect(isThere && place != nil)
    }

    private func all(_ table: borrowing KeyTable<Int64>) -> [Key: Int64] {
        var found: [Key: Int64] = [:]
        for place in table.places where table.isUsed(at: place) {
            let key = table.key(at: place)
            let previous = found.updateValue(
                table[place], forKey: Key(database: key.database, name: key.name.array()))
            #expect(previous == nil)
        }
        return found
    }

    /// At its limit it refuses new keys, keeps the old ones, and takes others for removed ones.
    @Test func aFullTableRefusesNewKeysOnly() throws {
        var table = try KeyTable<Int32>(slots: 4, slotsLimit: 64, filler: -1)
        func insert(_ number: Int, _ value: Int32) -> Bool {
            Array("\(number)".utf8).withByteView { table.insert(0, $0, value) }
        }
        func value(_ number: Int, database: Int = 0) -> Int32? {
            Array("\(number)".utf8).withByteView { name in
                table.find(database, name).map { table[$0] }
            }
        }
        for number in 0..<48 { #expect(insert(number, Int32(number))) }
        #expect(!insert(48, 0))
        let size = (table.count, table.places.count)
        #expect(size == (48, 64))
        #expect(insert(5, 500))
        for number in 0..<48 { #expect(value(number) == (number == 5 ? 500 : Int32(number))) }
        #expect(value(48) == nil && value(5, database: 1) == nil)
        if let place = table.find(0, "7") { table.remove(at: place) }
        #expect(insert(48, 48) && !insert(49, 0) && value(7) == nil)
    }
}

import Bytes
import CPlatform
import TestSupport
import Testing

@testable import Replication

/// A set of keys on disk says of every key whether it is in it, and is never wrong: a kept key that it
/// forgot would be written over, another one that it took for kept would be lost.
@Suite struct KeySetTests {
    private static func name(_ number: UInt64) -> [UInt8] {
        // Short and long ones, many with a common beginning; the empty one, too.
        let text = Array("\(number)".utf8)
        switch number % 4 {
        case 0: return text
        case 1: return Array("user:{".utf8) + text
        case 2: return [UInt8](repeating: 0, count: Int(number % 700)) + text
        default: return number < 8 ? [] : [0xFF] + text
        }
    }

    @Test(arguments: [1, 4, 1 << 12])
    func saysWhatAModelSays(buckets: Int) throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("seed \(seed)")
        var random = SeededGenerator(seed: seed)
        let directory = try TemporaryDirectory()
        var set = try KeySet(directory: directory.path, buckets: buckets)
        var model: Set<StateKey> = []
        for _ in 0..<2000 {
            let key = StateKey(
                database: Int.random(in: 0..<3, using: &random),
                name: Self.name(UInt64.random(in: 0..<800, using: &random)))
            let isIn = key.name.withByteView { set.contains(database: key.database, key: $0) }
            #expect(isIn == model.contains(key), "\(key)")
            guard Bool.random(using: &random) else { continue }
            key.name.withByteView { set.insert(database: key.database, key: $0) }
            model.insert(key)
            let count = set.count
            #expect(count == model.count)
        }
        let failure = set.failure
        #expect(failure == nil)
    }

    /// What cannot be written down is said, and from then on no key is taken for a free one.
    @Test func withoutADiskEveryKeyCounts() throws {
        var set = try KeySet(directory: "/proc/self/none", buckets: 4)
        let before = set.contains(database: 0, key: "k")
        set.insert(database: 0, key: "k")
        let after = set.contains(database: 0, key: "other")
        let failure = set.failure
        #expect(!before && after && failure != nil)
    }

    /// A baseline that is unanswered holds up its own key, and is answered once; what a record of the
    /// snapshot stream wrote is ours.
    @Test func whatIsKnownOfKeys() throws {
        let directory = try TemporaryDirectory()
        var conflicts = try Conflicts(policy: .skip, directory: directory.path)
        var states: [[Bool]] = []
        func note(_ conflicts: inout Conflicts) {
            var state = [conflicts.concernRecords]
            for database in 0...1 {
                state.append(conflicts.isUnanswered(database: database, key: "k"))
                state.append(conflicts.isKept(database: database, key: "k"))
                state.append(conflicts.guardsBaseline(database: database, key: "k"))
            }
            states.append(state)
        }
        note(&conflicts)
        conflicts.sentBaseline(database: 0, key: "k")
        conflicts.sentBaseline(database: 1, key: "k")
        note(&conflicts)
        conflicts.answeredBaseline(database: 0, key: "k")
        note(&conflicts)
        conflicts.answeredBaseline(database: 1, key: "k")
        note(&conflicts)
        conflicts.keep(database: 1, key: "k")
        note(&conflicts)
        conflicts.noteWritten(database: 0, key: "k")
        note(&conflicts)
        #expect(
            states == [
                [false, false, false, true, false, false, true],
                [true, true, false, true, true, false, true],
                [true, false, false, true, true, false, true],
                [false, false, false, true, false, false, true],
                [true, false, false, true, false, true, true],
                [true, false, false, false, false, true, true],
            ])
    }
}

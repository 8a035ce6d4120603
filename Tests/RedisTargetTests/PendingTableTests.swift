import Bytes
import TestSupport
import Testing
import Wire

@testable import RedisTarget

/// P6: the pending entries of a group are found again however many they are, in fixed memory.
@Suite struct PendingTableTests {
    private static func entry(_ number: Int) -> StreamPending {
        StreamPending(
            id: StreamID(milliseconds: UInt64(number / 3), sequence: UInt64(number % 3 * 2)),
            deliveryTimeMilliseconds: Int64(number) * 7, deliveryCount: UInt64(number % 90))
    }

    /// Within memory, at its limit, and in the file: in order, in any order, and what is not there.
    @Test(arguments: [0, 1, 1000, 32_768, 32_769, 200_000])
    func entriesAreFoundAgain(_ count: Int) throws {
        let directory = try TemporaryDirectory()
        var table = try PendingTable(directory: directory.path)
        for round in 0..<2 {
            table.removeAll()
            for number in 0..<count { try table.append(Self.entry(number)) }
            for number in stride(from: round, to: count, by: 3) {
                let found = try table.entry(Self.entry(number).id)
                #expect(found == Self.entry(number))
            }
            let seed: UInt64 = 93
            var generator = SeededGenerator(seed: seed)
            for _ in 0..<min(count, 2000) {
                let wanted = Self.entry(Int.random(in: 0..<count, using: &generator))
                let found = try table.entry(wanted.id)
                #expect(found == wanted, "seed \(seed)")
            }
            let behind = try table.entry(Self.entry(count).id)
            let between = try table.entry(StreamID(milliseconds: 1, sequence: 1))
            #expect(behind == nil && between == nil)
        }
    }

    @Test func aDirectoryThatIsMissingIsNoticed() throws {
        var table = try PendingTable(directory: "/nowhere/at/all")
        for number in 0..<32_768 { try table.append(Self.entry(number)) }
        var failure: SystemError?
        do throws(SystemError) {
            try table.append(Self.entry(32_768))
        } catch {
            failure = error
        }
        #expect(failure != nil)
    }
}

import Bytes
import TestSupport
import Testing

@testable import Replication

/// A value that was read for a key is written only if it holds exactly the records before it, and
/// every key that was marked comes off the list.
@Suite struct RepairListTests {
    private static let bytesLimit = 1 << 20

    /// A list, and what the core does with it.
    private final class Bench {
        private var list: RepairList

        init() throws { list = try RepairList(valueBytesLimit: bytesLimit) }

        subscript(index: Int) -> Repair {
            get { list[index] }
            set { list[index] = newValue }
        }
        var openCount: Int { list.openCount }
        var repaired: Int { list.repaired }
        var indices: [Int] { list.indices }

        func mark(_ name: String, database: Int = 0, flow: Int = 0) -> Bool? {
            Array(name.utf8).withByteView {
                list.mark(
                    database: database, key: $0, flow: flow, command: "SORT", reason: "a reason")
            }
        }

        @discardableResult
        func touch(_ name: String, _ lsn: UInt64, flow: Int = 0, now: Int64 = 0) -> RepairTouch {
            Array(name.utf8).withByteView {
                list.touch(database: 0, key: $0, flow: flow, lsn: lsn, now: now)
            }
        }

        func touchAll(flow: Int, lsn: UInt64) { list.touchAll(flow: flow, lsn: lsn, now: 0) }
        func nextToRead(now: Int64) -> Int? { list.nextToRead(now: now) }
        func due(flow: Int, next: UInt64) -> Int? { list.due(flow: flow, next: next) }
        func retry(_ index: Int, now: Int64) { list.retry(index, now: now) }
        func isWritten(_ index: Int) { list.isWritten(index) }
        func abandon(_ index: Int) { list.abandon(index) }
        var doubtfulCount: Int { list.doubtfulCount }
        func isDoubtful(_ name: String) -> Bool {
            Array(name.utf8).withByteView { list.isDoubtful(database: 0, key: $0) }
        }
        func close(_ index: Int, isRepaired: Bool) { list.close(index, isRepaired: isRepaired) }

        /// A value of so many bytes was read.
        func read(
            _ index: Int, _ before: UInt64, _ after: UInt64, now: Int64 = 0, bytes: Int = 10
        ) throws -> Bool {
            let value = try list.takeSpareValue()
            if !value.bytes.isEmpty { Issue.record("a spare value is not empty") }
            try [UInt8](repeating: 1, count: bytes).withByteView { (view) throws(SystemError) in
                try value.bytes.append(view)
            }
            (value.start, value.count) = (0, bytes)
            return list.wasRead(index, before: before, after: after, value: value, now: now)
        }
    }

    /// What was given up stays in doubt, and with it what is made of it, until it is read after all.
    @Test func anAbandonedKeyStaysInDoubt() throws {
        let list = try Bench()
        #expect(list.mark("waiting") == true && list.mark("read") == true)
        list.abandon(0)
        #expect(list.openCount == 1 && list.doubtfulCount == 2)
        #expect(list.touch("waiting", 5) == .held && list.isDoubtful("waiting"))
        // It is not read, though it was in the queue.
        let index = try #require(list.nextToRead(now: 0))
        #expect(list[index].key == Array("read".utf8))
        #expect(list.nextToRead(now: 0) == nil)
        #expect(try list.read(index, 10, 12))
        list.isWritten(index)
        list.abandon(index)
        #expect(list.openCount == 0 && list.doubtfulCount == 2 && list.indices == [])
        #expect(list.due(flow: 0, next: 99) == nil)
        // Marked once more it is read once, whether it was still in the queue or not.
        #expect(list.mark("waiting") == true && list.mark("read") == true)
        #expect(list.openCount == 2 && list.indices.count == 2)
        list.abandon(0)
        #expect(list.mark("waiting") == true)
        var keys: [[UInt8]] = []
        while let next = list.nextToRead(now: 0) {
            keys.append(list[next].key)
            #expect(try list.read(next, 20, 20))
            list.isWritten(next)
            list.close(next, isRepaired: true)
        }
        #expect(Set(keys) == [Array("waiting".utf8), Array("read".utf8)] && keys.count == 2)
        #expect(list.doubtfulCount == 0 && list.repaired == 2 && !list.isDoubtful("read"))
    }

    // MARK: The way of a key

    @Test func aKeyIsReadHeldWrittenAndClosed() throws {
        let list = try Bench()
        #expect(list.mark("k", flow: 1) == true)
        #expect(list.mark("k", flow: 1) == false)
        #expect(list.mark("k", database: 2, flow: 1) == true)
        #expect(list.openCount == 2)
        let index = try #require(list.nextToRead(now: 0))
        let repair = list[index]
        #expect(repair.key == Array("k".utf8) && repair.database == 0 && repair.flow == 1)
        #expect(repair.command == "SORT" && repair.reason == "a reason")
        #expect(try list.read(index, 10, 12))
        #expect(list.due(flow: 1, next: 11) == nil && list.due(flow: 0, next: 12) == nil)
        #expect(list.due(flow: 1, next: 12) == index)
        list.isWritten(index)
        #expect(list.due(flow: 1, next: 99) == nil && list.openCount == 2)
        list.close(index, isRepaired: true)
        #expect(list.openCount == 1 && list.repaired == 1)
        #expect(list.indices.map { list[$0].database } == [2])
    }

    /// A record at or behind the first look may be in the value or not: it is read again. One before
    /// it is in the value.
    @Test func aRecordInTheWindowHasTheKeyReadAgain() throws {
        for (lsn, isUseful) in [(9, true), (10, false), (11, false), (12, false)] {
            for isHeld in [false, true] {
                let list = try Bench()
                _ = list.mark("k")
                let index = try #require(list.nextToRead(now: 0))
                if isHeld {
                    #expect(try list.read(index, 10, 12))
                    #expect(list.touch("k", UInt64(lsn)) == .held)
                } else {
                    #expect(list.touch("k", UInt64(lsn)) == .held)
                    #expect(try list.read(index, 10, 12) == isUseful)
                }
                #expect(list.due(flow: 0, next: 12) == (isUseful ? index : nil))
                #expect(list[index].state == (isUseful ? .holding : .waiting))
                #expect(list.nextToRead(now: 10_000) == (isUseful ? nil : index))
            }
        }
    }

    /// A record that came before the reading was asked for, and that its first look covers.
    @Test func recordsBeforeTheReadingAreInIt() throws {
        let list = try Bench()
        _ = list.mark("k")
        list.touch("k", 0)
        list.touch("k", 9)
        let index = try #require(list.nextToRead(now: 0))
        #expect(try list.read(index, 10, 10))
        #expect(list.due(flow: 0, next: 10) == index)
    }

    @Test func recordsOfOtherKeysAndFlowsTouchNothing() throws {
        let list = try Bench()
        _ = list.mark("k", flow: 1)
        let index = try #require(list.nextToRead(now: 0))
        #expect(try list.read(index, 10, 12))
        #expect(list.touch("other", 11, flow: 1) == .none)
        // A ghost: its LSN is another shard's.
        #expect(list.touch("k", 11, flow: 0) == .none)
        list.touchAll(flow: 0, lsn: 11)
        #expect(list.due(flow: 1, next: 12) == index)
        list.touchAll(flow: 1, lsn: 11)
        #expect(list.due(flow: 1, next: 12) == nil && list[index].state == .waiting)
    }

    /// While the value is in the pipeline records are applied to it; another mark has it read again.
    @Test func aMarkWhileItIsWrittenIsKept() throws {
        let list = try Bench()
        _ = list.mark("k")
        let index = try #require(list.nextToRead(now: 0))
        #expect(try list.read(index, 10, 12))
        list.isWritten(index)
        #expect(list.touch("k", 13) == .pipelined)
        #expect(!list[index].isMarkedAgain)
        #expect(list.mark("k") == false)
        #expect(list[index].isMarkedAgain && list[index].state == .writing)
        list.retry(index, now: 0)
        #expect(list.nextToRead(now: 0) == index)
        #expect(try list.read(index, 13, 20))
        #expect(list.due(flow: 0, next: 20) == index)
    }

    @Test func aFlushTouchesAllKeysOfItsFlow() throws {
        let list = try Bench()
        for name in ["waiting", "reading", "holding", "writing"] { _ = list.mark(name) }
        var indices: [Int] = []
        for _ in 0..<4 { indices.append(try #require(list.nextToRead(now: 0))) }
        list.retry(indices[0], now: 0)
        #expect(try list.read(indices[2], 10, 12) && list.read(indices[3], 10, 12))
        list.isWritten(indices[3])
        list.touchAll(flow: 0, lsn: 11)
        #expect(
            indices.map { list[$0].state } == [.waiting, .reading, .waiting, .writing])
        #expect(try !list.read(indices[1], 11, 13))
    }

    // MARK: Limits

    @Test func delaysGrowWhateverTheReason() throws {
        for reason in 0..<3 {
            let list = try Bench()
            _ = list.mark("k")
            var now: Int64 = 5_000_000
            var delays: [Int64] = []
            for attempt in 1...30 {
                let index = try #require(list.nextToRead(now: now))
                let lsn = UInt64(attempt * 10)
                switch reason {
                case 0:
                    list.retry(index, now: now)
                case 1:
                    list.touch("k", lsn, now: now)
                    #expect(try !list.read(index, lsn, lsn + 1, now: now))
                default:
                    #expect(try list.read(index, lsn, lsn + 2, now: now))
                    list.touch("k", lsn + 1, now: now)
                }
                #expect(list[index].attempts == attempt)
                let delay = list[index].notBefore - now
                if delay > 0 { #expect(list.nextToRead(now: now + delay - 1) == nil) }
                delays.append(delay)
                now += delay
            }
            #expect(delays.first == 0 && delays.last == 1000, "reason \(reason)")
            #expect(delays == delays.sorted(), "reason \(reason)")
            #expect(delays.filter { $0 == 0 }.count < 5, "reason \(reason)")
        }
    }

    /// A key that waits for its time does not hold up others.
    @Test func delayedKeysArePassedBy() throws {
        let list = try Bench()
        _ = list.mark("hot")
        for _ in 0..<10 {
            list.retry(try #require(list.nextToRead(now: 1_000)), now: 1_000)
            list[0].notBefore = 0
        }
        list[0].notBefore = 2_000
        _ = list.mark("cold")
        let index = try #require(list.nextToRead(now: 1_000))
        #expect(list[index].key == Array("cold".utf8))
        #expect(list.nextToRead(now: 1_999) == nil)
        #expect(list.nextToRead(now: 2_000) == 0)
    }

    @Test func valuesAreLimitedAndUsedAgain() throws {
        let list = try Bench()
        for number in 0..<RepairList.valuesLimit + 1 { _ = list.mark("\(number)") }
        var values: Set<ObjectIdentifier> = []
        for round in 0..<5 {
            var out: [Int] = []
            while let index = list.nextToRead(now: 0) {
                #expect(try list.read(index, 10, 10))
                out.append(index)
                if let value = list[index].value { values.insert(ObjectIdentifier(value)) }
            }
            #expect(out.count == RepairList.valuesLimit)
            #expect(values.count == RepairList.valuesLimit)
            for (number, index) in out.enumerated() {
                switch (number + round) % 3 {
                case 0: list.retry(index, now: -10_000)
                case 1:
                    list.isWritten(index)
                    list.retry(index, now: -10_000)
                default:
                    let name = String(decoding: list[index].key, as: UTF8.self)
                    list.close(index, isRepaired: false)
                    _ = list.mark(name)
                }
            }
        }
    }

    @Test func bytesAreLimited() throws {
        let list = try Bench()
        for number in 0..<4 { _ = list.mark("\(number)") }
        let first = try #require(list.nextToRead(now: 0))
        #expect(try list.read(first, 10, 10, bytes: Self.bytesLimit))
        let second = try #require(list.nextToRead(now: 0))
        #expect(try list.read(second, 10, 10, bytes: 1))
        #expect(list.nextToRead(now: 0) == nil)
        list.isWritten(first)
        #expect(list.nextToRead(now: 0) == nil)
        list.close(first, isRepaired: true)
        #expect(list.nextToRead(now: 0) != nil)
    }

    @Test func keysAreLimitedAndThoseGivenUpMakeRoom() throws {
        let list = try Bench()
        // Nothing is ever read: what was given up must not pile up either.
        for round in 0..<4 {
            for number in 0..<RepairList.keysLimit {
                guard list.mark("\(round) \(number)") == true else {
                    Issue.record("round \(round), key \(number)")
                    return
                }
            }
            #expect(list.mark("one more") == nil)
            #expect(list.mark("\(round) 5") == false)
            #expect(list.openCount == RepairList.keysLimit)
            for index in list.indices { list.close(index, isRepaired: false) }
            #expect(list.openCount == 0 && list.indices.isEmpty)
        }
        #expect(list.nextToRead(now: 0) == nil)
        _ = list.mark("last")
        #expect(list.nextToRead(now: 0).map { list[$0].key } == Array("last".utf8))
    }
}

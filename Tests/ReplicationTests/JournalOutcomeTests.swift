import Bytes
import RedisTarget
import TestSupport
import Testing

@testable import Replication

/// Records that are not sent at once, or not at all.
@Suite struct JournalOutcomeTests {
    @Test func flushesAreSentWhenTold() throws {
        let bench = try WriterBench()
        #expect(try bench.write("FLUSHALL") == .flush)
        #expect(try bench.write("flushdb", "ASYNC") == .flush)
        #expect(try bench.commands() == [])
        #expect(try bench.writeFlush("FLUSHALL", "SYNC") == .sent)
        #expect(try bench.commands() == [["FLUSHALL", "SYNC"]])
    }

    /// PFMERGE leaves copies of its result on other shards (protocol.md 6.7).
    @Test func ghostsAreDropped() throws {
        let bench = try WriterBench()
        bench.placement = ShardPlacement(flowCount: 2)
        for index in 0..<100 {
            let key = Array("key:\(index)".utf8)
            let flow = key.withByteView { Int($0.xxh64(seed: 120_577_240_643) % 2) }
            key.withByteView { bench.placement.vote($0, flow: flow) }
        }
        // Flow 1 by the table of protocol.md 7.4.
        #expect(try bench.write("SET", "foo", "HYLLxyz", flow: 0) == .ghost)
        #expect(try bench.write("SET", "foo", "HYLLxyz", flow: 1) == .sent)
        #expect(try bench.write("SET", "foo", "data", flow: 0) == .sent)
    }

    /// A record that finds no room is as if it had not been handed in.
    @Test func blockedRecordsCountNothing() throws {
        let bench = try WriterBench(ringBytes: 1 << 12)
        // Nothing is shorter.
        while try bench.write("DEL", "") == .sent {}
        _ = try bench.commands()
        let near = "\(WriterBench.now + 1000)"
        for record in [
            "SADDEX k 100 a b", "HSETEX k 100 f v", "HSETEX k NX 100 f v", "SET k v STICK",
            "SET k v _MCFLAGS 7", "SET k v PXAT \(near)", "PEXPIREAT k \(near)", "XADD k 1-1 f v",
            "XCLAIM k g c 0 1-1", "SORT k STORE d", "GETSET k v", "INCRBYFLOAT k 1", "DEL k",
            "SCRIPT LOAD x", "PREPEND k v", "DELEX k IFEQ v", "MOVE k 3", "RENAME k l", "NOSUCH k",
            "XGROUP SETID k g 1", "HINCRBY k f 1",
        ] {
            let words = record.split(separator: " ").map { Array($0.utf8) }
            #expect(try bench.write(words) == .blocked, "\(record)")
        }
        #expect(bench.memberExpiriesDropped == 0 && bench.stickyFlagsDropped == 0)
        #expect(bench.memcachedFlagsDropped == 0 && bench.heldCount == 0)
        #expect(!bench.mayExpireUnseen("k") && bench.repairKeys == [])
        #expect(try bench.commands() == [])
    }
}

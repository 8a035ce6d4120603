import Bytes
import TestSupport
import Testing

@testable import RedisTarget

/// Limits are kept, to the nanosecond where nothing but arithmetic is in the way.
struct TokenBucketTests {
    private static let second: Int64 = 1_000_000_000

    /// Commands of any size at any rate, tried at any moments: over each second what goes is within 2 %
    /// (or one command) of the rate, and debts are paid before the next goes.
    @Test(arguments: UInt64(1)...8)
    func rateOverASecond(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let rate = [7, 1000, 33_333, 3_000_000, 10_000_000_001][
            Int.random(in: 0..<5, using: &random)]
        let largest = max(1, min(rate / 10, 1 << 20))
        let bucket = TokenBucket(rate: rate)
        var now: Int64 = Int64.random(in: 0..<Self.second, using: &random)
        let start = now
        var spent = 0
        var last = 0
        while now < start + 5 * Self.second {
            // Late by up to what the burst makes up for.
            now = max(now, bucket.opensAt) + Int64.random(in: 0..<5_000_000, using: &random)
            while bucket.isOpen(now) {
                last = Int.random(in: 1...largest, using: &random)
                bucket.spend(last, now: now)
                spent += last
            }
        }
        let expected = Double(rate) * Double(now - start) / 1e9
        #expect(
            abs(Double(spent) - expected) <= 0.02 * expected + Double(largest),
            "seed \(seed): \(spent) of \(expected) at \(rate)")
    }

    /// One command larger than a second's worth is let through, and paid for by all that follow.
    @Test func hugeCommand() {
        let bucket = TokenBucket(rate: 1000)
        #expect(bucket.isOpen(0))
        bucket.spend(5000, now: 0)
        #expect(!bucket.isOpen(4_989_999_999))
        #expect(bucket.isOpen(5_000_000_000))
        // The largest that there is, at the lowest rate.
        let slow = TokenBucket(rate: 1)
        slow.spend(512 << 20, now: 0)
        #expect(slow.opensAt == Int64(512 << 20) * Self.second - TokenBucket.burstNanoseconds)
    }

    /// A rest saves up no more than the burst.
    @Test func rest() {
        let bucket = TokenBucket(rate: 1000)
        var sent = 0
        while bucket.isOpen(3600 * Self.second) {
            bucket.spend(1, now: 3600 * Self.second)
            sent += 1
        }
        #expect(sent == 11)
    }

    @Test func noLimitAndChange() {
        let bucket = TokenBucket()
        bucket.spend(1 << 40, now: 0)
        #expect(bucket.isOpen(0))
        bucket.setRate(1)
        bucket.spend(10, now: 0)
        #expect(!bucket.isOpen(1))
        bucket.setRate(2)
        #expect(bucket.isOpen(1))
    }
}

/// Limits may change between a refusal and the question how long to wait.
@Test func theWaitForARateIsAlwaysFinite() {
    let pace = SharedPace()
    let now: Int64 = 1_000_000_000_000
    for rate in [0, 1, 1000, 0, 5] {
        pace.setRates(operations: rate, bytes: rate, latencyMilliseconds: 0)
        #expect(pace.ratesOpenAt - now < 0, "\(rate)")
        pace.operations.spend(1, now: now)
        #expect(pace.ratesOpenAt <= now + 1_000_000_000, "\(rate)")
    }
}

/// Nothing is begun that a target without eviction may not have room for.
struct MemoryRoomTests {
    private func sample(
        used: Int, limit: Int, policy: String = "noeviction"
    ) -> MemoryRoom.Sample? {
        let text =
            "# Memory\r\nused_memory:\(used)\r\nmaxmemory:\(limit)\r\n"
            + "maxmemory_policy:\(policy)\r\nmem_not_counted_for_evict:0\r\n"
        return Array(text.utf8).withByteView { MemoryRoom.Sample(InfoText($0)) }
    }

    /// Answers like a `MemoryRoom` and can be asked inside an expectation.
    private final class Room {
        var value: MemoryRoom

        init(of server: ServerMemory = ServerMemory()) { value = MemoryRoom(server) }

        init(_ sample: MemoryRoom.Sample?, of server: ServerMemory = ServerMemory()) {
            value = MemoryRoom(server)
            ask(sample)
        }

        func admits(_ bytes: Int, _ demand: MemoryRoom.Demand = .bySize) -> Bool {
            value.admits(bytes, demand)
        }

        func begin(_ bytes: Int, _ demand: MemoryRoom.Demand = .bySize) {
            value.began(bytes, demand)
        }

        func ask(_ sample: MemoryRoom.Sample?) {
            value.asked()
            value.answered(sample)
        }
    }

    @Test func nothingBeforeTheFirstAnswer() {
        let room = Room()
        #expect(!room.admits(1))
        #expect(room.value.mustAskNow && !room.value.isShort)
        #expect(room.admits(1, .nothing))
    }

    @Test func noLimitAndEviction() {
        for sample in [
            sample(used: 1 << 40, limit: 0), sample(used: 100, limit: 50, policy: "allkeys-lru"),
            nil,
        ] {
            let room = Room(sample)
            #expect(room.admits(1 << 30) && !room.value.isShort)
        }
    }

    /// What was begun since the question counts, what was begun before it does not.
    @Test func whatIsInFlightCounts() {
        let room = Room(sample(used: 0, limit: 96 << 20))
        #expect(room.admits(500 << 10))
        room.begin(500 << 10)
        #expect(room.admits(1 << 10))
        #expect(!room.admits(200 << 10))
        #expect(!room.value.isShort && room.value.mustAskNow)
        room.value.asked()
        room.begin(1 << 10)
        room.value.answered(sample(used: 0, limit: 96 << 20))
        #expect(room.admits(200 << 10))
    }

    /// Near the limit what is in flight fits the margin: the key table may grow into all the rest.
    @Test func keyTableMayGrow() {
        let room = Room(sample(used: 6 << 30, limit: 8 << 30))
        room.begin(1)
        #expect(room.admits(600 << 10) && !room.admits(1 << 20))
        let far = Room(sample(used: 1 << 30, limit: 8 << 30))
        far.begin(1)
        #expect(far.admits(32 << 20))
    }

    /// A command that must go alone gets its turn, however many small ones of others there are.
    @Test func aLargeCommandIsNotStarved() {
        let full = sample(used: 6 << 30, limit: 8 << 30)
        let room = Room(full)
        #expect(room.admits(100))
        room.begin(100)
        #expect(!room.admits(1, .bytes(1 << 30)) && !room.value.isShort)
        #expect(!room.admits(100) && room.admits(100, .nothing))
        #expect(room.value.mustAskNow)
        room.ask(full)
        #expect(!room.admits(100))
        #expect(room.admits(1, .bytes(1 << 30)))
        room.begin(1, .bytes(1 << 30))
        room.ask(full)
        #expect(room.admits(100))
    }

    /// What one connection has begun, or was admitted, leaves so much less to another one of the same
    /// server, until an answer has it.
    @Test func connectionsShareAServer() {
        let server = ServerMemory()
        let empty = sample(used: 0, limit: 96 << 20)
        let first = Room(empty, of: server)
        let second = Room(empty, of: server)
        #expect(first.admits(500 << 10))
        #expect(!second.admits(200 << 10), "admitted is as good as begun")
        first.value.giveUp()
        #expect(second.admits(200 << 10))
        second.begin(200 << 10)
        #expect(first.admits(300 << 10) && !second.admits(500 << 10))
        first.begin(300 << 10)
        first.ask(sample(used: 10 << 20, limit: 96 << 20))
        // The second has not asked since.
        #expect(!second.admits(500 << 10) && second.admits(100 << 10))
        second.value.giveUp()
        second.ask(sample(used: 11 << 20, limit: 96 << 20))
        #expect(first.admits(500 << 10))
        // Who is gone takes nothing.
        first.begin(500 << 10)
        first.value.leave()
        #expect(second.admits(500 << 10))
    }

    /// Only one goes alone, when nothing of the other is under way, and small ones wait for it.
    @Test func onlyOneGoesAlone() {
        let server = ServerMemory()
        let full = sample(used: 6 << 30, limit: 8 << 30)
        let first = Room(full, of: server)
        let second = Room(full, of: server)
        first.begin(100)
        #expect(!second.admits(1, .bytes(1 << 30)) && !second.value.isShort)
        #expect(!first.admits(100))
        first.ask(full)
        #expect(second.admits(1, .bytes(1 << 30)))
        #expect(!first.admits(1, .bytes(1 << 30)))
        second.begin(1, .bytes(1 << 30))
        #expect(!first.admits(1, .bytes(1 << 30)))
        second.ask(sample(used: 7 << 30, limit: 8 << 30))
        #expect(!first.admits(1, .bytes(1 << 30)) && first.value.isShort)
    }

    /// Without a limit nobody counts for the others; with one, what is under way is known at once.
    @Test func aLimitMayCome() {
        let server = ServerMemory()
        let first = Room(sample(used: 0, limit: 0), of: server)
        let second = Room(sample(used: 0, limit: 0), of: server)
        first.begin(500 << 10)
        #expect(server.begun == 0 && second.admits(1 << 30))
        first.value.asked()
        first.begin(100 << 10)
        first.value.answered(sample(used: 0, limit: 96 << 20))
        #expect(server.begun == (100 << 10) * MemoryRoom.growth)
        second.ask(sample(used: 0, limit: 96 << 20))
        #expect(!second.admits(700 << 10))
        first.ask(sample(used: 0, limit: 0))
        #expect(server.begun == 0)
    }

    /// One that is not asked for any more does not hold up the others for long, nor one that would not
    /// fit alone.
    @Test func whoWaitsAloneMayGoAway() {
        let full = sample(used: 6 << 30, limit: 8 << 30)
        let room = Room(full)
        room.begin(100)
        #expect(!room.admits(1, .bytes(1 << 30)))
        room.ask(full)
        #expect(!room.admits(100))
        room.ask(full)
        #expect(room.admits(100))
        room.begin(100)
        #expect(!room.admits(1, .bytes(4 << 30)) && room.admits(100))
    }

    /// What a command says of itself counts for more than its size.
    @Test func demands() {
        let room = Room(sample(used: 0, limit: 64 << 20))
        #expect(!room.admits(40, .bytes(512 << 20)) && room.value.isShort)
        #expect(room.value.needed == 512 << 20)
        #expect(room.admits(10 << 20, .nothing))
        #expect(room.admits(10 << 20, .bytes(20 << 20)))
        room.begin(40, .bytes(20 << 20))
        #expect(!room.admits(1, .bytes(45 << 20)) && !room.value.isShort)
        #expect(!room.admits(1, .bytes(.max)))
        // Members of one byte wait for EXEC at many times their size.
        #expect(MemoryRoom.Demand.transaction(arguments: 10, bytes: 10) == .bytes(1620))
    }

    @Test func shortAndThenNot() {
        let room = Room(sample(used: 63 << 20, limit: 64 << 20))
        #expect(!room.admits(1000))
        #expect(room.value.isShort && !room.value.mustAskNow)
        #expect(room.admits(1000, .nothing))
        room.ask(sample(used: 63 << 20, limit: 64 << 20))
        #expect(room.value.isShort)
        room.ask(sample(used: 63 << 20, limit: 128 << 20))
        #expect(!room.value.isShort)
        #expect(room.admits(1000))
    }

    /// After a refusal an evicting target is waited for, too.
    @Test func refusal() {
        let room = Room(sample(used: 10, limit: 64 << 20, policy: "volatile-lru"))
        room.value.wasRefused()
        #expect(!room.admits(1) && room.value.isShort && !room.value.mustAskNow)
        room.ask(sample(used: 65 << 20, limit: 64 << 20, policy: "volatile-lru"))
        #expect(!room.admits(1) && room.value.isShort)
        room.ask(sample(used: 1 << 20, limit: 64 << 20, policy: "volatile-lru"))
        #expect(room.admits(1) && !room.value.isShort)
    }
}

/// A target that answers late gets fewer commands at a time, and more again once it is quick.
struct LatencyWindowTests {
    @Test func halvesAndGrows() {
        var window = LatencyWindow()
        window.setLimit(milliseconds: 10)
        #expect(window.admits(30_000))
        window.sent(1, now: 0)
        window.answered(1, commandsInFlight: 1000, now: 11_000_000)
        #expect(window.size == 500 && !window.admits(500) && window.admits(499))
        for number in 2..<20 {
            window.sent(number, now: 0)
            window.answered(number, commandsInFlight: 10, now: 20_000_000)
        }
        #expect(window.size == 1 && window.admits(0) && !window.admits(1))
        for number in 20..<30 {
            window.sent(number, now: 0)
            window.answered(number, commandsInFlight: 160, now: 9_000_000)
        }
        #expect(window.size == 161)
    }

    /// A target that does not answer at all is late before its reply comes, once.
    @Test func lateBeforeTheReply() {
        var window = LatencyWindow()
        window.setLimit(milliseconds: 10)
        window.sent(1, now: 0)
        window.tick(commandsInFlight: 64, now: 9_000_000)
        #expect(window.size == LatencyWindow.largest)
        window.tick(commandsInFlight: 64, now: 11_000_000)
        window.tick(commandsInFlight: 64, now: 500_000_000)
        #expect(window.size == 32)
        window.answered(1, commandsInFlight: 63, now: 600_000_000)
        #expect(window.size == 32)
    }

    @Test func offWatchesNothing() {
        var window = LatencyWindow()
        window.sent(1, now: 0)
        window.answered(1, commandsInFlight: 5, now: 60_000_000_000)
        #expect(window.admits(LatencyWindow.largest))
    }
}

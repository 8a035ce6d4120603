import Bytes
import CPlatform
import Glibc
import Synchronization
import TestSupport
import Testing

@testable import Reactor

/// Turns are fair, sleep when there is nothing to do, and never sleep through something.
@Suite struct TurnTests {
    // MARK: Budget and pause

    /// A socket with input left is asked again without news from its peer, and others get their turn
    /// between.
    @Test func budgetIsContinuedFairly() throws {
        let loop = try Loop()
        let left = try loop.link(role: 1)
        let right = try loop.link(role: 2)
        loop.onReady = { socket in
            _ = socket.fill(limit: 10)
        }
        try loop.run(
            {
                guard left.socket.state == .open, right.socket.state == .open else { return false }
                Loop.send([UInt8](repeating: 7, count: 200), to: left.peer)
                Loop.send([UInt8](repeating: 8, count: 200), to: right.peer)
                return true
            },
            { left.socket.input.count == 200 && right.socket.input.count == 200 })
        let turns = loop.events.filter { $0.hasPrefix("ready") }
        let both = turns.prefix(38)
        #expect(both.count == 38)
        for index in stride(from: 2, to: both.count - 1, by: 2) {
            #expect(Set(both[index...index + 1]) == ["ready 1", "ready 2"], "\(turns)")
        }
    }

    @Test func pauseAndResume() throws {
        let loop = try Loop()
        let link = try loop.link()
        loop.onReady = { socket in
            _ = socket.fill(limit: 10)
            socket.isPaused = true
        }
        var waited = 0
        var asked = 0
        try loop.run(
            {
                Loop.send([UInt8](repeating: 7, count: 30), to: link.peer)
                return true
            },
            { link.socket.input.count == 10 },
            {
                // News for a paused socket is kept for later.
                if waited == 5 { Loop.send([1, 2, 3], to: link.peer) }
                waited += 1
                asked = loop.count("ready 0")
                return waited == 10
            },
            {
                loop.reactor.resume(link.socket)
                return true
            },
            { link.socket.input.count == 20 },
            {
                loop.reactor.resume(link.socket)
                loop.reactor.resume(link.socket)
                return true
            },
            { link.socket.input.count == 30 },
            {
                loop.close(link.peer)
                loop.reactor.resume(link.socket)
                return true
            },
            {
                if link.socket.isPaused { loop.reactor.resume(link.socket) }
                return link.socket.reachedEnd
            })
        #expect(asked == 1)
        #expect(link.socket.input.count == 33)
    }

    @Test func resumeAsksWithoutInput() throws {
        let loop = try Loop()
        let link = try loop.link()
        try loop.run(
            {
                guard link.socket.state == .open else { return false }
                link.socket.isPaused = true
                loop.reactor.resume(link.socket)
                return true
            },
            { loop.count("ready 0") == 1 })
    }

    // MARK: Stale events

    /// A socket that was closed by an earlier event of the same batch is not told of its own.
    @Test func closedInTheSameBatchIsSilent() throws {
        let loop = try Loop()
        let first = try loop.link(role: 1)
        let second = try loop.link(role: 2)
        loop.onReady = { socket in
            #expect(socket.fill(limit: 100) > 0)
            loop.reactor.close(first.socket)
            loop.reactor.close(second.socket)
        }
        Loop.send([1], to: first.peer)
        Loop.send([1], to: second.peer)
        try loop.run({ first.socket.state == .closed && second.socket.state == .closed })
        #expect(loop.events.filter { $0.hasPrefix("ready") }.count == 1, "\(loop.events)")
    }

    /// An event that was meant for a closed socket is not given to the one that took its place.
    @Test func staleGenerationIsRecognised() throws {
        let loop = try Loop(capacity: 1)
        let first = try loop.link(role: 1)
        // A second descriptor keeps the closed socket in epoll: its events still come.
        let copy = dup(first.socket.transport.descriptor)
        defer { close(copy) }
        var second: Loop.Link?
        var turns = 0
        try loop.run(
            {
                guard first.socket.state == .open else { return false }
                loop.reactor.close(first.socket)
                return true
            },
            {
                second = try loop.link(role: 2)
                return true
            },
            { second?.socket.state == .open },
            {
                Loop.send([1, 2, 3], to: first.peer)
                return true
            },
            {
                turns += 1
                return turns == 5
            })
        #expect(second?.socket.slot == first.socket.slot)
        #expect(loop.events == ["connected 1", "connected 2"])
        #expect(second?.socket.isReadable == false)
    }

    /// Descriptors and slots are used again and again without a mix-up.
    @Test func slotsAreReused() throws {
        let loop = try Loop(capacity: 2)
        var rounds = 0
        var current: Loop.Link?
        loop.onReady = { socket in
            #expect(socket === current?.socket)
            _ = socket.fill(limit: 100)
        }
        try loop.run({
            if let link = current {
                guard link.socket.input.count == 1 else { return false }
                #expect(link.socket.input.readable[0] == UInt8(rounds))
                loop.reactor.close(link.socket)
                loop.close(link.peer)
            }
            rounds += 1
            current = try loop.link(role: UInt32(rounds))
            Loop.send([UInt8(rounds)], to: current!.peer)
            return rounds == 100
        })
        #expect(loop.events.count { $0.hasPrefix("connected") } >= 99)
        #expect(loop.events.count { $0.hasPrefix("failed") } == 0)
    }

    // MARK: Timers

    @Test func timersFireOnceAndInTime() throws {
        let loop = try Loop()
        let first = Loop.Timer.firstFree
        loop.reactor.setTimer(first, after: 20_000_000)
        loop.reactor.setTimer(first + 1, after: 5_000_000)
        loop.reactor.setTimer(first + 2, after: 5_000_000)
        loop.reactor.setTimer(first + 3, after: 1_000_000)
        loop.reactor.setTimer(first + 3, after: 30_000_000)
        let start = loop.reactor.now
        var early: [String] = []
        try loop.run(
            {
                if loop.reactor.now - start < 5_000_000 { early = loop.events }
                return loop.count("timer \(first + 3)") == 1
            },
            { loop.reactor.now - start > 45_000_000 })
        #expect(early == [])
        #expect(
            loop.events == [
                "timer \(first + 1)", "timer \(first + 2)", "timer \(first)", "timer \(first + 3)",
            ])
        #expect(loop.reactor.now - start >= 30_000_000)
    }

    @Test func idleSleeps() throws {
        let loop = try Loop()
        _ = try loop.link()
        loop.reactor.setTimer(Loop.Timer.firstFree, after: 100_000_000)
        loop.onTurnEnding = {
            if loop.count("timer \(Loop.Timer.firstFree)") == 1 { loop.reactor.stop() }
        }
        try loop.reactor.run(loop)
        #expect(loop.reactor.turns < 10, "\(loop.reactor.turns) turns")
    }

    // MARK: Mailbox

    /// Posts words as fast as the box takes them, or one at a time.
    private final class Sender: CoreBody {
        let mailbox: Mailbox
        let words: UInt64
        let first: UInt64
        let waitsForAnswers: Bool
        let answered = Atomic<UInt64>(0)
        let seed: UInt64

        init(
            mailbox: Mailbox, words: UInt64, first: UInt64 = 0, waitsForAnswers: Bool, seed: UInt64
        ) {
            self.mailbox = mailbox
            self.words = words
            self.first = first
            self.waitsForAnswers = waitsForAnswers
            self.seed = seed
        }

        func runCore() {
            var generator = SeededGenerator(seed: seed)
            for word in 1...words {
                while !mailbox.post(first + word) { sched_yield() }
                if waitsForAnswers {
                    while answered.load(ordering: .acquiring) < word { sched_yield() }
                } else if generator.next() % 1000 == 0 {
                    usleep(200)
                }
            }
        }
    }

    /// Every word arrives, in order, through a box much smaller than the stream.
    @Test func wordsArriveInOrder() throws {
        let loop = try Loop(mailboxCapacity: 16)
        let count: UInt64 = 100_000
        let sender = Sender(mailbox: loop.mailbox, words: count, waitsForAnswers: false, seed: 3)
        var expected: UInt64 = 1
        loop.onWord = { word in
            #expect(word == expected)
            expected += 1
            if word == count { loop.reactor.stop() }
        }
        loop.reactor.setTimer(Loop.Timer.deadline, after: 60_000_000_000)
        try CoreThread.start(sender, name: "sender", pinnedTo: nil)
        try loop.reactor.run(loop)
        #expect(expected == count + 1)
    }

    /// Several threads send at once: no word is lost, and those of each keep their order.
    @Test func sendersShareABox() throws {
        let loop = try Loop(mailboxCapacity: 16)
        let count: UInt64 = 20_000
        let senders = 3
        var seen: [UInt64: UInt64] = [:]
        loop.onWord = { word in
            let (sender, number) = (word >> 32, word & 0xffff_ffff)
            #expect(number == seen[sender, default: 0] + 1)
            seen[sender] = number
            if seen.count == senders, seen.values.allSatisfy({ $0 == count }) {
                loop.reactor.stop()
            }
        }
        loop.reactor.setTimer(Loop.Timer.deadline, after: 60_000_000_000)
        for number in 0..<senders {
            let sender = Sender(
                mailbox: loop.mailbox, words: count, first: UInt64(number) << 32,
                waitsForAnswers: false, seed: UInt64(5 + number))
            try CoreThread.start(sender, name: "sender-\(number)", pinnedTo: nil)
        }
        try loop.reactor.run(loop)
        #expect(seen.values.allSatisfy { $0 == count } && seen.count == senders)
    }

    /// A reactor that looks for news before it sleeps hears a word, and a timer, all the same.
    @Test func busyPollMissesNothing() throws {
        let loop = try Loop(mailboxCapacity: 2)
        loop.reactor.busyPollNanoseconds = 200_000
        let count: UInt64 = 5_000
        let sender = Sender(mailbox: loop.mailbox, words: count, waitsForAnswers: true, seed: 6)
        var isOver = false
        loop.onWord = { word in
            sender.answered.store(word, ordering: .releasing)
            if word == count { loop.reactor.setTimer(Loop.Timer.firstFree, after: 5_000_000) }
        }
        loop.onTurnEnding = {
            isOver = loop.count("timer \(Loop.Timer.firstFree)") == 1
            if isOver { loop.reactor.stop() }
        }
        loop.reactor.setTimer(Loop.Timer.deadline, after: 60_000_000_000)
        try CoreThread.start(sender, name: "sender", pinnedTo: nil)
        try loop.reactor.run(loop)
        #expect(isOver && sender.answered.load(ordering: .acquiring) == count)
    }

    /// The reactor goes to sleep after each word and is woken by the next: one lost wake-up would
    /// stop the run for good.
    @Test func noWakeUpIsLost() throws {
        let loop = try Loop(mailboxCapacity: 2)
        let count: UInt64 = 20_000
        let sender = Sender(mailbox: loop.mailbox, words: count, waitsForAnswers: true, seed: 4)
        loop.onWord = { word in
            sender.answered.store(word, ordering: .releasing)
            if word == count { loop.reactor.stop() }
        }
        loop.reactor.setTimer(Loop.Timer.deadline, after: 60_000_000_000)
        try CoreThread.start(sender, name: "sender", pinnedTo: 1)
        try loop.reactor.run(loop)
        #expect(sender.answered.load(ordering: .acquiring) == count)
    }

    @Test func fullMailboxRefuses() throws {
        let mailbox = try Mailbox(capacity: 2)
        #expect(mailbox.post(1) && mailbox.post(2) && !mailbox.post(3))
        #expect(mailbox.take() == 1)
        #expect(mailbox.post(3))
        #expect(mailbox.take() == 2 && mailbox.take() == 3 && mailbox.take() == nil)
    }

    /// With a word inside, sleep is refused.
    @Test func sleepIsRefusedWithWordsInside() throws {
        let mailbox = try Mailbox(capacity: 2)
        #expect(mailbox.announceSleep())
        mailbox.announceAwake()
        #expect(mailbox.post(1))
        #expect(!mailbox.announceSleep())
        #expect(mailbox.take() == 1)
        #expect(mailbox.announceSleep())
    }

    // MARK: The end

    @Test func stopEndsAfterTheTurn() throws {
        let loop = try Loop()
        var endings = 0
        loop.onTurnEnding = {
            endings += 1
            loop.reactor.stop()
        }
        loop.reactor.setTimer(Loop.Timer.firstFree, after: 0)
        try loop.reactor.run(loop)
        #expect(endings == 1 && loop.reactor.turns == 1)
        #expect(loop.reactor.longestTurnNanoseconds > 0)
    }
}

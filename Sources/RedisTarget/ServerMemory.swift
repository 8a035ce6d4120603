internal import Synchronization

/// What is known of a server's memory by all connections to it together, which may be of several cores.
///
/// Each connection asks for itself. What it began before its question is in the answer; what it began
/// since counts here. The highest of the last answers, one of each connection, holds: all that is in an
/// earlier one and no longer counted is in the latest.
public final class ServerMemory: Sendable {
    private struct Answers {
        /// Of each connection its last one, 0 before the first. Those that have ended are none.
        var used: [Int: Int] = [:]
        var connectionsMade = 0
    }

    private let answers = Mutex(Answers())
    private let usedBytes = Atomic<Int>(0)
    /// What commands may take that were begun since the question that was answered last.
    private let begunBytes = Atomic<Int>(0)
    private let alone = Atomic<Int>(0)

    public init() {}

    /// Another connection; returns its place.
    func join() -> Int {
        answers.withLock { answers in
            answers.connectionsMade += 1
            answers.used[answers.connectionsMade] = 0
            return answers.connectionsMade
        }
    }

    func leave(_ place: Int) {
        answers.withLock { $0.used[place] = nil }
    }

    /// A connection's answer. `settled` bytes of what was begun are in it.
    func note(used: Int, settled: Int, of place: Int) {
        answers.withLock { answers in
            answers.used[place] = used
            usedBytes.store(answers.used.values.max() ?? 0, ordering: .relaxed)
            alone.store(max(0, alone.load(ordering: .relaxed) - 1), ordering: .relaxed)
        }
        // Who sees less begun sees it in what is used.
        begunBytes.subtract(settled, ordering: .releasing)
    }

    var used: Int { usedBytes.load(ordering: .relaxed) }
    var begun: Int { begunBytes.load(ordering: .acquiring) }

    func begin(_ bytes: Int) { begunBytes.add(bytes, ordering: .relaxed) }
    func giveBack(_ bytes: Int) { begunBytes.subtract(bytes, ordering: .relaxed) }

    /// Adds to what was begun if nothing has changed since it was looked at.
    func reserve(_ bytes: Int, behind begun: Int) -> Bool {
        begunBytes.compareExchange(
            expected: begun, desired: begun + bytes, ordering: .relaxed
        ).exchanged
    }

    /// Whether a command waits to go alone, so that no other one may be begun.
    var isAwaitedAlone: Bool { alone.load(ordering: .relaxed) > 0 }

    /// A command waits for all that was begun before it. It may go away meanwhile: so long as each
    /// connection gets two answers.
    func awaitAlone() {
        let answersAwaited = answers.withLock { $0.used.count * 2 }
        alone.store(answersAwaited, ordering: .relaxed)
    }

    func isAloneNow() { alone.store(0, ordering: .relaxed) }
}

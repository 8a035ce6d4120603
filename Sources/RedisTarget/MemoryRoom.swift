internal import Bytes

/// What a target that does not evict can still take, by what it says of its memory.
///
/// Everything sent before the question is in the answer; what was begun since is counted here, and by
/// `ServerMemory` for all connections to the same server. A command is refused by a full target before
/// it is executed, so as long as nothing is begun that might not fit, there is no such refusal.
public struct MemoryRoom: Sendable {
    /// What the target said last.
    public struct Sample: Sendable, Equatable {
        /// Bytes that count against the limit.
        public var used: Int
        /// `maxmemory`; 0 means none.
        public var limit: Int
        public var evicts: Bool

        /// - Parameter text: of `INFO memory`. Nil if it does not tell how much is used.
        public init?(_ text: InfoText) {
            guard let used = text.value(of: "used_memory:")?.parseInteger() else { return nil }
            // Buffers for replicas and the append-only file are not held against a writer.
            let uncounted =
                text.value(of: "mem_not_counted_for_evict:")?.parseInteger() ?? 0
            self.used = Int(clamping: max(0, used - max(0, uncounted)))
            limit = Int(clamping: text.value(of: "maxmemory:")?.parseInteger() ?? 0)
            let policy = text.value(of: "maxmemory_policy:")
            evicts = policy.map { !$0.equals("noeviction") } ?? false
        }

        /// Whether there is less room in the first of two servers than in the second.
        public static func isTighter(_ left: Sample?, _ right: Sample?) -> Bool {
            (left?.room ?? .max) < (right?.room ?? .max)
        }

        private var room: Int { limit == 0 ? .max : limit - used }
    }

    /// What a command may add to the target's memory.
    public enum Demand: Sendable, Equatable {
        /// Not known better than from its size on the wire.
        case bySize
        /// It is carried out by a full target, too.
        case nothing
        /// At most so many bytes.
        case bytes(Int)

        /// Of a transaction: its arguments wait for EXEC beside what it then makes of them. An argument
        /// takes 160 bytes at most beside its own, for both: a member of a sorted set does.
        /// - Parameter elementsBefore: what the key has already, whose table may be made anew at once.
        static func transaction(
            arguments: Int, bytes: Int, elementsBefore: Int = 0
        ) -> Demand {
            .bytes(arguments * 160 + bytes * 2 + elementsBefore * 32)
        }
    }

    /// A byte on the wire becomes at most so many in memory: a new stream with one short message of 57
    /// bytes takes 4.5 KB.
    static let growth = 96
    /// No command takes more; sums of it fit 64 bits.
    private static let demandLimit = 1 << 40
    /// Above this, a command's size is in its data and not in what surrounds it.
    static let excessLimit = 4 << 20
    /// Kept free for what the target needs beside data: its buffers, other writers.
    private static let marginLimit = 64 << 20

    private let server: ServerMemory
    private let place: Int
    public private(set) var sample: Sample?
    /// What the commands begun since the question that was answered last may take; as long as the target
    /// has a limit the server's other connections know of it.
    private var begun = 0
    private var isKnown = false
    /// Kept for the command that was admitted last, until it is begun.
    private var reserved = 0
    /// What was begun when the open question was asked; nil if none is.
    private var begunBefore: Int?
    /// The target has refused a command since then, or was not asked yet.
    private var mustAsk = true
    private var wasRefusedLast = false
    /// A command was refused admission, and nothing but more memory can help.
    public private(set) var isShort = false
    /// What that command may add.
    public private(set) var needed = 0

    /// What is begun must fit; so it is until the target has said that it has no limit.
    public var isLimited: Bool {
        guard !mustAsk, let sample else { return mustAsk }
        return sample.limit > 0 && !sample.evicts
    }

    public var isAsked: Bool { begunBefore != nil }
    /// The answer is missing that the next command depends on, and not because the target is full.
    public var mustAskNow: Bool { isLimited && !isShort && (begun > 0 || mustAsk) }

    init(_ server: ServerMemory = ServerMemory()) {
        self.server = server
        place = server.join()
    }

    /// The connection has ended.
    func leave() {
        if isKnown { server.giveBack(begun + reserved) }
        server.leave(place)
    }

    private var limit: Int { sample?.limit ?? 0 }
    private var margin: Int { min(MemoryRoom.marginLimit, limit / 16) }

    /// What is free by the last answer, its margin taken off.
    private var room: Int { limit - server.used - margin }

    /// What commands may take together that are in flight at a time. The target's key table takes up to
    /// a third of its memory more in one moment when it grows, as far as its limit allows that.
    private var roomInFlight: Int { min(room, max(margin, room - limit / 3)) }

    /// Whether a command may be begun. Then it is either begun (`began`) or given up (`giveUp`).
    /// - Parameter bytes: its size on the wire.
    mutating func admits(_ bytes: Int, _ demand: Demand) -> Bool {
        guard isLimited, demand != .nothing else { return true }
        guard !mustAsk else { return false }
        let (most, likely) = MemoryRoom.needs(bytes, demand)
        while true {
            let begun = server.begun
            // Behind others only what fits for certain; alone, what probably does: the target looks for
            // room before it carries out a command, not after.
            let isBehind = begun + most <= roomInFlight
            if isBehind {
                // One that has to go alone must not wait for small ones for ever.
                guard !server.isAwaitedAlone else { return false }
                isShort = false
            } else {
                guard begun == 0 else {
                    if most > roomInFlight, likely <= room { server.awaitAlone() }
                    return false
                }
                needed = likely
                isShort = needed > room
                server.isAloneNow()
                guard !isShort else { return false }
            }
            if server.reserve(most, behind: begun) {
                reserved = most
                return true
            }
        }
    }

    private static func needs(_ bytes: Int, _ demand: Demand) -> (most: Int, likely: Int) {
        switch demand {
        case .nothing: (0, 0)
        case .bytes(let count): (min(max(count, 0), demandLimit), min(max(count, 0), demandLimit))
        case .bySize: (bytes * growth, min(bytes * growth, bytes * 2 + excessLimit))
        }
    }

    mutating func began(_ bytes: Int, _ demand: Demand) {
        let most = MemoryRoom.needs(bytes, demand).most
        if isKnown { server.begin(most - reserved) }
        begun += most
        reserved = 0
    }

    /// What was admitted last is not begun.
    mutating func giveUp() {
        if reserved > 0 { server.giveBack(reserved) }
        reserved = 0
    }

    /// The question is in the pipeline behind everything begun so far.
    mutating func asked() { begunBefore = begun }

    /// Its answer; nil if the target gave none, which is taken as no limit.
    mutating func answered(_ sample: Sample?) {
        guard let before = begunBefore else { return }
        begun -= before
        begunBefore = nil
        self.sample = sample
        server.note(used: sample?.used ?? 0, settled: isKnown ? before : 0, of: place)
        defer { shareBegun() }
        // After a refusal an evicting target must have room, too.
        if wasRefusedLast, limit > 0, room <= 0 { return }
        mustAsk = false
        wasRefusedLast = false
        isShort = isShort && isLimited && needed > room
    }

    // The others need not know while there is no limit, which is what nearly every command meets.
    private mutating func shareBegun() {
        guard isLimited != isKnown else { return }
        isKnown = isLimited
        if isKnown { server.begin(begun + reserved) } else { server.giveBack(begun + reserved) }
    }

    /// The target has refused a command for want of memory.
    mutating func wasRefused() {
        mustAsk = true
        wasRefusedLast = true
        isShort = true
        needed = 0
    }
}

internal import Bytes

/// What a target that does not evict can still take, by what it says of its memory.
///
/// Everything sent before the question is in the answer; what was begun since is counted here. A
/// command is refused by a full target before it is executed, so as long as nothing is begun that might
/// not fit, there is no such refusal.
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

    public private(set) var sample: Sample?
    /// What the commands begun since the question that was answered last may take.
    private var begun = 0
    /// The same when the open question was asked; nil if none is.
    private var begunBefore: Int?
    /// The target has refused a command since then, or was not asked yet.
    private var mustAsk = true
    private var wasRefusedLast = false
    /// A command was refused admission, and nothing but more memory can help.
    public private(set) var isShort = false
    /// What that command may add.
    public private(set) var needed = 0
    /// Answers for which a command is still let wait for what was begun before it: it has to go alone,
    /// and small ones must not come in between for ever. It may have gone away meanwhile.
    private var waitsAlone = 0

    /// What is begun must fit; so it is until the target has said that it has no limit.
    public var isLimited: Bool {
        guard !mustAsk, let sample else { return mustAsk }
        return sample.limit > 0 && !sample.evicts
    }

    public var isAsked: Bool { begunBefore != nil }
    /// The answer is missing that the next command depends on, and not because the target is full.
    public var mustAskNow: Bool { isLimited && !isShort && (begun > 0 || mustAsk) }

    init() {}

    private var limit: Int { sample?.limit ?? 0 }
    private var margin: Int { min(MemoryRoom.marginLimit, limit / 16) }

    /// What is free by the last answer, its margin taken off.
    private var room: Int { limit - (sample?.used ?? 0) - margin }

    /// What commands may take together that are in flight at a time. The target's key table takes up to
    /// a third of its memory more in one moment when it grows, as far as its limit allows that.
    private var roomInFlight: Int { min(room, max(margin, room - limit / 3)) }

    /// - Parameters:
    ///   - bytes: its size on the wire.
    ///   - writers: so many share the room; one of them takes all of it for a command that goes alone.
    mutating func admits(_ bytes: Int, _ demand: Demand, writers: Int = 1) -> Bool {
        guard isLimited, demand != .nothing else { return true }
        guard !mustAsk else { return false }
        let (most, likely) = MemoryRoom.needs(bytes, demand)
        let roomInFlight = roomInFlight / writers
        // Behind others only what fits for certain; alone, what probably does: the target looks for
        // room before it carries out a command, not after.
        if begun + most <= roomInFlight {
            guard waitsAlone == 0 else { return false }
            isShort = false
            return true
        }
        guard begun == 0 else {
            if most > roomInFlight, likely <= room { waitsAlone = 2 }
            return false
        }
        waitsAlone = 0
        needed = likely
        isShort = needed > room
        return !isShort
    }

    private static func needs(_ bytes: Int, _ demand: Demand) -> (most: Int, likely: Int) {
        switch demand {
        case .nothing: (0, 0)
        case .bytes(let count): (min(max(count, 0), demandLimit), min(max(count, 0), demandLimit))
        case .bySize: (bytes * growth, min(bytes * growth, bytes * 2 + excessLimit))
        }
    }

    mutating func began(_ bytes: Int, _ demand: Demand) {
        begun += MemoryRoom.needs(bytes, demand).most
    }

    /// The question is in the pipeline behind everything begun so far.
    mutating func asked() { begunBefore = begun }

    /// Its answer; nil if the target gave none, which is taken as no limit.
    mutating func answered(_ sample: Sample?) {
        guard let before = begunBefore else { return }
        begun -= before
        begunBefore = nil
        waitsAlone = max(0, waitsAlone - 1)
        self.sample = sample
        // After a refusal an evicting target must have room, too.
        if wasRefusedLast, limit > 0, room <= 0 { return }
        mustAsk = false
        wasRefusedLast = false
        isShort = isShort && isLimited && needed > room
    }

    /// The target has refused a command for want of memory.
    mutating func wasRefused() {
        mustAsk = true
        wasRefusedLast = true
        isShort = true
        needed = 0
    }
}

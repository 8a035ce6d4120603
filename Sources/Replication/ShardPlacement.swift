internal import Bytes

/// Tells on which flow a key belongs, to recognise the ghost copies that PFMERGE leaves on other
/// shards (protocol.md 6.7, 7.1).
///
/// The source does not say how it hashes, so the first keys vote: each way that puts a key on the flow
/// it came on gets a point. Only a way that explains nearly all keys is believed.
struct ShardPlacement {
    private static let seed: UInt64 = 120_577_240_643
    /// Keys that vote.
    private static let voters = 1024
    /// Votes needed before a way is believed.
    private static let quorum = 16

    enum Way: Int, CaseIterable {
        case wholeKey, hashTag, slot
    }

    enum Verdict {
        case home
        /// Not this flow's key, by every way that is believed.
        case elsewhere
        case unknown
    }

    /// Keys that voted, and the points of each way.
    struct Votes: Sendable {
        fileprivate var seen = 0
        fileprivate var points = (0, 0, 0)

        fileprivate mutating func add(_ other: Votes) {
            seen += other.seen
            points.0 += other.points.0
            points.1 += other.points.1
            points.2 += other.points.2
        }
    }

    let flowCount: Int
    private var votes = Votes()
    /// Those since the last `join`.
    private var newVotes = Votes()

    init(flowCount: Int) {
        self.flowCount = flowCount
    }

    /// Whether a way is believed so far: none is better, and it places at least 15 of 16 keys right.
    /// Ways are equally good until a key comes that tells them apart.
    func isBelieved(_ way: Way) -> Bool {
        let best = max(votes.points.0, votes.points.1, votes.points.2)
        return votes.seen >= ShardPlacement.quorum && best * 16 >= votes.seen * 15
            && points(of: way) == best
    }

    /// Whether any way is believed.
    var isKnown: Bool { Way.allCases.contains { isBelieved($0) } }

    private func points(of way: Way) -> Int {
        switch way {
        case .wholeKey: votes.points.0
        case .hashTag: votes.points.1
        case .slot: votes.points.2
        }
    }

    var wantsVotes: Bool { votes.seen < ShardPlacement.voters && flowCount > 1 }

    var hasNewVotes: Bool { newVotes.seen > 0 }

    /// Lets a key vote that came on `flow`.
    mutating func vote(_ key: ByteView, flow: Int) {
        var vote = Votes(seen: 1)
        if home(of: key, .wholeKey) == flow { vote.points.0 = 1 }
        if home(of: key, .hashTag) == flow { vote.points.1 = 1 }
        if home(of: key, .slot) == flow { vote.points.2 = 1 }
        votes.add(vote)
        newVotes.add(vote)
    }

    /// Adds the votes since the last call to those of all cores, and takes these over.
    mutating func join(_ all: inout Votes) {
        all.add(newVotes)
        newVotes = Votes()
        votes = all
    }

    func verdict(_ key: ByteView, flow: Int) -> Verdict {
        if flowCount == 1 { return .home }
        var verdict = Verdict.unknown
        for way in Way.allCases where isBelieved(way) {
            if home(of: key, way) == flow { return .home }
            verdict = .elsewhere
        }
        return verdict
    }

    /// The flow where a key belongs, if a way is believed, and all that are agree.
    func flow(of key: ByteView) -> Int? {
        var flow: Int?
        for way in Way.allCases where isBelieved(way) {
            let home = home(of: key, way)
            guard flow == nil || flow == home else { return nil }
            flow = home
        }
        return flow
    }

    private func home(of key: ByteView, _ way: Way) -> Int {
        let count = UInt64(flowCount)
        return switch way {
        case .wholeKey: Int(key.xxh64(seed: ShardPlacement.seed) % count)
        case .hashTag: Int(key.hashTag().xxh64(seed: ShardPlacement.seed) % count)
        case .slot: key.keySlot() % flowCount
        }
    }
}

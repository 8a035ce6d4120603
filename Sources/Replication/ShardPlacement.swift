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

    private let flowCount: Int
    private var seen = 0
    private var votes = (0, 0, 0)

    init(flowCount: Int) {
        self.flowCount = flowCount
    }

    /// Whether a way is believed so far: none is better, and it places at least 15 of 16 keys right.
    /// Ways are equally good until a key comes that tells them apart.
    func isBelieved(_ way: Way) -> Bool {
        let best = max(votes.0, votes.1, votes.2)
        return seen >= ShardPlacement.quorum && best * 16 >= seen * 15 && votes(of: way) == best
    }

    /// Whether any way is believed.
    var isKnown: Bool { Way.allCases.contains { isBelieved($0) } }

    private func votes(of way: Way) -> Int {
        switch way {
        case .wholeKey: votes.0
        case .hashTag: votes.1
        case .slot: votes.2
        }
    }

    var wantsVotes: Bool { seen < ShardPlacement.voters && flowCount > 1 }

    /// Lets a key vote that came on `flow`.
    mutating func vote(_ key: ByteView, flow: Int) {
        seen += 1
        if home(of: key, .wholeKey) == flow { votes.0 += 1 }
        if home(of: key, .hashTag) == flow { votes.1 += 1 }
        if home(of: key, .slot) == flow { votes.2 += 1 }
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

import Bytes
import Testing

@testable import Replication

/// Ghost copies are recognised by where a key belongs; nothing is dropped on a mere guess.
@Suite struct PlacementTests {
    private static let seed: UInt64 = 120_577_240_643

    private func home(_ key: String, _ way: ShardPlacement.Way, _ flows: Int) -> Int {
        Array(key.utf8).withByteView { key in
            switch way {
            case .wholeKey: Int(key.xxh64(seed: Self.seed) % UInt64(flows))
            case .hashTag: Int(key.hashTag().xxh64(seed: Self.seed) % UInt64(flows))
            case .slot: key.keySlot() % flows
            }
        }
    }

    private func vote(_ placement: inout ShardPlacement, _ key: String, _ flow: Int) {
        Array(key.utf8).withByteView { placement.vote($0, flow: flow) }
    }

    private func verdict(
        _ placement: ShardPlacement, _ key: String, _ flow: Int
    ) -> ShardPlacement.Verdict {
        Array(key.utf8).withByteView { placement.verdict($0, flow: flow) }
    }

    private func flowOf(_ placement: ShardPlacement, _ key: String) -> Int? {
        Array(key.utf8).withByteView { placement.flow(of: $0) }
    }

    /// Half of the keys with a tag.
    private func key(_ index: Int) -> String {
        index % 2 == 0 ? "key:\(index)" : "{tag\(index % 50)}:\(index)"
    }

    @Test(arguments: ShardPlacement.Way.allCases, [2, 3, 16])
    func theWayIsFound(_ way: ShardPlacement.Way, _ flows: Int) {
        var placement = ShardPlacement(flowCount: flows)
        #expect(placement.wantsVotes)
        #expect(verdict(placement, "any", 0) == .unknown && flowOf(placement, "any") == nil)
        for index in 0..<200 { vote(&placement, key(index), home(key(index), way, flows)) }
        #expect(ShardPlacement.Way.allCases.filter { placement.isBelieved($0) } == [way])
        for index in 1000..<1200 {
            for flow in 0..<flows {
                let isHome = home(key(index), way, flows) == flow
                #expect((flowOf(placement, key(index)) == flow) == isHome)
                #expect(verdict(placement, key(index), flow) == (isHome ? .home : .elsewhere))
            }
        }
    }

    @Test func nothingIsBelievedTooEarly() {
        var placement = ShardPlacement(flowCount: 4)
        for index in 0..<15 { vote(&placement, key(index), home(key(index), .wholeKey, 4)) }
        #expect(!placement.isBelieved(.wholeKey))
        vote(&placement, key(15), home(key(15), .wholeKey, 4))
        #expect(placement.isBelieved(.wholeKey))
    }

    /// A few ghosts among the voters do not change the result.
    @Test func ghostsDoNotMislead() {
        var placement = ShardPlacement(flowCount: 4)
        for index in 0..<500 {
            let own = home(key(index), .hashTag, 4)
            vote(&placement, key(index), index % 20 == 7 ? (own + 1) % 4 : own)
        }
        #expect(placement.isBelieved(.hashTag))
    }

    /// With --shard_round_robin_prefix keys lie anywhere: then nobody is a ghost.
    @Test func roundRobinIsBelievedNothing() {
        for flows in [2, 3, 8] {
            var placement = ShardPlacement(flowCount: flows)
            for index in 0..<1000 { vote(&placement, key(index), index % flows) }
            for flow in 0..<flows { #expect(verdict(placement, "any", flow) == .unknown) }
        }
    }

    @Test func votingEnds() {
        var placement = ShardPlacement(flowCount: 2)
        var votes = 0
        while placement.wantsVotes {
            vote(&placement, "key", 1)
            votes += 1
        }
        #expect(votes == 1024)
        #expect(!ShardPlacement(flowCount: 1).wantsVotes)
    }

    @Test func oneFlowIsHomeForAll() {
        #expect(verdict(ShardPlacement(flowCount: 1), "any", 0) == .home)
    }

    /// While no voter had a tag, whole keys and tags explain everything alike: a key with a tag may be
    /// at home by either.
    @Test(arguments: [ShardPlacement.Way.wholeKey, .hashTag])
    func openQuestionsDropNothing(_ way: ShardPlacement.Way) {
        var placement = ShardPlacement(flowCount: 4)
        for index in 0..<1024 {
            let key = "key:\(index)"
            vote(&placement, key, home(key, way, 4))
        }
        for index in 0..<200 {
            let key = "{user}:\(index)"
            #expect(verdict(placement, key, home(key, way, 4)) == .home, "\(key)")
            for flow in 0..<4
            where home(key, .wholeKey, 4) != flow && home(key, .hashTag, 4) != flow {
                #expect(verdict(placement, key, flow) == .elsewhere)
            }
        }
    }
}

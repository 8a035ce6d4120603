import Bytes
import TestSupport
import Testing

@testable import RedisTarget

/// Every key that a replica may lack is remembered until the replica has said that it has it, or
/// it is said that one was not remembered.
@Suite struct RecentKeysTests {
    private struct Key: Equatable {
        var database: Int
        var name: [UInt8]
        var flow: Int
    }

    private static func add(_ key: Key, to recent: inout RecentKeys) {
        key.name.withByteView {
            recent.add(database: key.database, key: $0, flow: Int16(key.flow))
        }
    }

    private static func take(_ recent: inout RecentKeys) -> [Key] {
        var keys: [Key] = []
        recent.takeAll { database, name, flow in
            keys.append(Key(database: database, name: name.array(), flow: flow))
        }
        return keys
    }

    private static func key(_ name: String) -> Key {
        Key(database: 0, name: Array(name.utf8), flow: 0)
    }

    /// A master, its replica, and what is known of them.
    private struct Model {
        /// In the master's order: the offset behind each one's write.
        var keys: [(key: Key, offset: Int64)] = []
        /// How many of all keys are forgotten.
        var forgotten = 0
        var masterOffset: Int64 = 0
        var replicaOffset: Int64 = 0
        /// Keys that had come when the open question was asked.
        var askedAt: Int?
        /// A question whose answer the replica has not reached.
        var mark: (count: Int, offset: Int64)?

        mutating func answered(areAllThere: Bool) {
            guard let count = askedAt else { return }
            askedAt = nil
            guard areAllThere else { return }
            if replicaOffset >= masterOffset {
                forgotten = count
                mark = nil
            } else if let mark, replicaOffset >= mark.offset {
                forgotten = mark.count
                self.mark = (count, masterOffset)
            } else if mark == nil {
                mark = (count, masterOffset)
            }
        }
    }

    /// What the replica has confirmed is forgotten and nothing else: not a key that came after the
    /// question, not one that the replica is short of. Names are long, so that the ring goes round.
    @Test func onlyWhatIsConfirmedIsForgotten() throws {
        let seed: UInt64 = 118
        print("seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        var recent = try RecentKeys()
        var bytesAdded = 0
        var survivors = 0
        for episode in 0..<400 {
            var model = Model()
            for _ in 0..<Int.random(in: 1..<60, using: &generator) {
                switch Int.random(in: 0..<10, using: &generator) {
                case 0..<5:
                    let size = Int.random(in: 0..<10_000, using: &generator)
                    let key = Key(
                        database: Int.random(in: 0..<16, using: &generator),
                        name: Array("\(model.keys.count):".utf8)
                            + [UInt8](repeating: UInt8(size & 0xff), count: size),
                        flow: Int.random(in: -1..<64, using: &generator))
                    Self.add(key, to: &recent)
                    bytesAdded += size
                    model.masterOffset += Int64.random(in: 1..<9, using: &generator)
                    model.keys.append((key, model.masterOffset))
                case 5, 6:
                    model.replicaOffset = Int64.random(
                        in: model.replicaOffset...model.masterOffset, using: &generator)
                case 7 where model.askedAt == nil:
                    recent.asked()
                    model.askedAt = model.keys.count
                default:
                    let areAllThere = Int.random(in: 0..<5, using: &generator) > 0
                    recent.answered(
                        own: model.masterOffset, replicas: model.replicaOffset,
                        areAllThere: areAllThere)
                    model.answered(areAllThere: areAllThere)
                }
                let state = (recent.isEmpty, recent.isAsked, recent.isIncomplete)
                #expect(state.0 == (model.forgotten == model.keys.count))
                #expect(state.1 == (model.askedAt != nil) && !state.2)
            }
            let kept = Self.take(&recent)
            let missing = model.keys.filter { $0.offset > model.replicaOffset }.map(\.key)
            #expect(
                Array(kept.suffix(missing.count)) == missing, "seed \(seed), episode \(episode)")
            #expect(
                kept == model.keys.dropFirst(model.forgotten).map(\.key),
                "seed \(seed), episode \(episode)")
            survivors += kept.count
            let isEmpty = recent.isEmpty
            #expect(isEmpty)
        }
        #expect(bytesAdded > 2 * RecentKeys.capacityBytes && survivors > 400)
    }

    /// A key that comes between question and answer is not in the answer.
    @Test func aKeyAfterTheQuestionStays() throws {
        var recent = try RecentKeys()
        Self.add(Self.key("before"), to: &recent)
        recent.asked()
        Self.add(Self.key("after"), to: &recent)
        recent.answered(own: 100, replicas: 100, areAllThere: true)
        let kept = Self.take(&recent)
        #expect(kept == [Self.key("after")])
    }

    /// A replica that follows at a distance never has all, and still lets go of the oldest.
    @Test func aReplicaThatIsAlwaysBehindConfirms() throws {
        var recent = try RecentKeys()
        for round in 1...100 {
            Self.add(Self.key("\(round)"), to: &recent)
            recent.asked()
            recent.answered(
                own: Int64(round) * 10, replicas: Int64(round - 1) * 10, areAllThere: true)
        }
        let kept = Self.take(&recent)
        #expect(kept.last == Self.key("100"))
        #expect(kept.count <= 3)
    }

    /// Of replicas that still get their first data none will take over.
    @Test func whereNoneMayTakeOverNothingIsKept() throws {
        var recent = try RecentKeys()
        Self.add(Self.key("old"), to: &recent)
        recent.asked()
        recent.answered(own: 5, replicas: 4, areAllThere: true)
        Self.add(Self.key("before"), to: &recent)
        recent.asked()
        Self.add(Self.key("after"), to: &recent)
        recent.answered(own: 9, replicas: nil, areAllThere: true)
        // The mark of the first answer is no more.
        recent.asked()
        recent.answered(own: 19, replicas: 5, areAllThere: true)
        let kept = Self.take(&recent)
        #expect(kept == [Self.key("after")])
    }

    /// One that has lost its link may take over all the same: nothing is confirmed without it.
    @Test func aLostReplicaConfirmsNothing() throws {
        var recent = try RecentKeys()
        Self.add(Self.key("key"), to: &recent)
        for replicas: Int64? in [nil, 100] {
            recent.asked()
            recent.answered(own: 100, replicas: replicas, areAllThere: false)
        }
        let isIncomplete = recent.isIncomplete
        let kept = Self.take(&recent)
        #expect(kept == [Self.key("key")] && !isIncomplete)
    }

    /// An answer to no question changes nothing.
    @Test func anAnswerNeedsAQuestion() throws {
        var recent = try RecentKeys()
        Self.add(Self.key("key"), to: &recent)
        recent.answered(own: 9, replicas: 9, areAllThere: true)
        recent.answered(own: 9, replicas: nil, areAllThere: true)
        let kept = Self.take(&recent)
        #expect(kept == [Self.key("key")])
    }

    /// The least number of these that have no room together.
    private static let large = (0..<8).map { number in
        Key(database: number, name: [UInt8](repeating: UInt8(number), count: 1 << 20), flow: 5)
    }

    /// Without room the oldest key goes, and that is told until all are taken.
    @Test func aKeyWithoutRoomIsTold() throws {
        var recent = try RecentKeys()
        for key in Self.large.dropLast() { Self.add(key, to: &recent) }
        let before = recent.isIncomplete
        #expect(!before)
        Self.add(Self.large[7], to: &recent)
        let after = recent.isIncomplete
        #expect(after)
        let kept = Self.take(&recent)
        #expect(kept == Array(Self.large.dropFirst()))
        let taken = (recent.isIncomplete, recent.isEmpty)
        #expect(!taken.0 && taken.1)
    }

    /// There is no room for more until what is there is confirmed; but a replica that has lost its
    /// link holds nothing up.
    @Test func aLostReplicaHoldsNothingUp() throws {
        var recent = try RecentKeys()
        for key in Self.large.dropLast() { Self.add(key, to: &recent) }
        var hasRoom: [Bool] = []
        for areAllThere in [true, false, true] {
            recent.asked()
            recent.answered(own: 100, replicas: 50, areAllThere: areAllThere)
            hasRoom.append(recent.hasRoom(commandsInFlight: 0, bytesInFlight: 0))
        }
        recent.asked()
        recent.answered(own: 100, replicas: 100, areAllThere: true)
        hasRoom.append(recent.hasRoom(commandsInFlight: 0, bytesInFlight: 0))
        #expect(hasRoom == [false, true, false, true])
    }

    /// Keys that were forgotten for want of room are missing until a replica has confirmed them, not
    /// only what came before them.
    @Test func forgottenKeysAreMissingUntilTheyAreConfirmed() throws {
        var recent = try RecentKeys()
        Self.add(Self.key("first"), to: &recent)
        recent.asked()
        recent.answered(own: 10, replicas: 5, areAllThere: true)
        recent.asked()
        recent.answered(own: 10, replicas: nil, areAllThere: false)
        for key in Self.large { Self.add(key, to: &recent) }
        // The link is back; it has the first key, and none of the large ones.
        recent.asked()
        recent.answered(own: 1000, replicas: 11, areAllThere: true)
        let before = recent.isIncomplete
        #expect(before)
        recent.asked()
        recent.answered(own: 1000, replicas: 1000, areAllThere: true)
        let after = (recent.isIncomplete, recent.isEmpty)
        #expect(!after.0 && after.1)
    }

    /// As long as there is room for the commands in flight, their keys have it, whatever share of
    /// their bytes is names.
    @Test func roomIsKeptForWhatIsInFlight() throws {
        let seed: UInt64 = 119
        print("seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        var recent = try RecentKeys()
        var refusals = 0
        for _ in 0..<300 {
            let sizes = (0..<Int.random(in: 1..<3000, using: &generator)).map { _ in
                Int.random(in: 0..<600, using: &generator)
            }
            let bytes = sizes.reduce(0, +)
            if recent.hasRoom(commandsInFlight: sizes.count, bytesInFlight: bytes) {
                for size in sizes {
                    Self.add(
                        Key(database: 0, name: [UInt8](repeating: 1, count: size), flow: 0),
                        to: &recent)
                }
            } else {
                refusals += 1
                // All of it is confirmed.
                recent.asked()
                recent.answered(own: 1, replicas: 1, areAllThere: true)
                let hasRoom = recent.hasRoom(commandsInFlight: 1000, bytesInFlight: 1 << 20)
                #expect(hasRoom)
            }
            let isIncomplete = recent.isIncomplete
            #expect(!isIncomplete, "seed \(seed)")
        }
        #expect(refusals > 3)
    }
}

import Bytes
import Testing

@testable import Replication

/// A key must not expire on the target while the source may still renew it.
@Suite struct HeldExpiriesTests {
    private let now: Int64 = 1_800_000_000_000

    @Test func nearAndPastExpiriesAreHeldAndFarOnesAreNot() throws {
        var held = try HeldExpiries()
        #expect(held.adjust(now - 1, database: 0, key: "past", now: now) == now + 86_400_000)
        #expect(held.adjust(now + 59_999, database: 0, key: "near", now: now) == now + 86_400_000)
        #expect(held.adjust(now + 60_001, database: 0, key: "far", now: now) == now + 60_001)
        #expect(held.count == 2)
    }

    @Test func aFarExpiryEndsAHeldOne() throws {
        var held = try HeldExpiries()
        _ = held.adjust(now, database: 3, key: "key", now: now)
        _ = held.adjust(now + 1_000_000, database: 3, key: "key", now: now)
        #expect(held.count == 0)
    }

    @Test func databasesAreApart() throws {
        var held = try HeldExpiries()
        _ = held.adjust(now, database: 1, key: "key", now: now)
        held.cancel(database: 2, key: "key")
        #expect(held.count == 1)
        held.cancel(database: 1, key: "key")
        #expect(held.count == 0)
    }

    @Test func aRenamedKeyTakesItsHeldExpiryAlong() throws {
        var held = try HeldExpiries()
        _ = held.adjust(now + 5, database: 0, key: "from", now: now)
        held.move(database: 0, key: "from", toDatabase: 0, toKey: "to")
        let entries = all(held)
        #expect(entries.map(\.key) == ["to"])
        #expect(entries.first?.trueExpiry == now + 5)
    }

    // Growth, packing of keys and removal from probe runs, against a dictionary.
    @Test func itAgreesWithADictionary() throws {
        let seed: UInt64 = 20_261_122
        print("seed \(seed)")
        var state = seed
        func random(_ below: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % below
        }
        var held = try HeldExpiries()
        var model: [String: Int64] = [:]
        for _ in 0..<200_000 {
            let name = "key:\(String(repeating: "k", count: random(20)))\(random(9_000))"
            let key = Array(name.utf8)
            if random(3) == 0 {
                key.withByteView { held.cancel(database: 0, key: $0) }
                model[name] = nil
            } else {
                let expiry = now - Int64(random(1_000))
                _ = key.withByteView { held.adjust(expiry, database: 0, key: $0, now: now) }
                model[name] = expiry
            }
        }
        #expect(held.notHeld == 0)
        #expect(held.count == model.count)
        let entries = all(held)
        #expect(entries.count == model.count)
        #expect(entries.allSatisfy { model[$0.key] == $0.trueExpiry })
    }

    private func all(_ held: borrowing HeldExpiries) -> [(key: String, trueExpiry: Int64)] {
        var entries: [(key: String, trueExpiry: Int64)] = []
        for place in held.places {
            if let (entry, _, key) = held.entry(at: place) {
                entries.append((key.printable(), entry.trueExpiry))
            }
        }
        return entries
    }
}

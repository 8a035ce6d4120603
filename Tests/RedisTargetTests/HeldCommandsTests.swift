import Bytes
import TestSupport
import Testing
import Wire

@testable import RedisTarget

/// Commands that a node did not carry out go out again in the order of their slot, one at a time, and
/// none is forgotten or kept too long.
@Suite struct HeldCommandsTests {
    /// A held command as the model has it, the oldest first.
    private struct Held {
        var id: UInt64
        var slot: Int
        var bytes: [UInt8]
        var since: Int64
        var isSent = false
    }

    private static func command(_ id: UInt64) -> CommandInFlight {
        CommandInFlight(
            start: 0, end: 0, kind: .journal, type: .generic, flow: 3, database: 1, nextLSN: id)
    }

    private static func add(
        _ id: UInt64, _ bytes: [UInt8], slot: Int, now: Int64 = 0, to held: inout HeldCommands
    ) {
        bytes.withByteView {
            held.add(
                command(id), $0, slot: slot, now: now, notBefore: now + 5, askedNode: slot & 1)
        }
    }

    /// What is held, counted and next agrees with a list, over many adds, sends and removals, while
    /// it grows and while it shrinks to nothing.
    @Test func itAgreesWithAList() {
        let seed: UInt64 = 117
        print("seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        let slots = [0, 1, 77, 8191, 16383]
        var held = HeldCommands()
        var model: [Held] = []
        // By the places that `next` gave.
        var places: [UInt64: Int] = [:]
        var added: UInt64 = 0
        var removed = 0
        for step in 0..<6000 {
            // Half the time more comes than goes, then the reverse, to nothing.
            let isGrowing = step / 500 % 2 == 0
            if Int.random(in: 0..<10, using: &generator) < (isGrowing ? 8 : 2) {
                added += 1
                let size = Int.random(in: 0..<40, using: &generator)
                let slot = slots.randomElement(using: &generator) ?? 0
                let entry = Held(
                    id: added, slot: slot, bytes: generator.bytes(size), since: Int64(step))
                Self.add(added, entry.bytes, slot: slot, now: entry.since, to: &held)
                model.append(entry)
            }
            let next = held.next()
            let expected = slots.compactMap { slot in model.first { $0.slot == slot } }
                .filter { !$0.isSent }.map(\.id).sorted()
            let ids = next.map { held[$0].command.nextLSN }
            #expect(ids == expected, "seed \(seed), step \(step)")
            for place in next {
                let entry = held[place]
                places[entry.command.nextLSN] = place
                let index = model.firstIndex { $0.id == entry.command.nextLSN } ?? 0
                #expect(entry.bytes == model[index].bytes && entry.slot == model[index].slot)
                #expect(entry.heldSince == model[index].since)
                guard Bool.random(using: &generator) else { continue }
                held[place].isSent = true
                model[index].isSent = true
            }
            // One that was sent is answered, or refused once more.
            if let index = model.firstIndex(where: { $0.isSent }),
                let place = places[model[index].id]
            {
                if Int.random(in: 0..<10, using: &generator) < (isGrowing ? 3 : 9) {
                    held.remove(place)
                    model.remove(at: index)
                    removed += 1
                } else {
                    held[place].isSent = false
                    model[index].isSent = false
                }
            }
            let counts = (held.count, held.bytes, held.isEmpty, held.oldestSince)
            #expect(counts.0 == model.count && counts.2 == model.isEmpty)
            #expect(counts.1 == model.reduce(0) { $0 + $1.bytes.count })
            #expect(counts.3 == model.first?.since, "seed \(seed), step \(step)")
            for slot in slots + [5] {
                var ids: [UInt64] = []
                held.forEach(slot: slot) { ids.append($0.command.nextLSN) }
                let expected = model.filter { $0.slot == slot }.map(\.id)
                let isHeld = held.holds(slot: slot)
                #expect(ids == expected && isHeld == !expected.isEmpty, "seed \(seed)")
            }
        }
        #expect(removed > 1000)
    }

    /// A place stays that of its command while others come and go.
    @Test func placesStay() {
        var held = HeldCommands()
        for id in 1...1000 { Self.add(UInt64(id), [1], slot: id, to: &held) }
        let places = held.next()
        #expect(places.count == 1000)
        // All but every hundredth, the oldest first, and new ones in between.
        for (index, place) in places.enumerated() where index % 100 != 99 {
            held.remove(place)
            if index % 10 == 0 { Self.add(UInt64(5000 + index), [1], slot: 9000, to: &held) }
        }
        for index in stride(from: 99, to: 1000, by: 100) {
            let entry = held[places[index]]
            #expect(entry.command.nextLSN == UInt64(index + 1))
        }
        let next = held.next().map { held[$0].command.nextLSN }
        #expect(next == Array(stride(from: 100, through: 1000, by: 100)) + [5000])
    }

    /// What a command is sent again with is kept.
    @Test func everythingOfACommandIsKept() throws {
        var held = HeldCommands()
        Self.add(7, Array("*1\r\n$4\r\nPING\r\n".utf8), slot: 12, now: 40, to: &held)
        let places = held.next()
        let place = try #require(places.first)
        held[place].notBefore = 99
        held[place].askedNode = nil
        let entry = held[place]
        #expect(entry.command.flow == 3 && entry.command.database == 1)
        #expect(entry.command.kind == .journal && entry.bytes.count == 14)
        #expect(entry.heldSince == 40 && entry.notBefore == 99)
        #expect(entry.askedNode == nil && !entry.isSent)
    }

    /// So much is held at most before nothing new is sent, and again when some of it is done with.
    @Test func itIsFullByItsBytes() throws {
        var held = HeldCommands()
        let large = [UInt8](repeating: 1, count: HeldCommands.commandBytesLimit)
        let fitting = HeldCommands.bytesLimit / large.count
        for id in 1...fitting { Self.add(UInt64(id), large, slot: id, to: &held) }
        let before = (held.isFull, held.bytes)
        #expect(!before.0 && before.1 == HeldCommands.bytesLimit)
        Self.add(100, [1], slot: 100, to: &held)
        let over = held.isFull
        #expect(over)
        let places = held.next()
        let place = try #require(places.first)
        held.remove(place)
        let after = (held.isFull, held.bytes)
        #expect(!after.0 && after.1 == HeldCommands.bytesLimit - large.count + 1)
    }
}

import Bytes
import Foundation
import TestSupport
import Testing
import Wire

@testable import Replication

/// What df2redis is to remove from hashes and sets: nothing is forgotten, by no death of the process,
/// and nothing is removed that a later record has set.
@Suite struct ElementTimersTests {
    private struct Place: Hashable, Comparable {
        var database: Int
        var key: [UInt8]
        var element: [UInt8]

        static func < (left: Place, right: Place) -> Bool {
            (left.database, "\(left.key)", "\(left.element)")
                < (right.database, "\(right.key)", "\(right.element)")
        }
    }

    private func timers(
        _ directory: TemporaryDirectory, resumes: Bool = true, limit: Int = 1 << 20
    ) throws -> ElementTimers {
        try ElementTimers(directory: directory.path, resumes: resumes, elementsLimit: limit)
    }

    private func text(_ directory: TemporaryDirectory) throws -> String {
        try String(contentsOfFile: directory.file("elements.log"), encoding: .utf8)
    }

    private func add(
        _ timers: inout ElementTimers, _ key: String, _ element: String, _ expiry: Int64,
        database: Int = 0, isSet: Bool = false
    ) {
        Array(key.utf8).withByteView {
            timers.add(
                database: database, key: $0, flow: 1, isSet: isSet, element: Array(element.utf8),
                expiry: expiry)
        }
    }

    /// Takes all that is due.
    private func due(_ timers: inout ElementTimers, _ now: Int64) -> [ElementTimers.Due] {
        var all: [ElementTimers.Due] = []
        while let due = timers.nextDue(now: now) {
            timers.isSent()
            all.append(due)
        }
        return all
    }

    private func names(_ due: [ElementTimers.Due]) -> [String] {
        due.map { String(decoding: $0.key + [0x20] + $0.element, as: UTF8.self) }
    }

    @Test func elementsComeUpInTheirOrder() throws {
        let directory = try TemporaryDirectory()
        var timers = try timers(directory)
        add(&timers, "h", "late", 300)
        add(&timers, "h", "early", 100)
        add(&timers, "s", "middle", 200, database: 3, isSet: true)
        #expect(names(due(&timers, 99)) == [])
        let first = due(&timers, 200)
        #expect(names(first) == ["h early", "s middle"])
        #expect(first[1].database == 3 && first[1].isSet && first[1].flow == 1)
        #expect(!first[0].isSet && first[0].expiry == 100)
        #expect(names(due(&timers, 299)) == [])
        #expect(names(due(&timers, 300)) == ["h late"])
        // On their way, but not done.
        let count = timers.count
        #expect(count == 3)
    }

    /// Between sending and the reply an element may be set anew: the reply is about the old one.
    @Test func anAnswerIsAboutTheExpiryThatWasSent() throws {
        let directory = try TemporaryDirectory()
        var timers = try timers(directory)
        add(&timers, "h", "f", 100)
        #expect(due(&timers, 100).count == 1)
        add(&timers, "h", "f", 500)
        timers.remove(database: 0, key: "h", element: Array("f".utf8), expiry: 100)
        #expect(names(due(&timers, 400)) == [])
        #expect(names(due(&timers, 500)) == ["h f"])
        timers.retry(database: 0, key: "h", element: Array("f".utf8), expiry: 500, now: 600)
        #expect(names(due(&timers, 1599)) == [])
        #expect(names(due(&timers, 1600)) == ["h f"])
        timers.remove(database: 0, key: "h", element: Array("f".utf8), expiry: 500)
        let count = timers.count
        #expect(count == 0)
    }

    @Test func whatIsInDoubtRests() throws {
        let directory = try TemporaryDirectory()
        var timers = try timers(directory)
        add(&timers, "h", "f", 100)
        add(&timers, "h", "g", 150)
        #expect(timers.nextDue(now: 200)?.element == Array("f".utf8))
        timers.postpone(now: 200)
        #expect(names(due(&timers, 1199)) == ["h g"])
        #expect(names(due(&timers, 1200)) == ["h f"])
    }

    @Test func linesAreAsDocumented() throws {
        let directory = try TemporaryDirectory()
        var timers = try timers(directory)
        add(&timers, "h", "f", 100, database: 2)
        add(&timers, "s", "m", 200, isSet: true)
        #expect(try text(directory) == "")
        try timers.sync()
        timers.cancel(database: 2, key: "h", element: "f")
        timers.move(database: 0, key: "s", toDatabase: 5, toKey: "t")
        timers.remove(database: 5, key: "t")
        add(&timers, "h", "f", 1)
        timers.removeAll(database: 0)
        add(&timers, "h", "", 1)
        timers.removeAll(database: nil)
        try timers.sync()
        #expect(
            try text(directory) == """
                + 2 1 h 68 66 100
                + 0 1 s 73 6d 200
                - 2 68 66 100
                > 0 73 5 74
                x 5 74
                + 0 1 h 68 66 1
                * 0
                + 0 1 h 68  1
                * all

                """)
    }

    /// Against a dictionary, over many lives of the process; what each leaves is what the next finds,
    /// and the file does not grow with what was cancelled.
    @Test(arguments: [UInt64](1...4))
    func itAgreesWithADictionary(_ seed: UInt64) throws {
        print("seed \(seed)")
        var random = SeededGenerator(seed: seed)
        let directory = try TemporaryDirectory()
        var model: [Place: Int64] = [:]
        var now: Int64 = 0
        for _ in 0..<12 {
            var timers = try timers(directory)
            let count = timers.count
            #expect(count == model.count, "seed \(seed)")
            for _ in 0..<3000 {
                now += Int64.random(in: 0...2, using: &random)
                let place = Place(
                    database: Int.random(in: 0...1, using: &random),
                    key: generator(&random, 20), element: generator(&random, 6))
                let other = Place(
                    database: Int.random(in: 0...1, using: &random),
                    key: generator(&random, 20), element: [])
                switch Int.random(in: 0..<40, using: &random) {
                case 0..<22:
                    let expiry = now + Int64.random(in: 1...600, using: &random)
                    place.key.withByteView {
                        timers.add(
                            database: place.database, key: $0, flow: 0, isSet: false,
                            element: place.element, expiry: expiry)
                    }
                    model[place] = expiry
                case 22..<32:
                    place.key.withByteView { key in
                        place.element.withByteView {
                            timers.cancel(database: place.database, key: key, element: $0)
                        }
                    }
                    model[place] = nil
                case 32..<35:
                    place.key.withByteView { timers.remove(database: place.database, key: $0) }
                    model = model.filter {
                        $0.key.database != place.database || $0.key.key != place.key
                    }
                case 35, 36:
                    place.key.withByteView { key in
                        other.key.withByteView {
                            timers.move(
                                database: place.database, key: key, toDatabase: other.database,
                                toKey: $0)
                        }
                    }
                    move(place, to: other, in: &model)
                case 37 where Int.random(in: 0..<20, using: &random) == 0:
                    timers.removeAll(database: place.database)
                    model = model.filter { $0.key.database != place.database }
                case 38 where Int.random(in: 0..<10, using: &random) == 0:
                    let first = Int.random(in: 0..<16384, using: &random)
                    let slots = SlotRanges(ranges: [first...16383, 0...first / 4])
                    timers.removeAll(database: place.database, in: slots)
                    model = model.filter {
                        $0.key.database != place.database
                            || !slots.contains($0.key.key.withByteView { $0.keySlot() })
                    }
                default:
                    for due in due(&timers, now) {
                        let found = Place(
                            database: due.database, key: due.key, element: due.element)
                        #expect(model[found] == due.expiry && due.expiry <= now, "seed \(seed)")
                        due.key.withByteView {
                            timers.remove(
                                database: due.database, key: $0, element: due.element,
                                expiry: due.expiry)
                        }
                        model[found] = nil
                    }
                    #expect(model.values.allSatisfy { $0 > now }, "seed \(seed)")
                }
                let count = timers.count
                #expect(count == model.count, "seed \(seed)")
            }
            try timers.sync()
        }
        // A last look at everything, and at the file that its start has made.
        var timers = try timers(directory)
        #expect(try text(directory).split(separator: "\n").count == model.count)
        let left = due(&timers, .max).map {
            Place(database: $0.database, key: $0.key, element: $0.element)
        }
        #expect(left.sorted() == model.keys.sorted(), "seed \(seed)")
        #expect(!left.isEmpty)
    }

    private func generator(_ random: inout SeededGenerator, _ limit: Int) -> [UInt8] {
        let number = Int.random(in: 0..<limit, using: &random)
        return number == 0 ? [] : [0, 0x20, 0x0a, 0xff, UInt8(number)]
    }

    private func move(_ place: Place, to other: Place, in model: inout [Place: Int64]) {
        guard place.database != other.database || place.key != other.key else { return }
        model = model.filter { $0.key.database != other.database || $0.key.key != other.key }
        for (old, expiry) in model where old.database == place.database && old.key == place.key {
            model[old] = nil
            var new = old
            new.database = other.database
            new.key = other.key
            model[new] = expiry
        }
    }

    /// A line without its end was not acknowledged: it counts for nothing.
    @Test func aLineCutOffCountsForNothing() throws {
        for cut in ["- 0 68 66 10", "- 0 68 66 100", "x 0 68", "* al", "+ 0 1 h 68 67 2", "\u{0}"] {
            let directory = try TemporaryDirectory()
            try "+ 0 1 h 68 66 100\n\(cut)".write(
                toFile: directory.file("elements.log"), atomically: false, encoding: .utf8)
            var timers = try timers(directory)
            #expect(names(due(&timers, .max)) == ["h f"], "\(cut)")
            #expect(try text(directory) == "+ 0 1 h 68 66 100\n", "\(cut)")
        }
    }

    @Test func aFullSyncBeginsAnEmptyFile() throws {
        let directory = try TemporaryDirectory()
        try "+ 0 1 h 68 66 100\n".write(
            toFile: directory.file("elements.log"), atomically: false, encoding: .utf8)
        var timers = try timers(directory, resumes: false)
        #expect(due(&timers, .max) == [])
        #expect(try text(directory) == "")
    }

    /// Memory is bounded, and who exceeds it is told.
    @Test func thereIsALimit() throws {
        let directory = try TemporaryDirectory()
        var timers = try timers(directory, limit: 3)
        for element in ["a", "b", "c"] { add(&timers, "h", element, 1) }
        expectFull(timers, false)
        add(&timers, "h", "d", 1)
        expectFull(timers, true)
    }

    private func expectFull(_ timers: borrowing ElementTimers, _ isFull: Bool) {
        let state = (timers.isFull, timers.count)
        #expect(state == (isFull, 3))
    }
}

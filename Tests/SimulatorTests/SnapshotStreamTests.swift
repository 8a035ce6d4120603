import Bytes
import TestSupport
import Testing

@testable import DragonflySimulator

/// The framing of emulated snapshots.
@Suite struct SnapshotStreamTests {
    /// A set of `count` members of 20 bytes.
    private static func set(_ name: String, _ count: Int, database: Int = 0) throws -> EncodedEntry
    {
        let members = (0..<count).map { Array("\(name)/member-\(1_000_000 + $0)".utf8) }
        let dump: [UInt8] = try Self.bytes { buffer in
            try buffer.append(byte: 2)
            try buffer.append(length: count)
            for member in members {
                try member.withByteView { (view) throws(SystemError) in
                    try buffer.append(counted: view)
                }
            }
            try buffer.append(little: UInt16(10))
            try buffer.append(little: UInt64(0))
        }
        let key = KeyName(database: database, key: Array(name.utf8))
        return try EntryEncoder(release: .newest).encode(StoredKey(name: key, dump: dump))
    }

    private static func bytes(_ body: (inout RegionBuffer) throws -> Void) throws -> [UInt8] {
        var buffer = try RegionBuffer()
        try body(&buffer)
        return buffer.view.array()
    }

    private static func memberCount(_ entry: SnapshotDecoder.Entry) -> Int {
        if case .set(let members) = entry.value { Set(members).count } else { 0 }
    }

    /// While entries are open, chunks of others, whole keys, FE and journal blobs come between their
    /// chunks; the chunks of a key are complete before a journal entry of it; ids have gaps.
    @Test(arguments: [1, 2, 3, 4, 5] as [UInt64])
    func chunksInterleave(_ seed: UInt64) throws {
        var options = StreamOptions()
        options.chunkBytes = 300
        options.compression = seed % 2 == 0 ? .none : .lz4
        options.seed = seed
        var random = SeededGenerator(seed: seed)
        var sizes: [KeyName: Int] = [:]
        var high = 0
        var chunks = 0
        let decoder = try EmulatedSnapshot.decoded(.newest, options) { stream in
            for number in 0..<60 {
                let count = [3, 40, 200][number % 3]
                let entry = try Self.set("set:\(number)", count, database: number % 2)
                sizes[entry.name] = count
                try stream.add(entry)
                let touched = Int.random(in: 0...number, using: &random)
                let name = KeyName(database: touched % 2, key: Array("set:\(touched)".utf8))
                try stream.complete([name])
                try stream.add(
                    JournalEntry(database: name.database, words: words("SADD", name.key, "new")))
            }
            high = stream.openEntriesHigh
            chunks = stream.chunkCount
        }
        #expect(decoder.entries.count == 60)
        for entry in decoder.entries {
            #expect(Self.memberCount(entry) == sizes[entry.name], "seed \(seed)")
            #expect(entry.chunks > 0 || (sizes[entry.name] ?? 0) < 20)
        }
        #expect(decoder.openHigh == high)
        #expect(high >= 3 && high <= options.openEntriesLimit, "seed \(seed)")
        let between = Self.itemsBetweenChunks(decoder.items)
        #expect(between.isSuperset(of: ["entry", "chunk", "select", "journal"]), "seed \(seed)")
        let ids = Set(Self.chunkIDs(decoder.items))
        #expect(ids.contains(where: { !ids.contains($0 - 1) && $0 > 1 }))
        #expect(Self.chunkIDs(decoder.items).count >= chunks)
        for number in 0..<60 {
            let key = Array("set:\(number)".utf8)
            let baseline = decoder.items.firstIndex {
                if case .entry(let index) = $0 { decoder.entries[index].key == key } else { false }
            }
            let record = decoder.items.firstIndex {
                if case .journal(let entry) = $0 { entry.words[1] == key } else { false }
            }
            if let baseline, let record { #expect(baseline < record, "seed \(seed)") }
        }
    }

    private static func chunkIDs(_ items: [SnapshotDecoder.Item]) -> [UInt32] {
        items.compactMap { if case .chunk(let id) = $0 { id } else { nil } }
    }

    /// What lies between the first and the last chunk of any id.
    private static func itemsBetweenChunks(_ items: [SnapshotDecoder.Item]) -> Set<String> {
        var between: Set<String> = []
        for id in Set(chunkIDs(items)) {
            guard let first = items.firstIndex(of: .chunk(id: id)),
                let last = items.lastIndex(of: .chunk(id: id))
            else { continue }
            for item in items[first...last] where item != .chunk(id: id) {
                switch item {
                case .entry: between.insert("entry")
                case .chunk: between.insert("chunk")
                case .select: between.insert("select")
                case .journal: between.insert("journal")
                case .fullSyncEnd: between.insert("end")
                }
            }
        }
        return between
    }

    /// The same seed gives the same bytes, another one another order.
    @Test func ordersAreSeeded() throws {
        func items(_ seed: UInt64) throws -> [SnapshotDecoder.Item] {
            var options = StreamOptions()
            options.chunkBytes = 200
            options.seed = seed
            let entries = try (0..<20).map { try Self.set("set:\($0)", 100) }
            return try EmulatedSnapshot.decoded(entries, .newest, options).items
        }
        #expect(try items(1) == items(1))
        #expect(try items(1) != items(2))
    }

    /// Releases before tagged chunks hand a large entry over raw and contiguous, compression or not;
    /// those before splitting compress it, however large.
    @Test func largeEntriesOfOldReleases() throws {
        let entry = try Self.set("large", 120_000)
        for release in [EmulatedRelease.v1_20, .v1_30, .v1_35] {
            let memory = try SnapshotMemory()
            let stream = try SnapshotStream(
                release: release, options: StreamOptions(), flow: 0, flowCount: 1, output: memory)
            try stream.writeHeader(scripts: [])
            for number in 0..<100 { try stream.add(try Self.set("before:\(number)", 10)) }
            try stream.add(entry)
            for number in 0..<100 { try stream.add(try Self.set("after:\(number)", 10)) }
            try stream.writeFullSyncEnd()
            try stream.writeTail(nextLSN: 1, token: HexDigits.forty(seed: 1))
            let bytes = memory.view.array()
            var decoder = SnapshotDecoder()
            _ = try decoder.decode(bytes)
            #expect(decoder.entries.count == 201)
            #expect(stream.chunkCount == 0)
            let isRaw = bytes.firstRange(of: entry.bytes) != nil
            #expect(isRaw == (release != .v1_20), "\(release)")
            let large = decoder.blobSizes.max() ?? 0
            #expect((large > 1 << 20) == (release == .v1_20), "\(release)")
        }
    }

    /// Blobs hold 256 bytes to 1 MiB and gain; what does not is sent as it is.
    @Test(arguments: [StreamOptions.Compression.zstd, .lz4])
    func blobsMustPay(_ compression: StreamOptions.Compression) throws {
        var options = StreamOptions()
        options.compression = compression
        options.chunkBytes = 0
        let opcode: UInt8 = compression == .lz4 ? 0xca : 0xc9
        let small = try EmulatedSnapshot.decoded([Self.set("small", 5)], .newest, options)
        #expect(small.compressedBlobs == [:])
        let medium = try EmulatedSnapshot.decoded([Self.set("medium", 500)], .newest, options)
        #expect(medium.compressedBlobs == [opcode: 1])
        let large = try EmulatedSnapshot.decoded([Self.set("large", 60_000)], .newest, options)
        #expect(large.compressedBlobs == [:])
        var random = SeededGenerator(seed: 3)
        let noise = EncodedEntry(
            name: KeyName(database: 0, key: [0x6b]),
            bytes: [0, 1, 0x6b, 0x47, 0xd0] + random.bytes(2000), splits: [])
        let plain = try EmulatedSnapshot.decoded([noise], .newest, options)
        #expect(plain.compressedBlobs == [:])
        #expect(plain.entries.count == 1)
    }

    /// The full-sync end lies inside a blob or apart, as the seed has it.
    @Test func fullSyncEndMayLieInABlob() throws {
        let ends = try (0..<20 as Range<UInt64>).map { seed in
            var options = StreamOptions()
            options.seed = seed
            return try EmulatedSnapshot.decoded([Self.set("set", 100)], .newest, options)
                .endedInBlob
        }
        #expect(Set(ends) == [true, false])
    }

    /// A journal entry comes as a blob of one; the end of a transaction has no place in a snapshot.
    @Test(arguments: StreamOptions.Compression.allCases)
    func journalEntriesAreBlobs(_ compression: StreamOptions.Compression) throws {
        let entries = [
            JournalEntry(database: 3, words: words("SET", "k", String(repeating: "v", count: 500))),
            JournalEntry(
                operation: .expired, database: 0, transaction: 1 << 40, words: words("DEL", "k")),
            JournalEntry(
                operation: .multiCommand, database: 0, transaction: 9, shardCount: 2,
                words: words("SET", "", "")),
            JournalEntry.ping,
        ]
        var options = StreamOptions()
        options.compression = compression
        let decoder = try EmulatedSnapshot.decoded(.v1_20, options) { stream in
            for entry in entries { try stream.add(entry) }
            try stream.add(
                JournalEntry(operation: .exec, database: 0, transaction: 9, words: []))
        }
        #expect(decoder.blobCommands == entries)
    }

    /// Nodes that lie deep enough in a list are LZF in any mode, and a list is not cut behind one.
    @Test func deepListNodesAreCompressed() throws {
        let server = try RedisServer()
        let client = try server.client()
        for _ in 0..<12 {
            let element = Array(repeating: UInt8(ascii: "e"), count: 4000)
            _ = try client.command(words("RPUSH", "list") + Array(repeating: element, count: 2))
        }
        let key = try EmulatedSnapshot.stored(
            KeyName(database: 0, key: Array("list".utf8)), client)
        var options = StreamOptions()
        options.compression = .none
        for depth in [0, 1, 3, 100] {
            options.listCompressDepth = depth
            let entry = try EntryEncoder(release: .newest, options: options).encode(key)
            let decoded = try EmulatedSnapshot.decoded([entry], .newest, options).entries[0]
            guard case .list(let nodes) = decoded.value else {
                Issue.record("no list")
                return
            }
            #expect(nodes.count == 12 && nodes.allSatisfy { $0.elements.count == 2 })
            let deep = depth == 0 ? 0 : max(12 - 2 * depth, 0)
            #expect(decoded.packedStrings == deep)
            #expect(entry.splits.count == 11 - deep)
        }
    }

    /// Thousands of random values, of every release in every mode, arrive as a server holds them.
    @Test(arguments: EmulatedRelease.allCases)
    func randomValuesArrive(_ release: EmulatedRelease) throws {
        for (number, compression) in StreamOptions.Compression.allCases.enumerated() {
            let seed = UInt64(release.number * 10 + number)
            var generator = RandomState(seed: seed)
            let state = generator.keys(250)
            let server = try RedisServer()
            let client = try server.client()
            try StateWriter(client: client).write(state)
            var random = SeededGenerator(seed: seed)
            var options = StreamOptions()
            options.compression = compression
            options.chunkBytes = [0, 1, 100, 5000][Int.random(in: 0..<4, using: &random)]
            options.listCompressDepth = Int.random(in: 0...1, using: &random)
            options.seed = seed
            let encoder = EntryEncoder(release: release, options: options)
            var sent: [KeyName: StoredKey] = [:]
            let decoder = try EmulatedSnapshot.decoded(release, options) { stream in
                for key in state.keys.sorted() {
                    var stored = try EmulatedSnapshot.stored(
                        KeyName(database: key.database, key: key.name), client)
                    stored.isSticky = Int.random(in: 0..<5, using: &random) == 0
                    if case .hash(let fields)? = state[key]?.value, Bool.random(using: &random) {
                        stored.elementExpiries[fields[0].field] = 1_800_000_000
                    }
                    sent[stored.name] = stored
                    try stream.add(try encoder.encode(stored))
                }
            }
            #expect(decoder.entries.count == state.count)
            let different = decoder.entries.filter { entry in
                let key = StateKey(database: entry.database, name: entry.key)
                let stored = sent[entry.name]
                return state[key]?.agrees(with: entry) != true
                    || (entry.mask == 1) != stored?.isSticky
                    || (entry.type == 31) != (stored?.elementExpiries.isEmpty == false)
            }
            let names = different.prefix(5).map { "\(printable($0.key)) type \($0.type)" }
            #expect(different.count == 0, "seed \(seed): \(names)")
        }
    }
}

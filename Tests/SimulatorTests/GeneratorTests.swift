import Testing

@testable import DragonflySimulator

/// What one replica received from a generated master.
private struct Received {
    var snapshots: [SnapshotDecoder] = []
    var commands: [[JournalEntry]] = []
    var journals: [JournalDecoder] = []
    /// The encoded length of each snapshot.
    var snapshotBytes: [Int] = []
}

/// Takes a full sync and everything the server sends after it.
private func receiveAll(_ server: SimulatorServer) throws -> Received {
    let replica = try TestReplica(port: server.port)
    try replica.openFlows()
    let before = replica.flows.indices.map { server.bytesSent(flow: $0) }
    _ = try replica.control.command("DFLY SYNC \(replica.session)")
    var received = Received()
    var bytes: [[UInt8]] = []
    for flow in replica.flows { bytes.append(try flow.readToFullSyncEnd()) }
    #expect(try replica.control.command("DFLY STARTSTABLE \(replica.session)") == ["OK"])
    #expect(server.waitUntilSent(timeoutMilliseconds: 20_000))
    for (index, flow) in replica.flows.enumerated() {
        let sent = server.bytesSent(flow: index) - before[index]
        bytes[index] += try flow.read(sent - bytes[index].count)
        var snapshot = SnapshotDecoder()
        let rest = try snapshot.decode(bytes[index])
        let token = Array(replica.answers[index][1].utf8)
        #expect(Array(rest.prefix(40)) == token)
        var journal = JournalDecoder(next: snapshot.offset)
        received.commands.append(try journal.decode(Array(rest.dropFirst(40))))
        received.snapshotBytes.append(bytes[index].count - rest.count)
        received.snapshots.append(snapshot)
        received.journals.append(journal)
    }
    return received
}

extension TestConnection {
    /// Reads until a full-sync end has come; journal blobs may follow it later.
    fileprivate func readToFullSyncEnd() throws -> [UInt8] {
        let mark: [UInt8] = [0xc8, 0, 0, 0, 0, 0, 0, 0, 0]
        var bytes: [UInt8] = []
        var searched = 0
        while true {
            bytes += try readSome()
            while searched + mark.count <= bytes.count {
                if bytes[searched] == 0xc8, bytes[searched...].starts(with: mark) { return bytes }
                searched += 1
            }
        }
    }
}

/// Checks every key that arrived against what the data says; each must be there once.
private func check(_ data: SyntheticData, _ received: Received, extraKeys: Int = 0) {
    var byKey: [[UInt8]: (flow: Int, entry: SnapshotDecoder.Entry)] = [:]
    for (flow, snapshot) in received.snapshots.enumerated() {
        for entry in snapshot.entries {
            #expect(byKey[entry.key] == nil, "twice")
            byKey[entry.key] = (flow, entry)
        }
    }
    #expect(byKey.count == data.keyCount + extraKeys)
    for kind in SyntheticData.Kind.allCases {
        for index in 0..<data.shape(kind).count {
            guard let found = byKey[data.key(kind, index)] else {
                Issue.record("\(kind) \(index) is missing")
                continue
            }
            #expect(found.flow == data.flow(kind, index))
            #expect(found.entry.database == data.database(index))
            #expect(found.entry.expiry == data.expiry(kind, index))
            #expect(found.entry.value.synthetic == data.value(kind, index), "\(kind) \(index)")
        }
    }
}

private func mixedData(flows: Int = 3) -> SyntheticData {
    var data = SyntheticData(seed: 42)
    data.flowCount = flows
    data.databaseCount = 2
    data.expiringPercent = 30
    data.strings = .init(count: 300, elementBytes: 64)
    data.hashes = .init(count: 40, elements: 10, elementBytes: 16)
    data.lists = .init(count: 40, elements: 30, elementBytes: 20)
    data.sets = .init(count: 40, elements: 12, elementBytes: 16)
    data.sortedSets = .init(count: 40, elements: 20, elementBytes: 16)
    data.streams = .init(count: 40, elements: 7, elementBytes: 24)
    return data
}

@Suite struct GeneratorTests {
    /// Every key arrives once, on its shard's flow, in its database, with its expiry and value,
    /// however the snapshot is compressed.
    @Test(arguments: [SnapshotOptions.Compression.none, .lz4, .zstd], [false, true])
    func servesWhatItPromises(
        _ compression: SnapshotOptions.Compression, _ isPrepared: Bool
    ) throws {
        let data = mixedData()
        var encoding = SnapshotOptions()
        encoding.compression = compression
        encoding.isPrepared = isPrepared
        try withServer(.synthetic(data, encoding: encoding)) { server in
            let received = try receiveAll(server)
            check(data, received)
            let types = Set(received.snapshots.flatMap { $0.entries.map(\.type) })
            #expect(types == [0, 2, 11, 16, 17, 18, 21])
            let expiring = received.snapshots.flatMap(\.entries).filter { $0.expiry != nil }.count
            #expect((100...200).contains(expiring))
            for (flow, snapshot) in received.snapshots.enumerated() {
                #expect(snapshot.offset == 1)
                #expect(snapshot.auxiliary["shard-id"] == Array(String(flow).utf8))
                #expect((snapshot.auxiliary["shard-count"] != nil) == (flow == 0))
                let opcode: UInt8 = compression == .lz4 ? 0xca : 0xc9
                #expect((snapshot.compressedBlobs[opcode] ?? 0 > 0) == (compression != .none))
            }
        }
    }

    /// Collections beyond Dragonfly's limits take their plain forms, large ones in tagged chunks,
    /// list elements above the node size as plain nodes.
    @Test(arguments: [65536, 4096, 0])
    func largeCollections(_ chunkBytes: Int) throws {
        var data = SyntheticData(seed: 9)
        data.flowCount = 2
        data.hashes = .init(count: 4, elements: 2000, elementBytes: 60)
        data.lists = .init(count: 4, elements: 40, elementBytes: 9000)
        data.sets = .init(count: 4, elements: 3000, elementBytes: 40)
        data.sortedSets = .init(count: 4, elements: 2000, elementBytes: 60)
        data.streams = .init(count: 4, elements: 2000, elementBytes: 90)
        data.strings = .init(count: 3, elementBytes: 200_000)
        var encoding = SnapshotOptions()
        encoding.chunkBytes = chunkBytes
        try withServer(.synthetic(data, encoding: encoding)) { server in
            let received = try receiveAll(server)
            check(data, received)
            let entries = received.snapshots.flatMap(\.entries)
            let integerSets = [data.key(.set, 1), data.key(.set, 3)]
            #expect(Set(entries.map(\.type)) == [0, 2, 4, 5, 18, 21])
            for entry in entries {
                // Strings are never split, whatever their size; integer sets have some 9 KB.
                let isSmall = integerSets.contains(entry.key) && chunkBytes > 9000
                let isSplit = chunkBytes > 0 && entry.type != 0 && !isSmall
                #expect(isSplit ? entry.chunks > 1 : entry.chunks == 0, "type \(entry.type)")
            }
        }
    }

    /// Sizes at the edges: single elements, empty strings, members too short to differ.
    @Test func smallSizes() throws {
        for size in [0, 1, 7, 8, 11, 12] {
            var data = SyntheticData(seed: UInt64(size))
            data.strings = .init(count: 20, elementBytes: size)
            data.hashes = .init(count: 5, elements: 1, elementBytes: size)
            data.lists = .init(count: 5, elements: 1, elementBytes: size)
            data.sets = .init(count: 6, elements: 1, elementBytes: size)
            data.sortedSets = .init(count: 5, elements: 1, elementBytes: size)
            data.streams = .init(count: 5, elements: 1, elementBytes: size)
            try withServer(.synthetic(data)) { check(data, try receiveAll($0)) }
        }
    }

    /// An empty flow is AUX, C8, D3, FF and token (protocol.md 3.1).
    @Test func emptyMaster() throws {
        var data = SyntheticData(seed: 1)
        data.flowCount = 4
        try withServer(.synthetic(data)) { server in
            let received = try receiveAll(server)
            check(data, received)
            #expect(received.snapshots.allSatisfy { $0.ended && $0.offset == 1 })
        }
    }

    /// Two parameters make the same data twice, and another seed makes other data.
    @Test func isDeterministic() {
        let (first, second, third) = (
            SyntheticData(seed: 5), SyntheticData(seed: 5), SyntheticData(seed: 6)
        )
        #expect(first.value(.string, 17) == second.value(.string, 17))
        #expect(first.value(.string, 17) != third.value(.string, 17))
        #expect(first.value(.string, 17) != first.value(.string, 18))
    }
}

/// The keyspace that commands build, executed here.
private struct Executor {
    private(set) var values: [[UInt8]: SyntheticValue] = [:]
    private(set) var databases: [[UInt8]: Int] = [:]

    mutating func execute(_ command: JournalEntry) throws {
        let words = command.words
        let key = words[1]
        #expect(command.transaction == 0 && command.shardCount == 1)
        databases[key] = command.database
        switch String(decoding: words[0], as: UTF8.self) {
        case "SET": values[key] = .string(words[2])
        case "INCR":
            guard case .string(let old) = values[key] ?? .string([0x30]) else { return }
            let count = Int(String(decoding: old, as: UTF8.self)) ?? 0
            values[key] = .string(Array(String(count + 1).utf8))
        case "LPUSH":
            guard case .list(let old) = values[key] ?? .list([]) else { return }
            values[key] = .list([words[2]] + old)
        default: throw SnapshotDecoder.Failure(text: "command", position: 0)
        }
    }

    mutating func load(_ entry: SnapshotDecoder.Entry) {
        guard entry.key.starts(with: Array("live:".utf8)) else { return }
        values[entry.key] = entry.value.synthetic
        databases[entry.key] = entry.database
    }
}

@Suite struct LiveTrafficTests {
    private func traffic(_ count: Int) -> LiveTraffic {
        var traffic = LiveTraffic(recordCount: count, seed: 11)
        traffic.keysPerKind = 20
        traffic.databaseCount = 2
        return traffic
    }

    private func expect(_ executor: Executor, _ keys: [LiveTraffic.Key]) {
        #expect(executor.values.count == keys.count)
        for key in keys {
            #expect(executor.values[key.name] == key.value)
            #expect(executor.databases[key.name] == key.database)
        }
    }

    /// Records arrive on their key's flow with LSNs from D3 on, markers agree, blobs count, and
    /// executing everything gives the state that the traffic announces.
    @Test(arguments: [0, 600, 3000])
    func journalHasRightLSNs(_ duringFullSync: Int) throws {
        let data = mixedData()
        var traffic = traffic(3000)
        traffic.recordsDuringFullSync = duringFullSync
        try withServer(.synthetic(data, traffic: traffic)) { server in
            let received = try receiveAll(server)
            check(data, received)
            var executor = Executor()
            var total = 0
            for flow in 0..<data.flowCount {
                let snapshot = received.snapshots[flow]
                let commands = received.commands[flow]
                #expect(snapshot.offset == UInt64(snapshot.blobCommands.count) + 1)
                #expect(server.nextLSN(flow: flow) == received.journals[flow].next)
                #expect(received.journals[flow].markers == (commands.isEmpty ? 0 : 1))
                for command in snapshot.blobCommands + commands {
                    #expect(shard(of: command.words[1], flowCount: data.flowCount) == flow)
                    try executor.execute(command)
                }
                total += snapshot.blobCommands.count + commands.count
            }
            #expect(total == 3000)
            #expect(received.snapshots.reduce(0) { $0 + $1.blobCommands.count } == duringFullSync)
            expect(executor, traffic.keys())
        }
    }

    /// A second full sync holds the state so far as baseline, and its D3 continues the journal.
    @Test func secondFullSyncHoldsTheBaseline() throws {
        let data = mixedData()
        let traffic = traffic(3000)
        try withServer(.synthetic(data, traffic: traffic)) { server in
            _ = try receiveAll(server)
            let received = try receiveAll(server)
            var executor = Executor()
            for (flow, snapshot) in received.snapshots.enumerated() {
                #expect(snapshot.offset == server.nextLSN(flow: flow))
                #expect(received.commands[flow].isEmpty)
                for entry in snapshot.entries { executor.load(entry) }
            }
            let keys = traffic.keys()
            check(data, received, extraKeys: keys.count)
            expect(executor, keys)
        }
    }

    /// A replica that resumes at an LSN gets exactly the records from there on.
    @Test func resumesAtAnyLSN() throws {
        let data = mixedData(flows: 2)
        try withServer(.synthetic(data, traffic: traffic(1000))) { server in
            let first = try receiveAll(server)
            let replica = try TestReplica(port: server.port)
            let lsns: [UInt64] = [101, server.nextLSN(flow: 1)]
            try replica.openFlows(lsns: lsns)
            #expect(replica.answers.map(\.first) == ["PARTIAL", "PARTIAL"])
            let before = server.bytesSent(flow: 0)
            #expect(
                try replica.control.command("DFLY STARTSTABLE \(replica.session)") == ["OK"])
            #expect(server.waitUntilSent(timeoutMilliseconds: 10_000))
            let bytes = try replica.flows[0].read(server.bytesSent(flow: 0) - before)
            var journal = JournalDecoder(next: 101)
            let commands = try journal.decode(bytes)
            #expect(commands == Array(first.commands[0].dropFirst(100)))
            #expect(journal.next == server.nextLSN(flow: 0))
            // From the future: FULL.
            let other = try TestReplica(port: server.port)
            try other.openFlows(lsns: [5000, 5000])
            #expect(other.answers.map(\.first) == ["FULL", "FULL"])
        }
    }

    /// Paced traffic takes its time: 200 records at 1000 a second need 0.2 s at least.
    @Test func keepsItsRate() throws {
        var traffic = traffic(200)
        traffic.recordsPerSecond = 1000
        let clock = ContinuousClock()
        try withServer(.synthetic(SyntheticData(seed: 1), traffic: traffic)) { server in
            let elapsed = try clock.measure { _ = try receiveAll(server) }
            #expect(elapsed >= .milliseconds(190))
        }
    }
}

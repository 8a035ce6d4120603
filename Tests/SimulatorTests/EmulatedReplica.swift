import Bytes
import TestSupport
import Testing

@testable import DragonflySimulator

/// Runs an emulated master around `body`, which must leave no breach behind unless it says so.
func withMaster(
    _ emulation: EmulationOptions = EmulationOptions(),
    _ options: SimulatorOptions = SimulatorOptions(), breaches: [Breach] = [],
    _ body: (SimulatorServer) throws -> Void
) throws {
    try withServer(.emulated(emulation), options, breaches: breaches, body)
}

/// A replica that reads and understands all flows of an emulated master.
final class EmulatedReplica {
    let replica: TestReplica
    private(set) var streams: [EmulatedStream] = []

    init(_ server: SimulatorServer, resumingAt lsns: [UInt64]? = nil) throws {
        replica = try TestReplica(port: server.port)
        try replica.openFlows(lsns: lsns)
        makeStreams(lsns)
    }

    /// - Parameter replica: one whose flows are open.
    init(_ replica: TestReplica, resumingAt lsns: [UInt64]? = nil) {
        self.replica = replica
        makeStreams(lsns)
    }

    private func makeStreams(_ lsns: [UInt64]?) {
        streams = replica.answers.enumerated().map { index, answer in
            EmulatedStream(
                token: answer[1], resumesAt: answer[0] == "PARTIAL" ? lsns?[index] : nil)
        }
    }

    var kinds: [String] { replica.answers.map { $0[0] } }
    var nextLSNs: [UInt64] { streams.map(\.next) }

    /// A flow of 1.20 that resumed sends a stream with a header all the same.
    func expectSnapshots() {
        streams = replica.answers.map { EmulatedStream(token: $0[1]) }
    }

    /// DFLY SYNC, and everything up to the full-sync end of each flow.
    func sync() throws {
        try #require(try replica.control.command("DFLY SYNC \(replica.session)") == ["OK"])
        for index in streams.indices { try read(flow: index) { $0.hasFullSyncEnd } }
    }

    /// STARTSTABLE, and everything up to the token of each flow; then the first ACKs.
    func startStable(waitingForEnd: Bool = false) throws {
        if waitingForEnd {
            for index in streams.indices { try read(flow: index) { $0.hasFullSyncEnd } }
        }
        let reply = try replica.control.command("DFLY STARTSTABLE \(replica.session)")
        try #require(reply == ["OK"])
        for index in streams.indices { try read(flow: index) { $0.isStable } }
        try acknowledge()
    }

    /// A whole full sync.
    func run() throws {
        try sync()
        try startStable()
    }

    /// Reads until every flow stands where the master says it is.
    func catchUp(_ server: SimulatorServer) throws {
        for (index, next) in server.nextLSNs.enumerated() {
            try read(flow: index) { $0.next >= next }
        }
        try acknowledge()
    }

    func read(flow: Int, until condition: (EmulatedStream) -> Bool) throws {
        while !condition(streams[flow]) {
            try streams[flow].feed(try replica.flows[flow].readSome())
        }
    }

    func acknowledge() throws {
        for (index, stream) in streams.enumerated() {
            try replica.acknowledge(flow: index, stream.next)
        }
    }

    /// Leaves politely.
    func leave() throws { try replica.leave() }

    /// Brings a redis-server to the state that this replica has read: flow by flow, entries and
    /// records in order. Keys on a flow that does not own them are PFMERGE's copies.
    func apply(to client: RespClient) throws {
        for (flow, stream) in streams.enumerated() {
            for item in stream.items {
                switch item {
                case .fullSyncEnd: continue
                case .entry(let entry): try apply(entry, flow, to: client)
                case .blob(let record), .record(let record): try apply(record, flow, to: client)
                }
            }
        }
    }

    private func isMisplaced(_ key: [UInt8], _ flow: Int) -> Bool {
        shard(of: key, flowCount: streams.count) != flow
    }

    private func apply(
        _ entry: EmulatedStream.Entry, _ flow: Int, to client: RespClient
    ) throws {
        if isMisplaced(entry.key, flow) {
            #expect(entry.payload.starts(with: [0]), "only strings stand on a wrong flow")
            return
        }
        var payload = entry.payload + [9, 0]
        let checksum = payload.withByteView { $0.crc64() }
        payload += (0..<8).map { UInt8(truncatingIfNeeded: checksum >> (8 * UInt64($0))) }
        let words =
            [bytes("RESTORE"), entry.key, bytes("\(entry.expiry)"), payload]
            + [bytes("REPLACE"), bytes("ABSTTL")]
        try call(words, entry.database, client)
    }

    private func apply(
        _ record: EmulatedStream.Record, _ flow: Int, to client: RespClient
    ) throws {
        guard let name = record.words.first, record.words.count > 1 else { return }
        if name == bytes("SET"), isMisplaced(record.words[1], flow) { return }
        try call(record.words, record.database, client)
    }

    private func call(_ words: [[UInt8]], _ database: Int, _ client: RespClient) throws {
        let replies = try client.pipeline([[bytes("SELECT"), bytes("\(database)")], words])
        for reply in replies {
            if case .error(let message) = reply {
                Issue.record("\(words.map { printable($0) }): \(message)")
            }
        }
    }
}

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

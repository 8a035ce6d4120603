import Bytes
import Testing

@testable import DragonflySimulator

private let recordings =
    "/" + #filePath.split(separator: "/").dropLast(2).joined(separator: "/") + "/Recordings/"

private func recording(_ name: String) throws -> Recording {
    try Recording(folder: recordings + name)
}

/// Runs a server around `body`, which must leave no breach behind unless it says so.
func withServer(
    _ source: SimulatorSource, _ options: SimulatorOptions = SimulatorOptions(),
    breaches: [Breach] = [], _ body: (SimulatorServer) throws -> Void
) throws {
    let server = try SimulatorServer(source: source, options: options)
    try server.start()
    defer { server.stop() }
    try body(server)
    #expect(server.breaches == breaches)
}

/// Plays a recording from SYNC to its end; returns what each flow received.
private func playAll(_ server: SimulatorServer, _ recording: Recording) throws -> [[UInt8]] {
    let replica = try TestReplica(port: server.port)
    try replica.openFlows()
    #expect(replica.answers == recording.flows.map { ["FULL", $0.token] })
    #expect(try replica.control.command("DFLY SYNC \(replica.session)") == ["OK"])
    var received = try recording.flows.indices.map { index in
        try replica.flows[index].read(recording.flows[index].bytesBeforeStartStable)
    }
    #expect(try replica.control.command("DFLY STARTSTABLE \(replica.session)") == ["OK"])
    for (index, flow) in recording.flows.enumerated() {
        received[index] += try replica.flows[index].read(
            flow.bytes.count - received[index].count)
    }
    #expect(server.waitUntilSent(timeoutMilliseconds: 10_000))
    return received
}

@Suite struct RecordingPlayerTests {
    /// Every recording can be read, and its journal accounts for every LSN the master reported.
    @Test(arguments: [
        "catalogue", "live", "partial-1", "partial-2", "types-chunked", "types-lz4",
        "types-lzf-untagged", "types-plain", "types-zstd", "v1.20-types", "v1.30-catalogue",
        "v1.30-live", "v1.30-types",
    ])
    func readsRecording(_ name: String) throws {
        let recording = try recording(name)
        for flow in recording.flows {
            #expect(flow.bytes.count >= flow.bytesAtStable)
            #expect(flow.firstLSN >= 1)
            let entries = flow.journal.entryCount
            #expect(flow.journal.offset(afterEntries: entries) != nil)
            if !flow.isPartial {
                let mark = flow.fullSyncEndOffset
                #expect(Array(flow.bytes[mark..<mark + 9]) == [0xc8, 0, 0, 0, 0, 0, 0, 0, 0])
            }
        }
    }

    /// The LSN that the walk of a journal gives its first entry is the one that D3 announced.
    @Test func firstLSNIsTheAnnouncedOffset() throws {
        for name in ["catalogue", "partial-1", "types-chunked"] {
            for flow in try recording(name).flows {
                let offset = flow.journal.start - 40 - 9 - 8
                #expect(flow.bytes[offset - 1] == 0xd3)
                let announced = flow.bytes.withByteView { $0.little(offset, as: UInt64.self) }
                #expect(announced == flow.firstLSN)
            }
        }
        // A resumed journal begins where the first one ended.
        #expect(try recording("partial-2").flows.map(\.firstLSN) == [384, 390])
    }

    /// A replica gets exactly the recorded bytes, however they are cut and paced.
    @Test(arguments: [
        (Segmentation.whole, Pacing.unlimited),
        (.fixed(1), .unlimited), (.fixed(7), .unlimited), (.fixed(65536), .unlimited),
        (.random(seed: 1), .unlimited), (.random(seed: 2), .unlimited),
        (.whole, .bytesPerSecond(400_000)),
        (.fixed(1000), .pause(everyBytes: 20_000, milliseconds: 1)),
    ])
    func playsExactBytes(_ segmentation: Segmentation, _ pacing: Pacing) throws {
        let recording = try recording(segmentation == .whole ? "live" : "partial-1")
        var options = SimulatorOptions()
        options.segmentation = segmentation
        options.pacing = pacing
        try withServer(.recording(recording), options) { server in
            let received = try playAll(server, recording)
            for (index, flow) in recording.flows.enumerated() {
                #expect(received[index] == flow.bytes, "flow \(index) differs")
                #expect(server.bytesSent(flow: index) == flow.bytes.count)
            }
        }
    }

    /// The offsets are the manifest's, and an idle master stays open and silent.
    @Test func staysOpenAfterTheEnd() throws {
        let recording = try recording("types-lz4")
        try withServer(.recording(recording)) { server in
            let replica = try TestReplica(port: server.port)
            try replica.openFlows()
            _ = try replica.control.command("DFLY SYNC \(replica.session)")
            for (index, flow) in recording.flows.enumerated() {
                _ = try replica.flows[index].read(flow.bytesBeforeStartStable)
            }
            _ = try replica.control.command("DFLY STARTSTABLE \(replica.session)")
            for (index, flow) in recording.flows.enumerated() {
                _ = try replica.flows[index].read(flow.bytes.count - flow.bytesBeforeStartStable)
            }
            #expect(try replica.control.command("DFLY REPLICAOFFSET") == ["1", "1"])
            try replica.acknowledge(flow: 1, 1)
            #expect(
                server.waitForAcknowledgement(flow: 1, atLeast: 1, timeoutMilliseconds: 10_000))
            #expect(server.acknowledgements(flow: 1) == [1])
            #expect(server.lastAcknowledged(flow: 0) == nil)
            #expect(try replica.control.command("PING") == ["PONG"])
        }
    }

    /// partial-2 alone is answered PARTIAL at its LSNs and begins with journal bytes, no SYNC.
    @Test func resumesPartialRecording() throws {
        let recording = try recording("partial-2")
        try withServer(.recording(recording)) { server in
            let replica = try TestReplica(port: server.port)
            try replica.openFlows(lsns: [384, 390])
            #expect(replica.answers.map(\.first) == ["PARTIAL", "PARTIAL"])
            #expect(
                try replica.control.command("DFLY STARTSTABLE \(replica.session)") == ["OK"])
            for (index, flow) in recording.flows.enumerated() {
                #expect(try replica.flows[index].read(flow.bytes.count) == flow.bytes)
            }
            #expect(try replica.control.command("DFLY REPLICAOFFSET") == ["1118", "1165"])
        }
    }

    /// A replica that lost its connection in the middle of partial-1 goes on there, and gets
    /// partial-2 behind it.
    @Test func resumesInTheMiddle() throws {
        let (first, second) = (try recording("partial-1"), try recording("partial-2"))
        try withServer(.recording(first, continuation: second)) { server in
            _ = try playAll(server, first)
            #expect(server.nextLSN(flow: 0) == 384)
            let replica = try TestReplica(port: server.port)
            try replica.openFlows(lsns: [200, 390])
            #expect(replica.answers.map(\.first) == ["PARTIAL", "PARTIAL"])
            #expect(
                try replica.control.command("DFLY STARTSTABLE \(replica.session)") == ["OK"])
            let skipped = Int(200 - first.flows[0].firstLSN)
            let start = try #require(first.flows[0].journal.offset(afterEntries: skipped))
            let expected = Array(first.flows[0].bytes[start...]) + second.flows[0].bytes
            #expect(try replica.flows[0].read(expected.count) == expected)
            let other = second.flows[1].bytes
            #expect(try replica.flows[1].read(other.count) == other)
            #expect(server.nextLSN(flow: 0) == 1118)
            #expect(server.sessionCount == 2)
        }
    }

    /// An LSN that the recording does not hold, and every LSN of a release that could not resume,
    /// is answered FULL.
    @Test func answersFullWhereItCannotResume() throws {
        for (name, lsn) in [("partial-1", UInt64(9999)), ("partial-1", 0), ("v1.30-live", 2800)] {
            let recording = try recording(name)
            try withServer(.recording(recording)) { server in
                let replica = try TestReplica(port: server.port)
                try replica.openFlows(lsns: recording.flows.map { _ in lsn })
                #expect(replica.answers.allSatisfy { $0.first == "FULL" })
            }
        }
    }

    /// A folder that is no recording is an error that names the file.
    @Test func namesTheFileInErrors() {
        #expect(
            performing: {
                _ = try recording("no-such-recording")
            }, throws: { String(describing: $0).contains("no-such-recording/manifest.json") })
    }
}

import Foundation
import Testing

@testable import DragonflySimulator

private func source() -> SimulatorSource {
    var data = SyntheticData(seed: 3)
    data.flowCount = 2
    data.strings.count = 20
    return .synthetic(data)
}

/// Each misbehaviour of protocol.md 2.2, committed on purpose, is recorded; the same steps done
/// rightly leave no breach (`withServer` checks that everywhere else).
@Suite struct BreachTests {
    @Test func pipelinedFlowBehind() throws {
        try withServer(source(), breaches: [.pipelinedFlow(flow: 0)]) { server in
            let replica = try TestReplica(port: server.port)
            let flow = try TestConnection(port: server.port)
            let request = "DFLY FLOW \(replica.masterId) \(replica.session) 0\r\n"
            try flow.send(request + "REPLCONF ACK 1\r\n")
            #expect(try flow.reply() == ["-ERR invalid state"])
        }
    }

    @Test func pipelinedFlowInFront() throws {
        try withServer(source(), breaches: [.pipelinedFlow(flow: 1)]) { server in
            let replica = try TestReplica(port: server.port)
            let flow = try TestConnection(port: server.port)
            try flow.send("PING\r\nDFLY FLOW \(replica.masterId) \(replica.session) 1\r\n")
            #expect(try flow.reply() == ["PONG"])
            #expect(try flow.reply() == ["-ERR invalid state"])
        }
    }

    @Test func commandOnFlow() throws {
        let breaches: [Breach] = [
            .commandOnFlow(flow: 0, command: "PING"),
            .commandOnFlow(flow: 1, command: "REPLCONF ACK x"),
        ]
        try withServer(source(), breaches: breaches) { server in
            let replica = try TestReplica(port: server.port)
            try replica.openFlows()
            try replica.flows[0].send("PING\r\n")
            #expect(server.waitForBreaches(1, timeoutMilliseconds: 10_000))
            try replica.flows[1].send("REPLCONF ACK x\r\n")
            #expect(server.waitForBreaches(2, timeoutMilliseconds: 10_000))
        }
    }

    @Test func startStableBeforeSync() throws {
        let breach = Breach.earlyStartStable(missingFlows: [0, 1])
        try withServer(source(), breaches: [breach]) { server in
            let replica = try TestReplica(port: server.port)
            try replica.openFlows()
            #expect(
                try replica.control.command("DFLY STARTSTABLE \(replica.session)")
                    == ["-ERR invalid state"])
        }
    }

    /// One flow has its end sent, the other is held back by not being read.
    @Test func startStableBeforeEveryEnd() throws {
        var data = SyntheticData(seed: 3)
        data.flowCount = 2
        data.strings = .init(count: 64, elementBytes: 1 << 20)
        var encoding = SnapshotOptions()
        encoding.compression = .none
        let server = try SimulatorServer(source: .synthetic(data, encoding: encoding))
        try server.start()
        defer { server.stop() }
        let replica = try TestReplica(port: server.port)
        try replica.openFlows()
        _ = try replica.control.command("DFLY SYNC \(replica.session)")
        try replica.control.send("DFLY STARTSTABLE \(replica.session)\r\n")
        #expect(server.waitForBreaches(1, timeoutMilliseconds: 10_000))
        #expect(server.breaches == [.earlyStartStable(missingFlows: [0, 1])])
    }

    @Test func clientVersionWithoutSession() throws {
        try withServer(source(), breaches: [.clientVersionWithoutSession]) { server in
            let control = try TestConnection(port: server.port)
            _ = try control.command("REPLCONF CLIENT-VERSION 4")
        }
    }

    /// After the session was cancelled there is none either.
    @Test func clientVersionAfterCancel() throws {
        try withServer(source(), breaches: [.clientVersionWithoutSession]) { server in
            let replica = try TestReplica(port: server.port)
            try replica.openFlows()
            replica.flows[0].close()
            _ = try replica.flows[1].readToEnd()
            _ = try replica.control.command("REPLCONF CLIENT-VERSION 4")
        }
    }

    @Test func clientVersionTwice() throws {
        try withServer(source(), breaches: [.clientVersionTwice]) { server in
            let replica = try TestReplica(port: server.port)
            #expect(try replica.control.command("REPLCONF CLIENT-VERSION 4") == ["OK"])
        }
    }

    /// The report is JSON and holds what happened.
    @Test func reportsBreaches() throws {
        try withServer(source(), breaches: [.clientVersionTwice]) { server in
            let replica = try TestReplica(port: server.port)
            _ = try replica.control.command("REPLCONF CLIENT-VERSION 4")
            let parsed = try JSONSerialization.jsonObject(with: Data(server.report().utf8))
            let report = try #require(parsed as? [String: Any])
            #expect(report["breaches"] as? [String] == [Breach.clientVersionTwice.description])
            #expect(report["sessions"] as? Int == 1)
            #expect((report["flows"] as? [[String: Any]])?.count == 2)
        }
    }

    @Test func syncAfterPartial() throws {
        try withServer(source(), breaches: [.syncAfterPartial]) { server in
            let replica = try TestReplica(port: server.port)
            try replica.openFlows(lsns: [1, 1])
            #expect(replica.answers.map(\.first) == ["PARTIAL", "PARTIAL"])
            #expect(
                try replica.control.command("DFLY SYNC \(replica.session)")
                    == ["-ERR invalid state"])
        }
    }

    @Test func acknowledgedBeyond() throws {
        let breach = Breach.acknowledgedBeyond(flow: 1, value: 2, next: 1)
        try withServer(source(), breaches: [breach]) { server in
            let replica = try TestReplica(port: server.port)
            try replica.openFlows(lsns: [1, 1])
            _ = try replica.control.command("DFLY STARTSTABLE \(replica.session)")
            try replica.acknowledge(flow: 1, 1)
            try replica.acknowledge(flow: 1, 2)
            #expect(
                server.waitForAcknowledgement(flow: 1, atLeast: 2, timeoutMilliseconds: 10_000))
            #expect(server.acknowledgements(flow: 1) == [1, 2])
        }
    }
}

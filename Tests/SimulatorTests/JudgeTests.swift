import TestSupport
import Testing

@testable import DragonflySimulator

private func quick(_ release: EmulatedRelease = .newest, flows: Int = 2) -> EmulationOptions {
    var options = EmulationOptions(release: release, flowCount: flows)
    options.pingLimitMilliseconds = 200
    return options
}

/// A scratch replica makes one mistake at a time; the judge names it. The same steps done rightly
/// leave no breach: every other test of an emulated master checks that.
@Suite struct JudgeTests {
    private func stable(_ server: SimulatorServer) throws -> EmulatedReplica {
        let replica = try EmulatedReplica(server)
        try replica.run()
        return replica
    }

    @Test func earlyStartStable() throws {
        var options = quick()
        options.bucketPauseMicroseconds = 20_000
        options.keysPerBucket = 1
        try withMaster(options, breaches: [.earlyStartStable(missingFlows: [0, 1])]) { server in
            for number in 0..<200 { try server.execute("SET key:\(number) v") }
            let replica = try TestReplica(port: server.port)
            try replica.openFlows()
            _ = try replica.control.command("DFLY SYNC \(replica.session)")
            // The real master finishes the snapshot while everybody waits.
            #expect(try replica.control.command("DFLY STARTSTABLE \(replica.session)") == ["OK"])
            try replica.leave()
        }
    }

    @Test func acknowledgedBeyond() throws {
        try withMaster(
            quick(), breaches: [.acknowledgedBeyond(flow: 1, value: 2, next: 1)]
        ) { server in
            let replica = try stable(server)
            try replica.replica.acknowledge(flow: 1, 2)
            #expect(server.waitForBreaches(1, timeoutMilliseconds: 10_000))
            try replica.leave()
        }
    }

    /// Not beyond what the master has, but beyond what it has sent.
    @Test func acknowledgedUnsent() throws {
        try withMaster(
            quick(flows: 1), breaches: [.acknowledgedUnsent(flow: 0, value: 2, sent: 1)]
        ) { server in
            let replica = try stable(server)
            server.perform(.stall(milliseconds: 60_000), onFlow: 0)
            try server.execute("SET a b")
            try replica.replica.acknowledge(flow: 0, 2)
            #expect(server.waitForBreaches(1, timeoutMilliseconds: 10_000))
            server.perform(.stall(milliseconds: 0), onFlow: 0)
            try replica.catchUp(server)
            try replica.leave()
        }
    }

    @Test func acknowledgedBackwards() throws {
        try withMaster(
            quick(flows: 1), breaches: [.acknowledgedBackwards(flow: 0, value: 2, previous: 3)]
        ) { server in
            let replica = try stable(server)
            try server.execute("SET a b")
            try server.execute("SET a c")
            try replica.catchUp(server)
            try replica.replica.acknowledge(flow: 0, 2)
            #expect(server.waitForBreaches(1, timeoutMilliseconds: 10_000))
            try replica.leave()
        }
    }

    @Test func acknowledgedBelowStart() throws {
        try withMaster(
            quick(flows: 1), breaches: [.acknowledgedBelowStart(flow: 0, value: 1, start: 3)]
        ) { server in
            let replica = try EmulatedReplica(server)
            try replica.sync()
            try server.execute("SET a b")
            try server.execute("SET a c")
            let control = replica.replica.control
            _ = try control.command("DFLY STARTSTABLE \(replica.replica.session)")
            try replica.read(flow: 0) { $0.isStable }
            try replica.replica.acknowledge(flow: 0, 1)
            #expect(server.waitForBreaches(1, timeoutMilliseconds: 10_000))
            try replica.leave()
        }
    }

    @Test func acknowledgedBeforeStable() throws {
        try withMaster(
            quick(flows: 1), breaches: [.acknowledgedBeforeStable(flow: 0, value: 1)]
        ) { server in
            let replica = try EmulatedReplica(server)
            try replica.sync()
            try replica.replica.acknowledge(flow: 0, 1)
            #expect(server.waitForBreaches(1, timeoutMilliseconds: 10_000))
            try replica.leave()
        }
    }

    @Test func unansweredPing() throws {
        try withMaster(quick(flows: 1), breaches: [.unansweredPing(flow: 0, next: 2)]) { server in
            let replica = try stable(server)
            let other = try TestConnection(port: server.port)
            #expect(try other.command("WAIT 1 50") == ["0"])
            try replica.read(flow: 0) { $0.next == 2 }
            #expect(server.waitForBreaches(1, timeoutMilliseconds: 10_000))
            try replica.acknowledge()
            try replica.leave()
        }
    }

    /// The answer in time is no breach, and WAIT counts it.
    @Test func answeredPing() throws {
        try withMaster(quick(flows: 2)) { server in
            let replica = try stable(server)
            let other = try TestConnection(port: server.port)
            try other.send("WAIT 1 5000\r\n")
            for flow in 0..<2 { try replica.read(flow: flow) { $0.next == 2 } }
            try replica.acknowledge()
            #expect(try other.reply() == ["1"])
            try replica.leave()
        }
    }

    @Test func commandOnFlow() throws {
        try withMaster(
            quick(flows: 1), breaches: [.commandOnFlow(flow: 0, command: "PING")]
        ) { server in
            let replica = try stable(server)
            try replica.replica.flows[0].send("PING\r\n")
            #expect(server.waitForBreaches(1, timeoutMilliseconds: 10_000))
            try replica.leave()
        }
    }

    @Test func pipelinedFlow() throws {
        try withMaster(quick(), breaches: [.pipelinedFlow(flow: 1)]) { server in
            let replica = try TestReplica(port: server.port)
            let flow = try TestConnection(port: server.port)
            let request = "DFLY FLOW \(replica.masterId) \(replica.session) 1\r\n"
            try flow.send(request + "REPLCONF ACK 1\r\n")
            #expect(try flow.reply() == ["-ERR invalid state"])
        }
    }

    @Test func clientVersionWithoutSession() throws {
        try withMaster(quick(), breaches: [.clientVersionWithoutSession]) { server in
            let control = try TestConnection(port: server.port)
            _ = try control.command("REPLCONF CLIENT-VERSION 4")
        }
    }

    @Test func clientVersionTwice() throws {
        try withMaster(quick(), breaches: [.clientVersionTwice]) { server in
            let replica = try TestReplica(port: server.port)
            #expect(try replica.control.command("REPLCONF CLIENT-VERSION 4") == ["OK"])
        }
    }

    @Test(arguments: [EmulatedRelease.v1_35, .v1_40, .newest])
    func syncAfterPartial(_ release: EmulatedRelease) throws {
        try withMaster(quick(release), breaches: [.syncAfterPartial]) { server in
            let first = try stable(server)
            try first.leave()
            let second = try EmulatedReplica(server, resumingAt: first.nextLSNs)
            #expect(second.kinds == ["PARTIAL", "PARTIAL"])
            let control = second.replica.control
            #expect(
                try control.command("DFLY SYNC \(second.replica.session)")
                    == ["-ERR invalid state"])
            try second.leave()
        }
    }

    @Test func resetOfFlow() throws {
        try withMaster(quick(), breaches: [.reset(flow: 1)]) { server in
            let replica = try stable(server)
            replica.replica.flows[1].reset()
            _ = try replica.replica.flows[0].readToEnd()
            replica.replica.flows[0].close()
            replica.replica.control.close()
            #expect(server.waitUntilLeft(timeoutMilliseconds: 10_000))
        }
    }

    /// Closing with bytes unread makes the kernel send a reset.
    @Test func closedWithUnreadBytes() throws {
        try withMaster(quick(flows: 1), breaches: [.reset(flow: 0)]) { server in
            let replica = try stable(server)
            try server.execute([bytes("SET"), bytes("a"), [UInt8](repeating: 1, count: 100_000)])
            try replica.read(flow: 0) { _ in true }
            #expect(server.waitForBytes(flow: 0, atLeast: 100_000, timeoutMilliseconds: 10_000))
            replica.replica.flows[0].close()
            replica.replica.control.close()
            #expect(server.waitUntilLeft(timeoutMilliseconds: 10_000))
        }
    }

    @Test func controlClosedFirst() throws {
        try withMaster(quick(), breaches: [.controlClosedFirst(openFlows: [1])]) { server in
            let replica = try stable(server)
            replica.replica.flows[0].shutdownWriting()
            _ = try replica.replica.flows[0].readToEnd()
            replica.replica.control.close()
            #expect(server.waitForBreaches(1, timeoutMilliseconds: 10_000))
            for flow in replica.replica.flows { flow.close() }
        }
    }
}

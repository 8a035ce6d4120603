import Testing

@testable import DragonflySimulator

private func smallSource(flows: Int = 2) -> SimulatorSource {
    var data = SyntheticData(seed: 7)
    data.flowCount = flows
    data.strings.count = 50
    return .synthetic(data)
}

@Suite struct HandshakeTests {
    /// The CAPA reply is what protocol.md 2.4 shows, for a lineage master and an older one.
    @Test func answersCapabilities() throws {
        try withServer(smallSource()) { server in
            let control = try TestConnection(port: server.port)
            let reply = try control.command("REPLCONF capa dragonfly")
            #expect(reply == [server.masterId, "SYNC1", "2", "5", server.masterId])
            #expect(server.masterId.utf8.count == 40)
            // Another capitalisation is no capability.
            #expect(try control.command("REPLCONF capa DragonFly") == ["OK"])
            // Requests may be arrays of bulk strings too.
            try control.send(
                "*3\r\n$8\r\nREPLCONF\r\n$4\r\ncapa\r\n$9\r\ndragonfly\r\n")
            #expect(try control.reply()[1] == "SYNC2")
        }
    }

    /// Nothing is answered before AUTH, on control connections and flows (protocol.md 2.6).
    @Test func demandsPassword() throws {
        var options = SimulatorOptions()
        options.password = "secret"
        options.user = "replica"
        try withServer(smallSource(), options) { server in
            let control = try TestConnection(port: server.port)
            #expect(try control.command("PING") == ["-NOAUTH Authentication required."])
            let wrong = "-WRONGPASS invalid username-password pair or user is disabled."
            #expect(try control.command("AUTH replica wrong") == [wrong])
            #expect(try control.command("AUTH secret") == [wrong])
            #expect(try control.command("AUTH replica secret") == ["OK"])
            #expect(try control.command("PING") == ["PONG"])
        }
    }

    /// INFO, ROLE, CONFIG GET and CLIENT answer what a replica asks before it begins.
    @Test func answersQuestions() throws {
        try withServer(smallSource()) { server in
            let replica = try TestReplica(port: server.port)
            let server = try replica.control.command("INFO server")[0]
            #expect(server.contains("dragonfly_version:df-v1.40"))
            #expect(try replica.control.command("INFO keyspace")[0].contains("db0:keys=50,"))
            let role = try replica.control.command("ROLE")
            #expect(role == ["master", "10.1.2.3", "16379", "preparation"])
            let setting = try replica.control.command("CONFIG GET replication_timeout")
            #expect(setting == ["replication_timeout", "30000"])
            #expect(try replica.control.command("CLIENT SETNAME x") == ["OK"])
            #expect(try replica.control.command("GET x") == ["-ERR unknown command `GET`"])
        }
    }

    /// Each refusal of protocol.md 2.6 has its text.
    @Test func refusesFlows() throws {
        try withServer(smallSource()) { server in
            let replica = try TestReplica(port: server.port)
            let (id, session) = (replica.masterId, replica.session)
            let flow = try TestConnection(port: server.port)
            let cases = [
                ("DFLY FLOW \(String(repeating: "0", count: 40)) \(session) 0", "bad master id"),
                ("DFLY FLOW \(id) SINK1 0", "bad sync id"),
                ("DFLY FLOW \(id) SYNC99 0", "syncid not found"),
                ("DFLY FLOW \(id) \(session) 2", "value is not an integer or out of range"),
                ("DFLY FLOW \(id) \(session) x", "value is not an integer or out of range"),
                ("DFLY FLOW \(id) \(session) 0 x", "value is not an integer or out of range"),
                ("DFLY FLOW \(id) \(session) 0 \(id) 1-2-3", "syntax error"),
                ("DFLY FLOW \(id) \(session)", "syntax error"),
                ("DFLY SYNC \(session)", "invalid state"),
                ("DFLY SYNC x", "bad sync id"),
                ("DFLY STARTSTABLE SYNC99", "syncid not found"),
                ("REPLCONF listening-port", "syntax error"),
                ("REPLCONF listening-port x", "value is not an integer or out of range"),
            ]
            for (command, text) in cases {
                #expect(try flow.command(command) == ["-ERR \(text)"], "\(command)")
            }
            // The two-argument form of an unknown last master is FULL.
            #expect(
                try flow.command("DFLY FLOW \(id) \(session) 0 \(id) 1-2").first == "FULL")
            // The flow is taken now.
            let second = try TestConnection(port: server.port)
            #expect(
                try second.command("DFLY FLOW \(id) \(session) 0") == ["-ERR invalid state"])
        }
    }

    /// Closing a flow cancels the session: the other flows end, the id is unknown, control lives
    /// (protocol.md 2.7).
    @Test func closingAFlowCancelsTheSession() throws {
        try withServer(smallSource()) { server in
            let replica = try TestReplica(port: server.port)
            try replica.openFlows()
            replica.flows[0].close()
            #expect(try replica.flows[1].readToEnd() == [])
            #expect(
                try replica.control.command("DFLY SYNC \(replica.session)")
                    == ["-ERR syncid not found"])
            #expect(try replica.control.command("REPLCONF capa dragonfly")[1] == "SYNC2")
        }
    }

    /// Closing control ends the flows of a running session, not those of one in preparation
    /// (protocol.md 2.7).
    @Test func closingControlEndsTheFlows() throws {
        let breach = Breach.controlClosedFirst(openFlows: [0, 1])
        try withServer(smallSource(), breaches: [breach, breach]) { server in
            let waiting = try TestReplica(port: server.port)
            try waiting.openFlows()
            let running = try TestReplica(port: server.port)
            try running.openFlows()
            _ = try running.control.command("DFLY SYNC \(running.session)")
            waiting.control.close()
            running.control.close()
            for flow in running.flows { _ = try flow.readToEnd() }
            // The other session's flows are still there: an outsider can start it.
            let control = try TestConnection(port: server.port)
            #expect(try control.command("DFLY SYNC \(waiting.session)") == ["OK"])
            #expect(try waiting.flows[0].read(9) == Array("REDIS0009".utf8))
            for flow in waiting.flows {
                flow.shutdownWriting()
                _ = try flow.readToEnd()
            }
        }
    }

    /// A reset is told from an orderly close.
    @Test func countsResets() throws {
        try withServer(smallSource(), breaches: [.reset(flow: 0)]) { server in
            let orderly = try TestReplica(port: server.port)
            try orderly.openFlows()
            orderly.flows[0].close()
            _ = try orderly.flows[1].readToEnd()
            #expect(server.resetCount == 0)
            let rude = try TestReplica(port: server.port)
            try rude.openFlows()
            rude.flows[0].reset()
            _ = try rude.flows[1].readToEnd()
            #expect(server.resetCount == 1)
            orderly.flows[1].close()
            rude.flows[1].close()
        }
    }

    /// `stop` returns with clients connected in every state, and `dropConnections` ends them while
    /// the server goes on.
    @Test func dropsAndStops() throws {
        try withServer(smallSource()) { server in
            let replica = try TestReplica(port: server.port)
            try replica.openFlows()
            _ = try replica.control.command("DFLY SYNC \(replica.session)")
            server.dropConnections()
            #expect(try replica.control.readToEnd() == [])
            #expect(server.waitUntilLeft(timeoutMilliseconds: 10_000))
            let next = try TestReplica(port: server.port)
            try next.openFlows()
            #expect(next.session == "SYNC2")
        }
    }
}

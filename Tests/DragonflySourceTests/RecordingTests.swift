import Bytes
import DragonflySource
import Foundation
import Testing

/// Promise: what real masters answered (Tests/Recordings) leads to stable sync, with the commands
/// and flow parameters that the recording replica used.
@Suite struct RecordingTests {
    struct Manifest: Decodable {
        struct Flow: Decodable {
            let id: Int
            let sync_type: String
            let eof_token: String
        }
        struct Exchange: Decodable {
            let conn: String
            let send: [String]
            let reply: Reply
        }
        let server: [String]
        let flows: [Flow]
        let master_id: String
        let sync_id: String
        let protocol_version: Int
        let handshake: [Exchange]
    }

    /// A reply as the recordings note it: simple strings, integers and arrays of them.
    enum Reply: Decodable {
        case text(String)
        case integer(Int)
        case array([Reply])

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let value = try? container.decode(Int.self) {
                self = .integer(value)
            } else if let value = try? container.decode(String.self) {
                self = .text(value)
            } else {
                self = .array(try container.decode([Reply].self))
            }
        }

        var wire: String {
            switch self {
            case .text(let text): "+\(text)\r\n"
            case .integer(let value): ":\(value)\r\n"
            case .array(let elements):
                "*\(elements.count)\r\n" + elements.map(\.wire).joined()
            }
        }
    }

    private static let folder = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("Recordings")

    private static var names: [String] {
        get throws {
            try FileManager.default.contentsOfDirectory(atPath: folder.path)
                .filter {
                    FileManager.default.fileExists(
                        atPath: folder.appendingPathComponent($0 + "/manifest.json").path)
                }
                .sorted()
        }
    }

    @Test func recordedHandshakesLeadToStableSync() throws {
        let names = try Self.names
        #expect(names.count >= 12)
        for name in names {
            let url = Self.folder.appendingPathComponent(name + "/manifest.json")
            let manifest = try JSONDecoder().decode(Manifest.self, from: Data(contentsOf: url))
            try replay(manifest, name)
        }
    }

    private func replay(_ manifest: Manifest, _ name: String) throws {
        let recorded = manifest.handshake.filter { $0.conn == "control" }
        let flowExchanges = manifest.handshake.filter { $0.conn.hasPrefix("flow-") }
        let lsns = flowExchanges.compactMap { $0.send.count > 5 ? UInt64($0.send[5]) : nil }
        let control = try ControlDriver(
            ControlSettings(
                listeningPort: 16379, clientID: "df2redis-capture",
                position: lsns.isEmpty
                    ? nil : ResumePosition(replicationID: manifest.master_id, lsns: lsns)))
        let info = "# Server\r\n" + manifest.server.map { $0 + "\r\n" }.joined()
        // Answers like the recorded master: by the command, which must be a recorded one.
        func answer() throws -> [ControlAction] {
            let command = try #require(control.sent.last)
            if command[0] == "INFO" {
                return control.receive("$\(info.utf8.count)\r\n\(info)\r\n")
            }
            let exchange = try #require(
                recorded.first { $0.send == command }, "\(name) has no \(command)")
            return control.receive(exchange.reply.wire)
        }

        _ = control.connect()
        var opened: [FlowSettings] = []
        for _ in 0..<20 where opened.isEmpty {
            for case .openFlows(let flows) in try answer() { opened = flows }
            try #require(control.session.phase != .closed, "\(name)")
        }
        #expect(control.session.replicationID == manifest.master_id)
        #expect(control.session.sessionID == manifest.sync_id)
        #expect(control.session.protocolVersion == manifest.protocol_version)
        #expect(control.session.release != nil)
        #expect(opened.count == manifest.flows.count)
        #expect(opened.compactMap(\.resumeLSN) == lsns)

        for (settings, exchange) in zip(opened, flowExchanges) {
            let flow = try FlowDriver(settings)
            _ = flow.connect()
            #expect(flow.sent == [exchange.send])
            let action = flow.receive(exchange.reply.wire).action
            let isFull = manifest.flows[settings.index].sync_type == "FULL"
            #expect(action == .ready(isFull ? .full : .partial))
            _ = control.flowReady(settings.index, isFull ? .full : .partial)
            guard isFull else { continue }
            _ = flow.session.fullSyncEnd()
            _ = flow.session.journalOffset(1)
            _ = flow.session.snapshotEnd()
            #expect(
                flow.receive(manifest.flows[settings.index].eof_token).action
                    == .journalBegins(next: 1))
        }
        if lsns.isEmpty {
            #expect(try answer() == [.startedFullSync])
            for index in opened.indices { _ = control.flowEndedFullSync(index) }
        }
        #expect(try answer() == [.enteredStable])
        // The recorded order, and INFO as the only addition.
        #expect(control.sent.filter { $0[0] != "INFO" } == recorded.map(\.send), "\(name)")
    }
}

import Bytes
import CPlatform
import Glibc

/// Faults: from the options, or asked for while the simulator runs.
extension Master {
    /// Makes a fault happen on one connection.
    func perform(_ fault: Fault, on connection: Int) {
        state.update { $0.faults.append(fault) }
        switch fault.action {
        case .stall(let milliseconds): stall(connection: connection, milliseconds: milliseconds)
        case .cut: cut(connection: connection)
        case .halfOpen: state.update { _ = $0.frozen.insert(connection) }
        case .reset: reset(connection: connection)
        case .restart(let flowCount): runLater { $0.restart(flowCount: flowCount) }
        case .flushAll:
            runLater { content in _ = try? content.execute([Array("FLUSHALL".utf8)], database: 0) }
        }
    }

    /// On a thread of its own: the caller may be one that the action waits for.
    private func runLater(_ body: @escaping @Sendable (EmulatedContent) -> Void) {
        guard let content = content as? EmulatedContent else { return }
        do {
            try runThread(named: "sim-fault") { body(content) }
        } catch {
            record(.masterFailed("no thread for a fault: \(error)"))
        }
    }

    private func stall(connection: Int, milliseconds: Int) {
        let limit = deadline(afterMilliseconds: milliseconds)
        state.update { state in
            for (number, session) in state.sessions {
                for (index, flow) in session.flows.enumerated()
                where flow?.connection == connection {
                    state.sessions[number]?.flows[index]?.stalledUntil = limit
                }
                if session.control == connection { state.stalledControls[connection] = limit }
            }
        }
    }

    private func cut(connection: Int) {
        state.update { state in
            state.broken.insert(connection)
            state.shutDown(connection: connection)
        }
    }

    private func reset(connection: Int) {
        state.update { state in
            state.broken.insert(connection)
            if let descriptor = state.descriptors[connection] { SocketEnd.reset(descriptor) }
        }
    }

    /// The connection of a flow of the newest session.
    func connection(flow: Int) -> Int? {
        state.read { state in
            guard let session = state.newest, flow < session.flows.count else { return nil }
            return session.flows[flow]?.connection
        }
    }
}

/// Something that goes wrong on the master's side, on demand. Each happens once.
public struct Fault: Sendable, Equatable {
    /// What happens.
    public enum Action: Sendable, Equatable {
        /// The connection rests this long.
        case stall(milliseconds: Int)
        /// The connection ends, orderly.
        case cut
        /// The master neither reads nor writes any more, and keeps the socket.
        case halfOpen
        /// The connection ends with a reset (RST).
        case reset
        /// The process restarts: another id, LSNs from 1, as many shards as before or another
        /// number. Of an emulated master only.
        case restart(flowCount: Int?)
        /// FLUSHALL is executed. Of an emulated master only.
        case flushAll
    }

    /// When it happens: after this many bytes of the stream of a flow, or of the replies on a
    /// control connection.
    public enum Place: Sendable, Equatable {
        case flow(Int, byte: Int)
        case control(byte: Int)
    }

    public var action: Action
    public var place: Place
    /// The number of the session in which it happens, from 1.
    public var session: Int

    public init(_ action: Action, at place: Place, session: Int = 1) {
        self.action = action
        self.place = place
        self.session = session
    }

    /// One fault for each session from 1 to `sessions`, the same for the same seed: a stall, cut,
    /// half-open connection or reset somewhere in the first `byteLimit` bytes of a flow, seldom of
    /// the control connection.
    public static func random(
        seed: UInt64, sessions: Int, flowCount: Int, byteLimit: Int
    ) -> [Fault] {
        var random = SplitMix(seed: seed)
        func below(_ limit: Int) -> Int { Int(random.next() % UInt64(max(limit, 1))) }
        return (0..<sessions).map { number in
            let actions: [Action] = [
                .stall(milliseconds: 20 + below(200)), .cut, .halfOpen, .reset,
            ]
            let action = actions[below(actions.count)]
            let place: Place =
                below(6) == 0
                ? .control(byte: 120 + below(60)) : .flow(below(flowCount), byte: below(byteLimit))
            return Fault(action, at: place, session: number + 1)
        }
    }
}

/// A user of a simulated master (protocol.md 2.6).
public struct SimulatorUser: Sendable, Equatable {
    public var name: String
    public var password: String
    /// Upper-case names of commands that are refused with NOPERM.
    public var deniedCommands: Set<String>

    public init(name: String, password: String, deniedCommands: Set<String> = []) {
        self.name = name
        self.password = password
        self.deniedCommands = deniedCommands
    }
}

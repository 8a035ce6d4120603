internal import Bytes

/// The commands of the control connection and what their answers mean (protocol.md 2.3, 2.4, 2.6).
extension ControlSession {
    func arguments(of request: Request) -> [String] {
        switch request {
        case .login: settings.credentials?.command ?? ["AUTH"]
        case .ping, .keepalive: ["PING"]
        case .info: ["INFO", "server"]
        case .listeningPort: ["REPLCONF", "listening-port", "\(settings.listeningPort)"]
        case .address: ["REPLCONF", "ip-address", settings.address ?? ""]
        case .capabilities: ["REPLCONF", "capa", "eof", "capa", "psync2"]
        case .dragonfly: ["REPLCONF", "capa", "dragonfly"]
        case .clientID: ["REPLCONF", "CLIENT-ID", settings.clientID]
        // 4 is VER4 up to v1.21 and VER5 after: LSN markers, and no search index payloads
        // (protocol.md 1.3).
        case .clientVersion: ["REPLCONF", "CLIENT-VERSION", "4"]
        case .sync: ["DFLY", "SYNC", sessionID]
        case .startStable: ["DFLY", "STARTSTABLE", sessionID]
        }
    }

    /// For messages: never an argument that is the user's.
    func name(of request: Request) -> String {
        switch request {
        case .login: "AUTH"
        case .listeningPort: "REPLCONF listening-port"
        case .address: "REPLCONF ip-address"
        case .clientID: "REPLCONF CLIENT-ID"
        default: arguments(of: request).joined(separator: " ")
        }
    }

    func limit(of request: Request) -> Int64 {
        switch request {
        case .sync, .startStable: SessionTiming.transitionLimit
        default: SessionTiming.answerLimit
        }
    }

    /// The command of the handshake that comes after `request`, nil after the last one.
    private func successor(of request: Request) -> Request? {
        switch request {
        case .login: .ping
        case .ping: .info
        case .info: .listeningPort
        case .listeningPort: settings.address == nil ? .capabilities : .address
        case .address: .capabilities
        case .capabilities: .dragonfly
        case .dragonfly: .clientID
        case .clientID: acknowledges ? .clientVersion : nil
        case .clientVersion, .keepalive, .sync, .startStable: nil
        }
    }

    mutating func answered(
        _ request: Request, _ reply: HandshakeReply, now: Int64, output: inout MirroredRing
    ) -> ControlAction {
        if case .error(let text) = reply {
            if let error = failure(of: request, text) { return end(error) }
        } else if let error = adopt(request, reply) {
            return end(error)
        }
        switch request {
        case .sync:
            // The flows may have ended their snapshots before this answer came.
            let action = proceed(now: now, output: &output)
            if case .none = action { return .startedFullSync }
            return action
        case .startStable:
            phase = .stable
            return .enteredStable
        case .keepalive:
            return proceed(now: now, output: &output)
        default:
            if let next = successor(of: request) {
                return send(next, now: now, output: &output)
            }
            return openFlows()
        }
    }

    /// What an error reply means; nil if the session goes on without that answer.
    private mutating func failure(of request: Request, _ text: ByteView) -> SourceError? {
        let error = SourceError(
            reply: text, to: name(of: request), credentials: settings.credentials)
        switch request {
        case .address:
            // Unknown before v1.21.
            return nil
        case .info where error.kind == .refused || error.kind == .restart,
            .clientID where error.kind == .refused || error.kind == .restart:
            warnings.append("\(name(of: request)) was refused: \(text.printable())")
            return nil
        default:
            return error
        }
    }

    /// Takes in a reply that is no error.
    private mutating func adopt(_ request: Request, _ reply: HandshakeReply) -> SourceError? {
        switch (request, reply) {
        case (.info, .bulk(let info)):
            if let text = SourceRelease.text(inInfo: info) {
                releaseText = text.printable(limit: 64)
                release = SourceRelease(text)
            }
            return nil
        case (.info, _), (.address, _), (.clientID, _):
            return nil
        case (.dragonfly, .array(let elements)):
            return adoptSession(elements)
        case (.dragonfly, .simple(let text)) where text.equals(ByteView("OK")):
            return SourceError(
                .refused,
                "the source is no Dragonfly: it answered REPLCONF capa dragonfly with +OK, as "
                    + "Redis and Valkey do; replicate from those with their own REPLICAOF")
        case (.ping, .simple(let text)), (.keepalive, .simple(let text)):
            if text.equals(ByteView("PONG")) { return nil }
        case (_, .simple(let text)) where request != .dragonfly:
            if text.equals(ByteView("OK")) { return nil }
        default:
            break
        }
        // The answer to AUTH could repeat the password.
        let shown = request == .login ? "something other than +OK" : reply.summary
        return unexpected("\(shown) as the answer to \(name(of: request))")
    }

    /// The session that `REPLCONF capa dragonfly` made (protocol.md 2.4): replication id, session
    /// id, flows, and from v1.4 on the version. Further elements are ignored.
    private mutating func adoptSession(_ elements: [HandshakeReply]) -> SourceError? {
        guard elements.count >= 3,
            case .simple(let replication) = elements[0], replication.isReplicationID,
            case .simple(let session) = elements[1], session.isSessionID,
            case .integer(let count) = elements[2], count >= 1, count <= 1024
        else {
            return unexpected(
                "a session that is none as the answer to REPLCONF capa dragonfly: ["
                    + elements.prefix(5).map(\.summary).joined(separator: ", ") + "]")
        }
        if elements.count >= 4 {
            guard case .integer(let version) = elements[3], version >= 0, version <= 1000 else {
                return unexpected("\(elements[3].summary) as its protocol version")
            }
            protocolVersion = Int(version)
            acknowledges = true
        }
        replicationID = replication.printable()
        sessionID = session.printable()
        flowCount = Int(count)
        return nil
    }

    private mutating func openFlows() -> ControlAction {
        resumeObstacle = settings.position.flatMap { obstacle(to: $0) }
        let lsns = resumeObstacle == nil ? settings.position?.lsns : nil
        asksForLSNs = lsns != nil
        flows = Array(repeating: FlowState(), count: flowCount)
        phase = .openingFlows
        return .openFlows(
            (0..<flowCount).map { index in
                FlowSettings(
                    index: index, replicationID: replicationID, sessionID: sessionID,
                    resumeLSN: lsns?[index],
                    partialSync: release?.partialSync ?? .unsupported,
                    acknowledges: acknowledges, credentials: settings.credentials)
            })
    }

    private func obstacle(to position: ResumePosition) -> ResumeObstacle? {
        guard let release else { return .unknownRelease }
        if release.partialSync == .unsupported { return .unsupportedRelease }
        if position.replicationID != replicationID { return .otherSource }
        if position.lsns.count != flowCount { return .otherFlowCount }
        let valid = 1...UInt64(Int64.max)
        return position.lsns.allSatisfy { valid.contains($0) } ? nil : .invalidPosition
    }
}

extension ByteView {
    /// 40 hexadecimal digits.
    fileprivate var isReplicationID: Bool {
        count == 40
            && (0..<count).allSatisfy { index in
                let digit = asciiUppercased(self[index])
                return digit &- UInt8(ascii: "0") <= 9 || digit &- UInt8(ascii: "A") <= 5
            }
    }

    /// `SYNC` and a number.
    fileprivate var isSessionID: Bool {
        guard starts(with: ByteView("SYNC")), let number = dropFirst(4).parseInteger() else {
            return false
        }
        return number >= 0
    }
}

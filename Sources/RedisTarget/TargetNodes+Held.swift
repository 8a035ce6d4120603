import Bytes
import Reactor
import Wire

/// Commands that a node did not carry out, or that nobody will answer: they are held, and sent again
/// where and when they may go.
extension TargetNodes {
    // MARK: Replies

    /// Looks at a reply of a cluster's node before it is settled.
    public func judge(_ reply: TargetReply, _ node: TargetNode) -> Verdict {
        let command = reply.command
        guard mayMove, command.kind.settlesKeys else { return .settle }
        let connection = node.connection
        var resent: Int?
        if let resend = node.resends.first, resend.number == connection.commandsAnswered - 1 {
            node.resends.removeFirst()
            resent = resend.held
        }
        if reply.reply.hasError || reply.recordFailed,
            let redirection = ClusterRedirection(connection.errorText),
            redirect(reply, redirection, resent, node)
        {
            return .held
        }
        if !reply.reply.hasError, !command.kind.isOfShadow { node.noteWritten(command) }
        if let resent {
            remove(resent)
        } else if !held.isEmpty, !reply.reply.hasError {
            lookForOvertaken(command, connection)
        }
        return .settle
    }

    /// True if the command is held.
    private func redirect(
        _ reply: TargetReply, _ redirection: ClusterRedirection, _ resent: Int?,
        _ node: TargetNode
    ) -> Bool {
        var notBefore = reactor.now
        var askedNode: Int?
        switch redirection {
        case .crossSlot:
            return false
        case .moved(let slot, let host, let port):
            isTopologyWanted = true
            if let owner = find(host, port, node), owner.state == .ready {
                own(Int(slot), owner)
            } else {
                notBefore += TargetNodes.shortRetryNanoseconds
            }
        case .ask(_, let host, let port):
            if let owner = find(host, port, node), owner.state == .ready {
                askedNode = owner.index
            } else {
                isTopologyWanted = true
                notBefore += TargetNodes.shortRetryNanoseconds
            }
        case .tryAgain:
            notBefore += TargetNodes.shortRetryNanoseconds
        case .clusterDown, .loading, .readOnly, .masterDown:
            isTopologyWanted = true
            notBefore += TargetNodes.shortRetryNanoseconds
        }
        if let resent {
            let isHopeless =
                redirection == .tryAgain
                && reactor.now - held[resent].heldSince > TargetNodes.tryAgainNanoseconds
            guard !isHopeless else { return false }
            held[resent].isSent = false
            held[resent].notBefore = notBefore
            held[resent].askedNode = askedNode
            return true
        }
        guard let encoded = node.connection.encoded(reply.command), let key = encoded.key,
            encoded.bytes.count <= HeldCommands.commandBytesLimit
        else { return false }
        let slot = slot(of: key)
        drain(slot, node)
        hold(
            reply.command, encoded.bytes, slot: slot, until: notBefore, askedNode: askedNode)
        return true
    }

    private func hold(
        _ command: CommandInFlight, _ bytes: ByteView, slot: Int, until: Int64,
        askedNode: Int? = nil
    ) {
        held.add(
            command, bytes, slot: slot, now: reactor.now, notBefore: until, askedNode: askedNode)
        routes[slot] = -1
    }

    private func remove(_ index: Int) {
        let slot = held[index].slot
        held.remove(index)
        reroute(slot)
    }

    // A later command of a key was carried out where an earlier one was refused.
    private func lookForOvertaken(_ command: CommandInFlight, _ connection: TargetConnection) {
        guard let encoded = connection.encoded(command), let key = encoded.key else { return }
        let slot = slot(of: key)
        held.forEach(slot: slot) { entry in
            entry.bytes.withByteView { bytes in
                let earlier = EncodedCommand(bytes, database: Int(entry.command.database))
                guard earlier.sharesKey(with: encoded) else { return }
                for each in [earlier, encoded] {
                    each.forEachKey { database, key in
                        doubts.append(
                            Doubt(
                                database: database, key: key.array(), flow: Int(command.flow),
                                slot: slot, isShadow: command.kind.isOfShadow))
                    }
                }
            }
        }
    }

    /// The keys whose order was upset since the last call.
    public func takeDoubts() -> [Doubt] {
        defer { doubts.removeAll() }
        return doubts
    }

    // MARK: Sent again

    func resend() throws(DecodeError) {
        if let since = held.oldestSince, reactor.now - since > TargetNodes.outageNanoseconds {
            problem = outage()
            return
        }
        for index in held.next() {
            let entry = held[index]
            guard entry.notBefore <= reactor.now else { continue }
            var place = Int(owners[entry.slot])
            // One that is gone since has nothing to be asked.
            if let asked = entry.askedNode, nodes[asked].state == .ready { place = asked }
            guard place >= 0, nodes[place].state == .ready else { continue }
            let node = nodes[place]
            if try resend(entry, index, node, isAsking: place == entry.askedNode) {
                held[index].isSent = true
                held[index].askedNode = nil
            }
        }
    }

    private func resend(
        _ entry: HeldCommands.Entry, _ index: Int, _ node: TargetNode, isAsking: Bool
    ) throws(DecodeError) -> Bool {
        let connection = node.connection
        let command = entry.command
        // A transaction would take it for its own.
        guard !connection.isClaimed,
            try connection.begin(
                flow: Int(command.flow), database: Int(command.database),
                bytes: entry.bytes.count + TargetConnection.argumentBytes(8), commands: 2,
                demand: .nothing)
        else { return false }
        if isAsking {
            connection.sendAhead("*1\r\n$6\r\nASKING\r\n", .asking)
        }
        node.resends.append(TargetNode.Resend(number: connection.commandsSent, held: index))
        entry.bytes.withByteView { connection.raw($0) }
        connection.end(
            command.kind, type: command.type, flow: Int(command.flow),
            database: Int(command.database), nextLSN: command.nextLSN)
        return true
    }

    func outage() -> String {
        let lost = masters.filter { $0.state != .ready }
        let seconds = TargetNodes.outageNanoseconds / 1_000_000_000
        guard let node = lost.first else {
            return
                "the target's cluster has refused commands for \(seconds) s; see its log"
                + (resolveFailure.map { " (\($0))" } ?? "")
        }
        return "the target's master \(node.name) has been away for \(seconds) s "
            + "(\(node.lossReason)), and no replica has taken over: see to the cluster and run again"
    }

    // MARK: Lost connections

    /// A connection is lost. Commands that may be sent again without harm are held; `body` gets the
    /// others, oldest first.
    public func lose(_ node: TargetNode, _ reason: String, _ body: (Loss) -> Void) {
        guard node.state != .lost else { return }
        let connection = node.connection
        let wasReady = node.state == .ready
        node.state = .lost
        node.lossReason = reason
        if node.lostSince == nil { node.lostSince = reactor.now }
        node.retryAt = reactor.now + TargetNodes.retryNanoseconds
        isTopologyWanted = true
        reactor.close(connection.socket)
        connection.pace.end()
        node.bytesSentBefore += connection.bytesSent
        node.commandsSentBefore += connection.commandsSent
        // What a single server has not answered stays under way.
        if wasReady, mayMove { letGo(of: node, body) }
        // The end of the turn would send it, and what is held goes out again.
        connection.dropUnsent()
        node.recent.loseQuestion()
        for drain in node.drains { drainsOpen[drain.slot] -= 1 }
        node.drains.removeAll(keepingCapacity: true)
        node.resends.removeAll(keepingCapacity: true)
        reroute()
    }

    private func letGo(of node: TargetNode, _ body: (Loss) -> Void) {
        let connection = node.connection
        var number = connection.commandsAnswered
        var resend = 0
        var groupKey = connection.groupKey.view
        connection.forEachUnanswered { command, bytes, maySent in
            defer { number += 1 }
            let encoded = EncodedCommand(
                bytes ?? ByteView(), database: Int(command.database))
            if command.kind == .part, groupKey.isEmpty, let key = encoded.key { groupKey = key }
            let isSafe =
                !encoded.bytes.isEmpty
                && (!maySent || command.kind == .expiry || command.kind == .element
                    || encoded.isIdempotent && command.kind != .guardedEntry)
            if resend < node.resends.count, node.resends[resend].number == number {
                let index = node.resends[resend].held
                resend += 1
                if isSafe {
                    held[index].isSent = false
                } else {
                    remove(index)
                    body(Loss(command: command, encoded: encoded, groupKey: ByteView()))
                }
                return
            }
            guard command.kind.isAwaited else { return }
            if isSafe, command.kind.settlesKeys, let key = encoded.key,
                encoded.bytes.count <= HeldCommands.commandBytesLimit
            {
                hold(command, encoded.bytes, slot: slot(of: key), until: reactor.now)
            } else {
                body(Loss(command: command, encoded: encoded, groupKey: groupKey))
            }
            groupKey = ByteView()
        }
    }
}

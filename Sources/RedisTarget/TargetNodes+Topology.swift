public import Bytes
public import CPlatform
import Reactor
import Wire

/// Who has which slots, and who takes over.
extension TargetNodes {
    /// Asks a node what it knows of the cluster, if that may have changed.
    func askTopology() {
        let sinceAsked = reactor.now - askedAt
        if askedNode >= 0 {
            // One that hangs, or was lost, is asked no more.
            guard
                nodes[askedNode].state != .ready || sinceAsked > TargetNodes.silenceNanoseconds
            else { return }
            isTopologyWanted = true
        }
        guard isTopologyWanted || !isReady, sinceAsked > TargetNodes.questionNanoseconds else {
            return
        }
        // One without slots may be new, or was removed: it may know little.
        let hasMaster = masters.contains {
            $0.state == .ready && $0.connection.silence() <= TargetNodes.silenceNanoseconds
        }
        for offset in 1...nodes.count {
            let index = (lastAsked + offset) % nodes.count
            guard nodes[index].state == .ready, nodes[index].ownsSlots || !hasMaster,
                nodes[index].connection.ask("CLUSTER", "NODES", .topology)
            else { continue }
            askedNode = index
            lastAsked = index
            askedAt = reactor.now
            isTopologyWanted = false
            return
        }
    }

    /// Takes the answer.
    public func receiveTopology(_ reply: TargetReply, _ node: TargetNode) {
        if askedNode == node.index { askedNode = -1 }
        guard !reply.reply.hasError else {
            problem =
                "the target's node \(node.name) does not tell its cluster: "
                + "\(node.connection.errorText.printable()); allow +cluster to this user"
            return
        }
        guard let topology = ClusterNodes(reply.reply.content) else {
            problem =
                "the target's node \(node.name) answered CLUSTER NODES with what cannot be read, or "
                + "is longer than 256 KiB"
            return
        }
        take(topology, node)
    }

    private func take(_ topology: ClusterNodes, _ asked: TargetNode) {
        if let myself = topology.nodes.first(where: \.isMyself) { asked.id = myself.id }
        // A node that was removed knows of no slots.
        guard !topology.masters.isEmpty else {
            isTopologyWanted = true
            return
        }
        masterCount = topology.masters.count
        for node in nodes { node.isMaster = false }
        // Those without slots, too: one may be about to get its first.
        for master in topology.nodes where master.isMaster && master.port != 0 {
            guard let node = known(master, asked) else { continue }
            node.isMaster = !master.isFailed
            for range in master.slots {
                for slot in range where Int(owners[Int(slot)]) != node.index {
                    own(Int(slot), node)
                }
            }
            if !master.slots.isEmpty, !master.isFailed { mastersOfReplicas[master.id] = nil }
        }
        // Whoever was asked may not know all of them yet.
        var ownsSlots = [Bool](repeating: false, count: nodes.count)
        for owner in owners where owner >= 0 { ownsSlots[Int(owner)] = true }
        for node in nodes { node.ownsSlots = ownsSlots[node.index] }
        // All that are known have their ids by now.
        for node in nodes {
            node.replicaCount = topology.nodes.count {
                $0.masterID == node.id && !$0.isFailed && !node.id.isEmpty
            }
        }
        for each in topology.nodes {
            if !each.masterID.isEmpty { mastersOfReplicas[each.id] = each.masterID }
            guard each.isFailed, let node = nodes.first(where: { $0.id == each.id }),
                node.state == .ready
            else { continue }
            condemned.append((node, "its cluster gave it up"))
        }
        reroute()
        if topology.slotsUncovered > 0 { isTopologyWanted = true }
    }

    /// The node that the cluster tells of, connected to if it was not known.
    private func known(_ told: ClusterNode, _ asked: TargetNode) -> TargetNode? {
        let place = settings.addressing.place(
            host: told.host, hostname: told.hostname, port: told.port, askedHost: asked.host)
        if let node = nodes.first(where: { $0.id == told.id }) {
            if !told.isMyself { note(told, of: node, place) }
            return node
        }
        if let node = nodes.first(where: { $0.host == place.host && $0.port == place.port }) {
            node.id = told.id
            node.announced = told
            return node
        }
        guard !told.isFailed, let address = resolve(place) else { return nil }
        guard nodes.count < TargetNodes.nodesLimit else {
            problem = "the target's cluster has had more than \(TargetNodes.nodesLimit) masters"
            return nil
        }
        do throws(SystemError) {
            let node = try open(host: place.host, port: place.port, address: address)
            node.id = told.id
            node.announced = told
            return node
        } catch {
            problem = "cannot connect to the target's node \(place.host):\(place.port): \(error)"
            return nil
        }
    }

    /// Takes what others tell of a node, which may have another address by now.
    private func note(
        _ told: ClusterNode, of node: TargetNode, _ place: (host: String, port: UInt16)
    ) {
        var isChanged = false
        if let before = node.announced {
            isChanged = before.host != told.host || before.port != told.port
            // Who has not heard its host name yet tells of it without.
            if !isChanged, told.hostname.isEmpty, !before.hostname.isEmpty { return }
            isChanged = isChanged || before.hostname != told.hostname
        }
        node.announced = told
        // A seed may be called otherwise than it is announced: that is no change.
        guard isChanged || node.state == .lost,
            node.host != place.host || node.port != place.port, let address = resolve(place)
        else { return }
        var (before, now) = (node.address, address)
        let isElsewhere = cp_same_address(&before, &now) == 0
        (node.host, node.port, node.address) = (place.host, place.port, address)
        guard isElsewhere, node.state == .ready else { return }
        condemned.append((node, "its address has changed"))
    }

    private func resolve(_ place: (host: String, port: UInt16)) -> cp_address? {
        var address = cp_address()
        let result = place.host.withCString { cp_resolve($0, place.port, &address) }
        guard result == 0 else {
            resolveFailure =
                "cannot find \(place.host), which a node announces: "
                + "\(String(cString: cp_resolve_message(result))); see target.cluster.addressMap"
            isTopologyWanted = true
            return nil
        }
        return address
    }

    func find(_ host: ByteView, _ port: UInt16, _ asked: TargetNode) -> TargetNode? {
        let text = String(decoding: host.array(), as: UTF8.self)
        if let node = nodes.last(where: { $0.isAnnounced(as: text, port) }) { return node }
        let place = settings.addressing.place(
            host: text, hostname: "", port: port, askedHost: asked.host)
        return nodes.first { $0.host == place.host && $0.port == place.port }
    }

    func own(_ slot: Int, _ node: TargetNode) {
        let old = owners[slot]
        guard Int(old) != node.index else { return }
        owners[slot] = Int16(node.index)
        // Nobody has missed it so far.
        if !node.ownsSlots, node.lostSince != nil { node.lostSince = reactor.now }
        node.ownsSlots = true
        // A master that is followed has a replica.
        if !isCluster { node.replicaCount = max(node.replicaCount, 1) }
        if old >= 0 {
            let before = nodes[Int(old)]
            slotsMoved += 1
            drain(slot, before)
            if !before.id.isEmpty, mastersOfReplicas[node.id] == before.id {
                before.successor = node.index
                failOver(before)
            }
        }
        reroute(slot)
    }

    /// Another server has become the target's master.
    /// - Throws: if no connection can be made.
    public func follow(
        host: String, port: UInt16, address: cp_address
    ) throws(SystemError) {
        guard mayMove, !isCluster, owners[0] >= 0 else { return }
        let before = nodes[Int(owners[0])]
        guard before.host != host || before.port != port else { return }
        let known = nodes.first { $0.host == host && $0.port == port }
        let node: TargetNode
        if let known {
            node = known
        } else {
            node = try open(host: host, port: port, address: address)
        }
        own(0, node)
        before.ownsSlots = false
        failOver(before)
        reroute()
    }

    private func failOver(_ node: TargetNode) {
        guard !failedOver.contains(where: { $0 === node }) else { return }
        failedOver.append(node)
        failovers += 1
    }

    /// Whether a slot went from that master to its replica.
    public func tookOver(_ slot: Int, from node: TargetNode) -> Bool {
        guard isCluster else { return true }
        return owners[slot] >= 0 && Int(owners[slot]) == node.successor
    }

    /// The masters whose replicas have taken over since the last call: what they answered last may be
    /// lost.
    public func takeFailedOver() -> [TargetNode] {
        defer { failedOver.removeAll() }
        return failedOver
    }

    /// Calls `body` with each key that a replica of the node may lack.
    public func takeRecent(
        _ node: TargetNode, _ body: (_ database: Int, _ key: ByteView, _ flow: Int) -> Void
    ) {
        if node.recent.isIncomplete {
            problem =
                "a replica of \(node.name) has taken over, and more was written than could be "
                + "remembered: run again"
        }
        node.recent.takeAll(body)
    }

    /// The cluster is not as it was thought to be.
    public func wantTopology() { isTopologyWanted = true }

    /// Takes a master's answer about its replicas.
    public func receiveReplicas(_ reply: TargetReply, _ node: TargetNode) {
        guard !reply.reply.hasError else {
            problem =
                "the target's master \(node.name) does not tell how far its replicas are: "
                + "\(node.connection.errorText.printable()); allow +info to this user"
            return
        }
        node.receiveReplicas(reply.reply.content, mayTellCount: !isCluster)
    }

    /// Connections that stand though the cluster gave up their nodes; each is to be lost.
    public func takeCondemned() -> [(node: TargetNode, reason: String)] {
        defer { condemned.removeAll() }
        return condemned
    }

    /// Asks masters how far their replicas are, and those that hang are suspected. Call it often.
    public func watch() {
        guard mayMove else { return }
        if reactor.now - askedAt > TargetNodes.idleQuestionNanoseconds { isTopologyWanted = true }
        for node in nodes where node.state == .ready {
            if node.replicaCount > 0 { node.askReplicas() }
            if node.connection.silence() > TargetNodes.silenceNanoseconds {
                isTopologyWanted = true
            }
        }
    }
}

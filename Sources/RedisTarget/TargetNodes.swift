public import Bytes
public import CPlatform
public import Reactor
public import Wire

/// All connections to the target: one to a single server, or one to each master of a cluster.
///
/// Of a cluster it knows which master takes a key's commands now. A slot whose commands are refused,
/// or whose owner changes, takes nothing new until everything in flight for it is answered
/// (DESIGN section 6, "Slots that move").
public final class TargetNodes {
    public struct Settings {
        /// Of the sockets: that of node n is `firstRole + n`.
        public var firstRole: UInt32
        /// Send buffer of a connection, a power of two; of many masters each gets less.
        public var outputBytes: Int
        /// One that was not begun.
        public var greeting: TargetGreeting
        public var addressing: ClusterAddressing
        /// Another server may become the target; see `follow`.
        public var isFollowed: Bool

        public init(
            firstRole: UInt32, outputBytes: Int, greeting: TargetGreeting,
            addressing: ClusterAddressing = ClusterAddressing(), isFollowed: Bool = false
        ) {
            self.firstRole = firstRole
            self.outputBytes = outputBytes
            self.greeting = greeting
            self.addressing = addressing
            self.isFollowed = isFollowed
        }
    }

    /// What becomes of a reply.
    public enum Verdict {
        /// Its record is to be settled.
        case settle
        /// The node did not carry it out: its command is held, and answered later.
        case held
    }

    /// A command that will not be answered, and may have been carried out or not.
    public struct Loss {
        public var command: CommandInFlight
        /// Empty if its bytes are gone.
        public var encoded: EncodedCommand
        /// Of a transaction.
        public var groupKey: ByteView
    }

    /// A key that may have been written out of order.
    public struct Doubt {
        public var database: Int
        public var key: [UInt8]
        public var flow: Int
        public var slot: Int
        /// It is one of our own, under which a big value is built.
        public var isShadow: Bool
    }

    public static let nodesLimit = 1000
    private static let inputBytes = 512 << 10
    private static let leastOutputBytes = 256 << 10
    /// So many masters get a send buffer of full size.
    private static let fullBuffers = 4
    static let retryNanoseconds: Int64 = 200_000_000
    static let shortRetryNanoseconds: Int64 = 10_000_000
    /// Between two questions for the topology.
    static let questionNanoseconds: Int64 = 50_000_000
    /// The same while nothing tells that it has changed.
    static let idleQuestionNanoseconds: Int64 = 1_000_000_000
    /// A node that does not answer that long may have been replaced.
    static let silenceNanoseconds: Int64 = 1_000_000_000
    /// A command of several keys in a slot that is on its way is refused until all have moved: after
    /// so long its keys are read again instead.
    static let tryAgainNanoseconds: Int64 = 1_000_000_000
    /// How long a slot may have no master that takes its commands.
    static let outageNanoseconds: Int64 = 60_000_000_000

    let settings: Settings
    let reactor: Reactor
    public let pace: SharedPace
    public private(set) var nodes: [TargetNode] = []
    /// The target is a cluster: keys have slots.
    public private(set) var isCluster = false
    /// The servers that take commands may change: it is a cluster, or is followed.
    public private(set) var mayMove = false
    /// All slots have a master that let us in.
    public private(set) var isReady = false
    /// Why the run cannot go on.
    public internal(set) var problem: String?
    /// The order of slots was upset for these; to be taken.
    public internal(set) var doubts: [Doubt] = []
    /// How often a slot got another owner.
    public internal(set) var slotsMoved = 0
    /// How often a replica took over.
    var failovers = 0

    // Per slot the node that has it, and the one that takes its commands now; -1: none.
    var owners: [Int16] = []
    var routes: [Int16] = []
    var drainsOpen: [UInt16] = []
    var held = HeldCommands()
    // Of each node the master that it was last seen to replicate.
    var mastersOfReplicas: [String: String] = [:]
    var failedOver: [TargetNode] = []
    /// Nodes that the cluster gave up while their connections stand.
    var condemned: [(node: TargetNode, reason: String)] = []
    var masterCount = 1
    var isTopologyWanted = false
    var askedAt: Int64 = 0
    var askedNode = -1
    var lastAsked = 0
    /// A node that cannot be reached for its name.
    public internal(set) var resolveFailure: String?

    public init(_ settings: Settings, reactor: Reactor, pace: SharedPace = SharedPace()) {
        self.settings = settings
        self.reactor = reactor
        self.pace = pace
    }

    // MARK: Connections

    /// A single server that is connected to already.
    public init(_ connection: TargetConnection, reactor: Reactor) throws(SystemError) {
        settings = Settings(
            firstRole: 0, outputBytes: 0,
            greeting: TargetGreeting(user: nil, password: nil, name: ""))
        self.reactor = reactor
        pace = SharedPace()
        nodes = [
            try TargetNode(
                index: 0, host: "", port: 0, address: cp_address(), connection: connection,
                greeting: settings.greeting)
        ]
    }

    /// Begins to connect to a server.
    @discardableResult
    public func open(
        host: String, port: UInt16, address: cp_address
    ) throws(SystemError) -> TargetNode {
        let node = try TargetNode(
            index: nodes.count, host: host, port: port, address: address,
            connection: connect(nodes.count, address), greeting: settings.greeting)
        nodes.append(node)
        return node
    }

    // What is in flight to all masters together needs no more room than to a few.
    private var outputBytes: Int {
        var bytes = settings.outputBytes
        while bytes > TargetNodes.leastOutputBytes,
            bytes * masterCount > settings.outputBytes * TargetNodes.fullBuffers
        {
            bytes /= 2
        }
        return bytes
    }

    private func connect(
        _ index: Int, _ address: cp_address
    ) throws(SystemError) -> TargetConnection {
        let socket = try Socket(
            connectingTo: address, role: settings.firstRole + UInt32(index),
            inputBytes: TargetNodes.inputBytes, outputBytes: outputBytes, keepsSentOutput: true)
        let connection = try TargetConnection(socket: socket, reactor: reactor, pace: Pace(pace))
        try reactor.add(socket)
        return connection
    }

    /// The one that a socket belongs to; nil if it has another by now.
    public func node(of socket: Socket) -> TargetNode? {
        let index = Int(socket.role - settings.firstRole)
        guard index < nodes.count, nodes[index].connection.socket === socket else { return nil }
        return nodes[index]
    }

    /// A node has let us in.
    public func becameReady(_ node: TargetNode) {
        node.state = .ready
        // It was away, so it may not be what it was.
        if node.lostSince != nil { isTopologyWanted = true }
        node.lostSince = nil
        // By whatever name it is reached, it is one server.
        let runID = node.greeting.runID
        node.connection.pace.begin(pace.memory(of: runID.isEmpty ? node.name : runID))
        // Nothing is written before it has said how much it takes.
        _ = node.connection.askForMemory()
        guard node.greeting.isClusterNode else {
            guard !isCluster else {
                problem =
                    "\(node.name) is no node of a cluster, but the target's cluster announces it; see "
                    + "target.cluster.addressMap"
                return
            }
            guard settings.isFollowed else {
                isReady = true
                return
            }
            if !mayMove {
                makeRoutes(slots: 1)
                own(0, node)
            }
            checkRestart(node)
            return reroute()
        }
        if !isCluster {
            isCluster = true
            isTopologyWanted = true
            makeRoutes(slots: HeldCommands.slotCount)
        }
        checkRestart(node)
        reroute()
    }

    private func makeRoutes(slots: Int) {
        owners = [Int16](repeating: -1, count: slots)
        routes = owners
        drainsOpen = [UInt16](repeating: 0, count: slots)
        mayMove = true
    }

    private func checkRestart(_ node: TargetNode) {
        if !node.runID.isEmpty, node.runID != node.greeting.runID, node.ownsSlots {
            problem =
                "the target's master \(node.name) was restarted, so what it had not saved is lost: "
                + "run again"
        }
        node.runID = node.greeting.runID
    }

    // MARK: Where commands go

    /// Of a single server; earlier ones did not answer.
    private var onlyNode: TargetNode { nodes[nodes.count - 1] }

    /// Where a key lies: what has the same slot goes the same way. All of one server is one.
    public func slot(of key: ByteView) -> Int { isCluster ? key.keySlot() : 0 }

    /// The connection that takes commands for a key now; nil while they must wait.
    public func connection(for key: ByteView) -> TargetConnection? {
        mayMove ? connection(forSlot: slot(of: key)) : onlyNode.connection
    }

    /// The same for a slot of a cluster, 0...16383.
    public func connection(forSlot slot: Int) -> TargetConnection? {
        guard mayMove else { return onlyNode.connection }
        let index = Int(routes[isCluster ? slot : 0])
        guard index >= 0, !held.isFull, nodes[index].mayTake else { return nil }
        return nodes[index].connection
    }

    /// One that takes commands which name no key; nil if there is none now.
    public var anyConnection: TargetConnection? {
        guard mayMove else { return onlyNode.connection }
        return nodes.first { $0.ownsSlots && $0.state == .ready }?.connection
    }

    /// The nodes that own slots; of a single server, that.
    public var masters: [TargetNode] { mayMove ? nodes.filter(\.ownsSlots) : [onlyNode] }

    /// The same, and of a cluster those which may have got slots that nobody has told of yet.
    public var mastersToFlush: [TargetNode] {
        guard mayMove else { return masters }
        return nodes.filter { $0.ownsSlots || $0.isMaster && $0.state == .ready }
    }

    /// Whether a node owns a slot.
    func owns(_ node: TargetNode, slot: Int) -> Bool { Int(owners[slot]) == node.index }

    public var commandsInFlight: Int {
        nodes.reduce(held.count) { $0 + ($1.state == .lost ? 0 : $1.connection.commandsInFlight) }
    }

    public var bytesSent: Int {
        nodes.reduce(0) {
            $0 + $1.bytesSentBefore + ($1.state == .lost ? 0 : $1.connection.bytesSent)
        }
    }

    public var commandsSent: Int {
        nodes.reduce(0) {
            $0 + $1.commandsSentBefore + ($1.state == .lost ? 0 : $1.connection.commandsSent)
        }
    }

    /// Nothing is under way, and every slot has a master that takes commands.
    public var isQuiet: Bool {
        held.isEmpty && isReady
            && masters.allSatisfy {
                $0.state == .ready && $0.connection.commandsInFlight == 0
            }
            // What has lost its slots may still carry out what it got before.
            && nodes.allSatisfy(\.drains.isEmpty)
    }

    // All routes anew; after a change of owners or connections.
    func reroute() {
        guard mayMove else { return }
        for slot in routes.indices { reroute(slot) }
        isReady = !owners.contains(-1) && masters.allSatisfy { $0.state == .ready }
    }

    func reroute(_ slot: Int) {
        let owner = owners[slot]
        let isOpen =
            owner >= 0 && drainsOpen[slot] == 0 && !held.holds(slot: slot)
            && nodes[Int(owner)].state == .ready
        routes[slot] = isOpen ? owner : -1
    }

    /// Nothing new for the slot until all that `node` has now is answered.
    func drain(_ slot: Int, _ node: TargetNode) {
        let connection = node.connection
        guard node.state != .lost, connection.commandsInFlight > 0 else { return }
        node.drains.append(TargetNode.Drain(slot: slot, number: connection.commandsSent))
        drainsOpen[slot] += 1
    }

    private func endDrains(_ node: TargetNode) {
        let answered = node.connection.commandsAnswered
        let done = node.drains.prefix { $0.number <= answered }.count
        guard done > 0 else { return }
        for drain in node.drains[..<done] { drainsOpen[drain.slot] -= 1 }
        let slots = node.drains[..<done]
        for drain in slots { reroute(drain.slot) }
        node.drains.removeFirst(done)
    }

    // MARK: Turns

    /// Sends what is held and may go, ends what is drained, connects to nodes that are needed. Call it
    /// at the end of each turn.
    /// - Returns: whether slots take commands again, so that blocked flows should try.
    public func advance() throws(DecodeError) -> Bool {
        guard mayMove else { return false }
        var isOpened = false
        for node in nodes where !node.drains.isEmpty {
            endDrains(node)
            isOpened = true
        }
        if !held.isEmpty { try resend() }
        for node in nodes where node.state == .lost && node.retryAt <= reactor.now {
            if node.ownsSlots || node.isMaster || masters.isEmpty { reconnect(node) }
        }
        if isCluster { askTopology() }
        return isOpened
    }

    /// When `advance` is to be called at the latest, monotonic nanoseconds.
    public var nextAdvance: Int64 {
        guard mayMove, !held.isEmpty || isTopologyWanted || !isReady else { return .max }
        return reactor.now + TargetNodes.shortRetryNanoseconds
    }

    private func reconnect(_ node: TargetNode) {
        node.retryAt = reactor.now + TargetNodes.retryNanoseconds
        do throws(SystemError) {
            node.connection = try connect(node.index, node.address)
            node.greeting = settings.greeting
            node.state = .connecting
        } catch {
            node.lossReason = "\(error)"
        }
        if node.ownsSlots, let since = node.lostSince,
            reactor.now - since > TargetNodes.outageNanoseconds
        {
            problem = outage()
        }
    }
}

import Bytes
public import CPlatform
import Reactor
import Wire

/// One Redis of the target, and the connection to it.
public final class TargetNode {
    public enum State {
        case connecting
        /// It has let us in.
        case ready
        /// To be connected to again if it is needed.
        case lost
    }

    /// A held command that is sent again: which one of the connection's commands it is.
    struct Resend: BitwiseCopyable {
        var number: Int
        var held: Int
    }

    /// A slot that is on its way: the connection's commands up to that number may be for it.
    struct Drain: BitwiseCopyable {
        var slot: Int
        var number: Int
    }

    /// Its place among the nodes, which its sockets' role tells.
    public let index: Int
    /// How it is reached.
    public internal(set) var host: String
    public internal(set) var port: UInt16
    public internal(set) var address: cp_address
    /// What the cluster calls it; empty if that is not known.
    public internal(set) var id = ""
    /// As the others tell of it; nil until one of them has.
    var announced: ClusterNode?
    public internal(set) var state = State.connecting {
        didSet { forgetProcess() }
    }
    /// What it sends and takes now; another one after it was lost.
    public internal(set) var connection: TargetConnection
    public internal(set) var greeting: TargetGreeting
    /// Of its process, as it said when it was first connected to.
    var runID = ""
    /// The cluster gave it slots.
    public internal(set) var ownsSlots = false {
        didSet { forgetProcess() }
    }
    /// The cluster has it as a master that is there.
    var isMaster = false
    /// The replica that took over from it last.
    var successor: Int?
    /// How many replicas may take over from it, as the cluster says.
    var replicaCount = 0
    var resends: [Resend] = []
    var drains: [Drain] = []
    var recent: RecentKeys
    /// Monotonic nanoseconds.
    var retryAt: Int64 = 0
    /// Since when it is missed. Nil while it is there, or before the first attempt to reach it.
    var lostSince: Int64?
    public internal(set) var lossReason = ""
    var bytesSentBefore = 0
    var commandsSentBefore = 0

    init(
        index: Int, host: String, port: UInt16, address: cp_address, connection: TargetConnection,
        greeting: TargetGreeting
    ) throws(SystemError) {
        recent = try RecentKeys()
        self.index = index
        self.host = host
        self.port = port
        self.address = address
        self.connection = connection
        self.greeting = greeting
    }

    /// For messages.
    public var name: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

    /// What it said of its memory last.
    public var memory: MemoryRoom.Sample? { connection.pace.memory.sample }

    /// Whether the cluster calls it so.
    func isAnnounced(as host: String, _ port: UInt16) -> Bool {
        guard let announced, !host.isEmpty else { return false }
        return announced.port == port && [announced.host, announced.hostname].contains(host)
    }

    // What one without slots loses by a restart is not missed.
    private func forgetProcess() {
        if state == .lost, !ownsSlots { runID = "" }
    }

    /// Takes the reply to a command of the greeting.
    public func greet(_ reply: TargetReply) -> TargetGreeting.Outcome {
        greeting.receive(reply, connection)
    }

    /// Whether it takes commands now.
    var mayTake: Bool {
        guard state == .ready else { return false }
        guard replicaCount > 0 else { return true }
        return recent.hasRoom(
            commandsInFlight: connection.commandsInFlight,
            bytesInFlight: connection.socket.output.count)
    }

    // MARK: What the replicas may lack

    func noteWritten(_ command: CommandInFlight) {
        guard replicaCount > 0 else { return }
        guard let encoded = connection.encoded(command), encoded.key != nil else {
            // An EXEC has none of its own.
            recent.add(
                database: Int(command.database), key: connection.groupKey.view,
                flow: command.flow)
            return
        }
        encoded.forEachKey { database, key in
            recent.add(database: database, key: key, flow: command.flow)
        }
    }

    func askReplicas() {
        guard state == .ready, !recent.isEmpty, !recent.isAsked,
            connection.ask("INFO", "replication", .replication)
        else { return }
        recent.asked()
    }

    /// Takes the answer: `slave0:ip=...,state=online,offset=...` for each of them.
    /// - Parameter mayTellCount: nobody else says how many there are.
    func receiveReplicas(_ text: ByteView, mayTellCount: Bool) {
        var listed = 0
        var least: Int64?
        while listed < 64, let line = InfoText(text).replica(listed) {
            listed += 1
            // One that gets its first data will not take over.
            guard line.contains("state=online"), let offset = line.number(after: "offset=") else {
                continue
            }
            least = min(least ?? .max, offset)
        }
        let own = InfoText(text).value(of: "master_repl_offset:")?.parseInteger() ?? .max
        if mayTellCount { replicaCount = max(replicaCount, listed) }
        recent.answered(own: own, replicas: least, areAllThere: listed >= replicaCount)
    }
}

extension InfoText {
    fileprivate func replica(_ number: Int) -> ByteView? {
        Array("slave\(number):".utf8).withByteView { value(of: $0) }
    }
}

extension ByteView {
    fileprivate func number(after label: ByteView) -> Int64? {
        var start = 0
        while start + label.count <= count, !slice(start, label.count).equals(label) { start += 1 }
        guard start + label.count <= count else { return nil }
        let rest = dropFirst(start + label.count)
        var end = 0
        while end < rest.count, rest[end] != UInt8(ascii: ",") { end += 1 }
        return rest.slice(0, end).parseInteger()
    }
}

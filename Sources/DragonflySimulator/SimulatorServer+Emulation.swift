import Bytes

/// What a simulated master answered to a command.
public enum SimulatorReply: Sendable, Equatable {
    case simple([UInt8])
    case error([UInt8])
    case integer(Int64)
    case bulk([UInt8])
    case null
    case array([SimulatorReply])

    init(_ reply: TargetReply) {
        self =
            switch reply {
            case .simple(let bytes): .simple(bytes)
            case .error(let bytes): .error(bytes)
            case .integer(let value): .integer(value)
            case .bulk(let bytes): .bulk(bytes)
            case .null: .null
            case .array(let items): .array(items.map { SimulatorReply($0) })
            }
    }
}

/// An emulated master: `SimulatorSource.emulated`. With another source all of these trap.
extension SimulatorServer {
    var emulatedContent: EmulatedContent {
        guard let content = master.content as? EmulatedContent else {
            preconditionFailure("this simulator does not emulate a master")
        }
        return content
    }

    /// The port of the redis-server that holds the data. It is for looking: whoever writes there
    /// goes behind the master's back.
    public var redisPort: UInt16 { emulatedContent.redisPort }

    /// Executes a client's command and journals it. Waits where a real master's client would: while
    /// writes are paused, and while a flow of a shard it wrote to has too much to send.
    @discardableResult
    public func execute(
        _ words: [[UInt8]], database: Int = 0
    ) throws(EmulationError) -> SimulatorReply {
        SimulatorReply(try emulatedContent.execute(words, database: database))
    }

    /// The same with text, split at spaces.
    @discardableResult
    public func execute(
        _ command: String, database: Int = 0
    ) throws(EmulationError) -> SimulatorReply {
        try execute(command.split(separator: " ").map { Array($0.utf8) }, database: database)
    }

    /// Executes commands as MULTI ... EXEC does; the reply is that of EXEC.
    @discardableResult
    public func execute(
        transaction commands: [[[UInt8]]], database: Int = 0
    ) throws(EmulationError) -> SimulatorReply {
        SimulatorReply(try emulatedContent.execute(transaction: commands, database: database))
    }

    /// Puts a record into a flow's journal that no command of this master makes; the data stay.
    public func journal(
        _ record: String, onFlow flow: Int, database: Int = 0
    ) throws(EmulationError) {
        try emulatedContent.append(
            record: record.split(separator: " ").map { Array($0.utf8) }, database: database,
            flow: flow)
    }

    /// Deletes up to `limit` expired keys and journals it, as Dragonfly's background task does.
    public func expire(limit: Int) throws(EmulationError) {
        try emulatedContent.expire(limit: limit)
    }

    /// Makes the redis-server hold the expected end state: deletes what has expired and puts the
    /// true expiries in place. Nothing may be executed afterwards.
    public func settle() throws(EmulationError) {
        try emulatedContent.settle()
    }

    /// The LSN of the next entry of each shard (`DFLY REPLICAOFFSET`); 0 before the first replica.
    public var nextLSNs: [UInt64] {
        (0..<flowCount).map { emulatedContent.nextLSN(flow: $0) }
    }

    public var counters: EmulationCounters { emulatedContent.counters }

    /// The part of `report` that only an emulated master has.
    func emulationReport() -> String {
        guard let counters = (master.content as? EmulatedContent)?.counters else { return "" }
        return "\"records\":\(counters.records),\"blobs\":\(counters.blobs),"
            + "\"omitted\":\(counters.omitted),\"baselines\":\(counters.baselines),"
            + "\"chunks\":\(counters.chunks),\"openChunkIds\":\(counters.openChunkIds),"
            + "\"timeouts\":\(counters.timeouts),\"longestWriterWaitMilliseconds\":"
            + "\(counters.longestWriterWaitMilliseconds),"
    }

    /// Waits until at least `count` sessions were cancelled because a flow took too long; false
    /// after the timeout.
    public func waitForTimeouts(_ count: Int, timeoutMilliseconds: Int) -> Bool {
        wait(timeoutMilliseconds) { ($0.emulated?.counters.timeouts ?? 0) >= count }
    }

    /// Ends all connections and begins anew: another id, LSNs from 1, and, unless `flowCount` is
    /// nil, another number of shards. The data stay.
    public func restart(flowCount: Int? = nil) {
        emulatedContent.restart(flowCount: flowCount)
    }

    /// Ends all connections; a promoted replica goes on in the master's place: another id, the same
    /// journals (protocol.md 8.4).
    public func failOver() {
        emulatedContent.failOver()
    }
}

/// Faults while the simulator runs, with any source. Those of a flow concern the newest session.
extension SimulatorServer {
    /// Makes something happen to a flow now; its place is ignored.
    public func perform(_ action: Fault.Action, onFlow flow: Int) {
        guard let connection = master.connection(flow: flow) else { return }
        let session = master.state.read { $0.lastSession }
        let fault = Fault(action, at: .flow(flow, byte: bytesSent(flow: flow)), session: session)
        master.perform(fault, on: connection)
    }

    /// Makes something happen to the control connection of the newest session now.
    public func performOnControl(_ action: Fault.Action) {
        guard let session = master.state.read({ $0.newest }) else { return }
        let fault = Fault(action, at: .control(byte: 0), session: session.number)
        master.perform(fault, on: session.control)
    }

    /// From now on a flow is sent at this pace, in this session and later ones; nil for that of the
    /// options again.
    public func setPacing(_ pacing: Pacing?, flow: Int) {
        master.state.update { $0.pacing[flow] = pacing ?? master.options.pacing }
    }

    /// The faults that have happened.
    public var faults: [Fault] { master.state.read { $0.faults } }
}

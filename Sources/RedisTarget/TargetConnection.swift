public import Bytes
public import Reactor
public import Wire

/// One pipeline to one Redis: commands are encoded straight into the send ring, kept there until they
/// are answered, and matched with their replies in order.
///
/// A command is written between `begin` and `end`. One that does not fit half the ring passes through
/// it in pieces, one at a time: out of a buffer beside it, or, if its last argument is not there yet,
/// as that comes (`endHead`, `pass`).
public final class TargetConnection {
    public let socket: Socket
    private let reactor: Reactor
    private var inFlight: FixedQueue<CommandInFlight>
    private var scanner: RESPReplyScanner
    private var oversize: RegionBuffer
    /// Bytes of the command that have not passed into the ring.
    private var oversizeLeft = 0
    private var oversizeState = Oversize.none
    private var commandStart = 0
    private var pendingRelease: (input: Int, output: Int) = (0, 0)
    private var groupFailed = false
    private var selectedDatabase = 0
    /// The database that the pipeline's last command goes to.
    var database: Int { selectedDatabase }
    // Databases that answered a SELECT; the first one is there from the start.
    private var confirmedDatabases: [Bool]
    private var isAwaitingSelect = false
    // Key of the record whose parts are being answered.
    private(set) var groupKey: RegionBuffer
    // The first refused part of it, and why: EXEC says only that something was refused.
    private(set) var groupCommand: RegionBuffer
    private var groupError: RegionBuffer
    private var exclusiveFlow = -1
    /// Commands sent, SELECT and log-in included.
    public private(set) var commandsSent = 0
    /// How many of them were a SELECT that nobody asked for.
    private(set) var selectsSent = 0
    /// When and how fast commands may be begun.
    public var pace: Pace
    private var heardAt: Int64
    private var bytesSentBefore = 0

    private enum Oversize {
        case none
        /// Being encoded.
        case open
        /// Passing through the ring, then waiting for its reply.
        case sending
    }

    /// Room that every command may use beside its arguments: SELECT and the array header.
    private static let overheadBytes = 64

    /// - Parameter commandsInFlight: how many may await replies, a power of two.
    public init(
        socket: Socket, reactor: Reactor, commandsInFlight: Int = 1 << 15, pace: Pace = Pace()
    ) throws(SystemError) {
        self.socket = socket
        self.reactor = reactor
        self.pace = pace
        inFlight = FixedQueue(capacity: commandsInFlight)
        // The bulks that are read: INFO, some kilobytes, and CLUSTER NODES, 150 bytes a node.
        scanner = try RESPReplyScanner(
            wholeBulkBytes: min(256 << 10, socket.input.capacity / 2))
        oversize = try RegionBuffer()
        groupKey = try RegionBuffer(capacity: 4096)
        groupCommand = try RegionBuffer(capacity: 4096)
        groupError = try RegionBuffer(capacity: 4096)
        confirmedDatabases = [Bool](repeating: false, count: 1 << 10)
        confirmedDatabases[0] = true
        heardAt = reactor.now
    }

    public var commandsInFlight: Int { inFlight.count }
    /// Commands sent and answered.
    public var commandsAnswered: Int { commandsSent - inFlight.count }
    public var bytesSent: Int { socket.sentPosition }

    /// For how long the server has owed us something, in nanoseconds; ask often. One that hangs keeps
    /// its connection, so only its silence tells. Taking what we send is a sign of life, too: a large
    /// value may be long under way.
    public func silence() -> Int64 {
        let isOwed =
            socket.state == .connecting || socket.bytesUnsent > 0
            || inFlight.count > (oversizeLeft > 0 ? 1 : 0)
        if !isOwed || bytesSent != bytesSentBefore {
            heardAt = reactor.now
            bytesSentBefore = bytesSent
        }
        return reactor.now - heardAt
    }

    // MARK: Writing

    /// Bytes that one argument of `size` bytes takes at most.
    public static func argumentBytes(_ size: Int) -> Int { size + 24 }

    /// Claims the pipeline for one flow, so that no other flow's commands come between those of a
    /// record that needs several turns. False while another flow has it, or while the target may not
    /// take all of them: they cannot be held half way.
    public func claim(flow: Int, _ demand: MemoryRoom.Demand = .nothing) -> Bool {
        if exclusiveFlow == flow { return true }
        guard exclusiveFlow < 0, admits(0, demand) else { return false }
        pace.began(0, demand)
        exclusiveFlow = flow
        return true
    }

    /// Whether a transaction of any flow is open.
    var isClaimed: Bool { exclusiveFlow >= 0 }

    /// Whether `flow` would have to claim the pipeline.
    func isFree(for flow: Int) -> Bool { exclusiveFlow < 0 || exclusiveFlow == flow }

    public func releaseClaim(flow: Int) {
        if exclusiveFlow == flow { exclusiveFlow = -1 }
    }

    /// Opens a command of `flow` in `database` that takes at most `bytes` bytes (see
    /// `argumentBytes`). False if there is no room now; ask again after replies came in.
    /// Throws `outOfMemory`.
    /// - Parameters:
    ///   - commands: how many are written into this room, each ended on its own.
    ///   - demand: what they may add to the target's memory.
    public func begin(
        flow: Int, database: Int, bytes: Int, commands: Int = 1,
        demand: MemoryRoom.Demand = .bySize
    ) throws(DecodeError) -> Bool {
        // Room for one more: a SELECT may come before it.
        guard exclusiveFlow < 0 || exclusiveFlow == flow, oversizeState == .none,
            !isAwaitingSelect, inFlight.free > commands
        else { return false }
        let bound = bytes + TargetConnection.overheadBytes
        let isOversize = bound > socket.output.capacity / 2
        let needed = isOversize ? TargetConnection.overheadBytes : bound
        guard socket.output.free >= needed, admits(bytes, demand) else { return false }
        if database != selectedDatabase {
            commandStart = socket.output.tail
            header(arguments: 2)
            argument("SELECT")
            argument(decimal: Int64(database))
            end(.select, flow: flow, database: database, nextLSN: 0)
            selectsSent += 1
            selectedDatabase = database
            // What follows a refused SELECT would land in another database.
            guard database < confirmedDatabases.count, confirmedDatabases[database] else {
                isAwaitingSelect = true
                pace.gaveUp()
                return false
            }
        }
        if isOversize {
            oversize.clear()
            do {
                try oversize.reserve(bound)
            } catch {
                pace.gaveUp()
                throw DecodeError(.outOfMemory)
            }
            oversizeState = .open
        }
        commandStart = socket.output.tail
        if exclusiveFlow < 0 { pace.began(bytes, demand) }
        return true
    }

    private func admits(_ bytes: Int, _ demand: MemoryRoom.Demand) -> Bool {
        pace.admits(
            bytes, demand, isInside: exclusiveFlow >= 0, commandsInFlight: inFlight.count,
            now: reactor.now)
    }

    /// Asks the target for its memory, ahead of everything that is held up. False if there is no
    /// room, or a transaction is open that would take the question for its own.
    public func askForMemory() -> Bool {
        guard ask("INFO", "memory", .memory) else { return false }
        pace.askedForMemory()
        return true
    }

    /// Sends a command of one argument that is about no key, ahead of everything that is held up.
    /// False as above.
    func ask(_ name: ByteView, _ argument: ByteView?, _ kind: CommandKind) -> Bool {
        guard exclusiveFlow < 0, oversizeState == .none, inFlight.free > 1,
            socket.output.free >= TargetConnection.overheadBytes
        else { return false }
        commandStart = socket.output.tail
        header(arguments: argument == nil ? 1 : 2)
        self.argument(name)
        if let argument { self.argument(argument) }
        push(kind, type: .generic, flow: 0, database: selectedDatabase, nextLSN: 0)
        return true
    }

    /// Starts the command's array.
    public func header(arguments: Int) {
        head(UInt8(ascii: "*"), Int64(arguments))
    }

    public func argument(_ bytes: ByteView) {
        head(UInt8(ascii: "$"), Int64(bytes.count))
        raw(bytes)
        lineEnd()
    }

    public func argument(decimal value: Int64) {
        let digits = DecimalText.digitCount(value)
        head(UInt8(ascii: "$"), Int64(digits))
        if oversizeState == .open {
            reserved { () throws(SystemError) in try oversize.append(decimal: value) }
        } else {
            socket.output.append(decimal: value)
        }
        lineEnd()
    }

    /// A string as it is on the wire. False if it is damaged: then `abandon`.
    public func argument(_ string: WireString) -> Bool {
        switch string {
        case .plain(let bytes):
            argument(bytes)
        case .integer(let number):
            argument(decimal: number)
        case .lzf(let compressed, let originalCount):
            argumentHead(size: originalCount)
            guard raw(lzf: compressed, originalCount: originalCount) else { return false }
            lineEnd()
        }
        return true
    }

    /// The shortest text that reads back as `value`.
    public func argument(double value: Double, scratch: inout RegionBuffer) {
        scratch.clear()
        reserved { () throws(SystemError) in try scratch.append(double: value) }
        argument(scratch.view)
    }

    /// A bulk whose bytes follow by `raw` and `little`; close it with `lineEnd`.
    public func argumentHead(size: Int) {
        head(UInt8(ascii: "$"), Int64(size))
    }

    public func raw(_ bytes: ByteView) {
        if oversizeState == .open {
            reserved { () throws(SystemError) in try oversize.append(bytes) }
        } else {
            socket.output.append(bytes)
        }
    }

    public func little<T: FixedWidthInteger>(_ value: T) {
        if oversizeState == .open {
            reserved { () throws(SystemError) in try oversize.append(little: value) }
        } else {
            socket.output.append(little: value)
        }
    }

    /// Decompresses LZF as the next raw bytes. False if the input is damaged: then `abandon`.
    public func raw(lzf bytes: ByteView, originalCount: Int) -> Bool {
        if oversizeState == .open {
            let sound = try? LZF.decompress(bytes, originalCount: originalCount, into: &oversize)
            return sound ?? false
        }
        return LZF.decompress(bytes, originalCount: originalCount, into: &socket.output)
    }

    public func lineEnd() {
        raw(ByteView("\r\n"))
    }

    /// Takes back the command begun and not ended.
    public func abandon() {
        if oversizeState == .open {
            oversize.clear(keeping: 1 << 20)
            oversizeState = .none
        } else {
            socket.output.truncate(to: commandStart)
        }
    }

    /// Ends a command; it goes out at the end of the turn.
    /// - Parameter type: what its record is counted as.
    public func end(
        _ kind: CommandKind, type: RecordType = .generic, flow: Int, database: Int, nextLSN: UInt64
    ) {
        let size =
            oversizeState == .open ? oversize.count : socket.output.tail - commandStart
        pace.sent(size, number: commandsSent, now: reactor.now)
        push(kind, type: type, flow: flow, database: database, nextLSN: nextLSN)
        if oversizeState == .open {
            oversizeState = .sending
            oversizeLeft = oversize.count
            pumpOversize()
        }
    }

    /// Sends a whole command ahead of the one that was begun, which may be too large for the ring.
    func sendAhead(_ command: ByteView, _ kind: CommandKind) {
        socket.output.append(command)
        push(kind, type: .generic, flow: 0, database: selectedDatabase, nextLSN: 0)
    }

    /// Ends a command but for its last argument, whose head is written: `size` bytes and a line end,
    /// which are brought by `pass`.
    func endHead(_ kind: CommandKind, flow: Int, database: Int, nextLSN: UInt64, size: Int) {
        push(kind, type: .generic, flow: flow, database: database, nextLSN: nextLSN)
        oversizeState = .sending
        oversizeLeft = size + 2
    }

    private func push(
        _ kind: CommandKind, type: RecordType, flow: Int, database: Int, nextLSN: UInt64
    ) {
        inFlight.push(
            CommandInFlight(
                start: commandStart, end: socket.output.tail, kind: kind, type: type,
                flow: Int16(flow), database: Int32(clamping: database), nextLSN: nextLSN))
        commandsSent += 1
        commandStart = socket.output.tail
        reactor.markDirty(socket)
    }

    /// Moves the next pieces of an oversize command into the ring and out. Call each turn.
    public func pumpOversize() {
        guard oversizeState == .sending, !oversize.isEmpty else { return }
        _ = pass(oversize.view.dropFirst(oversize.count - oversizeLeft))
    }

    /// Moves the next bytes of the command in hand into the ring and out; returns how many.
    func pass(_ bytes: ByteView) -> Int {
        // Earlier commands must be answered first: their bytes in the ring name them. Its own are not
        // kept there.
        guard oversizeState == .sending, inFlight.count == 1 else { return 0 }
        precondition(bytes.count <= oversizeLeft)
        var passed = 0
        while passed < bytes.count, makeRoom() {
            let size = min(socket.output.free, bytes.count - passed)
            socket.output.append(bytes.slice(passed, size))
            passed += size
            reactor.markDirty(socket)
        }
        oversizeLeft -= passed
        return passed
    }

    /// Whether there is room for more of the command in hand.
    func makeRoom() -> Bool {
        // Until the kernel takes no more: only then it tells when it does again.
        reactor.flushNow(socket)
        socket.output.consume(to: socket.sentPosition)
        return socket.output.free > 0
    }

    /// Whether all of the command in hand has passed.
    var isPassed: Bool { oversizeLeft == 0 }

    private func head(_ marker: UInt8, _ value: Int64) {
        if oversizeState == .open {
            reserved { () throws(SystemError) in
                try oversize.append(byte: marker)
                try oversize.append(decimal: value)
                try oversize.append(ByteView("\r\n"))
            }
            return
        }
        socket.output.append(byte: marker)
        socket.output.append(decimal: value)
        socket.output.append("\r\n")
    }

    // The bound given to begin was reserved, so appending within it cannot fail.
    private func reserved(_ body: () throws(SystemError) -> Void) {
        do throws(SystemError) {
            try body()
        } catch {
            fatalError("a command exceeded the size it was begun with: \(error)")
        }
    }

    // MARK: Replies

    /// The next complete reply, nil if none has arrived whole. Its views, and `bytes(of:)`, are
    /// valid until the next call.
    public func nextReply() throws(RESPError) -> TargetReply? {
        release()
        var position = 0
        let input = socket.input.readable
        guard let reply = try scanner.next(input, at: &position) else {
            socket.input.consume(position)
            return nil
        }
        // An answer to nothing, or to what was not sent, is none.
        guard oldestIsSent(reply) else { throw RESPError() }
        heardAt = reactor.now
        let command = inFlight.popFirst()
        pace.answered(
            commandsSent - inFlight.count - 1, commandsInFlight: inFlight.count,
            now: reactor.now)
        pendingRelease = (position, command.end)
        var failed = false
        switch command.kind {
        case .part:
            keepGroupKey(command)
            if reply.hasError {
                keepGroupError(command)
                groupFailed = true
            }
        case .select:
            isAwaitingSelect = false
            let database = Int(command.database)
            if reply.hasError {
                // The server stays where it was.
                selectedDatabase = -1
            } else if database < confirmedDatabases.count {
                confirmedDatabases[database] = true
            }
        case _ where command.kind.isAside:
            break
        default:
            failed = groupFailed || (reply.hasError && command.kind.failsItsRecord)
            groupFailed = false
            groupEnds = true
        }
        return TargetReply(command: command, reply: reply, recordFailed: failed)
    }

    /// Calls `body` with each command that is not answered, oldest first, when the connection is
    /// lost: with its bytes if all of them are there, and whether any of them may have been sent.
    func forEachUnanswered(
        _ body: (_ command: CommandInFlight, _ bytes: ByteView?, _ maySent: Bool) -> Void
    ) {
        // The reply that was taken last is settled.
        release()
        for index in 0..<inFlight.count {
            let command = inFlight[index]
            let isOversize = oversizeState == .sending && index + 1 == inFlight.count
            guard !isOversize else {
                body(command, oversize.isEmpty ? nil : oversize.view, true)
                continue
            }
            body(command, bytes(of: command), command.start < socket.sentPosition)
        }
    }

    /// Forgets what was written and not sent; the connection is lost.
    func dropUnsent() {
        socket.output.truncate(to: max(socket.output.head, socket.sentPosition))
    }

    private func oldestIsSent(_ reply: RESPReply) -> Bool {
        guard !inFlight.isEmpty, inFlight.first.end <= socket.sentPosition else { return false }
        guard oversizeState == .sending, inFlight.count == 1 else { return true }
        // An argument may be refused for its size, before it has come.
        return isPassed && socket.bytesUnsent == 0 || oversize.isEmpty && reply.hasError
    }

    // The commands of a transaction leave the ring before its EXEC is answered, which has no key.
    private func keepGroupKey(_ command: CommandInFlight) {
        guard groupKey.isEmpty, let bytes = bytes(of: command),
            var arguments = RESPArguments(bytes), arguments.next() != nil,
            let key = arguments.next()
        else { return }
        // Only a name for messages: without memory for it, it stays unknown.
        try? groupKey.append(key)
    }

    private func keepGroupError(_ command: CommandInFlight) {
        guard groupError.isEmpty else { return }
        try? groupError.append(scanner.lastError)
        if let bytes = bytes(of: command), var arguments = RESPArguments(bytes),
            let name = arguments.next()
        {
            try? groupCommand.append(name)
        }
    }

    private var groupEnds = false

    /// Text of the error in the reply that `nextReply` returned, or of the first error of its record.
    public var errorText: ByteView { groupError.isEmpty ? scanner.lastError : groupError.view }

    /// The encoded command that was answered, nil if its bytes are gone.
    public func bytes(of command: CommandInFlight) -> ByteView? {
        if oversizeState == .sending && inFlight.isEmpty { return oversize.view }
        guard command.start >= socket.output.head else { return nil }
        return socket.output.view(at: command.start, command.end - command.start)
    }

    private func release() {
        guard pendingRelease.input > 0 else { return }
        socket.input.consume(pendingRelease.input)
        if pendingRelease.output > socket.output.head {
            socket.output.consume(to: pendingRelease.output)
        }
        pendingRelease = (0, 0)
        if groupEnds {
            groupKey.clear(keeping: 1 << 20)
            groupCommand.clear()
            groupError.clear(keeping: 1 << 20)
            groupEnds = false
        }
        if oversizeState == .sending, inFlight.isEmpty {
            oversize.clear(keeping: 1 << 20)
            oversizeState = .none
            oversizeLeft = 0
            socket.output.consume(to: socket.sentPosition)
        }
    }
}

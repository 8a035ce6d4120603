public import Bytes
import CPlatform
public import Reactor
import Wire

/// A second connection to the target for large strings, one at a time: each is the last argument of
/// one SET, which the target reads straight into its place. Built by APPEND it would be moved as it
/// grows, which stalls a target. In the shared pipeline such a command would hold up everybody else.
///
/// It is opened for each value: a redis that has read a large argument keeps as much memory for the
/// next one of that connection. If it cannot be had, or breaks within a value, it is not used any
/// more. The end of the argument is sent by `finish` only: what is given up before is nothing that
/// the target would execute.
public final class StringLane {
    enum Grant {
        case taken
        /// Ask again after the lane's next event.
        case wait
        case unavailable
    }

    enum Outcome {
        case stored
        /// `mayPass`: the value is not what it failed for.
        case failed(reason: String, mayPass: Bool)
    }

    /// What redis takes as one argument, and as one string (`proto-max-bulk-len`), unless it is told
    /// otherwise.
    static let bytesLimit = 512 << 20
    /// To move one of 16 MiB takes a target 8 ms, as long as parts of other values.
    public static let bytesMinimum = 16 << 20
    private static let ringBytes = 256 << 10

    private let role: UInt32
    private let address: cp_address?
    private let reactor: Reactor
    private let newGreeting: TargetGreeting
    private let sizes: ClosedRange<Int>
    private var greeting: TargetGreeting
    private var target: TargetConnection?
    /// The role of the pipeline to the server that it leads to.
    private var server: UInt32 = 0
    /// The value that has the lane, and what became of it.
    private(set) var value: UInt64?
    private var outcome: Outcome?
    /// Bytes of the part in hand that have passed.
    private var passed = 0
    private var wantsRoom = false
    private var bytesSentBefore = 0
    /// Why it is not used any more, for the operator.
    public private(set) var refusal: String?

    /// - Parameters:
    ///   - role: of the socket, whose events the owner hands on.
    ///   - greeting: one that was not begun.
    ///   - bytesMinimum: strings of less are not carried.
    ///   - address: where it leads, if not to where a value's pipeline does.
    init(
        role: UInt32, reactor: Reactor, greeting: TargetGreeting, bytesMinimum: Int,
        address: cp_address?
    ) {
        self.address = address
        self.role = role
        self.reactor = reactor
        self.greeting = greeting
        newGreeting = greeting
        sizes = bytesMinimum...StringLane.bytesLimit
    }

    public convenience init(role: UInt32, reactor: Reactor, greeting: TargetGreeting) {
        self.init(
            role: role, reactor: reactor, greeting: greeting,
            bytesMinimum: StringLane.bytesMinimum, address: nil)
    }

    public var isTaken: Bool { value != nil }
    public var bytesSent: Int { bytesSentBefore + (target?.bytesSent ?? 0) }

    // MARK: A value

    func isFree(for size: Int) -> Bool {
        value == nil && refusal == nil && sizes.contains(size)
    }

    /// Begins the SET of a value whose `size` bytes come by `pass`.
    /// - Parameter pipeline: leads to the same server.
    func take(
        _ value: UInt64, key: ByteView, size: Int, flow: Int, database: Int,
        beside pipeline: TargetConnection
    ) throws(DecodeError) -> Grant {
        guard isFree(for: size) else { return .unavailable }
        if greeting.isDone, server != pipeline.socket.role { close() }
        guard let target else {
            guard let address = address ?? pipeline.socket.peer else { return .unavailable }
            server = pipeline.socket.role
            open(address)
            return refusal == nil ? .wait : .unavailable
        }
        guard greeting.isDone else { return .wait }
        guard size <= greeting.argumentBytesLimit else {
            close()
            return .unavailable
        }
        let bytes = key.count + TargetConnection.argumentBytes(8) * 3
        guard try target.begin(flow: flow, database: database, bytes: bytes) else { return .wait }
        target.header(arguments: 3)
        target.argument("SET")
        target.argument(key)
        target.argumentHead(size: size)
        target.endHead(.shadow, flow: flow, database: database, nextLSN: 0, size: size)
        self.value = value
        return .taken
    }

    /// Sends the value's next bytes. False if they have not all passed: then the same again, after
    /// the lane's next event.
    func pass(_ bytes: ByteView) -> Bool {
        // What is left of a value that has failed is dropped.
        guard outcome == nil, let target else { return true }
        passed += target.pass(bytes.dropFirst(passed))
        guard passed == bytes.count else {
            wantsRoom = true
            return false
        }
        passed = 0
        return true
    }

    /// Ends the value; nil while that is not settled. Then the lane is free again.
    func finish() -> Outcome? {
        if outcome == nil, let target, !target.isPassed { _ = pass("\r\n") }
        let outcome = outcome
        if outcome != nil { release() }
        return outcome
    }

    /// Gives the value up. False if the target has all of it, and has not answered: ask again.
    func giveUp() -> Bool {
        guard outcome != nil || target?.isPassed != true else { return false }
        release()
        return true
    }

    private func release() {
        close()
        value = nil
        outcome = nil
        passed = 0
        wantsRoom = false
    }

    // MARK: The connection

    private func open(_ address: cp_address) {
        do throws(SystemError) {
            let socket = try Socket(
                connectingTo: address, role: role, inputBytes: StringLane.ringBytes,
                outputBytes: StringLane.ringBytes, keepsSentOutput: true)
            let target = try TargetConnection(
                socket: socket, reactor: reactor, commandsInFlight: 16)
            try reactor.add(socket)
            greeting = newGreeting
            self.target = target
        } catch {
            refuse("\(error)")
        }
    }

    private func close() {
        guard let target else { return }
        bytesSentBefore += target.bytesSent
        reactor.close(target.socket)
        self.target = nil
    }

    private func refuse(_ reason: String) {
        close()
        refusal =
            "large strings are built by APPEND, which stalls the target up to 0.5 ms per MiB: "
            + "a second connection to it cannot be had (\(reason))"
    }

    private func lose(_ reason: String) {
        guard let target else { return }
        let error = target.errorText.printable()
        guard greeting.isDone else { return refuse(error.isEmpty ? reason : error) }
        close()
        // One that nobody has taken yet is opened again.
        guard value != nil, outcome == nil else { return }
        outcome = .failed(
            reason:
                "the connection for large strings was lost: \(reason); if the target closed it, "
                + "see its log, client-query-buffer-limit and maxmemory-clients",
            mayPass: true)
        refuse(reason)
    }

    // MARK: Events of its socket

    public func connected() {
        guard let target else { return }
        greeting.begin(target)
    }

    /// Reads what has come. Values that wait for the lane are to ask again.
    public func read() {
        guard let socket = target?.socket else { return }
        repeat { takeReplies() } while socket.fill(limit: socket.input.capacity) > 0
        if socket.reachedEnd { lose("it was closed") }
    }

    public func failed(_ error: SystemError) {
        target?.socket.fillAfterFailure()
        takeReplies()
        lose("\(error)")
    }

    private func takeReplies() {
        do throws(RESPError) {
            while let target, let reply = try target.nextReply() { settle(reply, target) }
        } catch {
            lose("it brought bytes that are no reply")
        }
    }

    private func settle(_ reply: TargetReply, _ target: TargetConnection) {
        switch reply.command.kind {
        case .shadow:
            guard reply.reply.hasError else {
                outcome = .stored
                return
            }
            outcome = .failed(
                reason: target.errorText.printable(),
                mayPass: ShadowWriter.mayPass(target.errorText))
            // The rest of the argument would be taken for commands.
            if !target.isPassed { close() }
        case .select:
            if reply.reply.hasError { refuse(target.errorText.printable()) }
        default:
            if case .refused(_, let message) = greeting.receive(reply, target) { refuse(message) }
        }
    }

    /// Whether there is room again for a value that waits for it.
    public func hasNewRoom() -> Bool {
        // A SELECT is to be answered first.
        guard wantsRoom, let target, target.commandsInFlight == 1, target.makeRoom() else {
            return false
        }
        wantsRoom = false
        return true
    }

    /// Ends a connection that hangs; true if values that wait for it are to ask again.
    public func watch(greetingLimit: Int64, silenceLimit: Int64) -> Bool {
        guard let target else { return false }
        let silence = target.silence()
        guard silence > (greeting.isDone ? silenceLimit : greetingLimit) else { return false }
        lose("no answer for \(silence / 1_000_000_000) s")
        return true
    }
}

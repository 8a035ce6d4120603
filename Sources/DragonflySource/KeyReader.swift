public import Bytes
internal import Wire

/// Reads single keys from the source on a connection of its own, between two looks at the LSN of the
/// key's shard, so that a caller can tell which records a value holds (protocol.md 6.9).
///
/// A state machine without I/O, used like `ControlSession`. A value of ordinary size is asked for in
/// one packet with both looks at the LSN, so that the time in which a record could come between does
/// not depend on the distance to the source; commands of one ordinary connection are executed in
/// order. Nothing of this is ever written to a flow.
///
///     reader.read(database: 0, key: key, flow: 1, now: now, output: &sendRing)
///     // Readable: as with ControlSession, until .finished
public struct KeyReader: ~Copyable {
    public enum Phase: Sendable {
        case connecting, authenticating, idle, reading, failed
    }

    /// What was asked and not yet answered.
    enum Question {
        case login, select, size, offsetBefore, offsetAfter, dump, expiryTime, clock, timeToLive
        case type, piece
    }

    /// What comes when everything asked is answered.
    enum Stage {
        case select, size, whole, typeOfLarge, piecesOfType, pieces, end, done
    }

    /// How a large value is read.
    enum Piecewise {
        case string, list, set, hash, sortedSet
    }

    let settings: KeyReaderSettings
    public internal(set) var phase = Phase.connecting
    /// The encoded value that was read, from after the key to its end; valid until the next `read`.
    public var value: ByteView { content.view.slice(valueStart, valueCount) }

    /// Hands the buffer that holds `value` over, in exchange for another one; returns where in it
    /// the value is.
    public mutating func exchangeBuffer(_ other: inout RegionBuffer) -> (start: Int, count: Int) {
        swap(&content, &other)
        defer { (valueStart, valueCount) = (0, 0) }
        return (valueStart, valueCount)
    }

    var reading = KeyReading()
    var content: RegionBuffer
    var valueStart = 0
    var valueCount = 0
    var key: RegionBuffer
    var database = 0
    var flow = 0
    /// -1 after a refused SELECT.
    var selectedDatabase = 0
    var stage = Stage.done
    /// What comes once the database is selected.
    private var firstStage = Stage.size
    var questions: [Question] = []
    /// Sources before v1.21 or so do not know PEXPIRETIME; then clock and time to live are asked.
    var knowsExpiryTime = true
    var mustAskAgain = false
    var clockMilliseconds: Int64 = 0

    // Of a value that is read in pieces.
    var piecewise = Piecewise.string
    var isLarge = false
    /// What was asked for so far, bytes of a string or elements of a list.
    var position = 0
    /// Bytes of a string, or elements, that came.
    var elementCount = 0
    var scanCursor = "0"
    var hasScanned = false

    // Of the reply that is being read.
    var tokenizer = RESPTokenizer()
    var arrays: [Int] = []
    var leaf = 0
    var isInsideBulk = false
    var sink = Sink.small
    var small: RegionBuffer
    private var lastHeard: Int64

    enum Sink {
        case small, content, nowhere
    }

    public init(_ settings: KeyReaderSettings, now: Int64) throws(SystemError) {
        let content = try RegionBuffer()
        let key = try RegionBuffer()
        let small = try RegionBuffer(capacity: 4096)
        self.settings = settings
        self.content = content
        self.key = key
        self.small = small
        lastHeard = now
    }

    /// The connection is established.
    public mutating func connected(now: Int64, output: inout MirroredRing) -> KeyReaderAction {
        guard phase == .connecting else { return .none }
        lastHeard = now
        guard let credentials = settings.credentials else {
            phase = .idle
            return .ready
        }
        phase = .authenticating
        questions = [.login]
        guard output.append(command: credentials.command) else {
            return fail(.refused, "AUTH does not fit the send buffer; use a shorter password")
        }
        return .none
    }

    /// Begins to read a key of the source's shard `flow`. Only while `phase` is idle.
    /// - Parameter neverInPieces: its elements may have an expiry, which only DUMP tells.
    public mutating func read(
        database: Int, key name: ByteView, flow: Int, neverInPieces: Bool = false, now: Int64,
        output: inout MirroredRing
    ) -> KeyReaderAction {
        precondition(phase == .idle, "one key at a time")
        phase = .reading
        lastHeard = now
        reading = KeyReading()
        self.database = database
        self.flow = flow
        isLarge = false
        firstStage = neverInPieces ? .whole : .size
        stage = database == selectedDatabase ? firstStage : .select
        content.clear(keeping: 1 << 20)
        (valueStart, valueCount) = (0, 0)
        key.clear(keeping: 1 << 20)
        do throws(SystemError) {
            try key.append(name)
        } catch {
            return fail(.restart, "no memory to read a key: \(error)")
        }
        return proceed(&output)
    }

    /// Bytes from the source, from the first not yet consumed one.
    public mutating func receive(
        _ input: ByteView, now: Int64, output: inout MirroredRing
    ) -> (consumed: Int, action: KeyReaderAction) {
        guard phase != .failed else { return (input.count, .none) }
        if !input.isEmpty { lastHeard = now }
        var consumed = 0
        while true {
            let token: RESPToken
            do throws(RESPError) {
                token = try tokenizer.next(input, at: &consumed)
            } catch {
                return (input.count, fail(.restart, "the source sent bytes that are no reply"))
            }
            if case .needMore = token { return (consumed, .none) }
            guard let question = questions.first else {
                return (input.count, fail(.restart, "the source answered what was not asked"))
            }
            do throws(SystemError) {
                if let error = try take(token, question) { return (consumed, end(error)) }
            } catch {
                return (input.count, fail(.restart, "no memory for a key's value: \(error)"))
            }
            guard arrays.isEmpty, !isInsideBulk else { continue }
            questions.removeFirst()
            leaf = 0
            if question == .piece { endPiece() }
            if questions.isEmpty {
                let action = answered(question, &output)
                if action != .none { return (consumed, action) }
            }
        }
    }

    /// Moves the reader's clock: notices a source that does not answer. Call it every second.
    public mutating func tick(now: Int64) -> KeyReaderAction {
        guard phase != .idle, phase != .failed, now - lastHeard >= SessionTiming.answerLimit else {
            return .none
        }
        return fail(.restart, "the source did not answer in \((now - lastHeard) / 1000) s")
    }

    /// The connection could not be made, or has ended.
    public mutating func connectionEnded(_ reason: String) -> KeyReaderAction {
        guard phase != .failed else { return .none }
        return fail(.restart, "no connection to the source: \(reason)")
    }

    mutating func fail(_ kind: SourceError.Kind, _ message: String) -> KeyReaderAction {
        end(SourceError(kind, message))
    }

    private mutating func end(_ error: SourceError) -> KeyReaderAction {
        phase = .failed
        return .failed(error)
    }

    // MARK: Steps

    private mutating func answered(
        _ question: Question, _ output: inout MirroredRing
    ) -> KeyReaderAction {
        if question == .login {
            phase = .idle
            return .ready
        }
        if question == .select, selectedDatabase != database, reading.outcome == .missing {
            return fail(.restart, "the source answered neither OK nor an error to SELECT")
        }
        if case .refused = reading.outcome { return finish() }
        return proceed(&output)
    }

    private mutating func finish() -> KeyReaderAction {
        phase = .idle
        return .finished(reading)
    }

    /// Asks for what comes next.
    private mutating func proceed(_ output: inout MirroredRing) -> KeyReaderAction {
        let commands: [Question]
        switch stage {
        case .select:
            commands = [.select]
            stage = firstStage
        case .size:
            commands = [.size]
            stage = .whole
        case .whole where isLarge:
            commands = [.offsetBefore]
            stage = .typeOfLarge
        case .whole:
            mustAskAgain = false
            reading.outcome = .missing
            content.clear(keeping: 1 << 20)
            commands = [.offsetBefore, .dump] + expiryQuestions + [.offsetAfter]
            stage = .done
        case .typeOfLarge:
            commands = [.type]
            stage = .piecesOfType
        case .piecesOfType:
            // A type that only DUMP gives whole, or a key that has gone meanwhile.
            return proceedByDump(&output)
        case .pieces:
            guard !hasAllPieces else {
                stage = .end
                return proceed(&output)
            }
            commands = [.piece]
        case .end where hasNoPieces:
            return proceedByDump(&output)
        case .end:
            mustAskAgain = false
            endPieces()
            commands = expiryQuestions + [.offsetAfter]
            stage = .done
        case .done:
            if mustAskAgain {
                stage = isLarge ? .end : .whole
                return proceed(&output)
            }
            if !isLarge { endDump() }
            return finish()
        }
        return ask(commands, &output)
    }

    private mutating func proceedByDump(_ output: inout MirroredRing) -> KeyReaderAction {
        isLarge = false
        reading.isInPieces = false
        stage = .whole
        return proceed(&output)
    }

    private mutating func ask(
        _ all: [Question], _ output: inout MirroredRing
    ) -> KeyReaderAction {
        var size = 0
        for question in all { size += byteLimit(words(of: question)) }
        guard size <= output.free else {
            reading.outcome = .refused("its name is too long for the connection's buffer")
            return finish()
        }
        for question in all { ask(words(of: question), &output) }
        questions += all
        return .none
    }

    private var expiryQuestions: [Question] {
        knowsExpiryTime ? [.expiryTime] : [.clock, .timeToLive]
    }

    /// At least the bytes that a command takes.
    private func byteLimit(_ words: [String]) -> Int {
        var size = 32
        for word in words {
            size += 32 + (word == KeyReader.keyMark ? key.count : word.utf8.count)
        }
        return size
    }

    private func ask(_ words: [String], _ output: inout MirroredRing) {
        output.append("*")
        output.append(decimal: Int64(words.count))
        output.append("\r\n")
        for word in words {
            if word == KeyReader.keyMark {
                output.append(argument: key.view)
            } else {
                Array(word.utf8).withByteView { output.append(argument: $0) }
            }
        }
    }
}

extension MirroredRing {
    fileprivate mutating func append(argument bytes: ByteView) {
        append("$")
        append(decimal: Int64(bytes.count))
        append("\r\n")
        append(bytes)
        append("\r\n")
    }
}

import Bytes

// Values that are too large to be held (`DecoderLimits.bigValueBytes`): they go out in parts as they
// arrive. What arrived before that was known goes out first.
extension SnapshotDecoder {
    /// A string says at its start how large it is, decoded.
    func isBigString(_ type: ValueType, _ value: ByteView) throws(DecodeError) -> Bool {
        guard type == .string || reportedType(type) == .json && !limits.keepsJSONWhole else {
            return false
        }
        var cursor = Cursor(value)
        switch try cursor.stringHead() {
        case .plain(let size), .lzf(_, let size): return size > limits.bigValueBytes
        case .integer, nil: return false
        }
    }

    /// Whether what is being assembled, with `more` bytes, has to go out in parts.
    func isTooBig(_ assembly: Assembly, with more: Int) -> Bool {
        guard case .entry(let type) = assembly.kind, !assembly.isRefused else { return false }
        guard
            assembly.valueSize + more > limits.bigValueBytes
                || pool.usedBytes + more > limits.assembliesBytes
        else { return false }
        // A string has said at its start that it is not big, and comes in one piece.
        return PartCursor.canSplit(type) && type.family != .string && type.family != .json
    }

    /// A chunk that is (or begins) a big string: nil if it is none.
    mutating func bigFirstChunk(
        _ id: UInt32, _ payload: ByteView, _ size: Int
    ) throws(DecodeError) -> SnapshotEvent? {
        var cursor = Cursor(payload)
        guard let head = try EntryHead.read(&cursor, keyLimit: keyLimit),
            try isBigString(head.type, payload.dropFirst(cursor.position))
        else { return nil }
        return try beginChunkParts(id, head, cursor.position, size)
    }

    /// Begins with the value of `head`, in a first chunk of `size` bytes, where it is at `start`.
    mutating func beginChunkParts(
        _ id: UInt32, _ head: EntryHead, _ start: Int, _ size: Int
    ) throws(DecodeError) -> SnapshotEvent {
        taken = 9 + start
        let event = try beginParts(head)
        chunkRemaining = size - start
        current?.chunkID = id
        openChunks[id] = current
        return event
    }

    /// Whether a whole value of `size` bytes has to go out in parts.
    func isTooBig(_ type: ValueType, _ size: Int) -> Bool {
        size > limits.bigValueBytes && PartCursor.canSplit(reportedType(type))
    }

    /// Begins with the value of `head`, of which nothing was taken.
    mutating func beginParts(_ head: EntryHead) throws(DecodeError) -> SnapshotEvent {
        let assembly = try beginAssembly(head, ValueWalker(head.type))
        current = assembly
        chunkRemaining = .max
        return beginParts(assembly)
    }

    /// Goes on in parts with what is being assembled.
    mutating func beginParts(_ assembly: Assembly) -> SnapshotEvent {
        guard case .entry(let type) = assembly.kind else {
            preconditionFailure("a journal blob is no value")
        }
        lastBigNumber &+= 1
        assembly.number = lastBigNumber
        assembly.parts = PartCursor(type)
        mode = .parts
        bigValueStep = BigValueStep(
            number: assembly.number, entry: assembly.entry(type), kind: .begin)
        return .bigValue
    }

    /// The next step of the current value.
    mutating func parts(_ source: ByteView) throws(DecodeError) -> SnapshotEvent? {
        guard let assembly = current, let cursor = assembly.parts else {
            preconditionFailure("a value in parts is current")
        }
        if case .entry(let type) = assembly.kind { opcode = type.rawValue }
        if cursor.isComplete { return try endParts(assembly) }
        let isLastPiece = source.count >= chunkRemaining
        let piece = isLastPiece ? source.slice(0, chunkRemaining) : source
        if assembly.isCollecting { return try collect(piece, isLastPiece, assembly) }
        if !assembly.value.isEmpty { return try collectedPart(assembly) }
        if cursor.isPacked { return try packedPart(piece, isLastPiece, assembly) }
        let step = try nextStep(piece, assembly)
        if step.bytes > 0 {
            pass(step.bytes, assembly)
            return event(step.part, piece.slice(0, step.bytes), assembly)
        }
        guard isLastPiece || isFull(source) else { return .needMore }
        if piece.isEmpty { return try leaveChunk(assembly) }
        guard cursor.hasUnits else { throw DecodeError(.straddlesBoundary) }
        assembly.isCollecting = true
        assembly.walker = ValueWalker(program: cursor.unitProgram)
        return nil
    }

    private mutating func nextStep(
        _ window: ByteView, _ assembly: Assembly
    ) throws(DecodeError) -> PartCursor.Step {
        let step = try assembly.parts!.next(
            window, limit: limits.windowBytes, nameLimit: keyLimit, scratch: &keyScratch)
        if assembly.parts!.isPacked { lzf.start() }
        return step
    }

    private mutating func pass(_ size: Int, _ assembly: Assembly) {
        taken = size
        if assembly.chunkID != 0 { chunkRemaining -= size }
        assembly.valueSize += size
        if assembly.valueSize > limits.valueBytes { assembly.isRefused = true }
    }

    /// Nil if there is nothing to tell, or nobody to tell it to.
    private mutating func event(
        _ part: BigValuePart?, _ bytes: ByteView, _ assembly: Assembly
    ) -> SnapshotEvent? {
        guard let part, !assembly.isRefused, case .entry(let type) = assembly.kind else {
            return nil
        }
        bigValueStep = BigValueStep(
            number: assembly.number, entry: assembly.entry(type, value: bytes), kind: .part(part))
        return .bigValue
    }

    /// The chunk is over, and the value is not.
    private mutating func leaveChunk(_ assembly: Assembly) throws(DecodeError) -> SnapshotEvent? {
        guard assembly.parts?.maySplitHere ?? false else { throw DecodeError(.straddlesBoundary) }
        current = nil
        mode = .item
        return nil
    }

    private mutating func endParts(_ assembly: Assembly) throws(DecodeError) -> SnapshotEvent {
        guard case .entry(let type) = assembly.kind else {
            preconditionFailure("a journal blob is no value")
        }
        guard assembly.chunkID == 0 || chunkRemaining == 0 else {
            throw DecodeError(.straddlesBoundary)
        }
        if assembly.chunkID != 0 { openChunks[assembly.chunkID] = nil }
        deliver(assembly)
        bigValueStep = BigValueStep(
            number: assembly.number, entry: assembly.entry(type),
            kind: .end(refusedSize: assembly.isRefused ? assembly.valueSize : nil))
        return .bigValue
    }

    // MARK: LZF

    private mutating func packedPart(
        _ piece: ByteView, _ isLastPiece: Bool, _ assembly: Assembly
    ) throws(DecodeError) -> SnapshotEvent? {
        let cursor = assembly.parts!
        let input = piece.slice(0, min(piece.count, cursor.packedBytesLeft))
        // One byte more than there may be, so that too many are noticed.
        let limit = min(limits.windowBytes, cursor.decodedBytesLeft + 1)
        guard let (consumed, output) = lzf.decompress(input, limit: limit) else {
            throw DecodeError(.damagedCompression)
        }
        if consumed == 0, output.isEmpty, cursor.packedBytesLeft > 0 {
            guard !isLastPiece else { throw DecodeError(.straddlesBoundary) }
            return .needMore
        }
        let part = try assembly.parts!.passPacked(
            used: consumed, produced: output.count, isWhole: lzf.isWhole)
        pass(consumed, assembly)
        return event(output.isEmpty ? nil : part, output, assembly)
    }

    // MARK: Collected bytes

    /// The next part of what was collected. Its last unit may not be whole.
    private mutating func collectedPart(
        _ assembly: Assembly
    ) throws(DecodeError) -> SnapshotEvent? {
        let rest = assembly.value.view.dropFirst(assembly.drained)
        if !rest.isEmpty {
            let step = try nextStep(rest, assembly)
            assembly.drained += step.bytes
            if step.bytes > 0 { return event(step.part, rest.slice(0, step.bytes), assembly) }
            guard assembly.parts!.hasUnits else { throw DecodeError(.damagedContainer) }
            assembly.isCollecting = true
        }
        pool.removeFirst(assembly.drained, of: assembly)
        assembly.drained = 0
        if assembly.isCollecting {
            assembly.walker = ValueWalker(program: assembly.parts!.unitProgram)
            let passed = try assembly.walker.advance(assembly.value.view)
            guard passed == assembly.value.count else { throw DecodeError(.damagedContainer) }
        }
        return nil
    }

    /// Adds what `piece` has of the unit that is being collected.
    private mutating func collect(
        _ piece: ByteView, _ isLastPiece: Bool, _ assembly: Assembly
    ) throws(DecodeError) -> SnapshotEvent? {
        let count = try assembly.walker.advance(piece)
        try pool.append(piece.slice(0, count), to: assembly)
        taken = count
        if assembly.chunkID != 0 { chunkRemaining -= count }
        if assembly.valueSize > limits.valueBytes { assembly.isRefused = true }
        if assembly.walker.isComplete {
            assembly.isCollecting = false
            // There was no room for it.
            if assembly.value.isEmpty { try assembly.parts!.skipUnit() }
            return nil
        }
        guard isLastPiece else { return .needMore }
        guard chunkRemaining == 0, assembly.walker.isBetweenPrimitives else {
            throw DecodeError(.straddlesBoundary)
        }
        return try leaveChunk(assembly)
    }
}

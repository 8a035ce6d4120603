import Bytes

// Items in pieces: tagged chunks (protocol.md 3.7.1), journal blobs (3.6), and whatever does not
// fit the window.
extension SnapshotDecoder {
    private static let chunkHeaderSize = 9

    mutating func chunk(_ source: ByteView) throws(DecodeError) -> SnapshotEvent? {
        let start = SnapshotDecoder.chunkHeaderSize
        guard source.count >= start else { return .needMore }
        let id = source.little(1, as: UInt32.self)
        let size = Int(source.little(5, as: UInt32.self))
        guard id != 0, id != .max, size > 0 else { throw DecodeError(.badChunk) }
        if let assembly = openChunks[id] {
            taken = start
            current = assembly
            chunkRemaining = size
            mode = assembly.parts == nil ? .assembling : .parts
            return nil
        }
        let rest = source.dropFirst(start)
        if let event = try bigFirstChunk(id, rest.slice(0, min(rest.count, size)), size) {
            return event
        }
        if rest.count >= size { return try wholeFirstChunk(id, rest.slice(0, size)) }
        guard isFull(source) else { return .needMore }
        return try largeFirstChunk(id, rest, size)
    }

    /// The first chunk of an entry, all of it at hand. If it is the only one, nothing is copied.
    private mutating func wholeFirstChunk(
        _ id: UInt32, _ payload: ByteView
    ) throws(DecodeError) -> SnapshotEvent? {
        var cursor = Cursor(payload)
        guard let head = try EntryHead.read(&cursor, keyLimit: keyLimit) else {
            throw DecodeError(.straddlesBoundary)
        }
        let start = cursor.position
        var walker = ValueWalker(head.type)
        let count = try walker.advance(payload.dropFirst(start))
        guard start + count == payload.count, walker.isBetweenPrimitives else {
            throw DecodeError(.straddlesBoundary)
        }
        let value = payload.dropFirst(start)
        if walker.isComplete, isTooBig(head.type, value.count) {
            return try beginChunkParts(id, head, start, payload.count)
        }
        taken = SnapshotDecoder.chunkHeaderSize + payload.count
        if walker.isComplete { return .entry(try makeEntry(head, value: value)) }
        try openChunk(id, head, walker, value)
        return nil
    }

    /// A first chunk that does not fit the window: `beginning` is what there is of it.
    private mutating func largeFirstChunk(
        _ id: UInt32, _ beginning: ByteView, _ size: Int
    ) throws(DecodeError) -> SnapshotEvent? {
        var cursor = Cursor(beginning)
        guard let head = try EntryHead.read(&cursor, keyLimit: keyLimit) else {
            throw DecodeError(.lengthAboveLimit)
        }
        let start = cursor.position
        var walker = ValueWalker(head.type)
        let count = try walker.advance(beginning.dropFirst(start))
        // There is more of the chunk, so the value must not be over yet.
        guard !walker.isComplete else { throw DecodeError(.straddlesBoundary) }
        try openChunk(id, head, walker, beginning.slice(start, count))
        taken = SnapshotDecoder.chunkHeaderSize + start + count
        current = openChunks[id]
        chunkRemaining = size - start - count
        mode = .assembling
        return nil
    }

    private mutating func openChunk(
        _ id: UInt32, _ head: EntryHead, _ walker: ValueWalker, _ value: ByteView
    ) throws(DecodeError) {
        let assembly = try beginAssembly(head, walker)
        assembly.chunkID = id
        openChunks[id] = assembly
        try pool.append(value, to: assembly)
    }

    mutating func journalBlob(_ source: ByteView) throws(DecodeError) -> SnapshotEvent? {
        var cursor = Cursor(source, at: 1)
        guard let count = try cursor.count() else { return .needMore }
        let start = cursor.position
        if let body = try cursor.string() {
            taken = cursor.position
            return .journalBlob(count: count, body: try decodedBody(body))
        }
        guard isFull(source) else { return .needMore }
        let walker = ValueWalker(program: ValueLayout.string)
        current = try pool.take(.journalBlob(count: count), key: ByteView(), walker: walker)
        chunkRemaining = .max
        taken = start
        mode = .assembling
        return nil
    }

    private mutating func decodedBody(_ body: WireString) throws(DecodeError) -> ByteView {
        if case .lzf(_, let originalCount) = body, !pool.hasRoom(originalCount) {
            throw DecodeError(.lengthAboveLimit)
        }
        return try body.decoded(scratch: &bodyScratch)
    }

    /// Moves what `source` has of the current assembly's bytes into it.
    mutating func assemble(_ source: ByteView) throws(DecodeError) -> SnapshotEvent? {
        guard let assembly = current else { preconditionFailure("an assembly is current") }
        let isLastPiece = source.count >= chunkRemaining
        let piece = isLastPiece ? source.slice(0, chunkRemaining) : source
        if isTooBig(assembly, with: piece.count) { return beginParts(assembly) }
        let count = try assembly.walker.advance(piece)
        try pool.append(piece.slice(0, count), to: assembly)
        if assembly.isRefused, case .journalBlob = assembly.kind {
            // Its records cannot be named one by one, so it cannot be passed over.
            throw DecodeError(.lengthAboveLimit)
        }
        taken = count
        let isInChunk = assembly.chunkID != 0
        if isInChunk { chunkRemaining -= count }
        if assembly.walker.isComplete {
            guard !isInChunk || chunkRemaining == 0 else { throw DecodeError(.straddlesBoundary) }
            return try finish(assembly)
        }
        guard isLastPiece else { return .needMore }
        guard chunkRemaining == 0, assembly.walker.isBetweenPrimitives else {
            throw DecodeError(.straddlesBoundary)
        }
        current = nil
        mode = .item
        return nil
    }

    /// The event of a complete assembly.
    private mutating func finish(_ assembly: Assembly) throws(DecodeError) -> SnapshotEvent {
        if assembly.chunkID != 0 { openChunks[assembly.chunkID] = nil }
        deliver(assembly)
        switch assembly.kind {
        case .journalBlob(let count):
            var cursor = Cursor(assembly.value.view)
            guard let body = try cursor.string() else {
                preconditionFailure("the walker passed a whole string")
            }
            return .journalBlob(count: count, body: try decodedBody(body))
        case .entry(let type):
            let entry = assembly.entry(type, value: assembly.value.view)
            return assembly.isRefused ? .refused(entry, size: assembly.valueSize) : .entry(entry)
        }
    }
}

import Bytes

// Items of the snapshot that are no chunks. Each function decodes the item at the start of
// `source`, sets `taken`, and returns nil if there is nothing to tell.
extension SnapshotDecoder {
    /// No key may be longer, encoded or decoded.
    var keyLimit: Int { limits.windowBytes / 2 }

    /// There is no use in waiting for more: the item does not fit.
    func isFull(_ source: ByteView) -> Bool { source.count >= limits.windowBytes }

    mutating func header(_ source: ByteView) throws(DecodeError) -> SnapshotEvent? {
        let magic = ByteView("REDIS")
        let size = min(source.count, magic.count)
        guard source.slice(0, size).equals(magic.slice(0, size)) else {
            throw DecodeError(.badHeader)
        }
        guard source.count >= 9 else { return .needMore }
        for index in 5..<9 {
            let digit = source[index] &- UInt8(ascii: "0")
            guard digit <= 9 else { throw DecodeError(.badHeader) }
            version = version * 10 + Int(digit)
        }
        guard version >= 1 else { throw DecodeError(.badHeader) }
        taken = 9
        mode = .item
        return nil
    }

    // MARK: Entries

    /// An entry with or without prefixes.
    mutating func entry(_ source: ByteView) throws(DecodeError) -> SnapshotEvent? {
        var cursor = Cursor(source)
        guard let head = try EntryHead.read(&cursor, keyLimit: keyLimit) else {
            return try waitForHead(source)
        }
        let start = cursor.position
        var count = waitingCount ?? 0
        if count == 0 {
            if try isBigString(head.type, source.dropFirst(start)) {
                waitingCount = nil
                taken = start
                return try beginParts(head)
            }
            walker = ValueWalker(head.type)
        }
        count += try walker.advance(source.dropFirst(start + count))
        if walker.isComplete {
            waitingCount = nil
            if isTooBig(head.type, count) {
                // It is at hand, but one huge command would hold the target up.
                taken = start
                return try beginParts(head)
            }
            taken = start + count
            return .entry(try makeEntry(head, value: source.slice(start, count)))
        }
        guard isFull(source) else {
            waitingCount = count
            return .needMore
        }
        waitingCount = nil
        let assembly = try beginAssembly(head, walker)
        try pool.append(source.slice(start, count), to: assembly)
        taken = start + count
        current = assembly
        chunkRemaining = .max
        mode = .assembling
        return nil
    }

    /// A head is far smaller than the window.
    private func waitForHead(_ source: ByteView) throws(DecodeError) -> SnapshotEvent {
        guard !isFull(source) else { throw DecodeError(.lengthAboveLimit) }
        return .needMore
    }

    mutating func makeEntry(
        _ head: EntryHead, value: ByteView
    ) throws(DecodeError) -> SnapshotEntry {
        SnapshotEntry(
            database: database, type: reportedType(head.type),
            key: try head.key.decoded(scratch: &keyScratch),
            expiryMilliseconds: head.expiryMilliseconds, isSticky: head.mask & 1 != 0,
            hasMemcachedFlags: head.mask & 2 != 0, value: value)
    }

    /// Old releases wrote JSON with the code that Redis gave to SET_LISTPACK in RDB version 10
    /// (protocol.md 1.4).
    func reportedType(_ type: ValueType) -> ValueType {
        type == .setListpack && version < 10 ? .json : type
    }

    /// An assembly for the entry of `head`, in the current database.
    mutating func beginAssembly(
        _ head: EntryHead, _ walker: ValueWalker
    ) throws(DecodeError) -> Assembly {
        let key = try head.key.decoded(scratch: &keyScratch)
        let assembly = try pool.take(.entry(reportedType(head.type)), key: key, walker: walker)
        assembly.database = database
        assembly.expiryMilliseconds = head.expiryMilliseconds
        assembly.mask = head.mask
        return assembly
    }

    // MARK: Everything else

    mutating func special(_ code: UInt8, _ source: ByteView) throws(DecodeError) -> SnapshotEvent? {
        guard let opcode = SnapshotOpcode(rawValue: code) else {
            throw DecodeError(.unknownOpcode)
        }
        switch opcode {
        case .expiryMilliseconds, .expirySeconds, .mask, .idle, .frequency:
            return try entry(source)
        case .taggedChunk:
            return try chunk(source)
        case .selectDatabase:
            return try selectDatabase(source)
        case .journalBlob:
            return try journalBlob(source)
        case .lz4Blob, .zstdBlob:
            return try enterBlob(opcode == .lz4Blob ? .lz4 : .zstd, source)
        case .auxiliary:
            return try auxiliary(source)
        case .fullSyncEnd, .journalOffset, .end:
            return try milestone(opcode, source)
        case .resizeDatabase:
            return try passLengths(2, source)
        case .slotInfo:
            return try passLengths(3, source)
        case .function:
            return startSkipping(ValueLayout.string)
        case .moduleAuxiliary:
            return startSkipping(ValueLayout.moduleAuxiliary)
        case .shardDocumentIndex:
            return startSkipping(ValueLayout.shardDocumentIndex)
        case .vectorIndex:
            return startSkipping(
                hasVectorEntryPoints
                    ? ValueLayout.vectorIndex : ValueLayout.vectorIndexWithoutEntryPoint)
        }
    }

    private mutating func selectDatabase(_ source: ByteView) throws(DecodeError) -> SnapshotEvent? {
        var cursor = Cursor(source, at: 1)
        guard let number = try cursor.count() else { return .needMore }
        database = number
        taken = cursor.position
        return nil
    }

    private mutating func passLengths(
        _ count: Int, _ source: ByteView
    ) throws(DecodeError) -> SnapshotEvent? {
        var cursor = Cursor(source, at: 1)
        for _ in 0..<count where try cursor.length() == nil { return .needMore }
        taken = cursor.position
        return nil
    }

    private mutating func enterBlob(
        _ format: FrameDecompressor.Format, _ source: ByteView
    ) throws(DecodeError) -> SnapshotEvent? {
        guard blob == nil else { throw DecodeError(.outOfOrder) }
        var cursor = Cursor(source, at: 1)
        guard let head = try cursor.stringHead() else { return .needMore }
        guard case .plain(let size) = head else { throw DecodeError(.badString) }
        taken = cursor.position
        blob = format
        blobRemaining = size
        return nil
    }

    /// The three marks at the end of the snapshot, in their order (protocol.md 4.1).
    private mutating func milestone(
        _ opcode: SnapshotOpcode, _ source: ByteView
    ) throws(DecodeError) -> SnapshotEvent {
        switch opcode {
        case .fullSyncEnd:
            guard !isFullSyncEnded else { throw DecodeError(.outOfOrder) }
        case .journalOffset:
            guard isFullSyncEnded else { throw DecodeError(.outOfOrder) }
        default:
            guard hasJournalOffset, blob == nil else { throw DecodeError(.outOfOrder) }
            guard openChunks.isEmpty else { throw DecodeError(.badChunk) }
        }
        guard source.count >= 9 else { return .needMore }
        taken = 9
        switch opcode {
        case .fullSyncEnd:
            isFullSyncEnded = true
            return .fullSyncEnd
        case .journalOffset:
            hasJournalOffset = true
            return .journalOffset(source.little(1, as: UInt64.self))
        default:
            mode = .finished
            return .end
        }
    }

    // MARK: AUX and what is passed over

    private mutating func auxiliary(_ source: ByteView) throws(DecodeError) -> SnapshotEvent? {
        var cursor = Cursor(source, at: 1)
        guard let name = try cursor.string() else { return try waitForHead(source) }
        guard name.decodedCount <= keyLimit else { throw DecodeError(.lengthAboveLimit) }
        let start = cursor.position
        if let value = try cursor.string() {
            taken = cursor.position
            let nameBytes = try name.decoded(scratch: &keyScratch)
            guard value.decodedCount <= limits.windowBytes else {
                return .auxiliary(name: nameBytes, value: ByteView())
            }
            let valueBytes = try value.decoded(scratch: &bodyScratch)
            noteRelease(nameBytes, valueBytes)
            return .auxiliary(name: nameBytes, value: valueBytes)
        }
        guard isFull(source) else { return .needMore }
        // The name must outlive the window.
        if case .plain(let bytes) = name {
            keyScratch.clear()
            do {
                try keyScratch.append(bytes)
            } catch {
                throw DecodeError(.outOfMemory)
            }
        } else {
            _ = try name.decoded(scratch: &keyScratch)
        }
        _ = startSkipping(ValueLayout.string)
        isSkippingAuxiliary = true
        taken = start
        return nil
    }

    private mutating func noteRelease(_ name: ByteView, _ value: ByteView) {
        guard name.equals(ByteView("df-ver")) else { return }
        let prefix = ByteView("df-v")
        guard value.starts(with: prefix),
            let release = SnapshotDecoder.majorAndMinor(value.dropFirst(prefix.count))
        else { return }
        hasVectorEntryPoints = release >= (1, 39)
    }

    /// The first two numbers of a text such as `1.40.0-87-gf8eca6d0b`.
    private static func majorAndMinor(_ text: ByteView) -> (Int, Int)? {
        var numbers = (0, 0)
        var dots = 0
        for index in 0..<min(text.count, 16) {
            let byte = text[index]
            if byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") {
                let digit = Int(byte - UInt8(ascii: "0"))
                if dots == 0 {
                    numbers.0 = numbers.0 &* 10 &+ digit
                } else {
                    numbers.1 = numbers.1 &* 10 &+ digit
                }
            } else if byte == UInt8(ascii: ".") && dots == 0 {
                dots = 1
            } else {
                break
            }
        }
        return dots == 1 ? numbers : nil
    }

    /// Passes over an item whose opcode is at the start of the source.
    private mutating func startSkipping(_ program: ByteView) -> SnapshotEvent? {
        walker = ValueWalker(program: program)
        isSkippingAuxiliary = false
        taken = 1
        mode = .skipping
        return nil
    }

    mutating func skip(_ source: ByteView) throws(DecodeError) -> SnapshotEvent? {
        taken = try walker.advance(source)
        guard walker.isComplete else { return .needMore }
        mode = .item
        return isSkippingAuxiliary
            ? .auxiliary(name: keyScratch.view, value: ByteView()) : nil
    }
}

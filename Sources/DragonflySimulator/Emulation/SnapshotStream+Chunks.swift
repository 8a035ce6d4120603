import Bytes

// Entries that are larger than a chunk (protocol.md 3.7).
extension SnapshotStream {
    /// Writes an entry or, if it is to be cut, its first chunk.
    func begin(_ entry: OpenEntry) throws(SystemError) {
        guard cut(entry) != nil else { return try append(entry.entry.bytes[...]) }
        open.append(entry)
        openEntriesHigh = max(openEntriesHigh, open.count)
        try appendChunk(of: open.count - 1)
        while open.count >= max(options.openEntriesLimit, 1) { try appendRandomChunk() }
    }

    /// Lets open entries go on a little, as their fibers do between other work.
    func advance() throws(SystemError) {
        for _ in 0..<random.next() % 3 where !open.isEmpty { try appendRandomChunk() }
    }

    func completeAll() throws(SystemError) {
        while !open.isEmpty { try appendRandomChunk() }
    }

    private func appendRandomChunk() throws(SystemError) {
        try appendChunk(of: Int(random.next() % UInt64(open.count)))
    }

    /// Writes the next chunk of an open entry, and closes it with its last.
    func appendChunk(of index: Int) throws(SystemError) {
        var entry = open[index]
        let bytes = entry.entry.bytes
        let split = cut(entry)
        let end = split.map { entry.entry.splits[$0] } ?? bytes.count
        try packer.pending.append(byte: 0xe0)
        try packer.pending.append(little: entry.id)
        try packer.pending.append(little: UInt32(end - entry.written))
        try append(bytes[entry.written..<end])
        chunkCount += 1
        guard let split else {
            open.remove(at: index)
            return
        }
        entry.written = end
        entry.nextSplit = split + 1
        open[index] = entry
        try push()
    }

    /// Writes an entry in contiguous pieces, raw, or in one (protocol.md 3.7.4).
    func appendPieces(_ entry: OpenEntry) throws(SystemError) {
        var rest = entry
        while let split = cut(rest) {
            let end = rest.entry.splits[split]
            try append(rest.entry.bytes[rest.written..<end])
            rest.written = end
            rest.nextSplit = split + 1
            try pushCutEntry()
        }
        try append(rest.entry.bytes[rest.written...])
    }

    /// Where an entry is to be cut next: the first place at which more than a chunk is pending. Nil
    /// if the rest fits.
    private func cut(_ entry: OpenEntry) -> Int? {
        guard chunkBytes > 0 else { return nil }
        let start = entry.written - packer.pending.count
        return entry.entry.splits[entry.nextSplit...].firstIndex { $0 - start > chunkBytes }
    }

    private func append(_ bytes: ArraySlice<UInt8>) throws(SystemError) {
        try Array(bytes).withByteView { (view) throws(SystemError) in
            try packer.pending.append(view)
        }
    }
}

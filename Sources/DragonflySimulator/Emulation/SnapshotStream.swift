import Bytes
import Glibc

/// Packs one flow's snapshot (protocol.md 3): entries, in tagged chunks that interleave where the
/// release has them, journal blobs, compressed blobs, and what surrounds them.
///
/// Not thread-safe: its owner calls it under its lock.
final class SnapshotStream {
    /// An entry whose first chunk is written and whose last is not.
    struct OpenEntry {
        let entry: EncodedEntry
        let id: UInt32
        /// What is written of its bytes, and which split comes next.
        var written = 0
        var nextSplit = 0

        init(_ entry: EncodedEntry, id: UInt32) {
            self.entry = entry
            self.id = id
        }
    }

    let release: EmulatedRelease
    let options: StreamOptions
    /// Tagged chunks written so far.
    var chunkCount = 0
    /// The largest number of entries that were open at once.
    var openEntriesHigh = 0
    let isTagged: Bool
    let chunkBytes: Int
    var packer: BlobPacker
    var open: [OpenEntry] = []
    var random: SplitMix
    private var scratch: RegionBuffer
    private let flow: Int
    private let flowCount: Int
    private let output: any SnapshotOutput
    private var nextID: UInt32 = 1
    /// What FE named last; nil if it must be named again.
    private var database: Int?
    /// The pending bytes begin in the middle of an entry, so they are not compressed.
    private var isRaw = false

    /// - Parameter output: takes the finished bytes, in order.
    init(
        release: EmulatedRelease, options: StreamOptions, flow: Int, flowCount: Int,
        output: any SnapshotOutput
    ) throws(SystemError) {
        self.release = release
        self.options = options
        self.flow = flow
        self.flowCount = flowCount
        self.output = output
        isTagged = release.hasTaggedChunks && options.usesTaggedChunks
        chunkBytes = release.splitsEntries ? options.chunkBytes : 0
        random = SplitMix(seed: options.seed)
        let format: FrameDecompressor.Format? =
            switch options.compression {
            case .none, .lzf: nil
            case .zstd: .zstd
            case .lz4: .lz4
            }
        packer = try BlobPacker(format, largestBlobBytes: release.largestBlobBytes, output: output)
        scratch = try RegionBuffer()
    }

    /// Header and AUX fields; on flow 0 also the scripts.
    func writeHeader(scripts: [[UInt8]]) throws(SystemError) {
        let header = SnapshotHeader(
            release: release.text, releaseNumber: release.number, flow: flow, flowCount: flowCount,
            time: Int64(time(nil)), scripts: flow == 0 ? scripts : [],
            searchIndexes: flow == 0 ? options.searchIndexes : [])
        try header.append(to: &packer.pending)
        try packer.flush(isRaw: true)
    }

    /// Adds an entry; its chunks may stay open.
    func add(_ entry: EncodedEntry) throws(SystemError) {
        try advance()
        try select(entry.name.database)
        let id = nextID
        nextID = nextID == .max - 1 ? 1 : nextID + 1
        if isTagged {
            try begin(OpenEntry(entry, id: id))
        } else {
            try appendPieces(OpenEntry(entry, id: id))
        }
        try flushIfDue()
    }

    /// Writes the remaining chunks of these keys, before a journal entry of theirs.
    func complete(_ names: [KeyName]) throws(SystemError) {
        for name in names {
            while let index = open.firstIndex(where: { $0.entry.name == name }) {
                try appendChunk(of: index)
            }
        }
    }

    /// Adds a journal entry as a blob (protocol.md 3.6). The chunks of its keys must be complete.
    func add(_ entry: JournalEntry) throws(SystemError) {
        // Releases that have EXEC leave it out of the full sync.
        guard entry.operation != .exec else { return }
        try advance()
        try packer.pending.append(byte: 0xd2)
        try packer.pending.append(byte: 1)
        try entry.encoded().withByteView { (body) throws(SystemError) in
            if options.compression == .lzf,
                try packer.pending.append(lzf: body, scratch: &scratch)
            {
                return
            }
            try packer.pending.append(counted: body)
        }
        try flushIfDue()
    }

    /// Completes everything open and hands over what is pending.
    func flush() throws(SystemError) {
        try completeAll()
        try push()
    }

    /// Ends the static part: C8 and zeros, either apart or, as happens under writes, together with
    /// what is pending, so that it can lie inside a blob (protocol.md 4.2).
    func writeFullSyncEnd() throws(SystemError) {
        try completeAll()
        if random.next() % 2 == 0 { try push() }
        try packer.pending.append(byte: 0xc8)
        try packer.pending.append(little: UInt64(0))
        try push()
    }

    /// Ends the snapshot: D3 with the LSN that the next journal entry gets, FF, the token.
    func writeTail(nextLSN: UInt64, token: String) throws(SystemError) {
        if random.next() % 2 == 0 { try push() }
        try packer.pending.append(byte: 0xd3)
        try packer.pending.append(little: nextLSN)
        try push()
        try packer.pending.append(byte: 0xff)
        try packer.pending.append(little: UInt64(0))
        try packer.pending.append(Array(token.utf8))
        try packer.flush(isRaw: true)
    }

    // ---- pending bytes

    /// Hands over what is pending. The database is named again before the next entry.
    func push() throws(SystemError) {
        try packer.flush(isRaw: isRaw)
        isRaw = false
        database = nil
    }

    /// Hands over what is pending although an entry has just been cut: raw, as the rest will be.
    func pushCutEntry() throws(SystemError) {
        try packer.flush(isRaw: true)
        isRaw = true
        database = nil
    }

    private func flushIfDue() throws(SystemError) {
        let pending = packer.pending.count
        if pending >= release.flushBytes || chunkBytes > 0 && pending > chunkBytes { try push() }
    }

    private func select(_ wanted: Int) throws(SystemError) {
        guard wanted != database else { return }
        try packer.pending.append(byte: 0xfe)
        try packer.pending.append(length: wanted)
        database = wanted
    }
}

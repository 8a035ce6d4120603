import Bytes
import Wire

/// Writes the primitives of protocol.md 3.4 and 5.2.
struct StreamBytes {
    var bytes: [UInt8] = []

    init() {}

    /// From hexadecimal digits; spaces are ignored.
    init(hex: String) {
        let digits = hex.utf8.filter { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\n") }
        precondition(digits.count % 2 == 0)
        for index in stride(from: 0, to: digits.count, by: 2) {
            let pair = String(decoding: digits[index...index + 1], as: UTF8.self)
            bytes.append(UInt8(pair, radix: 16) ?? 0)
        }
    }

    mutating func raw(_ more: [UInt8]) { bytes += more }
    mutating func raw(_ more: StreamBytes) { bytes += more.bytes }
    mutating func byte(_ value: UInt8) { bytes.append(value) }

    mutating func little<T: FixedWidthInteger>(_ value: T) {
        withUnsafeBytes(of: value.littleEndian) { bytes += $0 }
    }

    mutating func length(_ value: UInt64) {
        switch value {
        case 0..<64:
            byte(UInt8(value))
        case 64..<16384:
            byte(0x40 | UInt8(value >> 8))
            byte(UInt8(value & 0xff))
        case 16384...UInt64(UInt32.max):
            byte(0x80)
            withUnsafeBytes(of: UInt32(value).bigEndian) { bytes += $0 }
        default:
            byte(0x81)
            withUnsafeBytes(of: value.bigEndian) { bytes += $0 }
        }
    }

    mutating func string(_ value: [UInt8]) {
        length(UInt64(value.count))
        bytes += value
    }

    mutating func string(_ value: String) { string(Array(value.utf8)) }

    /// A str in LZF; the value must be compressible.
    mutating func lzf(_ value: [UInt8]) throws {
        var buffer = try RegionBuffer()
        let isSmaller = try value.withByteView { view throws(SystemError) in
            try LZF.compress(view, into: &buffer)
        }
        precondition(isSmaller)
        byte(0xc3)
        length(UInt64(buffer.count))
        length(UInt64(value.count))
        bytes += buffer.view.array()
    }

    /// An opcode and a str that holds `content` as one compressed frame.
    mutating func blob(_ format: FrameDecompressor.Format, _ content: StreamBytes) throws {
        var buffer = try RegionBuffer()
        try content.bytes.withByteView { view throws(SystemError) in
            try FrameDecompressor.compress(view, format, into: &buffer)
        }
        byte(format == .lz4 ? 0xca : 0xc9)
        string(buffer.view.array())
    }

    mutating func chunk(_ id: UInt32, _ payload: StreamBytes) {
        byte(0xe0)
        little(id)
        little(UInt32(payload.bytes.count))
        raw(payload)
    }

    mutating func header(_ version: String = "0009") { raw(Array("REDIS\(version)".utf8)) }

    /// FULLSYNC_END, JOURNAL_OFFSET and EOF.
    mutating func ending(nextLSN: UInt64 = 1) {
        raw(StreamBytes(hex: "C8 0000000000000000 D3"))
        little(nextLSN)
        raw(StreamBytes(hex: "FF 0000000000000000"))
    }

    mutating func command(
        _ arguments: [String], opcode: UInt64 = 10, transactionID: UInt64 = 0,
        shardCount: UInt64 = 1
    ) {
        length(opcode)
        length(transactionID)
        length(shardCount)
        length(UInt64(arguments.count))
        length(UInt64(arguments.reduce(0) { $0 + $1.utf8.count }))
        for argument in arguments { string(argument) }
    }

    static func make(_ body: (inout StreamBytes) throws -> Void) rethrows -> StreamBytes {
        var result = StreamBytes()
        try body(&result)
        return result
    }
}

/// A reproducible source of random numbers (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

/// An event or record as a value that outlives its views.
enum StreamEvent: Equatable {
    struct Entry: Equatable {
        var database: Int
        var type: ValueType
        var key: [UInt8]
        var expiryMilliseconds: Int64
        var isSticky: Bool
        var hasMemcachedFlags: Bool
        var value: [UInt8]

        init(_ entry: SnapshotEntry) {
            database = entry.database
            type = entry.type
            key = entry.key.array()
            expiryMilliseconds = entry.expiryMilliseconds
            isSticky = entry.isSticky
            hasMemcachedFlags = entry.hasMemcachedFlags
            value = entry.value.array()
        }
    }

    struct Record: Equatable {
        var operation: JournalRecord.Operation
        var database: Int
        var transactionID: UInt64
        var shardCount: UInt64
        var lsn: UInt64
        var arguments: [[UInt8]]

        init(_ record: JournalRecord) {
            operation = record.operation
            database = record.database
            transactionID = record.transactionID
            shardCount = record.shardCount
            lsn = record.lsn
            arguments = []
            var strings = record.arguments
            while let string = strings.next() { arguments.append(string.array()) }
        }

        var texts: [String] { arguments.map { String(decoding: $0, as: UTF8.self) } }
    }

    /// A step of a value in parts; `entry.value` is the part's bytes.
    struct BigStep: Equatable {
        enum Kind: Equatable {
            case begin, opaque
            case bytes(offset: Int)
            case elements(Int)
            case nodes(Int)
            case metadata(StreamMetadata, groupCount: Int)
            case group([UInt8], StreamID, entriesRead: Int64?)
            case pending(Int)
            case consumer([UInt8])
            case owned(Int)
            case end(refusedSize: Int?)
        }

        var number: UInt32
        var entry: Entry
        var kind: Kind

        init(_ step: BigValueStep) {
            number = step.number
            entry = Entry(step.entry)
            switch step.kind {
            case .begin: kind = .begin
            case .end(let size): kind = .end(refusedSize: size)
            case .part(.opaque): kind = .opaque
            case .part(.bytes(let offset, _)): kind = .bytes(offset: offset)
            case .part(.elements(let count)): kind = .elements(count)
            case .part(.streamNodes(let count)): kind = .nodes(count)
            case .part(.streamMetadata(let metadata, let count)):
                kind = .metadata(metadata, groupCount: count)
            case .part(.streamGroup(let name, let id, let read)):
                kind = .group(name.array(), id, entriesRead: read)
            case .part(.streamPending(let count)): kind = .pending(count)
            case .part(.streamConsumer(let name)): kind = .consumer(name.array())
            case .part(.streamOwned(let count)): kind = .owned(count)
            }
        }
    }

    case entry(Entry)
    case bigValue(BigStep)
    case refused(Entry, size: Int)
    case journalBlob(count: Int, [Record])
    case auxiliary(name: [UInt8], value: [UInt8])
    case fullSyncEnd
    case journalOffset(UInt64)
    case end
    case token([UInt8])
    /// `end` is the flow offset behind the record.
    case record(Record, end: Int)
    case refusedRecord(Record, size: Int)

    /// Nil for `needMore`.
    init?(_ event: SnapshotEvent, _ step: BigValueStep) throws(DecodeError) {
        switch event {
        case .needMore: return nil
        case .entry(let entry): self = .entry(Entry(entry))
        case .bigValue: self = .bigValue(BigStep(step))
        case .refused(let entry, let size): self = .refused(Entry(entry), size: size)
        case .journalBlob(let count, let body):
            var reader = JournalBlobReader(count: count, body: body)
            var records: [Record] = []
            while let record = try reader.next() { records.append(Record(record)) }
            self = .journalBlob(count: count, records)
        case .auxiliary(let name, let value):
            self = .auxiliary(name: name.array(), value: value.array())
        case .fullSyncEnd: self = .fullSyncEnd
        case .journalOffset(let lsn): self = .journalOffset(lsn)
        case .end: self = .end
        }
    }
}

/// Feeds the bytes of a flow through a ring into the decoders, as a receiver would: snapshot,
/// token, journal.
struct FlowRun {
    var events: [StreamEvent] = []
    var failure: DecodeError?
    /// The LSN after the last record, nil before the journal.
    var nextLSN: UInt64?
    /// Bytes that were consumed.
    var flowOffset = 0
    var assembledBytesMaximum = 0
    var openChunksMaximum = 0
    /// Of everything shown, when events are not kept.
    var checksum: UInt64 = 0

    /// - Parameters:
    ///   - partialLSN: the flow starts with the journal, at that LSN.
    ///   - keepsEvents: false for speed: what events show is read, not kept.
    ///   - segment: the size of the next piece received, at least 1.
    init(
        _ bytes: [UInt8], limits: DecoderLimits = DecoderLimits(), partialLSN: UInt64? = nil,
        keepsEvents: Bool = true, segment: () -> Int
    ) throws {
        var capacity = 4096
        while capacity < 2 * limits.windowBytes { capacity *= 2 }
        var ring = try MirroredRing(capacity: capacity)
        var snapshot = try SnapshotDecoder(limits: limits)
        var lsn = partialLSN ?? 0
        var isSnapshot = partialLSN == nil
        var journal: JournalDecoder?
        if !isSnapshot { journal = try JournalDecoder(nextLSN: lsn, limits: limits) }
        var fed = 0
        while fed < bytes.count {
            let size = min(segment(), ring.free, bytes.count - fed)
            precondition(size > 0, "the decoder must leave room for more")
            bytes.withByteView { ring.append($0.slice(fed, size)) }
            fed += size
            do throws(DecodeError) {
                while isSnapshot {
                    let raw = try snapshot.next(ring.readable)
                    assembledBytesMaximum = max(assembledBytesMaximum, snapshot.assembledBytes)
                    openChunksMaximum = max(openChunksMaximum, snapshot.openChunkCount)
                    flowOffset = snapshot.flowOffset
                    try take(raw, snapshot.bigValueStep, keepsEvents)
                    ring.consume(snapshot.consumed)
                    if case .needMore = raw { break }
                    if case .journalOffset(let value) = raw { lsn = value }
                    if case .end = raw { isSnapshot = false }
                }
                if !isSnapshot && journal == nil && ring.count >= 40 {
                    if keepsEvents { events.append(.token(ring.readable.slice(0, 40).array())) }
                    ring.consume(40)
                    flowOffset += 40
                    // Proof that this cannot fail: no memory is mapped before the first large
                    // record.
                    journal = try? JournalDecoder(
                        nextLSN: lsn, limits: limits, flowOffset: flowOffset)
                }
                while try FlowRun.step(&journal, &ring, &self, keepsEvents) {}
            } catch {
                failure = error
                return
            }
        }
    }

    private mutating func take(
        _ event: SnapshotEvent, _ step: BigValueStep, _ keepsEvents: Bool
    ) throws(DecodeError) {
        do {
            if keepsEvents {
                if let copy = try StreamEvent(event, step) { events.append(copy) }
            } else {
                checksum = try FlowRun.touch(event, step, checksum)
            }
        } catch {
            // The reader of a blob counts from the start of its body.
            throw DecodeError(error.reason, offset: flowOffset, opcode: error.opcode)
        }
    }

    /// Reads every byte that the event shows, so that a wrong view is noticed.
    private static func touch(
        _ event: SnapshotEvent, _ step: BigValueStep, _ seed: UInt64
    ) throws(DecodeError) -> UInt64 {
        switch event {
        case .entry(let entry), .refused(let entry, _):
            return entry.value.xxh64(seed: entry.key.xxh64(seed: seed))
        case .bigValue:
            return step.entry.value.xxh64(seed: step.entry.key.xxh64(seed: seed))
        case .auxiliary(let name, let value):
            return value.xxh64(seed: name.xxh64(seed: seed))
        case .journalBlob(let count, let body):
            var reader = JournalBlobReader(count: count, body: body)
            var result = seed
            while let record = try reader.next() { result = touch(record, result) }
            return result
        case .needMore, .fullSyncEnd, .journalOffset, .end:
            return seed
        }
    }

    private static func touch(_ record: JournalRecord, _ seed: UInt64) -> UInt64 {
        var result = seed
        var strings = record.arguments
        while let string = strings.next() { result = string.xxh64(seed: result) }
        return result
    }

    private static func step(
        _ journal: inout JournalDecoder?, _ ring: inout MirroredRing, _ run: inout FlowRun,
        _ keepsEvents: Bool
    ) throws(DecodeError) -> Bool {
        guard var decoder = journal.take() else { return false }
        let raw = try decoder.next(ring.readable)
        run.assembledBytesMaximum = max(run.assembledBytesMaximum, decoder.assembledBytes)
        var isMore = true
        switch raw {
        case .needMore:
            isMore = false
        case .record(let record):
            if keepsEvents {
                let copy = StreamEvent.Record(record)
                run.events.append(.record(copy, end: decoder.flowOffset))
            } else {
                run.checksum = touch(record, run.checksum)
            }
        case .refused(let record, let size):
            if keepsEvents {
                run.events.append(.refusedRecord(StreamEvent.Record(record), size: size))
            }
        }
        ring.consume(decoder.consumed)
        run.flowOffset = decoder.flowOffset
        run.nextLSN = decoder.nextLSN
        journal = consume decoder
        return isMore
    }

    /// Everything at once, as far as the ring has room.
    init(_ bytes: [UInt8], limits: DecoderLimits = DecoderLimits()) throws {
        try self.init(bytes, limits: limits, segment: { .max })
    }

    var entries: [StreamEvent.Entry] {
        events.compactMap { if case .entry(let entry) = $0 { entry } else { nil } }
    }

    var records: [StreamEvent.Record] {
        events.compactMap { if case .record(let record, _) = $0 { record } else { nil } }
    }
}

import Bytes

/// Spells out the records of one flow as journal entries (protocol.md 5.2), in order.
struct JournalWriter: ~Copyable {
    private let traffic: LiveTraffic
    private let placement: [[UInt16]]
    private let flow: Int
    /// The number of the next record to look at, over all flows.
    private(set) var position = 0
    /// The LSN that the next entry gets.
    private(set) var nextLSN: UInt64 = 1
    private var key: RegionBuffer
    private var value: RegionBuffer

    init(
        _ traffic: LiveTraffic, placement: [[UInt16]], flow: Int
    ) throws(SystemError) {
        let key = try RegionBuffer()
        let value = try RegionBuffer()
        self.traffic = traffic
        self.placement = placement
        self.flow = flow
        self.key = key
        self.value = value
    }

    /// The next record of this flow among the first `limit` records of all; nil if there is none.
    /// It stays the next one until it is appended or skipped.
    mutating func peek(before limit: Int) -> LiveTraffic.Record? {
        while position < limit {
            let record = traffic.record(position)
            if Int(placement[record.kind.rawValue][record.keyIndex]) == flow { return record }
            position += 1
        }
        return nil
    }

    /// Passes records unwritten until the next one has `lsn`, or there is none left.
    mutating func skip(to lsn: UInt64, _ body: (LiveTraffic.Record) -> Void = { _ in }) {
        while nextLSN < lsn, let record = peek(before: traffic.recordCount) {
            body(record)
            pass()
        }
    }

    private mutating func pass() {
        position += 1
        nextLSN += 1
    }

    /// Appends SELECT and the record that `peek` returned.
    mutating func append(
        _ record: LiveTraffic.Record, to buffer: inout RegionBuffer
    ) throws(SystemError) {
        key.clear()
        value.clear()
        try traffic.appendKey(record.kind, record.keyIndex, to: &key)
        if record.kind != .increment { try traffic.appendValue(record.number, to: &value) }
        let name: ByteView =
            switch record.kind {
            case .set: ByteView("SET")
            case .increment: ByteView("INCR")
            case .push: ByteView("LPUSH")
            }
        try buffer.append(byte: 6)
        try buffer.append(length: record.keyIndex % traffic.databaseCount)
        // Transaction 0 and one shard: a command of one shard (protocol.md 5.5).
        try buffer.append(byte: 10)
        try buffer.append(byte: 0)
        try buffer.append(byte: 1)
        try buffer.append(length: record.kind == .increment ? 2 : 3)
        try buffer.append(length: name.count + key.count + value.count)
        try buffer.append(counted: name)
        try buffer.append(counted: key.view)
        if record.kind != .increment { try buffer.append(counted: value.view) }
        pass()
    }

    /// Appends an LSN marker for the entry before (protocol.md 5.4).
    func appendMarker(to buffer: inout RegionBuffer) throws(SystemError) {
        try buffer.append(byte: 15)
        try buffer.append(length: nextLSN - 1)
    }
}

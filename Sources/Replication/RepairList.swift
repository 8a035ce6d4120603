internal import Bytes
internal import DragonflySource
internal import Wire

/// A value that was read for a key under repair, waiting for its flow.
final class ReadValue {
    var bytes: RegionBuffer
    var start = 0
    var count = 0
    var type = ValueType.string
    var isMissing = false
    var isInPieces = false
    var expiryMilliseconds: Int64 = 0

    init() throws(SystemError) {
        bytes = try RegionBuffer()
    }

    var view: ByteView { bytes.view.slice(start, count) }
}

/// One key that is to be read from the source again.
struct Repair {
    enum State {
        /// To be read; in the queue.
        case waiting
        case reading
        /// Read; its flow has not come to the end of the window yet.
        case holding
        /// Its value is in the pipeline.
        case writing
        /// Off the list, but still in the queue.
        case closed
        /// It could not be read or written: the target's value is in doubt, and so is what is made
        /// of it.
        case abandoned
    }

    let database: Int
    let key: [UInt8]
    let flow: Int
    let command: String
    let reason: String
    var state = State.waiting
    /// In the queue, in whatever state it has come to since.
    var isQueued = false
    /// Readings that were of no use.
    var attempts = 0
    /// Not read again before this time, monotonic milliseconds.
    var notBefore: Int64 = 0
    /// LSN of the last record of the key since the mark; 0 for none outside the snapshot.
    var lastTouched: UInt64 = 0
    /// The window of the reading (see `KeyReading`).
    var before: UInt64 = 0
    var after: UInt64 = 0
    var value: ReadValue?
    /// Another record that must lead to a reading came while the value was being written.
    var isMarkedAgain = false
    /// RESTORE was refused: written by commands from now on.
    var byCommands = false
}

/// What a record that names a key finds of it on the list.
enum RepairTouch {
    /// Nothing, or it is another flow's key.
    case none
    /// The value to be written will hold what the record did.
    case held
    /// Its value is in the pipeline and not answered yet: the record is applied to it.
    case pipelined
}

/// Keys whose value must be read from the source again, because a record lost information or was
/// refused (protocol.md 6.8, 6.9).
///
/// A key's value is read between two looks at the LSN of its shard, `before` and `after`: it holds
/// every record below `before` and none from `after` on. When the flow comes to `after`, and no record
/// of the key lay in between, the value is written, and the records that follow are applied to it.
/// Otherwise it is read again. Records that come sooner are applied as ever: what they make of the key
/// is written over, and is the best there is if the key cannot be read.
struct RepairList: ~Copyable {
    /// Keys under repair at once; the table's places follow from it.
    static let keysLimit = 3 << 16
    /// Values that were read and wait for their flow.
    static let valuesLimit = 64
    static let attemptsLimit = 100
    /// More than there can be open ones; those closed since are removed when it is full.
    private static let queueCapacity = 1 << 18
    private static let longestDelayMilliseconds: Int64 = 1000

    private var table: KeyTable<Int32>
    private var repairs: [Repair?] = []
    private var free: [Int] = []
    /// Repairs in state waiting (or closed since), in order of arrival.
    private var queue = FixedQueue<Int32>(capacity: queueCapacity)
    /// Repairs in state holding, and what is asked of them for each record.
    private var holding: [(index: Int, flow: Int, after: UInt64)] = []
    private var spareValues: [ReadValue] = []
    private var valuesOut = 0
    private var abandonedCount = 0
    /// Bytes of all values that were read and not given back.
    private var valueBytes = 0
    private let valueBytesLimit: Int
    /// Keys whose value was read and written.
    private(set) var repaired = 0

    /// - Parameter valueBytesLimit: while the values that wait take more than this, no key is read.
    init(valueBytesLimit: Int) throws(SystemError) {
        self.valueBytesLimit = valueBytesLimit
        table = try KeyTable(slots: 1 << 6, slotsLimit: 1 << 19, filler: 0)
    }

    /// Keys under repair.
    var openCount: Int { table.count - abandonedCount }
    /// Keys under repair, and those that were given up.
    var doubtfulCount: Int { table.count }

    subscript(index: Int) -> Repair {
        get {
            guard let repair = repairs[index] else { preconditionFailure("an open repair") }
            return repair
        }
        set { repairs[index] = newValue }
    }

    /// Open repairs.
    var indices: [Int] {
        repairs.indices.filter { index in
            repairs[index].map { $0.state != .closed && $0.state != .abandoned } ?? false
        }
    }

    // MARK: Marks and records

    /// Puts a key on the list, if it is not there. Nil if there is no room; true if it is new.
    mutating func mark(
        database: Int, key: ByteView, flow: Int, command: String, reason: String
    ) -> Bool? {
        if let place = table.find(database, key) {
            let index = Int(table[place])
            if self[index].state == .writing { self[index].isMarkedAgain = true }
            guard self[index].state == .abandoned else { return false }
            abandonedCount -= 1
            self[index].state = .waiting
            self[index].attempts = 0
            self[index].notBefore = 0
            enqueue(index)
            return true
        }
        guard openCount < RepairList.keysLimit else { return nil }
        let index = free.popLast() ?? repairs.count
        if index == repairs.count { repairs.append(nil) }
        guard table.insert(database, key, Int32(index)) else {
            free.append(index)
            return nil
        }
        repairs[index] = Repair(
            database: database, key: key.array(), flow: flow, command: command, reason: reason)
        enqueue(index)
        return true
    }

    /// Whether the key is under repair, or was given up.
    func isDoubtful(database: Int, key: ByteView) -> Bool { table.find(database, key) != nil }

    /// A record of a key comes on a flow, with its LSN (0 inside the snapshot). Ghosts on another flow
    /// than the key's own do not count.
    mutating func touch(
        database: Int, key: ByteView, flow: Int, lsn: UInt64, now: Int64
    ) -> RepairTouch {
        guard let place = table.find(database, key) else { return .none }
        let index = Int(table[place])
        return self[index].flow == flow ? touch(index, lsn: lsn, now: now) : .none
    }

    /// A flush comes on a flow: it touches all keys.
    mutating func touchAll(flow: Int, lsn: UInt64, now: Int64) {
        for index in indices where self[index].flow == flow {
            _ = touch(index, lsn: lsn, now: now)
        }
    }

    private mutating func touch(_ index: Int, lsn: UInt64, now: Int64) -> RepairTouch {
        switch self[index].state {
        case .closed:
            return .none
        case .abandoned:
            return .held
        case .writing:
            return .pipelined
        case .waiting, .reading:
            self[index].lastTouched = max(self[index].lastTouched, lsn)
        case .holding:
            self[index].lastTouched = max(self[index].lastTouched, lsn)
            if lsn >= self[index].before { retry(index, now: now) }
        }
        return .held
    }

    private mutating func enqueue(_ index: Int) {
        guard !self[index].isQueued else { return }
        if queue.isFull {
            for _ in 0..<queue.count {
                let other = dequeue()
                if self[other].state == .waiting { push(other) } else { removeIfClosed(other) }
            }
        }
        push(index)
    }

    private mutating func push(_ index: Int) {
        self[index].isQueued = true
        queue.push(Int32(index))
    }

    private mutating func dequeue() -> Int {
        let index = Int(queue.popFirst())
        self[index].isQueued = false
        return index
    }

    private mutating func removeIfClosed(_ index: Int) {
        guard self[index].state == .closed else { return }
        repairs[index] = nil
        free.append(index)
    }

    // MARK: Reading

    /// The next key to read; nil if there is none now.
    mutating func nextToRead(now: Int64) -> Int? {
        guard valuesOut < RepairList.valuesLimit, valueBytes <= valueBytesLimit else { return nil }
        for _ in 0..<queue.count {
            let index = dequeue()
            guard self[index].state == .waiting else {
                removeIfClosed(index)
                continue
            }
            if self[index].notBefore > now {
                push(index)
            } else {
                self[index].state = .reading
                valuesOut += 1
                return index
            }
        }
        return nil
    }

    /// An empty place for a value.
    mutating func takeSpareValue() throws(SystemError) -> ReadValue {
        if let value = spareValues.popLast() { return value }
        return try ReadValue()
    }

    /// A key was read. False if a record of the key lay behind the first look at the LSN: it is read
    /// again.
    @discardableResult
    mutating func wasRead(
        _ index: Int, before: UInt64, after: UInt64, value: ReadValue, now: Int64
    ) -> Bool {
        self[index].value = value
        valueBytes += value.count
        guard self[index].lastTouched < before else {
            retry(index, now: now)
            return false
        }
        self[index].state = .holding
        self[index].before = before
        self[index].after = after
        holding.append((index, self[index].flow, after))
        return true
    }

    /// What was read, or written, is of no use: the key is read again, after a while that grows.
    /// - Parameter counts: whether it brings the key nearer to being given up.
    mutating func retry(_ index: Int, now: Int64, counts: Bool = true) {
        giveBackValue(index)
        stopHolding(index)
        if counts { self[index].attempts += 1 }
        let exponent = min(max(0, self[index].attempts - 4), 10)
        let delay = self[index].attempts < 4 ? 0 : Int64(1) << Int64(exponent)
        self[index].notBefore = now + min(delay, RepairList.longestDelayMilliseconds)
        self[index].state = .waiting
        enqueue(index)
    }

    private mutating func stopHolding(_ index: Int) {
        holding.removeAll { $0.index == index }
    }

    private mutating func giveBackValue(_ index: Int) {
        if self[index].state != .waiting { valuesOut -= 1 }
        guard let value = self[index].value else { return }
        valueBytes -= value.count
        value.count = 0
        value.bytes.clear(keeping: 1 << 16)
        spareValues.append(value)
        self[index].value = nil
    }

    // MARK: Writing

    /// A key of a flow that has come to `next` whose value can be written.
    func due(flow: Int, next: UInt64) -> Int? {
        holding.first { $0.flow == flow && $0.after <= next }?.index
    }

    /// The value of a key is in the pipeline: what comes now is applied to it.
    mutating func isWritten(_ index: Int) {
        self[index].state = .writing
        stopHolding(index)
    }

    /// Takes a key off the list.
    mutating func close(_ index: Int, isRepaired: Bool) {
        finish(index)
        if isRepaired { repaired += 1 }
        let repair = self[index]
        repair.key.withByteView { name in
            if let place = table.find(repair.database, name) { table.remove(at: place) }
        }
        self[index].state = .closed
        if !repair.isQueued { removeIfClosed(index) }
    }

    /// Gives a key up, but remembers that its value is in doubt (while there is room for that).
    mutating func abandon(_ index: Int) {
        guard abandonedCount < RepairList.keysLimit else { return close(index, isRepaired: false) }
        finish(index)
        self[index].state = .abandoned
        abandonedCount += 1
    }

    private mutating func finish(_ index: Int) {
        giveBackValue(index)
        stopHolding(index)
        self[index].isMarkedAgain = false
    }
}

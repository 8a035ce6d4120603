internal import Bytes
internal import CPlatform
internal import Wire

/// The fields and members that df2redis removes when their expiry comes (`expire-by-us`): in memory,
/// and on disk so that they survive the process.
///
/// The source drops such an element without a word (protocol.md 5.10). Here stands what the last whole
/// value of each key said of its elements; a record that sets or removes one of them cancels it.
///
///     + <database> <flow> <h|s> <key> <element> <Unix ms>    to be removed from a hash, a set
///     - <database> <key> <element> <Unix ms>                 no more, or done
///     x <database> <key>                                     no element of the key
///     > <database> <key> <database> <key>                    the key has another name
///     * <database|all>                                       all keys are gone
///
/// Names are in hex. The file is written anew at the start, and when most of it is out of date.
struct ElementTimers: ~Copyable {
    static let fileName = "elements.log"
    /// With its name each takes some 200 bytes.
    private static let elementsLimit = 1 << 20
    private static let nameBytesLimit = 128 << 20
    /// The file is not written anew before so much was added.
    private static let linesAtLeast = 1 << 20
    /// How long an element rests whose key is in doubt.
    private static let pauseMilliseconds: Int64 = 1000

    /// An element whose time has come.
    struct Due: Equatable {
        let database: Int
        let flow: Int
        let isSet: Bool
        let key: [UInt8]
        let element: [UInt8]
        /// Unix milliseconds.
        let expiry: Int64
    }

    private struct Timed {
        var expiry: Int64
        /// The command that removes it awaits its reply.
        var isSent = false
    }

    private struct TimedKey {
        var database: Int
        var flow: Int
        var isSet: Bool
        var name: [UInt8]
        var elements: [[UInt8]: Timed] = [:]
    }

    private struct Alarm {
        var time: Int64
        var expiry: Int64
        var key: Int32
        var element: [UInt8]
    }

    private var places: KeyTable<Int32>
    // Those without elements are free.
    private var keys: [TimedKey] = []
    private var freeKeys: [Int32] = []
    // A binary heap, the earliest first. What was cancelled is recognised when it comes up.
    private var alarms: [Alarm] = []
    private(set) var count = 0
    private var nameBytes = 0
    private let elementsLimit: Int
    /// There are more than can be remembered; nothing was written for those.
    private(set) var isFull = false

    private var reader: ValueReader
    private let directory: String
    private var log: StateLog
    private var linesWritten = 0
    // The first line that could not be gathered.
    private var failure: SystemError?
    private var isLoading = false

    /// - Parameter resumes: goes on with what an earlier run left; else every key comes anew.
    init(
        directory: String, resumes: Bool, elementsLimit: Int = elementsLimit
    ) throws(SystemError) {
        // All first: a struct that owns memory cannot be left half made.
        var content: [UInt8] = []
        let places = try KeyTable(slots: 1 << 10, slotsLimit: 1 << 21, filler: Int32(0))
        let reader = try ValueReader()
        var log = try StateLog(path: "\(directory)/\(ElementTimers.fileName)", content: &content)
        if !resumes { try log.erase() }
        self.places = places
        self.reader = reader
        self.directory = directory
        self.elementsLimit = elementsLimit
        self.log = log
        guard resumes else { return }
        isLoading = true
        load(content)
        isLoading = false
        // Not worth a failure: the old file says the same.
        compact()
    }

    private mutating func load(_ content: [UInt8]) {
        for words in StateLog.words(of: content) {
            guard words.count >= 2 else { continue }
            let database = Int(words[1])
            switch (words[0], words.count) {
            case ("+", 7):
                guard let database, let flow = Int(words[2]), let key = name(words[4]),
                    let element = name(words[5]), let expiry = Int64(words[6])
                else { continue }
                key.withByteView {
                    add(
                        database: database, key: $0, flow: flow, isSet: words[3] == "s",
                        element: element, expiry: expiry)
                }
            case ("-", 5):
                guard let database, let key = name(words[2]), let element = name(words[3]),
                    let expiry = Int64(words[4])
                else { continue }
                key.withByteView {
                    remove(database: database, key: $0, element: element, expiry: expiry)
                }
            case ("x", 3):
                guard let database, let key = name(words[2]) else { continue }
                key.withByteView { remove(database: database, key: $0) }
            case (">", 5):
                guard let database, let key = name(words[2]), let toDatabase = Int(words[3]),
                    let toKey = name(words[4])
                else { continue }
                key.withByteView { key in
                    toKey.withByteView {
                        move(database: database, key: key, toDatabase: toDatabase, toKey: $0)
                    }
                }
            case ("*", 2): removeAll(database: database)
            default: continue
            }
        }
    }

    private func name(_ word: String) -> [UInt8]? { StateLog.decoded(hex: word) }

    // MARK: What is to be removed

    /// Calls `body` with each key that has elements here.
    func forEachKey(_ body: (_ database: Int, _ key: [UInt8]) -> Void) {
        for key in keys where !key.elements.isEmpty { body(key.database, key.name) }
    }

    /// A whole value was written: its elements are those to be removed.
    /// - Parameter aliveAt: elements that had expired then were not written, Unix milliseconds.
    mutating func take(
        _ entry: SnapshotEntry, flow: Int, aliveAt: Int64
    ) throws(DecodeError) {
        remove(database: entry.database, key: entry.key)
        try reader.open(type: entry.type, value: entry.value)
        try takeRead(entry, flow, aliveAt)
    }

    /// The same of a part of a big value, `units` elements, which are added to those before.
    mutating func take(
        _ entry: SnapshotEntry, units: Int, flow: Int, aliveAt: Int64
    ) throws(DecodeError) {
        reader.open(type: entry.type, units: units, part: entry.value)
        try takeRead(entry, flow, aliveAt)
    }

    private mutating func takeRead(
        _ entry: SnapshotEntry, _ flow: Int, _ aliveAt: Int64
    ) throws(DecodeError) {
        let isSet = entry.type.family == .set
        while let element = try reader.next() {
            guard element.expiryMilliseconds > aliveAt else { continue }
            add(
                database: entry.database, key: entry.key, flow: flow, isSet: isSet,
                element: element.member.array(), expiry: element.expiryMilliseconds)
        }
    }

    mutating func add(
        database: Int, key: ByteView, flow: Int, isSet: Bool, element: [UInt8], expiry: Int64
    ) {
        guard count < elementsLimit, nameBytes < ElementTimers.nameBytesLimit,
            let index = indexOrNew(database, key)
        else {
            isFull = true
            return
        }
        let place = Int(index)
        keys[place].flow = flow
        keys[place].isSet = isSet
        if keys[place].elements.updateValue(Timed(expiry: expiry), forKey: element) == nil {
            count += 1
            nameBytes += element.count
        }
        push(Alarm(time: expiry, expiry: expiry, key: index, element: element))
        write { [name = keys[place].name] (log) throws(SystemError) in
            try ElementTimers.append(
                database, flow, isSet, name, element, expiry, to: &log)
        }
        if alarms.count > 2 * count + 1024 { dropOutdatedAlarms() }
    }

    /// A record has set or removed an element: it stays.
    mutating func cancel(database: Int, key: ByteView, element: ByteView) {
        guard let index = find(database, key) else { return }
        let element = element.array()
        guard let timed = keys[Int(index)].elements[element] else { return }
        remove(database: database, key: key, element: element, expiry: timed.expiry)
    }

    /// An element was removed on the target, or is not to be.
    mutating func remove(database: Int, key: ByteView, element: [UInt8], expiry: Int64) {
        // Since it was sent it may have got another expiry.
        guard let index = find(database, key),
            keys[Int(index)].elements[element]?.expiry == expiry
        else { return }
        keys[Int(index)].elements[element] = nil
        count -= 1
        nameBytes -= element.count
        write { [name = keys[Int(index)].name] (log) throws(SystemError) in
            try log.append("- \(database) ")
            try log.append(hex: name)
            try log.append(" ")
            try log.append(hex: element)
            try log.append(" \(expiry)\n")
        }
        if keys[Int(index)].elements.isEmpty { free(index) }
    }

    /// The key is gone or written anew.
    mutating func remove(database: Int, key: ByteView) {
        guard let index = find(database, key) else { return }
        write { [name = keys[Int(index)].name] (log) throws(SystemError) in
            try log.append("x \(database) ")
            try log.append(hex: name)
            try log.append("\n")
        }
        forget(index)
    }

    /// The key has another name, or is in another database.
    mutating func move(database: Int, key: ByteView, toDatabase: Int, toKey: ByteView) {
        guard database != toDatabase || !key.equals(toKey) else { return }
        remove(database: toDatabase, key: toKey)
        guard let index = find(database, key), let place = places.find(database, key) else {
            return
        }
        places.remove(at: place)
        let (old, new) = (keys[Int(index)].name, toKey.array())
        keys[Int(index)].database = toDatabase
        keys[Int(index)].name = new
        nameBytes += new.count - old.count
        guard places.insert(toDatabase, toKey, index) else {
            // Growing is all that can fail, and one was removed just now.
            preconditionFailure("a table takes as many keys as it had")
        }
        write { (log) throws(SystemError) in
            try log.append("> \(database) ")
            try log.append(hex: old)
            try log.append(" \(toDatabase) ")
            try log.append(hex: new)
            try log.append("\n")
        }
    }

    /// All keys of a database, or of all of them (nil), are gone.
    mutating func removeAll(database: Int?) {
        guard count > 0 else { return }
        write { (log) throws(SystemError) in
            try log.append("* \(database.map(String.init) ?? "all")\n")
        }
        for index in keys.indices where !keys[index].elements.isEmpty {
            if database == nil || keys[index].database == database { forget(Int32(index)) }
        }
    }

    /// All keys of these slots are gone.
    mutating func removeAll(database: Int, in slots: SlotRanges) {
        for index in keys.indices
        where !keys[index].elements.isEmpty && keys[index].database == database {
            keys[index].name.withByteView { name in
                if slots.contains(name.keySlot()) { remove(database: database, key: name) }
            }
        }
    }

    // MARK: What is due

    /// An element whose time has come, and that was not sent yet; it stays until `remove`.
    mutating func nextDue(now: Int64) -> Due? {
        while let alarm = alarms.first, alarm.time <= now {
            let key = keys[Int(alarm.key)]
            guard let timed = key.elements[alarm.element], timed.expiry == alarm.expiry,
                !timed.isSent
            else {
                popAlarm()
                continue
            }
            return Due(
                database: key.database, flow: key.flow, isSet: key.isSet, key: key.name,
                element: alarm.element, expiry: alarm.expiry)
        }
        return nil
    }

    /// What `nextDue` returned last is on its way.
    mutating func isSent() {
        guard let alarm = alarms.first else { return }
        keys[Int(alarm.key)].elements[alarm.element]?.isSent = true
        popAlarm()
    }

    /// What `nextDue` returned last may not be sent now.
    mutating func postpone(now: Int64) {
        guard var alarm = alarms.first else { return }
        popAlarm()
        alarm.time = now + ElementTimers.pauseMilliseconds
        push(alarm)
    }

    /// The target would not remove it: it is tried again.
    mutating func retry(
        database: Int, key: ByteView, element: [UInt8], expiry: Int64, now: Int64
    ) {
        guard let index = find(database, key),
            keys[Int(index)].elements[element]?.expiry == expiry
        else { return }
        keys[Int(index)].elements[element]?.isSent = false
        push(
            Alarm(
                time: now + ElementTimers.pauseMilliseconds, expiry: expiry, key: index,
                element: element))
    }

    // MARK: The file

    /// What was changed is on disk afterwards.
    mutating func sync() throws(SystemError) {
        if linesWritten > max(ElementTimers.linesAtLeast, 4 * count) { compact() }
        if let failure { throw failure }
        try log.write(mustReachDevice: true)
    }

    private mutating func write(_ line: (inout StateLog) throws(SystemError) -> Void) {
        guard !isLoading, failure == nil else { return }
        do throws(SystemError) {
            try line(&log)
            linesWritten += 1
            // A large value has many.
            if log.bytesGathered > 1 << 20 { try log.write(mustReachDevice: false) }
        } catch {
            failure = error
        }
    }

    private static func append(
        _ database: Int, _ flow: Int, _ isSet: Bool, _ key: [UInt8], _ element: [UInt8],
        _ expiry: Int64, to log: inout StateLog
    ) throws(SystemError) {
        try log.append("+ \(database) \(flow) \(isSet ? "s" : "h") ")
        try log.append(hex: key)
        try log.append(" ")
        try log.append(hex: element)
        try log.append(" \(expiry)\n")
    }

    /// Writes a file of what is open and puts it in the place of the old one.
    private mutating func compact() {
        let fresh = ElementTimers.fileName + ".new"
        do throws(SystemError) {
            var content: [UInt8] = []
            var new = try StateLog(path: "\(directory)/\(fresh)", content: &content)
            try new.erase()
            for key in keys {
                for (element, timed) in key.elements {
                    try ElementTimers.append(
                        key.database, key.flow, key.isSet, key.name, element, timed.expiry,
                        to: &new)
                }
                if new.bytesGathered > 1 << 20 { try new.write(mustReachDevice: false) }
            }
            try new.write(mustReachDevice: true)
            let result = directory.withCString { directory in
                fresh.withCString { fresh in
                    ElementTimers.fileName.withCString { cp_replace_file(directory, $0, fresh) }
                }
            }
            guard result == 0 else { throw SystemError(result: result) }
            log = new
            linesWritten = count
        } catch {
            failure = failure ?? error
        }
    }

    // MARK: Keys

    private func find(_ database: Int, _ key: ByteView) -> Int32? {
        places.find(database, key).map { places[$0] }
    }

    private mutating func indexOrNew(_ database: Int, _ key: ByteView) -> Int32? {
        if let index = find(database, key) { return index }
        let index = freeKeys.last ?? Int32(keys.count)
        guard places.insert(database, key, index) else { return nil }
        let new = TimedKey(database: database, flow: 0, isSet: false, name: key.array())
        nameBytes += key.count
        if freeKeys.popLast() == nil {
            keys.append(new)
        } else {
            keys[Int(index)] = new
        }
        return index
    }

    private mutating func forget(_ index: Int32) {
        count -= keys[Int(index)].elements.count
        for element in keys[Int(index)].elements.keys { nameBytes -= element.count }
        keys[Int(index)].elements = [:]
        free(index)
    }

    private mutating func free(_ index: Int32) {
        let key = keys[Int(index)]
        let place = key.name.withByteView { places.find(key.database, $0) }
        if let place { places.remove(at: place) }
        nameBytes -= key.name.count
        keys[Int(index)].name = []
        freeKeys.append(index)
    }

    // MARK: Alarms

    private mutating func push(_ alarm: Alarm) {
        alarms.append(alarm)
        var child = alarms.count - 1
        while child > 0, alarms[child].time < alarms[(child - 1) / 2].time {
            alarms.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    private mutating func popAlarm() {
        let last = alarms.removeLast()
        guard !alarms.isEmpty else { return }
        alarms[0] = last
        sink(0)
    }

    private mutating func sink(_ start: Int) {
        var parent = start
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < alarms.count && alarms[child].time < alarms[least].time {
                least = child
            }
            guard least != parent else { return }
            alarms.swapAt(parent, least)
            parent = least
        }
    }

    private mutating func dropOutdatedAlarms() {
        alarms.removeAll { alarm in
            guard let timed = keys[Int(alarm.key)].elements[alarm.element] else { return true }
            return timed.expiry != alarm.expiry || timed.isSent
        }
        for parent in stride(from: alarms.count / 2, through: 0, by: -1) { sink(parent) }
    }
}

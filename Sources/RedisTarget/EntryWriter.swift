public import Bytes
public import Wire

/// What became of an entry that was handed to the writer.
public enum EntryOutcome {
    /// Its commands are in the pipeline; the last one's reply settles it.
    case sent
    /// No room in the pipeline; hand the same entry in again, and nothing else of that flow before.
    case blocked
    /// Not written: by policy the value is left out, or that is a failure (`TypePolicy.fails`).
    case leftOut
}

/// Turns snapshot entries into commands for one Redis. A baseline replaces: SET, RESTORE with REPLACE,
/// or DEL and commands in one transaction. A guarded one does not: SET NX, RESTORE without REPLACE, or
/// commands for a key of our own that RENAMENX brings to its place in the same transaction.
public struct EntryWriter: ~Copyable {
    /// How collections are written.
    public enum Method: Sendable {
        /// SET for strings, RESTORE for whatever the target can load, else commands.
        case automatic
        /// RESTORE for strings too.
        case restore
        /// Native commands for every core type.
        case commands
    }

    /// A command that builds a collection takes at most this many elements, or bytes: what the
    /// target executes in well under a millisecond.
    static let chunkElements = 512
    static let chunkBytes = 64 << 10

    private enum Closing {
        case rename, clean, execute
    }

    /// What the target is.
    public let version: TargetVersion
    public let policy: TypePolicy
    /// What is done about the expiries of hash fields and of set members.
    public let fieldExpiry: ElementExpiry
    public let memberExpiry: ElementExpiry
    /// JSON values that were written as strings.
    public private(set) var jsonTextsWritten = 0
    private let method: Method
    private var check: ContainerCheck
    private var rewritten: RegionBuffer
    private var collections: CollectionBuilder
    private var streams: StreamBuilder
    /// The flow whose entry is being built over several turns, -1 if none.
    public private(set) var buildingFlow = -1
    /// Where it is built.
    public private(set) var buildingTarget: TargetConnection?
    private var names: OwnNames
    private var closing = Closing.rename

    /// - Parameter task: the run's name, of which names of our own are made.
    public init(
        version: TargetVersion, method: Method, policy: TypePolicy = TypePolicy(),
        task: String = "df2redis"
    ) throws(SystemError) {
        // All first: a struct that owns memory cannot be left half made.
        let check = try ContainerCheck()
        let names = try OwnNames(task: task)
        let rewritten = try RegionBuffer(capacity: 64 << 10)
        let fieldExpiry = ElementExpiry(policy.hashFieldExpiry, version)
        let memberExpiry = ElementExpiry(policy.setMemberExpiry)
        let collections = try CollectionBuilder(
            fieldExpiry: fieldExpiry, memberExpiry: memberExpiry)
        let streams = try StreamBuilder(knowsEntriesRead: version.knowsEntriesRead)
        self.version = version
        self.policy = policy
        self.fieldExpiry = fieldExpiry
        self.memberExpiry = memberExpiry
        self.method = method
        self.check = check
        self.names = names
        self.rewritten = rewritten
        self.collections = collections
        self.streams = streams
    }

    /// Element expiries that native commands of this target cannot set.
    public var memberExpiriesDropped: Int { collections.memberExpiriesDropped }

    /// The moment for which the last value with element expiries was written: what had expired then
    /// was left out. Unix milliseconds.
    public var elementsAliveAt: Int64 { collections.unixMilliseconds }

    /// Pending entries whose message is deleted: no command can create them (protocol.md 3.9.7).
    public var pendingEntriesDropped: Int { streams.pendingEntriesDropped }

    /// Writes one entry. Throws if the value's structure is inconsistent or memory ran out.
    /// - Parameters:
    ///   - kind: what its last command is marked as. One of `.guardedEntry` leaves a key that is there
    ///     as it is.
    ///   - nextLSN: the LSN after the record, 0 in the snapshot.
    ///   - unixMilliseconds: the time of elements that have expired already.
    ///   - byCommands: never by RESTORE, whatever the method.
    public mutating func write(
        _ entry: SnapshotEntry, flow: Int, as kind: CommandKind, nextLSN: UInt64,
        unixMilliseconds: Int64, byCommands: Bool = false, to target: TargetConnection
    ) throws(DecodeError) -> EntryOutcome {
        // A RESTORE of the journal is a command for keys of any type.
        let isBaseline = kind == .entry || kind == .guardedEntry
        let place = EntryPlace(
            flow: flow, kind: kind,
            type: isBaseline ? RecordType(entry.type.family) : .generic, nextLSN: nextLSN,
            unixMilliseconds: unixMilliseconds)
        if buildingFlow >= 0 {
            guard buildingFlow == flow else { return .blocked }
            return try build(entry, place, target)
        }
        if entry.type == .string {
            return try writeString(entry, place, byCommands, target)
        }
        var loading = version.loading(of: entry.type)
        guard loading != .impossible else { return try writeForeign(entry, place, target) }
        if let outcome = try leftOut(entry, place) { return outcome }
        let verdict = try check.check(type: entry.type, value: entry.value)
        if verdict.isEmpty {
            let name: ByteView = place.isGuarded ? "EXISTS" : "DEL"
            return try single(name, entry, place, target) ? .sent : .blocked
        }
        if method == .commands || byCommands || !verdict.isVerbatimLoadable {
            loading = .commands
        }
        switch loading {
        case .verbatim:
            return try restore(entry, entry.type, entry.value, place, target)
        case .rewritten(let type):
            rewritten.clear()
            try StreamRewriter.rewrite(entry.value, from: entry.type, to: type, into: &rewritten)
            return try restore(entry, type, rewritten.view, place, target)
        default:
            return try build(entry, place, target)
        }
    }

    // MARK: What a Redis cannot hold

    private mutating func writeForeign(
        _ entry: SnapshotEntry, _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> EntryOutcome {
        guard entry.type == .json else {
            return .leftOut
        }
        switch policy.json {
        case .string:
            // The value is encoded as a string's is (protocol.md 3.9.8).
            var text = entry
            text.type = .string
            let outcome = try writeString(text, place, false, target)
            if outcome == .sent { jsonTextsWritten += 1 }
            return outcome
        case .module:
            _ = try check.check(type: .string, value: entry.value)
            return try build(entry, place, target)
        case .skip, .fail: return .leftOut
        }
    }

    /// What becomes of a value because some of its elements have an expiry, nil if it is written.
    private mutating func leftOut(
        _ entry: SnapshotEntry, _ place: EntryPlace
    ) throws(DecodeError) -> EntryOutcome? {
        guard entry.type.hasElementExpiries else { return nil }
        let expiry = entry.type.family == .hash ? fieldExpiry : memberExpiry
        guard expiry == .skip || expiry == .fail,
            try collections.hasExpiringElements(entry, unixMilliseconds: place.unixMilliseconds)
        else { return nil }
        return .leftOut
    }

    // MARK: One command

    private mutating func writeString(
        _ entry: SnapshotEntry, _ place: EntryPlace, _ byCommands: Bool,
        _ target: TargetConnection
    ) throws(DecodeError) -> EntryOutcome {
        if method == .restore && !byCommands {
            _ = try check.check(type: .string, value: entry.value)
            return try restore(entry, .string, entry.value, place, target)
        }
        var cursor = Cursor(entry.value)
        guard let value = try cursor.string(), cursor.remaining == 0 else {
            throw DecodeError(.badString)
        }
        let size = value.decodedCount
        let bytes = entry.key.count + size + TargetConnection.argumentBytes(20) * 5
        guard try target.begin(flow: place.flow, database: entry.database, bytes: bytes) else {
            return .blocked
        }
        target.header(
            arguments: 3 + (entry.expiryMilliseconds == 0 ? 0 : 2) + (place.isGuarded ? 1 : 0))
        target.argument("SET")
        target.argument(entry.key)
        guard target.argument(value) else {
            target.abandon()
            throw DecodeError(.damagedCompression)
        }
        if entry.expiryMilliseconds != 0 {
            target.argument("PXAT")
            target.argument(decimal: max(1, entry.expiryMilliseconds))
        }
        if place.isGuarded { target.argument("NX") }
        place.end(entry, target)
        return .sent
    }

    private func restore(
        _ entry: SnapshotEntry, _ type: ValueType, _ value: ByteView, _ place: EntryPlace,
        _ target: TargetConnection
    ) throws(DecodeError) -> EntryOutcome {
        let size = DumpPayload.byteCount(valueCount: value.count)
        let bytes = entry.key.count + size + TargetConnection.argumentBytes(20) * 6
        guard try target.begin(flow: place.flow, database: entry.database, bytes: bytes) else {
            return .blocked
        }
        target.header(
            arguments: 4 + (entry.expiryMilliseconds == 0 ? 0 : 1) + (place.isGuarded ? 0 : 1))
        target.argument("RESTORE")
        target.argument(entry.key)
        target.argument(
            decimal: entry.expiryMilliseconds == 0 ? 0 : max(1, entry.expiryMilliseconds))
        target.argumentHead(size: size)
        let footer = DumpPayload.footer(type: type, value: value)
        target.little(type.rawValue)
        target.raw(value)
        target.little(footer.version)
        target.little(footer.checksum)
        target.lineEnd()
        if !place.isGuarded { target.argument("REPLACE") }
        if entry.expiryMilliseconds != 0 { target.argument("ABSTTL") }
        place.end(entry, target)
        return .sent
    }

    /// Deletes a key, as its only command; false if there is no room now.
    public func delete(
        database: Int, key: ByteView, flow: Int, as kind: CommandKind, nextLSN: UInt64,
        to target: TargetConnection
    ) throws(DecodeError) -> Bool {
        guard buildingFlow < 0 else { return false }
        let place = EntryPlace(
            flow: flow, kind: kind, type: .generic, nextLSN: nextLSN, unixMilliseconds: 0)
        let entry = SnapshotEntry(database: database, type: .string, key: key, value: ByteView())
        return try single("DEL", entry, place, target)
    }

    /// Asks whether the target has the key of an entry that cannot be written; false if there is no
    /// room now.
    public func probe(
        _ entry: SnapshotEntry, flow: Int, to target: TargetConnection
    ) throws(DecodeError) -> Bool {
        guard buildingFlow < 0 else { return false }
        let place = EntryPlace(
            flow: flow, kind: .probe, type: RecordType(entry.type.family), nextLSN: 0,
            unixMilliseconds: 0)
        return try single("EXISTS", entry, place, target)
    }

    // A command with the key as its only argument.
    private func single(
        _ name: ByteView, _ entry: SnapshotEntry, _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        guard try place.begin(name, entry, target) else { return false }
        place.end(entry, target)
        return true
    }

    // MARK: Several commands in a transaction

    /// Gives up the entry that is being built, if any: the target forgets its transaction. False if
    /// there is no room yet.
    public mutating func abandon() throws(DecodeError) -> Bool {
        guard let target = buildingTarget else { return true }
        let bytes = TargetConnection.argumentBytes(8)
        guard try target.begin(flow: buildingFlow, database: target.database, bytes: bytes) else {
            return false
        }
        target.header(arguments: 1)
        target.argument("DISCARD")
        target.end(.discard, flow: buildingFlow, database: target.database, nextLSN: 0)
        endBuilding()
        return true
    }

    private mutating func endBuilding() {
        buildingTarget?.releaseClaim(flow: buildingFlow)
        buildingFlow = -1
        buildingTarget = nil
    }

    /// The connection of the entry that is being built is lost, and its transaction with it: handed in
    /// again, the entry begins anew.
    public mutating func forgetBuilding() { endBuilding() }

    private mutating func build(
        _ entry: SnapshotEntry, _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> EntryOutcome {
        let isStream = entry.type.family == .stream
        guard try claim(entry, place, target) else { return .blocked }
        var built = entry
        if place.isGuarded {
            do {
                built.key = try names.building(slot: entry.key.keySlot())
            } catch {
                throw DecodeError(.outOfMemory)
            }
        }
        if buildingFlow < 0 {
            do throws(DecodeError) {
                if isStream {
                    try streams.open(entry)
                } else {
                    try collections.open(entry, unixMilliseconds: place.unixMilliseconds)
                }
            } catch {
                target.releaseClaim(flow: place.flow)
                throw error
            }
            // Names the key for the replies; nothing else of the group has it first.
            if place.isGuarded {
                guard try place.part("EXISTS", entry, target) else {
                    target.releaseClaim(flow: place.flow)
                    return .blocked
                }
            }
            buildingFlow = place.flow
            buildingTarget = target
            closing = .rename
        }
        let isBuilt: Bool
        if isStream {
            isBuilt = try streams.advance(built, place, target)
        } else {
            isBuilt = try collections.advance(built, place, target)
        }
        guard isBuilt, try close(entry, built, place, target) else { return .blocked }
        endBuilding()
        return .sent
    }

    private mutating func claim(
        _ entry: SnapshotEntry, _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        guard buildingFlow < 0, target.pace.memory.isLimited else {
            return target.claim(flow: place.flow)
        }
        guard target.isFree(for: place.flow) else { return false }
        let demand =
            entry.type.family == .stream
            ? try streams.demand(of: entry)
            : try collections.demand(of: entry)
        return target.claim(flow: place.flow, demand)
    }

    // Ends the transaction; a guarded entry goes to its place first, if nobody is there.
    private mutating func close(
        _ entry: SnapshotEntry, _ built: SnapshotEntry, _ place: EntryPlace,
        _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        if !place.isGuarded { closing = .execute }
        if closing == .rename {
            // With all elements expired there is nothing to rename.
            if entry.type.family == .stream || !collections.isEmpty {
                guard try place.renameUnlessTaken(built.key, entry, target) else { return false }
            }
            closing = .clean
        }
        if closing == .clean {
            guard try place.part("DEL", built, target) else { return false }
            closing = .execute
        }
        return try place.exec(entry, target)
    }
}

/// What every command of an entry is marked with.
struct EntryPlace {
    var flow: Int
    var kind: CommandKind
    /// What it is counted as, in whatever form it is written.
    var type: RecordType
    var nextLSN: UInt64
    var unixMilliseconds: Int64
    /// What its earlier commands are marked as, and with.
    var partKind = CommandKind.part
    var partNumber: UInt64 = 0
    /// Elements that the key has already.
    var elementsBefore = 0

    /// A key that is there stays as it is.
    var isGuarded: Bool { kind == .guardedEntry }

    /// Ends the entry's last command.
    func end(_ entry: SnapshotEntry, _ target: TargetConnection) {
        target.end(kind, type: type, flow: flow, database: entry.database, nextLSN: nextLSN)
    }

    /// Ends one of its earlier commands.
    func endPart(_ entry: SnapshotEntry, _ target: TargetConnection) {
        target.end(partKind, flow: flow, database: entry.database, nextLSN: partNumber)
    }

    /// Opens the entry's transaction; false if there is no room, as with all of these.
    func multi(
        _ entry: SnapshotEntry, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        guard
            try target.begin(
                flow: flow, database: entry.database, bytes: TargetConnection.argumentBytes(8))
        else { return false }
        target.header(arguments: 1)
        target.argument("MULTI")
        endPart(entry, target)
        return true
    }

    func delete(
        _ entry: SnapshotEntry, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        try part("DEL", entry, target)
    }

    /// One of its commands that has the key as its only argument.
    func part(
        _ name: ByteView, _ entry: SnapshotEntry, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        guard try begin(name, entry, target) else { return false }
        endPart(entry, target)
        return true
    }

    func begin(
        _ name: ByteView, _ entry: SnapshotEntry, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let bytes = entry.key.count + TargetConnection.argumentBytes(8) * 2
        guard
            try target.begin(
                flow: flow, database: entry.database, bytes: bytes, demand: .nothing)
        else { return false }
        target.header(arguments: 2)
        target.argument(name)
        target.argument(entry.key)
        return true
    }

    func renameUnlessTaken(
        _ built: ByteView, _ entry: SnapshotEntry, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let bytes = built.count + entry.key.count + TargetConnection.argumentBytes(8) * 3
        guard try target.begin(flow: flow, database: entry.database, bytes: bytes) else {
            return false
        }
        target.header(arguments: 3)
        target.argument("RENAMENX")
        target.argument(built)
        target.argument(entry.key)
        endPart(entry, target)
        return true
    }

    func expire(
        _ entry: SnapshotEntry, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        guard entry.expiryMilliseconds != 0 else { return true }
        let bytes = entry.key.count + TargetConnection.argumentBytes(20) * 3
        guard try target.begin(flow: flow, database: entry.database, bytes: bytes) else {
            return false
        }
        target.header(arguments: 3)
        target.argument("PEXPIREAT")
        target.argument(entry.key)
        target.argument(decimal: expiry(entry))
        endPart(entry, target)
        return true
    }

    /// Of a guarded entry not in the past: what is built would be gone before it is renamed, and that
    /// is an error.
    func expiry(_ entry: SnapshotEntry) -> Int64 {
        isGuarded
            ? max(entry.expiryMilliseconds, unixMilliseconds + EntryPlace.shortestLifeMilliseconds)
            : entry.expiryMilliseconds
    }

    /// The target executes a transaction in less.
    private static let shortestLifeMilliseconds: Int64 = 1000

    /// Ends the transaction and the entry.
    func exec(
        _ entry: SnapshotEntry, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        guard
            try target.begin(
                flow: flow, database: entry.database, bytes: TargetConnection.argumentBytes(8))
        else { return false }
        target.header(arguments: 1)
        target.argument("EXEC")
        end(entry, target)
        return true
    }
}

public import Bytes
public import Wire

/// What became of the last step of a big value.
public enum ShadowOutcome {
    /// The key is replaced; the reply settles the entry.
    case sent
    /// No room in the pipeline, or what was sent is not answered yet: ask again.
    case blocked
    /// It could not be built; the key is left as it was.
    case failed(ShadowFailure)
    /// Policy does not let it through; the key is left as it was.
    case leftOut
}

/// Why a big value could not be built.
public struct ShadowFailure: Sendable {
    public var command: String
    public var reason: String
    /// It is no fault of the value: the target is full, or a connection was lost.
    public var mayPass = false
}

/// Writes values that come in parts, in fixed memory: each is built under a key of our own, its
/// shadow, and put in the place of its key by one transaction when it is whole. Who reads the
/// target sees the old value or the new one.
///
/// A string is one SET if `StringLane` is free when it begins, else it is built by APPEND. All other
/// commands go to the shared pipeline, where those of other keys may come between them. A shadow
/// has no expiry. One that is given up is removed; what a dead run left is swept by the next one.
public struct ShadowWriter: ~Copyable {
    private struct Shadow {
        var database: Int
        /// Of the key in whose place it comes.
        var name: [UInt8]
        var slot: Int
        var family: ValueFamily
        /// Commands sent and not answered.
        var pending = 0
        /// Elements or bytes that were sent, and those of them that may expire meanwhile.
        var size = 0
        var expiring = 0
        var latestExpiry: Int64 = 0
        /// Some elements have an expiry, and policy leaves such values out.
        var isLeftOut = false
        /// What the target says its size is, once it was asked.
        var measured: Int?
        var isAsked = false
        var failure: ShadowFailure?
        /// Whether the target has the key is asked and not answered.
        var isGuardOpen = false
        /// The target has the key already, and keeps it.
        var isLeft = false
        /// A string that is not the lane's.
        var isAppended = false
        var progress = StreamProgress()
    }

    private let version: TargetVersion
    private let policy: TypePolicy
    private let fieldExpiry: ElementExpiry
    private let memberExpiry: ElementExpiry
    private let directory: String
    private let lane: StringLane
    var names: OwnNames
    private var collections: CollectionBuilder
    private var streams: ShadowStreamBuilder
    private var shadows: [UInt64: Shadow] = [:]
    /// The flow whose part is being written over several turns, -1 if none.
    private var buildingFlow = -1
    /// Pending entries whose message is deleted: no command can create them (protocol.md 3.9.7).
    public private(set) var pendingEntriesDropped = 0
    /// JSON values that were written as strings.
    public private(set) var jsonTextsWritten = 0
    private var keyExpiriesDropped = 0

    /// - Parameters:
    ///   - task: the run's name, of which the names of the shadows are made.
    ///   - directory: for what of one value has no room in memory.
    public init(
        version: TargetVersion, policy: TypePolicy, task: String, directory: String,
        lane: StringLane
    ) throws(SystemError) {
        // All first: a struct that owns memory cannot be left half made.
        let names = try OwnNames(task: task)
        let fieldExpiry = ElementExpiry(policy.hashFieldExpiry, version)
        let memberExpiry = ElementExpiry(policy.setMemberExpiry)
        let collections = try CollectionBuilder(
            fieldExpiry: fieldExpiry, memberExpiry: memberExpiry)
        let streams = try ShadowStreamBuilder(
            knowsEntriesRead: version.knowsEntriesRead, directory: directory)
        self.version = version
        self.policy = policy
        self.fieldExpiry = fieldExpiry
        self.memberExpiry = memberExpiry
        self.directory = directory
        self.lane = lane
        self.names = names
        self.collections = collections
        self.streams = streams
        shadows.reserveCapacity(64)
    }

    /// Element expiries that native commands of this target cannot set.
    public var memberExpiriesDropped: Int {
        collections.memberExpiriesDropped + keyExpiriesDropped
    }

    /// The moment for which the last part was written: elements that had expired then were left out.
    /// Unix milliseconds.
    public var elementsAliveAt: Int64 { collections.unixMilliseconds }

    /// Whether a value for that key is under way.
    public func isBuilding(database: Int, key: ByteView) -> Bool {
        shadows.contains { _, shadow in
            shadow.database == database && shadow.name.withByteView { $0.equals(key) }
        }
    }

    /// Whether any value was begun, and neither ended nor given up.
    public var hasOpen: Bool { !shadows.isEmpty }

    /// Whether this one was.
    public func isOpen(flow: Int, number: UInt32) -> Bool {
        shadows[ShadowWriter.id(flow, number)] != nil
    }

    /// Whether the target has the key already, as a guarded begin found out: it can only be given up.
    public func isLeft(flow: Int, number: UInt32) -> Bool {
        shadows[ShadowWriter.id(flow, number)]?.isLeft ?? false
    }

    /// Whether a guarded begin is not answered yet, so that `isLeft` is not known.
    public func awaitsGuard(flow: Int, number: UInt32) -> Bool {
        shadows[ShadowWriter.id(flow, number)]?.isGuardOpen ?? false
    }

    private static func id(_ flow: Int, _ number: UInt32) -> UInt64 {
        UInt64(flow) << 32 | UInt64(number)
    }

    // MARK: Building

    /// Begins a value. `leftOut` if the target cannot hold its type: then its further steps do
    /// nothing.
    /// - Parameter isGuarded: ask first whether the target has the key, by a command of kind
    ///   `shadowGuard`.
    public mutating func begin(
        _ entry: SnapshotEntry, isGuarded: Bool, flow: Int, number: UInt32,
        to target: TargetConnection
    ) throws(DecodeError) -> EntryOutcome {
        let isHeld =
            entry.type == .json
            ? policy.json == .string : version.loading(of: entry.type) != .impossible
        guard isHeld else { return .leftOut }
        let slot = entry.key.keySlot()
        let key = try makeName(slot, flow, number)
        let bytes = entry.key.count + key.count + TargetConnection.argumentBytes(8) * 4
        guard
            try target.begin(
                flow: flow, database: entry.database, bytes: bytes, commands: 2, demand: .nothing)
        else { return .blocked }
        if isGuarded {
            put("EXISTS", entry.key, to: target)
            target.end(
                .shadowGuard, type: RecordType(entry.type.family), flow: flow,
                database: entry.database, nextLSN: UInt64(number))
        }
        put("UNLINK", key, to: target)
        target.end(.shadow, flow: flow, database: entry.database, nextLSN: UInt64(number))
        shadows[ShadowWriter.id(flow, number)] = Shadow(
            database: entry.database, name: entry.key.array(), slot: slot,
            family: entry.type.family, pending: isGuarded ? 2 : 1, isGuardOpen: isGuarded)
        return .sent
    }

    /// Writes a part: `blocked` until it is written whole; then its bytes are done with.
    public mutating func write(
        _ part: BigValuePart, _ entry: SnapshotEntry, flow: Int, number: UInt32,
        unixMilliseconds: Int64, to target: TargetConnection
    ) throws(DecodeError) -> EntryOutcome {
        let id = ShadowWriter.id(flow, number)
        guard
            let isVain = shadows[id].map({
                $0.failure != nil || $0.isLeft || $0.isLeftOut
            })
        else { return .sent }
        guard buildingFlow < 0 || buildingFlow == flow || lane.value == id else { return .blocked }
        if isVain {
            buildingFlow = -1
            return .sent
        }
        var shadow = entry
        shadow.key = try makeName(shadows[id]!.slot, flow, number)
        if case .bytes(let offset, let total) = part,
            let outcome = try writeToLane(
                shadow, offset: offset, total: total, flow, id, target)
        {
            return outcome
        }
        let place = EntryPlace(
            flow: flow, kind: .shadow, type: .generic, nextLSN: 0,
            unixMilliseconds: unixMilliseconds, partKind: .shadow, partNumber: UInt64(number),
            elementsBefore: shadows[id]!.size)
        let sentBefore = target.commandsSent - target.selectsSent
        let isDone: Bool
        switch part {
        case .bytes(let offset, _):
            isDone = try writeBytes(at: offset, shadow, place, target)
            if isDone { shadows[id]!.size = offset + entry.value.count }
        case .elements(let units):
            if buildingFlow < 0 {
                collections.open(
                    part: shadow, units: units, unixMilliseconds: unixMilliseconds)
            }
            isDone = try collections.advance(shadow, place, target)
            if isDone {
                shadows[id]!.size += collections.written
                shadows[id]!.expiring += collections.writtenExpiring
                shadows[id]!.latestExpiry = max(
                    shadows[id]!.latestExpiry, collections.latestExpiry)
                let expiry = expiry(entry.type.family)
                shadows[id]!.isLeftOut =
                    shadows[id]!.expiring > 0 && (expiry == .skip || expiry == .fail)
            }
        default:
            if buildingFlow < 0 {
                streams.progress = shadows[id]!.progress
                try streams.open(part, entry.value, flow: flow)
            }
            isDone = try streams.advance(shadow, place, target)
            if isDone {
                shadows[id]!.progress = streams.progress
                shadows[id]!.size = streams.progress.length
                if let error = streams.spillError {
                    shadows[id]!.failure = ShadowFailure(
                        command: "XCLAIM",
                        reason: "its pending entries cannot be kept in \(directory): \(error)")
                }
            }
        }
        shadows[id]!.pending += target.commandsSent - target.selectsSent - sentBefore
        buildingFlow = isDone ? -1 : flow
        return isDone ? .sent : .blocked
    }

    /// Nil if the string is not the lane's: it knows no limits, so where there are any it is not used.
    private mutating func writeToLane(
        _ entry: SnapshotEntry, offset: Int, total: Int, _ flow: Int, _ id: UInt64,
        _ target: TargetConnection
    ) throws(DecodeError) -> EntryOutcome? {
        let pace = target.pace
        if offset == 0, lane.value != id, !shadows[id]!.isAppended, !pace.isUnlimited {
            shadows[id]!.isAppended = true
        }
        if offset == 0, lane.value != id, !shadows[id]!.isAppended {
            // Else the UNLINK might come after the SET, and the key might be one that stays.
            guard shadows[id]!.pending == 0 || !lane.isFree(for: total) else { return .blocked }
            switch try lane.take(
                id, key: entry.key, size: total, flow: flow, database: entry.database,
                beside: target)
            {
            case .taken: break
            case .wait: return .blocked
            case .unavailable: shadows[id]!.isAppended = true
            }
        }
        guard lane.value == id else { return nil }
        guard !pace.isPaused, lane.pass(entry.value) else { return .blocked }
        shadows[id]!.size = offset + entry.value.count
        return .sent
    }

    private func expiry(_ family: ValueFamily) -> ElementExpiry {
        family == .hash ? fieldExpiry : memberExpiry
    }

    // APPEND key bytes. Not SETRANGE: it would fill with zeros what somebody else removed, and the
    // size could not tell.
    private func writeBytes(
        at offset: Int, _ entry: SnapshotEntry, _ place: EntryPlace, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let bytes = entry.key.count + entry.value.count + TargetConnection.argumentBytes(8) * 3
        // Its memory is a quarter larger from time to time, and not little by little.
        let demand = MemoryRoom.Demand.bytes(offset / 4 + bytes * 2 + 1 << 20)
        guard
            try target.begin(
                flow: place.flow, database: entry.database, bytes: bytes, demand: demand)
        else { return false }
        target.header(arguments: 3)
        target.argument("APPEND")
        target.argument(entry.key)
        target.argument(entry.value)
        place.endPart(entry, target)
        return true
    }

    mutating func makeName(
        _ slot: Int, _ flow: Int, _ number: UInt32
    ) throws(DecodeError) -> ByteView {
        do {
            return try names.shadow(slot: slot, flow: flow, number: number)
        } catch {
            throw DecodeError(.outOfMemory)
        }
    }

    // MARK: The end of a value

    /// Ends a value whose parts are all written: puts it in the place of its key, or gives it up if
    /// something of it was refused.
    /// - Parameters:
    ///   - kind: what its last command is marked as; see `EntryWriter.write`.
    ///   - unixMilliseconds: now; a key whose expiry has come is not made.
    public mutating func finish(
        _ entry: SnapshotEntry, as kind: CommandKind, flow: Int, number: UInt32,
        unixMilliseconds: Int64, to target: TargetConnection
    ) throws(DecodeError) -> ShadowOutcome {
        let id = ShadowWriter.id(flow, number)
        if lane.value == id {
            guard let outcome = lane.finish() else { return .blocked }
            if case .failed(let reason, let mayPass) = outcome {
                shadows[id]!.failure = ShadowFailure(
                    command: "SET", reason: reason, mayPass: mayPass)
            }
        }
        guard let shadow = shadows[id] else { preconditionFailure("it was begun") }
        if shadow.isLeftOut {
            guard shadow.pending == 0, try giveUp(flow: flow, number: number, target) else {
                return .blocked
            }
            return .leftOut
        }
        if !shadow.isAsked, shadow.failure == nil {
            guard try askSize(entry, shadow, flow, number, target) else { return .blocked }
            shadows[id]!.isAsked = true
            shadows[id]!.pending += 1
            return .blocked
        }
        guard shadow.pending == 0 else { return .blocked }
        if let failure = shadow.failure ?? ShadowWriter.mismatch(shadow) {
            guard try giveUp(flow: flow, number: number, target) else { return .blocked }
            return .failed(failure)
        }
        var entry = entry
        let isExpiring = shadow.expiring > 0 && expiry(shadow.family) == .asKeyExpiry
        let takesExpiry = isExpiring && shadow.expiring == shadow.size
        if takesExpiry,
            entry.expiryMilliseconds == 0 || shadow.latestExpiry < entry.expiryMilliseconds
        {
            entry.expiryMilliseconds = shadow.latestExpiry
        }
        let isPast =
            entry.expiryMilliseconds != 0 && entry.expiryMilliseconds <= unixMilliseconds
        guard
            try swap(
                entry, as: kind, flow: flow, number: number,
                isEmpty: isPast || shadow.measured == 0 && shadow.family != .stream,
                unixMilliseconds: unixMilliseconds, to: target)
        else { return .blocked }
        forget(id, shadow, flow)
        if isExpiring, !takesExpiry { keyExpiriesDropped += shadow.expiring }
        if shadow.family == .json { jsonTextsWritten += 1 }
        return .sent
    }

    /// A shadow that does not have all that was sent.
    private static func mismatch(_ shadow: Shadow) -> ShadowFailure? {
        let measured = shadow.measured ?? -1
        guard measured > shadow.size || measured < shadow.size - shadow.expiring else {
            return nil
        }
        return ShadowFailure(
            command: sizeCommand(shadow.family).printable(),
            reason:
                "its copy has \(measured) of the \(shadow.size) elements or bytes sent: the source "
                + "holds some twice, or another run of the same taskName writes to this target"
        )
    }

    private mutating func askSize(
        _ entry: SnapshotEntry, _ shadow: Shadow, _ flow: Int, _ number: UInt32,
        _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let key = try makeName(shadow.slot, flow, number)
        let bytes = key.count + TargetConnection.argumentBytes(8) * 2
        guard
            try target.begin(
                flow: flow, database: entry.database, bytes: bytes, demand: .nothing)
        else { return false }
        target.header(arguments: 2)
        target.argument(ShadowWriter.sizeCommand(shadow.family))
        target.argument(key)
        target.end(
            .shadowLength, flow: flow, database: entry.database, nextLSN: UInt64(number))
        return true
    }

    private static func sizeCommand(_ family: ValueFamily) -> ByteView {
        switch family {
        case .list: "LLEN"
        case .set: "SCARD"
        case .zset: "ZCARD"
        case .hash: "HLEN"
        case .stream: "XLEN"
        default: "STRLEN"
        }
    }

    // MARK: Giving up

    /// Removes what was built of a value; false if there is no room yet, or the lane has to answer.
    public mutating func giveUp(
        flow: Int, number: UInt32, _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let id = ShadowWriter.id(flow, number)
        guard let shadow = shadows[id] else { return true }
        if buildingFlow == flow { buildingFlow = -1 }
        // A removal that comes before the SET would leave it.
        guard lane.value != id || lane.giveUp() else { return false }
        guard
            try remove(shadow, flow: flow, number: number, as: .shadowRemoval, target)
        else { return false }
        forget(id, shadow, flow)
        return true
    }

    private mutating func forget(_ id: UInt64, _ shadow: Shadow, _ flow: Int) {
        shadows[id] = nil
        if shadow.family == .stream { streams.release(flow: flow) }
    }

    /// The same for all values begun and not ended.
    public mutating func giveUpAll(_ nodes: TargetNodes) throws(DecodeError) -> Bool {
        while let (id, shadow) = shadows.first {
            guard let target = nodes.connection(forSlot: shadow.slot),
                try giveUp(
                    flow: Int(id >> 32), number: UInt32(truncatingIfNeeded: id), target)
            else { return false }
        }
        return true
    }

    private mutating func remove(
        _ shadow: Shadow, flow: Int, number: UInt32, as kind: CommandKind,
        _ target: TargetConnection
    ) throws(DecodeError) -> Bool {
        let key = try makeName(shadow.slot, flow, number)
        let bytes = key.count + TargetConnection.argumentBytes(8) * 2
        guard
            try target.begin(
                flow: flow, database: shadow.database, bytes: bytes, demand: .nothing)
        else { return false }
        put("UNLINK", key, to: target)
        target.end(kind, flow: flow, database: shadow.database, nextLSN: UInt64(number))
        return true
    }

    // MARK: Replies

    /// Takes the reply to a command of kind `shadow`, `shadowGuard`, `shadowLength` or `shadowClaim`.
    public mutating func settle(_ reply: TargetReply, _ target: TargetConnection) {
        let number = UInt32(truncatingIfNeeded: reply.command.nextLSN)
        let id = ShadowWriter.id(Int(reply.command.flow), number)
        guard shadows[id] != nil else { return }
        shadows[id]!.pending -= 1
        if reply.command.kind == .shadowGuard { shadows[id]!.isGuardOpen = false }
        if reply.reply.hasError {
            if shadows[id]!.failure == nil {
                shadows[id]!.failure = ShadowFailure(
                    command: target.name(of: reply.command).command.printable(limit: 32),
                    reason: target.errorText.printable(),
                    mayPass: ShadowWriter.mayPass(target.errorText))
            }
            return
        }
        switch reply.command.kind {
        case .shadowClaim:
            let asked = Int(reply.command.nextLSN >> 32)
            pendingEntriesDropped += max(asked - reply.reply.elementCount, 0)
        case .shadowGuard:
            shadows[id]!.isLeft = reply.foundKey
        case .shadowLength:
            shadows[id]!.measured = reply.reply.content.parseInteger().map { Int($0) } ?? -1
        default: break
        }
    }

    /// Whether an error says nothing of the value.
    static func mayPass(_ error: ByteView) -> Bool {
        error.starts(with: "OOM ") || ClusterRedirection(error) != nil
    }

    /// A command of one of the kinds above will not be answered: its connection was lost.
    public mutating func lose(_ command: CommandInFlight) {
        let number = UInt32(truncatingIfNeeded: command.nextLSN)
        let id = ShadowWriter.id(Int(command.flow), number)
        guard shadows[id] != nil else { return }
        shadows[id]!.pending -= 1
        if command.kind == .shadowGuard { shadows[id]!.isGuardOpen = false }
        fail(id)
    }

    /// What was answered for these slots may be lost: the values that are built there are given up.
    public mutating func lose(slots isLost: (Int) -> Bool) {
        for (id, shadow) in shadows where isLost(shadow.slot) { fail(id) }
    }

    private mutating func fail(_ id: UInt64) {
        guard shadows[id]?.failure == nil else { return }
        shadows[id]?.failure = ShadowFailure(
            command: "", reason: "the node on which it was built was lost", mayPass: true)
    }
}

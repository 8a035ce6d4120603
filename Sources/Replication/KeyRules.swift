internal import Bytes
internal import Wire

/// The rules for keys, compiled once: what is filtered, and the names and databases of the rest on the
/// target. Used for snapshot entries, for each key of a journal record, and for keys that are read
/// again.
///
/// Everything that looks at the source (placement, repair list, pops, stream groups) knows a key by
/// its name there; pipeline, held expiries and element expiries by its name on the target. One leads
/// to the other and back, for `KeyRuleSettings.problems` lets no other rules in.
final class KeyRules {
    private struct Pattern: BitwiseCopyable {
        enum Kind: UInt8 {
            case prefix, suffix, glob
        }

        var kind: Kind
        var start: Int
        var count: Int
    }

    private struct Names {
        var patterns: [Pattern] = []
        var commands: [Pattern] = []
    }

    /// False: nothing is filtered or mapped, and nothing else need be asked.
    let isActive: Bool
    /// Filters by name or database, or any mapping.
    let concernsKeys: Bool
    /// Some types are filtered.
    let filtersTypes: Bool
    /// Names differ on the target.
    let mapsKeys: Bool
    let mapsDatabases: Bool
    let flush: KeyRuleSettings.Flush
    let flushSlots: KeyRuleSettings.FlushSlots
    /// Databases of the target that are all ours to flush; empty if that is not known.
    let ownDatabases: [Int]

    /// By source database, -1 if it is filtered; and back.
    private let targetDatabases: [Int32]
    private let sourceDatabases: [Int32]
    private let keepsOtherDatabases: Bool
    private var include = Names()
    private var exclude = Names()
    // One bit for each family.
    private let typesKept: UInt32
    /// The bytes of all patterns and both prefixes.
    private var texts: RegionBuffer
    private var sourcePrefix = Pattern(kind: .prefix, start: 0, count: 0)
    private var targetPrefix = Pattern(kind: .prefix, start: 0, count: 0)

    /// The name that `target` made last, the ones that `source` made, and a record.
    private var targetName: RegionBuffer
    private var sourceNames: RegionBuffer
    private var payload: RegionBuffer
    private var payloadCount = 0

    /// Of a payload above this, memory is given back with the next one.
    private static let payloadBytesKept = 1 << 20

    init(_ settings: KeyRuleSettings = KeyRuleSettings()) throws(SystemError) {
        var texts = try RegionBuffer()
        let targetName = try RegionBuffer(capacity: settings.mapsKeys ? 4096 : 0)
        let sourceNames = try RegionBuffer(capacity: settings.mapsKeys ? 4096 : 0)
        let payload = try RegionBuffer(capacity: settings.hasRules ? 64 << 10 : 0)
        let include = try KeyRules.compile(settings.include, &texts)
        let exclude = try KeyRules.compile(settings.exclude, &texts)
        let sourcePrefix = try KeyRules.pattern(.prefix, settings.sourcePrefix, &texts)
        let targetPrefix = try KeyRules.pattern(.prefix, settings.targetPrefix, &texts)
        let limit = KeyRuleSettings.databasesLimit
        var targets = [Int32](repeating: -1, count: limit)
        var sources = (0..<limit).map { Int32($0) }
        for database in 0..<limit where KeyRules.keeps(database, settings) {
            let target = settings.databases[database] ?? database
            targets[database] = Int32(target)
            sources[target] = Int32(database)
        }
        let isFinite = !settings.databases.isEmpty || !settings.include.databases.isEmpty
        isActive = settings.hasRules
        typesKept = KeyRules.types(settings)
        filtersTypes = !settings.include.types.isEmpty || !settings.exclude.types.isEmpty
        mapsKeys = settings.mapsKeys
        mapsDatabases = settings.databases.contains { $0.key != $0.value }
        flush = settings.flushInEffect
        flushSlots = settings.flushSlots
        ownDatabases = isFinite ? targets.filter { $0 >= 0 }.map { Int($0) } : []
        keepsOtherDatabases = !isFinite
        targetDatabases = targets
        sourceDatabases = sources
        concernsKeys =
            settings.mapsKeys || filtersTypes || !settings.databases.isEmpty
            || settings.include.namesKeys || settings.exclude.namesKeys
            || !settings.include.databases.isEmpty || !settings.exclude.databases.isEmpty
        self.include = include
        self.exclude = exclude
        self.texts = texts
        self.sourcePrefix = sourcePrefix
        self.targetPrefix = targetPrefix
        self.targetName = targetName
        self.sourceNames = sourceNames
        self.payload = payload
    }

    private static func keeps(_ database: Int, _ settings: KeyRuleSettings) -> Bool {
        (settings.databases.isEmpty || settings.databases[database] != nil)
            && (settings.include.databases.isEmpty
                || settings.include.databases.contains(database))
            && !settings.exclude.databases.contains(database)
    }

    private static func types(_ settings: KeyRuleSettings) -> UInt32 {
        var kept: UInt32 = 0
        for family in ValueFamily.allCases {
            let isIncluded =
                settings.include.types.isEmpty || settings.include.types.contains(family.name)
            guard isIncluded, !settings.exclude.types.contains(family.name) else { continue }
            kept |= 1 << UInt32(family.rawValue)
        }
        return kept
    }

    private static func compile(
        _ selection: KeyRuleSettings.Selection, _ texts: inout RegionBuffer
    ) throws(SystemError) -> Names {
        var names = Names()
        for text in selection.prefixes { names.patterns.append(try pattern(.prefix, text, &texts)) }
        for text in selection.suffixes { names.patterns.append(try pattern(.suffix, text, &texts)) }
        for text in selection.globs { names.patterns.append(try pattern(.glob, text, &texts)) }
        for text in selection.commands {
            names.commands.append(try pattern(.prefix, text.uppercased(), &texts))
        }
        return names
    }

    private static func pattern(
        _ kind: Pattern.Kind, _ text: String, _ texts: inout RegionBuffer
    ) throws(SystemError) -> Pattern {
        let start = texts.count
        for byte in text.utf8 { try texts.append(byte: byte) }
        return Pattern(kind: kind, start: start, count: texts.count - start)
    }

    private func text(_ pattern: Pattern) -> ByteView {
        texts.view.slice(pattern.start, pattern.count)
    }

    // MARK: What is kept

    /// Whether a key of the source is carried over, by its database and its name.
    func keeps(database: Int, key: ByteView) -> Bool {
        guard keeps(database: database) else { return false }
        if !include.patterns.isEmpty, !matches(include.patterns, key) { return false }
        return exclude.patterns.isEmpty || !matches(exclude.patterns, key)
    }

    func keeps(database: Int) -> Bool {
        database < targetDatabases.count ? targetDatabases[database] >= 0 : keepsOtherDatabases
    }

    func keeps(_ family: ValueFamily) -> Bool {
        typesKept & (1 << UInt32(family.rawValue)) != 0
    }

    /// Whether records of a command are carried over, whatever their keys.
    func keeps(command name: ByteView) -> Bool {
        if !include.commands.isEmpty, !names(include.commands, name) { return false }
        return exclude.commands.isEmpty || !names(exclude.commands, name)
    }

    private func matches(_ patterns: [Pattern], _ key: ByteView) -> Bool {
        for pattern in patterns {
            let text = text(pattern)
            switch pattern.kind {
            case .prefix:
                if key.starts(with: text) { return true }
            case .suffix:
                if key.count >= text.count,
                    key.dropFirst(key.count - text.count).equals(text)
                {
                    return true
                }
            case .glob:
                if GlobPattern.matches(text, key) { return true }
            }
        }
        return false
    }

    private func names(_ commands: [Pattern], _ name: ByteView) -> Bool {
        for command in commands {
            let text = text(command)
            guard text.count == name.count else { continue }
            var index = 0
            while index < name.count, asciiUppercased(name[index]) == text[index] { index += 1 }
            if index == name.count { return true }
        }
        return false
    }

    // MARK: Names and databases

    func target(ofDatabase database: Int) -> Int {
        guard database < targetDatabases.count, targetDatabases[database] >= 0 else {
            return database
        }
        return Int(targetDatabases[database])
    }

    func source(ofDatabase database: Int) -> Int {
        database >= 0 && database < sourceDatabases.count
            ? Int(sourceDatabases[database]) : database
    }

    /// The target's name of a key that is kept; valid until the next call.
    func target(of key: ByteView) throws(SystemError) -> ByteView {
        guard mapsKeys else { return key }
        targetName.clear(keeping: KeyRules.payloadBytesKept)
        try targetName.append(text(targetPrefix))
        try targetName.append(key.dropFirst(sourcePrefix.count))
        return targetName.view
    }

    /// The source's name of a key of the target; valid until the next call. One that can be none of
    /// ours stays as it is.
    func source(of key: ByteView) throws(SystemError) -> ByteView {
        guard mapsKeys, key.starts(with: text(targetPrefix)) else { return key }
        sourceNames.clear(keeping: KeyRules.payloadBytesKept)
        return try appendSource(of: key)
    }

    private func appendSource(of key: ByteView) throws(SystemError) -> ByteView {
        let start = sourceNames.count
        try sourceNames.append(text(sourcePrefix))
        try sourceNames.append(key.dropFirst(targetPrefix.count))
        return sourceNames.view.dropFirst(start)
    }

    /// Puts the source's names and databases in place of the target's; valid until the next call.
    func nameSources(of keys: inout [RepairKey]) throws(SystemError) {
        if mapsDatabases {
            for index in keys.indices {
                keys[index].database = source(ofDatabase: keys[index].database)
            }
        }
        guard mapsKeys else { return }
        var bytes = 0
        for key in keys { bytes += key.key.count + sourcePrefix.count }
        sourceNames.clear(keeping: KeyRules.payloadBytesKept)
        // All at once: growing would move the names that are there.
        try sourceNames.reserve(bytes)
        for index in keys.indices where keys[index].key.starts(with: text(targetPrefix)) {
            keys[index].key = try appendSource(of: keys[index].key)
        }
    }

    // MARK: A record of other arguments

    /// Begins a record in place of another one; then add its arguments, and `record`.
    func beginRecord() {
        payload.clear(keeping: KeyRules.payloadBytesKept)
        payloadCount = 0
    }

    func add(_ argument: ByteView) throws(SystemError) {
        try addHead(argument.count)
        try payload.append(argument)
    }

    /// Adds the target's name of a key.
    func add(key: ByteView) throws(SystemError) {
        guard mapsKeys else { return try add(key) }
        try addHead(key.count - sourcePrefix.count + targetPrefix.count)
        try payload.append(text(targetPrefix))
        try payload.append(key.dropFirst(sourcePrefix.count))
    }

    func add(decimal value: Int) throws(SystemError) {
        try addHead(DecimalText.digitCount(Int64(value)))
        try payload.append(decimal: Int64(value))
    }

    // The form of a length of the wire (protocol.md 5.2).
    private func addHead(_ size: Int) throws(SystemError) {
        payloadCount += 1
        if size < 1 << 6 {
            try payload.append(byte: UInt8(size))
        } else if size < 1 << 14 {
            try payload.append(byte: 0x40 | UInt8(size >> 8))
            try payload.append(byte: UInt8(truncatingIfNeeded: size))
        } else {
            try payload.append(byte: 0x81)
            try payload.append(little: UInt64(size).byteSwapped)
        }
    }

    /// The record whose arguments were added, in the target's database; valid until the next one.
    func record(inPlaceOf other: JournalRecord) -> JournalRecord {
        var record = other
        record.database = target(ofDatabase: other.database)
        record.argumentCount = payloadCount
        record.payload = payload.view
        return record
    }
}

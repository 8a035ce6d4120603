internal import Bytes
internal import DragonflySource
internal import Wire

/// Streams with consumer groups on a source whose journal says too little of them: up to v1.36
/// XREADGROUP is not journaled at all, and up to v1.25 the snapshot has a wrong last id for each group
/// (protocol.md 6.6, 6.8). They are read again at the end of the run.
struct StreamGroups: ~Copyable {
    private static let keysLimit = 1 << 17

    private var reader: StreamReader
    private var table: KeyTable<Int32>
    private(set) var isWatching = false

    init() throws(SystemError) {
        let reader = try StreamReader()
        table = try KeyTable(slots: 1 << 6, slotsLimit: StreamGroups.keysLimit, filler: 0)
        self.reader = reader
    }

    var count: Int { table.count }

    /// What the source is decides whether its streams need it; an unknown release is taken for old.
    mutating func watch(_ release: SourceRelease?) {
        guard let release else {
            isWatching = true
            return
        }
        isWatching = (release.major, release.minor) < (1, 37)
    }

    /// Notes a stream of the snapshot if it has groups. False if there is no room for its name.
    mutating func note(_ entry: SnapshotEntry, flow: Int) throws(DecodeError) -> Bool {
        try reader.open(type: entry.type, value: entry.value)
        guard reader.groupCount > 0 else { return true }
        return note(database: entry.database, key: entry.key, flow: flow)
    }

    /// Notes a stream that has groups now.
    mutating func note(database: Int, key: ByteView, flow: Int) -> Bool {
        table.insert(database, key, Int32(flow))
    }

    func contains(database: Int, key: ByteView) -> Bool {
        table.find(database, key) != nil
    }

    /// Calls `body` with each noted stream.
    func forEach(_ body: (_ database: Int, _ key: ByteView, _ flow: Int) -> Void) {
        for place in table.places where table.isUsed(at: place) {
            let key = table.key(at: place)
            body(key.database, key.name, Int(table[place]))
        }
    }
}

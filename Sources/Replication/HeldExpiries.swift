internal import Bytes

/// Keeps keys alive on the target whose expiry is near or past, as long as the source may still
/// change it.
///
/// We are always behind the source: a key that the target expired on its own is lost if the source
/// had renewed it meanwhile (protocol.md 5.11). So an expiry that is past or nearer than the horizon
/// is written as a day from now and remembered here. The source's own DEL removes the key in time;
/// what is still open when the run ends gets its true expiry then, unless the key was given another
/// one since.
struct HeldExpiries: ~Copyable {
    /// Expiries further away than this are written as they are.
    static let horizonMilliseconds: Int64 = 60_000
    private static let dayMilliseconds: Int64 = 86_400_000
    private static let slotsAtStart = 1 << 12
    /// Three quarters of this many keys are held at once; further ones get their true expiry.
    private static let slotsLimit = 1 << 20

    struct Held: BitwiseCopyable {
        /// What the source said, and what was written for it; Unix milliseconds.
        var trueExpiry: Int64
        var heldExpiry: Int64
    }

    private var table: KeyTable<Held>
    /// Near expiries written as they were for want of room.
    private(set) var notHeld = 0

    init() throws(SystemError) {
        table = try KeyTable(
            slots: HeldExpiries.slotsAtStart, slotsLimit: HeldExpiries.slotsLimit,
            filler: Held(trueExpiry: 0, heldExpiry: 0))
    }

    var count: Int { table.count }

    /// What to write for a key's expiry (Unix milliseconds, not 0) now.
    mutating func adjust(
        _ expiry: Int64, database: Int, key: ByteView, now: Int64
    ) -> Int64 {
        guard expiry <= now + HeldExpiries.horizonMilliseconds else {
            cancel(database: database, key: key)
            return expiry
        }
        let held = Held(
            trueExpiry: expiry, heldExpiry: now + HeldExpiries.dayMilliseconds)
        guard table.insert(database, key, held) else {
            notHeld += 1
            return expiry
        }
        return held.heldExpiry
    }

    /// The key is gone, or its expiry was set or cleared: nothing is open for it.
    mutating func cancel(database: Int, key: ByteView) {
        guard let place = table.find(database, key) else { return }
        table.remove(at: place)
    }

    /// Whether something is open for the key.
    func holds(database: Int, key: ByteView) -> Bool {
        table.find(database, key) != nil
    }

    /// The key was given another name, or moved to another database, with its expiry.
    mutating func move(
        database: Int, key: ByteView, toDatabase: Int, toKey: ByteView
    ) {
        guard database != toDatabase || !key.equals(toKey) else { return }
        cancel(database: toDatabase, key: toKey)
        guard let place = table.find(database, key) else { return }
        let held = table[place]
        table.remove(at: place)
        if !table.insert(toDatabase, toKey, held) { notHeld += 1 }
    }

    mutating func removeAll() {
        table.removeAll()
    }

    /// Places of the table; some are empty.
    var places: Range<Int> { table.places }

    /// The open entry at a place; its key is valid until the next change.
    func entry(at place: Int) -> (held: Held, database: Int, key: ByteView)? {
        guard table.isUsed(at: place) else { return nil }
        let key = table.key(at: place)
        return (table[place], key.database, key.name)
    }

    /// Sets the true expiry if the key still has the one written for it.
    /// KEYS[1], ARGV[1] = held, ARGV[2] = true expiry, Unix milliseconds.
    static let releaseScript: StaticString = """
        local now = redis.call('TIME')
        local left = redis.call('PTTL', KEYS[1])
        local expiry = now[1] * 1000 + math.floor(now[2] / 1000) + left
        if left > 0 and math.abs(expiry - ARGV[1]) <= 1000 then
            redis.call('PEXPIREAT', KEYS[1], ARGV[2])
        end
        return redis.status_reply('OK')
        """
}

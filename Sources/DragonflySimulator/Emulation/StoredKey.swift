/// The name of a key: its database and its bytes.
struct KeyName: Hashable, Sendable {
    var database: Int
    var key: [UInt8]
}

/// A key as the keyspace holds it.
struct StoredKey: Sendable {
    var name: KeyName
    /// Unix milliseconds, 0 for none. May lie in the past: the key is there until it is deleted.
    var expiryMilliseconds: Int64 = 0
    var isSticky = false
    var memcachedFlags: UInt32?
    /// Expiries of hash fields or set members, Unix seconds.
    var elementExpiries: [[UInt8]: Int64] = [:]
    /// Its value is a JSON text.
    var isJSON = false
    /// What DUMP of the redis-server answered: type byte, value, version, checksum.
    var dump: [UInt8]
}

/// The data of an emulated master: a redis-server of its own, started here, and what a Redis does not
/// know of a Dragonfly's keys.
///
/// All expiries lie `expiryShift` later on the server than they are, so that the server never
/// expires a key by itself: as in a Dragonfly, an expired key stays until somebody deletes it.
/// `settle` puts the true expiries in place; then the server is the expected end state.
///
/// Not thread-safe: its owner calls it under its lock.
final class Keyspace {
    static let expiryShift: Int64 = 1000 * 86_400_000

    /// The redis-server's port.
    let port: UInt16

    /// Starts `redis-server` (found in PATH) without persistence on a free loopback port.
    init() throws(EmulationError) {
        fatalError("to be written")
    }

    /// The key with everything that is known of it; nil if it does not exist.
    func stored(_ name: KeyName) throws(EmulationError) -> StoredKey? {
        fatalError("to be written")
    }

    /// All keys of all databases.
    func allKeys() throws(EmulationError) -> [KeyName] {
        fatalError("to be written")
    }

    /// Runs a reading command of a client (true times in its reply).
    func read(_ words: [[UInt8]], database: Int) throws(EmulationError) -> TargetReply {
        fatalError("to be written")
    }

    /// Deletes what has expired and gives all other keys their true expiry.
    func settle() throws(EmulationError) {
        fatalError("to be written")
    }

    /// Ends the redis-server.
    func stop() {
        fatalError("to be written")
    }
}

/// Why an emulated master cannot go on; a message for the operator.
public struct EmulationError: Error, CustomStringConvertible {
    public let description: String
}

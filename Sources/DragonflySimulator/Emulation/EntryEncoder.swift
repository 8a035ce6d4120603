/// A key as it stands in a snapshot: prefixes, type byte, key, value (protocol.md 3.1).
struct EncodedEntry {
    var name: KeyName
    var bytes: [UInt8]
    /// Where the bytes may be cut into chunks (protocol.md 3.7.1), ascending; empty if nowhere.
    var splits: [Int]
}

/// Encodes keys as a release does: in its snapshot, and in its answer to DUMP.
struct EntryEncoder {
    let release: EmulatedRelease

    func encode(_ key: StoredKey) throws(EmulationError) -> EncodedEntry {
        fatalError("to be written")
    }

    /// What this release's DUMP answers for the key (version 9 for all types, protocol.md 3.11).
    func dump(_ key: StoredKey) throws(EmulationError) -> [UInt8] {
        fatalError("to be written")
    }
}

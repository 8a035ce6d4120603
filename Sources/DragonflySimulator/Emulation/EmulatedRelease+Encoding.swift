// What releases write differently (protocol.md 1.4, and 3.9 for the type codes).
extension EmulatedRelease {
    /// Hashes and sorted sets in their compact form are ziplists (types 13 and 12).
    var writesZiplists: Bool { number < 1031 }
    /// Lists are type 14: nodes of ziplists. Long elements have no form of their own there.
    var writesOldLists: Bool { number < 1024 }
    /// Streams are type 15, without entries-added, max-deleted id and entries-read.
    var writesOldStreams: Bool { number < 1026 }
    /// Sorted sets of type 5 begin with the greatest score.
    var writesSortedSetsDescending: Bool { number < 1030 }
    /// A hash of one field is compact whatever its size.
    var keepsSingleFieldsCompact: Bool { number >= 1039 }
    /// Memcached flags are in snapshots.
    var writesMemcachedFlags: Bool { number >= 1022 }

    // ---- framing

    /// Large entries come in tagged chunks (3.7.1).
    var hasTaggedChunks: Bool { number >= 1040 }
    /// Large entries are handed over piece by piece.
    var splitsEntries: Bool { number >= 1021 }
    /// A stream may be cut behind its last node, before its metadata.
    var splitsBehindLastNode: Bool { number < 1039 }
    /// What is pending is handed over when it has reached so much.
    var flushBytes: Int { number < 1021 ? 4096 : 8192 }
    /// The largest amount that is compressed.
    var largestBlobBytes: Int { number < 1021 ? .max : BlobPacker.largestBlobBytes }
}

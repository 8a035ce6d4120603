import Bytes

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
    /// Of these it obeys `compression` (LZF of strings) and `listCompressDepth`.
    var options = StreamOptions()

    func encode(_ key: StoredKey) throws(EmulationError) -> EncodedEntry {
        try encode(key, StoredValue(dump: key.dump))
    }

    /// The same of a value that is known already; the key's dump is not looked at.
    func encode(
        _ key: StoredKey, _ value: StoredValue
    ) throws(EmulationError) -> EncodedEntry {
        try translated { () throws(SystemError) in
            var builder = try EntryBuilder(usesLZF: options.compression == .lzf)
            try appendPrefixes(of: key, to: &builder)
            let type = key.isJSON ? 30 : typeCode(of: value, key.elementExpiries)
            try builder.append(byte: type)
            try builder.append(string: key.name.key)
            try append(value, type, key.elementExpiries, to: &builder)
            return EncodedEntry(
                name: key.name, bytes: builder.bytes.view.array(), splits: builder.splits)
        }
    }

    /// What this release's DUMP answers for the key (version 9 for all types, protocol.md 3.11).
    func dump(_ key: StoredKey) throws(EmulationError) -> [UInt8] {
        let value = try StoredValue(dump: key.dump)
        return try translated { () throws(SystemError) in
            // Unless compression is off altogether, DUMP compresses string by string.
            var builder = try EntryBuilder(usesLZF: options.compression != .none)
            let type = key.isJSON ? 30 : typeCode(of: value, key.elementExpiries)
            try builder.append(byte: type)
            try append(value, type, key.elementExpiries, to: &builder)
            try builder.append(little: UInt16(9))
            try builder.append(little: builder.bytes.view.crc64())
            return builder.bytes.view.array()
        }
    }

    private func translated<Result>(
        _ body: () throws(SystemError) -> Result
    ) throws(EmulationError) -> Result {
        do throws(SystemError) {
            return try body()
        } catch {
            throw EmulationError(description: "no memory to encode a key: \(error)")
        }
    }

    /// Expiry, then stickiness and memcached flags (protocol.md 3.3).
    private func appendPrefixes(
        of key: StoredKey, to builder: inout EntryBuilder
    ) throws(SystemError) {
        if key.expiryMilliseconds > 0 { try builder.append(expiry: key.expiryMilliseconds) }
        let memcachedFlags = release.writesMemcachedFlags ? key.memcachedFlags : nil
        let mask: UInt32 = (key.isSticky ? 1 : 0) | (memcachedFlags == nil ? 0 : 2)
        guard mask != 0 else { return }
        try builder.append(byte: 0xdc)
        try builder.append(little: mask)
        if let memcachedFlags { try builder.append(little: memcachedFlags) }
    }

    /// The type code that the release gives a value (protocol.md 3.9).
    private func typeCode(of value: StoredValue, _ expiries: [[UInt8]: Int64]) -> UInt8 {
        switch value {
        case .string: 0
        case .list: release.writesOldLists ? 14 : 18
        case .set(let members, let isIntset):
            if !expiries.isEmpty {
                32
            } else if isIntset, members.count <= CollectionLimits.intsetMembers {
                11
            } else {
                2
            }
        case .hash(let fields, let isCompact):
            if !expiries.isEmpty {
                31
            } else if isCompactHash(fields, isCompact) {
                release.writesZiplists ? 13 : 16
            } else {
                4
            }
        case .sortedSet(let members, let isCompact):
            if isCompact, isCompactSortedSet(members) {
                release.writesZiplists ? 12 : 17
            } else {
                5
            }
        case .stream: release.writesOldStreams ? 15 : 21
        }
    }

    /// Whether Dragonfly has a hash as listpack. What the keyspace has outside its own listpack
    /// although it is short enough for one, by redis' limits, was larger once: there, too, then.
    private func isCompactHash(_ fields: [StoredValue.Field], _ isCompact: Bool) -> Bool {
        if fields.count == 1, release.keepsSingleFieldsCompact {
            return fields[0].field.count < 4096
        }
        let redisFields = 128
        guard isCompact || fields.count > redisFields else { return false }
        let limit = CollectionLimits.hashElementBytes
        var bytes = RegionBuffer.listpackOverhead
        for field in fields {
            guard field.field.count <= limit, field.value.count <= limit,
                bytes + field.field.count + field.value.count < CollectionLimits.hashListpackBytes
            else { return false }
            bytes += field.field.withByteView { RegionBuffer.listpackBytes(of: $0) }
            bytes += field.value.withByteView { RegionBuffer.listpackBytes(of: $0) }
        }
        return true
    }

    /// The same for a sorted set; redis' own limits are not below Dragonfly's.
    private func isCompactSortedSet(_ members: [StoredValue.Member]) -> Bool {
        members.count <= CollectionLimits.sortedSetListpackMembers
            && members.allSatisfy { member in
                // A compact form has no zero with a sign.
                member.member.count <= CollectionLimits.sortedSetMemberBytes
                    && (member.score != 0 || member.score.sign == .plus)
            }
    }
}

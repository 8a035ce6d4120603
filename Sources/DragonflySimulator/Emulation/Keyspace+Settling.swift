/// The end of a keyspace: as the target must be.
extension Keyspace {
    /// Deletes what has expired, keys and elements, and gives all other keys their true expiry.
    /// After that no more commands may be executed on it.
    ///
    /// - Throws: `EmulationError` if the server's expiries are not those that are known here, too.
    func settle() throws(EmulationError) {
        try checkExpiries()
        let now = clock()
        for (name, known) in details {
            if known.isExpired(at: now) {
                _ = try require([text("DEL"), name.key], database: name.database)
                continue
            }
            let expired = known.expiredElements(at: now)
            if !expired.isEmpty { try removeElements(expired, of: name) }
            guard known.expiryMilliseconds != 0 else { continue }
            // The last element of the key may have expired: then this finds no key.
            _ = try require(
                [text("PEXPIREAT"), name.key, decimal(known.expiryMilliseconds)],
                database: name.database)
        }
        forgetAll(database: nil)
    }

    /// Removes hash fields or set members; returns the key's type.
    @discardableResult
    func removeElements(
        _ elements: [[UInt8]], of name: KeyName
    ) throws(EmulationError) -> [UInt8] {
        let type = try require([text("TYPE"), name.key], database: name.database)
        let command = type.bytes == text("set") ? "SREM" : "HDEL"
        _ = try require([text(command), name.key] + elements, database: name.database)
        return type.bytes ?? []
    }

    /// Compares the expiries known here with those on the server.
    func checkExpiries() throws(EmulationError) {
        var counts: [Int: Int64] = [:]
        for (name, known) in details where known.expiryMilliseconds != 0 {
            counts[name.database, default: 0] += 1
            let reply = try require([text("PEXPIRETIME"), name.key], database: name.database)
            guard reply == .integer(known.expiryMilliseconds + Self.expiryShift) else {
                throw EmulationError(
                    description: "the emulated key \(quoted(name.key)) expires at "
                        + "\(known.expiryMilliseconds), its server says \(reply.summary)")
            }
        }
        for database in 0..<Self.databaseCount {
            let expected = counts[database, default: 0]
            let actual = try expiryCount(database)
            guard actual == expected else {
                throw EmulationError(
                    description: "\(expected) emulated keys of database \(database) expire, "
                        + "on the server \(actual)")
            }
        }
    }

    /// How many keys of a database have an expiry on the server.
    private func expiryCount(_ database: Int) throws(EmulationError) -> Int64 {
        let info = try require([text("INFO"), text("keyspace")], database: database)
        let lines = (info.bytes ?? []).split(separator: UInt8(ascii: "\n"))
        // A line is like "db0:keys=2,expires=1,avg_ttl=0".
        for line in lines where line.starts(with: text("db\(database):")) {
            let fields = line.split(separator: UInt8(ascii: ","))
            for field in fields where field.starts(with: text("expires=")) {
                let number = String(decoding: field.dropFirst(8), as: UTF8.self)
                return Int64(number) ?? -1
            }
        }
        return 0
    }
}

internal import Bytes
internal import Wire

/// The rules for keys at work: what is filtered, and names on either side.
extension Core {
    // MARK: Filters

    func keeps(_ entry: SnapshotEntry) -> Bool {
        keeps(database: entry.database, key: entry.key)
            && (!keyRules.isActive || keyRules.keeps(entry.type.family))
    }

    /// Whether a key of the source is carried over, by its database and its name.
    func keeps(database: Int, key: ByteView) -> Bool {
        !keyRules.isActive || keyRules.keeps(database: database, key: key)
    }

    /// Whether a record is carried over, by the name of its command.
    func keepsCommand(_ record: JournalRecord) -> Bool {
        guard keyRules.isActive, let name = record.arguments.first else { return true }
        return keyRules.keeps(command: name)
    }

    func countFiltered(_ entry: SnapshotEntry, _ flow: Flow) {
        flow.progress.snapshotByType[RecordType(entry.type.family)].filtered += 1
    }

    /// Gives an entry its name and database on the target.
    func nameForTarget(_ entry: inout SnapshotEntry) throws(DecodeError) {
        entry.database = keyRules.target(ofDatabase: entry.database)
        do throws(SystemError) {
            entry.key = try keyRules.target(of: entry.key)
        } catch {
            throw DecodeError(.outOfMemory)
        }
    }

    /// Whether a flush is about keys that are carried over.
    func keepsFlush(_ record: JournalRecord, _ match: JournalRules.Match) -> Bool {
        guard keepsCommand(record) else { return false }
        return match.rule == .flushAll || keyRules.keeps(database: record.database)
    }

    /// What it deletes on the source stays on the target; of keys under repair it is told, for their
    /// values may or may not have been read before it.
    func passOverFlush(
        _ record: JournalRecord, _ match: JournalRules.Match, _ flow: Flow
    ) -> Step {
        if repairs.openCount > 0 {
            repairs.touchAll(flow: flow.index, lsn: record.lsn, now: nowMilliseconds)
        }
        flow.progress.journalByType[match.type].filtered += 1
        return .done
    }

    /// Databases of the target that the source's keys will come to, as far as it tells.
    var databasesExpected: [Int] {
        guard keyRules.isActive else { return sourceDatabases }
        return sourceDatabases.filter { keyRules.keeps(database: $0) }
            .map { keyRules.target(ofDatabase: $0) }
    }

    // MARK: Names on either side

    /// A key's database and name on the target, valid until the next call.
    func targetName(_ database: Int, _ key: ByteView) -> (database: Int, key: ByteView) {
        guard keyRules.isActive else { return (database, key) }
        do throws(SystemError) {
            return (keyRules.target(ofDatabase: database), try keyRules.target(of: key))
        } catch {
            fail(.interrupted, "no memory for the name of a key: \(error)")
            return (database, key)
        }
    }

    /// A key's database and name on the source, valid until the next call.
    func sourceName(_ database: Int, _ key: ByteView) -> (database: Int, key: ByteView) {
        guard keyRules.isActive else { return (database, key) }
        do throws(SystemError) {
            return (keyRules.source(ofDatabase: database), try keyRules.source(of: key))
        } catch {
            fail(.interrupted, "no memory for the name of a key: \(error)")
            return (database, key)
        }
    }
}

import Bytes

/// Why a recording cannot be used; names the file.
public struct RecordingError: Error, CustomStringConvertible {
    public let description: String
}

/// What a real master sent to a replica, flow by flow: a folder with `manifest.json` and
/// `flow-N.bin.gz`.
public struct Recording: Sendable {
    /// One recorded flow.
    public struct Flow: Sendable {
        /// Whether it was answered PARTIAL.
        public let isPartial: Bool
        /// The 40 hex characters of the reply to `DFLY FLOW`.
        public let token: String
        /// Everything that came after that reply.
        public let bytes: [UInt8]
        /// Where the end of the static part (C8 and 8 zero bytes, protocol.md 3.1) begins.
        public let fullSyncEndOffset: Int
        /// Bytes received before `DFLY STARTSTABLE` was sent.
        public let bytesBeforeStartStable: Int
        /// Bytes received before its reply came.
        public let bytesAtStable: Int
        /// The journal after the token.
        public let journal: JournalIndex
        /// The LSN of the first journal entry.
        public let firstLSN: UInt64
        /// The LSN after the last one, as the master reported it at the end.
        public let nextLSN: UInt64
    }

    public let masterId: String
    /// As in "df-v1.40.0-87-gf8eca6d0b".
    public let release: String
    public let redisVersion: String
    /// The version and whether a lineage id followed it in the CAPA reply (protocol.md 2.4).
    public let protocolVersion: Int
    public let sendsLineage: Bool
    public let flows: [Flow]

    /// Reads a recording's folder.
    public init(folder: String) throws(RecordingError) {
        let path = folder + "/manifest.json"
        let manifest: JSONValue
        do {
            manifest = try JSONReader.read(try Files.read(path))
        } catch let error as JSONReader.Failure {
            throw RecordingError(description: "\(path): not JSON at byte \(error.position)")
        } catch {
            throw RecordingError(description: "\(path): \(error)")
        }
        func demand<Value>(_ value: Value?, _ name: String) throws(RecordingError) -> Value {
            guard let value else { throw RecordingError(description: "\(path): no \(name)") }
            return value
        }
        masterId = try demand(manifest["master_id"]?.string, "master_id")
        protocolVersion = try demand(manifest["protocol_version"]?.integer, "protocol_version")
        let server = try demand(manifest["server"]?.array, "server").compactMap(\.string)
        func version(_ name: String) -> String? {
            server.first { $0.hasPrefix(name + ":") }.map { String($0.dropFirst(name.count + 1)) }
        }
        release = try demand(version("dragonfly_version"), "dragonfly_version")
        redisVersion = version("redis_version") ?? "7.4.0"
        let handshake = manifest["handshake"]?.array ?? []
        sendsLineage = handshake.contains { ($0["reply"]?.array?.count ?? 0) >= 5 }
        let offsets = try demand(manifest["replica_offset_at_end"]?.array, "replica_offset_at_end")
        let entries = try demand(manifest["flows"]?.array, "flows")
        guard !entries.isEmpty, offsets.count == entries.count else {
            throw RecordingError(description: "\(path): flows and offsets differ")
        }
        var flows: [Flow] = []
        for (index, entry) in entries.enumerated() {
            let offset = try demand(offsets[index].integer, "replica_offset_at_end")
            flows.append(try Flow(entry, index: index, nextLSN: offset, folder: folder))
        }
        self.flows = flows
    }
}

extension Recording {
    /// Whether this recording resumed where `other` stopped.
    public func continues(_ other: Recording) -> Bool {
        masterId == other.masterId && flows.map(\.firstLSN) == other.flows.map(\.nextLSN)
    }
}

extension Recording.Flow {
    fileprivate init(
        _ entry: JSONValue, index: Int, nextLSN: Int, folder: String
    ) throws(RecordingError) {
        let path = "\(folder)/flow-\(index).bin.gz"
        guard let token = entry["eof_token"]?.string, let kind = entry["sync_type"]?.string,
            let before = entry["bytes_before_startstable"]?.integer,
            let stable = entry["bytes_at_stable"]?.integer,
            let total = entry["bytes_total"]?.integer
        else { throw RecordingError(description: "\(folder): flow \(index) is incomplete") }
        let content: [UInt8]?
        do {
            content = try Files.readGzip(path)
        } catch {
            throw RecordingError(description: "\(path): \(error)")
        }
        guard let bytes = content, bytes.count == total, before >= 0, before <= stable,
            stable <= total
        else { throw RecordingError(description: "\(path): not what its manifest says") }
        self.bytes = bytes
        self.token = token
        isPartial = kind == "PARTIAL"
        bytesBeforeStartStable = before
        bytesAtStable = stable
        self.nextLSN = UInt64(nextLSN)
        let mark = [0xc8] + [UInt8](repeating: 0, count: 8)
        // Nothing but journal blobs follow the mark in this part, so the last one is it. Inside a
        // compressed blob it would not be found; the part's end is then the safe assumption.
        fullSyncEndOffset = bytes.lastOccurrence(of: mark, before: before) ?? before
        var journalStart = 0
        if !isPartial {
            let end = bytes.firstOccurrence(of: Array(token.utf8), from: before)
            guard let end else {
                throw RecordingError(description: "\(path): does not hold its token")
            }
            journalStart = end + token.utf8.count
        }
        journal = bytes.withByteView { JournalIndex(view: $0, from: journalStart) }
        guard journal.entryCount <= nextLSN else {
            throw RecordingError(description: "\(path): more journal entries than LSNs")
        }
        firstLSN = self.nextLSN - UInt64(journal.entryCount)
    }
}

extension [UInt8] {
    fileprivate func firstOccurrence(of pattern: [UInt8], from start: Int) -> Int? {
        guard pattern.count <= count - start else { return nil }
        return (start...count - pattern.count).first { self[$0...].starts(with: pattern) }
    }

    fileprivate func lastOccurrence(of pattern: [UInt8], before end: Int) -> Int? {
        guard pattern.count <= end else { return nil }
        return (0...end - pattern.count).last { self[$0...].starts(with: pattern) }
    }
}

/// What one reading of a key found.
public struct KeyReading: Sendable, Equatable {
    public enum Outcome: Sendable, Equatable {
        /// There is no such key.
        case missing
        /// `KeyReader.value` holds its encoded value; the type's code is that of the snapshot
        /// (protocol.md 3.9).
        case value(typeCode: UInt8)
        /// The source answered with this error.
        case refused(String)
        /// Its value is above the limit; at least this many bytes.
        case tooLarge(Int)
    }

    public var outcome = Outcome.missing
    /// Unix milliseconds, 0 for none.
    public var expiryMilliseconds: Int64 = 0
    /// The LSNs that the next record of the key's shard would have got, before and after the value
    /// was read (protocol.md 2.8): it holds all records below `before` and none from `after` on.
    public var before: UInt64 = 0
    public var after: UInt64 = 0
    /// Read piece by piece, not by DUMP: encoded for writing by commands only.
    public var isInPieces = false
}

/// What a key reader needs to know.
public struct KeyReaderSettings: Sendable {
    public var credentials: Credentials?
    /// Values that take more memory than this on the source are read in pieces, so that neither
    /// side holds them twice.
    public var wholeBytes = 8 << 20
    /// Values above this many encoded bytes are not read.
    public var limitBytes: Int

    public init(credentials: Credentials?, limitBytes: Int) {
        self.credentials = credentials
        self.limitBytes = limitBytes
    }
}

/// What the owner of a key reader does next.
public enum KeyReaderAction: Sendable, Equatable {
    case none
    /// Logged in: `read` may be called.
    case ready
    case finished(KeyReading)
    /// The connection is of no more use: close it.
    case failed(SourceError)
}

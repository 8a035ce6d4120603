public import Wire

/// What becomes of values that a Redis without modules cannot hold: `types:` of the configuration.
public struct TypePolicy: Sendable, Equatable {
    public enum JSON: String, Sendable, CaseIterable {
        /// A string that holds the text.
        case string
        /// JSON.SET of the target's module.
        case module
        case skip, fail
    }

    /// Fields of a hash with an expiry of their own.
    public enum HashFieldExpiry: String, Sendable, CaseIterable {
        /// HPEXPIREAT where the target has it, else dropped.
        case automatic = "auto"
        case drop = "drop-ttl"
        /// The key gets the latest expiry of its fields, if every field has one; else dropped.
        case asKeyExpiry = "key-ttl"
        /// df2redis removes the field when it is due.
        case byUs = "expire-by-us"
        /// Such a hash is left out, or counts as failed.
        case skip, fail
    }

    /// Members of a set with an expiry of their own.
    public enum SetMemberExpiry: String, Sendable, CaseIterable {
        case drop = "drop-ttl"
        case byUs = "expire-by-us"
        case skip, fail
    }

    /// Bloom and cuckoo filters, count-min sketches, Top-K. Their hashes are not those of the Redis
    /// modules (protocol.md 3.9.9 to 3.9.11), so none of them can be taken over.
    public enum Probabilistic: String, Sendable, CaseIterable {
        case skip, fail
    }

    public var json = JSON.string
    public var hashFieldExpiry = HashFieldExpiry.automatic
    public var setMemberExpiry = SetMemberExpiry.drop
    public var probabilistic = Probabilistic.skip

    public init() {}

    /// Whether df2redis must remember elements and remove them.
    public var expiresByUs: Bool { hashFieldExpiry == .byUs || setMemberExpiry == .byUs }

    /// Why a value of this type was left out.
    public func reason(for type: RecordType) -> StaticString {
        switch type {
        case .json: TypePolicy.jsonReason
        case .hash: "fields of it have an expiry of their own (types.hashFieldExpiry)"
        case .set: "members of it have an expiry of their own (types.setMemberExpiry)"
        default: TypePolicy.probabilisticReason
        }
    }

    /// Whether a value of this type that is left out counts as failed, not as skipped.
    public func fails(_ type: RecordType) -> Bool {
        switch type {
        case .json: json == .fail
        case .hash: hashFieldExpiry == .fail
        case .set: setMemberExpiry == .fail
        default: probabilistic == .fail
        }
    }

    public static let jsonReason: StaticString = "JSON values are left out (types.json)"
    public static let probabilisticReason: StaticString =
        "a Redis cannot take over such a value: its modules hash otherwise (types.probabilistic)"
}

/// What is done about the expiries of elements on a given target.
public enum ElementExpiry: Sendable {
    /// The target holds them itself.
    case native
    case drop, asKeyExpiry, byUs, skip, fail

    /// Of hash fields.
    init(_ policy: TypePolicy.HashFieldExpiry, _ version: TargetVersion) {
        self =
            switch policy {
            case .automatic: version.knowsFieldExpiry ? .native : .drop
            case .drop: .drop
            case .asKeyExpiry: .asKeyExpiry
            case .byUs: .byUs
            case .skip: .skip
            case .fail: .fail
            }
    }

    /// Of set members.
    init(_ policy: TypePolicy.SetMemberExpiry) {
        self =
            switch policy {
            case .drop: .drop
            case .byUs: .byUs
            case .skip: .skip
            case .fail: .fail
            }
    }

    /// Only the whole value tells what to do: what a record does to it is read from the source.
    public var needsWholeValue: Bool { self != .native && self != .drop }
}

/// What a snapshot entry or a journal record is counted as: the type of its value, or of the values
/// that its command is for.
public enum RecordType: UInt8, Sendable, BitwiseCopyable, CaseIterable {
    // The numbers of `ValueFamily`.
    case string, list, set, zset, hash, stream, json, bloom, cuckoo, countMin, topK
    /// Commands for keys of any type, and those without a key: DEL, RENAME, FLUSHALL, PING ...
    case generic

    public init(_ family: ValueFamily) {
        guard let type = RecordType(rawValue: family.rawValue) else {
            preconditionFailure("every family is a record type")
        }
        self = type
    }

    public var name: String { ValueFamily(rawValue: rawValue)?.name ?? "generic" }
}

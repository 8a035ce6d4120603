public import Bytes

/// What RESTORE takes and DUMP gives: type byte, value, version (u16le) and CRC-64 (u64le) over all
/// of that (protocol.md 3.11).
public enum DumpPayload {
    /// Every server from Redis 5 on accepts it: a version says nothing about which types may
    /// follow.
    static let version: UInt16 = 9
    /// Versions of payloads that others made: the type code tells all that differs between them.
    private static let knownVersions: ClosedRange<UInt16> = 1...12
    private static let footerSize = 10

    /// Size of the payload of a value of `valueCount` bytes.
    public static func byteCount(valueCount: Int) -> Int {
        1 + valueCount + footerSize
    }

    /// What follows a value in its payload: the version, and the checksum over type byte, value and
    /// version.
    public static func footer(
        type: ValueType, value: ByteView
    ) -> (version: UInt16, checksum: UInt64) {
        let start = ByteView.crc64(little: type.rawValue)
        let checksum = value.crc64(continuing: start)
        return (version, ByteView.crc64(little: version, continuing: checksum))
    }

    /// The type and value in a payload; the value is a view of `payload` and not looked at.
    /// Throws `badHeader` for a payload too short or of an unknown version, `damagedContainer` for
    /// a wrong checksum, and `unknownOpcode` for a type that `ValueType` does not know.
    public static func parse(
        _ payload: ByteView
    ) throws(DecodeError) -> (type: ValueType, value: ByteView) {
        let bodyCount = payload.count - footerSize
        guard bodyCount >= 1, knownVersions.contains(payload.little(bodyCount, as: UInt16.self))
        else { throw DecodeError(.badHeader) }
        let checksum = payload.little(bodyCount + 2, as: UInt64.self)
        guard payload.slice(0, bodyCount + 2).crc64() == checksum else {
            throw DecodeError(.damagedContainer)
        }
        guard let type = ValueType(rawValue: payload[0]) else {
            throw DecodeError(.unknownOpcode, opcode: payload[0])
        }
        return (type, payload.slice(1, bodyCount - 1))
    }
}

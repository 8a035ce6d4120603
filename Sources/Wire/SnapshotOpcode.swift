/// Opcodes of the snapshot part of a flow (protocol.md 3.3). Codes below 200 are value types.
enum SnapshotOpcode: UInt8 {
    case fullSyncEnd = 0xc8
    case zstdBlob = 0xc9
    case lz4Blob = 0xca
    case journalBlob = 0xd2
    case journalOffset = 0xd3
    case mask = 0xdc
    case vectorIndex = 0xde
    case shardDocumentIndex = 0xdf
    case taggedChunk = 0xe0
    case slotInfo = 0xf4
    case function = 0xf5
    case moduleAuxiliary = 0xf7
    case idle = 0xf8
    case frequency = 0xf9
    case auxiliary = 0xfa
    case resizeDatabase = 0xfb
    case expiryMilliseconds = 0xfc
    case expirySeconds = 0xfd
    case selectDatabase = 0xfe
    case end = 0xff
}

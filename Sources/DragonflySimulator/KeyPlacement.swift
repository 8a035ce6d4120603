import Bytes

/// Which flow carries which generated key, and the writing of a flow's keys.
struct KeyPlacement: Sendable {
    private let data: SyntheticData
    /// The flow of each key by kind and number; empty if there is but one flow.
    private let flows: [[UInt16]]

    init(_ data: SyntheticData) throws(SystemError) {
        self.data = data
        guard data.flowCount > 1 else {
            flows = []
            return
        }
        var key = try RegionBuffer()
        var flows: [[UInt16]] = []
        for kind in SyntheticData.Kind.allCases {
            var ofKind = [UInt16](repeating: 0, count: data.shape(kind).count)
            for index in ofKind.indices {
                key.clear()
                try key.append(ByteView(kind.prefix))
                try key.append(little: HexDigits.word(UInt32(truncatingIfNeeded: index)))
                ofKind[index] = UInt16(key.view.shard(flowCount: data.flowCount))
            }
            flows.append(ofKind)
        }
        self.flows = flows
    }

    /// Writes all keys of a flow, database by database, and calls `afterFlush` between flushes.
    func writeKeys(
        of flow: Int, with writer: inout SnapshotWriter,
        afterFlush: (inout SnapshotWriter) throws(SystemError) -> Void
    ) throws(SystemError) {
        for database in 0..<data.databaseCount {
            for kind in SyntheticData.Kind.allCases {
                let count = data.shape(kind).count
                for index in stride(from: database, to: count, by: data.databaseCount) {
                    if !flows.isEmpty, flows[kind.rawValue][index] != UInt16(flow) { continue }
                    try writer.append(kind, index)
                    if writer.mustFlush {
                        try writer.flush()
                        try afterFlush(&writer)
                    }
                }
            }
        }
    }
}

extension SyntheticData {
    /// Keys per database.
    func keyCounts() -> [Int] {
        (0..<databaseCount).map { database in
            Kind.allCases.reduce(0) { sum, kind in
                sum + (shape(kind).count + databaseCount - 1 - database) / databaseCount
            }
        }
    }
}

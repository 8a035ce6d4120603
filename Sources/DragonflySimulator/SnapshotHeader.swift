import Bytes

/// The header of a flow's snapshot and its AUX fields (protocol.md 3.2), never compressed.
struct SnapshotHeader {
    /// As INFO prints it.
    var release: String
    /// 1.40 is 1040.
    var releaseNumber: Int
    var flow: Int
    var flowCount: Int
    /// Unix seconds.
    var time: Int64
    /// Lua sources; on flow 0 only.
    var scripts: [[UInt8]] = []
    /// Definitions of search indexes; on flow 0 only, for replicas below VER6.
    var searchIndexes: [String] = []

    func append(to buffer: inout RegionBuffer) throws(SystemError) {
        try buffer.append(ByteView("REDIS0009"))
        try append("redis-ver", releaseNumber < 1026 ? "999.999.999" : "6.2.11", to: &buffer)
        if releaseNumber >= 1026 { try append("df-ver", release, to: &buffer) }
        try append("redis-bits", "64", to: &buffer)
        try append("ctime", String(time), to: &buffer)
        try append("used-mem", "1048576", to: &buffer)
        try append("aof-preamble", "0", to: &buffer)
        for script in scripts { try append("lua", script, to: &buffer) }
        for index in searchIndexes { try append("search-index", index, to: &buffer) }
        guard releaseNumber >= 1032 else { return }
        if flow == 0 {
            try append("shard-count", String(flowCount), to: &buffer)
            try append("table-mem", "1048576", to: &buffer)
        }
        try append("shard-id", String(flow), to: &buffer)
    }

    private func append(
        _ name: StaticString, _ value: String, to buffer: inout RegionBuffer
    ) throws(SystemError) {
        try append(name, Array(value.utf8), to: &buffer)
    }

    private func append(
        _ name: StaticString, _ value: [UInt8], to buffer: inout RegionBuffer
    ) throws(SystemError) {
        try buffer.append(byte: 0xfa)
        try buffer.append(string: ByteView(name))
        try value.withByteView { (view) throws(SystemError) in try buffer.append(string: view) }
    }
}

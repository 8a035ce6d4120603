import Bytes

/// Names of the keys under which big values are built: `df2redis:{task}:shadow:<flow>:<number>`.
///
/// A run owns all names that begin like its own. The tag between the braces decides the slot in a
/// cluster; there it will come from a table, so that a shadow lies in the slot of its key.
struct ShadowName: ~Copyable {
    private var buffer: RegionBuffer
    private let prefixCount: Int
    private var named: (flow: Int, number: UInt32)?

    init(task: String) throws(SystemError) {
        let prefix = Array("df2redis:{\(task)}:shadow:".utf8)
        // All first: a struct that owns memory cannot be left half made.
        var buffer = try RegionBuffer(capacity: 4096)
        try prefix.withByteView { (view) throws(SystemError) in try buffer.append(view) }
        self.buffer = buffer
        prefixCount = prefix.count
    }

    /// Begins every name.
    var prefix: ByteView { buffer.view.slice(0, prefixCount) }

    /// The name of one value's shadow; valid until the next name is made.
    mutating func name(flow: Int, number: UInt32) throws(SystemError) -> ByteView {
        if let named, named == (flow, number) { return buffer.view }
        named = nil
        buffer.truncate(to: prefixCount)
        try buffer.append(decimal: Int64(flow))
        try buffer.append(byte: UInt8(ascii: ":"))
        try buffer.append(decimal: Int64(number))
        named = (flow, number)
        return buffer.view
    }

    /// A pattern of SCAN that exactly the names match.
    func pattern() -> [UInt8] {
        var pattern: [UInt8] = []
        for byte in prefix.array() {
            if "*?[]\\".utf8.contains(byte) { pattern.append(UInt8(ascii: "\\")) }
            pattern.append(byte)
        }
        return pattern + [UInt8(ascii: "*")]
    }
}

import Bytes

/// Names of keys of our own: `df2redis:{tag}:<task>:shadow:<flow>:<number>`, under which a big value is
/// built, and `df2redis:{tag}:<task>:building`, which nobody ever sees.
///
/// The tag puts a key into the slot of the one that it is for, so that a cluster takes both in one
/// transaction. A run owns all names of its task.
struct OwnNames: ~Copyable {
    private static let beginning: StaticString = "df2redis:{"
    private let task: [UInt8]
    private var buffer: RegionBuffer

    init(task: String) throws(SystemError) {
        buffer = try RegionBuffer(capacity: 4096)
        self.task = Array(task.utf8)
    }

    /// The name of one value's shadow; valid until the next name is made.
    mutating func shadow(
        slot: Int, flow: Int, number: UInt32
    ) throws(SystemError) -> ByteView {
        try begin(slot)
        try buffer.append(":shadow:")
        try buffer.append(decimal: Int64(flow))
        try buffer.append(byte: UInt8(ascii: ":"))
        try buffer.append(decimal: Int64(number))
        return buffer.view
    }

    /// The name under which a value is built inside one transaction; valid until the next name is made.
    mutating func building(slot: Int) throws(SystemError) -> ByteView {
        try begin(slot)
        try buffer.append(":building")
        return buffer.view
    }

    private mutating func begin(_ slot: Int) throws(SystemError) {
        buffer.clear()
        try buffer.append(ByteView(OwnNames.beginning))
        try buffer.append(SlotTags.tag(of: slot))
        try buffer.append("}:")
        try task.withByteView { (task) throws(SystemError) in try buffer.append(task) }
    }

    /// A pattern of SCAN that all shadows of the task match, and no key of another task.
    func shadowPattern() -> [UInt8] {
        var pattern = ByteView(OwnNames.beginning).array() + Array("*}:".utf8)
        for byte in task {
            if "*?[]\\".utf8.contains(byte) { pattern.append(UInt8(ascii: "\\")) }
            pattern.append(byte)
        }
        return pattern + Array(":shadow:*".utf8)
    }
}

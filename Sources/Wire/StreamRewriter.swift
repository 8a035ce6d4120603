public import Bytes

/// Writes a stream's value in an older layout, for servers that cannot load the newer one
/// (protocol.md 3.11). Nodes and pending entries are copied as they are.
public enum StreamRewriter {
    /// Appends the value of type `type` as one of type `target` to `buffer`: 21 as 19 (drops the
    /// consumers' active times), 21 or 19 as 15 (also drops first id, greatest deleted id, entries
    /// added, and entries read by groups). The result is never longer than the value.
    /// Throws `damagedContainer`, `badLength`, `badString` or `outOfMemory`; then a part may have
    /// been appended.
    public static func rewrite(
        _ value: ByteView, from type: ValueType, to target: ValueType,
        into buffer: inout RegionBuffer
    ) throws(DecodeError) {
        precondition(type.family == .stream && target.family == .stream)
        precondition(target.rawValue < type.rawValue, "only into an older layout")
        do {
            // Room for all, so that appending moves nothing.
            try buffer.reserve(buffer.count + value.count)
        } catch {
            throw DecodeError(.outOfMemory)
        }
        var copy = Copy(source: WholeCursor(value))
        try copy.stream(from: type, to: target, into: &buffer)
    }

    /// Copies the source range by range; what is left out lies between two ranges.
    private struct Copy {
        var source: WholeCursor
        /// Everything before this was copied or left out.
        var done = 0

        mutating func flush(into buffer: inout RegionBuffer) throws(DecodeError) {
            do {
                try buffer.append(source.bytes.slice(done, source.position - done))
            } catch {
                throw DecodeError(.outOfMemory)
            }
            done = source.position
        }

        mutating func skip() {
            done = source.position
        }

        mutating func stream(
            from type: ValueType, to target: ValueType, into buffer: inout RegionBuffer
        ) throws(DecodeError) {
            let dropsCounters = target == .streamListpacks
            for _ in 0..<(try source.count()) {
                _ = try source.streamNodeID()
                _ = try source.string()
            }
            _ = try source.length()
            _ = try source.streamID()
            if dropsCounters {
                try flush(into: &buffer)
                _ = try source.streamID()
                _ = try source.streamID()
                _ = try source.length()
                skip()
            } else {
                _ = try source.streamID()
                _ = try source.streamID()
                _ = try source.length()
            }
            for _ in 0..<(try source.count()) {
                _ = try source.string()
                _ = try source.streamID()
                if dropsCounters { try flush(into: &buffer) }
                _ = try source.length()
                if dropsCounters { skip() }
                for _ in 0..<(try source.count()) { _ = try source.streamPendingRecord() }
                for _ in 0..<(try source.count()) {
                    try consumer(hasActiveTime: type == .streamListpacks3, into: &buffer)
                }
            }
            try source.expectEnd()
            try flush(into: &buffer)
        }

        private mutating func consumer(
            hasActiveTime: Bool, into buffer: inout RegionBuffer
        ) throws(DecodeError) {
            _ = try source.string()
            _ = try source.little(as: Int64.self)
            if hasActiveTime {
                try flush(into: &buffer)
                _ = try source.little(as: Int64.self)
                skip()
            }
            for _ in 0..<(try source.count()) { _ = try source.rawStreamID() }
        }
    }
}

import Bytes

/// An item whose bytes are collected, because it comes in chunks or does not fit the window.
final class Assembly {
    enum Kind {
        case entry(ValueType)
        case journalBlob(count: Int)
    }

    var kind = Kind.entry(.string)
    var database = 0
    var expiryMilliseconds: Int64 = 0
    var mask: UInt32 = 0
    var walker = ValueWalker(.string)
    var key: RegionBuffer
    var value: RegionBuffer
    /// Encoded size so far, whether kept or not.
    var valueSize = 0
    /// There was no room: the value is walked past.
    var isRefused = false
    /// Stream id of its chunks, 0 for an item without chunks.
    var chunkID: UInt32 = 0

    /// Of a value that comes in parts: where it is, and its number. Then `value` holds what was
    /// collected before that was known, or a unit that does not fit the window.
    var parts: PartCursor?
    var number: UInt32 = 0
    /// Bytes of `value` that went out already.
    var drained = 0
    /// A unit is being collected; `walker` knows where it ends.
    var isCollecting = false

    /// The entry with a part of its value, or without.
    func entry(_ type: ValueType, value: ByteView = ByteView()) -> SnapshotEntry {
        SnapshotEntry(
            database: database, type: type, key: key.view,
            expiryMilliseconds: expiryMilliseconds, isSticky: mask & 1 != 0,
            hasMemcachedFlags: mask & 2 != 0, value: value)
    }

    init() throws(SystemError) {
        key = try RegionBuffer()
        value = try RegionBuffer()
    }
}

/// Hands out assemblies and keeps the memory of all of them within a limit.
///
/// Memory counts in whole pages of what was written to a region: a region grows by half, but pages
/// never touched cost nothing. Finished assemblies are reused, up to `pooledMaximum` of them, with
/// regions of at most `pooledRegionBytes`; these are not counted.
struct AssemblyPool {
    private static let pooledMaximum = 64

    private let limit: Int
    /// Room that values leave, so that the keys of refused values can still be kept.
    private let keyReserve: Int
    private let pooledRegionBytes: Int
    private(set) var usedBytes = 0
    private var pool: [Assembly] = []

    init(limits: DecoderLimits) {
        limit = limits.assemblyBytes
        keyReserve = min(limits.assemblyBytes / 8, 2 * limits.windowBytes)
        pooledRegionBytes = limits.windowBytes
        pool.reserveCapacity(AssemblyPool.pooledMaximum)
    }

    private static func pages(_ count: Int) -> Int { (count + 4095) & ~4095 }

    /// Room for that many bytes beside everything in use.
    func hasRoom(_ size: Int) -> Bool {
        AssemblyPool.pages(size) <= limit - usedBytes
    }

    /// An assembly with `key` in it. Throws `outOfMemory` if not even that fits.
    mutating func take(
        _ kind: Assembly.Kind, key: ByteView, walker: ValueWalker
    ) throws(DecodeError) -> Assembly {
        // An assembly costs a page even if its key is empty, so that their number has a limit too.
        let size = AssemblyPool.pages(max(key.count, 1))
        guard size <= limit - usedBytes else { throw DecodeError(.outOfMemory) }
        do {
            let assembly = try pool.popLast() ?? Assembly()
            try assembly.key.append(key)
            assembly.kind = kind
            assembly.walker = walker
            assembly.valueSize = 0
            assembly.isRefused = false
            assembly.chunkID = 0
            assembly.parts = nil
            assembly.drained = 0
            assembly.isCollecting = false
            usedBytes += size
            return assembly
        } catch {
            throw DecodeError(.outOfMemory)
        }
    }

    /// Adds a piece of the value; if there is no room for it the value is refused.
    mutating func append(_ bytes: ByteView, to assembly: Assembly) throws(DecodeError) {
        assembly.valueSize += bytes.count
        guard !assembly.isRefused else { return }
        let before = AssemblyPool.pages(assembly.value.count)
        let after = AssemblyPool.pages(assembly.value.count + bytes.count)
        guard after - before <= limit - keyReserve - usedBytes else {
            usedBytes -= before
            assembly.value.clear(keeping: 0)
            assembly.isRefused = true
            return
        }
        do {
            try assembly.value.append(bytes)
        } catch {
            throw DecodeError(.outOfMemory)
        }
        usedBytes += after - before
    }

    /// Forgets the first bytes of the value.
    mutating func removeFirst(_ size: Int, of assembly: Assembly) {
        usedBytes -= AssemblyPool.pages(assembly.value.count)
        if size == assembly.value.count {
            assembly.value.clear(keeping: pooledRegionBytes)
        } else {
            assembly.value.removeFirst(size)
        }
        usedBytes += AssemblyPool.pages(assembly.value.count)
    }

    mutating func release(_ assembly: Assembly) {
        usedBytes -= AssemblyPool.pages(max(assembly.key.count, 1))
        usedBytes -= AssemblyPool.pages(assembly.value.count)
        guard pool.count < AssemblyPool.pooledMaximum else { return }
        assembly.key.clear(keeping: pooledRegionBytes)
        assembly.value.clear(keeping: pooledRegionBytes)
        pool.append(assembly)
    }
}

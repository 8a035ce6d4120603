internal import Bytes
internal import CPlatform

/// A set of keys (database and name) whose names lie on disk: any number of them in fixed memory, and
/// names are compared, so that no key is taken for another one.
///
/// Each bucket in memory has the place of its latest key in the file, each key that of the one before
/// it in its bucket. The file is gone with the process.
struct KeySet: ~Copyable {
    private struct Place {
        static let headBytes = 24
        static let none: Int64 = -1
    }

    private let directory: String
    private let bucketCount: Int
    // Empty while there is no key.
    private var buckets: [Int64] = []
    private var descriptor: Int32 = -1
    private var fileBytes: Int64 = 0
    private var scratch: RegionBuffer
    private(set) var count = 0
    /// Why the file could not be written or read. From then on every key counts as one of the set.
    private(set) var failure: SystemError?

    /// - Parameters:
    ///   - directory: of the file.
    ///   - buckets: a power of two; eight bytes each, from the first key on.
    init(directory: String, buckets: Int) throws(SystemError) {
        precondition(buckets > 0 && buckets & (buckets - 1) == 0)
        scratch = try RegionBuffer()
        self.directory = directory
        bucketCount = buckets
    }

    deinit {
        if descriptor >= 0 { _ = cp_close(descriptor) }
    }

    mutating func contains(database: Int, key: ByteView) -> Bool {
        guard count > 0 || failure != nil else { return false }
        do throws(SystemError) {
            return try find(database, key, hash(database, key))
        } catch {
            failure = failure ?? error
            return true
        }
    }

    mutating func insert(database: Int, key: ByteView) {
        do throws(SystemError) {
            try open()
            let hash = hash(database, key)
            guard try !find(database, key, hash) else { return }
            let bucket = Int(truncatingIfNeeded: hash) & (bucketCount - 1)
            scratch.clear(keeping: 1 << 20)
            try scratch.append(little: buckets[bucket])
            try scratch.append(little: hash)
            try scratch.append(little: Int32(clamping: database))
            try scratch.append(little: UInt32(clamping: key.count))
            try scratch.append(key)
            try scratch.writeAll(to: descriptor)
            buckets[bucket] = fileBytes
            fileBytes += Int64(scratch.count)
            count += 1
        } catch {
            failure = failure ?? error
        }
    }

    private mutating func open() throws(SystemError) {
        guard descriptor < 0 else { return }
        let opened = directory.withCString { cp_open_unnamed($0) }
        guard opened >= 0 else { throw SystemError(result: opened) }
        descriptor = opened
        buckets = [Int64](repeating: Place.none, count: bucketCount)
    }

    private mutating func find(
        _ database: Int, _ key: ByteView, _ hash: UInt64
    ) throws(SystemError) -> Bool {
        if let failure { throw failure }
        var place = buckets[Int(truncatingIfNeeded: hash) & (bucketCount - 1)]
        while place != Place.none {
            scratch.clear()
            try scratch.append(from: descriptor, at: place, count: Place.headBytes)
            let head = scratch.view
            if head.little(8, as: UInt64.self) == hash,
                head.little(16, as: Int32.self) == Int32(clamping: database),
                head.little(20, as: UInt32.self) == UInt32(clamping: key.count)
            {
                let name = place + Int64(Place.headBytes)
                place = head.little(0, as: Int64.self)
                scratch.clear()
                try scratch.append(from: descriptor, at: name, count: key.count)
                if scratch.view.equals(key) { return true }
            } else {
                place = head.little(0, as: Int64.self)
            }
        }
        return false
    }

    private func hash(_ database: Int, _ key: ByteView) -> UInt64 {
        key.xxh64(seed: UInt64(bitPattern: Int64(database)))
    }
}

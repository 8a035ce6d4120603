import Bytes
import CPlatform
import Wire

/// The pending entries of one consumer group, in ascending order of id, until the consumers tell
/// whose they are. Room for some of them in memory; beyond it, they go to a file without a name.
struct PendingTable: ~Copyable {
    private static let recordBytes = 32
    /// In memory, or written at once (32,768 entries).
    static let memoryBytes = 1 << 20
    /// Read at once.
    private static let pageBytes = 4096
    private static let recordsPerPage = pageBytes / recordBytes
    /// More than fit a stream of any sense (2^27 entries).
    private static let fileLimit = 4 << 30

    private let directory: String
    private var recent: RegionBuffer
    private var page: RegionBuffer
    private var pageNumber = -1
    private var descriptor: Int32 = -1
    /// Bytes in the file, which come before those in `recent`.
    private var fileBytes = 0

    /// - Parameter directory: where the file is made when it is needed.
    init(directory: String) throws(SystemError) {
        // All first: a struct that owns memory cannot be left half made.
        let recent = try RegionBuffer()
        let page = try RegionBuffer()
        self.recent = recent
        self.page = page
        self.directory = directory
    }

    deinit {
        if descriptor >= 0 { _ = cp_close(descriptor) }
    }

    private var count: Int { (fileBytes + recent.count) / PendingTable.recordBytes }

    mutating func removeAll() {
        recent.clear(keeping: 0)
        page.clear(keeping: 0)
        pageNumber = -1
        fileBytes = 0
        if descriptor >= 0 { _ = cp_close(descriptor) }
        descriptor = -1
    }

    /// Adds an entry with a higher id than those before.
    mutating func append(_ entry: StreamPending) throws(SystemError) {
        if recent.count == PendingTable.memoryBytes { try spill() }
        try recent.append(little: entry.id.milliseconds)
        try recent.append(little: entry.id.sequence)
        try recent.append(little: entry.deliveryTimeMilliseconds)
        try recent.append(little: entry.deliveryCount)
    }

    private mutating func spill() throws(SystemError) {
        guard fileBytes < PendingTable.fileLimit else { throw .fileTooLarge }
        if descriptor < 0 {
            let result = directory.withCString { cp_open_unnamed($0) }
            guard result >= 0 else { throw SystemError(result: result) }
            descriptor = result
        }
        try recent.write(to: descriptor, at: fileBytes)
        fileBytes += recent.count
        recent.clear()
    }

    /// The entry with an id, nil if there is none.
    mutating func entry(_ id: StreamID) throws(SystemError) -> StreamPending? {
        var low = 0
        var high = count
        // Usually it is on the page in hand.
        if pageNumber >= 0 {
            let first = pageNumber * PendingTable.recordsPerPage
            let end = first + page.count / PendingTable.recordBytes
            if try self.id(first) <= id, try self.id(end - 1) >= id {
                low = first
                high = end
            }
        }
        while low < high {
            let middle = (low + high) / 2
            if try self.id(middle) < id { low = middle + 1 } else { high = middle }
        }
        guard low < count, try self.id(low) == id else { return nil }
        let record = try record(low)
        return StreamPending(
            id: id, deliveryTimeMilliseconds: record.little(16, as: Int64.self),
            deliveryCount: record.little(24, as: UInt64.self))
    }

    private mutating func id(_ number: Int) throws(SystemError) -> StreamID {
        let record = try record(number)
        return StreamID(
            milliseconds: record.little(0, as: UInt64.self),
            sequence: record.little(8, as: UInt64.self))
    }

    /// A view, valid until the next one.
    private mutating func record(_ number: Int) throws(SystemError) -> ByteView {
        let offset = number * PendingTable.recordBytes
        guard offset < fileBytes else {
            return recent.view.slice(offset - fileBytes, PendingTable.recordBytes)
        }
        let wanted = offset / PendingTable.pageBytes
        if wanted != pageNumber {
            pageNumber = -1
            page.clear()
            try page.append(
                from: descriptor, at: Int64(wanted * PendingTable.pageBytes),
                count: PendingTable.pageBytes)
            pageNumber = wanted
        }
        return page.view.slice(offset % PendingTable.pageBytes, PendingTable.recordBytes)
    }
}

import Bytes
import CPlatform
import Glibc

/// Whole files in memory.
enum Files {
    /// The content of a file.
    static func read(_ path: String) throws(SystemError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw SystemError(code: errno) }
        defer { _ = cp_close(descriptor) }
        return try drain(descriptor)
    }

    /// The decompressed content of a gzip file; nil if gzip reports damage.
    static func readGzip(_ path: String) throws(SystemError) -> [UInt8]? {
        // Reading the file first gives the plain reason when it is missing.
        guard access(path, R_OK) == 0 else { throw SystemError(code: errno) }
        let parts = path.split(separator: "'", omittingEmptySubsequences: false)
        let quoted = "'" + parts.joined(separator: "'\\''") + "'"
        guard let pipe = popen("gzip -dc -- \(quoted)", "r") else {
            throw SystemError(code: errno)
        }
        do {
            let bytes = try drain(fileno(pipe))
            return pclose(pipe) == 0 ? bytes : nil
        } catch {
            pclose(pipe)
            throw error
        }
    }

    private static func drain(_ descriptor: Int32) throws(SystemError) -> [UInt8] {
        var ring = try MirroredRing(capacity: 1 << 18)
        var content: [UInt8] = []
        while true {
            switch ring.receive(from: descriptor, limit: ring.free) {
            case .moved:
                content.append(contentsOf: ring.readable.array())
                ring.clear()
            case .endOfStream: return content
            case .wouldBlock: continue
            case .failed(let error): throw error
            }
        }
    }
}

import CPlatform
import Glibc

/// Why a file could not be read or written: `cannot open PATH: No such file or directory`.
struct FileFailure: Error, Equatable, CustomStringConvertible {
    let description: String

    init(_ action: String, _ path: String, code: Int32) {
        description =
            "cannot \(action) \(PrintableText.escaped(path)): \(String(cString: strerror(code)))"
    }

    init(_ description: String) {
        self.description = description
    }
}

enum Files {
    /// Reads a small file whole.
    ///
    /// - Throws: `FileFailure` if it cannot be read or holds more than `limit` bytes.
    static func read(_ path: String, limit: Int) throws(FileFailure) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw FileFailure("open", path, code: errno) }
        defer { cp_close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = chunk.withUnsafeMutableBytes { buffer in
                buffer.baseAddress.map { cp_read(descriptor, $0, buffer.count) } ?? 0
            }
            if count < 0 { throw FileFailure("read", path, code: Int32(-count)) }
            if count == 0 { return bytes }
            bytes += chunk[..<Int(count)]
            if bytes.count > limit {
                throw FileFailure("\(PrintableText.escaped(path)) is larger than \(limit) bytes")
            }
        }
    }

    /// Writes all bytes to a descriptor; returns 0 or the errno.
    static func writeAll(_ bytes: some Collection<UInt8>, to descriptor: Int32) -> Int32 {
        var rest = Array(bytes)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            if count >= 0 {
                rest = rest.dropFirst(count)
            } else if errno == EAGAIN {
                // A terminal or pipe that another program made non-blocking.
                var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                _ = poll(&wait, 1, 1000)
            } else if errno != EINTR {
                return errno
            }
        }
        return 0
    }

    /// Puts a file in place whole or not at all: a new file beside it is written, synced and
    /// renamed.
    static func replace(_ path: String, with text: String) throws(FileFailure) {
        let draft = "\(path).\(getpid()).new"
        let descriptor = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw FileFailure("create", draft, code: errno) }
        var code = writeAll(text.utf8, to: descriptor)
        if code == 0 && fsync(descriptor) != 0 { code = errno }
        if close(descriptor) != 0 && code == 0 { code = errno }
        if code == 0 && rename(draft, path) != 0 { code = errno }
        guard code == 0 else {
            unlink(draft)
            throw FileFailure("write", path, code: code)
        }
        // The rename itself is durable once the directory is.
        let directory = open(parent(of: path), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard directory >= 0 else { throw FileFailure("sync", path, code: errno) }
        defer { cp_close(directory) }
        if fsync(directory) != 0 { throw FileFailure("sync", path, code: errno) }
    }

    /// Makes a directory and those above it, and checks that it can be written to.
    static func makeDirectory(_ path: String) throws(FileFailure) {
        var missing: [String] = []
        var current = path
        while access(current, F_OK) != 0 && current != "." && current != "/" {
            missing.append(current)
            current = parent(of: current)
        }
        for directory in missing.reversed() where mkdir(directory, 0o755) != 0 {
            if errno != EEXIST { throw FileFailure("create", directory, code: errno) }
        }
        let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw FileFailure("open", path, code: errno) }
        cp_close(descriptor)
        if access(path, W_OK | X_OK) != 0 { throw FileFailure("write to", path, code: errno) }
    }

    /// The directory that holds a path; "." for a bare name.
    static func parent(of path: String) -> String {
        var trimmed = Substring(path)
        while trimmed.count > 1 && trimmed.last == "/" { trimmed.removeLast() }
        guard let slash = trimmed.lastIndex(of: "/") else { return "." }
        return slash == trimmed.startIndex ? "/" : String(trimmed[..<slash])
    }
}

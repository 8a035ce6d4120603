import Foundation

/// A directory of its own under the system's temporary directory, removed with its content by
/// `remove` or when the last reference goes.
public final class TemporaryDirectory: Sendable {
    public let path: String

    /// - Throws: `TestSupportError` if it cannot be made.
    public init(prefix: String = "df2redis-test") throws {
        var template = Array("\(NSTemporaryDirectory())/\(prefix)-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw TestSupportError("cannot make a directory below \(NSTemporaryDirectory())")
        }
        path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    deinit { remove() }

    public func remove() {
        try? FileManager.default.removeItem(atPath: path)
    }

    /// Path of a file inside.
    public func file(_ name: String) -> String { "\(path)/\(name)" }
}

/// Something the tests need is missing, or a helper was used wrongly.
public struct TestSupportError: Error, CustomStringConvertible {
    public let description: String

    public init(_ description: String) {
        self.description = description
    }
}

import Foundation

/// A server of a known version that tests can write to: the system's redis-server, or one that
/// `install_servers` (Tests/install-packages) has put into `.build/servers`.
public enum TargetServer: String, CaseIterable, Sendable {
    /// Debian 12 has Redis 7.0.
    case system
    case redis6 = "redis-6.2"
    case redis8 = "redis-8"
    case valkey8 = "valkey-8"
    case valkey9 = "valkey-9"

    /// Those that are there. A test with these as arguments runs for each of them.
    public static let available: [TargetServer] = {
        let missing = allCases.filter { (try? $0.path()) == nil }
        if !missing.isEmpty {
            print(
                "not tested with \(missing.map(\.rawValue).joined(separator: ", ")): "
                    + "not there; Tests/run fetches what can be had")
        }
        return allCases.filter { !missing.contains($0) }
    }()

    /// Those with expiries of single hash fields.
    public static var withFieldExpiry: [TargetServer] {
        available.filter { $0 == .redis8 || $0 == .valkey9 }
    }

    /// Where its executable is.
    /// - Throws: `TestSupportError` that says how to get it.
    public func path() throws -> String {
        if self == .system { return try systemProgram("redis-server", package: "redis-server") }
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let path = root.appendingPathComponent(".build/servers/\(rawValue)").path
        guard FileManager.default.isExecutableFile(atPath: path) else {
            throw TestSupportError("\(rawValue) is not in .build/servers: Tests/run fetches it")
        }
        return path
    }
}

/// Where a setting was given.
enum ConfigurationOrigin: Equatable, CustomStringConvertible {
    /// Line and column count from 1.
    case file(path: String, line: Int, column: Int)
    case environment(name: String)
    case flag(name: String)

    var description: String {
        switch self {
        case .file(let path, let line, let column): "\(path):\(line):\(column)"
        case .environment(let name): name
        case .flag(let name): name
        }
    }
}

/// A setting that keeps the run from starting: exit code 2.
struct ConfigurationProblem: Equatable, CustomStringConvertible {
    /// Nil if something is missing, which is nowhere.
    var origin: ConfigurationOrigin?
    /// Path of the key, nil if the problem is not about one.
    var key: String?
    /// What is wrong and what to do, without secrets.
    var reason: String

    /// `file:line:column: key: reason`; a flag or variable names its key itself.
    var description: String {
        PrintableText.escaped(describe(origin, key, reason))
    }
}

/// A setting that is accepted and has no effect, or has one that the operator should know.
struct ConfigurationNotice: Equatable, CustomStringConvertible {
    enum Weight: Equatable {
        case note, warning
    }

    var weight: Weight
    var origin: ConfigurationOrigin
    /// Nil if the notice is not about a known key.
    var key: String?
    var reason: String

    var description: String {
        PrintableText.escaped(describe(origin, key, reason))
    }
}

private func describe(_ origin: ConfigurationOrigin?, _ key: String?, _ reason: String) -> String {
    let parts: [String?] =
        switch origin {
        case .file(let path, let line, let column): ["\(path):\(line):\(column)", key, reason]
        case .environment(let name), .flag(let name): [name, reason]
        case nil: [key, reason]
        }
    return parts.compactMap { $0 }.joined(separator: ": ")
}

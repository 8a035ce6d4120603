import Replication

/// Joins the layers: defaults < file < environment < flags.
struct ConfigurationResolver {
    /// A flag that sets a key.
    struct Flag {
        var name: String
        var path: String
        var value: String
    }

    private(set) var configuration = Configuration()
    private(set) var notices: [ConfigurationNotice] = []
    private(set) var problems: [ConfigurationProblem] = []
    private let fileIsReadable: Bool

    init(file: ConfigurationFile?, environment: [String: String], flags: [Flag]) {
        fileIsReadable = file?.isReadable ?? true
        if let file { takeFile(file) }
        takeEnvironment(environment)
        for flag in flags {
            take(
                flag.path, .text(flag.value, isQuoted: true), origin: .flag(name: flag.name),
                isVisibleToOthers: true)
        }
    }

    /// The settings of the run, or everything that keeps it from starting.
    func settings(
        mode: ReplicationSettings.Mode
    ) -> (settings: ReplicationSettings?, problems: [ConfigurationProblem]) {
        let (settings, found) = configuration.settings(mode: mode)
        // What was given but refused, or stands in a file that cannot be read, is not missing.
        var refused = Set(problems.map(\.key))
        // Seeds can stand for the address.
        if refused.contains("target.cluster.seeds") { refused.insert("target.addr") }
        let added = found.filter { problem in
            problem.origin != nil || (fileIsReadable && !refused.contains(problem.key))
        }
        let all = problems + added
        return (all.isEmpty ? settings : nil, all)
    }

    private mutating func takeFile(_ file: ConfigurationFile) {
        problems += file.problems
        // Table order, so that it does not matter in which order a file names its keys.
        let entries = Dictionary(uniqueKeysWithValues: file.entries.map { ($0.path, $0) })
        for key in ConfigurationKeys.all {
            guard let entry = entries[key.path] else { continue }
            take(entry.path, entry.value, origin: entry.origin)
        }
        // A path in a file counts from where the file is.
        if let directory = configuration.stateDirectory, !directory.hasPrefix("/"),
            case .file(let path, _, _)? = configuration.origins["stateDir"]
        {
            let parent = Files.parent(of: path)
            configuration.stateDirectory = (parent == "/" ? "" : parent) + "/" + directory
        }
    }

    private mutating func takeEnvironment(_ environment: [String: String]) {
        for key in ConfigurationKeys.all {
            let name = ConfigurationKeys.environmentName(of: key.path)
            // An empty variable is how compose files leave one out.
            guard let value = environment[name], !value.isEmpty else { continue }
            take(key.path, .text(value, isQuoted: true), origin: .environment(name: name))
        }
        for name in environment.keys.sorted()
        where name.hasPrefix(ConfigurationKeys.environmentPrefix)
            && ConfigurationKeys.byEnvironmentName[name] == nil
        {
            let known = ConfigurationKeys.byEnvironmentName.keys.sorted()
            let nearest = NearestName.path(to: name, among: known)
            notices.append(
                ConfigurationNotice(
                    weight: .warning, origin: .environment(name: name), key: nil,
                    reason: "unknown variable, ignored"
                        + (nearest.map { "; did you mean \($0)?" } ?? "")))
        }
    }

    private mutating func take(
        _ path: String, _ value: ConfigurationValue, origin: ConfigurationOrigin,
        isVisibleToOthers: Bool = false
    ) {
        guard let key = ConfigurationKeys.byPath[path] else { return }
        switch key.accept(&configuration, value) {
        case .notGiven:
            return
        case .taken:
            configuration.origins[path] = origin
        case .takenWithSecret:
            configuration.origins[path] = origin
            let server = path.prefix { $0 != "." }
            configuration.origins["\(server).password"] = origin
            guard isVisibleToOthers else { return }
            let name = ConfigurationKeys.environmentName(of: "\(server).password")
            notices.append(
                ConfigurationNotice(
                    weight: .warning, origin: origin, key: path,
                    reason: "the process list shows this password to every user of the machine;"
                        + " give it in \(name) instead"))
        case .notice(let reason):
            configuration.origins[path] = origin
            notices.append(
                ConfigurationNotice(weight: .note, origin: origin, key: path, reason: reason))
        case .refused(let reason):
            problems.append(ConfigurationProblem(origin: origin, key: path, reason: reason))
        }
    }
}

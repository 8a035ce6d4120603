import Yams

/// The settings of one YAML file, and all that is wrong with it.
struct ConfigurationFile {
    struct Entry: Equatable {
        var path: String
        var value: ConfigurationValue
        var origin: ConfigurationOrigin
    }

    /// A configuration is a page, not a data set.
    static let bytesLimit = 1 << 20

    private let name: String
    private(set) var entries: [Entry] = []
    private(set) var problems: [ConfigurationProblem] = []
    /// False if the keys of the file are not known: it could not be read, or is no YAML.
    private(set) var isReadable = false
    private var renamedKeys: [UInt32: String] = [:]

    init(path: String) {
        name = path
        do throws(FileFailure) {
            let bytes = try Files.read(path, limit: Self.bytesLimit)
            guard let text = String(validating: bytes, as: UTF8.self) else {
                problems.append(Self.problem(nil, "\(path) is not UTF-8"))
                return
            }
            parse(text)
        } catch {
            problems.append(Self.problem(nil, error.description))
        }
    }

    /// From text that was read already; `name` stands in messages.
    init(text: String, name: String) {
        self.name = name
        parse(text)
    }

    private mutating func parse(_ text: String) {
        guard let root = compose(text) else {
            // No document at all is an empty configuration.
            isReadable = problems.isEmpty
            return
        }
        isReadable = true
        switch root {
        case .mapping(let mapping): walk(mapping, prefix: "")
        case .scalar(let scalar) where Self.isNull(scalar): return
        default: report(root.mark, nil, "a configuration is a mapping, lines of key: value")
        }
    }

    private mutating func walk(_ mapping: Node.Mapping, prefix: String) {
        for (keyNode, value) in mapping {
            guard case .scalar(let keyScalar) = keyNode else {
                report(keyNode.mark, nil, "a key must be a plain word")
                continue
            }
            let first = keyScalar.string.unicodeScalars.first?.value ?? 0
            if let original = renamedKeys[first] {
                let again = mapping.first { $0.key.scalar?.string == original }?.key.mark?.line
                report(
                    keyNode.mark, prefix + original,
                    "duplicate key; it is given again on line \(again ?? 0)")
                let path = prefix + original
                if ConfigurationKeys.sections.contains(path) { open(path, value) }
                continue
            }
            let path = prefix + keyScalar.string
            if keyScalar.string.contains(".") {
                report(
                    keyNode.mark, PrintableText.name(path),
                    "keys are nested: write each part on a line of its own, indented")
            } else if ConfigurationKeys.byPath[path] != nil {
                take(path, value)
            } else if ConfigurationKeys.sections.contains(path) {
                open(path, value)
            } else {
                report(keyNode.mark, PrintableText.name(path), Self.unknownKeyReason(path, prefix))
            }
        }
    }

    private mutating func take(_ path: String, _ node: Node) {
        switch node {
        case .scalar(let scalar):
            guard !Self.isNull(scalar) else { return }
            let isQuoted = scalar.style != .plain
            append(path, .text(scalar.string, isQuoted: isQuoted), node.mark)
        case .sequence(let sequence):
            let items = sequence.compactMap { $0.scalar?.string }
            guard items.count == sequence.count else {
                report(node.mark, path, "the items of a list must be text")
                return
            }
            append(path, .list(items), node.mark)
        case .mapping(let mapping) where ConfigurationKeys.mappings.contains(path):
            let pairs = mapping.compactMap { key, value -> ConfigurationValue.Pair? in
                guard let key = key.scalar?.string, let value = value.scalar?.string else {
                    return nil
                }
                return ConfigurationValue.Pair(key: key, value: value)
            }
            guard pairs.count == mapping.count else {
                report(node.mark, path, "its keys and values must be plain words")
                return
            }
            append(path, .pairs(pairs), node.mark)
        case .mapping: report(node.mark, path, "must be a value, not a group of keys")
        case .alias: report(node.mark, path, "must be a value")
        }
    }

    private mutating func open(_ path: String, _ node: Node) {
        switch node {
        case .mapping(let mapping): walk(mapping, prefix: path + ".")
        case .scalar(let scalar) where Self.isNull(scalar): return
        default:
            let names = Self.names(in: path + ".").joined(separator: ", ")
            report(node.mark, path, "must hold keys of its own: \(names)")
        }
    }

    private mutating func append(_ path: String, _ value: ConfigurationValue, _ mark: Mark?) {
        // Equal words with different tags are different keys to the parser, not to us.
        guard !entries.contains(where: { $0.path == path }) else {
            report(mark, path, "duplicate key")
            return
        }
        entries.append(Entry(path: path, value: value, origin: origin(mark)))
    }

    private mutating func report(_ mark: Mark?, _ key: String?, _ reason: String) {
        problems.append(ConfigurationProblem(origin: origin(mark), key: key, reason: reason))
    }

    private func origin(_ mark: Mark?) -> ConfigurationOrigin {
        .file(path: name, line: mark?.line ?? 1, column: mark?.column ?? 1)
    }

    private static func problem(
        _ origin: ConfigurationOrigin?, _ reason: String
    ) -> ConfigurationProblem {
        ConfigurationProblem(origin: origin, key: nil, reason: reason)
    }

    private static func isNull(_ scalar: Node.Scalar) -> Bool {
        scalar.style == .plain && ["", "~", "null", "Null", "NULL"].contains(scalar.string)
    }

    static func unknownKeyReason(_ path: String, _ prefix: String) -> String {
        let known = ConfigurationKeys.all.map(\.path) + ConfigurationKeys.sections.sorted()
        if let nearest = NearestName.path(to: path, among: known) {
            return "unknown key; did you mean \(nearest)?"
        }
        return "unknown key; known here: \(names(in: prefix).joined(separator: ", "))"
    }

    // The next component of every known path below a prefix, each once, in table order.
    private static func names(in prefix: String) -> [String] {
        var names: [String] = []
        for key in ConfigurationKeys.all where key.path.hasPrefix(prefix) {
            let name = String(key.path.dropFirst(prefix.count).prefix { $0 != "." })
            if !names.contains(name) { names.append(name) }
        }
        return names
    }
}

// ---- reading, with every duplicate named ----

extension ConfigurationFile {
    // Yams stops at the first mapping with duplicate keys. To name every problem of a file at once,
    // the earlier of two equal keys is renamed in a copy of the text, and the copy is read again.
    private mutating func compose(_ text: String) -> Node? {
        var text = text
        // Anything read from a private-use character on would look like a renamed key.
        let canRename = !text.unicodeScalars.contains { Self.privateUse.contains($0.value) }
        for scalar in Self.privateUse {
            do {
                return try Yams.compose(yaml: text, .basic, .default, .utf8)
            } catch let YamlError.duplicatedKeysInMapping(names, context) {
                let original = names.first ?? ""
                let renamed = Self.rename(original, at: context.mark, to: scalar, in: text)
                guard canRename, let renamed else {
                    report(context.mark, PrintableText.name(original), "duplicate key")
                    return nil
                }
                renamedKeys[scalar] = original
                text = renamed
            } catch {
                reportSyntax(error)
                return nil
            }
        }
        report(nil, nil, "more than \(Self.privateUse.count) duplicate keys")
        return nil
    }

    // One private-use character for each duplicate.
    private static let privateUse: ClosedRange<UInt32> = 0xE000...0xE03F

    /// The text with the first character of a plain or quoted key replaced, nil if another kind of
    /// node stands there.
    private static func rename(
        _ key: String, at mark: Mark, to replacement: UInt32, in text: String
    ) -> String? {
        var scalars = text.unicodeScalars
        guard let first = key.unicodeScalars.first, let new = Unicode.Scalar(replacement),
            var index = position(of: mark, in: scalars)
        else { return nil }
        if scalars[index] == "\"" || scalars[index] == "'" {
            index = scalars.index(after: index)
        } else if scalars[index] != first {
            return nil
        }
        guard index < scalars.endIndex else { return nil }
        scalars.replaceSubrange(index...index, with: CollectionOfOne(new))
        return String(scalars)
    }

    private static func position(
        of mark: Mark, in scalars: String.UnicodeScalarView
    ) -> String.UnicodeScalarView.Index? {
        var line = 1
        var index = scalars.startIndex
        while line < mark.line && index < scalars.endIndex {
            let scalar = scalars[index]
            index = scalars.index(after: index)
            let isPair = scalar == "\r" && index < scalars.endIndex && scalars[index] == "\n"
            if !isPair && ["\n", "\r", "\u{85}", "\u{2028}", "\u{2029}"].contains(scalar) {
                line += 1
            }
        }
        let last = scalars.endIndex
        guard let found = scalars.index(index, offsetBy: mark.column - 1, limitedBy: last),
            found < last
        else { return nil }
        return found
    }

    // Only the fixed sentences of the parser are repeated: its own descriptions quote the file,
    // and a password may stand in that line.
    private mutating func reportSyntax(_ error: any Error) {
        switch error {
        case YamlError.scanner(let context, let problem, let mark, _),
            YamlError.parser(let context, let problem, let mark, _),
            YamlError.composer(let context, let problem, let mark, _):
            let place = context.map { $0.text + ", " } ?? ""
            report(mark, nil, "not valid YAML: \(place)\(problem)")
        case YamlError.reader(let problem, _, _, _):
            problems.append(Self.problem(nil, "\(name) is not valid YAML: \(problem)"))
        default:
            problems.append(Self.problem(nil, "\(name) is not valid YAML"))
        }
    }
}

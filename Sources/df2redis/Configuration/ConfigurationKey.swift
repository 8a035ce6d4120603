/// A value as a layer gave it, before its key says what it means.
enum ConfigurationValue: Equatable {
    /// `isQuoted` is false only for a bare word of a file.
    case text(String, isQuoted: Bool)
    case list([String])
    /// Keys and values of a mapping whose keys are the operator's own.
    case pairs([Pair])

    struct Pair: Equatable {
        var key: String
        var value: String
    }
}

/// One key of the configuration.
struct ConfigurationKey: Sendable {
    /// What a key made of its value.
    enum Answer: Equatable {
        case taken
        /// Empty, which says nothing.
        case notGiven
        /// Taken; the value held a password.
        case takenWithSecret
        /// Accepted, without the effect that one might expect, and why.
        case notice(String)
        /// Not accepted, why, and what to do. Never holds the value of a secret.
        case refused(String)
    }

    /// Type of a key that is only checked.
    enum ValueType: Sendable {
        case text, boolean, number
    }

    /// Dotted path, as in `source.addr`.
    let path: String
    /// Checks a value and puts it into effect.
    let accept: @Sendable (inout Configuration, ConfigurationValue) -> Answer

    /// Text; empty text means "not given", as the earlier tool's samples use it.
    static func text(
        _ path: String, _ take: @escaping @Sendable (inout Configuration, String) -> Answer
    ) -> ConfigurationKey {
        anyText(path) { configuration, value in
            value.isEmpty ? .notGiven : take(&configuration, value)
        }
    }

    private static func anyText(
        _ path: String, _ take: @escaping @Sendable (inout Configuration, String) -> Answer
    ) -> ConfigurationKey {
        ConfigurationKey(path: path) { configuration, value in
            guard case .text(let text, let isQuoted) = value else {
                return .refused("must be text, not a list")
            }
            // A bare true is a slip of the pen wherever text is wanted.
            if !isQuoted && boolean(text) != nil {
                return .refused("must be text; put quotes round the word if it is meant")
            }
            return take(&configuration, text)
        }
    }

    static func choice(
        _ path: String, _ choices: [String],
        _ take: @escaping @Sendable (inout Configuration, String) -> Answer
    ) -> ConfigurationKey {
        text(path) { configuration, value in
            guard choices.contains(value) else {
                let list =
                    (choices.count > 1 ? "one of " : "") + choices.joined(separator: ", ")
                return .refused("must be \(list), not \(PrintableText.name(value, limit: 40))")
            }
            return take(&configuration, value)
        }
    }

    static func boolean(
        _ path: String, _ take: @escaping @Sendable (inout Configuration, Bool) -> Answer
    ) -> ConfigurationKey {
        ConfigurationKey(path: path) { configuration, value in
            guard case .text(let text, _) = value, let flag = boolean(text) else {
                return .refused("must be true or false")
            }
            return take(&configuration, flag)
        }
    }

    static func integer(
        _ path: String, _ range: ClosedRange<Int>,
        _ take: @escaping @Sendable (inout Configuration, Int) -> Answer
    ) -> ConfigurationKey {
        ConfigurationKey(path: path) { configuration, value in
            guard case .text(let text, _) = value, let number = Int(text) else {
                return .refused("must be a whole number")
            }
            guard range.contains(number) else {
                return .refused("must be from \(range.lowerBound) to \(range.upperBound)")
            }
            return take(&configuration, number)
        }
    }

    /// A buffer size: a power of two from 64 KiB to 1 GiB.
    static func ringBytes(
        _ path: String, _ take: @escaping @Sendable (inout Configuration, Int) -> Void
    ) -> ConfigurationKey {
        integer(path, (1 << 16)...(1 << 30)) { configuration, value in
            guard value.nonzeroBitCount == 1 else {
                return .refused("must be a power of two, as in 1048576")
            }
            take(&configuration, value)
            return .taken
        }
    }

    /// A list of texts; a variable or flag gives it with commas.
    static func list(
        _ path: String, _ take: @escaping @Sendable (inout Configuration, [String]) -> Answer
    ) -> ConfigurationKey {
        ConfigurationKey(path: path) { configuration, value in
            switch value {
            case .list(let items): take(&configuration, items)
            case .text(let text, isQuoted: true):
                take(&configuration, text.split(separator: ",").map(String.init))
            case .text(_, isQuoted: false), .pairs: .refused("must be a list, as in [a, b]")
            }
        }
    }

    /// A list of numbers in a range.
    static func numbers(
        _ path: String, _ range: Range<Int>,
        _ take: @escaping @Sendable (inout Configuration, [Int]) -> Answer
    ) -> ConfigurationKey {
        list(path) { configuration, items in
            let numbers = items.compactMap { number($0, in: range) }
            guard numbers.count == items.count else {
                return .refused(
                    "must be numbers from \(range.lowerBound) to \(range.upperBound - 1)")
            }
            return take(&configuration, numbers)
        }
    }

    /// Numbers to numbers, in a file as `{0: 0, 3: 1}`, elsewhere as `0:0,3:1`.
    static func numberPairs(
        _ path: String, _ range: Range<Int>,
        _ take: @escaping @Sendable (inout Configuration, [Int: Int]) -> Answer
    ) -> ConfigurationKey {
        ConfigurationKey(path: path) { configuration, value in
            let pairs: [ConfigurationValue.Pair]
            switch value {
            case .pairs(let given): pairs = given
            case .text(let text, isQuoted: true):
                pairs = text.split(separator: ",").map { item in
                    let parts = item.split(
                        separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
                    return ConfigurationValue.Pair(
                        key: String(parts[0]), value: parts.count > 1 ? String(parts[1]) : "")
                }
            default: return .refused("must be a mapping, as in {0: 0, 3: 1}")
            }
            var numbers: [Int: Int] = [:]
            for pair in pairs {
                guard let from = number(pair.key, in: range),
                    let to = number(pair.value, in: range)
                else {
                    return .refused(
                        "must map numbers from \(range.lowerBound) to \(range.upperBound - 1),"
                            + " as in {0: 0, 3: 1}, not \(PrintableText.name(pair.key, limit: 40))"
                            + " to \(PrintableText.name(pair.value, limit: 40))")
                }
                guard numbers.updateValue(to, forKey: from) == nil else {
                    return .refused("\(from) is mapped twice")
                }
            }
            return take(&configuration, numbers)
        }
    }

    /// Texts to texts, in a file as `{a: b}`, elsewhere as `a=b,c=d`.
    static func textPairs(
        _ path: String, example: String,
        _ take: @escaping @Sendable (inout Configuration, [String: String]) -> Answer
    ) -> ConfigurationKey {
        ConfigurationKey(path: path) { configuration, value in
            let pairs: [ConfigurationValue.Pair]
            switch value {
            case .pairs(let given): pairs = given
            case .text(let text, isQuoted: true):
                pairs = text.split(separator: ",").map { item in
                    let parts = item.drop { $0 == " " }.split(
                        separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                    return ConfigurationValue.Pair(
                        key: String(parts.first ?? ""),
                        value: parts.count > 1 ? String(parts[1]) : "")
                }
            default: return .refused("must be a mapping, as in \(example)")
            }
            var texts: [String: String] = [:]
            for pair in pairs {
                guard texts.updateValue(pair.value, forKey: pair.key) == nil else {
                    return .refused("\(PrintableText.name(pair.key, limit: 40)) is mapped twice")
                }
            }
            return take(&configuration, texts)
        }
    }

    private static func number(_ text: String, in range: Range<Int>) -> Int? {
        let digits = text.drop { $0 == " " }
        guard let number = Int(digits), range.contains(number) else { return nil }
        return number
    }

    /// A key of the earlier tool that nothing depends on any more.
    static func notNeeded(_ path: String, _ type: ValueType, _ why: String) -> ConfigurationKey {
        checked(path, type, .notice("no longer needed: " + why))
    }

    /// A key whose part of the program does not exist yet and whose neglect does no harm.
    static func later(_ path: String, _ type: ValueType, _ why: String) -> ConfigurationKey {
        checked(path, type, .notice("not in this version: " + why))
    }

    private static func checked(
        _ path: String, _ type: ValueType, _ answer: Answer
    ) -> ConfigurationKey {
        switch type {
        case .text: anyText(path) { _, _ in answer }
        case .boolean: boolean(path) { _, _ in answer }
        case .number: integer(path, 0...Int.max) { _, _ in answer }
        }
    }

    private static func boolean(_ text: String) -> Bool? {
        switch text.lowercased() {
        case "true": true
        case "false": false
        default: nil
        }
    }
}

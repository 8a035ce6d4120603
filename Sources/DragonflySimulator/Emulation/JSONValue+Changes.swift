import Bytes

/// What the emulated master does with a JSON value.
extension JSONValue {
    /// Nil if the text cannot be read.
    init?(_ text: [UInt8]) {
        guard let value = try? JSONReader.read(text) else { return nil }
        self = value
    }

    /// Without spaces, members by name.
    var text: [UInt8] {
        switch self {
        case .null: Array("null".utf8)
        case .boolean(let value): Array("\(value)".utf8)
        case .integer(let value): Array("\(value)".utf8)
        case .string(let value): JSONValue.quoted(value)
        case .array(let items):
            Array("[".utf8) + items.map(\.text).joined(separator: Array(",".utf8))
                + Array("]".utf8)
        case .object(let members):
            Array("{".utf8)
                + members.sorted { $0.key < $1.key }
                .map { JSONValue.quoted($0.key) + Array(":".utf8) + $0.value.text }
                .joined(separator: Array(",".utf8)) + Array("}".utf8)
        }
    }

    private static func quoted(_ text: String) -> [UInt8] {
        var bytes = Array("\"".utf8)
        for scalar in text.unicodeScalars {
            if scalar == "\"" || scalar == "\\" {
                bytes += Array("\\\(scalar)".utf8)
            } else if scalar.value < 0x20 {
                let digits = String(scalar.value, radix: 16)
                bytes += Array(
                    ("\\u" + String(repeating: "0", count: 4 - digits.count) + digits).utf8)
            } else {
                bytes += Array(String(scalar).utf8)
            }
        }
        return bytes + Array("\"".utf8)
    }

    /// The member names of `$`, `.`, `$.a.b` or `.a.b`; nil for any other path.
    static func path(_ path: [UInt8]) -> [String]? {
        let rest = path.first == UInt8(ascii: "$") ? path.dropFirst() : path[...]
        if rest.isEmpty || rest == [UInt8(ascii: ".")] { return path.isEmpty ? nil : [] }
        guard rest.first == UInt8(ascii: ".") else { return nil }
        let names = rest.dropFirst().split(
            separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard names.allSatisfy({ !$0.isEmpty && $0.allSatisfy(isNameByte) }) else { return nil }
        return names.map { String(decoding: $0, as: UTF8.self) }
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: "_") || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
            || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }

    /// Changes what is at a path; `change` gets nil where an object has no such member, and removes
    /// one by setting it to nil. Nothing happens where there is no object.
    mutating func change(_ path: ArraySlice<String>, _ change: (inout JSONValue?) -> Void) {
        guard let name = path.first, case .object(var members) = self else { return }
        if path.count == 1 {
            change(&members[name])
        } else {
            members[name]?.change(path.dropFirst(), change)
        }
        self = .object(members)
    }

    /// RFC 7396.
    func merged(_ patch: JSONValue) -> JSONValue {
        guard case .object(let changes) = patch else { return patch }
        var members: [String: JSONValue] = [:]
        if case .object(let own) = self { members = own }
        for (name, change) in changes {
            members[name] =
                change == .null ? nil : (members[name] ?? .object([:])).merged(change)
        }
        return .object(members)
    }
}

public import Bytes
public import Wire

/// What a target is and therefore can load; asked at connect (INFO server).
public struct TargetVersion: Sendable, Equatable, CustomStringConvertible {
    public enum Product: String, Sendable {
        case redis = "Redis"
        case valkey = "Valkey"
    }

    public var product: Product
    public var major: Int
    public var minor: Int
    public var patch: Int

    public init(product: Product = .redis, major: Int, minor: Int, patch: Int = 0) {
        self.product = product
        self.major = major
        self.minor = minor
        self.patch = patch
    }

    /// From the text of `INFO server`; nil if it names no version.
    public init?(info: ByteView) {
        guard let redis = TargetVersion.numbers(info, after: "redis_version:") else { return nil }
        self.init(major: redis.0, minor: redis.1, patch: redis.2)
        if let valkey = TargetVersion.numbers(info, after: "valkey_version:") {
            self.init(product: .valkey, major: valkey.0, minor: valkey.1, patch: valkey.2)
        }
    }

    public var description: String { "\(product.rawValue) \(major).\(minor).\(patch)" }

    private static func numbers(
        _ info: ByteView, after label: ByteView
    ) -> (Int, Int, Int)? {
        guard let text = InfoText(info).value(of: label), !text.isEmpty, isDigit(text[0]) else {
            return nil
        }
        var parts = (0, 0, 0)
        var part = 0
        for index in 0..<text.count {
            let byte = text[index]
            if byte == UInt8(ascii: ".") {
                part += 1
                continue
            }
            guard isDigit(byte), part < 3 else { break }
            let digit = Int(byte - UInt8(ascii: "0"))
            switch part {
            case 0: parts.0 = appended(digit, to: parts.0)
            case 1: parts.1 = appended(digit, to: parts.1)
            default: parts.2 = appended(digit, to: parts.2)
            }
        }
        return parts
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
    }

    // No version has that many digits, so where they stop does not matter.
    private static func appended(_ digit: Int, to number: Int) -> Int {
        min(number, 1_000_000) * 10 + digit
    }

    /// Valkey began at 7.2 with Redis's formats of that time and newer numbers of its own.
    private func isAtLeast(_ major: Int, _ minor: Int) -> Bool {
        if product == .valkey && major <= 7 { return true }
        return (self.major, self.minor) >= (major, minor)
    }

    /// Of the nodes of a cluster the oldest one says what all can load.
    public func isOlder(than other: TargetVersion) -> Bool {
        (major, minor, patch) < (other.major, other.minor, other.patch)
    }

    /// How a value of `type` gets into this target (protocol.md 3.11).
    public func loading(of type: ValueType) -> Loading {
        switch type {
        case .string, .set, .hash, .zset2, .setIntset, .zsetZiplist, .hashZiplist,
            .listQuicklist:
            .verbatim
        case .hashListpack, .zsetListpack, .listQuicklist2:
            isAtLeast(7, 0) ? .verbatim : .commands
        case .setListpack:
            isAtLeast(7, 2) ? .verbatim : .commands
        case .streamListpacks:
            .verbatim
        case .streamListpacks2:
            isAtLeast(7, 0) ? .verbatim : .rewritten(.streamListpacks)
        case .streamListpacks3:
            isAtLeast(7, 2)
                ? .verbatim
                : .rewritten(isAtLeast(7, 0) ? .streamListpacks2 : .streamListpacks)
        case .hashWithExpiry, .setWithExpiry:
            .commands
        case .json, .bloom, .bloomChunked, .countMin, .topK, .cuckoo:
            .impossible
        }
    }

    public enum Loading: Equatable, Sendable {
        /// RESTORE takes the bytes as they came.
        case verbatim
        /// RESTORE takes a rewritten value.
        case rewritten(ValueType)
        /// Only native commands can build it.
        case commands
        /// It cannot be held.
        case impossible
    }

    /// XGROUP CREATE/SETID ENTRIESREAD, XSETID ENTRIESADDED: Redis 7.0 and Valkey.
    public var knowsEntriesRead: Bool { isAtLeast(7, 0) }

    /// HPEXPIREAT and HPERSIST, expiries of single hash fields: Redis 7.4 and Valkey 9.
    public var knowsFieldExpiry: Bool {
        product == .valkey ? major >= 9 : isAtLeast(7, 4)
    }
}

/// The `name:value` lines of an INFO reply.
public struct InfoText {
    private let text: ByteView

    public init(_ text: ByteView) {
        self.text = text
    }

    /// The value of the line that starts with `prefix`, colon included; nil if there is none.
    public func value(of prefix: ByteView) -> ByteView? {
        var position = 0
        while position < text.count {
            let end = text.firstLineEnd(from: position) ?? text.count
            let line = text.slice(position, end - position)
            if line.starts(with: prefix) { return line.dropFirst(prefix.count) }
            position = end + 2
        }
        return nil
    }

    /// The numbers of the `db0:keys=...` lines of INFO keyspace.
    public var usedDatabases: [Int] {
        var numbers: [Int] = []
        var position = 0
        while position < text.count {
            let end = text.firstLineEnd(from: position) ?? text.count
            let line = text.slice(position, end - position)
            position = end + 2
            guard line.starts(with: "db") else { continue }
            var digits = 2
            while digits < line.count, line[digits] != UInt8(ascii: ":") { digits += 1 }
            guard line.dropFirst(digits).starts(with: ":keys="),
                let number = line.slice(2, digits - 2).parseInteger()
            else { continue }
            numbers.append(Int(number))
        }
        return numbers
    }
}

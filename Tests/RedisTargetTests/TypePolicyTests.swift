import RedisTarget
import TestSupport
import Testing
import Wire

/// What a Redis without modules cannot hold arrives as the policy says, or is left out by name: each
/// policy, each type.
@Suite struct TypePolicyTests {
    private static func types(_ change: (inout TypePolicy) -> Void) -> TypePolicy {
        var types = TypePolicy()
        change(&types)
        return types
    }

    private static let text = #"{"a":[1,2.5,"x"],"b":null}"#
    private static let json = [UInt8(text.utf8.count)] + Array(text.utf8)
    private static let methods: [EntryWriter.Method] = [.automatic, .restore, .commands]

    /// By default JSON is a string with the text as the source has it, and keeps the key's expiry.
    @Test(arguments: methods)
    func jsonIsAString(_ method: EntryWriter.Method) throws {
        let target = try RedisServer()
        let client = try target.client()
        try client.call("RPUSH", "j", "was a list")
        let run = try EntryRun(target, method)
        try run.write([
            StoredEntry(.json, "j", Self.json),
            StoredEntry(.json, "expiring", Self.json, expiryMilliseconds: 4_102_444_800_000),
            StoredEntry(.json, "number", [0xc0, 42]),
        ])
        #expect(run.errors.isEmpty && run.outcomes.allSatisfy { $0 == .sent })
        #expect(try client.call("GET", "j").text == Self.text)
        #expect(try client.call("GET", "number").text == "42")
        #expect(try client.call("PEXPIRETIME", "expiring").integer == 4_102_444_800_000)
        #expect(try client.call("PEXPIRETIME", "j").integer == -1)
        #expect(run.jsonTextsWritten == 3)
    }

    @Test(
        .enabled(if: RedisServer.jsonModule != nil, "\(RedisServer.jsonModuleHint)"),
        arguments: [1 << 14, 1 << 12])
    func jsonIsAValueOfTheModule(_ ringBytes: Int) throws {
        let target = try RedisServer(arguments: ["--loadmodule", RedisServer.jsonModule ?? ""])
        let client = try target.client()
        try client.call("RPUSH", "j", "was a list")
        try client.call("JSON.SET", "expiring", "$", "1")
        let run = try EntryRun(
            target, .automatic, ringBytes: ringBytes, types: Self.types { $0.json = .module })
        let long = Array(("[" + (0..<2000).map(String.init).joined(separator: ",") + "]").utf8)
        let size = [0x80, 0, 0, UInt8(long.count >> 8), UInt8(long.count & 255)]
        try run.write([
            StoredEntry(.json, "j", Self.json), StoredEntry(.json, "long", size + long),
            StoredEntry(.json, "expiring", Self.json, expiryMilliseconds: 4_102_444_800_000),
        ])
        #expect(run.errors.isEmpty && run.outcomes.allSatisfy { $0 == .sent })
        #expect(run.pipeline.answers.allSatisfy { $0.error == nil })
        #expect(try client.call("TYPE", "j").text == "ReJSON-RL")
        #expect(try client.call("JSON.GET", "j").text == Self.text)
        #expect(try client.call("JSON.GET", "long").text == String(decoding: long, as: UTF8.self))
        #expect(try client.call("PEXPIRETIME", "expiring").integer == 4_102_444_800_000)
        #expect(run.jsonTextsWritten == 0)
    }

    /// Their hashes differ from those of the modules: never written.
    @Test(arguments: [TypePolicy.Probabilistic.skip, .fail])
    func probabilisticTypesAreLeftOut(_ policy: TypePolicy.Probabilistic) throws {
        let target = try RedisServer()
        let types = Self.types {
            $0.probabilistic = policy
            $0.json = policy == .skip ? .skip : .fail
        }
        let run = try EntryRun(target, .automatic, types: types)
        let foreign: [ValueType] = [.json, .bloom, .bloomChunked, .countMin, .topK, .cuckoo]
        try run.write(try foreign.map { try StoredEntry($0, "\($0)", [1, 0x7b]) })
        #expect(run.outcomes == foreign.map { _ in .leftOut })
        #expect(foreign.allSatisfy { types.fails(RecordType($0.family)) == (policy == .fail) })
        #expect(run.pipeline.answers.isEmpty)
        #expect("\(types.reason(for: .bloom))".contains("types.probabilistic"))
        #expect("\(types.reason(for: .json))".contains("types.json"))
    }

    // MARK: Elements with an expiry

    private static let base: Int64 = 1_675_209_600
    private static let now = (base + 100) * 1000

    /// Elements, each with its expiry in seconds after `base`; -1 for none.
    private static func elements(_ list: [(String, Int)], hasValues: Bool) -> [UInt8] {
        list.reduce([UInt8(list.count)]) { bytes, element in
            let seconds = UInt32(bitPattern: Int32(element.1))
            return bytes + [UInt8(element.0.utf8.count)] + Array(element.0.utf8)
                + (hasValues ? [1, 0x76] : []) + [0xc2]
                + (0..<4).map { UInt8(seconds >> (UInt32($0) * 8) & 255) }
        }
    }

    /// The key gets the latest expiry of its fields, if every field that is alive has one, and not if
    /// its own comes first.
    @Test func fieldExpiriesBecomeTheKeys() throws {
        let target = try RedisServer()
        let run = try EntryRun(
            target, .automatic, unixMilliseconds: Self.now,
            types: Self.types { $0.hashFieldExpiry = .asKeyExpiry })
        func hash(_ key: String, _ list: [(String, Int)], expiry: Int64 = 0) throws -> StoredEntry {
            try StoredEntry(
                .hashWithExpiry, key, Self.elements(list, hasValues: true),
                expiryMilliseconds: expiry)
        }
        let (far, farther) = (300_000_000, 300_000_007)
        let farMilliseconds = (Self.base + Int64(far)) * 1000
        try run.write([
            hash("all", [("f", far), ("g", farther), ("gone", 50)]),
            hash("some", [("f", far), ("g", -1)]),
            hash("own", [("f", far)], expiry: farMilliseconds - 5000),
            hash("later", [("f", far)], expiry: farMilliseconds + 5000),
        ])
        let client = try target.client()
        func expiry(_ key: String) throws -> Int64? { try client.call("PEXPIRETIME", key).integer }
        #expect(try expiry("all") == (Self.base + Int64(farther)) * 1000)
        #expect(try expiry("some") == -1)
        #expect(try expiry("own") == farMilliseconds - 5000)
        #expect(try expiry("later") == farMilliseconds)
        #expect(run.memberExpiriesDropped == 1)
        #expect(
            try client.call("HKEYS", "all").elements?.compactMap(\.text).sorted() == ["f", "g"])
    }

    /// Left out only if an element that is alive has an expiry.
    @Test(arguments: [true, false])
    func elementsLeaveTheirKeyOut(_ isSkipped: Bool) throws {
        let target = try RedisServer()
        let types = Self.types {
            $0.hashFieldExpiry = isSkipped ? .skip : .fail
            $0.setMemberExpiry = isSkipped ? .skip : .fail
        }
        let run = try EntryRun(target, .automatic, unixMilliseconds: Self.now, types: types)
        let alive = [("f", 300_000_000), ("g", -1)]
        let plain = [("f", 50), ("g", -1)]
        try run.write([
            StoredEntry(.hashWithExpiry, "h", Self.elements(alive, hasValues: true)),
            StoredEntry(.setWithExpiry, "s", Self.elements(alive, hasValues: false)),
            StoredEntry(.hashWithExpiry, "plain h", Self.elements(plain, hasValues: true)),
            StoredEntry(.setWithExpiry, "plain s", Self.elements(plain, hasValues: false)),
        ])
        #expect(run.outcomes == [.leftOut, .leftOut, .sent, .sent])
        #expect(types.fails(.hash) != isSkipped && types.fails(.set) != isSkipped)
        let client = try target.client()
        #expect(try client.call("DBSIZE").integer == 2)
        #expect(try client.call("HKEYS", "plain h").elements?.compactMap(\.text) == ["g"])
        #expect(try client.call("SMEMBERS", "plain s").elements?.compactMap(\.text) == ["g"])
        #expect(run.memberExpiriesDropped == 0)
    }
}

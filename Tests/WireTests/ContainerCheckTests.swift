import Bytes
import Testing

@testable import Wire

/// Promise: no value with a damaged structure is sent on under a fresh checksum, and no sound value
/// is held back.
struct ContainerCheckTests {
    private let damaged = DecodeError(.damagedContainer)

    private func list(_ node: [UInt8]) -> [UInt8] { [1, 2] + ValueBytes.string(node) }

    @Test func soundListpack() throws {
        let pack = ValueBytes.listpack([.string("a"), .integer(300), .string("")])
        let verdict = try checkValue(.listQuicklist2, list(pack))
        #expect(verdict == ContainerCheck.Verdict(elementCount: 3))
    }

    /// Every single byte of the structure matters: total, count, each back-length, terminator.
    @Test func damagedListpackStructure() throws {
        let text = [UInt8](repeating: 0x61, count: 200)
        let pack = ValueBytes.listpack([.string("ab"), .integer(300), .text(text)])
        let structure = Array(0...6) + [9, 12, 13, 14] + Array(pack.count - 3..<pack.count)
        for index in structure {
            for bit in 0..<8 {
                var broken = pack
                broken[index] ^= 1 << bit
                #expect(throws: damaged, "byte \(index), bit \(bit)") {
                    try checkValue(.listQuicklist2, list(broken))
                }
            }
        }
    }

    @Test func damagedListpackCounts() throws {
        let elements: [ValueBytes.Element] = [.string("a"), .string("b")]
        for count in [0, 1, 3, 65534] {
            let pack = ValueBytes.string(ValueBytes.listpack(elements, count: count))
            #expect(throws: damaged) { try checkValue(.setListpack, pack) }
            #expect(throws: damaged) { try checkValue(.hashListpack, pack) }
        }
        let unknown = ValueBytes.string(ValueBytes.listpack(elements, count: 65535))
        #expect(try checkValue(.setListpack, unknown).elementCount == 2)
        #expect(try checkValue(.hashListpack, unknown).elementCount == 1)
    }

    /// A terminator inside, bytes after it, or encodings that do not exist.
    @Test func damagedListpackContent() throws {
        var early = ValueBytes.listpack([.string("a"), .string("b")], count: 1)
        early[9] = 0xff
        #expect(throws: damaged) { try checkValue(.listQuicklist2, list(early)) }
        for code in 0xf5...0xfe as ClosedRange<UInt8> {
            var pack = ValueBytes.listpack([.integer(5)])
            pack[6] = code
            #expect(throws: damaged) { try checkValue(.listQuicklist2, list(pack)) }
        }
        // A string that reaches beyond the end, by each length form.
        for head in [[0x90], [0xe1, 0], [0xf0, 255, 255, 255, 255], [0xf0, 0, 1, 0, 0]] as [[UInt8]]
        {
            let body = head + [0x61, 2]
            let pack = ValueBytes.little(body.count + 7, 4) + [1, 0] + body + [0xff]
            #expect(throws: damaged) { try checkValue(.listQuicklist2, list(pack)) }
        }
        for size in 0..<7 {
            let stump = ValueBytes.little(size, 4).prefix(size) + []
            #expect(throws: damaged) { try checkValue(.listQuicklist2, list(Array(stump))) }
        }
    }

    @Test func pairsComeInPairs() throws {
        let odd: [ValueBytes.Element] = [.string("a"), .string("1"), .string("b")]
        for type in [ValueType.hashListpack, .zsetListpack] {
            let pack = ValueBytes.string(ValueBytes.listpack(odd))
            #expect(throws: damaged) { try checkValue(type, pack) }
        }
        for type in [ValueType.hashZiplist, .zsetZiplist] {
            let pack = ValueBytes.string(ValueBytes.ziplist(odd))
            #expect(throws: damaged) { try checkValue(type, pack) }
        }
    }

    @Test func scoresAreNumbers() throws {
        for text in ["", "x", "nan", "-nan", "1x", "1e", "--1"] {
            let pack = ValueBytes.string(ValueBytes.listpack([.string("a"), .string(text)]))
            #expect(throws: damaged, "\(text)") { try checkValue(.zsetListpack, pack) }
            #expect(throws: damaged, "\(text)") { try readElements(.zsetListpack, pack) }
        }
        let nan = [1] + ValueBytes.string("a") + ValueBytes.little(Double.nan.bitPattern, 8)
        #expect(throws: damaged) { try checkValue(.zset2, nan) }
        #expect(throws: damaged) { try readElements(.zset2, nan) }
    }

    /// A server searches by the order and never sorts; commands do.
    @Test func unsortedSortedSetsGoByCommands() throws {
        func verdict(_ elements: [ValueBytes.Element]) throws -> ContainerCheck.Verdict {
            let new = try checkValue(
                .zsetListpack, ValueBytes.string(ValueBytes.listpack(elements)))
            let old = try checkValue(.zsetZiplist, ValueBytes.string(ValueBytes.ziplist(elements)))
            #expect(new == old)
            return new
        }
        let sorted: [ValueBytes.Element] = [
            .string("z"), .string("-inf"), .integer(10), .integer(5), .integer(9), .integer(5),
            .string("a"), .integer(5), .string("ab"), .integer(5), .string("b"), .string("5.5"),
        ]
        #expect(try verdict(sorted).isVerbatimLoadable)
        let byScore: [ValueBytes.Element] = [
            .string("a"), .integer(2), .string("b"), .integer(1),
        ]
        #expect(try !verdict(byScore).isVerbatimLoadable)
        let byMember: [ValueBytes.Element] = [
            .string("abcdefghij"), .integer(2), .string("abcdefghi"), .integer(2),
        ]
        #expect(try !verdict(byMember).isVerbatimLoadable)
    }

    /// Sound, and yet not the same to every server: an element of 16383 bytes has a back-length that
    /// Valkey 9.1 refuses, and of a list's node with more than 65,535 elements a server keeps only
    /// some.
    @Test func whatServersDisagreeOn() throws {
        func pack(_ size: Int) -> [UInt8] {
            let text = ValueBytes.Element.text([UInt8](repeating: 0x61, count: size - 5))
            return ValueBytes.string(ValueBytes.listpack([text, .integer(1)]))
        }
        for size in [16382, 16383, 16384, 2_097_150, 2_097_151, 2_097_152] {
            let isAlike = size != 16383 && size != 2_097_151
            for (type, value) in [
                (.listQuicklist2, [1, 2] + pack(size)), (.setListpack, pack(size)),
                (.hashListpack, pack(size)), (.zsetListpack, pack(size)),
            ] as [(ValueType, [UInt8])] {
                #expect(
                    try checkValue(type, value).isVerbatimLoadable == isAlike, "\(type), \(size)")
            }
        }
        for count in [65_535, 65_536] {
            let elements = [ValueBytes.Element](repeating: .integer(1), count: count)
            let node = ValueBytes.string(ValueBytes.listpack(elements))
            let verdict = try checkValue(.listQuicklist2, [1, 2] + node)
            #expect(
                verdict.isVerbatimLoadable == (count == 65_535) && verdict.elementCount == count)
        }
    }

    /// Fields with the same text, however encoded, at any distance.
    @Test(arguments: [1, 5, 100, 5000, 40000])
    func duplicateFields(_ distance: Int) throws {
        func fields(_ last: ValueBytes.Element) -> [ValueBytes.Element] {
            [.integer(7)] + (0..<distance).map { .string("f\($0)") } + [last]
        }
        let pairs = { (fields: [ValueBytes.Element]) in
            fields.flatMap { [$0, ValueBytes.Element.integer(1)] }
        }
        for last in [ValueBytes.Element.integer(7, form: 0xf1), .string("7"), .string("f0")] {
            let set = ValueBytes.string(ValueBytes.listpack(fields(last)))
            #expect(throws: damaged) { try checkValue(.setListpack, set) }
            for type in [ValueType.hashListpack, .zsetListpack] {
                let value = ValueBytes.string(ValueBytes.listpack(pairs(fields(last))))
                #expect(throws: damaged) { try checkValue(type, value) }
            }
            for type in [ValueType.hashZiplist, .zsetZiplist] {
                let value = ValueBytes.string(ValueBytes.ziplist(pairs(fields(last))))
                #expect(throws: damaged) { try checkValue(type, value) }
            }
        }
        for last in [ValueBytes.Element.string("07"), .string("7 "), .integer(70)] {
            let value = ValueBytes.string(ValueBytes.listpack(pairs(fields(last))))
            #expect(try checkValue(.hashListpack, value).elementCount == distance + 2)
        }
    }

    @Test func duplicateFieldsOfPlainHashes() throws {
        let long = [UInt8](repeating: 0x61, count: 100)
        let field = try ValueBytes.lzf(long)
        let same = field + [0] + ValueBytes.string(long) + [0]
        #expect(throws: damaged) { try checkValue(.hash, [2] + same) }
        #expect(throws: damaged) {
            try checkValue(.hash, [2, 0xc0, 5, 0] + ValueBytes.string("5") + [0])
        }
        let other = try ValueBytes.lzf(long + [0x61])
        let different = field + [0] + other + [0]
        #expect(try checkValue(.hash, [2] + different).elementCount == 2)
    }

    /// Too many fields to look through for duplicates: commands, which cannot do harm.
    @Test func hugePackedContainersGoByCommands() throws {
        func verdict(_ count: Int) throws -> ContainerCheck.Verdict {
            let members = (0..<count).map { ValueBytes.Element.integer(Int64($0)) }
            return try checkValue(.setListpack, ValueBytes.string(ValueBytes.listpack(members)))
        }
        #expect(try verdict(1 << 16) == ContainerCheck.Verdict(elementCount: 1 << 16))
        #expect(
            try verdict(1 << 16 + 1)
                == ContainerCheck.Verdict(elementCount: 1 << 16 + 1, isVerbatimLoadable: false))
    }

    @Test func intsets() throws {
        func check(_ bytes: [UInt8]) throws -> ContainerCheck.Verdict {
            try checkValue(.setIntset, ValueBytes.string(bytes))
        }
        for width in [2, 4, 8] {
            let sound = ValueBytes.intset([-300, -1, 0, 5, 300], width: width)
            #expect(try check(sound).elementCount == 5)
            for values in [[1, 1], [2, 1], [0, -1], [-1, -2]] as [[Int64]] {
                #expect(throws: damaged) { try check(ValueBytes.intset(values, width: width)) }
            }
            #expect(throws: damaged) { try check(sound + [0]) }
            #expect(throws: damaged) { try check(Array(sound.dropLast())) }
            #expect(throws: damaged) { try check(Array(sound.dropLast(width))) }
        }
        for width in [0, 1, 3, 16, 0xffff_ffff] {
            #expect(throws: damaged) { try check(ValueBytes.little(width, 4) + [0, 0, 0, 0]) }
        }
        #expect(throws: damaged) { try check([2, 0, 0, 0, 0, 0, 0]) }
    }

    /// Every byte of a ziplist's structure: total, tail, count, previous lengths, terminator.
    @Test func damagedZiplistStructure() throws {
        let text = [UInt8](repeating: 0x61, count: 300)
        let ziplist = ValueBytes.ziplist([
            .text(text), .string("ab"), .integer(300), .integer(0),
        ])
        let value = { (bytes: [UInt8]) in ValueBytes.string(bytes) }
        #expect(try checkValue(.hashZiplist, value(ziplist)).elementCount == 2)

        // The second entry's previous length is FE and four bytes, at 313; the third's is at 321
        // and the last one's at 325.
        #expect(ziplist[313] == 0xfe && ziplist[321] == 8 && ziplist[325] == 4)
        let structure = Array(0...11) + Array(313...317) + [321, 325, ziplist.count - 1]
        for index in structure {
            for bit in 0..<8 {
                var broken = ziplist
                broken[index] ^= 1 << bit
                #expect(throws: damaged, "byte \(index), bit \(bit)") {
                    // As a hash: in a list a damaged head would make it a raw node.
                    try checkValue(.hashZiplist, value(broken))
                }
            }
        }
    }

    /// A long previous length for a short entry is what a server leaves behind after deletions.
    @Test func ziplistWithWidePreviousLength() throws {
        let body: [UInt8] = [0, 1, 0x61, 0xfe, 3, 0, 0, 0, 0xf5]
        let ziplist = ValueBytes.little(body.count + 11, 4) + [13, 0, 0, 0, 2, 0] + body + [0xff]
        let list = [1] + ValueBytes.string(ziplist)
        #expect(try checkValue(.listQuicklist, list) == ContainerCheck.Verdict(elementCount: 2))
        #expect(
            try readElements(.listQuicklist, list) == [ReadElement("a"), ReadElement("4")])
    }

    /// A container with nothing in it is a DEL, whatever its encoding.
    @Test func emptyValues() throws {
        let emptyPack = ValueBytes.string(ValueBytes.listpack([]))
        let emptyZiplist = ValueBytes.string(ValueBytes.ziplist([]))
        let empty: [(ValueType, [UInt8])] = [
            (.set, [0]), (.hash, [0]), (.zset2, [0]), (.hashWithExpiry, [0]), (.setWithExpiry, [0]),
            (.setIntset, ValueBytes.string(ValueBytes.intset([], width: 2))),
            (.setListpack, emptyPack), (.hashListpack, emptyPack), (.zsetListpack, emptyPack),
            (.hashZiplist, emptyZiplist), (.zsetZiplist, emptyZiplist), (.listQuicklist, [0]),
            (.listQuicklist2, [0]), (.listQuicklist, [1] + emptyZiplist),
            (.listQuicklist2, [2, 2] + emptyPack + [2] + emptyPack),
        ]
        for (type, value) in empty {
            let verdict = try checkValue(type, value)
            #expect(verdict.isEmpty && verdict.elementCount == 0, "\(type)")
            #expect(try readElements(type, value).isEmpty)
        }
        #expect(try !checkValue(.string, [0]).isEmpty)
        // An empty node among others: not empty, but a server may trip over it.
        let element = ValueBytes.string(ValueBytes.listpack([.integer(1)]))
        let mixed = try checkValue(.listQuicklist2, [2, 2] + emptyPack + [2] + element)
        #expect(!mixed.isEmpty && !mixed.isVerbatimLoadable)
        let emptyRaw = try checkValue(.listQuicklist2, [1, 1, 0])
        #expect(!emptyRaw.isEmpty && !emptyRaw.isVerbatimLoadable)
    }

    @Test func listNodesOfUnknownKind() throws {
        let node = ValueBytes.string(ValueBytes.listpack([.integer(1)]))
        for kind in [0, 3, 4, 63] as [UInt8] {
            #expect(throws: damaged) { try checkValue(.listQuicklist2, [1, kind] + node) }
            #expect(throws: damaged) { try readElements(.listQuicklist2, [1, kind] + node) }
        }
    }

    /// Nothing may follow a value, and nothing may be missing.
    @Test func lengthOfValues() throws {
        for (type, value) in try SampleValues.all() {
            _ = try checkValue(type, value)
            if ![.bloom, .bloomChunked, .countMin, .topK, .cuckoo].contains(type) {
                #expect(throws: DecodeError.self, "\(type)") { try checkValue(type, value + [0]) }
            }
            for size in 0..<value.count where ValueFamily.stream != type.family || size < 2000 {
                #expect(throws: DecodeError.self, "\(type) cut at \(size)") {
                    try checkValue(type, Array(value[..<size]))
                }
            }
        }
    }

    @Test func damagedCompression() throws {
        let text = [UInt8](repeating: 0x61, count: 100)
        var broken = try ValueBytes.lzf(text)
        // The announced size is not what comes out.
        broken[3] += 1
        for (type, value) in [
            (.string, broken), (.set, [1] + broken), (.hash, [1, 0] + broken),
            (.zset2, [1] + broken + [0, 0, 0, 0, 0, 0, 0, 0]), (.listQuicklist2, [1, 1] + broken),
            (.hashListpack, broken), (.json, broken),
        ] as [(ValueType, [UInt8])] {
            #expect(throws: DecodeError(.damagedCompression), "\(type)") {
                try checkValue(type, value)
            }
        }
    }
}

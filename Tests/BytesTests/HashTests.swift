import Bytes
import TestSupport
import Testing

/// Hashes decide where keys belong and whether a target believes a payload: a wrong bit is wrong data.
@Suite struct HashTests {
    /// protocol.md 7.3.
    @Test func slotsOfTheSpecification() {
        #expect(ByteView("foo").keySlot() == 12182)
        #expect(ByteView("tag").keySlot() == 8338)
        #expect(ByteView("{tag}x").keySlot() == 8338)
        #expect(ByteView("user:1000").keySlot() == 1649)
        #expect(ByteView().keySlot() == 0)
        // CRC16-XMODEM of this text is 0x31c3.
        #expect(ByteView("123456789").keySlot() == 0x31c3 & 0x3fff)
    }

    @Test func tagIsTheFirstNonEmptyBraces() {
        let cases: [(String, String)] = [
            ("{tag}x", "tag"), ("a{b}c{d}", "b"), ("{}x{y}", "{}x{y}"), ("{a", "{a"),
            ("a}b{c}", "c"), ("{{a}}", "{a"), ("{", "{"), ("}{", "}{"), ("", ""), ("{a}", "a"),
            ("x{}", "x{}"),
        ]
        for (key, tag) in cases {
            Array(key.utf8).withByteView { view in
                #expect(view.hashTag().printable() == tag, "\(key)")
                #expect(view.keySlot() == view.hashTag().keySlot() || tag.contains("{"), "\(key)")
            }
        }
    }

    @Test func slotIsTheBitwiseDefinition() {
        let seed: UInt64 = 12
        var generator = SeededGenerator(seed: seed)
        for round in 0..<500 {
            // Without braces, so that the whole key counts.
            let key = generator.bytes(round % 70, kinds: 100)
            var crc: UInt16 = 0
            for byte in key {
                crc ^= UInt16(byte) << 8
                for _ in 0..<8 { crc = crc & 0x8000 != 0 ? crc << 1 ^ 0x1021 : crc << 1 }
            }
            #expect(key.withByteView { $0.keySlot() } == Int(crc & 0x3fff), "seed \(seed) \(key)")
        }
    }

    /// protocol.md 7.4.
    @Test func shardHashesOfTheSpecification() {
        let seed: UInt64 = 120_577_240_643
        let cases: [(String, UInt64, [UInt64])] = [
            ("", 0x64fc_8cbf_02eb_43e1, [1, 0, 1, 1, 1]),
            ("a", 0x4afc_4705_3865_bea3, [1, 0, 3, 3, 3]),
            ("foo", 0x2162_97e0_c927_0c4d, [1, 1, 1, 5, 13]),
            ("key:0", 0x86e5_1cd0_a1cf_8740, [0, 2, 0, 0, 0]),
            ("user:1000", 0x6a04_e9b0_6804_9722, [0, 2, 2, 2, 2]),
            ("{tag}x", 0x69d4_2fec_c02d_3af4, [0, 2, 0, 4, 4]),
            ("tag", 0x9305_bcf4_6b62_f460, [0, 1, 0, 0, 0]),
            (String(repeating: "x", count: 40), 0xf01f_8ab2_b7ea_bd58, [0, 0, 0, 0, 8]),
        ]
        for (key, hash, shards) in cases {
            let found = Array(key.utf8).withByteView { $0.xxh64(seed: seed) }
            #expect(found == hash, "\(key)")
            #expect([2, 3, 4, 8, 16].map { found % $0 } == shards, "\(key)")
        }
        #expect(ByteView("").xxh64(seed: 0) == 0xef46_db37_51d8_e999)
        #expect(ByteView("a").xxh64(seed: 0) == 0xd24e_c4f1_a98c_6e5b)
    }

    /// protocol.md 3.11.
    @Test func checksumsOfTheSpecification() {
        #expect(ByteView("123456789").crc64() == 0xe9c6_d914_c4b8_d9ca)
        #expect(ByteView().crc64() == 0)
        // DUMP of the string "v".
        let payload: [UInt8] = [0x00, 0x01, 0x76, 0x09, 0x00]
        let footer: [UInt8] = [0x41, 0xfa, 0x9f, 0x7e, 0x4d, 0xbe, 0xe9, 0x7f]
        #expect(
            payload.withByteView { $0.crc64() }
                == footer.withByteView { $0.little(0, as: UInt64.self) })
    }

    /// The checksum of a payload is made in parts: type byte, value, version.
    @Test func checksumsContinueAnywhere() {
        let seed: UInt64 = 5
        var generator = SeededGenerator(seed: seed)
        for count in [0, 1, 7, 8, 9, 15, 16, 17, 63, 200] {
            let bytes = generator.bytes(count)
            var slow: UInt64 = 0
            for byte in bytes {
                slow ^= UInt64(byte)
                for _ in 0..<8 { slow = slow >> 1 ^ (slow & 1 == 1 ? 0x95ac_9329_ac4b_c9b5 : 0) }
            }
            bytes.withByteView { view in
                #expect(view.crc64() == slow)
                for cut in 0...count {
                    let first = view.slice(0, cut).crc64()
                    #expect(view.dropFirst(cut).crc64(continuing: first) == slow, "cut \(cut)")
                }
            }
        }
        let word: UInt16 = 0x0102
        #expect(
            ByteView.crc64(little: word, continuing: 99)
                == [UInt8]([2, 1]).withByteView { $0.crc64(continuing: 99) })
    }
}

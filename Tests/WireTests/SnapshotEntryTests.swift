import Bytes
import Testing

@testable import Wire

/// Every key is asked whether it may be a ghost of PFMERGE, so the answer must be cheap; but no
/// HyperLogLog may be missed, however its value is stored (protocol.md 6.7).
@Suite struct SnapshotEntryTests {
    @Test(arguments: [
        // Lengths of 6 and 14 bits, LZF, then what is none.
        ([18] + text("HYLL\u{1}") + zeros(13), true),
        ([0x70, 0x10] + text("HYLL\0") + zeros(12_299), true),
        ([0xc3, 12, 0x40, 18, 4] + text("HYLL\u{1}") + zeros(7), true),
        ([18] + text("HYLX\u{1}") + zeros(13), false), ([3] + text("HYL"), false),
        ([5] + text("xHYLL"), false),
        ([0x80, 0, 0, 0x40, 0] + text("HYLL") + zeros(16_380), false), ([0xc0, 12], false),
        ([0xc2, 0x48, 0x59, 0x4c, 0x4c, 0, 0], false), ([], false),
    ])
    func hyperLogLogs(_ value: [UInt8], _ mayBe: Bool) {
        for type in [ValueType.string, .listQuicklist2] {
            let isOne = value.withByteView {
                SnapshotEntry(database: 0, type: type, key: "k", value: $0).mayBeHyperLogLog
            }
            #expect(isOne == (mayBe && type == .string))
        }
    }

    private static func text(_ text: String) -> [UInt8] { Array(text.utf8) }
    private static func zeros(_ count: Int) -> [UInt8] { [UInt8](repeating: 0, count: count) }
}
